"""`make faults`: hurt real processes, and see whether anything that was good is lost.

Each fault is done to a small world of its own (easy digits, the smoke profile), as often as the table says; kills, to
one process after the other that goes on with the same work. It is survived where the end is the same as undisturbed,
to the bit, or one clear message with an exit code, and all that was good before is still good. Beside it the fuzzing
of tests/test_fuzz.py, with many cases. Writes faults.json (a list of fault, tried, survived, lost) and
faults_details.json (when, where, by which commit) to the build folder, or faults_part.json if only a part was asked
for. Exit code 1 if anything was lost. Some faults need a small disk of their own, which only root may mount; without
it they are said not to be tried.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the tests' own small files

from aae_lib import store
from aae_lib.errors import UserError, exit_code
from aae_lib.store import REPOSITORY

QUIETLY = ("--profile", "smoke", "--seeds", "0", "--device", "cpu", "--quiet")
TRAIN = ("-m", "aae_lib.cli", "train", "mnist_100", *QUIETLY)
CONVERT = ("-m", "aae_lib.cli", "train", "table1_tfd_aae", *QUIETLY)
CHAPTER = "07_semi_supervised"
JUMPING_CLOCK = """\
import datetime, random, time
_true = time.time
time.time = lambda: _true() + random.uniform(-1e6, 1e6)
class _Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = _Jumping
"""
NO_KERNEL = """\
import sys
class _Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ipykernel":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, _Gone())
"""
POISONED = """\
import sys
from aae_lib import cli, engine
advance, steps = engine.Program.advance, []
def poisoned(program):
    advance(program)
    steps.append(1)
    if len(steps) == 5:
        for parameter in program.models[0].parameters():
            parameter.data.fill_(float(sys.argv[1]))
engine.Program.advance = poisoned
sys.exit(cli.main(sys.argv[2:]))
"""


@dataclass
class Fault:
    """One kind of fault: `once(world, i)` does it in the i-th world and says whether it was survived."""

    name: str
    times: int = 0
    once: Callable[[World, int], bool] | None = None
    book: bool = False  # compared with an undisturbed book
    each: int = 1  # how often it is done in each world, one time after the other
    survived: int = 0
    lost: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of all its worlds together, of which two or more are hurt at once

    def row(self) -> dict[str, str | int]:
        """Its line of the table. Of a world that is lost, all that was done to it is."""
        counts = {"tried": self.times, "survived": self.survived, "lost": len(self.lost)}
        return {"fault": self.name} | {name: n * self.each for name, n in counts.items()}


@dataclass(frozen=True)
class World:
    """A folder in which one fault is done, with what an undisturbed run of the same ended in."""

    folder: Path
    digits: Path
    undisturbed: dict[str, object]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        """This Python in the repository, all its places in this world's folder, in a process group of its own."""
        places = {f"AAE_{n}": str(self.folder / n.lower()) for n in ("RUNS", "BUILD", "DATA")}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | places | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """As `start`, to its end: exit code, and what it said."""
        process = self.start(*arguments, **environment)
        return _ended(process)

    def train(self, **environment: str) -> tuple[int, str]:
        return self.run(*TRAIN, "--data", str(self.digits), **environment)

    def ends_well(self) -> bool:
        """Whether training, begun or gone on with now, ends in the same bits as undisturbed."""
        return self.train()[0] == 0 and self.is_whole()

    def is_whole(self) -> bool:
        return trained(self.folder / "runs") == self.undisturbed["run"]

    def chapter(self, **environment: str) -> tuple[int, str]:
        """Execute the chapter with the runs of the undisturbed book."""
        return self.run(*self.chapter_command, **self.with_runs(), **environment)

    def chapter_is_whole(self) -> bool:
        return written(self.folder / "build")[CHAPTER] == self.undisturbed["book"][CHAPTER]

    def with_runs(self) -> dict[str, str]:
        return {"AAE_RUNS": str(self.undisturbed["runs"])}

    @property
    def chapter_command(self) -> tuple[str, ...]:
        command = ("-m", "aae_lib.book", "run", CHAPTER, "--profile", "smoke")
        return (*command, "-p", "data", str(self.digits))


# ---- What is compared ------------------------------------------------------------------------------


def trained(runs: Path) -> object:
    """The bits of the one run in `runs`: sums of its weights, and its history, at its last epoch."""
    (path,) = runs.glob("mnist_100-*/seed-0/checkpoint-000002.safetensors")
    tensors, metadata = store.load(path)
    return store.digest(tensors), metadata["history"]


