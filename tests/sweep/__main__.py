"""`make sweep`: what a thousand runs at once would ask of Snakemake, of the disk and of its locks, measured in small.

Asks the Snakefile for a thousand seeds of an experiment without running one, writes that experiment's checkpoints from
1, 10 and 50 processes at once, and has 50 processes take locks. Writes sweep.json (a list of what, measured, thousand)
and sweep_details.json (when, where, by which commit) to the build folder. Takes some 3 GiB of memory and disk.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch

from aae_lib import store
from aae_lib.config import profile
from aae_lib.errors import UserError, exit_code
from aae_lib.experiments import by_name
from aae_lib.store import REPOSITORY
from aae_lib.training import CHECKPOINT_SECONDS, Replica, Run, _contents, build

EXPERIMENT, SEEDS = by_name("mnist_100"), range(1000)
WRITERS = (1, 10, 50)
LOCKERS, LOCKS = 50, 40  # processes, and how often each takes the one lock


def all_at_once(number: int, work: Callable[[int], Any]) -> list[float]:
    """Seconds that `work(i)` takes in each of so many processes, which begin together."""
    context = multiprocessing.get_context("fork")  # they share the tensors
    begin, times = context.Barrier(number), context.SimpleQueue()

    def one(i: int) -> None:
        begin.wait()
        started = time.monotonic()
        with redirect_stderr(io.StringIO()):  # where those that wait for a lock say so
            work(i)
        times.put(time.monotonic() - started)

    processes = [context.Process(target=one, args=(i,)) for i in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise UserError(f"one of {number} processes failed; see above.")
    return [times.get() for _ in processes]


def asked(targets: list[Path], folder: Path) -> float:
    """Seconds that Snakemake takes to plan for `targets`, on one core."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--directory", str(folder), "--nolock", "--dry-run", "--quiet", "all", "--cores"]
    command += ["1", "--config", "profile=paper", f"replicates={len(SEEDS)}", "--"]
    started = time.monotonic()
    done = subprocess.run([*command, *map(str, targets)], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"snakemake failed: {done.stderr.strip()[-500:]}")
    return time.monotonic() - started


def graph(root: Path) -> dict[str, str]:
    """Planning a thousand seeds, before and after they are trained."""
    epochs = profile("paper").epochs_of(EXPERIMENT)
    targets = [store.checkpoint_path(EXPERIMENT, seed, epochs) for seed in SEEDS]
    cold = asked(targets, root)
    for target in targets:
        target.parent.mkdir(parents=True)
        target.touch()
    warm = asked(targets, root)
    return {
        "what": f"Snakemake's graph, {len(SEEDS)} seeds of {EXPERIMENT.name} asked for",
        "measured": f"{cold:.0f} s of one core while none of them is there, {warm:.0f} s once they are",
        "thousand": "once, and again by every job for its own part: a job of ten seeds each (together=1) makes "
        "it a hundred",
    }


def checkpoints(root: Path, replica: Replica) -> list[dict[str, str]]:
    """The size of a run in the store, and how fast its checkpoints get to the disk."""
    tensors, metadata = _contents(replica)

    def write(i: int) -> None:
        store.save(root / f"writer-{i}" / "checkpoint.safetensors", tensors, metadata)

    slowest = {number: max(all_at_once(number, write)) for number in WRITERS}
    size = (root / "writer-0" / "checkpoint.safetensors").stat().st_size / 1e6
    kept, runs = len({*store.KEPT_EPOCHS, EXPERIMENT.epochs}), len(SEEDS)
    last = slowest[WRITERS[-1]]
    rates = ", ".join(f"{size * n / seconds:.0f}" for n, seconds in slowest.items())
    return [
        {
            "what": "Files in the store at the end of the paper profile",
            "measured": f"{kept} checkpoints and a lock for each run, {kept * size:.0f} MB",
            "thousand": f"{(kept + 1) * runs} files in {runs} folders, {kept * size * runs / 1e3:.0f} GB",
        },
        {
            "what": f"A checkpoint of {size:.0f} MB, forced to the disk",
            "measured": f"{slowest[1]:.2f} s alone, at most {last:.1f} s among {WRITERS[-1]} writers; "
            f"{rates} MB/s in all with {', '.join(map(str, WRITERS))} writers",
            "thousand": f"{size * runs / CHECKPOINT_SECONDS / 1e3:.1f} GB/s: one each from every run in "
            f"{CHECKPOINT_SECONDS:.0f} s",
        },
    ]


def locks(root: Path) -> dict[str, str]:
    """Locks of folders of one's own, and one lock that all want."""

    def own(i: int) -> None:
        with store.locked(root / f"folder-{i}"):
            pass

    def shared(_: int) -> None:
        for _ in range(LOCKS):
            with store.locked(root / "shared"):
                pass

    apart, together = max(all_at_once(LOCKERS, own)), max(all_at_once(LOCKERS, shared))
    return {
        "what": f"Locks, {LOCKERS} processes at once",
        "measured": f"{apart * 1e3:.0f} ms at most for a folder of one's own; {LOCKERS * LOCKS} times the same lock "
        f"in {together * 1e3:.0f} ms",
        "thousand": "no contention: no two runs share a folder",
    }


def main() -> None:
    """Measure, print, write."""
    argparse.ArgumentParser(prog="make sweep", description=__doc__).parse_args()
    torch.set_num_threads(1)
    started, provenance = time.monotonic(), store.provenance("cpu", 1)
    store.build_root().mkdir(parents=True, exist_ok=True)
    # On the disk that the store is on, which /tmp may not be.
    with tempfile.TemporaryDirectory(prefix="sweep-", dir=store.build_root()) as name:
        root = Path(name)
        os.environ["AAE_RUNS"] = str(root / "runs")
        model, descent = build(EXPERIMENT, 784, 10, seed=0, device=torch.device("cpu"))
        replica = Replica(Run(EXPERIMENT, 0, 0, model, {}, {}), descent, {})
        rows = [graph(root), *checkpoints(root, replica), locks(root)]
    for row in rows:
        print(f"{row['what']}: {row['measured']}")
    seconds = round(time.monotonic() - started)
    print(f"written: {store.write_measured('sweep', rows, provenance, seconds=seconds)}")


if __name__ == "__main__":
    sys.exit(exit_code("sweep", main))
