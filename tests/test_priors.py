"""Priors: densities against closed forms, draws against densities, parts against labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from materials import generator
from scipy.stats import multivariate_normal

from aae_lib.priors import Categorical, Gaussian, GaussianMixture, SwissRoll, Uniform
from aae_lib.statistics import nearest_part

PRIORS = [Gaussian(3, 5.0), GaussianMixture(), SwissRoll(), Categorical(10)]


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: type(p).__name__)
def test_draws_follow_from_the_generator_alone(prior) -> None:
    torch.manual_seed(1)
    first = prior.sample(50, generator())
    torch.manual_seed(2)
    assert torch.equal(first, prior.sample(50, generator()))
    assert not torch.equal(first, prior.sample(50, generator(1)))
    assert first.shape == (50, prior.dim)
    assert first.dtype == torch.float32


def test_gaussian_density_against_scipy() -> None:
    prior, z = Gaussian(3, 5.0), 4 * torch.randn(20, 3, generator=generator())
    expected = multivariate_normal(np.zeros(3), 25 * np.eye(3)).logpdf(z.numpy())
    assert prior.log_prob(z).numpy() == pytest.approx(expected, rel=1e-5)


def test_mixture_density_against_scipy() -> None:
    prior, z = GaussianMixture(), torch.randn(50, 2, generator=generator(), dtype=torch.float64)
    density = np.zeros(50)
    for i in range(10):
        turn = 2 * np.pi * i / 10
        along = np.array([np.cos(turn), np.sin(turn)])
        across = np.array([-np.sin(turn), np.cos(turn)])
        covariance = 0.5**2 * np.outer(along, along) + 0.05**2 * np.outer(across, across)
        density += multivariate_normal(1.4 * along, covariance).pdf(z.numpy()) / 10
    assert prior.log_prob(z).exp().numpy() == pytest.approx(density, rel=1e-4, abs=1e-12)


def test_mixture_draws_have_its_density() -> None:
    """Mean of f under the density, on a grid, equals the mean over draws, for a few f."""
    prior = GaussianMixture()
    z = prior.sample(200_000, generator()).double()
    axis = torch.linspace(-4, 4, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    weight = prior.log_prob(grid).exp() * (axis[1] - axis[0]) ** 2
    assert float(weight.sum()) == pytest.approx(1, abs=1e-3)
    for f in (lambda z: z[:, 0], lambda z: z.square().sum(1), lambda z: (3 * z[:, 1]).cos()):
        assert float(f(z).mean()) == pytest.approx(float((weight * f(grid)).sum()), abs=0.02)


def test_mixture_places_points_along_and_across_each_component() -> None:
    """One deviation along or across the axes lowers the component's log-density by ½, two of both by 4."""
    prior, part = GaussianMixture(), torch.arange(10)
    for along, across, fall in ((1.0, 0.0, 0.5), (0.0, -1.0, 0.5), (2.0, -2.0, 4.0)):
        centre, z = (
            prior.place(part, torch.full((10,), a), torch.full((10,), b))
            for a, b in ((0.0, 0.0), (along, across))
        )
        change = prior.component_log_prob(z) - prior.component_log_prob(centre)
        assert change.diagonal().numpy() == pytest.approx(np.full(10, -fall), abs=1e-4)
    outwards = prior.place(part, torch.ones(10), torch.zeros(10)).norm(dim=1)
    assert outwards.numpy() == pytest.approx(np.full(10, 1.9))


def test_mixture_label_picks_its_component() -> None:
    prior, label = GaussianMixture(std_along=0.2), torch.arange(10).repeat(100)
    z = prior.sample(len(label), generator(), label)
    assert torch.equal(prior.component_log_prob(z).argmax(1), label)


def test_a_prior_of_seven_parts_has_them_in_sevenths() -> None:
    label, u = torch.arange(7).repeat(100), torch.arange(7) * 2 * np.pi / 7
    flower = GaussianMixture(parts=7, std_along=0.2)
    drawn = flower.sample(700, generator(), label)
    assert torch.equal(flower.component_log_prob(drawn).argmax(1), label)
    centres = flower.place(torch.arange(7), torch.zeros(7), torch.zeros(7))
    expected = flower.radius * torch.stack((u.cos(), u.sin()), 1)
    assert torch.allclose(centres, expected, atol=1e-5)
    roll = SwissRoll(parts=7, std=0.0)
    assert torch.equal(nearest_part(roll.sample(700, generator(), label), roll), label)


def test_the_noise_around_the_roll_is_round() -> None:
    z = SwissRoll(radius=1e-6, std=0.1).sample(50_000, generator())  # the noise alone
    assert z.T.cov().numpy() == pytest.approx(0.01 * np.eye(2), abs=5e-4)


def test_categorical_label_picks_its_category() -> None:
    label = torch.arange(10)
    assert torch.equal(Categorical(10).sample(10, generator(), label), torch.eye(10))


@pytest.mark.parametrize("prior", PRIORS[1:], ids=lambda p: type(p).__name__)
def test_the_extra_label_draws_from_the_whole_prior(prior) -> None:
    unlabelled = torch.full((500,), 10)
    assert torch.equal(
        prior.sample(500, generator(), unlabelled), prior.sample(500, generator(), None)
    )


def test_a_single_gaussian_is_the_same_for_every_label() -> None:
    prior, label = Gaussian(3, std=2.0), torch.arange(11).repeat(5)
    assert torch.equal(prior.sample(55, generator(), label), prior.sample(55, generator()))


def test_the_uniform_distribution_fills_its_cube() -> None:
    z = Uniform(3).sample(50_000, generator())
    assert z.shape == (50_000, 3)
    assert z.mean(0).numpy() == pytest.approx(np.zeros(3), abs=0.02)
    assert z.var(0).numpy() == pytest.approx(np.full(3, 1 / 3), abs=0.01)
    assert -1 <= float(z.min()) < -0.99 < 0.99 < float(z.max()) <= 1


def test_categories_are_equally_likely() -> None:
    share = Categorical(10).sample(100_000, generator()).mean(0)
    assert share.numpy() == pytest.approx(np.full(10, 0.1), abs=0.005)


def test_swiss_roll_label_takes_its_tenth_of_the_length() -> None:
    """Along the roll, radius² / rim² is the fraction of the length: label i lies in its own tenth."""
    roll, label = SwissRoll(std=0.0), torch.arange(10).repeat(50)
    z = roll.sample(len(label), generator(), label)
    fraction = z.square().sum(1) / roll.radius**2
    assert torch.equal((fraction * 10).floor().clamp(0, 9).long(), label)


@pytest.mark.parametrize("roll", [SwissRoll(), SwissRoll(radius=2.0, turns=0.7)], ids=str)
def test_swiss_roll_length_is_that_of_a_polyline_along_it(roll) -> None:
    u = torch.linspace(0, 1, 200_001, dtype=torch.float64) ** 2
    steps = roll.mean(u).diff(dim=0).norm(dim=1)
    assert float(roll.length(u[:1])) == 0
    torch.testing.assert_close(roll.length(u[1:]), steps.cumsum(0), rtol=1e-6, atol=1e-9)


def test_swiss_roll_tenths_are_as_long_as_its_description_says() -> None:
    roll = SwissRoll()
    length = roll.length(torch.linspace(0, 1, 11, dtype=torch.float64))
    shares = (length.diff() / length[-1]).tolist()
    assert shares[0] == pytest.approx(0.1137, abs=1e-4)
    assert 0.098 < min(shares[1:]) < max(shares[1:]) < 0.1
