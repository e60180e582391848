"""Executing, building, publishing: only good chapters are shown, no page needs a network, failures change nothing."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from materials import (
    DETAILS,
    TINY,
    remote_addresses,
    run,
    write_chapter,
    write_executed,
    write_results,
)

from aae_lib import book, claims, data, store, verify
from aae_lib.book import METADATA, ChapterError, Project
from aae_lib.errors import UserError

# ---- executing


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "# %%\n# the last",
            '# %% tags=["hide-input"]\n# the last',
            "(cell 4, '# the last cell')",
        ),
        (
            "# %%\nimport sys",
            "# %%\n2\n\n# %%\nimport sys",
            "(5 cells in the .py, 4 in the .ipynb)",
        ),
    ],
)
def test_a_pair_torn_by_tags_or_cells_is_refused(project: Project, old: str, new: str, told: str):
    source = project.source("01_tiny")
    source.write_text(source.read_text().replace(old, new))
    with pytest.raises(UserError, match=re.escape(told)):
        book.run(project, "01_tiny", {})


def test_new_captions_and_tags_reach_an_executed_chapter(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    figure = '{"figure": {"caption": "Seen anew.", "name": "fig-tiny"}}'
    head = f'# %% tags=["hide-input"] mystnb={figure}\n# the last cell'
    write_chapter(project, TINY.replace("# %%\n# the last cell", head))
    found = nbformat.read(book.reword(project, "01_tiny"), as_version=4).cells[-1].metadata
    assert (found["tags"], found["mystnb"]["figure"]["caption"]) == (["hide-input"], "Seen anew.")


def test_ctrl_c_is_told_in_one_line_and_is_no_success(monkeypatch, capsys) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(book, "build", interrupted)
    assert book.main(["build"]) == 130
    assert capsys.readouterr().err == "book: interrupted; what was there before stands.\n"


def test_a_torn_pair_is_refused(project: Project):
    source = project.source("01_tiny")
    source.write_text(source.read_text().replace("seed + 1", "seed + 2"))
    with pytest.raises(UserError, match=r"disagree \(cell 4, '# the last cell'\).*make sync"):
        book.run(project, "01_tiny", {})
    assert not project.chapters.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"cells": [{}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', b"\xff"],
)
def test_a_damaged_notebook_is_refused(content: bytes, project: Project):
    project.source("01_tiny").with_suffix(".ipynb").write_bytes(content)
    for do in (lambda: book.run(project, "01_tiny", {}), lambda: book.reword(project, "01_tiny")):
        with pytest.raises(UserError, match=r"01_tiny\.ipynb.*'make sync'"):
            do()


@pytest.mark.parametrize(
    "metadata", [{}, {"kernelspec": {"display_name": "?", "name": "x", "language": " python"}}]
)
def test_a_notebook_that_names_no_language_of_ours_is_refused(metadata: dict, project: Project):
    path = project.source("01_tiny").with_suffix(".ipynb")
    content = json.loads(path.read_bytes())
    content["metadata"] = metadata
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"names no kernel and language.*'make sync'"):
        book.run(project, "01_tiny", {})


def test_a_kernel_that_would_find_no_room_for_its_files_is_not_started(project: Project, capfd):
    project.build.mkdir(parents=True, exist_ok=True)
    (project.build / "ipython").write_text("in the place of its folder")
    with pytest.raises(UserError, match=r"01_tiny cannot be written to .*Free some space"):
        book.run(project, "01_tiny", {})
    assert "Traceback" not in "".join(capfd.readouterr())


def test_unknown_parameters_and_profiles_are_refused_with_the_nearest(project: Project):
    path = project.source("01_tiny").with_suffix(".ipynb")
    with pytest.raises(UserError, match="no parameter 'sede'; did you mean 'seed'"):
        book.checked_parameters(path, {"sede": 3})
    with pytest.raises(UserError, match="unknown profile 'quik'; did you mean 'quick'"):
        book.checked_parameters(path, {"profile": "quik"})
    for wrong in ("3", 3.5, True):
        with pytest.raises(UserError, match="seed must be int"):
            book.checked_parameters(path, {"seed": wrong})
    with pytest.raises(UserError, match="replicates must be int or None, not 'two'"):
        book.checked_parameters(path, {"replicates": "two"})
    with pytest.raises(UserError, match="replicates must be from 1"):
        book.checked_parameters(path, {"replicates": 0})
    found = book.checked_parameters(path, {"seed": 3, "rate": 1, "replicates": 2})
    assert found == {"profile": "quick", "seed": 3, "replicates": 2, "data": "mnist", "rate": 1}
    assert (
        book.checked_parameters(path, {"data": 100})["data"] == "100"
    )  # text that looks like a number


def test_text_that_looks_like_a_tuple_is_text_on_the_command_line() -> None:
    found = [book._value(text) for text in ("16, 30", "[1]", "None", "True", "0.1", "mnist")]
    assert found == ["16, 30", "[1]", None, True, 0.1, "mnist"]


def test_a_relative_folder_is_the_repositorys(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("AAE_BUILD", "AAE_RUNS", "AAE_DATA"):
        monkeypatch.setenv(variable, f"there/{variable}")
    found = Project().build, store.build_root(), store.runs_root(), data.root()
    names = "AAE_BUILD", "AAE_BUILD", "AAE_RUNS", "AAE_DATA"
    assert found == tuple(store.REPOSITORY / "there" / name for name in names)


def test_an_executed_copy_is_complete_clean_and_says_where_it_comes_from(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    # A kernel that the reader registered under the same name must not be taken.
    spec = tmp_path / "theirs" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["false"], "display_name": "theirs", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "theirs"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "theirs"))

    write_results(project, project.results("quick", "01_tiny"), created="another time")
    ran = {"profile": "quick", "seed": 3, "replicates": None, "data": "mnist", "rate": 0.5}
    theirs = project.results("quick", "01_tiny.seed-3")
    write_results(project, theirs, created="when it ran", parameters=ran)
    path = book.run(project, "01_tiny", {"seed": 3})
    about = book.check_executed(project, path)
    assert about["parameters"]["seed"] == 3
    assert about["results_created"] == "when it ran"
    notebook = nbformat.read(path, as_version=4)
    injected = [c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert [cell.metadata["tags"] for cell in injected] == [["injected-parameters", "remove-cell"]]
    assert notebook.cells[-1].outputs[0].data["text/plain"] == "4"
    assert notebook.cells[-2].outputs[0].text.strip() == sys.executable
    assert "papermill" not in notebook.metadata
    assert [p.name for p in project.chapters.iterdir()] == ["01_tiny.ipynb"]
    assert sys.executable in (project.build / "logs" / "01_tiny.log").read_text()
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("raise ValueError('too many digits')", "ValueError: too many digits"),
        ("import os; os._exit(1)", "its Python died"),
    ],
)
def test_a_failed_chapter_names_its_cell_and_leaves_the_last_good_copy(
    project: Project,
    line: str,
    told: str,
):
    project.chapters.mkdir(parents=True)
    good = project.chapters / "01_tiny.ipynb"
    good.write_text("the last good copy")
    write_chapter(project, TINY.replace("# the last cell", line))
    with pytest.raises(ChapterError) as caught:
        book.run(project, "01_tiny", {"seed": 1})
    message = str(caught.value)
    assert message.startswith(f"01_tiny failed in cell 4, '{line}'\n{told}")
    assert "last good copy" in message
    assert good.read_text() == "the last good copy"
    assert list(project.chapters.iterdir()) == [good]
    log = (project.build / "logs" / "01_tiny.log").read_text()
    assert f"01_tiny failed in cell 4, '{line}'" in log
    assert "\x1b" not in log
    assert (project.build / "logs" / "01_tiny.ipynb").exists()


def test_a_failed_chapter_gives_exit_code_1(project: Project, monkeypatch, capsys):
    write_chapter(project, TINY.replace("seed + 1", "seed + nothing"))
    monkeypatch.setattr(book, "Project", lambda: project)
    assert book.main(["run", "1"]) == 1
    assert "NameError: name 'nothing' is not defined" in capsys.readouterr().err


WAITING = """\
from pathlib import Path
from aae_lib.errors import Stopped, on_sigterm
asked = []
with on_sigterm(lambda number, _: asked.append(number)):  # as a training does
    Path("here").write_text("x")
    while not asked:
        pass
