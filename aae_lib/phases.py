"""One iteration: the paper's phases on one mini-batch, and the descent that each of them makes.

    reconstruction     encoder and decoder lower the reconstruction cost
    regularisation     discriminators learn to tell prior from codes; then the encoder learns to confuse them
    classification     the encoder lowers the cross-entropy of a labelled mini-batch (where there are labels)

A cost is a function of one model. `step` calls it by `each`, which applies it to one model, or to the stacked
parameters of several replicates at once (`engine.Replicates`): the loop is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.functional import cross_entropy, softplus

from aae_lib.config import Experiment, Rates, labels_code
from aae_lib.draws import Source
from aae_lib.model import AdversarialAutoencoder


class Batch(NamedTuple):
    """One mini-batch: images in [0, 1], what is known of their labels, and a labelled mini-batch."""

    x: Tensor  # (batch, pixels)
    label: Tensor  # (batch,) the true labels, for a decoder that is given them (§4)
    known: Tensor  # (batch,) labels, or `classes` where unknown (§2.3)
    labelled_x: Tensor | None = None
    labelled_y: Tensor | None = None


Each = Callable[..., Any]
"""`each(function, *arguments)` is function(model, *arguments), of one model or of every replicate."""


def alone(model: nn.Module) -> Each:
    """`each` of one model."""
    return lambda function, *arguments: function(model, *arguments)


def step(each: Each, descent: Descent, batch: Batch, source: Source) -> dict[str, Tensor]:
    """One iteration of the paper's phases on one mini-batch; returns each cost, detached. Paper: §2, §5.

    With no adversarial, reconstruction or supervised rates in the experiment, that phase does not run.
    """
    e = descent.experiment
    losses: dict[str, Tensor] = {}

    def lower(phase: str, costs: dict[str, Tensor]) -> None:
        losses.update({name: cost.detach() for name, cost in costs.items()})
        descent.step(phase, sum(costs.values()))

    x = each(corrupt, batch.x, source)
    if e.reconstruction:
        lower("reconstruction", each(reconstruction_costs, x, batch.x, batch.label, source))
    if e.adversarial:
        # The encoder does not move between the two adversarial phases: one pass serves both.
        codes = each(encode, x, source)
        known = batch.known if e.discriminator_label else None
        fake = {name: code.detach() for name, code in codes.items()}
        lower("discriminator", each(discriminator_costs, fake, known, source))
        lower("generator", each(generator_costs, codes, known, source))
    if e.supervised:
        x = each(corrupt, batch.labelled_x, source)
        lower("supervised", each(supervised_costs, x, batch.labelled_y, source))
    return losses


def corrupt(model: AdversarialAutoencoder, x: Tensor, source: Source) -> Tensor:
    """The encoder's input in training. Paper: A.2.1, "Gaussian noise … only to the input layer"."""
    return model.corrupt(x, source)


def reconstruction_costs(
    model: AdversarialAutoencoder, x: Tensor, target: Tensor, label: Tensor, source: Source
) -> dict[str, Tensor]:
    """What the reconstruction phase lowers. Paper: §2."""
    return model.reconstruction_costs(x, target, label, source)


def encode(model: AdversarialAutoencoder, x: Tensor, source: Source) -> dict[str, Tensor]:
    """Codes by name, each (batch, dim)."""
    return model.encode(x, source)


def discriminator_costs(
    model: AdversarialAutoencoder,
    codes: dict[str, Tensor],
    known: Tensor | None,
    source: Source,
) -> dict[str, Tensor]:
    """Each discriminator's cost on draws of its prior and on codes, both in one pass. Paper: §1.1, §2."""
    costs = {}
    for code in model.experiment.codes:
        fake = codes[code.name]
        real = code.prior.sample(len(fake), source, known)
        both = torch.cat((real, fake))
        label = None if known is None else known.repeat(2)
        logits = model.discriminate(code.name, both, label, source)
        costs[f"discriminator {code.name}"] = discriminator_loss(*logits.chunk(2))
    return costs


def generator_costs(
    model: AdversarialAutoencoder,
    codes: dict[str, Tensor],
    known: Tensor | None,
    source: Source,
) -> dict[str, Tensor]:
    """The encoder's cost of being told from each prior. Paper: §2. With the balance of q(y), which it lacks."""
    e = model.experiment
    costs = {
        f"generator {code.name}": generator_loss(
            model.discriminate(code.name, codes[code.name], known, source)
        )
        for code in e.codes
    }
    if e.balance:
        costs["balance"] = e.balance * imbalance(codes[labels_code(e)])
    return costs


