"""What chapters measure for their claims by functions of their own, on examples whose answer is known."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from aae_lib import statistics
from aae_lib.store import REPOSITORY


def function_of(chapter: str, name: str, /, **surroundings: Any) -> Callable[..., Any]:
    """The function `name` of a chapter's source, in `surroundings` in the place of the cells before it."""
    (path,) = (REPOSITORY / "notebooks").glob(f"{chapter}_*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            known = {"np": np, "torch": torch, "statistics": statistics} | surroundings
            exec(compile(ast.Module([node], []), str(path), "exec"), known)
            return known[name]
    raise AssertionError(f"chapter {chapter} has no function {name}")


def one_hot(clusters: np.ndarray) -> torch.Tensor:
    """q(y|x) that is sure of `clusters` (n,), shape (n, m)."""
    return torch.eye(int(clusters.max()) + 1)[torch.as_tensor(clusters)]


@pytest.mark.parametrize(("left", "expected"), [(1.0, 1.0), (0.0, 0.0)])
def test_what_another_label_leaves_at_the_edges(left: float, expected: float):
    """The outer eight of 32 columns count, and no others."""
    share = function_of("06", "share_at_the_edges", street=SimpleNamespace(shape=(32, 32, 3)))
    images = np.random.default_rng(0).normal(size=(20, 32, 32, 3))
    edges = np.zeros(32, bool)
    edges[[0, 1, 2, 3, 28, 29, 30, 31]] = True
    other = np.where(edges[:, None], left * images, 0.5 * images)
    decoded = {"its own label": images, "another label": other}
    assert share(images, decoded) == pytest.approx(expected, abs=1e-6)
    nothing = {"its own label": 0 * images, "another label": images}
    assert share(images, nothing) is None


def bars(slants: np.ndarray) -> np.ndarray:
    """Images (n, 28, 28) of a bar that leans by each of `slants`."""
    y, x = np.indices((28, 28))
    lean = slants[:, None, None] * (13.5 - y)
    return np.exp(-((x - 13.5 - lean) ** 2) / 4) * (abs(13.5 - y) < 7)


def test_the_slant_that_sub_clusters_explain():
    """Of ones in clusters named 1: two clusters of one slant each explain all of it, mixed ones nothing."""
    slants = np.array([0.4, 0.4, -0.4, -0.4, 0.1, 0.3, -0.2, 0.0])
    labels = np.array([1, 1, 1, 1, 1, 7, 7, 1])
    names = torch.tensor([1, 1, 7])
    by_slant = np.array(
        [0, 0, 1, 1, 2, 0, 1, 2]
    )  # a one in the cluster named 7, sevens in those named 1
    mixed = np.array([0, 1, 0, 1, 2, 0, 1, 2])
    explained = function_of(
        "09",
        "explained_slant",
        embed=lambda clusters, images: (None, {"y": one_hot(clusters)}),
        names_of=lambda run: (names, None),
        test=SimpleNamespace(images=bars(slants), labels=labels),
    )
    assert explained(by_slant) == pytest.approx(1, abs=1e-3)
    assert explained(mixed) == pytest.approx(0, abs=1e-3)


def test_the_overlap_of_clusters_is_of_the_codes_and_of_the_codes_as_drawn():
    """One of four codes is nearer to another head; drawn along the first axis alone, two are."""
    heads = torch.tensor([[0.0, 0.0], [4.0, 4.0]])
    codes = torch.tensor([[1.0, 1.0], [3.0, 0.5], [3.0, 3.0], [1.0, 1.0]])
    clusters = np.array([0, 0, 1, 1])
    measure = function_of(
        "09",
        "measure",
        test=SimpleNamespace(images=None),
        embed=lambda run, images: (codes, {"y": one_hot(clusters), "z": torch.randn(4, 2)}),
        plane=lambda run: (heads, torch.tensor([[1.0], [0.0]])),
    )
    found = measure(SimpleNamespace(history={"test error": [9.0, 4.5]}))
    assert found["test error, %"] == 4.5
    assert found["least distance of heads"] == pytest.approx(32**0.5)
    assert found["overlap, %"] == pytest.approx(25)
    assert found["overlap as drawn, %"] == pytest.approx(50)


def test_an_error_is_recorded_at_the_epoch_that_the_claim_names():
    recorded = {}
    chapter = SimpleNamespace(
        seeds=[0, 1], record=lambda claim, errors, **more: recorded.update({claim: (errors, more)})
    )
    experiment = SimpleNamespace(epochs=5000)
    runs = [
        SimpleNamespace(
            seed=seed, epochs=3, experiment=experiment, history={"test error": [9 + seed, 5, 2]}
        )
        for seed in (0, 1)
    ]
    record = function_of("07", "record", chapter=chapter)
    record("last", runs)
    record("first", runs, 1)
    record("one", runs[:1])
    more = {"of_epochs": 5000, "dataset": None}
    assert recorded["last"] == ({0: 2, 1: 2}, more | {"epochs": 3, "seeds": None})
    assert recorded["first"] == ({0: 9, 1: 10}, more | {"epochs": 1, "seeds": None})
    assert recorded["one"] == ({0: 2}, more | {"epochs": 3, "seeds": [0]})


def test_what_clusters_are_worth_is_asked_of_the_split_with_names_from_validation():
    """Cluster 0 is named 3 by its surest image and 5 by its majority; all test images in it are fives."""
    q = {
        "validation": torch.tensor([[0.99, 0.01], [0.8, 0.2], [0.7, 0.3], [0.1, 0.9]]),
        "test": torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]),
    }
    labels = {"validation": torch.tensor([3, 5, 5, 1]), "test": torch.tensor([5, 5, 1])}
    found = function_of("08", "measure", labels=labels)(q, "test")
    assert found["error, %"] == pytest.approx(200 / 3)
    assert found["by majority, %"] == 0
    assert found["by any image, %"] == pytest.approx(200 / 9)
    assert found["mutual information"] == pytest.approx(1)
    assert found["sureness"] == pytest.approx(2.6 / 3)


def test_no_more_than_so_many_images_evenly_spaced():
    evenly = function_of("05", "evenly")
    assert evenly(np.arange(10), 5).tolist() == [0, 2, 4, 6, 8]
    assert evenly(np.arange(3), 5).tolist() == [0, 1, 2]
