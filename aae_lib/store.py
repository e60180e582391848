"""The run store: one folder for each (configuration, seed), shared by chapters, CLI, Snakemake and clusters.

    <store>/<experiment>-<hash>/seed-<n>/
        checkpoint-000050.safetensors    weights, velocities, history and provenance after 50 epochs, in one file
        within-000050.safetensors        the same, some steps further, with what the rest of that epoch needs
        lock                             held by the process that trains this run
        parzen/                          estimates of its likelihood, see `parzen.curve_of`

A checkpoint is complete or absent: it is written beside its place and moved there. Asking for a run that is there loads
it; asking for more epochs continues from the last checkpoint; asking for fewer loads that checkpoint if it was kept
(`KEPT_EPOCHS`), and else trains again.
Torch is imported where tensors are touched, so that paths can be computed without it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aae_lib.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from aae_lib.config import Experiment

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLISHED = REPOSITORY / "data" / "results"
"""The published evidence, tracked: what `make publish` writes and nothing else."""
TEMPORARY = ".part"  # ends the name of a file that is being written
KEPT_EPOCHS = (1, 50, 500, 1000)
"""Checkpoints that stay when a run goes on: the ends of profiles, and the epochs that A.2 prints."""


def expanded(path: str | Path) -> Path:
    """`path` with a leading ~ replaced by the home folder. Raises UserError where there is none of that name."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home folder; write the path out.") from None


def folder(variable: str, default: str | Path) -> Path:
    """The folder that the environment's `variable` names, or `default`. A relative one is the repository's.

    Not the current folder's: chapters run in the repository, and find there what a command left.
    """
    return REPOSITORY / expanded(os.environ.get(variable) or default)


def build_root() -> Path:
    """Where everything that a run makes lies: `$AAE_BUILD`, or `_build` in the repository."""
    return folder("AAE_BUILD", "_build")


def runs_root() -> Path:
    """The run store: `$AAE_RUNS`, or `runs` in the build folder."""
    return folder("AAE_RUNS", build_root() / "runs")


def run_folder(experiment: Experiment, seed: int) -> Path:
    """The folder of one replicate of one configuration; it may not exist yet."""
    return runs_root() / f"{experiment.name}-{experiment.hash}" / f"seed-{seed}"


def checkpoint_path(experiment: Experiment, seed: int, epochs: float) -> Path:
    """The file that holds the run after `epochs` epochs, or a share of the first; it may not exist yet."""
    count = f"{epochs:06d}" if epochs >= 1 else f"{epochs}"
    return run_folder(experiment, seed) / f"checkpoint-{count}.safetensors"


def within_path(experiment: Experiment, seed: int, epochs: int) -> Path:
    """The file that holds the run some steps after `epochs` whole epochs; it may not exist."""
    return run_folder(experiment, seed) / f"within-{epochs:06d}.safetensors"


def withins(experiment: Experiment, seed: int) -> dict[int, Path]:
    """What runs that were stopped inside an epoch left, by the number of whole epochs before it, in order."""
    found = _epochs_of(run_folder(experiment, seed), r"within-(\d{6})")
    return {int(epoch): path for epoch, path in found}


def checkpoints(experiment: Experiment, seed: int) -> dict[float, Path]:
    """The checkpoints that exist, by epoch, in order."""
    name = r"checkpoint-(\d{6}|\d(?:\.\d+)?(?:e-\d+)?)"
    return dict(_epochs_of(run_folder(experiment, seed), name))


