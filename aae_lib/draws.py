"""Where random numbers come from: a generator that draws them, or a list that was drawn before.

A model asks for noise by these functions. In training alone the source is a generator. Replicates that train
together have one generator each: what one iteration asks for is written down once, by a `Recorder`; then every
replicate's numbers are drawn in place into one tensor for all, and the iteration is given those as `Draws`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

Kind = Literal["normal", "uniform", "integers", "kept"]


@dataclass(frozen=True)
class Request:
    """One call for random numbers: their distribution with its parameter, and their shape."""

    kind: Kind
    parameter: float
    shape: tuple[int, ...]

    def empty(self, device: torch.device, replicates: int) -> Tensor:
        """A tensor (replicates, *shape) to draw into."""
        dtype = torch.int64 if self.kind == "integers" else torch.get_default_dtype()
        return torch.empty(replicates, *self.shape, dtype=dtype, device=device)

    def draw(self, out: Tensor, generator: Generator) -> Tensor:
        """Fill `out`, of this shape."""
        if self.kind == "normal":
            return out.normal_(generator=generator)
        if self.kind == "uniform":
            return out.uniform_(generator=generator)
        if self.kind == "integers":
            return out.random_(0, int(self.parameter), generator=generator)
        return out.bernoulli_(1 - self.parameter, generator=generator)


class Recorder:
    """A source that draws from `generator` and keeps a list of what was asked for."""

    def __init__(self, generator: Generator):
        self.generator = generator
        self.requests: list[Request] = []

    def next(self, request: Request) -> Tensor:
        """Fresh numbers."""
        self.requests.append(request)
        return _next(self.generator, request)


class Draws:
    """A source that hands out tensors drawn before, in order."""

    def __init__(self, tensors: Sequence[Tensor]):
        self.tensors, self.used = list(tensors), 0

    @property
    def left(self) -> list[Tensor]:
        """What has not been handed out yet."""
        return self.tensors[self.used :]

    def next(self, request: Request) -> Tensor:
        """The next tensor. Raises ValueError if none are left, or if its shape is not the one that is asked for."""
        drawn = self.tensors[self.used] if self.used < len(self.tensors) else None
        if drawn is None or tuple(drawn.shape) != request.shape:
            raise ValueError(f"{request} is not what was drawn at place {self.used}")
        self.used += 1
        return drawn


Source = Generator | Recorder | Draws


def seed_of(*parts: object) -> int:
    """A generator's seed that follows from `parts`, such as a replicate and an epoch; others give another."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


def normal(source: Source, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return _next(source, Request("normal", 1.0, shape))


def uniform(source: Source, *shape: int) -> Tensor:
    """Numbers uniform on [0, 1)."""
    return _next(source, Request("uniform", 1.0, shape))


def integers(source: Source, below: int, *shape: int) -> Tensor:
    """int64 numbers from 0 to `below` − 1, equally likely."""
    return _next(source, Request("integers", below, shape))


def kept(source: Source, rate: float, *shape: int) -> Tensor:
    """Ones, each zero with probability `rate`: what dropout keeps."""
    return _next(source, Request("kept", rate, shape))


def _next(source: Source, request: Request) -> Tensor:
    if isinstance(source, Generator):
        return request.draw(request.empty(source.device, 1)[0], source)
    return source.next(request)
