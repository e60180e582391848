"""Chapters executed, the book built, the evidence published: what stands behind `make book`.

    notebooks/NN_slug.ipynb ── run ──► _build/chapters ── build ──► _build/html
                                             └──────── publish ──► book/chapters, data/results

What `make bench` measured goes the same way: from _build into the page "How fast", and to data/bench. So does what
`make faults`, `make sweep` and `make slurm` found: into the page "How this is tested", and to data/tested.
A notebook counts only if it ran from top to bottom without an error and its source has not changed
since; everything here refuses others. What existed before stays until its successor is complete.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aae_lib import claims, pages, store
from aae_lib.config import MOST_SEEDS, PROFILES, checked_epochs, profile
from aae_lib.errors import UNREADABLE, Parser, Stopped, UserError, exit_code, on_sigterm, suggest

if TYPE_CHECKING:
    from nbformat import NotebookNode

METADATA = "aae"
"""Notebook metadata written by `run`: source_sha256 and parameters of that execution and, where it left results, when
those were written (results_created)."""

PARAMETERS: dict[str, tuple[type, ...]] = {
    "profile": (str,),
    "seed": (int,),
    "replicates": (int, type(None)),
    "device": (str,),
    "data": (str,),
    "allow_cpu": (bool,),
}
"""The parameters of every chapter, with the types that each may have."""

OWN_PARAMETERS: dict[str, tuple[type, ...]] = {
    "samples": (int, type(None)),
    "faces": (str,),
    "first_seed_epochs": (int, float, type(None)),
    "house_numbers": (str,),
    "house_number_epochs": (int, float, type(None)),
    "label_counts": (str, int),
    "cluster_counts": (str, int),
    "epochs": (int, float, type(None)),
    "trial_epochs": (int, float, type(None)),
    "train": (bool,),
}
"""Those that only some chapters have."""

TESTED = ("faults.json", "faults_details.json", "slurm.log", "sweep.json", "sweep_details.json")
"""What `make faults`, `make slurm` and `make sweep` leave in the build folder."""

PROGRESS = re.compile(r"^[^\n]*?%\|(?:[^\n]*?\[[^]\n]*\]|[^\n]*)")
"""One state of one of tqdm's bars, behind the carriage return that puts it in the place of the last one."""

README_BLOCK = ("<!-- results: made by 'make publish' -->", "<!-- end of results -->")


class ChapterError(UserError):
    """A chapter that failed while it ran; the message names the cell."""

    exit_code = 1


@dataclass(frozen=True)
class Project:
    """Where sources and products lie. Tests give another root."""

    root: Path = store.REPOSITORY

    @property
    def build(self) -> Path:
        """Everything that is made here: `$AAE_BUILD`, or `_build`."""
        return store.build_root()

    @property
    def chapters(self) -> Path:
        """Executed chapters of this machine."""
        return self.build / "chapters"

    @property
    def published(self) -> Path:
        """Executed chapters that are tracked."""
        return self.root / "book" / "chapters"

    @property
    def published_results(self) -> Path:
        """Results that are tracked: the published evidence."""
        return self.root / "data" / "results"

    @property
    def published_bench(self) -> Path:
        """What `make bench` measured, tracked."""
        return self.root / "data" / "bench"

    @property
    def published_tests(self) -> Path:
        """What `make faults`, `make slurm` and `make sweep` found, tracked."""
        return self.root / "data" / "tested"

    def source(self, chapter: str) -> Path:
        """The chapter's source, py:percent."""
        return self.root / "notebooks" / f"{chapter}.py"

    def results(self, name: str, chapter: str) -> Path:
        """This machine's results of `chapter` on the profile `name`, seed 0."""
        return self.build / "results" / name / f"{chapter}.json"

    def all_results(self, name: str, chapter: str) -> list[Path]:
        """This machine's results of `chapter` on the profile `name`, of other seeds and data too."""
        return sorted(self.results(name, chapter).parent.glob(f"{chapter}*.json"))

    def evidence(self, chapter: str) -> list[Path]:
        """A chapter's published results, and those of its further executions that were published beside them."""
        folder = self.published_results
        return [
            path
            for path in (folder / f"{chapter}.json", *sorted(folder.glob(f"{chapter}.*.json")))
            if path.exists()
        ]

    def names(self) -> list[str]:
        """The chapters that have a source, in order."""
        return sorted(path.stem for path in (self.root / "notebooks").glob("[0-9]*.py"))

    def find(self, name: str) -> str:
        """The chapter called `name`: in full, its number alone, or its file. Raises UserError for any other."""
        stem = Path(name).stem if name.endswith((".py", ".ipynb")) else name
        number = f"{int(stem):02d}_" if stem.isdecimal() else None
        for chapter in self.names():
            if chapter == stem or (number and chapter.startswith(number)):
                return chapter
        raise UserError(f"unknown chapter '{name}'; {suggest(name, self.names())}")


# ------------------------------------------------------------------------------------------ execute


