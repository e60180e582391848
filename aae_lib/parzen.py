"""Log-likelihood of images under samples of a model, by a Gaussian Parzen window. Paper: §3, A.1, Table 1.

    log p(x) = log (1/m) Σ_j N(x; s_j, σ² I)
             = log mean_j exp(−‖x − s_j‖² / 2σ²) − D log(σ √2π)

for points x and samples s_j of D dimensions. Exact, and streamed: samples come in blocks, are used once for all points
and all σ, and are not kept. Time goes into one product of float32 matrices for each tile, points × samples, and into
as few passes over that tile as there can be while it is in the cache.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from aae_lib import store
from aae_lib.data import digest_of
from aae_lib.draws import seed_of
from aae_lib.errors import UserError
from aae_lib.training import CHECKPOINT_SECONDS, Run, choose_device, made_ready

SIGMAS = tuple(torch.logspace(-1, 0, 10, dtype=torch.float64).tolist())
"""The grid that σ is chosen from, on validation images: that of the GAN paper's code, whose protocol §3 follows."""
BLOCK = 10_000  # samples drawn at a time
DTYPES = (torch.float32, torch.float64)
TILE = {"cpu": 1000, "cuda": 10_000}
"""Points and samples of one product. On a CPU, 4 MB that the last cache keeps; a GPU wants few large kernels."""
LARGEST = 1e15  # of a coordinate: its square, and the sum of some, is a float32
NEGLIGIBLE = 40.0
"""Terms below 2^−40 of the largest are left out: all of 10M samples could move a log-likelihood by 10⁻⁵ nats."""