Path("left").touch()  # as a checkpoint
raise Stopped("as a training that was asked to stop")
"""


@pytest.mark.parametrize(
    "cell",
    [
        WAITING,
        WAITING.replace("on_sigterm(lambda number, _: asked.append(number))", "open('/dev/null')"),
    ],
)
def test_a_chapter_at_sigterm_lets_its_training_leave_a_checkpoint_and_can_be_sent_again(
    cell: str, project: Project
):
    write_chapter(project, TINY.replace("# the last cell", f"# the last cell\n{cell}"))
    here = project.root / "here"
    os.mkfifo(here)  # reading it waits for the cell, or for the end of what does not come so far
    script = (
        f"import sys; held = open({str(here)!r}, 'w'); from pathlib import Path; from aae_lib import book; "
        f"book.Project = lambda p=book.Project(Path({str(project.root)!r})): p; "
        "sys.exit(book.main(['run', '1']))"
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=store.REPOSITORY, stderr=subprocess.PIPE, text=True
        ) as process,
        here.open() as cell_begun,
    ):
        assert cell_begun.read(1) == "x"
        process.terminate()
        told = process.communicate()[1]
    assert process.returncode == os.EX_TEMPFAIL
    assert told.endswith("book: 01_tiny was stopped; the same command goes on.\n")
    assert "Traceback" not in told
    assert (project.root / "left").exists() == (cell == WAITING)  # else its kernel just ends
    assert not list(project.chapters.glob("*.ipynb"))


def test_two_processes_that_run_one_chapter_do_not_disturb_each_other(project: Project):
    script = (
        "from pathlib import Path; from aae_lib import book; "
        f"book.run(book.Project(Path({str(project.root)!r})), '01_tiny', {{'seed': 5}})"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script], cwd=store.REPOSITORY) for _ in range(2)
    ]
    assert [process.wait() for process in both] == [0, 0]
    about = book.check_executed(project, project.chapters / "01_tiny.ipynb")
    assert about["parameters"]["seed"] == 5


# ---- building


def write_bench(folder: Path, files: Mapping[str, bytes], value: float = 0.5) -> Path:
    """What `make bench` leaves, its first figure at `value`; returns bench.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    table = folder / "bench.json"
    rows = json.loads(table.read_bytes())
    rows[0]["value"] = value
    table.write_text(json.dumps(rows))
    return table


def test_the_book_builds_without_a_warning_and_reads_without_a_network(
    project: Project, bench_files: Mapping[str, bytes]
):
    write_executed(project, project.chapters)
    write_bench(project.build, bench_files)
    page = book.build(project)
    pages = list(page.parent.rglob("*.html"))
    made = {"scorecard.html", "appendix.html", "machines.html", "01_tiny.html"}
    assert made <= {path.name for path in pages}
    for path in pages:
        assert remote_addresses(path) == [], path
    for style in page.parent.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text()), style
    chapter = (page.parent / "chapters" / "01_tiny.html").read_text()
    assert re.search('<script[^>]* src="[./]*_static/tex-svg.js', chapter)
    assert (page.parent / "_static" / "tex-svg.js").stat().st_size > 1_000_000
    assert "landing.png" in (page.parent / "intro.html").read_text()
    speed = (page.parent / "speed.html").read_text()
    pictures = re.findall(r'<img alt="(?:Roofline|Two panels)[^"]*" src="([^"]+)"', speed)
    assert len(pictures) == 3
    assert all((page.parent / path).exists() for path in pictures)


@pytest.mark.parametrize("content", ["", "parts: 3", "{", "parts:\n- title: x", "\0", "parts: []"])
def test_a_damaged_table_of_contents_is_refused(content: str, project: Project):
    write_executed(project, project.chapters)
    (project.root / "book" / "_toc.yml").write_text(content)
    with pytest.raises(UserError, match=r"_toc\.yml is no table of contents"):
        book.build(project)


