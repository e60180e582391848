"""The Parzen estimate beside its bare matrix products, beside the literal formula, and beside scikit-learn's.

python tests/bench/parzen.py            the figures and the curves alone
python tests/bench/parzen.py --whole    10M samples against 10K points for real; goes on where it was stopped
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from measure import Figure, interleaved, ratio
from torch import Generator, Tensor

from aae_lib import store
from aae_lib.config import Code
from aae_lib.errors import exit_code
from aae_lib.experiments import by_name
from aae_lib.model import AdversarialAutoencoder
from aae_lib.parzen import BLOCK, SIGMAS, TILE, Parzen, curve, mean_and_error
from aae_lib.priors import Gaussian
from aae_lib.training import build, peak_memory_gib

CPU = torch.device("cpu")
PIXELS = 784
POINTS = 10_000
ONE = (SIGMAS[2],)  # that of the anchor: real images as samples
ROUNDS = 7
DARK = 116
"""Pixels that are 0 in all 10 000 test images of MNIST. Our estimate makes its products without them."""
PEAK_SAMPLES = 240_000
"""Memory has stopped growing long before: it is what one block of samples and one tile need."""


def images(n: int, seed: int) -> Tensor:
    """(n, 784) stand-ins for digits: smooth, mostly dark, in [0, 1], as near each other as MNIST's are."""
    generator = Generator().manual_seed(seed)
    strokes = torch.randn(n, 40, generator=generator) @ torch.randn(
        40, PIXELS, generator=Generator().manual_seed(0)
    )
    return (strokes / 10 - 0.5).clamp_(0, 1)