def _epochs_of(folder: Path, name: str) -> list[tuple[float, Path]]:
    """The files of `folder` whose stem is as the pattern `name` says, by the number in it, in order.

    Raises UserError for a folder that is there and cannot be read, which `Path.glob` would pass over.
    """
    try:
        files = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(
            f"cannot read {folder}: {error.strerror}. Make it readable, or set AAE_RUNS elsewhere."
        ) from None
    found = [(re.fullmatch(rf"{name}\.safetensors", file), folder / file) for file in files]
    return sorted((float(match[1]), path) for match, path in found if match)


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write one checkpoint atomically. Raises UserError if the disk refuses; the old state then stands."""
    save_together([(path, tensors, metadata)])


def save_together(
    checkpoints: Iterable[tuple[Path, dict[str, Tensor], dict[str, Any]]],
) -> None:
    """Write several as `save` does one: none is there before all are written. One at a time is held in memory."""
    files = ((path, _serialised(tensors, metadata)) for path, tensors, metadata in checkpoints)
    write_together(files, "set AAE_RUNS elsewhere")


def _serialised(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> bytes:
    from safetensors.torch import save as serialise

    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    text = {key: json.dumps(value) for key, value in metadata.items()}
    text["sha256"] = json.dumps(digest(tensors, text))
    return serialise(tensors, metadata=text)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint. Raises UserError naming the file if it is not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            text = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        found = json.loads(text.pop("sha256", "null"))
        # Of checkpoints that are older than this line it is of the tensors alone.
        if found != digest(tensors, text) and found != digest(tensors):
            raise ValueError("its content is not what was written")
        metadata = {key: json.loads(value) for key, value in text.items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path} is not a readable checkpoint ({error}).") from None
    return tensors, metadata


def digest(tensors: dict[str, Tensor], text: dict[str, str] | None = None) -> str:
    """sha256 over `text`, and over names, types, shapes and values of `tensors`."""
    found = hashlib.sha256()
    for key, value in sorted((text or {}).items()):
        found.update(f"{key} {value}\n".encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().data)
    return found.hexdigest()


def write_atomically(path: Path, content: bytes, remedy: str = "set AAE_BUILD elsewhere") -> None:
    """`write_together` of one file: it is there whole or not at all."""
    write_together([(path, content)], remedy)


def write_together(
    files: Iterable[tuple[Path, bytes]], remedy: str = "set AAE_BUILD elsewhere"
) -> None:
    """Write each content beside its path, force it to the disk, and move them into place once all are there.

    A content is let go before the next one is asked for. A disk that is full or read-only leaves all as they were; a
    process killed in between the moves does not.
    Raises UserError on a disk error; `remedy` says what to do about it, beside freeing space.
    """
    temporary: dict[Path, Path] = {}
    path = None
    try:
        for path, content in files:
            temporary[path] = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            del content
        for path, written in temporary.items():
            written.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}. Free some space or {remedy}."
        ) from None
    finally:
        for leftover in temporary.values():
            with suppress(OSError):  # moved already, or never made
                leftover.unlink()


@contextmanager
def locked(folder: Path, remedy: str = "set AAE_RUNS and AAE_BUILD elsewhere") -> Iterator[None]:
    """Hold `folder` for this process alone: a second one waits, then finds what the first one made.

    What a killed process left half-written there is swept away. Raises UserError, with the `remedy`, where there
    can be no lock.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / "lock").open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for the process that holds {folder} …", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            for leftover in folder.glob(f".*{TEMPORARY}"):
                # On a shared disk another node may have swept it, and the listing not know yet.
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot lock {folder}: {error.strerror}. Make it a folder that can be written to, on a disk that has "
                f"file locks, or {remedy}."
            ) from None
        yield


def scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder for what is not ready yet, in a `locked` one: where a kill leaves it, the next lock sweeps it away."""
    return tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=TEMPORARY)


def provenance(device: str, threads: int) -> dict[str, Any]:
    """What made a run: commit, versions, hardware, time of start. JSON values only."""
    packages = ("torch", "numpy", "scipy", "safetensors")
    return {
        "commit": commit(),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "accelerator": _accelerator(device),
        },
        "device": device,
        "threads": threads,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_measured(name: str, rows: Any, provenance: dict[str, Any], **details: Any) -> Path:
    """Write what was found, `rows`, to `<name>.json` of the build folder, and beside it `<name>_details.json`.

    These hold `details`, the provenance and the time. Returns the first path; raises UserError if the disk refuses.
    """
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    files = {
        name: rows,
        f"{name}_details": details | {"provenance": provenance, "finished": finished},
    }
    text = {
        build_root() / f"{stem}.json": json.dumps(content, indent=1, ensure_ascii=False).encode()
        + b"\n"
        for stem, content in files.items()
    }
    write_together(text.items())
    return next(iter(text))


def made(details: Mapping[str, Any]) -> str:
    """When, on what and by which commit something was measured, in one line, from the details written with it.

    Raises KeyError, TypeError or ValueError if they do not say.
    """
    by, machine = details["provenance"], details["provenance"]["hardware"]
    day = datetime.fromisoformat(details["finished"])
    return (
        f"{day.day} {day:%B %Y}, {machine['accelerator'] or machine['processor']}, {machine['cores']} cores, "
        f"torch {by['versions']['torch']}, commit {by['commit'].replace('-dirty', ' with changes')}"
    )


def duration(seconds: float) -> str:
    """A time in the largest unit that it fills, before it is rounded: 12 s, 3.5 min, 2.1 h, 1.4 days."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


@cache
def commit() -> str:
    """The commit of the code, with "-dirty" where a tracked file differs from it; "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _accelerator(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(device)