def test_results_whose_runs_cannot_be_read_are_refused(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"), runs=[{"hash": "x"}])
    with pytest.raises(UserError, match="the runs of some results cannot be read"):
        book.build(project)


def test_a_book_that_does_not_build_leaves_the_last_one(project: Project):
    write_executed(project, project.chapters)
    page = project.build / "html" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("the last good book")
    intro = project.root / "book" / "intro.md"
    intro.write_text(intro.read_text() + "\n{ref}`nowhere`\n")
    with pytest.raises(UserError, match=r"intro\.md.*nowhere"):
        book.build(project)
    assert page.read_text() == "the last good book"
    assert not list((project.build / "locks" / "book").glob(".*"))


def test_a_new_book_takes_the_place_of_the_last_one(project: Project, monkeypatch):
    write_executed(project, project.chapters)
    page = project.build / "html" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("the last book")
    page.with_name("gone.html").touch()

    def sphinx(command: list[str], **_: object) -> subprocess.CompletedProcess:
        made = Path(command[command.index("--path-output") + 1], "_build", "html")
        made.mkdir(parents=True)
        (made / "index.html").write_text("the new book")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(book.subprocess, "run", sphinx)
    assert book.build(project).read_text() == "the new book"
    assert not page.with_name("gone.html").exists()
    assert not list((project.build / "locks" / "book").glob(".*"))


def test_a_staged_chapter_shows_this_run_beside_the_published_evidence(project: Project):
    write_chapter(project, TINY.replace("seed + 1", 'chapter.against_the_paper("a2.")'))
    path = write_executed(project, project.chapters)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", {"text/html": "old"})]
    nbformat.write(notebook, path)
    write_results(project, project.results("quick", "01_tiny"))
    book.stage(project, project.build / "source")
    staged = nbformat.read(project.build / "source" / "chapters" / path.name, as_version=4)
    (output,) = [output for cell in staged.cells for output in cell.get("outputs", [])]
    table = output.data["text/html"]
    assert "<th>This run</th><th>Published</th>" in table and "16.00" in table


def test_a_staged_chapter_shows_its_own_run_not_another_of_other_images(project: Project):
    """Both have a results file; the claim's own images would count for more."""
    write_chapter(project, TINY.replace("seed + 1", 'chapter.against_the_paper("a2.")'))
    path = write_executed(project, project.chapters, data="squares")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", {"text/html": "old"})]
    nbformat.write(notebook, path)
    ours = project.results("quick", "01_tiny")
    write_results(project, ours)
    write_results(
        project,
        ours.with_name("01_tiny.squares.json"),
        parameters={"profile": "quick", "seed": 0, "data": "squares"},
        data={"name": "squares", "digest": "0123456789ab"},
        claims={"a2.mnist-100.epoch-1": {"values": {"0": 40.0}, "epochs": 1, "of_epochs": 5000}},
    )
    book.stage(project, project.build / "source")
    staged = nbformat.read(project.build / "source" / "chapters" / path.name, as_version=4)
    (output,) = [output for cell in staged.cells for output in cell.get("outputs", [])]
    assert "40.00" in output.data["text/html"] and "16.00" not in output.data["text/html"]


def test_a_staged_chapter_shows_no_results_of_another_execution(project: Project, capsys):
    """A reader changed the notebook, left its parameters, and ran it by hand."""
    write_chapter(project, TINY.replace("seed + 1", 'chapter.against_the_paper("a2.")'))
    path = write_executed(project, project.chapters)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata[METADATA]["results_created"] = "2026-11-29"
    notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", {"text/html": "old"})]
    nbformat.write(notebook, path)
    parameters = {"profile": "quick", "seed": 0, "data": "mnist"}
    for created, replicates, other in (
        ("2026-11-30", {}, True),
        ("2026-11-30", {"replicates": 1}, True),
        ("2026-11-29", {}, False),
    ):
        results = write_results(
            project,
            project.results("quick", "01_tiny"),
            created=created,
            parameters=parameters | replicates,
        )
        book.stage(project, project.build / "source")
        staged = (project.build / "source" / "chapters" / path.name).read_text()
        assert ("This run" not in staged) == other
        assert (f"left out: {results}, of another execution" in capsys.readouterr().out) == other
        scorecard = (project.build / "source" / "generated" / "scorecard.md").read_text()
        assert ("This machine" not in scorecard) == other


def test_chapters_of_different_profiles_in_one_book_are_named(project: Project, capsys):
    toc = project.root / "book" / "_toc.yml"
    for name in ("02_tiny", "03_tiny"):
        toc.write_text(
            toc.read_text().replace(
                "- file: chapters/01_tiny", f"- file: chapters/{name}\n  - file: chapters/01_tiny"
            )
        )
        write_chapter(project, TINY, name)
        write_executed(project, project.chapters, name, profile="standard")
    write_executed(project, project.chapters)
    book.stage(project, project.build / "source")
    told = capsys.readouterr().out
    assert re.search(r"^  profile quick, seed 0, data mnist: 01_tiny$", told, re.M)
    assert re.search(r"^  profile standard, .*: 02_tiny, 03_tiny$", told, re.M)


def test_a_published_chapter_whose_source_was_edited_says_how_to_put_it_back(project: Project):
    write_executed(project, project.published)
    write_chapter(project, project.source("01_tiny").read_text() + "\n# A note.\n")
    with pytest.raises(
        UserError, match=r"is stale.*reword 01_tiny.*'git checkout notebooks/01_tiny\.\*'"
    ):
        book.stage(project, project.build / "source", published=True)


def test_a_missing_jupyter_book_is_told_with_what_installs_it(project: Project, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(project.root / "python"))
    write_executed(project, project.published)
    with pytest.raises(UserError, match=r"no .*jupyter-book; 'make -B setup' installs it\."):
        book.build(project, published=True)


def test_a_chapter_that_was_never_executed_is_left_out(project: Project, capsys):
    book.stage(project, project.build / "source")
    assert "left out: 01_tiny" in capsys.readouterr().out
    contents = (project.build / "source" / "_toc.yml").read_text()
    assert "01_tiny" not in contents
    assert "scorecard" in contents


def test_this_machines_chapter_comes_before_the_published_one(project: Project):
    write_executed(project, project.published, replicates=3)
    write_executed(project, project.chapters, replicates=1)
    staged = project.build / "source" / "chapters" / "01_tiny.ipynb"
    for published, replicates in ((False, 1), (True, 3)):
        book.stage(project, project.build / "source", published)
        metadata = nbformat.read(staged, as_version=4).metadata[METADATA]
        assert metadata["parameters"]["replicates"] == replicates


def test_the_scorecard_shows_published_evidence_beside_this_machines(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    write_results(
        project,
        project.published_results / "01_tiny.json",
        claims={"a2.mnist-100.epoch-1": {"values": {"0": 90.0}, "epochs": 1, "of_epochs": 5000}},
    )
    book.stage(project, project.build / "source")
    generated = project.build / "source" / "generated"
    lines = (generated / "scorecard.md").read_text().splitlines()
    row = next(line for line in lines if 'id="a2.mnist-100.epoch-1"' in line)
    published, here = row.split("<td>")[2:]
    assert "90.00" in published and ">not reproduced<" in published
    assert "16.00" in here and ">reproduced<" in here
    assert sum("<td id=" in line for line in lines) == len(claims.load())
    assert "90.00" in (generated / "summary.md").read_text()


def test_machines_are_those_behind_the_chapters_that_are_shown(project: Project):
    write_executed(project, project.published)
    write_results(project, project.published_results / "01_tiny.json", runs=[run("published")])
    write_executed(project, project.chapters, seed=3)
    own = project.results("quick", "01_tiny")
    write_results(project, own, runs=[run("of_seed_0")])
    parameters = {"profile": "quick", "seed": 3, "data": "mnist"}
    path = own.with_name("01_tiny.seed-3.json")
    write_results(project, path, runs=[run("of_seed_3")], parameters=parameters)
    for published, name in ((False, "of_seed_3"), (True, "published")):
        book.stage(project, project.build / "source", published)
        text = (project.build / "source" / "generated" / "machines.md").read_text()
        assert re.findall("<td><code>(.*?)</code>", text) == [name]


def test_published_results_without_a_title_are_one_message(project: Project):
    write_executed(project, project.published)
    further = project.published_results / "01_tiny.further.json"
    write_results(project, further, runs=[])
    content = json.loads(further.read_bytes())
    del content["title"]
    further.write_text(json.dumps(content))
    with pytest.raises(UserError, match="runs of some results cannot be read"):
        book.stage(project, project.build / "source", published=True)


def test_a_staged_chapter_links_to_no_chapter_that_is_left_out(project: Project):
    path = write_executed(project, project.chapters)
    notebook = nbformat.read(path, as_version=4)
    links = [f"<a href='{name}.html#deviations'>{name}</a>" for name in ("01_tiny", "02_absent")]
    notebook.cells[2].outputs = [nbformat.v4.new_output("display_data", {"text/html": links})]
    nbformat.write(notebook, path)
    book.stage(project, project.build / "source")
    staged = nbformat.read(project.build / "source" / "chapters" / path.name, as_version=4)
    assert staged.cells[2].outputs[0].data["text/html"] == f"{links[0]}02_absent"


def test_speed_is_this_machines_or_else_the_published_one(
    project: Project, bench_files: Mapping[str, bytes]
):
    source = project.build / "source"
    text = source / "generated" / "speed.md"
    book.stage(project, source)
    assert "make bench" in text.read_text()
    write_bench(project.published_bench, bench_files, value=0.25)
    book.stage(project, source)
    assert "<td>0.250</td>" in text.read_text() and "From the published" in text.read_text()
    write_bench(project.build, bench_files, value=0.75)
    for published, value in ((False, "0.750"), (True, "0.250")):
        book.stage(project, source, published)
        assert f"<td>{value}</td>" in text.read_text()
    pictures = re.findall(r"\{figure\} (\S+)\n:alt: \S", text.read_text())
    assert len(pictures) == 3
    assert all((source / path).exists() for path in pictures)


FAULTS = [
    {"fault": "<b>pulled the plug</b>", "tried": 1200, "survived": 1199, "lost": 1},
    {"fault": "fuzzed", "tried": 30, "survived": 30, "lost": 0},
]


def write_faults(folder: Path, rows: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults_details.json").write_text(json.dumps(DETAILS))
    (folder / "faults.json").write_text(json.dumps(rows))
    return folder / "faults.json"


def test_what_was_survived_is_this_machines_or_else_the_published(project: Project):
    source = project.build / "source"
    faults, cluster = (source / "generated" / f"{name}.md" for name in ("faults", "cluster"))
    book.stage(project, source)
    assert "`make faults`" in faults.read_text() and "`make slurm`" in cluster.read_text()
    write_faults(project.published_tests, FAULTS)
    (project.published_tests / "slurm.log").write_text("0:01 node2 <down>\n```\n")
    book.stage(project, source)
    text = faults.read_text()
    assert "&lt;b&gt;pulled the plug&lt;/b&gt;</td><td>1,200</td><td>1,199</td><td>1</td>" in text
    assert "<b>1,200</b></td><td><b>1,199</b></td><td><b>1</b>" in text  # faults
    assert "<b>30</b></td><td><b>30</b></td><td><b>0</b>" in text  # fuzzed cases
    assert "published run" in text and "node2 &lt;down&gt;" in cluster.read_text()
    write_faults(project.build, FAULTS[1:])
    for published, whose in ((False, "this machine"), (True, "the published run")):
        book.stage(project, source, published)
        made = f"From {whose} (27 November 2026, \\<i\\>A\\</i\\> chip, 2 cores, torch 9.9, commit "
        assert f"{made}0123456789ab with changes):" in faults.read_text()
        assert ("pulled the plug" in faults.read_text()) == published


def test_what_was_survived_is_published_and_a_damaged_table_is_not(project: Project):
    table, log = write_faults(project.build, FAULTS), project.build / "slurm.log"
    log.write_text("done\n")
    book.publish(project)
    for path in table, table.with_name("faults_details.json"), log:
        assert (project.published_tests / path.name).read_bytes() == path.read_bytes()
    for spoilt in ("[", '[{"fault": "x"}]', "{}x", '[{"fault": "x", "tried": 1e999}]', "[3]"):
        table.write_text(spoilt)
        with pytest.raises(
            UserError, match=r"faults.json or its details are not what 'make faults'"
        ):
            book.publish(project)
    write_faults(project.build, FAULTS)
    for spoilt in ("[]", "{}", "{", json.dumps(DETAILS | {"finished": "yesterday"})):
        table.with_name("faults_details.json").write_text(spoilt)
        with pytest.raises(UserError, match="not what 'make faults' writes"):
            book.publish(project)
    assert json.loads((project.published_tests / "faults.json").read_bytes()) == FAULTS


def test_a_sweep_s_measurements_are_shown_as_text_and_a_damaged_table_is_refused(project: Project):
    source = project.build / "source"
    row = {"what": "a <b>graph</b>", "measured": "3 s", "thousand": "once"}
    project.build.mkdir(parents=True, exist_ok=True)
    (project.build / "sweep.json").write_text(json.dumps([row]))
    (project.build / "sweep_details.json").write_text(json.dumps(DETAILS))
    book.stage(project, source)
    shown = (source / "generated" / "sweep.md").read_text()
    assert "<td>a &lt;b&gt;graph&lt;/b&gt;</td><td>3 s</td><td>once</td>" in shown
    (project.build / "sweep.json").write_text(json.dumps([{"what": "a graph"}]))
    with pytest.raises(UserError, match=r"sweep.json or its details are not what 'make sweep'"):
        book.publish(project)
    assert not (project.published_tests / "sweep.json").exists()


@pytest.mark.parametrize("where", ["build", "published_bench"])
def test_a_damaged_bench_is_refused_by_name(
    project: Project, bench_files: Mapping[str, bytes], where: str
):
    table = write_bench(getattr(project, where), bench_files)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(UserError, match=f"cannot read .*{re.escape(str(table))}.*'make bench'"):
        book.stage(project, project.build / "source")


def unexecuted(notebook):
    notebook.cells[2].execution_count = None


def out_of_order(notebook):
    notebook.cells[2].execution_count = 7


def failed(notebook):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    notebook.cells[2].outputs = [error]


def stale(notebook):
    notebook.metadata[METADATA]["source_sha256"] = "0" * 64


def foreign(notebook):
    del notebook.metadata[METADATA]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (unexecuted, "cell 3, 'import sys' was not executed"),
        (out_of_order, "cell 3, 'import sys' was executed out of order"),
        (failed, "cell 3, 'import sys' holds an error"),
        (stale, "is stale"),
        (foreign, "is not a chapter executed by"),
    ],
)
@pytest.mark.parametrize("published", [False, True])
def test_a_spoilt_chapter_is_refused(project: Project, spoil, told: str, published: bool):
    path = write_executed(project, project.published if published else project.chapters)
    notebook = nbformat.read(path, as_version=4)
    spoil(notebook)
    nbformat.write(notebook, path)
    with pytest.raises(UserError, match=re.escape(told)):
        book.stage(project, project.build / "source", published)
    if not published:
        write_results(project, project.results("quick", "01_tiny"))
        with pytest.raises(UserError, match=re.escape(told)):
            book.publish(project, ["01_tiny"])
        assert not project.published.exists()


def test_a_cell_without_its_kind_is_refused(project: Project):
    """nbformat reads such a notebook, and only logs that it is none."""
    path = write_executed(project, project.chapters)
    path.write_text(path.read_text().replace('"cell_type"', '"ce ll_type"', 1))
    with pytest.raises(UserError, match="is not a chapter executed by"):
        book.check_executed(project, path)


def test_an_executed_chapter_keeps_its_warnings_and_no_progress_bars():
    warning = nbformat.v4.new_output("stream", name="stderr", text="UserWarning: look here\n")
    said = nbformat.v4.new_output("stream", name="stdout", text="50%|half\r")
    bar = "\rx epoch 1/1:  50%|█████     | 5.0k/10k [00:01<00:01, 5.1kstep/s, cost=1.39]"
    bars = nbformat.v4.new_output("stream", name="stderr", text=bar)
    both = nbformat.v4.new_output(
        "stream", name="stderr", text=f"{bar}UserWarning: look here\n{bar}{bar}\n"
    )
    cut = nbformat.v4.new_output("stream", name="stderr", text="\r 5%|▌ | 1/20")
    end = nbformat.v4.new_output("stream", name="stderr", text="\n")
    cell = nbformat.v4.new_code_cell("train()", outputs=[warning, bars, both, said, cut, end])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    book._tidy(notebook, {})
    assert [output.text for output in notebook.cells[0].outputs] == [
        "UserWarning: look here\n",
        "UserWarning: look here\n\n",
        "50%|half\r",
    ]


# ---- prose


def test_new_prose_reaches_an_executed_chapter_and_leaves_what_it_found(project: Project):
    before = nbformat.read(write_executed(project, project.chapters), as_version=4)
    results = write_results(project, project.results("quick", "01_tiny"))
    text = project.source("01_tiny").read_text()
    write_chapter(project, text + "\n# %% [markdown]\n# An afterthought.\n")
    with pytest.raises(UserError, match="is stale"):
        book.check_executed(project, project.chapters / "01_tiny.ipynb")
    path = book.reword(project, "01_tiny")
    book.check_executed(project, path)
    after = nbformat.read(path, as_version=4)
    assert after.cells[-1].source == "An afterthought."
    of_code = [
        [(c.source, c.outputs, c.execution_count) for c in cells if c.cell_type == "code"]
        for cells in (before.cells, after.cells)
    ]
    assert of_code[0] == of_code[1]
    content = json.loads(results.read_text())
    assert content["source_sha256"] == book.source_sha256(project, "01_tiny")
    assert content["claims"]["a2.mnist-100.epoch-1"]["values"] == {"0": 16.0}


@contextmanager
def full_at_the_second_file() -> Iterator[None]:
    """The disk takes one file and then no other, of which one message tells."""
    sync, synced = os.fsync, []

    def full(number: int) -> None:
        synced.append(number)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(number)

    with pytest.MonkeyPatch.context() as disk:
        disk.setattr(store.os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            yield


def test_new_prose_reaches_chapter_and_results_or_neither(project: Project):
    files = (
        write_executed(project, project.chapters),
        write_results(project, project.results("quick", "01_tiny")),
    )
    before = [path.read_bytes() for path in files]
    write_chapter(project, project.source("01_tiny").read_text() + "\n# %% [markdown]\n# More.\n")
    with full_at_the_second_file():
        book.reword(project, "01_tiny")
    assert [path.read_bytes() for path in files] == before
    assert book.reword(project, "01_tiny") == files[0]


def test_a_disk_that_refuses_is_told_in_one_line(project: Project, monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/full")

    monkeypatch.setattr(book, "Project", lambda: project)
    monkeypatch.setattr(book, "stage", full)
    assert book.main(["build"]) == 2
    assert capsys.readouterr().err == "book: [Errno 28] No space left on device: '/full'\n"


def test_a_published_chapter_can_get_new_prose_where_there_is_no_copy_of_this_machine(
    project: Project,
):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    book.publish(project)
    shutil.rmtree(project.build)
    write_chapter(project, project.source("01_tiny").read_text() + "\n# %% [markdown]\n# More.\n")
    mine = write_results(project, project.results("quick", "01_tiny"), created="by hand")
    with pytest.raises(UserError, match="this machine's own results of 01_tiny"):
        book.reword(project, "01_tiny")
    mine.unlink()
    assert book.reword(project, "01_tiny") == project.chapters / "01_tiny.ipynb"
    book.publish(project)
    assert "More." in (project.published / "01_tiny.ipynb").read_text()


def test_the_parameters_that_papermill_put_in_stay_where_they_are(project: Project):
    path = write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    notebook = nbformat.read(path, as_version=4)
    place = next(
        i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", [])
    )
    injected = nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(place + 1, injected)
    nbformat.write(notebook, path)
    cells = nbformat.read(book.reword(project, "01_tiny"), as_version=4).cells
    assert cells[place + 1].source == "seed = 0"
    assert len(cells) == len(notebook.cells)


@pytest.mark.parametrize("change", ["changed", "more", "less"])
def test_new_code_is_no_new_prose(change: str, project: Project):
    path = write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    before = path.read_bytes()
    text = project.source("01_tiny").read_text()
    cut = text.rindex("# %%")
    write_chapter(
        project,
        {
            "changed": text[:cut] + "# %%\n1 + 1\n",
            "more": text + "\n# %%\n2\n",
            "less": text[:cut],
        }[change],
    )
    with pytest.raises(UserError, match="is not the one that was executed"):
        book.reword(project, "01_tiny")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b"\xff"])
def test_what_is_no_executed_chapter_gets_no_new_prose(content: bytes | None, project: Project):
    path = project.chapters / "01_tiny.ipynb"
    if content is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises(UserError, match="is not a chapter executed by"):
        book.reword(project, "01_tiny")


def test_without_its_own_results_a_chapter_gets_no_new_prose(project: Project):
    write_executed(project, project.chapters)
    with pytest.raises(UserError, match="has no results that can be read"):
        book.reword(project, "01_tiny")
    write_results(project, project.results("quick", "01_tiny"), source_sha256="0" * 64)
    with pytest.raises(UserError, match="comes from another execution"):
        book.reword(project, "01_tiny")


# ---- publishing


def test_publishing_copies_chapter_and_results_and_renews_the_readme(project: Project):
    executed = write_executed(project, project.chapters)
    results = write_results(project, project.results("quick", "01_tiny"))
    begin, end = book.README_BLOCK
    (project.root / "README.md").write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    book.publish(project)
    assert (project.published / "01_tiny.ipynb").read_bytes() == executed.read_bytes()
    assert (project.published_results / "01_tiny.json").read_bytes() == results.read_bytes()
    text = (project.root / "README.md").read_text()
    assert text.startswith(f"before\n{begin}\n") and text.endswith(f"{end}\nafter\n")
    assert "16.00" in text and "old" not in text


def test_publishing_copies_what_the_bench_measured(
    project: Project, bench_files: Mapping[str, bytes]
):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    table = write_bench(project.build, bench_files)
    written = book.publish(project)
    details = table.with_name("bench_details.json")
    for path in table, details:
        assert (project.published_bench / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in written[-2:]] == [table.name, details.name]


def spoilt_path(details: dict, project: Project) -> None:
    details["provenance"]["commit"] = f"of {project.root}/repository"


def spoilt_curves(details: dict, project: Project) -> None:
    details["curves"] = {}


def spoilt_figures(details: dict, project: Project) -> None:
    del details["how"]["parzen_grid"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoilt_path, "holds a path of this machine"),
        (spoilt_curves, "bench_details.json: there is no 'parzen_samples'"),
        (spoilt_figures, "bench_details.json: there is no 'parzen_grid'"),
    ],
)
def test_a_bench_that_is_no_evidence_is_not_published(
    project: Project, bench_files: Mapping[str, bytes], spoil: Callable, told: str
):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    path = write_bench(project.build, bench_files).with_name("bench_details.json")
    details = json.loads(path.read_bytes())
    spoil(details, project)
    path.write_text(json.dumps(details))
    with pytest.raises(UserError, match=told):
        book.publish(project)
    assert not project.published_bench.exists()
    assert not project.published_results.exists()


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"profile": "smoke"}, "is a smoke run"),
        ({"seed": 3}, "ran with seed 3"),
        ({"data": "mine.npz"}, "ran with data mine.npz"),
        ({"replicates": 2}, "comes from another execution"),
    ],
)
def test_evidence_that_is_no_evidence_is_not_published(
    project: Project, parameters: dict, told: str
):
    write_executed(project, project.chapters, **parameters)
    write_results(project, project.results("quick", "01_tiny"))
    with pytest.raises(UserError, match=told):
        book.publish(project)
    assert not project.published.exists()
    assert not project.published_results.exists()