def written(build: Path) -> dict[str, object]:
    """What each chapter in `build` found: its claims and curves, by chapter."""
    found = {}
    for path in sorted((build / "results" / "smoke").glob("*.json")):
        content = json.loads(path.read_bytes())
        found[content["chapter"]] = content["claims"], content["series"]
    return found


def clear(code: int, said: str, *words: str) -> bool:
    """Whether a process ended in a code of failure and one message, without a traceback, that holds `words`."""
    return code > 0 and "Traceback" not in said and all(word in said for word in words)


# ---- Killed processes ------------------------------------------------------------------------------


def hurt(process: subprocess.Popen, how: signal.Signals, after: float) -> int:
    """Send a signal to a process and all that it started, some seconds after its start; its exit code.

    Raises RuntimeError for one that failed by itself before: that is no fault survived.
    """
    with suppress(subprocess.TimeoutExpired):
        told, _ = process.communicate(timeout=after)
        if process.returncode:
            raise RuntimeError(
                f"it failed by itself, exit code {process.returncode}: {told[-300:]}"
            )
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    process.communicate()
    if how == signal.SIGKILL:
        return process.returncode
    with suppress(ProcessLookupError):  # what the first process left behind
        os.killpg(process.pid, signal.SIGKILL)
    return process.returncode


def hits(
    start: Callable[[], subprocess.Popen],
    signals: Sequence[signal.Signals],
    seconds: float,
    name: str,
) -> Iterator[int]:
    """Hurt one process after the other, each at a random moment of so many seconds; yields their exit codes.

    The moments follow from `name`. One that had ended well before its signal came (code 0) does not count: the next
    gets that signal.
    """
    moments, left = random.Random(name), list(signals)
    while left:
        code = hurt(start(), left[0], moments.uniform(0.0, seconds))
        if code:
            del left[0]
        yield code


def killed_training(how: signal.Signals, times: int) -> Callable[[World, int], bool]:
    """One run, killed so many times on its way, each time going on from where it was, then left to its end."""
    # Before Python is up a SIGTERM ends it as it ends any program.
    expected = (os.EX_TEMPFAIL, -signal.SIGTERM) if how == signal.SIGTERM else (-how,)

    def once(world: World, i: int) -> bool:
        def start() -> subprocess.Popen:
            return world.start(*TRAIN, "--data", str(world.digits))

        for code in hits(start, [how] * times, world.undisturbed["seconds"], f"training {how} {i}"):
            if code == 0 and world.is_whole():
                shutil.rmtree(world.folder / "runs")  # begin anew
            elif code not in expected:
                return False
        return world.ends_well()

    return once


def killed_chapter(how: signal.Signals, times: int) -> Callable[[World, int], bool]:
    """One chapter, killed so many times on its way, then left to its end."""

    def once(world: World, i: int) -> bool:
        def start() -> subprocess.Popen:
            return world.start(*world.chapter_command, **world.with_runs())

        for _ in hits(
            start, [how] * times, world.undisturbed["chapter seconds"], f"chapter {how} {i}"
        ):
            left = list((world.folder / "build" / "chapters").glob("*.ipynb"))
            if not all(json.loads(path.read_bytes())["cells"] for path in left):
                return False
        return world.chapter()[0] == 0 and world.chapter_is_whole()

    return once


