"""The paper's phases, transcribed word for word: what the library's faster iteration is held to, in tests and bench.

Each phase encodes anew, computes every gradient, and prior and codes pass a discriminator one after the other.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from aae_lib.model import AdversarialAutoencoder
from aae_lib.phases import Batch


class Literal:
    """Descent of `model` by §2 and §5, with one plain optimiser for each cost."""

    def __init__(self, model: AdversarialAutoencoder):
        self.model, e = model, model.experiment
        rates = {"reconstruction": e.reconstruction, "supervised": e.supervised}
        rates |= {"discriminator": e.adversarial, "generator": e.adversarial}
        self.optimisers = {
            phase: torch.optim.SGD(
                model.parameters_of(phase).values(), rate.learning_rate, rate.momentum
            )
            for phase, rate in rates.items()
            if rate
        }

    def step(self, batch: Batch, generator: Generator) -> None:
        """One iteration; `generator` is asked for the same numbers in the same order as by the library."""
        model, e = self.model, self.model.experiment
        known = batch.known if e.discriminator_label else None
        x = self._noisy(batch.x, generator)

        image = model.decode(model.combine(model.encode(x, generator), batch.label))
        cost = 0.5 * ((image - batch.x) ** 2).sum() / len(x)
        if e.head_distance is not None:
            for first, second in combinations(model.cluster_heads, 2):
                cost = cost + (e.head_distance - (first - second).norm()).clamp(min=0)
        self._descend("reconstruction", cost)

        cost = 0.0
        before = generator.get_state()
        for code in e.codes:
            fake = model.encode(x, generator)[code.name].detach()
            real = code.prior.sample(len(x), generator, known)
            real, fake = self._blurred(torch.cat((real, fake)), generator).chunk(2)
            cost = cost + self._judged(code.name, real, 1, known)
            cost = cost + self._judged(code.name, fake, 0, known)
        self._descend("discriminator", cost)

        codes = model.encode(x, Generator().set_state(before))  # the codes that were judged
        cost = 0.0
        for code in e.codes:
            fake = self._blurred(codes[code.name], generator)
            cost = cost + self._judged(code.name, fake, 1, known)
        self._descend("generator", cost)

        if e.supervised:
            x = self._noisy(batch.labelled_x, generator)
            self._descend(
                "supervised", cross_entropy(model.encode_logits(x)["y"], batch.labelled_y)
            )

    def _noisy(self, x: Tensor, generator: Generator) -> Tensor:
        return _with_noise(x, self.model.experiment.input_noise, generator)

    def _blurred(self, codes: Tensor, generator: Generator) -> Tensor:
        return _with_noise(codes, self.model.experiment.discriminator_noise, generator)

    def _judged(self, code: str, values: Tensor, truth: float, known: Tensor | None) -> Tensor:
        logits = self.model.discriminate(code, values, known)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))

    def _descend(self, phase: str, cost: Tensor) -> None:
        self.model.zero_grad()
        cost.backward()
        self.optimisers[phase].step()


def _with_noise(x: Tensor, deviation: float, generator: Generator) -> Tensor:
    return x + deviation * torch.randn(x.shape, generator=generator) if deviation else x