def test_results_of_another_source_or_other_parameters_are_not_taken_for_a_chapter_s(
    project: Project,
):
    write_executed(project, project.chapters)
    results = project.results("quick", "01_tiny")
    write_results(project, results, source_sha256="0" * 64)
    with pytest.raises(UserError, match="comes from another execution"):
        book.publish(project)
    write_results(project, results)
    write_executed(project, project.chapters, replicates=2)
    for command in book.publish, lambda told: book.reword(told, "01_tiny"):
        with pytest.raises(UserError, match="comes from another execution"):
            command(project)


def test_results_of_a_later_execution_by_hand_are_not_published(project: Project):
    """A notebook that a reader changes and runs leaves its results in the same place."""
    path = write_executed(project, project.chapters)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata[METADATA]["results_created"] = "when the chapter ran"
    nbformat.write(notebook, path)
    results = project.results("quick", "01_tiny")
    write_results(project, results, created="later")
    for command in book.publish, lambda told: book.reword(told, "01_tiny"):
        with pytest.raises(UserError, match="comes from another execution"):
            command(project)
    write_results(project, results, created="when the chapter ran")
    book.publish(project)
    assert verify.problems(project) == []
    write_results(project, project.published_results / "01_tiny.json", created="later")
    assert any("another execution" in line for line in verify.problems(project))


