"""The code that exercises give a reader runs after the cells of its chapter that it builds on."""

from __future__ import annotations

import re
import symtable
from dataclasses import replace
from pathlib import Path

import matplotlib
import nbformat
import pytest
from materials import write_digits

from aae_lib import notebook, training
from aae_lib.book import Project
from aae_lib.config import Experiment

NOTEBOOKS = Project().names()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("archives") / "digits.npz", train=1000)


def names_in(code: str) -> tuple[set[str], set[str]]:
    """The names that `code` gives at its top level, and those that it takes from there, in functions too."""
    top = symtable.symtable(code, "cell", "exec")
    given = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}

    def taken(table: symtable.SymbolTable) -> set[str]:
        here = {s.get_name() for s in table.get_symbols() if s.is_referenced() and s.is_global()}
        return here.union(*map(taken, table.get_children()))

    at_top = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    return given, at_top | taken(top)


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
def test_the_code_of_exercises_runs_after_their_chapter(
    chapter: str, digits: Path, tmp_path: Path, monkeypatch
):
    for name in ("build", "runs", "data"):
        monkeypatch.setenv(f"AAE_{name.upper()}", str(tmp_path / name))

    def fit_narrow(experiment: Experiment, *arguments, **options) -> list[training.Run]:
        narrow = replace(experiment, hidden=20)  # what is trained here need not be any good
        return training.fit_replicates(narrow, *arguments, **options)

    monkeypatch.setattr(notebook, "fit_replicates", fit_narrow)
    parameters: list[str] = []
    cells: list[str] = []
    exercises: list[str] = []
    path = Project().source(chapter).with_suffix(".ipynb")
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            exercises += re.findall(r"^```python\n(.*?)^```", cell.source, re.DOTALL | re.MULTILINE)
        elif "parameters" in cell.metadata.get("tags", []):
            parameters += [cell.source, f"profile, data = 'smoke', {str(digits)!r}"]
        else:
            cells.append(cell.source)
    assert parameters and exercises
    namespace = {"display": lambda *_: None}  # which a kernel has
    cells = what_it_takes(cells, "\n".join(exercises))
    with matplotlib.rc_context():
        for code in (*parameters, *cells, *exercises):
            exec(compile(code, f"<{chapter}>", "exec"), namespace)
