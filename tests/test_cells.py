"""Cells of chapters run here, with narrow networks: exercises, several seeds, parameters that the smoke book leaves."""

from __future__ import annotations

import json
import re
import symtable
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pytest
from materials import write_digits

from aae_lib import data, notebook, store, training
from aae_lib.book import Project
from aae_lib.config import Experiment, Profile

NOTEBOOKS = Project().names()


@dataclass(frozen=True)
class Source:
    """A chapter's code by its kind; `exercises` are the blocks of Python in its text."""

    parameters: str
    cells: list[str]
    exercises: list[str]


def source_of(chapter: str) -> Source:
    parameters, cells, exercises = "", [], []
    path = Project().source(chapter).with_suffix(".ipynb")
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            exercises += re.findall(r"^```python\n(.*?)^```", cell.source, re.DOTALL | re.MULTILINE)
        elif "parameters" in cell.metadata.get("tags", []):
            parameters = cell.source
        else:
            cells.append(cell.source)
    return Source(parameters, cells, exercises)


def execute(chapter: str, codes: list[str], **given: Any) -> None:
    """Run `codes` after a chapter's parameters with the values `given`."""
    namespace: dict[str, Any] = {"display": lambda *_: None}  # which a kernel has
    exec(source_of(chapter).parameters, namespace)
    namespace |= {"profile": "smoke"} | given
    with matplotlib.rc_context():
        for code in codes:
            exec(compile(code, f"<{chapter}>", "exec"), namespace)


@pytest.fixture(autouse=True)
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of this test's own, and networks of 20 units: what is trained here need not be any good."""
    for name in ("build", "runs", "data"):
        monkeypatch.setenv(f"AAE_{name.upper()}", str(tmp_path / name))

    def fit(experiment: Experiment, *arguments: Any, **options: Any) -> list[training.Run]:
        return training.fit_replicates(replace(experiment, hidden=20), *arguments, **options)

    monkeypatch.setattr(notebook, "fit_replicates", fit)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Few images: with as many as it takes for experiments with 1000 labels, or mini-batches as large."""
    folder = tmp_path_factory.mktemp("archives")
    paths = {n: str(write_digits(folder / f"{n}.npz", train=n)) for n in (200, 1000)}
    return lambda chapter: paths[1000 if chapter[:2] in ("03", "05", "07", "09") else 200]


def names_in(code: str) -> tuple[set[str], set[str]]:
    """The names that `code` gives at its top level, and the others that it takes from there, in functions too."""
    top = symtable.symtable(code, "cell", "exec")
    given = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}

    def taken(table: symtable.SymbolTable) -> set[str]:
        here = {s.get_name() for s in table.get_symbols() if s.is_referenced() and s.is_global()}
        return here.union(*map(taken, table.get_children()))

    at_top = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    return given, (at_top | taken(top)) - given


def what_it_takes(cells: list[str], code: str) -> list[str]:
    """Those of `cells`, in their order, that give what `code` takes, or what one of them takes."""
    wanted, kept = names_in(code)[1], []
    for cell in reversed(cells):
        given, taken = names_in(cell)
        if given & wanted:
            wanted |= taken
            kept.append(cell)
    return kept[::-1]


def test_a_cell_is_kept_for_what_it_gives_to_one_that_is_kept():
    cells = ["a = 1", "b = 2", "def f(x):\n    return x + a", "c = [b for b in [f(1)]]", "g = b"]
    assert what_it_takes(cells, "print(c)") == ["a = 1", cells[2], cells[3]]


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_the_code_of_exercises_runs_after_the_cells_that_it_builds_on(
    chapter: str, digits: Callable[[str], str]
):
    source = source_of(chapter)
    assert source.exercises
    before = what_it_takes(source.cells, "\n".join(source.exercises))
    execute(chapter, [*before, *source.exercises], data=digits(chapter))


@pytest.mark.parametrize(
    ("chapter", "given"),
    [
        ("07_semi_supervised", {"label_counts": "1000", "first_seed_epochs": 2}),
        ("08_clustering", {"cluster_counts": "30", "epochs": 2, "trial_epochs": 1}),
        ("09_dimensionality_reduction", {"epochs": 1}),
    ],
)
def test_several_seeds_from_another_one_on(chapter: str, given: dict, digits: Callable[[str], str]):
    execute(chapter, source_of(chapter).cells, data=digits(chapter), seed=1, replicates=2, **given)
    (path,) = (store.build_root() / "results" / "smoke").glob("*.json")
    assert path.name.startswith(chapter) and "seed-1" in path.name
    measured = json.loads(path.read_bytes())["claims"]
    assert measured and all(set(told["values"]) <= {"1", "2"} for told in measured.values())
    assert any(set(told["values"]) == {"1", "2"} for told in measured.values())


@pytest.mark.parametrize(
    ("chapter", "given"),
    [("07_semi_supervised", {"first_seed_epochs": 500}), ("10_conclusion", {})],
)
def test_without_training_a_chapter_shows_what_was_published(
    chapter: str, given: dict, digits: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    """As how_to_rerun.md promises it: nothing is trained, and the published runs are found by what they are of."""
    few = data.load(digits(chapter))
    mnist = replace(few, name="mnist", digest=data.MNIST_DIGEST)
    monkeypatch.setattr(Profile, "dataset", lambda *_: mnist)
    monkeypatch.setattr(notebook, "fit_replicates", None)
    execute(chapter, source_of(chapter).cells, profile="standard", train=False, **given)
    shown = json.loads(
        (store.build_root() / "results" / "standard" / f"{chapter}.json").read_bytes()
    )
    published = json.loads((store.PUBLISHED / f"{chapter}.json").read_bytes())
    assert shown["runs"] and all(run in published["runs"] for run in shown["runs"])
    assert bool(shown["claims"]) == bool(published["claims"])
    for claim, told in shown["claims"].items():
        assert told["values"] == pytest.approx(published["claims"][claim]["values"])
        assert told["epochs"] == published["claims"][claim]["epochs"]


@pytest.mark.parametrize("chapter", ["04_label_information", "06_supervised", "08_clustering"])
def test_colour_images_of_two_classes_take_mnist_s_place(chapter: str, tmp_path: Path):
    labels, generator = np.arange(600) % 2, np.random.default_rng(0)
    stripes = np.arange(14)[:, None, None] // (2 + 2 * labels[:, None, None, None]) % 2
    images = 255 * stripes * generator.uniform(0.5, 1, (600, 14, 12, 3))
    split = np.repeat([0, 1, 2], 200)
    np.savez(tmp_path / "own.npz", images=images.astype(np.uint8), labels=labels, split=split)
    execute(chapter, source_of(chapter).cells, data=str(tmp_path / "own.npz"))
    (path,) = (store.build_root() / "results" / "smoke").glob("*.json")
    assert json.loads(path.read_bytes())["claims"]