def book(world: World, **environment: str) -> subprocess.Popen:
    """`make book` in this environment as it is."""
    make = ["make", "book", "-o", f"{sys.prefix}/.aae-installed", f"VENV={sys.prefix}"]
    make += ["PROFILE=smoke", f"DATA={world.digits}"]
    places = {f"AAE_{n}": str(world.folder / n.lower()) for n in ("BUILD", "RUNS", "DATA")}
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | places | environment
    return subprocess.Popen(
        make, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def killed_book(times: int) -> Callable[[World, int], bool]:
    """One book, killed so many times on its way, then left to its end."""

    def once(world: World, i: int) -> bool:
        signals = [(signal.SIGKILL, signal.SIGTERM)[k % 2] for k in range(times)]
        seconds = world.undisturbed["book seconds"] / 5
        for _ in hits(lambda: book(world), signals, seconds, f"book {i}"):
            pass
        return book_ends_well(world)

    return once


def book_ends_well(world: World) -> bool:
    """Whether `make book`, begun or gone on with now, ends in pages, and finds the same as undisturbed."""
    code, _ = _ended(book(world))
    page = world.folder / "build" / "html" / "index.html"
    same = written(world.folder / "build") == world.undisturbed["book"]
    return code == 0 and page.exists() and same


def jumping_times(world: World, i: int) -> bool:
    """A finished book whose files are all said to be of another time, past or future: made again, it is the same."""
    calm, moments = world.undisturbed["runs"].parent, random.Random("times")
    for name in ("build", "runs"):
        shutil.copytree(calm / name, world.folder / name)
        for path in (world.folder / name).rglob("*"):
            moment = time.time() + moments.uniform(-1e6, 1e6)
            os.utime(path, (moment, moment))
    return book_ends_well(world)


# ---- Disks -----------------------------------------------------------------------------------------


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[Callable[[str], object]]:
    """A disk of its own at `folder`, so small; yields what mounts it anew with other options."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield lambda options: subprocess.run(
            ["mount", "-o", f"remount,{options}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def may_mount() -> bool:
    with tempfile.TemporaryDirectory() as name:
        try:
            with disk(Path(name, "disk"), 64):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False


def full_at_checkpoint(world: World, i: int) -> bool:
    with disk(world.folder / "runs", (200, 5000, 20_000)[i % 3]) as again:
        refused = clear(*world.train(), "No space left on device", "Free some space")
        again("size=1g")
        return refused and world.ends_well()


def read_only_runs(world: World, i: int) -> bool:
    with disk(world.folder / "runs", 1_000_000) as again:
        again("ro")
        refused = clear(*world.train(), "Read-only file system")
        again("rw")
        return refused and world.ends_well()


def write_tfd(folder: Path) -> Path:
    """A small file in TFD's form, of noise, which cannot be packed."""
    from scipy.io import savemat

    (folder / "tfd").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    folds = np.repeat(np.arange(4, dtype=np.uint8), 50)[:, None].repeat(5, 1)
    content = {"images": generator.integers(0, 256, (200, 48, 48), dtype=np.uint8), "folds": folds}
    savemat(folder / "tfd" / "TFD_48x48.mat", content, do_compression=True)
    return folder


def full_at_conversion(world: World, i: int) -> bool:
    with disk(world.folder / "data", (500, 700, 900)[i % 3]) as again:
        write_tfd(world.folder / "data")
        refused = clear(*world.run(*CONVERT), "No space left on device", "Free some space")
        clean = not list((world.folder / "data" / "tfd").glob("arrays-*"))
        again("size=10m")
        return refused and clean and world.run(*CONVERT)[0] == 0


def full_at_results(world: World, i: int) -> bool:
    """The disk is full for the notebook as it grows, or for the results at its end, which have one of their own."""
    place, size, told = (
        ("build", 8, "cannot be written"),
        ("build", 40, "cannot be written"),
        ("build/results", 8, "cannot write"),
    )[i % 3]
    with disk(world.folder / place, size) as again:
        refused = clear(*world.chapter(), "No space left on device", told)
        again("size=50m")
        return refused and world.chapter()[0] == 0 and world.chapter_is_whole()


def read_only_build(world: World, i: int) -> bool:
    """A chapter cannot be written, one that was before stands; then it can."""
    with disk(world.folder / "build", 50_000) as again:
        if world.chapter()[0]:
            return False
        target = world.folder / "build" / "chapters" / f"{CHAPTER}.ipynb"
        before = target.read_bytes()
        again("ro")
        refused = clear(*world.chapter(), "Read-only file system")
        kept = target.read_bytes() == before
        again("rw")
        return refused and kept and world.chapter()[0] == 0 and world.chapter_is_whole()


def read_only_data(world: World, i: int) -> bool:
    with disk(world.folder / "data", 10_000) as again:
        write_tfd(world.folder / "data")
        again("ro")
        refused = clear(*world.run(*CONVERT), "Read-only file system")
        again("rw")
        return refused and world.run(*CONVERT)[0] == 0


PUBLISH = """\
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from materials import write_chapter, write_executed, write_results
from aae_lib import book
from aae_lib.errors import UserError
project = book.Project(Path(sys.argv[1]))
write_chapter(project)
write_executed(project, project.chapters)
write_results(project, project.results("quick", "01_tiny"), title="x" * int(sys.argv[2]))
(project.root / "data").mkdir(exist_ok=True)
try:
    book.publish(project)
except UserError as error:
    sys.exit(f"book: {error}")
"""


def full_at_publishing(world: World, i: int) -> bool:
    """A first publication fits; one with longer results does not, and leaves the first one whole."""
    root = world.folder / "project"
    with disk(root / "data" / "results", 16) as again:
        first = world.run("-c", PUBLISH, str(root), "0")[0] == 0
        tracked = root / "data" / "results" / "01_tiny.json"
        before = tracked.read_bytes()
        refused = clear(*world.run("-c", PUBLISH, str(root), "40000"), "No space left on device")
        kept = tracked.read_bytes() == before
        again("size=1m")
        return first and refused and kept and world.run("-c", PUBLISH, str(root), "40000")[0] == 0


def read_only_evidence(world: World, i: int) -> bool:
    """Nothing of a second publication arrives: neither results, on the read-only disk, nor the chapter, beside it."""
    root = world.folder / "project"
    with disk(root / "data" / "results", 1000) as again:
        first = world.run("-c", PUBLISH, str(root), "0")[0] == 0
        tracked = (
            root / "data" / "results" / "01_tiny.json",
            root / "book" / "chapters" / "01_tiny.ipynb",
        )
        before = [path.read_bytes() for path in tracked]
        again("ro")
        refused = clear(*world.run("-c", PUBLISH, str(root), "9"), "Read-only file system")
        kept = [path.read_bytes() for path in tracked] == before
        again("rw")
        return first and refused and kept and world.run("-c", PUBLISH, str(root), "9")[0] == 0


# ---- Files -----------------------------------------------------------------------------------------

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "corrupt": lambda content: bytes(255 - b if k % 97 == 0 else b for k, b in enumerate(content)),
}


