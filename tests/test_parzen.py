"""The Parzen estimate: against the formula as it is written, streamed in any way, resumed to the bit, refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from materials import fit
from scipy.special import logsumexp
from torch import Generator, Tensor

from aae_lib import data, parzen, store
from aae_lib.draws import seed_of
from aae_lib.errors import UserError
from aae_lib.experiments import by_name
from aae_lib.parzen import SIGMAS, Parzen, choose_sigma, curve, mean_and_error

TOLERANCE = 1e-3  # nats


@pytest.fixture
def small_tiles(monkeypatch) -> None:
    """Tiles that no size in these tests is a multiple of."""
    monkeypatch.setitem(parzen.TILE, "cpu", 16)


def literal(points: Tensor, samples: Tensor, sigmas: Sequence[float] = SIGMAS) -> Tensor:
    """The formula in float64, one point after the other."""
    dim = points.shape[1]
    points, samples = points.double().numpy(), samples.double().numpy()
    squares = np.stack([((x - samples) ** 2).sum(1) for x in points])
    return torch.from_numpy(np.stack([
        logsumexp(-squares / (2 * s**2), axis=1)
        - math.log(len(samples)) - dim * math.log(s * math.sqrt(2 * math.pi))
        for s in sigmas
    ]))  # fmt: skip


def streamed(points: Tensor, *blocks: Tensor, sigmas: Sequence[float] = SIGMAS) -> Tensor:
    made = Parzen(points, sigmas)
    for block in blocks:
        made.add(block)
    return made.log_likelihood()


def uniform(n: int, dim: int, seed: int) -> Tensor:
    return torch.rand(n, dim, generator=Generator().manual_seed(seed))


def largest_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


# ---- The formula ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, m, dim", [(20, 50, 3), (1, 1, 1), (16, 32, 8), (37, 53, 784), (5, 200, 784), (33, 1, 2)]
)
def test_it_is_the_formula(n: int, m: int, dim: int, small_tiles) -> None:
    points, samples = uniform(n, dim, 0), uniform(m, dim, 1)
    found = streamed(points, samples)
    assert found.dtype == torch.float64 and found.shape == (len(SIGMAS), n)
    assert largest_difference(found, literal(points, samples)) < TOLERANCE


def test_it_is_the_formula_at_tiles_of_the_real_size() -> None:
    points, samples = uniform(1030, 20, 0), uniform(2070, 20, 1)
    difference = largest_difference(streamed(points, samples), literal(points, samples))
    assert difference < TOLERANCE


def test_one_sample_is_a_gaussian() -> None:
    points, mean = uniform(9, 5, 0), uniform(1, 5, 1)
    gaussian = torch.distributions.Normal(mean.double(), 0.3)
    expected = gaussian.log_prob(points.double()).sum(1)
    assert largest_difference(streamed(points, mean, sigmas=[0.3])[0], expected) < 1e-6


def digits(dataset: data.Dataset, n: int) -> tuple[Tensor, Tensor]:
    return tuple(torch.from_numpy(s.pixels()[:n]) for s in (dataset.test, dataset.train))


def near_copies(digits_archive) -> tuple[Tensor, Tensor]:
    points, _ = digits(data.load(str(digits_archive)), 100)
    noise = torch.randn(20, *points.shape, generator=Generator().manual_seed(0))
    return points, (points + 0.01 * noise).flatten(0, 1)


BORDER = (torch.arange(784) % 28 > 4).float()  # 0 in five columns of an image

HARD: dict[str, Callable[[Path], tuple[Tensor, Tensor]]] = {
    "points equal to samples": lambda archive: (
        (binary := uniform(100, 784, 0).round()),
        torch.cat([uniform(300, 784, 1), binary]),
    ),
    "images": lambda archive: digits(data.load(str(archive)), 200),
    "bright images": lambda archive: tuple(
        1 - split for split in digits(data.load(str(archive)), 200)
    ),
    "twenty near copies of each": near_copies,
    "pixels that points share and samples do not": lambda archive: (
        uniform(100, 784, 0) * BORDER + 0.5 * (1 - BORDER),
        uniform(300, 784, 1),
    ),
    "terms that all underflow": lambda archive: (
        torch.ones(10, 784),
        0.01 * uniform(300, 784, 0),
    ),
    "far from each other": lambda archive: (
        torch.cat([uniform(10, 784, 0), uniform(10, 784, 1) + 1]),
        torch.cat([uniform(150, 784, 2) + 1, uniform(150, 784, 3)]),
    ),
}


@pytest.mark.parametrize("case", HARD)
def test_float32_products_keep_a_thousandth_of_a_nat(case: str, digits_archive) -> None:
    """At σ = 0.1, where an error of the squared distance counts fifty times."""
    points, samples = HARD[case](digits_archive)
    found, expected = streamed(points, *samples.split(170)), literal(points, samples)
    assert found.isfinite().all()
    assert ((found - expected).abs() < (1e-7 * expected.abs()).clamp(min=TOLERANCE)).all()


def test_a_width_keeps_all_its_digits() -> None:
    made = Parzen(uniform(2, 3, 0), [0.1, 0.29])
    assert made.precisions[:, 0].tolist() == pytest.approx([0.1**-2, 0.29**-2], rel=1e-14)


def test_the_product_goes_without_pixels_that_all_points_share() -> None:
    assert Parzen(uniform(50, 784, 0) * BORDER).points.shape == (50, 784 - 5 * 28)
    assert Parzen(uniform(50, 784, 0)).points.shape == (50, 784)


def test_samples_that_repeat_share_their_rounding_and_no_more() -> None:
    points = uniform(100, 784, 0).round()
    samples = torch.cat([uniform(300, 784, 1), points.repeat(5, 1)])
    # A random walk of 784 roundings, as the docstring has it: 0.03 nats. To miss the repeats would be log 5 = 1.6.
    largest = (points - points.mean(0)).square().sum(1).max()
    rounding = math.sqrt(784) * 2**-24 * float(largest) / min(SIGMAS) ** 2
    assert rounding < 0.05
    assert largest_difference(streamed(points, samples), literal(points, samples)) < rounding


def test_what_training_allows_of_products_is_not_allowed_of_distances(monkeypatch) -> None:
    """Even where the processor at hand would make no difference; and what a GPU is allowed is its own."""
    points, samples = uniform(200, 784, 0), uniform(300, 784, 1)
    before, used, add = torch.get_float32_matmul_precision(), [], Parzen._add
    of_gpus, of_processors = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul

    def watched(*given):
        used.append((of_processors.fp32_precision, of_gpus.allow_tf32))
        return add(*given)

    monkeypatch.setattr(Parzen, "_add", watched)
    try:
        torch.set_float32_matmul_precision("medium")
        of_gpus.allow_tf32 = True  # as training on one does
        allowed = of_processors.fp32_precision
        assert allowed not in ("ieee", "none")
        streamed(points, samples)
        assert (of_processors.fp32_precision, of_gpus.allow_tf32) == (allowed, True)
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(used) == {("ieee", True)}


def test_shifting_all_changes_nothing_and_scaling_all_changes_the_volume_alone() -> None:
    points, samples = uniform(40, 30, 0), uniform(90, 30, 1)
    plain = streamed(points, samples, sigmas=[0.2, 0.5])
    shifted = streamed(points + 100, samples + 100, sigmas=[0.2, 0.5])
    scaled = streamed(4 * points, 4 * samples, sigmas=[0.8, 2.0])
    assert largest_difference(plain, shifted) < 0.02  # float32 has fewer digits left at 100
    assert largest_difference(plain - 30 * math.log(4), scaled) < TOLERANCE
    double = streamed(points.double() + 100, samples.double() + 100, sigmas=[0.2, 0.5])
    assert largest_difference(plain, double) < TOLERANCE


def test_it_is_a_density() -> None:
    """In one dimension, it integrates to one."""
    grid = torch.linspace(-5, 6, 20_001)[:, None]
    density = streamed(grid, uniform(30, 1, 0), sigmas=[0.1, 0.5]).exp()
    total = torch.trapezoid(density, grid[:, 0].double(), dim=1)
    assert total.tolist() == pytest.approx([1, 1], abs=1e-5)


# ---- Streaming -----------------------------------------------------------------------------------


def test_neither_blocks_nor_order_matter(small_tiles) -> None:
    points, samples = uniform(37, 60, 0), uniform(150, 60, 1)
    together = streamed(points, samples)
    for size in (1, 7, 16, 100):
        assert largest_difference(streamed(points, *samples.split(size)), together) < 1e-4
    order = torch.randperm(150, generator=Generator().manual_seed(2))
    assert largest_difference(streamed(points, samples[order]), together) < 1e-4
    order = torch.randperm(37, generator=Generator().manual_seed(3))
    assert largest_difference(streamed(points[order], samples), together[:, order]) < 1e-4


def test_one_sigma_or_many_is_the_same() -> None:
    points, samples = uniform(30, 20, 0), uniform(80, 20, 1)
    together = streamed(points, samples)
    for k, sigma in enumerate(SIGMAS):
        assert torch.equal(streamed(points, samples, sigmas=[sigma])[0], together[k])


def test_samples_that_come_nearer_and_nearer_and_then_far_ones(small_tiles) -> None:
    """The sums are relative to the nearest sample: each block here moves it, but for the last."""
    points = uniform(20, 784, 0)
    blocks = [points + step for step in (3.0, 1.0, 0.3, 0.1, 0.03, 5.0)]
    expected = literal(points, torch.cat(blocks))
    assert largest_difference(streamed(points, *blocks), expected) < TOLERANCE


def test_inputs_stay_as_they_are() -> None:
    points, samples = uniform(10, 4, 0), uniform(10, 4, 1)
    streamed(points, samples)
    assert torch.equal(points, uniform(10, 4, 0)) and torch.equal(samples, uniform(10, 4, 1))


def test_more_samples_never_lower_the_expectation() -> None:
    """Jensen: log of a mean over more samples is larger on average, up to log p of the smoothed model."""
    points = 0.5 * torch.randn(200, 5, generator=Generator().manual_seed(0))
    pool = 0.5 * torch.randn(20_000, 5, generator=Generator().manual_seed(1))
    means = [
        np.mean([float(streamed(points, s, sigmas=[0.2]).mean()) for s in pool[: 20 * n].split(n)])
        for n in (10, 100, 1000)
    ]
    smoothed = torch.distributions.Normal(0, math.sqrt(0.5**2 + 0.2**2))
    limit = float(smoothed.log_prob(points).sum(1).mean())
    assert all(b > a + 0.01 for a, b in pairwise([*means, limit]))


# ---- The protocol --------------------------------------------------------------------------------


def test_real_digits_as_samples_score_what_they_are_known_to(mnist) -> None:
    """10 000 training images score some 243.6 nats: these ones 243.56, to which `literal` holds them."""
    rows = np.random.RandomState(0).permutation(len(mnist.train))[:10_000]
    train, validation, test = (
        torch.from_numpy(split.pixels()) for split in (mnist.train, mnist.validation, mnist.test)
    )
    sigma = SIGMAS[choose_sigma(streamed(validation[:1000], train[rows]))]
    (found,) = streamed(test, train[rows], sigmas=[sigma])
    mean, error = mean_and_error(found)
    assert sigma == pytest.approx(0.1668, abs=1e-4)
    assert mean == pytest.approx(243.56, abs=0.01)
    assert error == pytest.approx(2.09, abs=0.01)
    expected = literal(test[::500], train[rows], [sigma])[0]
    assert largest_difference(found[::500], expected) < TOLERANCE


def test_the_grid_is_that_of_the_protocol() -> None:
    assert pytest.approx(np.logspace(-1, 0, 10)) == SIGMAS


def test_sigma_is_the_best_mean_on_validation_images() -> None:
    found = torch.tensor([[0.0, 9.0, 0.0], [4.0, 4.0, 4.0], [9.0, 0.0, 0.0]])
    assert choose_sigma(found, [0.1, 0.2, 0.3]) == 1


@pytest.mark.parametrize("best", [0, 2])
def test_a_sigma_at_an_end_of_the_grid_is_taken_only_if_asked(best: int) -> None:
    found = torch.eye(3)[best][:, None].expand(3, 5)
    with pytest.raises(UserError, match=r"an end of the grid 0\.1 … 0\.3.*Widen"):
        choose_sigma(found, [0.1, 0.2, 0.3])
    assert choose_sigma(found, [0.1, 0.2, 0.3], allow_end=True) == best


def test_the_error_is_numpy_s_standard_deviation_over_root_n() -> None:
    values = uniform(50, 1, 0)[:, 0].double()
    expected = (values.numpy().mean(), values.numpy().std() / math.sqrt(50))
    assert mean_and_error(values) == pytest.approx(expected)


# ---- Drawing, stopping and going on --------------------------------------------------------------

POINTS = uniform(30, 6, 0)


def draw(n: int, generator: Generator) -> Tensor:
    return torch.rand(n, 6, generator=generator)


class Stopped(Exception):
    """What stops an estimate in these tests."""


def stopping_after(blocks: int) -> Callable[[int, Generator], Tensor]:
    left = iter(range(blocks))

    def draw_or_stop(n: int, generator: Generator) -> Tensor:
        if next(left, None) is None:
            raise Stopped
        return draw(n, generator)

    return draw_or_stop


def estimated(
    draws: Callable[[int, Generator], Tensor] = draw, count: int = 95, **options: Any
) -> Tensor:
    defaults = {"model": "uniform", "seed": 0, "block": 10, "quiet": True, "checkpoint_seconds": 0}
    points = options.pop("points", POINTS)
    return curve(draws, [count], points, **(defaults | options))[0]


def test_an_estimate_is_that_of_the_samples_it_drew() -> None:
    drawn = []

    def keep(n: int, generator: Generator) -> Tensor:
        drawn.append(draw(n, generator))
        return drawn[-1]

    found = estimated(keep)
    assert [len(block) for block in drawn] == [10] * 9 + [5]
    assert len(torch.cat(drawn).unique(dim=0)) == 95  # no block repeats another
    assert largest_difference(found, literal(POINTS, torch.cat(drawn))) < TOLERANCE
    assert not torch.equal(found, estimated(seed=1))


@pytest.mark.parametrize("stops", [(1,), (9,), (3, 2, 1)])
def test_a_stopped_estimate_goes_on_to_the_same_bits(stops: tuple[int, ...], tmp_path) -> None:
    path = tmp_path / "states" / "parzen.safetensors"
    for blocks in stops:
        with pytest.raises(Stopped):
            estimated(stopping_after(blocks), state=path)
    assert torch.equal(estimated(stopping_after(10 - sum(stops)), state=path), estimated())


def test_a_finished_estimate_draws_nothing_again(tmp_path) -> None:
    path = tmp_path / "parzen.safetensors"
    found = estimated(state=path, checkpoint_seconds=1e9)
    assert torch.equal(estimated(stopping_after(0), state=path), found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "parzen.safetensors"]


OTHERS = {
    "model": {"model": "another"},
    "seed": {"seed": 1},
    "block": {"block": 20},
    "samples": {"count": 96},
    "sigmas": {"sigmas": [0.2, 0.3]},
    "points": {"points": POINTS + 0.5},
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_another_estimate_is_refused_and_kept(name: str, tmp_path) -> None:
    path = tmp_path / "parzen.safetensors"
    estimated(state=path)
    content = path.read_bytes()
    with pytest.raises(UserError, match=f"of another estimate: its {name} differ. Remove it"):
        estimated(state=path, **OTHERS[name])
    assert path.read_bytes() == content


def test_a_state_of_another_kind_of_device_is_refused(tmp_path) -> None:
    path = tmp_path / "parzen.safetensors"
    estimated(state=path)
    tensors, told = store.load(path)
    store.save(path, tensors, {"estimate": told["estimate"] | {"device": "cuda"}})
    with pytest.raises(UserError, match="of another estimate: its device differ"):
        estimated(state=path)


def cut(content: bytes) -> bytes:
    return content[:-100]


def flip(content: bytes) -> bytes:
    return content[:-50] + bytes([content[-50] ^ 1]) + content[-49:]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: b"{}" * 99])
def test_a_damaged_state_is_refused_and_named(damage, tmp_path) -> None:
    path = tmp_path / "parzen.safetensors"
    estimated(state=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"parzen\.safetensors is not.*Remove it to begin anew"):
        estimated(state=path)


def test_a_checkpoint_of_a_model_is_no_state(tmp_path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    store.save(path, {"weights": torch.ones(3)}, {"epoch": 3})
    with pytest.raises(UserError, match="another estimate"):
        estimated(state=path)


def test_the_progress_bar_has_model_samples_rate_and_time_left(capsys) -> None:
    estimated(quiet=False)
    line = capsys.readouterr().err.rstrip().split("\r")[-1]
    for part in ("uniform: 100%", "95.0/95.0", "<00:00", "sample/s"):
        assert part in line


# ---- Several numbers of samples ------------------------------------------------------------------

COUNTS = [3, 10, 25, 26, 95]  # within a block of 10, at its end, two in one block, the last


def curved(draws: Callable[[int, Generator], Tensor] = draw, **options: Any) -> Tensor:
    defaults = {"model": "uniform", "seed": 0, "block": 10, "quiet": True, "checkpoint_seconds": 0}
    return curve(draws, options.pop("counts", COUNTS), POINTS, **(defaults | options))


def test_a_curve_is_the_estimate_of_each_number_of_the_same_samples() -> None:
    drawn = []

    def keep(n: int, generator: Generator) -> Tensor:
        drawn.append(draw(n, generator))
        return drawn[-1]

    found = curved(keep)
    assert found.shape == (len(COUNTS), len(SIGMAS), len(POINTS))
    assert [len(block) for block in drawn] == [10] * 9 + [5]
    for count, at_count in zip(COUNTS, found, strict=True):
        assert largest_difference(at_count, literal(POINTS, torch.cat(drawn)[:count])) < TOLERANCE
    assert largest_difference(found[-1], estimated()) < 1e-4


@pytest.mark.parametrize("blocks", [0, 1, 2, 9])
def test_a_stopped_curve_goes_on_to_the_same_bits(blocks: int, tmp_path) -> None:
    path = tmp_path / "parzen.safetensors"
    with pytest.raises(Stopped):
        curved(stopping_after(blocks), state=path)
    assert torch.equal(curved(stopping_after(10 - blocks), state=path), curved())
    assert torch.equal(curved(stopping_after(0), state=path), curved())
    with pytest.raises(UserError, match="its samples differ"):
        curved(state=path, counts=[3, 10, 95])


@pytest.mark.parametrize("counts", [[10, 3], [3, 3], [0, 3], []])
def test_numbers_of_samples_that_do_not_ascend_from_one_are_refused(counts: list[int]) -> None:
    with pytest.raises(UserError, match=r"must ascend|at least 1"):
        curved(counts=counts)


def test_the_numbers_on_the_way_to_many_samples() -> None:
    assert parzen.counts_up_to(10_000) == [1000, 3000, 10_000]
    assert parzen.counts_up_to(50_000) == [1000, 3000, 10_000, 30_000, 50_000]
    assert parzen.counts_up_to(10_000_000)[-3:] == [1_000_000, 3_000_000, 10_000_000]
    for wrong in 9999, 1e6, "many", True:
        with pytest.raises(UserError, match="parameter samples must be a whole number"):
            parzen.counts_up_to(wrong)


def test_each_replicate_s_samples_are_its_own(digits, runs, monkeypatch) -> None:
    run = fit(by_name("table1_aae"), digits, seed=3, epochs=0.1)
    monkeypatch.setattr(parzen, "curve", lambda *_, **told: told)
    told = parzen.curve_of(run, [30], torch.zeros(2, digits.dim))
    assert (told["seed"], told["state"].parent.parent.name) == (3, "seed-3")


def test_the_curve_of_a_run_is_kept_beside_it_until_its_weights_change(
    digits, runs, monkeypatch
) -> None:
    run = fit(by_name("table1_aae"), digits, seed=0, epochs=0.1)
    points = torch.from_numpy(digits.test.pixels()[:20])
    samples, drawn = run.model.sample, []

    def counted(n: int, source: Generator) -> Tensor:
        drawn.append(n)
        return samples(n, source)

    run.model.sample = counted
    found = parzen.curve_of(run, [30, 50], points, quiet=True)
    assert torch.equal(parzen.curve_of(run, [30, 50], points, quiet=True), found)
    assert drawn == [50]
    with monkeypatch.context() as patch:  # a store that may only be read
        patch.setattr(store, "locked", lambda *_: pytest.fail("locked a finished estimate"))
        assert torch.equal(parzen.curve_of(run, [30, 50], points, quiet=True), found)
    files = store.run_folder(run.experiment, 0) / "parzen"
    assert len(list(files.glob("*.safetensors"))) == 1
    with monkeypatch.context() as patch:  # another kind of device draws other samples
        patch.setattr(parzen, "choose_device", lambda _: "meta")
        patch.setattr(run.model, "to", lambda _: run.model, raising=False)
        patch.setattr(parzen, "curve", lambda *_, state, **__: state)
        other = parzen.curve_of(run, [30, 50], points, quiet=True)
    assert other.parent == files and not other.exists()
    for changed in {"counts": [40]}, {"points": points[:5]}, {"sigmas": [0.2, 0.3]}:
        options = {"counts": [30, 50], "points": points} | changed
        parzen.curve_of(run, **options, quiet=True)
    assert drawn == [50, 40, 50, 50]
    with torch.no_grad():
        next(run.model.parameters()).mul_(1.1)
    parzen.curve_of(run, [30, 50], points, quiet=True)
    assert drawn == [50, 40, 50, 50, 50]


def test_a_score_is_of_test_images_at_the_sigma_of_validation_images() -> None:
    found = torch.tensor([[5.0, 5.0, 1.0, 3.0], [4.0, 4.0, 9.0, 9.0], [0.0, 0.0, 0.0, 8.0]])
    chosen = parzen.score(found, 2, [0.1, 0.2, 0.3])
    assert (chosen.mean, chosen.sigma, chosen.at_end) == (2, 0.1, True)
    assert chosen.error == pytest.approx(1 / math.sqrt(2))
    assert parzen.score(found.flip(0), 2, [0.1, 0.2, 0.3]).at_end
    kept = parzen.score(found, 2, [0.1, 0.2, 0.3], kept=0.2)
    assert (kept.mean, kept.error, kept.at_end, str(kept)) == (9, 0, False, "9.0 ± 0.0")


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("points", [torch.ones(3), torch.ones(0, 4), torch.ones(2, 3, 4),
                                    torch.ones(3, 4, dtype=torch.uint8), torch.ones(3, 0),
                                    torch.ones(3, 4, dtype=torch.float16)])  # fmt: skip
def test_points_of_another_kind_are_refused(points: Tensor) -> None:
    with pytest.raises(UserError, match=r"points must be float32 or float64 of shape \(n, D\)"):
        Parzen(points)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_numbers_that_are_not_finite_or_not_squarable_are_refused(bad: float) -> None:
    points, samples = uniform(5, 4, 0), uniform(6, 4, 1)
    made = Parzen(points)
    made.add(samples)
    found = made.log_likelihood()
    samples[2, 1] = points[2, 1] = bad
    with pytest.raises(UserError, match=r"1 of 6 samples are not finite.*diverged"):
        made.add(samples)
    assert torch.equal(made.log_likelihood(), found)  # nothing of that block was taken in
    with pytest.raises(UserError, match="points are not finite"):
        Parzen(points)


@pytest.mark.parametrize("samples", [torch.ones(3), torch.ones(3, 5), torch.ones(2, 3, 4),
                                     torch.ones(3, 4, dtype=torch.int64)])  # fmt: skip
def test_samples_of_another_kind_are_refused(samples: Tensor) -> None:
    with pytest.raises(UserError, match=r"samples must be float32 or float64 of shape \(m, 4\)"):
        Parzen(uniform(5, 4, 0)).add(samples)


@pytest.mark.parametrize("sigmas", [[], [0.0], [0.1, -0.1], [math.nan], [math.inf], [1e-200]])
def test_sigmas_that_are_no_widths_are_refused(sigmas: list[float]) -> None:
    with pytest.raises(UserError, match="sigmas must lie between"):
        Parzen(uniform(5, 4, 0), sigmas)


def test_no_samples_are_no_estimate() -> None:
    made = Parzen(uniform(5, 4, 0))
    made.add(torch.empty(0, 4))
    with pytest.raises(UserError, match="no samples yet"):
        made.log_likelihood()


@pytest.mark.parametrize("wrong", [{"count": 0}, {"block": 0}, {"seed": -1}])
def test_nonsense_counts_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="at least 1, 1 and 0 are needed"):
        estimated(**wrong)


def test_a_draw_of_another_size_is_refused() -> None:
    with pytest.raises(UserError, match="asked for 10 samples, got 9"):
        estimated(lambda n, generator: draw(n - 1, generator))


def test_many_far_samples_together_still_count():
    """A hundred thousand terms of 2^-22 of the nearest one's: 0.02 nats together."""
    estimate = Parzen(torch.tensor([[0.0], [1e-4]]), [1.0])
    estimate.add(torch.zeros(1, 1))
    far, many = math.sqrt(2 * 22 * math.log(2)), 100_000
    estimate.add(torch.full((many, 1), far))
    expected = math.log((1 + many * 2**-22) / (many + 1)) - 0.5 * math.log(2 * math.pi)
    assert float(estimate.log_likelihood()[0, 0]) == pytest.approx(expected, abs=1e-3)


def test_no_block_of_samples_is_drawn_from_the_numbers_of_an_epoch():
    begun = []

    def draw(n: int, source: Generator) -> Tensor:
        begun.append(source.initial_seed())
        return torch.rand(n, 6, generator=source)

    curve(draw, [40], torch.rand(5, 6), model="x", seed=3, block=10, quiet=True)
    assert len(set(begun)) == 4
    assert not set(begun) & {seed_of(3, epoch) for epoch in range(100)}