def run(project: Project, chapter: str, given: dict[str, Any]) -> Path:
    """Execute `chapter` with the parameters `given`; returns the executed copy, `_build/chapters/<chapter>.ipynb`.

    The copy appears only when the last cell has run. Raises UserError for parameters that the chapter
    does not have and for a pair that disagrees, ChapterError when a cell fails, Stopped at SIGTERM.
    """
    import nbformat
    import papermill

    try:
        import ipykernel  # noqa: F401  which papermill starts in another process, where its absence is a traceback
    except ImportError as error:
        raise UserError(
            f"no Jupyter kernel can be started ({error}); 'make -B setup' installs it."
        ) from None
    source = project.source(chapter).with_suffix(".ipynb")
    if not source.exists():
        raise UserError(f"there is no {source}; 'make sync' makes it from the .py.")
    _refuse_torn_pair(project, chapter)
    parameters = checked_parameters(source, given)
    about = {"source_sha256": source_sha256(project, chapter), "parameters": parameters}
    target = project.chapters / source.name
    log = project.build / "logs" / f"{chapter}.log"
    lock = project.build / "locks" / chapter
    with (
        _writing(chapter, target.parent, log.parent),
        store.locked(lock),
        store.scratch(lock) as scratch,
        log.open("w", encoding="utf-8", buffering=1) as output,
        _this_interpreter(project),
        _passing_on_sigterm(chapter) as stopped,
    ):
        running = Path(scratch, source.name)
        try:
            papermill.execute_notebook(
                source,
                running,
                parameters={name: parameters[name] for name in given},
                kernel_name="python3",
                # no warning of the kernel's plain local sockets
                extra_arguments=["--log-level=ERROR"],
                cwd=project.root,
                stdout_file=output,
                stderr_file=output,
            )
        except Exception as error:
            if stopped:
                raise Stopped(f"{chapter} was stopped; the same command goes on.") from None
            failed = log.with_suffix(".ipynb")
            failed.unlink(missing_ok=True)
            if running.exists():
                running.replace(failed)
            message = f"{chapter} failed{_where(failed, error)}"
            told = "\n".join([message, *getattr(error, "traceback", [])])
            print(re.sub(r"\x1b\[[0-9;]*m", "", told), file=output)  # without IPython's colours
            kept = f"\n{target} is still the last good copy." if target.exists() else ""
            raise ChapterError(f"{message}{kept}\nThe whole output: {log}") from error
        notebook = nbformat.read(running, as_version=4)
        # A chapter without results, or of other seeds or data, is never published.
        if results := own_results(project, chapter, parameters):
            about["results_created"] = json.loads(results.read_bytes()).get("created")
        _tidy(notebook, about)
        store.write_atomically(target, nbformat.writes(notebook).encode())
    return target


def checked_parameters(notebook: Path, given: dict[str, Any]) -> dict[str, Any]:
    """All parameters of `notebook`, with the values `given` in place of the defaults.

    papermill only logs a parameter that a notebook does not have. Raises UserError for an unknown
    name or profile, with the nearest valid one, and for a value that the parameter may not have.
    """
    import papermill
    from papermill.exceptions import PapermillException

    try:
        found = papermill.inspect_notebook(notebook)
    except (*UNREADABLE, PapermillException) as error:
        raise UserError(
            f"{notebook} names no kernel and language that can be read ({error!r}). Remove it; 'make sync' makes "
            "it from the .py."
        ) from None
    try:
        defaults = {name: ast.literal_eval(p["default"]) for name, p in found.items()}
    except (ValueError, SyntaxError) as error:
        raise UserError(
            f"{notebook}: a parameter's default must be a plain value ({error})."
        ) from None
    parameters = defaults | given
    for name, value in given.items():
        if name not in defaults:
            raise UserError(f"{notebook.stem} has no parameter '{name}'; {suggest(name, defaults)}")
        if type(defaults[name]) is str and type(value) in (int, float):
            parameters[name] = str(value)  # as on the command line: -p label_counts 100
    if "profile" in parameters:
        profile(parameters["profile"])
    refuse_ill_typed(notebook.stem, parameters)
    return parameters


def refuse_ill_typed(chapter: str, parameters: Mapping[str, Any]) -> None:
    """Raise UserError for a parameter of a chapter that has another type, or another value, than it may have."""
    types = PARAMETERS | OWN_PARAMETERS
    for key, value in parameters.items():
        kinds = types.get(key, (object,))
        if not isinstance(value, kinds) or (isinstance(value, bool) and int in kinds):
            expected = " or ".join("None" if k is type(None) else k.__name__ for k in kinds)
            raise UserError(f"{chapter}: parameter {key} must be {expected}, not {value!r}.")
        if key.endswith("epochs") and value is not None:
            checked_epochs(f"{chapter}: parameter {key}", value)
    replicates = parameters.get("replicates")
    if (
        not 1 <= (1 if replicates is None else replicates) < MOST_SEEDS
        or parameters.get("seed", 0) < 0
    ):
        raise UserError(
            f"{chapter}: replicates must be from 1 to fewer than {MOST_SEEDS:,}, and seed at least 0."
        )


def source_sha256(project: Project, chapter: str) -> str:
    """The hash of a chapter's source, which its executed copy and its results carry."""
    return hashlib.sha256(project.source(chapter).read_bytes()).hexdigest()