def ours(points: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Callable[[], Tensor]:
    """The estimate from points and samples that are in memory to log-likelihoods."""

    def call() -> Tensor:
        parzen = Parzen(points, sigmas)
        parzen.add(samples)
        return parzen.log_likelihood()

    return call


def products(points: Tensor, samples: Tensor) -> Callable[[], None]:
    """The products alone, into memory that is there, by the same tiles: faster here than one large product."""
    side = TILE["cpu"]
    buffer = torch.empty(side * side)

    def call() -> None:
        for x in points.split(side):
            for s in samples.split(side):
                torch.mm(x, s.T, out=buffer[: len(x) * len(s)].view(len(x), len(s)))

    return call


def literal(points: np.ndarray, samples: np.ndarray, sigma: float) -> np.ndarray:
    """The formula as it is written, one point after the other: differences, squares, their sum."""
    dim = points.shape[1]
    result = np.empty(len(points))
    for i, x in enumerate(points):
        exponents = -(((x - samples) / sigma) ** 2).sum(1) / 2
        top = exponents.max()
        result[i] = top + np.log(np.exp(exponents - top).mean())
    return result - dim * math.log(sigma * math.sqrt(2 * math.pi))


def figures() -> list[Figure]:
    """The figures of the table in the book that are about the Parzen estimate."""
    return [*_against_products(), *_against_others(), _peak()]


def _against_products() -> list[Figure]:
    points, samples = images(POINTS, 1), images(POINTS, 2)
    seconds = interleaved(
        {
            "products": products(points, samples),
            "one": ours(points, samples, ONE),
            "grid": ours(points, samples, SIGMAS),
        },
        ROUNDS,
    )
    size = "10K points × 10K samples × 784"
    bare = "bare products", seconds["products"]
    return [
        ratio("parzen_products", "≥ 0.75", size, bare, ("one sigma", seconds["one"])),
        ratio("parzen_grid", "≥ 0.5", size, bare, ("ten sigmas in one pass", seconds["grid"])),
    ]


def _against_others() -> list[Figure]:
    """Against rivals, at a size for which they need a few seconds. All give the same numbers, which is checked."""
    points, samples = images(1000, 1), images(5000, 2)
    points[:, :DARK] = 0  # which of them does not matter
    repeats = 20  # for a turn that is not much shorter than theirs
    call_ours = ours(points, samples, ONE)

    def repeated() -> Tensor:
        for _ in range(repeats):
            result = call_ours()
        return result

    work = {
        "ours": repeated,
        "numpy": lambda: literal(points.numpy(), samples.numpy(), ONE[0]),
    }
    if find_spec("sklearn"):
        from sklearn.neighbors import KernelDensity

        def sklearn() -> np.ndarray:
            # One leaf: with more, its bounds cancel and most numbers are wrong by hundreds of nats in 784 dimensions
            # (scikit-learn issue 7492), and it takes twice as long.
            density = KernelDensity(bandwidth=ONE[0], leaf_size=len(samples)).fit(samples.numpy())
            return density.score_samples(points.numpy())

        work["sklearn"] = sklearn
    results: dict[str, Tensor] = {}

    def kept(name: str) -> Callable[[], None]:
        def call() -> None:
            results[name] = torch.as_tensor(work[name]()).flatten()

        return call

    seconds = interleaved({name: kept(name) for name in work}, rounds=3)
    for name, found in results.items():
        if not torch.allclose(found.double(), results["numpy"].double(), rtol=0, atol=0.01):
            raise AssertionError(f"{name} does not give what the formula gives")
    seconds["ours"] /= repeats
    size = (
        f"1000 points × 5000 samples × {PIXELS}, of which {DARK} are 0 in all points, as in MNIST"
    )
    whole = "ours", seconds["ours"]
    missing = math.nan  # a rival that is not installed is no success
    return [
        ratio(f"parzen_vs_{name}", target, size, whole, (title, seconds.get(name, missing)))
        for name, title, target in (
            ("numpy", "the literal NumPy formula", "≤ 0.05"),
            ("sklearn", "scikit-learn's KernelDensity", "≤ 0.02"),
        )
    ]


def _peak() -> Figure:
    """Peak memory of a process that makes the first part of the 10M-sample estimate and nothing else."""
    command = [sys.executable, __file__, "--peak", str(PEAK_SAMPLES)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    third, whole = json.loads(done.stdout.splitlines()[-1])
    return Figure(
        "parzen_10m_peak_gib",
        whole,
        "≤ 1.5",
        f"GiB of a process after {PEAK_SAMPLES:,} samples, decoded from 8-D codes, against 10K points and ten sigmas; "
        f"{third} after a third of them: it does not grow with their number",
    )


def curves() -> dict[str, object]:
    """Seconds against samples and against sigmas, ours and the bare products'; JSON values."""
    points, samples = images(5000, 1), images(30_000, 2)
    count = [1000, 3000, 10_000, 30_000]
    by_samples = [
        interleaved(
            {
                "products": products(points, samples[:n]),
                "one sigma": ours(points, samples[:n], ONE),
                "ten sigmas": ours(points, samples[:n], SIGMAS),
            },
            rounds=3,
        )
        for n in count
    ]
    sigmas = [1, 2, 5, 10, 20]
    grids = [torch.logspace(-1, 0, n).tolist() if n > 1 else ONE for n in sigmas]
    work = {str(len(g)): ours(points, samples[:10_000], g) for g in grids}
    by_sigmas = interleaved(work | {"products": products(points, samples[:10_000])}, rounds=3)
    flop = 2 * len(points) * 10_000 * PIXELS
    return {
        "parzen_samples": {
            "points": len(points),
            "samples": count,
            **{name: [row[name] for row in by_samples] for name in by_samples[0]},
        },
        "parzen_sigmas": {
            "points": len(points),
            "samples": 10_000,
            "sigmas": sigmas,
            "seconds": [by_sigmas[str(n)] for n in sigmas],
            "products": by_sigmas["products"],
        },
        "parzen_gflops": flop / by_sigmas["products"] / 1e9,
    }


# ---- 10M samples ---------------------------------------------------------------------------------


def decoder() -> AdversarialAutoencoder:
    """Table 1's model for MNIST, 8-D codes from N(0, 25 I) (A.1), with weights as they are drawn."""
    experiment = replace(by_name("fig2_gaussian"), codes=(Code("z", Gaussian(8, 5.0)),))
    return build(experiment, PIXELS, 10, 0, CPU)[0]


def peak(count: int) -> list[float]:
    """GiB held at most after a third of `count` samples, and after all."""
    model, drawn, peaks = decoder(), 0, []

    def draw(n: int, generator: Generator) -> Tensor:
        nonlocal drawn
        if drawn == count // 3:
            peaks.append(peak_memory_gib(CPU))
        drawn += n
        return model.sample(n, generator)

    curve(draw, [count], images(POINTS, 1), model="random weights", seed=0, quiet=True)
    return [*peaks, peak_memory_gib(CPU)]


def whole(count: int, path: Path) -> None:
    """The estimate of `count` samples at one sigma, and its time beside that of the products it needs."""
    points, model, drawn = images(POINTS, 1), decoder(), 0

    def draw(n: int, generator: Generator) -> Tensor:
        nonlocal drawn
        drawn += n
        return model.sample(n, generator)

    # What the products of one block cost, before and after: distances alone, and with those of the decoder.
    samples = model.sample(BLOCK, Generator().manual_seed(0))
    weights = [
        p.detach() for p in (*model.decoder.parameters(), *model.output.parameters()) if p.ndim == 2
    ]
    inputs = [torch.rand(BLOCK, w.shape[1]) for w in weights]
    outputs = [torch.empty(BLOCK, w.shape[0]) for w in weights]

    def decode() -> None:
        for x, w, out in zip(inputs, weights, outputs, strict=True):
            torch.mm(x, w.T, out=out)

    work = {"distances": products(points, samples), "decoder": decode}
    before = interleaved(work, rounds=5)
    started = time.perf_counter()
    (found,) = curve(draw, [count], points, ONE, model="random weights", seed=0, state=path)
    seconds = time.perf_counter() - started
    memory = peak_memory_gib(CPU)
    after = interleaved(work, rounds=5)
    bare = {name: (before[name] + after[name]) / 2 * drawn / BLOCK for name in work}

    mean, error = mean_and_error(found[0])
    print(f"{mean:.2f} ± {error:.2f} nats at sigma {ONE[0]:.4f}, {count:,} samples")
    if drawn:
        both = sum(bare.values())
        print(
            f"{drawn:,} samples now, in {seconds:.0f} s: {seconds / both:.2f} × the bare products "
            f"({bare['distances']:.0f} s of distances, {bare['decoder']:.0f} s of the decoder), "
            f"{seconds / bare['distances']:.2f} × those of the distances alone"
        )
    print(f"peak memory {memory} GiB; kept in {path}")


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="10M samples; some half an hour")
    parser.add_argument("--samples", type=int, default=10_000_000, help="fewer, for --whole")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak(options.peak)))
    elif options.whole:
        path = store.build_root() / "bench" / f"parzen-{options.samples}.safetensors"
        whole(options.samples, path)
    else:
        for figure in figures():
            print(f"{figure.name:20} {figure.value:.3f}  {figure.target}  {figure.how}", flush=True)
        print(json.dumps(curves(), indent=1))


if __name__ == "__main__":
    sys.exit(exit_code("parzen", main))
