"""What tests are made of: data in the forms that the project reads, a small project, and what its commands leave."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat
import numpy as np
import pytest
import torch
from scipy.io import savemat

from aae_lib import book, mat, training
from aae_lib.book import METADATA, Project

fit = partial(training.fit, device="cpu", quiet=True)
fit_replicates = partial(training.fit_replicates, device="cpu", quiet=True)

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]

TINY = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tiny chapter
#
# $$
# q(z) = \\int q(z \\mid x)\\, p(x)\\, \\mathrm{d}x
# $$ (eq-tiny)
#
# Equation {eq}`eq-tiny` by {cite}`makhzani2015adversarial`.

# %% tags=["parameters"]
profile = "quick"
seed = 0
replicates = None
data = "mnist"
rate = 0.5

# %%
import sys

print(sys.executable)

# %%
# the last cell
seed + 1
"""

DETAILS = {
    "provenance": {
        "commit": "0123456789ab-dirty",
        "versions": {"torch": "9.9"},
        "hardware": {"processor": "<i>A</i> chip", "cores": 2, "accelerator": None},
    },
    "finished": "2026-11-27T10:00:00+00:00",
}


def main_of(folder: Path) -> ModuleType:
    """The `__main__.py` of a folder that is run as a program, anew, as a module."""
    name = f"{folder.name}_main"
    spec = importlib.util.spec_from_file_location(name, folder / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a dataclass looks for its module
    spec.loader.exec_module(module)
    return module


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- data


def write_digits(path: Path, train: int = 1600) -> Path:
    """Write an image archive of easy 28 x 28 'digits' (`train` / 200 / 200), each a constellation of blobs.

    Each of the ten classes has its own four bright spots, which every image moves by up to a pixel
    and dims a little: a linear model tells them apart after a few steps.
    """
    generator = np.random.default_rng(0)
    count, classes, spots = train + 400, 10, 4
    labels = generator.permutation(np.arange(count) % classes)
    centres = generator.uniform(5, 23, (classes, spots, 2))[labels]
    centres += generator.uniform(-1, 1, (count, 1, 2))
    pixel = np.arange(28)
    offsets = pixel - centres[..., None]  # (image, spot, axis, pixel)
    rows, columns = np.exp(-(offsets**2) / 4).transpose(2, 0, 1, 3)
    light = np.einsum("isy,isx->iyx", rows, columns).clip(0, 1)
    light *= generator.uniform(0.7, 1, (count, 1, 1))
    np.savez(
        path,
        images=(255 * light).astype(np.uint8),
        labels=labels.astype(np.uint8),
        split=np.repeat(np.arange(3, dtype=np.uint8), (train, 200, 200)),
        note="Synthetic blobs, for tests.",
    )
    return path


def idx(array: np.ndarray) -> bytes:
    """`array` as an idx file, written independently of the reader."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_svhn(folder: Path, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Write so many images for each split as the official files would hold them, and let `mat` take them for those."""
    generator = np.random.default_rng(0)
    made, named = {}, {}
    folder.mkdir(parents=True)
    for split, n in sizes.items():
        images = generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        digits = (np.arange(n) % 10).astype(np.uint8)
        name, _ = mat.SVHN[split]
        labels = np.where(digits == 0, 10, digits).astype(np.uint8)
        content = {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]}
        savemat(folder / name, content, do_compression=True)
        made[split] = images, digits
        named[split] = name, md5_of(folder / name)
    monkeypatch.setattr(mat, "SVHN", named)
    return made


# ---- a project, and what its commands leave


def write_chapter(project: Project, text: str = TINY, name: str = "01_tiny") -> str:
    """A chapter's pair in `project`."""
    source = project.source(name)
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    jupytext.write(jupytext.read(source), source.with_suffix(".ipynb"), fmt="ipynb")
    return name


def write_executed(project: Project, folder: Path, name: str = "01_tiny", **parameters) -> Path:
    """What `book.run` would leave, without running anything."""
    notebook = jupytext.read(project.source(name))
    notebook.metadata.pop("jupytext", None)
    notebook.metadata[METADATA] = {
        "source_sha256": book.source_sha256(project, name),
        "parameters": {"profile": "quick", "seed": 0, "data": "mnist"} | parameters,
    }
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def write_results(project: Project, path: Path, name: str = "01_tiny", **changes) -> Path:
    """A results file, as a chapter writes it."""
    content = {
        "schema": 1,
        "chapter": name,
        "profile": "quick",
        "seeds": [0],
        "parameters": {"profile": "quick", "seed": 0, "data": "mnist"},
        "source_sha256": book.source_sha256(project, name),
        "claims": {"a2.mnist-100.epoch-1": {"values": {"0": 16.0}, "epochs": 1, "of_epochs": 5000}},
        "title": "A tiny chapter",
        "runs": [],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def run(name: str, **changes) -> dict:
    """One run's record, as a chapter writes it."""
    return {
        "experiment": name,
        "hash": f"hash of {name}",
        "seed": 0,
        "epochs": 50,
        "commit": "c0ffee",
        "versions": {"python": "3.11", "torch": "2.0"},
        "hardware": {"processor": "A processor", "cores": 2, "accelerator": None},
        "device": "cpu",
        "threads": 2,
        "wall_seconds": 3600.0,
        "peak_memory_gib": 0.5,
    } | changes


# ---- pages


class Remote(HTMLParser):
    """The addresses that a page loads by itself from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
        address = dict(attrs).get(names.get(tag, "")) or ""
        if re.match("(https?:)?//", address):
            self.found.append(address)


def remote_addresses(page: Path) -> list[str]:
    parser = Remote()
    parser.feed(page.read_text())
    return parser.found
