"""Fixtures that several test modules share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from materials import main_of, write_chapter, write_digits

from aae_lib import data, store
from aae_lib.book import Project
from aae_lib.errors import UserError

LONGEST = (
    "test_notebooks.py",
    "test_engine.py",
    "test_training.py",
    "test_book.py",
    "test_cells.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first, so that no process ends alone with one of them."""
    items.sort(key=lambda item: (*LONGEST, item.path.name).index(item.path.name))


BENCH = Path(__file__).parent / "bench"
SECONDS = {
    "ours": 2.0, "literal": 4.0, "products": 1.0, "limit": 1.5, "together": 3.0, "apart": 4.0,
    "pythae": 5.0, "one": 2.0, "grid": 4.0, "numpy": 8.0,
}  # fmt: skip
"""What the bench is told that its work took; anything else took 1 s."""


@pytest.fixture(scope="session", autouse=True)
def _own_build_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test makes lands in the reader's build folder or run store."""
    build = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AAE_BUILD", str(build))
        patch.setenv("AAE_RUNS", str(build / "runs"))
        yield


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    """What a test draws without a generator of its own is the same in every run, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Models of float64, in which roundings stay too small to matter."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def mnist() -> data.Dataset:
    """The real MNIST, fetched if need be; without it the test is skipped, with the reason."""
    try:
        return data.load("mnist")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def digits_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The easy digits."""
    return write_digits(tmp_path_factory.mktemp("archives") / "digits.npz")


@pytest.fixture(scope="session")
def bench_files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """What `make bench` writes, with `SECONDS` for a clock, nothing computed and scikit-learn not installed."""
    sys.path.insert(0, str(BENCH))
    import parzen
    import torch
    import training

    main = main_of(BENCH)

    class Work:
        """A program, the bare products or a contender that is never set to work."""

        flop = 10**9
        descent = SimpleNamespace(parameters={"generator": {"weight": torch.empty(1000, 1000)}})

        def __init__(self, *_) -> None: ...
        def __call__(self) -> None: ...

        advance = multiply = multiply_and_update = update = close = __call__

    def taken(work, rounds, calls=1) -> dict[str, float]:
        return {name: SECONDS.get(name, 1.0) for name in work}

    folder = tmp_path_factory.mktemp("bench")
    images = parzen.images
    told = SimpleNamespace(stdout="[0.25, 1.0]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AAE_BUILD", str(folder))
        patch.setattr(sys, "argv", ["bench"])
        patch.setattr(torch, "rand", torch.empty)  # costs nothing until it is written to
        for name in "program", "Products", "Contender":
            patch.setattr(training, name, Work)
        patch.setattr(training, "find_spec", lambda name: name)
        patch.setattr(parzen, "find_spec", lambda name: None)
        patch.setattr(parzen, "images", lambda n, seed: images(min(n, 40), seed))
        process = SimpleNamespace(run=lambda *_, **__: told, PIPE=None)
        patch.setattr(parzen, "subprocess", process)
        for module in training, parzen:
            patch.setattr(module, "interleaved", taken)
        assert main.main() == 1  # what is not installed is no success
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def digits(digits_archive: Path) -> data.Dataset:
    """The easy digits, loaded."""
    return data.load(str(digits_archive))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run store of the test's own."""
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The real prose and configuration around one tiny chapter."""
    monkeypatch.setenv("AAE_BUILD", str(tmp_path / "_build"))
    shutil.copy(store.REPOSITORY / "_config.yml", tmp_path / "_config.yml")
    ignore = shutil.ignore_patterns("chapters")
    shutil.copytree(store.REPOSITORY / "book", tmp_path / "book", ignore=ignore)
    contents = yaml.safe_load((tmp_path / "book" / "_toc.yml").read_text())
    contents["parts"][0]["chapters"] = [{"file": "chapters/01_tiny"}]
    (tmp_path / "book" / "_toc.yml").write_text(yaml.safe_dump(contents))
    project = Project(tmp_path)
    write_chapter(project)
    return project
