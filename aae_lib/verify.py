"""Whether the published evidence is still what was published, and still belongs to the code beside it.

`make publish` leaves a list of sums, `data/SHA256SUMS`, in the form of the program `sha256sum`; `aae verify` adds up
again. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aae_lib import book, claims, pages, store
from aae_lib.errors import UNREADABLE, UserError
from aae_lib.experiments import EXPERIMENTS

SUMS = Path("data", "SHA256SUMS")
LEDGER = claims.LEDGER.relative_to(store.REPOSITORY)


def published(project: book.Project) -> list[Path]:
    """The ledger and every published file, from the project's root."""
    found = [project.root / LEDGER]
    for folder, kind in (
        (project.published, "*.ipynb"),
        (project.published_results, "*.json"),
        (project.published_bench, "*.json"),
        (project.published_tests, "[!.]*.*"),
    ):
        found += sorted(folder.glob(kind))
    return [path.relative_to(project.root) for path in found if path.is_file()]


def sums(project: book.Project) -> str:
    """A line for each of `published`: its sha256, two spaces, its path."""
    lines = [
        f"{hashlib.sha256((project.root / path).read_bytes()).hexdigest()}  {path.as_posix()}\n"
        for path in published(project)
    ]
    return "".join(lines)


def problems(project: book.Project) -> list[str]:
    """What does not add up in the published evidence, a line each; empty if all does.

    Compared are every published file and the ledger with the sums that `publish` left; each chapter with its source
    and with its results; the configuration of each run on MNIST with the one that has its name today (the variants of
    an ablation have none); each run's commits, and those that bench, faults and sweep measured, with this repository's
    history; README's table with ledger and results. A ledger that cannot be read is told with each of them.
    """
    folders = project.published_bench, project.published_tests
    measured = [path for folder in folders for path in sorted(folder.glob("*_details.json"))]
    return [
        *map(str, changed(project)),
        *(line for path in sorted(project.published.glob("*.ipynb")) for line in _chapter(project, path)),
        *(line for path in sorted(project.published_results.glob("*.json")) for line in _results(project, path)),
        *(line for path in measured for line in _measured(project, path)),
        *_readme(project),
    ]  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A published file that is not as it was published."""

    path: str  # from the project's root
    how: str

    def __str__(self) -> str:
        return f"{self.path} {self.how}"


def changed(project: book.Project) -> list[Change]:
    """Published files that do not have the sums that `publish` left, or are gone; and those that it did not write."""
    try:
        lines = (project.root / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as error:
        return [Change(str(SUMS), f"cannot be read ({error})")]
    noted, found = (
        {path: digest for digest, _, path in (line.partition("  ") for line in these)}
        for these in (lines, sums(project).splitlines())
    )
    changes = []
    for path in sorted(noted.keys() | found.keys()):
        if path not in found:
            changes.append(Change(path, "was published and is gone"))
        elif path not in noted:
            changes.append(Change(path, "is there and was never published"))
        elif noted[path] != found[path]:
            changes.append(Change(path, "has changed since it was published"))
    return changes


def _chapter(project: book.Project, path: Path) -> Iterator[str]:
    try:
        about = book.check_executed(project, path)
        results = json.loads((project.published_results / f"{path.stem}.json").read_bytes())
        of_this = book.same_execution(about, results)
    except UserError as error:
        yield str(error)
    except UNREADABLE as error:
        yield f"{path.stem} has no results that can be read ({error})"
    else:
        if not of_this:
            yield f"{path.stem}: its results come from another execution"


def _results(project: book.Project, path: Path) -> Iterator[str]:
    name = path.relative_to(project.root)
    try:
        claims.evidence(path)
        content = json.loads(path.read_bytes())
        made = {
            (r["experiment"], r["hash"], s["commit"])
            for r in content["runs"]
            for s in pages.stages(r)
        }
        executed = content.get("executed", {}).get("commit")  # once it was not noted
        if not isinstance(executed, str | None):
            raise TypeError("a commit is no text")
        if not all(isinstance(part, str) for parts in made for part in parts):
            raise TypeError("an experiment, a hash or a commit is no text")
    except UserError as error:
        yield str(error)
        return
    except UNREADABLE as error:
        yield f"{name}: its runs cannot be read ({error!r})"
        return
    for experiment, digest in sorted({(experiment, digest) for experiment, digest, _ in made}):
        today = EXPERIMENTS.get(experiment)  # a variant of an ablation is in its chapter alone
        # What is trained on other images than MNIST has their identity in its hash.
        if today and today.source == "mnist" and today.hash != digest:
            yield f"{name}: {experiment} was trained as {digest} and is {today.hash} today"
    if executed and (reason := _untraceable(project.root, executed)):
        yield f"{name}: the chapter was executed by commit {executed}, {reason}"
    for experiment, _, commit in sorted(made):
        if reason := _untraceable(project.root, commit):
            yield f"{name}: {experiment} was trained by commit {commit}, {reason}"


def _measured(project: book.Project, path: Path) -> Iterator[str]:
    """Of what bench, faults and sweep left: whether the commit that was measured is known."""
    name = path.relative_to(project.root)
    try:
        commit = json.loads(path.read_bytes())["provenance"]["commit"]
        if reason := _untraceable(project.root, commit):
            yield f"{name}: measured at commit {commit}, {reason}"
    except UNREADABLE as error:
        yield f"{name} cannot be read ({error!r})"


@cache
def _untraceable(root: Path, commit: str) -> str | None:
    """Why `commit` leads to no code in the history of this repository; None if it does."""
    if not commit.isalnum():
        return "with changes that no commit holds"
    command = ["git", "-C", str(root), "merge-base", "--is-ancestor", commit, "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        return f"which git cannot look for ({error.strerror})"
    return "which is not in this history" if done.returncode else None


def _readme(project: book.Project) -> Iterator[str]:
    readme = project.root / "README.md"
    try:
        text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        yield f"README.md cannot be read ({error})"
        return
    try:
        block = claims.markdown(claims.scorecard(project.published_results))
    except UserError:  # told of the file that it lies in
        return
    if book.with_results(text, block) != text:
        yield "README.md: its table of results is not that of ledger and results"