def supervised_costs(
    model: AdversarialAutoencoder, x: Tensor, y: Tensor, source: Source
) -> dict[str, Tensor]:
    """Cross-entropy of a labelled mini-batch. Paper: §5."""
    name = labels_code(model.experiment)
    logits = model.encode_logits(x, source, only=name)[name]
    return {"supervised": cross_entropy(logits, y)}


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−E[log D(prior)] − E[log(1 − D(code))] of logits (batch,); 2 ln 2 where D cannot tell. Paper: §1.1."""
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """−E[log D(code)] of logits (batch,), the non-saturating form; ln 2 where D cannot tell."""
    return softplus(-fake).mean()


def imbalance(q: Tensor) -> Tensor:
    """KL(mean of q ‖ uniform) in nats of probabilities q (batch, m): 0 where all are used equally, at most ln m."""
    mean = q.mean(0)
    return (mean * (len(mean) * mean).clamp(min=1e-12).log()).sum()


class Trained(Protocol):
    """What a descent moves: one model, or several on stacked parameters."""

    experiment: Experiment

    def parameters_of(self, phase: str) -> dict[str, Parameter]: ...


class Descent:
    """Gradient descent with momentum for each phase, with a momentum of its own. Paper: A.2.1.

    The paper gives each cost its own momentum, so one network that serves several costs has one
    velocity for each of them. `memory[phase][quantity][parameter]` holds the velocities (Adam: its two moments).
    """

    def __init__(self, trained: Trained):
        e = self.experiment = trained.experiment
        rates = {
            "reconstruction": e.reconstruction,
            "discriminator": e.adversarial,
            "generator": e.adversarial,
            "supervised": e.supervised,
            "matching": e.matching,
        }
        self.rates = {phase: r for phase, r in rates.items() if r is not None}
        self.parameters = {phase: trained.parameters_of(phase) for phase in self.rates}
        self.memory = {p: _memory(self.rates[p], self.parameters[p]) for p in self.rates}
        self.factor = 1.0
        """On every learning rate. Paper: A.2.1: a tenth after 50 epochs, a hundredth after 1000."""
        self.pretraining = False
        """Whether this epoch is one of those in which a GMMN's autoencoder is trained alone."""

    def step(self, phase: str, cost: Tensor) -> None:
        """Lower `cost` (of replicates: their sum) by one step of `phase`; no other gradient is computed."""
        parameters = list(self.parameters[phase].values())
        self.update(phase, torch.autograd.grad(cost.sum(), parameters))

    def update(self, phase: str, gradients: Sequence[Tensor]) -> None:
        """Move the parameters of `phase` by their gradients."""
        parameters = list(self.parameters[phase].values())
        memory = [list(tensors.values()) for tensors in self.memory[phase].values()]
        _descend(self.rates[phase], self.factor, parameters, gradients, memory)

    def state(self) -> dict[str, Tensor]:
        """Velocities and the like by "phase/parameter/quantity"."""
        return {
            f"{phase}/{name}/{quantity}": tensor
            for phase, quantities in self.memory.items()
            for quantity, tensors in quantities.items()
            for name, tensor in tensors.items()
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned. Raises KeyError for a tensor that this descent does not have."""
        mine = self.state()
        for key, value in state.items():
            mine[key].copy_(value)


def _memory(rates: Rates, parameters: dict[str, Parameter]) -> dict[str, dict[str, Tensor]]:
    def zeros() -> dict[str, Tensor]:
        return {name: torch.zeros_like(p, requires_grad=False) for name, p in parameters.items()}

    if rates.optimiser == "sgd":
        return {"momentum_buffer": zeros()}
    steps = {
        n: torch.zeros((), dtype=torch.float32, device=p.device) for n, p in parameters.items()
    }
    return {"exp_avg": zeros(), "exp_avg_sq": zeros(), "step": steps}


@torch.no_grad()
def _descend(
    rates: Rates,
    factor: float,
    parameters: list[Parameter],
    gradients: Sequence[Tensor],
    memory: list[list[Tensor]],
) -> None:
    """The kernels under torch.optim's `fused=True`, called by themselves: one pass over the parameters.

    What torch.optim does around them costs some 2 % of an iteration.
    """
    lr = factor * rates.learning_rate
    # They go through memory in order, so all that belongs to one parameter must lie as it does.
    gradients = [
        g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
        for p, g in zip(parameters, gradients, strict=True)
    ]
    parameters, gradients, *memory = (
        [t if t.is_contiguous() else t.mT for t in tensors]
        for tensors in (parameters, gradients, *memory)
    )
    if rates.optimiser == "sgd":
        torch._fused_sgd_(
            parameters,
            gradients,
            *memory,
            weight_decay=0.0,
            momentum=rates.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )
        return
    averages, squares, steps = memory
    torch._foreach_add_(steps, 1)
    torch._fused_adam_(
        parameters,
        gradients,
        averages,
        squares,
        [],
        steps,
        lr=lr,
        beta1=rates.momentum,
        beta2=0.999,
        weight_decay=0.0,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )
