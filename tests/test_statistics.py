"""Statistics: identities that hold whatever is measured, and cases with a known answer."""

from __future__ import annotations

import pytest
import torch

from aae_lib import statistics
from aae_lib.priors import Gaussian, GaussianMixture


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, seed: int) -> torch.Tensor:
    return Gaussian(2).sample(n, generator(seed))


def test_energy_distance_against_the_direct_sum() -> None:
    x, y = normal(30, 0), 0.5 * normal(50, 1) + 1
    found = statistics.energy_distance(x, y, generator(), permutations=3, block=7).value
    expected = 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
    assert found == pytest.approx(float(expected), abs=1e-5)


def test_energy_distance_of_a_sample_to_itself_is_zero() -> None:
    x = normal(100, 0)
    found = statistics.energy_distance(x, x, generator(), permutations=3)
    assert found.value == pytest.approx(0, abs=1e-5)


def test_equal_distributions_fall_into_the_band_and_others_do_not() -> None:
    same = statistics.energy_distance(normal(800, 0), normal(800, 1), generator())
    other = statistics.energy_distance(normal(800, 0) * 1.3, normal(800, 1), generator())
    assert same.value <= same.band[1] < other.value


def test_energy_distance_of_two_distant_points_is_twice_their_distance() -> None:
    x, y = torch.zeros(10, 2), torch.tensor([[3.0, 4.0]]).repeat(10, 1)
    found = statistics.energy_distance(x, y, generator(), permutations=2).value
    assert found == pytest.approx(10, abs=1e-5)


def test_codes_that_match_the_prior_leave_the_stated_share_uncovered() -> None:
    prior = Gaussian(2)
    radius = statistics.covering_radius(prior, 5000, generator(0))
    matching = statistics.uncovered_mass(normal(5000, 1), prior, radius, generator(2))
    half = normal(5000, 1)
    half = half[half[:, 0] > 0]
    assert matching == pytest.approx(0.01, abs=0.005)
    assert statistics.uncovered_mass(half, prior, radius, generator(2)) > 0.4


def test_occupancy_counts_components() -> None:
    prior = GaussianMixture(std_along=0.2)
    label = torch.tensor([0] * 30 + [7] * 10)
    shares = statistics.occupancy(prior.sample(40, generator(), label), prior)
    assert shares.tolist() == pytest.approx([0.75, 0, 0, 0, 0, 0, 0, 0.25, 0, 0])
    assert statistics.total_variation(shares) == pytest.approx(0.8)
    assert statistics.total_variation(torch.full((10,), 0.1)) == pytest.approx(0, abs=1e-6)
