"""How fast one GPU trains: `.venv/bin/python tests/bench/gpu.py`, a minute, on a machine that has one.

The time of an iteration of MNIST with 100 labels for 1, 3 and 10 replicates, as a captured CUDA graph and launched
kernel by kernel; what the paper's whole schedule of ten replicates would take at that rate; and the least bytes that an
iteration moves, over the bandwidth of a copy. Writes bench_gpu.json to the build folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the literal transcription
from training import PIXELS, SEMI_SUPERVISED, noise

from aae_lib import engine, store
from aae_lib.config import Experiment
from aae_lib.engine import Images, Program
from aae_lib.errors import exit_code
from aae_lib.experiments import by_name
from aae_lib.training import build

IMAGES = 50_000
TURNS, CALLS, FEW = 5, 100, 20


def main() -> int:
    """Measure everything, print it, write it; returns the exit code."""
    arguments = argparse.ArgumentParser(prog="tests/bench/gpu.py", description=__doc__)
    arguments.add_argument("--kernels", action="store_true", help="print where the time goes")
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here", file=sys.stderr)
        return 2
    torch.backends.cuda.matmul.allow_tf32 = True  # as in training
    bandwidth = copied_bytes_per_second()
    print(f"{torch.cuda.get_device_name()}: copies move {bandwidth / 1e12:.2f} TB/s", flush=True)
    path, rows = store.build_root() / "bench_gpu.json", []
    for experiment, counts in ((SEMI_SUPERVISED, (1, 3, 10)), (by_name("clusters_30"), (1, 3))):
        for count in counts:
            rows.append(measured(experiment, count, bandwidth))
            print(json.dumps(rows[-1]), flush=True)
            if options.kernels and count == counts[-1]:
                kernels(experiment, count)
            result = {
                "rows": rows,
                "bandwidth": bandwidth,
                "provenance": store.provenance("cuda", torch.get_num_threads()),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            store.write_atomically(path, json.dumps(result, indent=1).encode())
    print(f"written: {path}")
    return 0


def copied_bytes_per_second() -> float:
    """Bytes read and written in a second by a copy of 2 GiB from one place on the device to another."""
    source = torch.rand(2**29, device="cuda")
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source))
    return 2 * source.nbytes / seconds


def measured(experiment: Experiment, replicates: int, bandwidth: float) -> dict[str, object]:
    """Seconds of one iteration of all replicates, captured and not, and what follows from them."""
    captured = program(experiment, replicates)
    seconds = median_seconds(partial(turn, captured, CALLS)) / CALLS
    memory = torch.cuda.max_memory_allocated()  # before the second program is there
    plain = program(experiment, replicates)
    plain.captures, plain.graph = False, None
    launched = median_seconds(partial(turn, plain, FEW)) / FEW
    steps = experiment.epochs * (IMAGES // experiment.batch_size)
    return {
        "experiment": experiment.name,
        "replicates": replicates,
        "seconds": seconds,
        "launched one by one": launched,
        "floor": least_bytes(captured) / bandwidth,
        "images per second": replicates * experiment.batch_size / seconds,
        "schedule minutes": steps * seconds / 60,
        "memory GiB": round(memory / 2**30, 2),
    }


def program(experiment: Experiment, replicates: int) -> Program:
    """A program on random images, captured where it captures."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    dataset, device, seeds = noise(IMAGES), torch.device("cuda"), range(replicates)
    built = [build(experiment, PIXELS, dataset.classes, seed, device) for seed in seeds]
    first = Images.of(dataset, experiment, 0, device)
    images = [first, *(first.with_labels(dataset, experiment, seed) for seed in seeds[1:])]
    made = Program(*zip(*built, strict=True), images, seeds)
    made.start(epoch=1)
    for _ in range(engine.WARM_UP + 2):
        made.advance()
    return made


def turn(program: Program, steps: int) -> None:
    """Some iterations from the epoch's first one on."""
    program.position.zero_()
    for _ in range(steps):
        program.advance()


def least_bytes(program: Program) -> int:
    """Bytes of the weights that an iteration moves if nothing but them moves, each once for each use.

    A phase reads each of its weights forward and back, writes its gradient, and in the update reads the gradient and
    reads and writes weight and velocity: eight passes; the generator's phase also reads the discriminators.
    """
    sizes = {
        phase: sum(p.nbytes for p in parameters.values())
        for phase, parameters in program.descent.parameters.items()
    }
    return 8 * sum(sizes.values()) + 2 * sizes.get("discriminator", 0)


def median_seconds(call: Callable[[], object]) -> float:
    """Seconds that the device takes for one call: the median over some turns."""
    call()
    taken = []
    for _ in range(TURNS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return median(taken)


def kernels(experiment: Experiment, replicates: int) -> None:
    """Print the kernels that take most of a captured iteration."""
    captured = program(experiment, replicates)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        turn(captured, 20)
        torch.cuda.synchronize()
    averages = profile.key_averages()
    print(averages.table(sort_by="cuda_time_total", row_limit=25, max_name_column_width=90))


if __name__ == "__main__":
    sys.exit(exit_code("gpu", main))