def damaged_file(world: World, i: int) -> bool:
    """Every kind of file that the project reads, empty, truncated and corrupt: refused in one message."""
    from test_fuzz import FILES

    from aae_lib import bench

    kind = list(FILES)[i // len(DAMAGE)]
    write, read = FILES[kind]
    path = write(world.folder)
    if kind == "bench":
        other = REPOSITORY / "data" / "bench" / bench.FILES[1]
        (world.folder / other.name).write_bytes(other.read_bytes())
    path.write_bytes(list(DAMAGE.values())[i % len(DAMAGE)](path.read_bytes()))
    try:
        read(path, world.folder)
    except UserError as error:
        return bool(str(error).strip())
    return False


def damaged_checkpoint(world: World, i: int) -> bool:
    """A run whose last checkpoint is damaged goes back to the one before, to the same bits."""
    if world.train()[0]:
        return False
    (path,) = (world.folder / "runs").glob("mnist_100-*/seed-0/checkpoint-000002.safetensors")
    path.write_bytes(list(DAMAGE.values())[i % len(DAMAGE)](path.read_bytes()))
    code, said = world.train()
    return code == 0 and "not a readable checkpoint" in said and world.is_whole()


# ---- Two at once, clocks, numbers, kernels -----------------------------------------------------------


def both(world: World, *arguments: str, **environment: str) -> bool:
    """Two processes that do the same at the same time; whether both end well."""
    processes = [world.start(*arguments, **environment) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    return all(process.returncode == 0 for process in processes) and "Traceback" not in str(said)


def two_trainings(world: World, i: int) -> bool:
    well = both(world, *TRAIN, "--data", str(world.digits))
    return well and world.is_whole()


def two_conversions(world: World, i: int) -> bool:
    write_tfd(world.folder / "data")
    return both(world, *CONVERT)


def two_chapters(world: World, i: int) -> bool:
    well = both(world, *world.chapter_command, **world.with_runs())
    return well and world.chapter_is_whole()


def _customised(world: World, text: str) -> str:
    """A folder for PYTHONPATH in which Python, as it starts, finds `text` to run."""
    folder = world.folder / "customised"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return str(folder)


def jumping_clock(world: World, i: int) -> bool:
    code, _ = world.train(PYTHONPATH=_customised(world, JUMPING_CLOCK))
    return code == 0 and world.is_whole()


def no_number(world: World, i: int) -> bool:
    """Weights that are no numbers any more stop a run in one message; the run itself can go on from before."""
    value = ("nan", "inf")[i % 2]
    arguments = (*TRAIN[2:], "--data", str(world.digits))
    refused = clear(*world.run("-c", POISONED, value, *arguments), "is not finite")
    return refused and world.ends_well()


def missing_kernel(world: World, i: int) -> bool:
    """Without ipykernel a chapter ends in one message; what was executed before stands."""
    if world.chapter()[0]:
        return False
    target = world.folder / "build" / "chapters" / f"{CHAPTER}.ipynb"
    before = target.read_bytes()
    code, said = world.chapter(PYTHONPATH=_customised(world, NO_KERNEL))
    return clear(code, said, "no Jupyter kernel") and target.read_bytes() == before


def foreign_kernel(world: World, i: int) -> bool:
    """A kernel that the user once registered as python3, and that starts no more, is not taken for this one."""
    folder = world.folder / "home" / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/nowhere/python"], "display_name": "Another", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    home = str(folder.parent.parent)
    code, _ = world.chapter(JUPYTER_DATA_DIR=home, JUPYTER_PATH=home)
    return code == 0 and world.chapter_is_whole()


# ---- All of it -------------------------------------------------------------------------------------


def faults(share: float, mount: bool) -> list[Fault]:
    """Every fault, with a share of its usual number of times."""

    def times(usual: int) -> int:
        return max(1, round(usual * share))

    def if_mounted(usual: int) -> int:
        return times(usual) if mount else 0  # a line of the table all the same

    def killed(what: str, worlds: int, each: int, once: Callable, **more: bool) -> list[Fault]:
        return [
            Fault(f"{what} {done} ({how.name})", times(worlds), once(how, each), each=each, **more)
            for done, how in (("killed", signal.SIGKILL), ("stopped", signal.SIGTERM))
        ]

    on_a_disk = [
        Fault("disk full at a checkpoint", if_mounted(3), full_at_checkpoint),
        Fault("disk full while a cache is made", if_mounted(3), full_at_conversion),
        Fault("disk full while a chapter writes", if_mounted(3), full_at_results, book=True),
        Fault("disk full while publishing", if_mounted(2), full_at_publishing),
        Fault("run store read-only", if_mounted(2), read_only_runs),
        Fault("build folder read-only", if_mounted(1), read_only_build, book=True),
        Fault("data folder read-only", if_mounted(1), read_only_data),
        Fault("published evidence read-only", if_mounted(1), read_only_evidence),
    ]
    from test_fuzz import FILES

    return [
        Fault("make book killed or stopped", 1, killed_book(times(10)), book=True, each=times(10)),
        *killed("training", 9, 4, killed_training),
        *killed("chapter", 3, 3, killed_chapter, book=True),
        *on_a_disk,
        Fault("damaged file of every kind", len(FILES) * len(DAMAGE), damaged_file),
        Fault("last checkpoint damaged", times(3), damaged_checkpoint),
        Fault("two trainings of one run at once", times(3), two_trainings),
        Fault("two conversions of one file at once", times(3), two_conversions),
        Fault("two executions of one chapter at once", times(2), two_chapters, book=True),
        Fault("clock that jumps", times(3), jumping_clock),
        Fault("a book's files of other times, past and future", times(1), jumping_times, book=True),
        Fault("weights become NaN or infinite", times(2), no_number),
        Fault("no Jupyter kernel", times(1), missing_kernel, book=True),
        Fault("a broken kernel of the user's, also python3", times(1), foreign_kernel, book=True),
    ]


def fuzzed(folder: Path, cases: int) -> list[Fault]:
    """Each test of tests/test_fuzz.py with about so many cases; the first that fails ends its test."""
    counts = folder / "counts.json"
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/test_fuzz.py"],
        cwd=REPOSITORY,
        env=os.environ | {"AAE_FUZZ": str(cases), "AAE_FUZZ_COUNTS": str(counts)},
        capture_output=True,
        text=True,
    )
    tried = json.loads(counts.read_bytes()) if counts.exists() else {}
    failed = set(re.findall(r"^FAILED tests/test_fuzz\.py::(.*?)(?: - .*)?$", done.stdout, re.M))
    table = []
    for test in [*tried, *sorted(failed - tried.keys())]:
        name, _, kind = test.removeprefix("test_").rstrip("]").partition("[")
        fault = Fault(f"fuzzed: {name.replace('_', ' ')}" + (f" ({kind})" if kind else ""))
        if test in failed:  # of its cases most were tried to find the shortest one that fails
            fault.times, fault.lost = 1, ["see pytest tests/test_fuzz.py"]
        else:
            fault.times = fault.survived = tried[test]
        table.append(fault)
    if done.returncode and not failed:
        last = done.stdout.strip().splitlines()[-1:] or [f"pytest ended with {done.returncode}"]
        table.append(Fault("fuzzed: all of it", 1, lost=last))
    return table


def undisturbed(folder: Path, digits: Path, with_book: bool) -> World:
    """What a training, a book and a chapter end in if nobody disturbs them, and how long each takes."""
    world = World(folder, digits, {})
    found = world.undisturbed
    found["seconds"] = _timed(lambda: world.train(AAE_RUNS=str(folder / "alone")))
    found["run"] = trained(folder / "alone")
    if with_book:
        found["book seconds"] = _timed(lambda: _ended(book(world)))
        found["book"], found["runs"] = written(folder / "build"), folder / "runs"
        found["chapter seconds"] = _timed(world.chapter)
    return world


def _ended(process: subprocess.Popen) -> tuple[int, str]:
    said, _ = process.communicate()
    return process.returncode, said


def _timed(once: Callable[[], tuple[int, str]]) -> float:
    start = time.monotonic()
    code, said = once()
    if code:
        raise SystemExit(f"faults: fails undisturbed:\n{said[-3000:]}")
    return time.monotonic() - start


def main() -> int:
    """Do every fault, print the table, write it; returns the exit code."""
    arguments = argparse.ArgumentParser(prog=".venv/bin/python tests/faults", description=__doc__)
    arguments.add_argument("--share", type=float, default=1, help="of the usual number of times")
    arguments.add_argument("--only", nargs="+", help="faults whose name holds one of these texts")
    arguments.add_argument(
        "--no-book", action="store_true", help="leave out those that need a book"
    )
    arguments.add_argument(
        "--fuzz", type=int, default=1350, metavar="N", help="cases of each fuzzing test (0: none)"
    )
    options = arguments.parse_args()
    whole = all(getattr(options, name) == arguments.get_default(name) for name in vars(options))
    from materials import write_digits

    started, provenance = time.monotonic(), store.provenance("cpu", 1)
    with tempfile.TemporaryDirectory(prefix="aae-faults-") as name:
        root = Path(name)
        digits = write_digits(root / "digits.npz", train=1000)
        (root / "undisturbed").mkdir()
        mount = may_mount()
        table = [
            fault
            for fault in faults(options.share, mount)
            if any(text in fault.name for text in options.only or [""])
            and not (options.no_book and fault.book)
        ]

        def attempt(fault: Fault, i: int, calm: World) -> None:
            folder, begun = Path(tempfile.mkdtemp(dir=root)), time.monotonic()
            try:
                well = fault.once(World(folder, digits, calm.undisturbed), i)
                reason = "another end than undisturbed, or no clear message"
            except Exception as error:  # a fault that takes the harness along is none survived
                well, reason = False, f"{type(error).__name__}: {error}"
            fault.seconds += time.monotonic() - begun
            if well:
                fault.survived += 1
                subprocess.run(["rm", "-rf", str(folder)], check=False)
            else:
                fault.lost.append(f"{i}: {reason}")

        with ThreadPoolExecutor(max(1, (os.cpu_count() or 2))) as pool:
            fuzzing = pool.submit(fuzzed, root, options.fuzz) if options.fuzz else None
            print("first undisturbed, beside the fuzzing …", flush=True)
            calm = undisturbed(root / "undisturbed", digits, any(fault.book for fault in table))
            jobs = [(fault, i, calm) for fault in table for i in range(fault.times)]
            list(pool.map(lambda job: attempt(*job), jobs))
            table += fuzzing.result() if fuzzing else []
    rows = [fault.row() for fault in table]
    width = max(len(fault.name) for fault in table)
    print(f"{'fault':{width}} {'tried':>6} {'survived':>9} {'lost':>5} {'seconds':>8}")
    for fault, row in zip(table, rows, strict=True):
        counts = f"{row['tried']:6} {row['survived']:9} {row['lost']:5}"
        seconds = f"{fault.seconds:8.0f}" if fault.once else ""
        print(f"{row['fault']:{width}} {counts} {seconds}".rstrip())
        for line in fault.lost:
            print(f"    {line}")
    if not mount:
        print(
            "not tried: full and read-only disks, for a small disk cannot be mounted here (root can)"
        )
    seconds = round(time.monotonic() - started)
    path = store.write_measured(
        "faults" if whole else "faults_part", rows, provenance, seconds=seconds
    )
    print(f"written: {path}; took {seconds / 60:.1f} min")
    return 1 if any(row["lost"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(exit_code("faults", main))