class Parzen:
    """The estimate for `points` (n, D) at every one of `sigmas`, from samples that are added block by block.

    For points and samples in [0, 1]^784 and σ ≥ 0.1 it is within 10⁻³ nats, or 10⁻⁷ of the value, of the formula in
    float64. Where samples repeat one another their rounding errors do not average out, and how large they are depends
    on the order in which a CPU sums: some √D · 2⁻²⁴ ‖x − mean of the points‖² / σ², a random walk of D roundings.
    Raises UserError unless there are points, all finite, and sigmas, all positive (and within 10^±9).
    """

    def __init__(self, points: Tensor, sigmas: Sequence[float] = SIGMAS):
        if points.ndim != 2 or 0 in points.shape or points.dtype not in DTYPES:
            raise UserError(
                "Parzen estimate: points must be float32 or float64 of shape (n, D), at least one; "
                f"found {points.dtype} {tuple(points.shape)}."
            )
        if not len(sigmas) or not all(1e-9 <= sigma <= 1e9 for sigma in sigmas):
            raise UserError(
                f"Parzen estimate: sigmas must lie between 1e-9 and 1e9; found {list(sigmas)}."
            )
        device, n = points.device, len(points)
        self.sigmas = tuple(map(float, sigmas))
        self.count = 0  # samples so far

        # −‖x − s‖²/2 = x·s − ‖s‖²/2 − ‖x‖²/2: a product, and norms. It cancels what x and s have in common, so the
        # less that is, the more digits are left: subtract the mean from both. A pixel that all points share, as
        # MNIST's dark border, is then 0 in x: it counts in ‖s‖² alone, and the product goes without it.
        self.centre = points.mean(0)
        centred = (points - self.centre).float()
        if not _usable(centred):
            raise UserError("Parzen estimate: some points are not finite.")
        shared = (centred == 0).all(0)
        self.varying, self.shared = (~shared).nonzero()[:, 0], shared.nonzero()[:, 0]
        self.points = self._varying(centred)
        self.half_norms = _half_squared_norms(self.points)
        double = {"dtype": torch.float64, "device": device}
        self.precisions = torch.tensor(self.sigmas, **double).pow(-2)[:, None]

        # By point: the score x·s − ‖s‖²/2 of the nearest sample so far; −‖x − s‖²/2 of it, without cancellation;
        # and for each σ the sum over samples of exp((score − nearest score)/σ²), which begins with exp(0).
        self.nearest = torch.full((n,), -math.inf, device=device)
        self.exact = torch.full((n,), -math.inf, **double)
        self.sums = torch.zeros(len(self.sigmas), n, **double)

        self._tile = TILE.get(device.type, TILE["cpu"])
        self._scores, self._terms = (
            torch.empty(min(n, self._tile) * self._tile, device=device) for _ in range(2)
        )

    @torch.no_grad()
    def add(self, samples: Tensor) -> None:
        """Take `samples` (m, D) in. Raises UserError for another shape, or for one that is not finite."""
        dim = len(self.centre)
        if samples.ndim != 2 or samples.shape[1] != dim or samples.dtype not in DTYPES:
            raise UserError(
                f"Parzen estimate: samples must be float32 or float64 of shape (m, {dim}), as the points are; "
                f"found {samples.dtype} {tuple(samples.shape)}."
            )
        if len(samples) and not _usable(samples):
            bad = int((~(samples.abs() < LARGEST)).any(1).sum())
            raise UserError(
                f"Parzen estimate: {bad} of {len(samples)} samples are not finite. The model that draws them "
                "has diverged, or was not trained."
            )
        n, side = len(self.points), self._tile
        closest = torch.full((n,), -1, device=self.points.device)  # which of these samples, if one
        with _full_precision(self.points.device):
            for first in range(0, len(samples), side):
                tile = (samples[first : first + side] - self.centre).float()
                half_norms = _half_squared_norms(tile).float()
                tile = self._varying(tile)
                for start in range(0, n, side):
                    rows = slice(start, start + side)
                    better, which = self._add(rows, tile, half_norms)
                    closest[rows][better] = which + first
        self.count += len(samples)

        # The nearest sample outweighs the rest at small σ: its distance is worth computing without cancellation.
        for moved in (closest >= 0).nonzero()[:, 0].split(side):
            nearest = (samples[closest[moved]] - self.centre).float()
            self.exact[moved] = -_half_squared_norms(self.points[moved] - self._varying(nearest))
            self.exact[moved] -= _half_squared_norms(nearest[:, self.shared])

    def _add(self, rows: slice, samples: Tensor, half_norms: Tensor) -> tuple[Tensor, Tensor]:
        """One tile: points `rows`, samples (m, D), centred. For which points one is the nearest so far, and which."""
        points, nearest, sums = self.points[rows], self.nearest[rows], self.sums[:, rows]
        scores = self._view(self._scores, len(points), len(samples))
        torch.mm(points, samples.T, out=scores).sub_(half_norms)
        best = scores.amax(1)

        # Log-sum-exp as it streams: where a sample is nearer than all before, sums become relative to it.
        better = (best > nearest).nonzero()[:, 0]
        which = self._pick(scores, better).argmax(1)
        before = nearest.double()
        torch.maximum(nearest, best, out=nearest)
        sums *= torch.exp((before - nearest) * self.precisions)

        scores.sub_(nearest[:, None])
        best -= nearest
        for k, sigma in enumerate(self.sigmas):
            scale = 1 / (sigma**2 * math.log(2))  # powers of two: torch has a faster exp2 than exp
            matter = (best > -NEGLIGIBLE / scale).nonzero()[:, 0]
            if 2 * len(matter) < len(points):  # as for small σ, once some samples are in
                terms = self._pick(scores, matter).mul_(scale)
                sums[k].index_add_(0, matter, terms.exp2_().sum(1).double())
            else:
                terms = self._view(self._terms, *scores.shape)
                sums[k] += torch.mul(scores, scale, out=terms).exp2_().sum(1)
        return better, which

    def _varying(self, x: Tensor) -> Tensor:
        """Of centred points or samples, the pixels in which points differ."""
        return x[:, self.varying] if len(self.shared) else x

    def _pick(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Some rows of a tile, copied to where its terms go."""
        terms = self._view(self._terms, len(rows), scores.shape[1])
        return torch.index_select(scores, 0, rows, out=terms)

    @staticmethod
    def _view(buffer: Tensor, rows: int, columns: int) -> Tensor:
        return buffer[: rows * columns].view(rows, columns)

    def log_likelihood(self) -> Tensor:
        """log p(x) in nats for each σ and point, float64 (sigmas, n). Raises UserError before any sample."""
        if not self.count:
            raise UserError("Parzen estimate: there are no samples yet.")
        # `sums` has the nearest sample as exp(0) = 1, from the rounded score: the exact term takes its place.
        others = (self.sums - 1).clamp(min=0).log()
        others += (self.nearest - self.half_norms) * self.precisions
        log_sum = torch.logaddexp(self.exact * self.precisions, others)
        log_volume = -0.5 * len(self.centre) * (self.precisions / (2 * math.pi)).log()
        return log_sum - math.log(self.count) - log_volume

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs to go on from here, on the CPU; the points are not in it."""
        tensors = {name: getattr(self, name).cpu().clone() for name in ("nearest", "exact", "sums")}
        return tensors | {"count": torch.tensor([self.count])}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state()` of the same points and sigmas."""
        for name in ("nearest", "exact", "sums"):
            getattr(self, name).copy_(state[name])
        self.count = int(state["count"])


@torch.no_grad()
def curve(
    draw: Callable[[int, Generator], Tensor],
    counts: Sequence[int],
    points: Tensor,
    sigmas: Sequence[float] = SIGMAS,
    *,
    model: str,
    seed: int,
    device: str = "cpu",
    state: Path | None = None,
    block: int = BLOCK,
    quiet: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Tensor:
    """Log-likelihood of points (n, D) from the first counts[0], counts[1], … of one stream of samples, in nats.

    Float64 (counts, sigmas, n) on the CPU, in one pass over counts[-1] samples; `counts` ascend.
    `draw(m, generator)` gives m samples (m, D), on `device`. Validation and test images are best asked for together:
    the samples are then drawn once. `state` is a file, in a folder that is locked meanwhile, that lets an estimate
    which was stopped go on: each block's generator follows from (seed, block) alone, so the result is the same to the
    bit. It is kept at the end and then answers at once. `model` names what draws, weights included, for that file.
    Raises UserError as `Parzen` does, and for a state that is damaged or of another estimate.
    """
    counts = list(counts)
    if not counts or counts[0] < 1 or block < 1 or seed < 0:
        raise UserError(
            f"Parzen estimate: count {counts[0] if counts else None}, block {block}, seed {seed}; "
            "at least 1, 1 and 0 are needed."
        )
    if sorted(set(counts)) != counts:
        raise UserError(f"Parzen estimate: numbers of samples must ascend; found {counts}.")
    target = made_ready(choose_device(device))  # to draw as it does in training
    parzen = Parzen(points.to(target), sigmas)
    key = {
        "model": model,
        "samples": counts,
        "block": block,
        "seed": seed,
        "device": target.type,  # whose generators differ
        "sigmas": list(parzen.sigmas),
        "points": _digest(points),
    }
    reached = torch.empty(0, len(parzen.sigmas), len(points), dtype=torch.float64)
    if state is not None and state.exists():
        found = _load(state, key)["reached"]
        if len(found) == len(counts):  # finished: it needs no lock, so a store may be read-only
            return found
    with ExitStack() as stack:
        if state is not None:
            stack.enter_context(store.locked(state.parent))
            if state.exists():
                tensors = _load(state, key)
                parzen.load_state(tensors)
                reached = tensors["reached"]
        options = {"desc": model, "unit": "sample", "unit_scale": True, "disable": quiet}
        bar = stack.enter_context(tqdm(total=counts[-1], initial=parzen.count, **options))
        saved = time.monotonic()
        while parzen.count < counts[-1]:
            start = parzen.count
            size = min(block, counts[-1] - start)
            generator = Generator(target).manual_seed(
                seed_of("parzen", seed, start // block)  # no epoch of training has it
            )
            samples = draw(size, generator)
            if len(samples) != size:
                raise UserError(f"Parzen estimate: asked for {size} samples, got {len(samples)}.")
            # A block is drawn whole, whatever the counts, and parted at those that fall into it.
            inside = [count - start for count in counts if start < count < start + size]
            for part in samples.tensor_split(inside):
                parzen.add(part)
                if parzen.count in counts:
                    reached = torch.cat((reached, parzen.log_likelihood()[None].cpu()))
            bar.update(size)
            due = parzen.count == counts[-1] or time.monotonic() - saved > checkpoint_seconds
            if state is not None and due:
                store.save(state, parzen.state() | {"reached": reached}, {"estimate": key})
                saved = time.monotonic()
    return reached


def curve_of(
    run: Run,
    counts: Sequence[int],
    points: Tensor,
    sigmas: Sequence[float] = SIGMAS,
    *,
    device: str = "cpu",
    quiet: bool = False,
) -> Tensor:
    """`curve` of the samples of a trained model, kept in its folder of the run store: asked again, it answers at once.

    An estimate that was stopped goes on. Other weights, counts, points or sigmas, or another kind of
    device, have a file of their own.
    """
    weights = torch.cat([w.detach().flatten().float() for w in run.model.state_dict().values()])
    target = choose_device(device)
    kind = torch.device(target).type  # the draws of a GPU are others than a processor's
    key = json.dumps([_digest(weights), _digest(points), list(counts), list(sigmas), kind])
    name = digest_of(key)
    return curve(
        copy.deepcopy(run.model).to(target).sample,
        counts,
        points,
        sigmas,
        model=f"{run.experiment.name} seed {run.seed} epoch {run.epochs:g}",
        seed=run.seed,
        device=device,
        state=store.run_folder(run.experiment, run.seed) / "parzen" / f"{name}.safetensors",
        quiet=quiet,
    )


def counts_up_to(most: int) -> list[int]:
    """Numbers of samples to look at on the way to `most`: 1000, 3000, 10 000 (Table 1), 30 000, …, and `most`.

    Raises UserError unless it is a whole number, of at least Table 1's 10 000.
    """
    if type(most) is not int or most < 10_000:
        raise UserError(
            f"parameter samples must be a whole number of at least 10000, not {most!r}."
        )
    marks = [first * 10**k for k in range(3, len(str(most))) for first in (1, 3)]
    return sorted({count for count in marks if count < most} | {most})


@dataclass(frozen=True)
class Score:
    """One cell of Table 1: mean and standard error over the test images in nats, at the σ that was chosen."""

    mean: float
    error: float
    sigma: float
    at_end: bool  # of the grid, so that a better σ may lie outside

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.error:.1f}"


def score(
    log_likelihood: Tensor,
    validation: int,
    sigmas: Sequence[float] = SIGMAS,
    *,
    kept: float | None = None,
) -> Score:
    """Table 1's number from the log-likelihoods (sigmas, n) of `validation` images and then the test images.

    σ is the best for the validation images, or the one that is `kept` from elsewhere. Paper: §3.
    """
    best = (
        choose_sigma(log_likelihood[:, :validation], sigmas, allow_end=True)
        if kept is None
        else list(sigmas).index(kept)
    )
    mean, error = mean_and_error(log_likelihood[best, validation:])
    return Score(mean, error, sigmas[best], best in (0, len(sigmas) - 1))


def choose_sigma(
    log_likelihood: Tensor, sigmas: Sequence[float] = SIGMAS, *, allow_end: bool = False
) -> int:
    """Position of the σ with the best mean over validation images, whose log-likelihoods are (sigmas, n).

    Raises UserError where that is an end of the grid, for the best may then lie outside; `allow_end` takes it still.
    """
    best = int(log_likelihood.mean(1).argmax())
    if best in (0, len(sigmas) - 1) and not allow_end:
        raise UserError(
            f"Parzen estimate: sigma {sigmas[best]:.4g} is the best on the validation images and an end of the grid "
            f"{min(sigmas):.4g} … {max(sigmas):.4g}, so a better one may lie outside. Widen the grid, or set allow_end."
        )
    return best


def mean_and_error(log_likelihood: Tensor) -> tuple[float, float]:
    """Mean over images (n,) in nats, and its standard error std / √n, as Table 1 gives them (std with 1/n)."""
    n = len(log_likelihood)
    return float(log_likelihood.mean()), float(log_likelihood.std(correction=0)) / math.sqrt(n)


def _load(path: Path, key: dict[str, object]) -> dict[str, Tensor]:
    """The tensors of a state file. Raises UserError if it is damaged, or of another estimate than `key`'s."""
    remedy = "Remove it to begin anew, or name another file."
    try:
        tensors, metadata = store.load(path)
    except UserError as error:
        raise UserError(f"{error} {remedy}") from None
    found = metadata.get("estimate", {})
    if differs := [name for name in key if found.get(name) != key[name]]:
        raise UserError(f"{path} is of another estimate: its {', '.join(differs)} differ. {remedy}")
    return tensors


def _usable(x: Tensor) -> bool:
    """Whether all numbers are finite, and small enough for float32 to hold their squares."""
    least, most = x.aminmax()  # NaN where there is one, which is in no range
    return bool((least > -LARGEST) & (most < LARGEST))


def _half_squared_norms(x: Tensor) -> Tensor:
    """‖x‖²/2 of rows (n, D) in float64, shape (n,); a few rows at a time, whose float64 copies stay in the cache."""
    norms = [torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in x.split(500)]
    return torch.cat(norms).square_() / 2


def _digest(points: Tensor) -> str:
    text = json.dumps([str(points.dtype), *points.shape]).encode()
    return hashlib.sha256(text + points.cpu().contiguous().numpy().tobytes()).hexdigest()[:12]


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Products of true float32: what training may have allowed instead (TF32) has 10 bits; distances need all 24."""
    # Of this device alone, and by the name that training uses: PyTorch refuses a mixture of the older names and the
    # newer ones, and its common setting for all devices would be left to the others.
    if device.type == "cuda":
        backend, name, exact = torch.backends.cuda.matmul, "allow_tf32", False
    else:
        backend, name, exact = torch.backends.mkldnn.matmul, "fp32_precision", "ieee"
    before = getattr(backend, name)
    setattr(backend, name, exact)
    try:
        yield
    finally:
        setattr(backend, name, before)