def own_results(project: Project, chapter: str, parameters: Mapping[str, Any]) -> Path | None:
    """This machine's results of a chapter that ran with `parameters`; None if there are none that can be read.

    Other seeds and data have files of their own.
    """
    for path in project.all_results(parameters.get("profile", "quick"), chapter):
        with suppress(*UNREADABLE):
            content = json.loads(path.read_bytes())
            if content["parameters"] == parameters:
                return path
    return None


def same_execution(about: Mapping[str, Any], results: Mapping[str, Any]) -> bool:
    """Whether `results` come from the execution that an executed chapter tells of in `about`.

    A notebook that someone changed and ran by hand leaves results in the same place, of another time. Raises KeyError
    or TypeError for what is no results file.
    """
    theirs = {
        "parameters": results["parameters"],
        "source_sha256": results["source_sha256"],
        "results_created": results.get("created"),
    }
    return all(about[key] == value for key, value in theirs.items() if key in about)


def _in_place_of(about: Mapping[str, Any], results: Path) -> bool:
    """Whether `results`, of the seed and the data that `about` tells of, are those of another execution."""
    with suppress(*UNREADABLE):  # what cannot be read is told by who shows it
        content = json.loads(results.read_bytes())
        mine, theirs = about["parameters"], content["parameters"]
        same_place = all(mine.get(key) == theirs.get(key) for key in ("seed", "data"))
        return same_place and not same_execution(about, content)
    return False


def pair_difference(project: Project, chapter: str) -> str | None:
    """What sets a chapter's .py and .ipynb apart; None if they say the same."""
    import jupytext

    source = project.source(chapter)
    if not source.with_suffix(".ipynb").exists():
        return "there is no .ipynb"
    ours, theirs = jupytext.read(source).cells, jupytext.read(source.with_suffix(".ipynb")).cells
    if len(ours) != len(theirs):
        return f"{len(ours)} cells in the .py, {len(theirs)} in the .ipynb"
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True), start=1):
        metadata = [
            {k: c.metadata[k] for k in ("tags", "mystnb") if k in c.metadata} for c in (a, b)
        ]
        if (a.cell_type, a.source) != (b.cell_type, b.source) or metadata[0] != metadata[1]:
            return f"cell {number}, '{_first_line(a.source)}'"
    return None


def _refuse_torn_pair(project: Project, chapter: str) -> None:
    notebook = project.source(chapter).with_suffix(".ipynb")
    if notebook.exists():
        try:
            _valid(notebook)
        except Exception as error:
            raise UserError(
                f"{notebook} is damaged ({_in_a_line(error)}). Remove it; 'make sync' makes it from the .py."
            ) from None
    if difference := pair_difference(project, chapter):
        raise UserError(
            f"notebooks/{chapter}.py and notebooks/{chapter}.ipynb disagree ({difference}). "
            "'make sync' brings them together, the newer one leading."
        )


@contextmanager
def _writing(chapter: str, *folders: Path) -> Iterator[None]:
    """Make `folders`, and turn what a full or read-only disk raises from then on into one UserError."""
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"{chapter} cannot be written to {folders[0]}: {error.strerror or error}. "
            "Free some space or set AAE_BUILD elsewhere."
        ) from None


@contextmanager
def _this_interpreter(project: Project) -> Iterator[None]:
    """Run kernels with this Python, and away from the reader's own IPython and Jupyter files.

    A kernel called python3 that the reader once registered would else be taken before this one's. IPython's folder is
    made here, for a kernel that finds no room for it dies with a traceback. Raises OSError then.
    """
    from IPython.core.profiledir import ProfileDir

    ours = {
        "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter")),  # searched before any other
        "JUPYTER_RUNTIME_DIR": str(project.build / "jupyter"),
        "IPYTHONDIR": str(project.build / "ipython"),
    }
    folder = Path(ours["IPYTHONDIR"], "profile_default")
    folder.mkdir(parents=True, exist_ok=True)
    ProfileDir(location=str(folder))
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _passing_on_sigterm(chapter: str) -> Iterator[list[int]]:
    """SIGTERM goes to the kernel, where a training then leaves a checkpoint; yields a list, empty until it comes.

    Before there is a kernel, and after its end, it raises Stopped.
    """
    import psutil

    received: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        received.append(number)
        kernels = psutil.Process().children()
        if not kernels:
            raise Stopped(f"{chapter} was stopped; the same command goes on.")
        for kernel in kernels:
            with suppress(psutil.NoSuchProcess):
                kernel.terminate()

    with on_sigterm(pass_on):
        yield received


def _where(failed: Path, error: Exception) -> str:
    """Which cell failed, and how, in one line."""
    import nbformat

    reason = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
    if type(error).__name__ == "DeadKernelError":
        reason = "its Python died, most likely for want of memory"
    try:
        cells = nbformat.read(failed, as_version=4).cells
    except (OSError, ValueError):  # none was written, or a full disk cut it short
        cells = []
    # Cells that the reader's notebook lacks do not count.
    extra = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [cell for cell in cells if extra.isdisjoint(cell.metadata.get("tags", []))]
    started = [
        f" in cell {number}, '{_first_line(cell.source)}'"
        for number, cell in enumerate(cells, start=1)
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("start_time")
    ]
    return f"{started[-1] if started else ''}\n{reason}"