def test_a_shorter_profile_does_not_replace_a_longer_ones_evidence(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    tracked = write_results(project, project.published_results / "01_tiny.json", profile="standard")
    before = tracked.read_bytes()
    with pytest.raises(UserError, match="published from the standard profile"):
        book.publish(project)
    assert tracked.read_bytes() == before
    book.publish(project, force=True)
    assert tracked.read_bytes() != before


def test_what_to_run_again_is_told_with_its_parameters(project: Project):
    given = {"replicates": 1, "train": False, "label_counts": "100, all", "samples": None}
    path = write_executed(project, project.chapters, profile="standard", seed=2, **given)
    spoilt = nbformat.read(path, as_version=4)
    spoilt.cells[-1].execution_count = None
    nbformat.write(spoilt, path)
    with pytest.raises(UserError) as told:
        book.check_executed(project, path)
    (command,) = re.findall("'.venv/bin/python -m aae_lib.book (run .*)' again", str(told.value))
    assert shlex.split(command) == [
        *("run", "01_tiny", "--profile", "standard", "--seed", "2"),
        *("-p", "label_counts", "100, all", "-p", "replicates", "1", "-p", "train", "False"),
    ]


def test_fewer_epochs_do_not_replace_more_of_the_same_profile(project: Project):
    write_executed(project, project.chapters)
    path = project.results("quick", "01_tiny")
    write_results(project, path)
    tracked = project.published_results / "01_tiny.json"
    claim = {"values": {"0": 15.0}, "epochs": 2, "of_epochs": 5000}
    write_results(project, tracked, claims={"a2.mnist-100.epoch-1": claim})
    # Insisting on this chapter leaves the others as they are.
    insist = r"at epoch 2; this run has epoch 1\..* publish 01_tiny --force'\.$"
    with pytest.raises(UserError, match=insist):
        book.publish(project)
    book.publish(project, force=True)
    assert tracked.read_bytes() == path.read_bytes()


def test_fewer_seeds_or_other_images_do_not_replace_evidence(project: Project):
    write_executed(project, project.chapters)
    path, tracked = project.results("quick", "01_tiny"), project.published_results / "01_tiny.json"
    claim = {"values": {"0": 15.0}, "epochs": 1, "of_epochs": 5000}
    write_results(project, path, claims={"a2.mnist-100.epoch-1": claim})
    three = claim | {"values": {"0": 15.0, "2": 15.0, "10": 15.0}}
    write_results(project, tracked, claims={"a2.mnist-100.epoch-1": three})
    with pytest.raises(UserError, match="of seed 2, 10, which this run does not have"):
        book.publish(project)
    other = {"data": {"name": "squares", "digest": "0123456789ab"}}
    write_results(project, tracked, claims={"a2.mnist-100.epoch-1": claim})
    write_results(project, path, claims={"a2.mnist-100.epoch-1": claim | other})
    with pytest.raises(UserError, match="of MNIST; this run has other images in its place"):
        book.publish(project)
    book.publish(project, force=True)
    assert tracked.read_bytes() == path.read_bytes()
    write_results(project, path, claims={"a2.mnist-100.epoch-1": claim})
    book.publish(project)  # its own in the place of others


def test_evidence_without_a_claim_that_is_published_does_not_replace_it(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    claims = {
        name: {"values": {"0": 15.0}, "epochs": 1, "of_epochs": 5000}
        for name in ("a2.mnist-100.epoch-1", "table2.mnist-100.aae")
    }
    tracked = write_results(project, project.published_results / "01_tiny.json", claims=claims)
    with pytest.raises(UserError, match=r"with table2\.mnist-100\.aae, which this run does not"):
        book.publish(project)
    assert "table2.mnist-100.aae" in tracked.read_text()
    book.publish(project, force=True)
    assert "table2.mnist-100.aae" not in tracked.read_text()


def test_results_beside_the_published_ones_add_to_the_evidence(project: Project):
    """A further execution of a chapter: its claims count where they are the better ones, and its runs are shown."""
    claim = "a2.mnist-100.epoch-50"
    early = {claim: {"values": {"0": 9.0}, "epochs": 20, "of_epochs": 5000}}
    write_executed(project, project.chapters)
    path = project.results("quick", "01_tiny")
    write_results(project, path, claims=early, runs=[run("the first")])
    with pytest.raises(UserError, match="not published yet"):
        book.publish(project, ["01_tiny"], beside="longer")
    book.publish(project)
    before = (project.published / "01_tiny.ipynb").read_bytes()

    later = {claim: {"values": {"0": 3.4}, "epochs": 50, "of_epochs": 5000}}
    write_results(project, path, claims=later, runs=[run("the second")])
    for names, name in ((["01_tiny"], "no/such"), (["01_tiny"], "a.b"), ([], "longer")):
        with pytest.raises(UserError, match="one chapter and a name"):
            book.publish(project, names, beside=name)
    book.publish(project, ["01_tiny"], beside="longer-run")
    assert (project.published / "01_tiny.ipynb").read_bytes() == before
    files = [project.published_results / f"01_tiny{name}.json" for name in ("", ".longer-run")]
    assert project.evidence("01_tiny") == files
    found = claims.evidence(project.published_results)[claim]
    assert (found.values, found.epochs) == ({0: 3.4}, 50)
    assert verify.changed(project) == []

    book.stage(project, project.build / "source", published=True)
    machines = (project.build / "source" / "generated" / "machines.md").read_text()
    assert re.findall(r"the first|\(longer run\)|the second", machines) == [
        "the first",
        "(longer run)",
        "the second",
    ]
    write_results(project, path, claims=early)
    with pytest.raises(
        UserError, match=r"this run has epoch 20\..* 01_tiny --beside longer-run --force'"
    ):
        book.publish(project, ["01_tiny"], beside="longer-run")


def test_other_seeds_are_published_beside_the_page_of_the_first(project: Project):
    claim = "a2.mnist-100.epoch-50"

    def executed(seed: int, error: float, mark: str = "") -> None:
        write_executed(project, project.chapters, seed=seed)
        measured = {"values": {str(seed): error}, "epochs": 50, "of_epochs": 5000}
        path = project.results("quick", f"01_tiny{mark}")
        parameters = {"profile": "quick", "seed": seed, "data": "mnist"}
        write_results(project, path, seeds=[seed], parameters=parameters, claims={claim: measured})

    executed(0, 3.4)
    book.publish(project)
    executed(1, 3.9, ".seed-1")
    with pytest.raises(UserError, match=r"a page shows seed 0.*publish 01_tiny --beside seed-1\."):
        book.publish(project)
    book.publish(project, ["01_tiny"], beside="seed-1")
    assert claims.evidence(project.published_results)[claim].values == {0: 3.4, 1: 3.9}
    assert verify.changed(project) == []


def test_the_prose_of_another_seed_s_copy_is_exchanged_too(project: Project):
    write_executed(project, project.chapters, seed=1)
    path = project.results("quick", "01_tiny.seed-1")
    parameters = {"profile": "quick", "seed": 1, "data": "mnist"}
    write_results(project, path, seeds=[1], parameters=parameters)
    write_chapter(project, project.source("01_tiny").read_text() + "\n# %% [markdown]\n# More.\n")
    assert "More." in book.reword(project, "01_tiny").read_text()
    digest = book.source_sha256(project, "01_tiny")
    assert json.loads(path.read_bytes())["source_sha256"] == digest
    assert not project.results("quick", "01_tiny").exists()


def test_a_readme_without_markers_in_their_order_stays_as_it_is():
    begin, end = book.README_BLOCK
    assert book.with_results(f"a{begin}old{end}z", "new\\1\n") == f"a{begin}\nnew\\1\n{end}z"
    for text in "no markers", begin, f"a{end}between{begin}z":
        assert book.with_results(text, "new") == text


def test_a_missing_package_is_not_taken_for_a_damaged_chapter(project: Project, monkeypatch):
    path = write_executed(project, project.chapters)
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with pytest.raises(ImportError, match="nbformat"):
        book.check_executed(project, path)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"profile": "quick"}', b"\xff"])
def test_damaged_evidence_is_replaced_only_if_one_insists(content: bytes, project: Project):
    write_executed(project, project.chapters)
    path = write_results(project, project.results("quick", "01_tiny"))
    tracked = project.published_results / "01_tiny.json"
    tracked.parent.mkdir(parents=True)
    tracked.write_bytes(content)
    with pytest.raises(UserError, match=r"01_tiny\.json is damaged.*with git"):
        book.publish(project)
    assert tracked.read_bytes() == content
    book.publish(project, force=True)
    assert tracked.read_bytes() == path.read_bytes()


def test_chapter_and_results_are_published_both_or_neither(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    with full_at_the_second_file():
        book.publish(project)
    left = [
        p for p in (project.root / "data", project.published) for p in p.rglob("*") if p.is_file()
    ]
    assert left == []


def test_evidence_changed_by_hand_is_not_published_along(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    (project.root / "data").mkdir()
    (project.root / "data" / "claims.toml").write_text("# a ledger\n")
    book.publish(project)
    other = project.published_results / "02_other.json"
    other.write_text("{}")
    with pytest.raises(UserError, match=r"02_other.json is there and was never published"):
        book.publish(project)
    other.unlink()
    (project.root / "data" / "claims.toml").write_text("# another ledger\n")
    book.publish(project)  # the ledger is written by hand


def test_a_parameter_that_names_a_file_of_this_machine_is_not_published(project: Project):
    write_executed(project, project.chapters, data="mnist", faces="/home/me/faces.npz")
    write_results(project, project.results("quick", "01_tiny"))
    with pytest.raises(UserError, match="put that file into the data root"):
        book.publish(project)


@pytest.mark.parametrize("place", ["root", "build", "prefix"])
def test_paths_of_this_machine_are_not_published(
    project: Project, place: str, monkeypatch, tmp_path_factory
):
    monkeypatch.setenv("AAE_BUILD", str(tmp_path_factory.mktemp("elsewhere")))
    private = {"root": project.root, "build": project.build, "prefix": sys.prefix}[place]
    path = write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    notebook = nbformat.read(path, as_version=4)
    text = f"saved {private}/x.png"
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text=text)]
    nbformat.write(notebook, path)
    with pytest.raises(UserError, match="holds a path of this machine"):
        book.publish(project)


def test_a_longer_run_replaces_a_shorter_one_unasked(project: Project):
    write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    book.publish(project)
    write_executed(project, project.chapters, profile="standard")
    longer = {"values": {"0": 9.0}, "epochs": 50, "of_epochs": 5000}
    first = {"values": {"0": 9.0}, "epochs": 1, "of_epochs": 5000}
    path = write_results(
        project,
        project.results("standard", "01_tiny"),
        profile="standard",
        claims={"a2.mnist-100.epoch-1": first, "a2.mnist-100.epoch-50": longer},
        parameters={"profile": "standard", "seed": 0, "data": "mnist"},
    )
    book.publish(project)
    published = project.published_results / "01_tiny.json"
    assert published.read_bytes() == path.read_bytes()
    book.reword(project, "01_tiny")  # finds them where that profile has left them
    assert json.loads(path.read_bytes()) == json.loads(published.read_bytes())


def test_publishing_anew_mends_what_was_changed_by_hand_and_renews_the_landing_picture(
    project: Project,
):
    write_chapter(project, TINY.replace("# %%\n# the last", '# %% tags=["landing"]\n# the last'))
    path = write_executed(project, project.chapters)
    write_results(project, project.results("quick", "01_tiny"))
    notebook = nbformat.read(path, as_version=4)
    picture = {"image/png": base64.b64encode(b"a new picture").decode()}
    notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", picture)]
    nbformat.write(notebook, path)
    book.publish(project)
    assert (project.root / "book" / "_static" / "landing.png").read_bytes() == b"a new picture"
    (project.published / "01_tiny.ipynb").write_text("{}")
    book.publish(project)
    assert verify.changed(project) == []


def test_the_commands_pass_on_what_they_are_given(project: Project, monkeypatch):
    seen = []

    def staged(_: Project, source: Path, published: bool = False) -> None:
        seen.append(published)
        raise UserError("enough")

    monkeypatch.setattr(book, "Project", lambda: project)
    monkeypatch.setattr(book, "stage", staged)
    monkeypatch.setattr(book, "publish", lambda *given: seen.append(given) or [])
    monkeypatch.setattr(book, "reword", lambda *given: seen.append(given))
    monkeypatch.setattr(book, "run", lambda *given: seen.append(given))
    assert [book.main(["build", "--published"]), book.main(["build"])] == [2, 2]
    assert book.main(["publish", "1", "--force", "--beside", "longer"]) == 0
    assert book.main(["reword", "1"]) == 0
    assert book.main(["run", "1", "--profile", "standard", "--seed", "3", "-p", "rate", "0.1"]) == 0
    assert seen == [
        True,
        False,
        (project, ["01_tiny"], True, "longer"),
        (project, "01_tiny"),
        (project, "01_tiny", {"profile": "standard", "seed": 3, "rate": 0.1}),
    ]


def test_nothing_executed_is_nothing_to_publish(project: Project):
    with pytest.raises(UserError, match="no executed chapter"):
        book.publish(project)


# ---- the repository's own published chapters


@pytest.mark.parametrize("path", sorted(Project().published.glob("*.ipynb")), ids=lambda p: p.stem)
def test_no_published_chapter_is_a_smoke_run(path: Path):
    """That all are complete, fresh and with their results is `aae verify`'s to say: test_verify.py asks it."""
    assert book.check_executed(Project(), path)["parameters"]["profile"] != "smoke"


def test_published_results_belong_to_published_chapters():
    project = Project()
    results = {path.stem.partition(".")[0] for path in project.published_results.glob("*.json")}
    assert results == {path.stem for path in project.published.glob("*.ipynb")}


def test_the_published_conclusion_was_executed_after_the_chapters_that_it_sums_up():
    folder = Project().published_results
    made = {path.stem: json.loads(path.read_bytes())["created"] for path in folder.glob("*.json")}
    assert made.get("10_conclusion", max(made.values())) == max(made.values())


def test_the_landing_picture_is_that_of_the_cell_tagged_so(tmp_path: Path):
    picture = b"\x89PNG of the code space"
    output = nbformat.v4.new_output(
        "display_data", {"image/png": base64.b64encode(picture).decode(), "text/plain": "figure"}
    )
    cells = [nbformat.v4.new_code_cell("1"), nbformat.v4.new_code_cell("2", outputs=[output])]
    path = tmp_path / "chapter.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert book.landing_picture(path) is None
    cells[1].metadata["tags"] = ["landing"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert book.landing_picture(path) == picture
