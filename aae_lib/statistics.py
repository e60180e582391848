"""The paper's pictures as numbers: how well codes fill the prior, and how often a class is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Generator, Tensor

from aae_lib.priors import GaussianMixture, Prior


@dataclass(frozen=True)
class EnergyDistance:
    """Energy distance of two samples, and what it would be if both came from one distribution."""

    value: float
    band: tuple[
        float, float
    ]  # 2.5 % and 97.5 % points over random relabellings of the pooled sample


def energy_distance(
    x: Tensor, y: Tensor, generator: Generator, permutations: int = 200, block: int = 1000
) -> EnergyDistance:
    """2 E‖X−Y‖ − E‖X−X′‖ − E‖Y−Y′‖ of samples x (n, d) and y (m, d); zero only for equal distributions.

    With weight 1/n on each row of x and −1/m on each of y it is −wᵀDw, D the distances in the pooled
    sample, so the distances are computed once for the statistic and all permutations of it.
    """
    pooled = torch.cat((x, y)).double()
    weights = torch.cat(
        (torch.full((len(x),), 1 / len(x)), torch.full((len(y),), -1 / len(y)))
    ).double()
    orders = [torch.randperm(len(pooled), generator=generator) for _ in range(permutations)]
    rows = torch.stack([weights, *(weights[order] for order in orders)]).float()
    values = torch.zeros(len(rows), dtype=torch.float64)
    for start in range(0, len(pooled), block):
        part = slice(start, start + block)
        distances = torch.cdist(pooled[part], pooled).float()
        values -= ((rows @ distances.T) * rows[:, part]).sum(1)
    low, high = np.quantile(values[1:].numpy(), [0.025, 0.975])
    return EnergyDistance(float(values[0]), (float(low), float(high)))


def covering_radius(prior: Prior, n: int, generator: Generator, share: float = 0.01) -> float:
    """The radius at which `n` draws of `prior` leave `share` of its own mass further away than that.

    A scale for `uncovered_mass` that the prior sets, not the eye: codes that match the prior leave about `share`.
    """
    distances, _ = KDTree(prior.sample(n, generator).numpy()).query(
        prior.sample(n, generator).numpy()
    )
    return float(np.quantile(distances, 1 - share))


def uncovered_mass(codes: Tensor, prior: Prior, radius: float, generator: Generator) -> float:
    """Share of the prior's mass further than `radius` from every one of the codes (n, d): the "holes" of Fig 2c."""
    draws = prior.sample(len(codes), generator).numpy()
    distances, _ = KDTree(codes.numpy()).query(draws, distance_upper_bound=radius)
    return float(np.isinf(distances).mean())


def occupancy(codes: Tensor, prior: GaussianMixture) -> Tensor:
    """Share of codes (n, 2) whose most likely component is each of the mixture's, shape (parts,)."""
    nearest = prior.component_log_prob(codes).argmax(1)
    return torch.bincount(nearest, minlength=prior.parts) / len(codes)


def total_variation(shares: Tensor) -> float:
    """Total-variation distance in [0, 1] of shares (k,) from the uniform 1/k."""
    return float((shares - 1 / len(shares)).abs().sum() / 2)
