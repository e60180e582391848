"""The distributions that the adversary imposes on the codes. Paper: §2.1, §2.3, §5.

Each is a frozen value with `dim`, its number of dimensions, and

    sample(n, source, label=None) -> Tensor (n, dim)

where `label` (n,), int64, picks a part of the prior for each row (§2.3): the i-th mixture component, the i-th
stretch of the swiss roll. A label equal to `parts` means "unlabelled" and draws from the whole prior, as every label
does from a single Gaussian.
Those that have a density give it as `log_prob(z) -> Tensor (n,)` in nats.

Torch is imported where it is used: a configuration names priors without needing it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from aae_lib.draws import Source


@dataclass(frozen=True)
class Gaussian:
    """N(0, std² I) in `dim` dimensions. Paper: §2.1 (2-D), A.1 (8-D, std 5), A.2.1 (10-D, std 1)."""

    dim: int
    std: float = 1.0

    def sample(self, n: int, source: Source, label: Tensor | None = None) -> Tensor:
        """(n, dim) draws, whatever the `label` (n,): a single Gaussian is the same for all of them."""
        return _normal(n, self.dim, source) * self.std

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats of z (n, dim), shape (n,)."""
        return _log_normal(z / self.std).sum(1) - self.dim * math.log(self.std)


@dataclass(frozen=True)
class Uniform:
    """Uniform on [−1, 1]^dim: the noise that a moment-matching network starts from. Li et al. 2015."""

    dim: int

    def sample(self, n: int, source: Source, label: Tensor | None = None) -> Tensor:
        """(n, dim) draws; `label` plays no part, since the prior has no components."""
        from aae_lib.draws import uniform

        return 2 * uniform(source, n, self.dim) - 1


@dataclass(frozen=True)
class GaussianMixture:
    """A flower of `parts` equally likely 2-D Gaussians. Paper: §2.1, Fig 2b, given as a picture only.

    Component i lies at `radius` in the direction 2πi/parts and is stretched along that direction. The
    numbers are an assumption that follows the picture and most public reproductions (some have 0.1 across).
    """

    parts: int = 10
    radius: float = 1.4
    std_along: float = 0.5
    std_across: float = 0.05

    @property
    def dim(self) -> int:
        return 2

    def sample(self, n: int, source: Source, label: Tensor | None = None) -> Tensor:
        """(n, 2) draws, row i from component `label[i]`, or from any where it equals `parts`."""
        part = _fill_labels(label, n, self.parts, source)
        return self.place(part, _normal(n, 1, source)[:, 0], _normal(n, 1, source)[:, 0])

    def place(self, part: Tensor, along: Tensor, across: Tensor) -> Tensor:
        """Points (n, 2) in component `part` (n,), in standard deviations from its centre on its own axes. Fig 4b.

        `along` (n,) leads away from the origin, `across` (n,) anticlockwise around it.
        """
        import torch

        angle = part * (2 * math.pi / self.parts)
        along = self.radius + self.std_along * along
        across = self.std_across * across
        cos, sin = torch.cos(angle), torch.sin(angle)
        return torch.stack((along * cos - across * sin, along * sin + across * cos), 1)

    def component_log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats of z (n, 2) under each component, shape (n, parts)."""
        import torch

        angle = torch.arange(self.parts, device=z.device) * (2 * math.pi / self.parts)
        cos, sin = torch.cos(angle), torch.sin(angle)
        along = z[:, :1] * cos + z[:, 1:] * sin - self.radius
        across = -z[:, :1] * sin + z[:, 1:] * cos
        scale = math.log(self.std_along) + math.log(self.std_across)
        return _log_normal(along / self.std_along) + _log_normal(across / self.std_across) - scale

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats of z (n, 2), shape (n,)."""
        return self.component_log_prob(z).logsumexp(1) - math.log(self.parts)


@dataclass(frozen=True)
class SwissRoll:
    """A Gaussian whose mean runs along a spiral, nearly uniformly. Paper: §2.3, Fig 4c; no formula is given.

    The mean at u in [0, 1] is at angle `turns`·2π·√u and radius `radius`·√u, as in public reproductions; u is uniform,
    and label i takes u from i/parts to (i+1)/parts. Equal steps of u are equal lengths but for the innermost winding:
    of two turns, the first tenth of u is 11.4 % of the length and every other one 9.8 to 10 %.
    """

    parts: int = 10
    radius: float = 3.0
    turns: float = 2.0
    std: float = 0.1

    @property
    def dim(self) -> int:
        return 2

    def mean(self, u: Tensor) -> Tensor:
        """Points (n, 2) on the roll at u (n,), from 0, the centre, to 1, the rim."""
        import torch

        root = u.sqrt()
        angle = self.turns * 2 * math.pi * root
        return self.radius * root[:, None] * torch.stack((angle.cos(), angle.sin()), 1)

    def length(self, u: Tensor) -> Tensor:
        """Arc length (n,) from the centre to u (n,): a/2·(θ√(1 + θ²) + asinh θ), the Archimedean spiral's, r = aθ."""
        angle = self.turns * 2 * math.pi * u.sqrt()
        a = self.radius / (self.turns * 2 * math.pi)
        return a / 2 * (angle * (1 + angle * angle).sqrt() + angle.asinh())

    def sample(self, n: int, source: Source, label: Tensor | None = None) -> Tensor:
        """(n, 2) draws, row i from the stretch of `label[i]`, or from any where it equals `parts`."""
        from aae_lib.draws import uniform

        part = _fill_labels(label, n, self.parts, source)
        u = (part + uniform(source, n)) / self.parts
        return self.mean(u) + self.std * _normal(n, 2, source)


@dataclass(frozen=True)
class Categorical:
    """One-hot vectors of `dim` equally likely categories. Paper: §5, p(y) = Cat(y)."""

    dim: int

    def sample(self, n: int, source: Source, label: Tensor | None = None) -> Tensor:
        """(n, dim) one-hot rows; row i is the category `label[i]` where labels are given."""
        import torch

        category = _fill_labels(label, n, self.dim, source)
        return torch.nn.functional.one_hot(category, self.dim).to(torch.get_default_dtype())


Prior = Gaussian | Uniform | GaussianMixture | SwissRoll | Categorical


def _normal(n: int, dim: int, source: Source) -> Tensor:
    from aae_lib.draws import normal

    return normal(source, n, dim)


def _log_normal(z: Tensor) -> Tensor:
    return -0.5 * (z * z + math.log(2 * math.pi))


def _fill_labels(label: Tensor | None, n: int, parts: int, source: Source) -> Tensor:
    """Labels (n,) with every missing one, or one equal to `parts`, replaced by a uniform draw."""
    import torch

    from aae_lib.draws import integers

    drawn = integers(source, parts, n)
    return drawn if label is None else torch.where(label == parts, drawn, label)
