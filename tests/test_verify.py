"""The published evidence adds up, and each way in which it may not is told."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from materials import write_chapter, write_executed, write_results

from aae_lib import book, cli, store, verify
from aae_lib.book import Project
from aae_lib.experiments import EXPERIMENTS, by_name
from aae_lib.store import REPOSITORY

FILES = ["data/claims.toml", "book/chapters/01_tiny.ipynb", "data/results/01_tiny.json"]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def evidence(project: Project) -> Project:
    """A repository with one published chapter, whose run one of its commits made."""
    (project.root / "data").mkdir()
    (project.root / "data" / "claims.toml").write_text("# a ledger\n")
    begin, end = book.README_BLOCK
    (project.root / "README.md").write_text(f"{begin}\n{end}\n")
    git(project.root, "init", "-q")
    git(project.root, "add", "notebooks")
    git(project.root, "commit", "-qm", "code")
    publish(project, commit=git(project.root, "rev-parse", "HEAD")[:12])
    return project


def publish(project: Project, **changes) -> None:
    """Publish the chapter with one run of it, changed as told."""
    run = {"experiment": "mnist_100", "hash": by_name("mnist_100").hash, "seed": 0} | changes
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"), runs=[run])
    book.publish(project)


def test_what_was_published_adds_up(evidence: Project):
    assert verify.problems(evidence) == []
    assert [path.as_posix() for path in verify.published(evidence)] == FILES


def test_the_sums_are_those_of_sha256sum(evidence: Project):
    command = ["sha256sum", "--check", "--strict", str(verify.SUMS)]
    assert subprocess.run(command, cwd=evidence.root, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_as_published_is_named(name: str, evidence: Project):
    path = evidence.root / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert f"{name} has changed since it was published" in verify.problems(evidence)
    path.unlink()
    assert f"{name} was published and is gone" in verify.problems(evidence)


def test_a_file_that_nobody_published_is_named(evidence: Project):
    (evidence.published_results / "02_other.json").write_text("{}")
    found = verify.problems(evidence)
    assert "data/results/02_other.json is there and was never published" in found
    assert any(
        "cannot read the results" in line or "02_other.json: schema" in line for line in found
    )


def test_what_a_file_manager_leaves_is_no_evidence(evidence: Project):
    evidence.published_tests.mkdir(parents=True)
    (evidence.published_tests / ".DS_Store").touch()
    assert verify.problems(evidence) == []


@pytest.mark.parametrize("text", [None, "", "no sums\n", b"\xff"])
def test_without_sums_nothing_is_taken_for_published(text: str | bytes | None, evidence: Project):
    path = evidence.root / verify.SUMS
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert any(
        "SHA256SUMS" in line or "never published" in line for line in verify.problems(evidence)
    )


def test_a_chapter_whose_source_has_changed_is_stale(evidence: Project):
    write_chapter(evidence, evidence.source("01_tiny").read_text() + "\n# %%\n2\n")
    (problem,) = verify.problems(evidence)
    assert "01_tiny.ipynb is stale" in problem


def test_results_of_another_execution_are_told_from_the_chapter_s(evidence: Project):
    path = evidence.published_results / "01_tiny.json"
    content = json.loads(path.read_text())
    more_seeds = content["parameters"] | {"replicates": 3}
    for changes in {"source_sha256": "0" * 64}, {"parameters": more_seeds}:
        path.write_text(json.dumps(content | changes))
        (evidence.root / verify.SUMS).write_text(verify.sums(evidence))
        assert verify.problems(evidence) == ["01_tiny: its results come from another execution"]
    path.write_text("[]")
    assert any("01_tiny has no results" in line for line in verify.problems(evidence))


def test_a_run_of_another_configuration_is_told(evidence: Project):
    commit = git(evidence.root, "rev-parse", "HEAD")[:12]
    publish(evidence, commit=commit, hash="0123456789ab")
    (problem,) = verify.problems(evidence)
    assert "mnist_100 was trained as 0123456789ab and is" in problem


@pytest.mark.parametrize(
    ("commits", "reason"),
    [
        ({"commit": "0123456789ab"}, "commit 0123456789ab, which is not in this history"),
        ({"commit": "unknown"}, "commit unknown, which is not in this history"),
        ({"commit": "0123456789ab-dirty"}, "with changes that no commit holds"),
        ({"continued": [{"commit": "0123456789ab"}]}, "commit 0123456789ab, which is not in"),
    ],
)
def test_a_run_that_leads_to_no_code_is_told(commits: dict, reason: str, evidence: Project):
    publish(evidence, **{"commit": git(evidence.root, "rev-parse", "HEAD")[:12]} | commits)
    (problem,) = verify.problems(evidence)
    assert reason in problem


def test_code_that_no_commit_holds_says_so(tmp_path: Path, monkeypatch):
    """Whatever tags the repository has."""
    monkeypatch.setattr(store, "REPOSITORY", tmp_path)
    commit = store.commit.__wrapped__
    assert commit() == "unknown"
    git(tmp_path, "init", "-q")
    for content in "a", "b":
        (tmp_path / "code").write_text(content)
        git(tmp_path, "add", "code")
        git(tmp_path, "commit", "-qm", content)
        git(tmp_path, "tag", f"v-{content}")
        clean = commit()
        assert clean == git(tmp_path, "rev-parse", "--short=12", "HEAD")
        (tmp_path / "code").write_text("c")
        assert commit() == f"{clean}-dirty"


def test_a_run_of_an_older_commit_adds_up_and_one_of_another_branch_does_not(evidence: Project):
    older = git(evidence.root, "rev-parse", "HEAD")[:12]
    git(evidence.root, "commit", "--allow-empty", "-qm", "later")
    publish(evidence, commit=older)
    assert verify.problems(evidence) == []
    git(evidence.root, "checkout", "-qb", "aside")
    git(evidence.root, "commit", "--allow-empty", "-qm", "aside")
    aside = git(evidence.root, "rev-parse", "HEAD")[:12]
    git(evidence.root, "checkout", "-q", "-")
    publish(evidence, commit=aside)
    (problem,) = verify.problems(evidence)
    assert f"commit {aside}, which is not in this history" in problem


def test_a_chapter_that_was_executed_by_no_commit_is_told(evidence: Project):
    commit = git(evidence.root, "rev-parse", "HEAD")[:12]
    publish(evidence, commit=commit)
    path = evidence.published_results / "01_tiny.json"
    content = json.loads(path.read_bytes())
    for executed, problems in ((commit, 0), (f"{commit}-dirty", 1)):
        path.write_text(json.dumps(content | {"executed": {"commit": executed}}))
        (evidence.root / verify.SUMS).write_text(verify.sums(evidence))
        found = [p for p in verify.problems(evidence) if "the chapter was executed by" in p]
        assert len(found) == problems


@pytest.mark.parametrize("where", ["published_bench", "published_tests"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"provenance": {"commit": "0123456789ab"}}, "measured at commit 0123456789ab, which is not in"),
        ({"provenance": {"commit": "0123456789ab-dirty"}}, "with changes that no commit holds"),
        ({"provenance": {"commit": 3}}, "cannot be read"),
        ([], "cannot be read"),
    ],
)  # fmt: skip
def test_a_measurement_of_no_known_code_is_told(
    content: object, told: str, where: str, evidence: Project
):
    path = getattr(evidence, where) / "some_details.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    (evidence.root / verify.SUMS).write_text(verify.sums(evidence))
    (problem,) = verify.problems(evidence)
    assert problem.startswith(path.relative_to(evidence.root).as_posix()) and told in problem
    commit = git(evidence.root, "rev-parse", "HEAD")[:12]
    path.write_text(json.dumps({"provenance": {"commit": commit}}))
    (evidence.root / verify.SUMS).write_text(verify.sums(evidence))
    assert verify.problems(evidence) == []


def test_results_without_their_runs_are_told(evidence: Project):
    path = evidence.published_results / "01_tiny.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"runs": [{"experiment": "mnist_100"}]}))
    assert any("its runs cannot be read" in line for line in verify.problems(evidence))


@pytest.mark.parametrize(
    "run", [{"commit": 5}, {"commit": None}, {"experiment": 3}, {"continued": [{"commit": []}]}, 7]
)
def test_runs_of_another_form_are_told(run: object, evidence: Project):
    path = evidence.published_results / "01_tiny.json"
    content = json.loads(path.read_text())
    if isinstance(run, dict):
        run = content["runs"][0] | run
    path.write_text(json.dumps(content | {"runs": [*content["runs"], run]}))
    assert any("its runs cannot be read" in line for line in verify.problems(evidence))


@pytest.mark.parametrize("content", [b"[]", b"null", b"\xff", b'{"cells": 1}'])
def test_a_chapter_of_another_form_is_told(content: bytes, evidence: Project):
    (evidence.published / "01_tiny.ipynb").write_bytes(content)
    assert any("is not a chapter executed" in line for line in verify.problems(evidence))


def test_a_readme_that_is_no_text_is_told(evidence: Project):
    (evidence.root / "README.md").write_bytes(b"\xff")
    assert any("README.md cannot be read" in line for line in verify.problems(evidence))


def test_a_readme_with_other_numbers_is_told(evidence: Project):
    path = evidence.root / "README.md"
    path.write_text(path.read_text().replace("16.00", "1.90"))
    assert verify.problems(evidence) == [
        "README.md: its table of results is not that of ledger and results"
    ]


def test_the_command_lists_what_does_not_add_up_and_leaves_with_1(
    evidence: Project, monkeypatch, capsys
):
    monkeypatch.setattr(book, "Project", lambda: evidence)
    assert cli.main(["verify"]) == 0
    assert capsys.readouterr().out == "3 files looked at; all adds up\n"
    (evidence.root / FILES[0]).write_text("# another ledger\n")
    assert cli.main(["verify"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "data/claims.toml has changed since it was published",
        "3 files looked at; problems: 1",
    ]


def test_published_runs_on_other_images_are_of_today_s_configurations():
    """`verify` compares those on MNIST alone: of others it does not know which images they were."""
    for path in Project().published_results.glob("*.json"):
        content = json.loads(path.read_bytes())
        measured_on = [claim["data"] for claim in content["claims"].values() if "data" in claim]
        names = {f"{data['name']}@{data['digest']}" for data in measured_on}
        for run in content["runs"]:
            experiment = EXPERIMENTS.get(run["experiment"])
            if experiment and experiment.source != "mnist":
                today = {replace(experiment, data=name).hash for name in names}
                assert run["hash"] in today, experiment.name


def test_this_repository_s_evidence_adds_up():
    """But for its commits, which a clone without history does not know."""
    found = verify.problems(Project())
    assert [line for line in found if not line.endswith("which is not in this history")] == []


def test_the_published_chapters_make_a_whole_book(tmp_path: Path):
    """What `make published` gives to Jupyter Book: each chapter, and the pages made of their results."""
    project = Project()
    book.stage(project, tmp_path, published=True)
    assert {p.stem for p in tmp_path.glob("chapters/*.ipynb")} == {*project.names()}
    made = {path.stem: path.read_text() for path in tmp_path.glob("generated/*.md")}
    assert all(made.values())
    for path in project.published_results.glob("*.json"):
        told = json.loads(path.read_bytes())
        assert all(f"<code>{run['experiment']}</code>" in made["machines"] for run in told["runs"])
        assert not told["runs"] or told["title"] in made["machines"]


def test_the_landing_picture_is_the_published_chapter_s():
    (chapter,) = Project().published.glob("02_*.ipynb")
    picture = REPOSITORY / "book" / "_static" / "landing.png"
    assert book.landing_picture(chapter) == picture.read_bytes()