def _first_line(source: str) -> str:
    return next((line.strip() for line in source.splitlines() if line.strip()), "")[:80]


def _tidy(notebook: NotebookNode, about: dict[str, Any]) -> None:
    """Hide the cell that papermill injected, put `about` in place of its paths and times, drop progress bars."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata[METADATA] = about
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = ["injected-parameters", "remove-cell"]
        if "outputs" in cell:
            cell.outputs = [output for output in map(_without_bars, cell.outputs) if output]


def _without_bars(output: NotebookNode) -> NotebookNode | None:
    """An output without progress bars, of which thousands say what a run's provenance says; None if nothing is left."""
    if output.get("name") != "stderr":
        return output
    first, *states = output.text.split("\r")
    text = first + "".join(PROGRESS.sub("", state) for state in states)
    if not text.strip():
        return None
    output.text = text
    return output


def reword(project: Project, chapter: str) -> Path:
    """Give an executed chapter today's prose; returns the executed copy, `_build/chapters/<chapter>.ipynb`.

    Text, captions and tags are those of the source as it is now; outputs and results stay. The copy is this machine's,
    or else the published one. Raises UserError where code has changed, whose outputs would not be its own, and for a
    pair that disagrees.
    """
    import nbformat

    _refuse_torn_pair(project, chapter)
    target = project.chapters / f"{chapter}.ipynb"
    tracked = not target.exists()
    executed = project.published / target.name if tracked else target
    notebook, about = _executed(executed)
    parameters = about["parameters"]
    path = own_results(project, chapter, parameters)
    path = path or project.results(parameters.get("profile", "quick"), chapter)
    results = project.published_results / f"{chapter}.json" if tracked else path
    try:
        content = json.loads(results.read_bytes())
        of_this = same_execution(about, content)
    except UNREADABLE as error:
        raise UserError(f"{chapter} has no results that can be read ({error}).") from None
    if not of_this:
        raise UserError(f"{results} comes from another execution than {executed}.")
    if tracked and path.exists() and path.read_bytes() != results.read_bytes():
        raise UserError(
            f"{path} holds this machine's own results of {chapter}, which the published ones would replace. "
            "Move that file away, or execute the chapter here first."
        )
    injected = [c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", [])]
    ran = [c for c in notebook.cells if c.cell_type == "code" and c not in injected]
    source = nbformat.read(project.source(chapter).with_suffix(".ipynb"), as_version=4)
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    for before, now in itertools.zip_longest(ran, code):
        if before is None or now is None or before.source != now.source:
            where = _first_line((now or before).source)
            raise UserError(
                f"{chapter}: the cell '{where}' is not the one that was executed. Only prose can be exchanged. "
                f"{_again(chapter, parameters)}"
            )
    outputs = iter(ran)
    notebook.cells = []
    for cell in source.cells:
        if cell.cell_type == "code":
            executed_cell = next(outputs)
            executed_cell.metadata = cell.metadata
            cell = executed_cell
        notebook.cells.append(cell)
        if "parameters" in cell.metadata.get("tags", []):
            notebook.cells += injected
    digest = source_sha256(project, chapter)
    notebook.metadata[METADATA] = about | {"source_sha256": digest}
    text = json.dumps(content | {"source_sha256": digest}, indent=1, allow_nan=False)
    store.write_together([
        (path, text.encode() + b"\n"),
        (target, nbformat.writes(notebook).encode()),
    ])  # fmt: skip
    return target


# -------------------------------------------------------------------------------------------- check


def _executed(path: Path) -> tuple[NotebookNode, dict[str, Any]]:
    """An executed copy, and what it says of its execution. Raises UserError if it is none."""
    try:
        notebook = _valid(path)
        about = dict(notebook.metadata[METADATA])
        complete = isinstance(about["parameters"], dict) and "source_sha256" in about
    except ImportError:  # of nbformat, which is no fault of the copy's
        raise
    except Exception as error:
        reason = _in_a_line(error)
        raise UserError(f"{path} is not a chapter executed by 'make chapter' ({reason}).") from None
    if not complete:
        raise UserError(f"{path} does not say from which source and parameters it was executed.")
    return notebook, about


def _valid(path: Path) -> NotebookNode:
    """A notebook. Damaged ones make nbformat raise its own kinds of exception, those of json and of jsonschema."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)  # which `read` only logs
    return notebook


def _in_a_line(error: Exception) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__


def _again(chapter: str, parameters: Mapping[str, Any]) -> str:
    """The end of a message: the command that executes `chapter` with these parameters again. None is a default."""
    given = {"profile": "quick"} | dict(parameters)
    command = ["run", chapter, "--profile", given.pop("profile"), "--seed", given.pop("seed", 0)]
    usual = {"device": "auto", "data": "mnist", "allow_cpu": False}
    for name, value in given.items():
        if value is not None and value != usual.get(name):
            command += ["-p", name, value]
    return f"Run '.venv/bin/python -m aae_lib.book {shlex.join(map(str, command))}' again."


def check_executed(project: Project, path: Path) -> dict[str, Any]:
    """What an executed copy says of its execution. Raises UserError if it is not to be shown.

    Refused are an error output, a code cell that has not run or not in its order, and a source that
    has changed since.
    """
    chapter = path.stem
    notebook, about = _executed(path)
    digest, remedy = about["source_sha256"], _again(chapter, about["parameters"])
    if not project.source(chapter).exists():
        raise UserError(f"{path} has no source notebooks/{chapter}.py; remove it.")
    if digest != source_sha256(project, chapter):
        if path.parent == project.published:
            remedy = (
                f"Where prose alone has, '.venv/bin/python -m aae_lib.book reword {chapter}' and publish it; where "
                f"code has, execute and publish it; 'git checkout notebooks/{chapter}.*' drops a change."
            )
        raise UserError(f"{path} is stale: notebooks/{chapter}.py has changed since. {remedy}")
    expected = 0
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        where = f"{path}, cell {number}, '{_first_line(cell.source)}'"
        if any(output.output_type == "error" for output in cell.outputs):
            raise UserError(f"{where} holds an error. {remedy}")
        if not cell.source.strip():
            continue
        expected += 1
        if cell.execution_count != expected:
            how = (
                "was not executed" if cell.execution_count is None else "was executed out of order"
            )
            raise UserError(f"{where} {how}. {remedy}")
    return about


# -------------------------------------------------------------------------------------------- build


def build(project: Project, published: bool = False) -> Path:
    """Stage the book and build its pages into `_build/html`; returns the first page.

    This machine's chapters come first, then the published ones; `published` takes only the latter.
    Raises UserError if a chapter is not to be shown or Sphinx warns of anything; the book that was
    there then stays.
    """
    lock = project.build / "locks" / "book"
    with store.locked(lock):
        source = project.build / "source"
        stage(project, source, published)
        log = project.build / "logs" / "book.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with store.scratch(lock) as scratch:
            program = Path(sys.executable).with_name("jupyter-book")
            if not program.exists():
                raise UserError(f"there is no {program}; 'make -B setup' installs it.")
            command = [str(program), "build", str(source)]
            command += ["--config", str(project.root / "_config.yml"), "--path-output", scratch]
            command += ["-W", "-n", "--keep-going"]
            done = subprocess.run(command, capture_output=True, text=True)
            log.write_text(done.stdout + done.stderr, encoding="utf-8")
            made = Path(scratch, "_build", "html")
            if done.returncode or not (made / "index.html").exists():
                lines = (done.stdout + done.stderr).splitlines()
                told = [line for line in lines if "WARNING" in line or "ERROR" in line]
                told = "\n".join(told or lines[-5:])
                raise UserError(f"the book does not build:\n{told}\nThe whole output: {log}")
            page = project.build / "html"
            if page.exists():
                page.rename(Path(scratch, "previous"))
            made.rename(page)
    return page / "index.html"


def stage(project: Project, source: Path, published: bool = False) -> None:
    """Make `source` a complete book: prose, executed chapters, and the pages that `pages` makes."""
    import nbformat
    import yaml

    from aae_lib import bench  # brings matplotlib along, which no other command needs

    chosen: dict[str, Path] = {}
    ran: dict[str, Path] = {}  # the results of the very execution that is shown of a chapter
    own: list[Path] = []  # this machine's results of the chapters that it executed
    behind: list[Path] = []  # the results of all that is shown
    ways: dict[str, str] = {}  # how this machine executed its chapters
    for chapter in project.names():
        here, tracked = (f / f"{chapter}.ipynb" for f in (project.chapters, project.published))
        if here.exists() and not published:
            about = check_executed(project, here)
            parameters = about["parameters"]
            chosen[chapter] = here
            ways[chapter] = ", ".join(
                f"{k} {parameters.get(k)}" for k in ("profile", "seed", "data")
            )
            for results in project.all_results(parameters.get("profile", "quick"), chapter):
                if _in_place_of(about, results):
                    print(
                        f"left out: {results}, of another execution than the page. {_again(chapter, parameters)}"
                    )
                else:
                    own.append(results)
            if (results := own_results(project, chapter, parameters)) in own:
                ran[chapter] = results
                behind.append(results)
        elif tracked.exists():
            check_executed(project, tracked)
            chosen[chapter] = tracked
            behind += project.evidence(chapter)
        else:
            print(
                f"left out: {chapter}, which has not been executed ('make chapter CHAPTER={chapter}')"
            )

    if len(set(ways.values())) > 1:
        print("note: the chapters of this machine were not executed alike:")
        for way in dict.fromkeys(ways.values()):
            print(f"  {way}: {', '.join(chapter for chapter in ways if ways[chapter] == way)}")

    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(project.root / "book", source, ignore=shutil.ignore_patterns("chapters"))
    (source / "chapters").mkdir()
    evidence = claims.scorecard(project.published_results)
    for chapter, path in chosen.items():
        text = pages.without_dead_links(path.read_text(encoding="utf-8"), chosen)
        notebook = nbformat.reads(text, as_version=4)
        columns = {"This run": claims.scorecard(ran[chapter])} if chapter in ran else {}
        pages.staged(notebook, chapter, columns | {"Published": evidence})
        nbformat.write(notebook, source / "chapters" / path.name)
    contents = contents_of(source / "_toc.yml", chosen)
    (source / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False))

    columns = {"Published": evidence}
    if own:
        columns["This machine"] = claims.scorecard(own)
    here = None if published else bench.load(project.build)
    whose = "this machine" if here else "the published measurement"
    folder = source / "generated"
    folder.mkdir()
    try:
        results = [_results_to_show(path) for path in behind]
        machines, cost = pages.machines(results), pages.cost(results)
    except UNREADABLE as error:
        raise UserError(
            f"the runs of some results cannot be read ({error!r}); 'make chapter' makes this machine's "
            "anew, git puts a published file back."
        ) from None
    made = {
        "summary": pages.summary(evidence),
        "scorecard": pages.in_sections(pages.scorecard(columns, "chapters/")),
        "appendix": pages.appendix(),
        "machines": machines,
        "cost": cost,
        "speed": pages.speed(here or bench.load(project.published_bench), whose, folder),
        "faults": pages.faults(*_tested(project, "faults.json", published)),
        "cluster": pages.cluster(*_tested(project, "slurm.log", published)),
        "sweep": pages.sweep(*_tested(project, "sweep.json", published)),
    }
    for name, text in made.items():
        (folder / f"{name}.md").write_text(pages.without_dead_links(text, chosen), encoding="utf-8")


def _results_to_show(path: Path) -> dict[str, Any]:
    """The results in `path`, their title with the name under which they were published beside the chapter's own."""
    content = json.loads(path.read_bytes())
    _, _, beside = path.stem.partition(".")
    if beside:
        content["title"] += f" ({beside.replace('-', ' ')})"
    return content


def contents_of(path: Path, present: Collection[str]) -> dict[str, Any]:
    """The book's table of contents, without the chapters that are not `present`.

    Raises UserError if the file is no table of contents, or leaves out a chapter that is present.
    """
    import yaml

    try:
        contents = yaml.safe_load(path.read_bytes())
        unnamed = set(present)
        for part in contents["parts"]:
            files = {entry["file"]: entry for entry in part["chapters"]}
            unnamed -= {Path(file).name for file in files if file.startswith("chapters/")}
            part["chapters"] = [
                entry
                for file, entry in files.items()
                if not file.startswith("chapters/") or Path(file).name in present
            ]
        contents["parts"] = [part for part in contents["parts"] if part["chapters"]]
        if unnamed:
            raise ValueError(f"it does not name {', '.join(sorted(unnamed))}")
    except (*UNREADABLE, yaml.YAMLError) as error:
        raise UserError(
            f"book/{path.name} is no table of contents of this book ({_in_a_line(error)}). "
            "Mend it, or put it back with git."
        ) from None
    return contents


def _tested(project: Project, name: str, published: bool) -> tuple[Path | None, str]:
    """One of TESTED, of this machine or else the published one, if there is any; and whose it is."""
    here, tracked = project.build / name, project.published_tests / name
    if here.exists() and not published:
        return here, "this machine"
    return tracked if tracked.exists() else None, "the published run"


# ------------------------------------------------------------------------------------------ publish


def publish(
    project: Project, names: Sequence[str] = (), force: bool = False, beside: str | None = None
) -> list[Path]:
    """Copy executed chapters with their results to the tracked folders, and renew README's results.

    All of this machine's chapters if `names` is empty; what the targets bench, faults, slurm and sweep left in the
    build folder goes along. Of one chapter that was executed once more, with other parameters than the published copy,
    the results alone can be published under the name `beside`: each claim then has the better of its evidence, or the
    seeds of both (`claims.evidence`). Everything is checked before anything is written. Raises UserError for a chapter
    that is not to be shown, a smoke run, a page of a seed other than 0, data other than MNIST, results of another
    execution, a damaged bench, a damaged table of faults or of the sweep, a path of this machine, published evidence
    that was changed by hand, results beside a chapter that is not published, and, unless `force`, a shorter profile or
    fewer epochs, seeds or claims than those of the published one, or other images in the place of a claim's own.
    """
    from aae_lib import bench, verify

    if beside is not None:
        if len(names) != 1 or not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", beside):
            raise UserError(
                "--beside takes one chapter and a name of small letters, digits and hyphens: "
                "publish 05 --beside ten-million-samples."
            )
        if not (project.published / f"{names[0]}.ipynb").exists():
            raise UserError(f"{names[0]} is not published yet; publish it without --beside first.")
    names = names or [c for c in project.names() if (project.chapters / f"{c}.ipynb").exists()]
    measured = bench.load(project.build)
    tested = [project.build / name for name in TESTED if (project.build / name).exists()]
    if not names and measured is None and not tested:
        raise UserError("there is no executed chapter to publish; 'make book' makes them.")
    writes: dict[Path, bytes] = {}
    for chapter in names:
        notebook = project.chapters / f"{chapter}.ipynb"
        about = check_executed(project, notebook)
        results = _publishable_results(project, chapter, about, beside)
        tracked = project.published_results / f"{chapter}{f'.{beside}' if beside else ''}.json"
        if tracked.exists() and not force:
            # For this chapter alone: without a name all would be published, whatever they replace.
            command = f"publish {chapter}{f' --beside {beside}' if beside else ''} --force"
            insist = f"insist with '.venv/bin/python -m aae_lib.book {command}'."
            try:
                before, now = json.loads(tracked.read_bytes()), json.loads(results)
                shorter = _shorter(before, now)
            except UNREADABLE as error:
                raise UserError(
                    f"{tracked} is damaged ({error!r}). Put it back with git, or {insist}"
                ) from None
            if shorter:
                raise UserError(
                    f"{chapter} is published {shorter}. Run the longer one, or {insist}"
                )
        writes[tracked] = results
        if beside:
            continue
        writes[project.published / notebook.name] = notebook.read_bytes()
        if picture := landing_picture(notebook):
            writes[project.root / "book" / "_static" / "landing.png"] = picture
    if measured is not None:
        for name in bench.FILES:
            writes[project.published_bench / name] = (project.build / name).read_bytes()
    show = {"faults.json": pages.faults, "sweep.json": pages.sweep, "slurm.log": pages.cluster}
    for path in tested:
        if path.name in show:
            show[path.name](path, "")  # refuses what the page could not show
        writes[project.published_tests / path.name] = path.read_bytes()
    _refuse_spoilt(project, writes)
    store.write_together(writes.items())
    readme = project.root / "README.md"
    if readme.exists():
        block = claims.markdown(claims.scorecard(project.published_results))
        text = with_results(readme.read_text(encoding="utf-8"), block)
        store.write_atomically(readme, text.encode())
    store.write_atomically(project.root / verify.SUMS, verify.sums(project).encode())
    return list(writes)


def _refuse_spoilt(project: Project, writes: Mapping[Path, bytes]) -> None:
    """Raise UserError for evidence, not among `writes`, that was changed by hand, or for a path of this machine."""
    from aae_lib import verify

    earlier = verify.changed(project) if (project.root / verify.SUMS).exists() else []
    for problem in earlier:  # the ledger alone is written by hand
        if project.root / problem.path not in writes and problem.path != verify.LEDGER.as_posix():
            raise UserError(
                f"{problem}, and is not published anew now. Put it back with git, or publish what made it."
            )
    for path, content in writes.items():
        for private in project.root, project.build, sys.prefix:
            if f"{private}/".encode() in content:
                raise UserError(
                    f"{path.name} holds a path of this machine, {private}; print no such paths."
                )


def _shorter(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """In what `now` has fewer epochs, claims or seeds than `before`, or other images for a claim's own; None if not."""
    order, ledger = list(PROFILES), {claim.id: claim for claim in claims.load()}

    def on_its_data(claim: str, content: dict[str, Any]) -> bool:
        told = content["claims"][claim].get("data", content.get("data", {"name": "mnist"}))
        return claim in ledger and told["name"] == ledger[claim].data

    epochs = {claim: told["epochs"] for claim, told in before["claims"].items()}
    gone = [claim for claim in epochs if claim not in now["claims"]]
    fewer = [c for c, told in now["claims"].items() if told["epochs"] < epochs.get(c, 0)]
    both = [claim for claim in now["claims"] if claim in epochs]
    seeds = {c: set(before["claims"][c]["values"]) - set(now["claims"][c]["values"]) for c in both}
    lost = [claim for claim in both if seeds[claim]]
    other = [c for c in both if on_its_data(c, before) and not on_its_data(c, now)]
    if order.index(before["profile"]) > order.index(now["profile"]):
        return f"from the {before['profile']} profile; this run is {now['profile']}"
    if fewer:
        epoch = now["claims"][fewer[0]]["epochs"]
        return f"with {fewer[0]} at epoch {epochs[fewer[0]]:g}; this run has epoch {epoch:g}"
    if gone:
        return f"with {', '.join(gone)}, which this run does not measure"
    if lost:
        return f"with {lost[0]} of seed {', '.join(sorted(seeds[lost[0]], key=int))}, which this run does not have"
    if other:
        return f"with {other[0]} of {ledger[other[0]].data.upper()}; this run has other images in its place"
    return None


def landing_picture(notebook: Path) -> bytes | None:
    """The PNG of the cell tagged "landing" in an executed chapter; None if it has no such cell."""
    import nbformat

    for cell in nbformat.read(notebook, as_version=4).cells:
        if "landing" in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output.data["image/png"])
    return None


def _publishable_results(
    project: Project, chapter: str, about: dict[str, Any], beside: str | None
) -> bytes:
    """The results that belong to the executed chapter that says this `about` itself, as they are on the disk."""
    parameters = about["parameters"]
    if parameters.get("data", "mnist") != "mnist":
        raise UserError(f"{chapter} ran with data {parameters['data']}; published is only mnist.")
    if (seed := parameters.get("seed", 0)) and not beside:
        raise UserError(
            f"{chapter} ran with seed {seed}; a page shows seed 0. Add its results to those of the published page: "
            f"publish {chapter} --beside seed-{seed}."
        )
    for name, value in parameters.items():
        if isinstance(value, str) and ("/" in value or "\\" in value):
            raise UserError(
                f"{chapter} ran with {name} {value}, a path of this machine; put that file into the data root and "
                "give its name alone, without .npz."
            )
    if parameters["profile"] == "smoke":
        raise UserError(
            f"{chapter} is a smoke run, which is never published; run a longer profile."
        )
    path = own_results(project, chapter, parameters)
    path = path or project.results(parameters["profile"], chapter)
    remedy = _again(chapter, parameters)
    try:
        content = path.read_bytes()
        of_this = same_execution(about, json.loads(content))
    except UNREADABLE as error:
        raise UserError(f"{chapter} has no results that can be read ({error}). {remedy}") from None
    if not of_this:
        raise UserError(f"{path} comes from another execution than the chapter. {remedy}")
    return content


def with_results(text: str, block: str) -> str:
    """`text` with `block` between the two markers of `README_BLOCK`; as it is, if it has none in this order."""
    begin, end = map(re.escape, README_BLOCK)
    return re.sub(f"(?s)(?<={begin}).*?(?={end})", lambda _: f"\n{block}", text, count=1)


# ------------------------------------------------------------------------------------- command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, 1 for a chapter that failed, others as `errors.exit_code` has them."""
    parser = Parser(
        prog="python -m aae_lib.book",
        description="Execute chapters, build the book, publish the evidence.",
        epilog="'make book' runs and builds, after training what is missing.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser(
        "run",
        help="execute a chapter",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Execute notebooks/CHAPTER.ipynb into _build/chapters. If a cell fails, the last good\n"
        "copy stays, and _build/logs/CHAPTER.ipynb shows how far it came.\n\nProfiles:\n"
        + "\n".join(f"  {p.name:10} {p.purpose}" for p in PROFILES.values()),
        epilog="Example: python -m aae_lib.book run 07 --profile standard -p replicates 1",
    )
    one.add_argument("chapter", metavar="CHAPTER", help="its name, or its number alone")
    one.add_argument("--profile", default="quick", help="how far to train (default: quick)")
    one.add_argument("--seed", type=int, default=0, help="the first replicate (default: 0)")
    one.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        dest="parameters",
        metavar=("NAME", "VALUE"),
        help="any other parameter of the chapter",
    )
    one.set_defaults(command=_run)

    prose = commands.add_parser(
        "reword",
        help="give an executed chapter today's prose",
        description="Take text and captions of notebooks/CHAPTER.ipynb into the executed copy, this machine's or else "
        "the published one, without executing anything. Refused where code has changed. 'publish' then copies it.",
    )
    prose.add_argument("chapter", metavar="CHAPTER", help="its name, or its number alone")
    prose.set_defaults(command=_reword)

    whole = commands.add_parser(
        "build",
        help="build the book from executed chapters",
        description="Build _build/html from the prose in book/, the executed chapters and the ledger. "
        "Any warning is an error, and the book that was there then stays.",
    )
    whole.add_argument(
        "--published", action="store_true", help="take the published chapters, not this machine's"
    )
    whole.set_defaults(command=_build)

    out = commands.add_parser(
        "publish",
        help="copy executed chapters and results to their tracked places",
        description="Copy chapters to book/chapters, results to data/results, what 'make bench' measured to "
        "data/bench, what 'make faults', 'slurm' and 'sweep' found to data/tested, and renew README's results. "
        "Smoke runs, and chapters that failed or are stale, are refused.",
    )
    out.add_argument(
        "chapters", nargs="*", metavar="CHAPTER", help="default: all that were executed"
    )
    out.add_argument(
        "--force", action="store_true", help="replace even evidence of a longer profile"
    )
    out.add_argument(
        "--beside",
        metavar="NAME",
        help="publish the results of one chapter alone, under this name, and keep its published copy: "
        "for an execution that went further in one respect, or of other seeds",
    )
    out.set_defaults(command=_publish)

    options = parser.parse_args(arguments)
    stands = "; what was there before stands"
    return exit_code("book", lambda: options.command(Project(), options), stands)


def _run(project: Project, options: argparse.Namespace) -> None:
    given = {"profile": options.profile, "seed": options.seed}
    given |= {name: _value(text) for name, text in options.parameters}
    print(f"executed: {run(project, project.find(options.chapter), given)}")


def _reword(project: Project, options: argparse.Namespace) -> None:
    print(f"reworded: {reword(project, project.find(options.chapter))}")


def _value(text: str) -> Any:
    """A number, a truth value or None, as it is written in Python; any other text is itself, "16, 30" too."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, int | float | str | None) else text


def _build(project: Project, options: argparse.Namespace) -> None:
    page = build(project, options.published)
    print(
        f"\nThe book:      {page.as_uri()}\nThe scorecard: {page.with_name('scorecard.html').as_uri()}"
    )


def _publish(project: Project, options: argparse.Namespace) -> None:
    names = [project.find(name) for name in options.chapters]
    for path in publish(project, names, options.force, options.beside):
        print(f"published: {path.relative_to(project.root)}")


if __name__ == "__main__":
    sys.exit(main())
