"""The training iteration beside the literal one, beside what bounds it, and beside pythae's."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from literal import Literal
from measure import Contender, Figure, interleaved, ratio

from aae_lib.config import Code, Experiment
from aae_lib.data import Dataset, Split
from aae_lib.engine import Images, Program, batch_of, epoch_generator, epoch_order
from aae_lib.experiments import by_name
from aae_lib.phases import step
from aae_lib.priors import Gaussian
from aae_lib.training import build

CPU = torch.device("cpu")
PIXELS, CLASSES = 784, 10
IMAGES = 3000  # in an epoch of the comparison with pythae
ROUNDS = 20
SEMI_SUPERVISED = by_name("mnist_100")


def noise(images: int) -> Dataset:
    """Random images: the time of a step does not depend on what they show."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, PIXELS, 1), dtype=np.uint8)
    split = Split(pixels, (np.arange(images) % CLASSES).astype(np.uint8))
    return Dataset("noise", "", "", split, split, split, CLASSES)


def program(experiment: Experiment, seeds: Sequence[int], images: int = 2000) -> Program:
    """A program of `experiment` on random images, ready for its first iteration."""
    dataset = noise(images)
    built = [build(experiment, PIXELS, CLASSES, seed, CPU) for seed in seeds]
    resident = [Images.of(dataset, experiment, seed, CPU) for seed in seeds]
    made = Program(*zip(*built, strict=True), resident, seeds)
    made.start(epoch=1)
    return made


def epoch(program: Program) -> None:
    """One epoch, as `training.fit` runs it."""
    program.start(epoch=1)
    for _ in range(program.updates):
        program.advance()
    program.costs()


class Products:
    """The matrix products that one iteration of `experiment` needs, and its parameter updates, by themselves.

    They run on the network's own weights, with the shapes, layouts and order of the iteration, each product once and
    into memory that is there; activations, costs, biases and noise are left out.
    """

    def __init__(self, experiment: Experiment):
        e, b = experiment, experiment.batch_size
        self.model, self.descent = build(e, PIXELS, CLASSES, 0, CPU)
        self.descent.factor = (
            0.0  # the products' inputs are random: weights that moved by them would overflow
        )
        self.gradients = {
            phase: {name: torch.full_like(p, 1e-6) for name, p in parameters.items()}
            for phase, parameters in self.descent.parameters.items()
        }
        self.flop = 0
        codes = [code.name for code in e.codes]
        heads = [f"heads.{name}" for name in codes]
        self.phases = {"reconstruction": self._encoder(heads, "reconstruction")}
        self.phases["reconstruction"] += self._chain(["decoder", "output"], b, "reconstruction")
        # One pass of the encoder for both adversarial phases; prior and codes pass a discriminator together.
        self.phases["discriminator"] = self._encoder(heads, None)
        self.phases["generator"] = []
        for name in codes:
            network = [f"discriminators.{name}"]
            self.phases["discriminator"] += self._chain(
                network, 2 * b, "discriminator", needs_input_gradient=False
            )
            self.phases["generator"] += self._chain(network, b, None)
            self.phases["generator"] += self._chain(network, b, None, forward=False, backward=True)
        self.phases["generator"] += self._encoder(heads, "generator", forward=False)
        if e.supervised:
            self.phases["supervised"] = self._encoder(heads[:1], "supervised")

    def multiply(self) -> None:
        """All products of one iteration."""
        for calls in self.phases.values():
            for call in calls:
                call()

    def multiply_and_update(self) -> None:
        """All products of one iteration, and after those of each phase its parameter updates."""
        for phase, calls in self.phases.items():
            for call in calls:
                call()
            self._update(phase)

    def update(self) -> None:
        """All parameter updates of one iteration."""
        for phase in self.phases:
            self._update(phase)

    def _update(self, phase: str) -> None:
        self.descent.update(phase, list(self.gradients[phase].values()))

    def _encoder(
        self, heads: Sequence[str], phase: str | None, forward: bool = True
    ) -> list[Callable[[], object]]:
        b = self.descent.experiment.batch_size
        calls = self._chain(["encoder"], b, phase, forward=forward, needs_input_gradient=False)
        for head in heads:
            calls += self._chain([head], b, phase, forward=forward)
        return calls

    def _chain(
        self,
        networks: Sequence[str],
        batch: int,
        phase: str | None,
        *,
        forward: bool = True,
        backward: bool | None = None,
        needs_input_gradient: bool = True,
    ) -> list[Callable[[], object]]:
        """Products of the affine layers of `networks`, forward, and back where a `phase` moves them or it is said."""
        weights = {
            f"{name}.weight": layer.weight.detach()
            for network in networks
            for name, layer in self.model.named_modules()
            if name.startswith(network) and isinstance(layer, torch.nn.Linear)
        }
        sizes = [next(iter(weights.values())).shape[1], *(w.shape[0] for w in weights.values())]
        x = [torch.rand(batch, size) for size in sizes]
        dx = [torch.rand(batch, size) for size in sizes]
        calls: list[Callable[[], object]] = []

        def product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
            calls.append(lambda: torch.mm(a, b, out=out))
            self.flop += 2 * a.shape[0] * a.shape[1] * b.shape[1]

        if forward:
            for i, weight in enumerate(weights.values()):
                product(x[i], weight.t(), x[i + 1])
        if phase is not None if backward is None else backward:
            for i, (name, weight) in reversed(list(enumerate(weights.items()))):
                if phase is not None:
                    product(dx[i + 1].t(), x[i], self.gradients[phase][name])
                if i or needs_input_gradient:
                    product(dx[i + 1], weight, dx[i])
        return calls


def figures() -> list[Figure]:
    """The semi-supervised iteration and ten replicates of it; the plain one beside pythae's."""
    return [*_iteration(), _together(), *_beside_pythae()]


def literal_step(experiment: Experiment = SEMI_SUPERVISED) -> Callable[[], object]:
    """The literal transcription's iteration."""
    literal = Literal(build(experiment, PIXELS, CLASSES, 0, CPU)[0])
    images = Images.of(noise(2000), experiment, 0, CPU)
    generator = epoch_generator(0, 1, CPU)
    batch = batch_of(images, *(rows[0] for rows in epoch_order(images, experiment, generator)))
    return lambda: literal.step(batch, generator)


def our_step(experiment: Experiment = SEMI_SUPERVISED) -> Callable[[], object]:
    """Ours, on one batch as well."""
    ours = program(experiment, [0])
    batch, generator = (
        batch_of(ours.resident, ours.order[0], ours.labelled_order[0]),
        ours.generators[0],
    )
    return lambda: step(ours.each, ours.descent, batch, generator)


def _iteration() -> list[Figure]:
    # Each iteration runs in a process of its own, as a user's would: what the library asks of the C library's
    # memory must not help the transcription.
    literal, ours = Contender(literal_step), Contender(our_step)
    bare = Products(SEMI_SUPERVISED)
    work = {
        "literal": literal,
        "ours": ours,
        "products": bare.multiply,
        "limit": bare.multiply_and_update,
    }
    seconds = interleaved(work, ROUNDS, calls=5)
    literal.close()
    ours.close()
    setting = "semi-supervised iteration (mnist_100), batch 100, 1000 units"
    whole = "ours", seconds["ours"]
    return [
        ratio(
            "step_vs_literal",
            "≤ 0.78",
            setting,
            whole,
            ("literal transcription", seconds["literal"]),
        ),
        ratio(
            "products_vs_step",
            "≥ 0.80",
            setting,
            ("bare matrix products", seconds["products"]),
            whole,
        ),
        ratio(
            "limit_vs_step",
            "≥ 0.92",
            setting,
            ("bare products and parameter updates", seconds["limit"]),
            whole,
        ),
    ]


def _company(count: int, rounds: int) -> dict[str, float]:
    """Seconds of an iteration of `count` replicates, as one program and one after another."""
    e, seeds = SEMI_SUPERVISED, range(count)
    together, apart = program(e, seeds, 20_000), [program(e, [seed], 20_000) for seed in seeds]
    work = {
        "together": together.advance,
        "apart": lambda: [each.advance() for each in apart],
    }
    return interleaved(work, rounds, calls=2)


def _together() -> Figure:
    seconds = _company(10, rounds=15)
    return ratio(
        "replicates_together",
        "≤ 1.05",
        "an iteration of ten replicates",
        ("as one program", seconds["together"]),
        ("one after another", seconds["apart"]),
    )


def _beside_pythae() -> list[Figure]:
    """The plain model with a Gaussian posterior, which is pythae's: the same networks, images and batch."""
    if find_spec("pythae") is None:
        how = "not measured: pythae is missing; 'make tools' installs it"
        return [Figure("images_vs_pythae", math.nan, "≥ 1.15", how)]
    contenders = {
        "ours": Contender(our_epoch),
        "pythae": Contender(pythae_epoch),
        "pythae, our descent": Contender(partial(pythae_epoch, same_optimiser=True)),
    }
    seconds = interleaved(contenders, rounds=9)
    for contender in contenders.values():
        contender.close()
    rate = {name: IMAGES / taken for name, taken in seconds.items()}
    return [
        Figure(
            "images_vs_pythae",
            rate["ours"] / rate["pythae"],
            "≥ 1.15",
            f"an epoch of the plain autoencoder, 8-D code, batch 100: ours {rate['ours']:.0f} images/s / "
            f"pythae's trainer as it comes {rate['pythae']:.0f} images/s; with our optimiser in place of "
            f"its Adam it makes {rate['pythae, our descent']:.0f} images/s",
        )
    ]


def _plain() -> Experiment:
    return replace(by_name("fig2_gaussian"), codes=(Code("z", Gaussian(8)),), posterior="gaussian")


def our_epoch() -> Callable[[], object]:
    """One epoch of the plain model."""
    ours = program(_plain(), [0], IMAGES)
    return lambda: epoch(ours)


def pythae_epoch(same_optimiser: bool = False) -> Callable[[], object]:
    """One epoch by pythae's own AdversarialTrainer, its data loader included, its saving of models not.

    It comes with Adam; with `same_optimiser` it gets the momentum descent that ours has.
    """
    from pythae.data.datasets import BaseDataset
    from pythae.models import Adversarial_AE, Adversarial_AE_Config
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
    from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig
    from torch import nn

    e, dataset = _plain(), noise(IMAGES)
    model, _ = build(e, PIXELS, CLASSES, 0, CPU)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = model.encoder, model.heads["z"]

        def forward(self, x: torch.Tensor) -> ModelOutput:
            mean, log_variance = self.head(self.layers(x.flatten(1))).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(model.decoder, model.output, nn.Sigmoid())

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z))

    class Discriminator(BaseDiscriminator):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(model.discriminators["z"], nn.Sigmoid())

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.layers(z))

    config = Adversarial_AE_Config(
        input_dim=(PIXELS,), latent_dim=8, reconstruction_loss="mse", adversarial_loss_scale=0.5
    )
    theirs = Adversarial_AE(config, Encoder(), Decoder(), Discriminator())
    descent = {
        "autoencoder_optimizer_cls": "SGD",
        "autoencoder_optimizer_params": {"momentum": e.reconstruction.momentum},
        "autoencoder_learning_rate": e.reconstruction.learning_rate,
        "discriminator_optimizer_cls": "SGD",
        "discriminator_optimizer_params": {"momentum": e.adversarial.momentum},
        "discriminator_learning_rate": e.adversarial.learning_rate,
    }
    pixels = torch.as_tensor(dataset.train.pixels())
    images = BaseDataset(pixels, torch.as_tensor(dataset.train.labels))
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="pythae-") as folder:  # for models, which are not saved
        config = AdversarialTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            per_device_train_batch_size=e.batch_size,
            **(descent if same_optimiser else {}),
            no_cuda=True,
        )
        trainer = AdversarialTrainer(theirs, images, training_config=config)
        trainer.prepare_training()

    def run() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train_step(1)

    return run


def curves() -> dict[str, list[dict[str, float]]]:
    """Seconds of an iteration against hidden units and against replicates; the roofline's points."""
    return {"units": _units(), "replicates": _replicates(), "roofline": _roofline()}


def _units() -> list[dict[str, float]]:
    rows = []
    for units in (125, 250, 500, 1000, 2000):
        e = replace(SEMI_SUPERVISED, hidden=units)
        bare = Products(e)
        ours, literal = (Contender(partial(factory, e)) for factory in (our_step, literal_step))
        work = {
            "products": bare.multiply,
            "limit": bare.multiply_and_update,
            "ours": ours,
            "literal": literal,
        }
        rows.append({"units": units, **interleaved(work, rounds=8, calls=5)})
        ours.close()
        literal.close()
    return rows


def _replicates() -> list[dict[str, float]]:
    return [{"replicates": count, **_company(count, rounds=9)} for count in (1, 2, 4, 8, 16)]


def _roofline() -> list[dict[str, float]]:
    """Operations per byte and operations per second of the pieces of an iteration, and of the machine's two limits."""
    numbers = torch.rand
    w, dw = numbers(1000, 1000), numbers(1000, 1000)
    x, y, x2, y2 = numbers(100, 1000), numbers(100, 1000), numbers(200, 1000), numbers(200, 1000)
    square, other, product = numbers(3000, 3000), numbers(3000, 3000), numbers(3000, 3000)
    big, copy = numbers(50_000_000), numbers(50_000_000)
    points, samples, block = numbers(10_000, 784), numbers(1000, 784), numbers(10_000, 1000)
    ours, bare = program(SEMI_SUPERVISED, [0], 20_000), Products(SEMI_SUPERVISED)
    updated = sum(p.numel() for ps in bare.descent.parameters.values() for p in ps.values())
    moved_by_updates = (
        5 * updated
    )  # weight, gradient and velocity read, weight and velocity written
    # name: (call, operations, bytes that must move)
    pieces = {
        "peak of the products, 3000 × 3000": (
            lambda: torch.mm(square, other, out=product), 2 * 3000**3, 3 * 4 * 3000**2),
        "memory, a copy of 200 MB": (lambda: copy.copy_(big), 50e6, 2 * 4 * 50e6),
        "layer, batch 100": (
            lambda: torch.mm(x, w.t(), out=y), 2 * 100 * 1e6, 4 * (1e6 + 2e5)),
        "layer, batch 200": (
            lambda: torch.mm(x2, w.t(), out=y2), 2 * 200 * 1e6, 4 * (1e6 + 4e5)),
        "weight gradient, batch 100": (
            lambda: torch.mm(y.t(), x, out=dw), 2 * 100 * 1e6, 4 * (1e6 + 2e5)),
        "parameter updates": (bare.update, 4 * updated, 4 * moved_by_updates),
        # Beside the updates, gradients are written, and weights read forward and back.
        "whole iteration": (
            ours.advance, bare.flop + 4 * updated, 4 * (moved_by_updates + 3 * updated)),
        "Parzen, a block of products": (
            lambda: torch.mm(points, samples.t(), out=block),
            2 * 784 * 1e7, 4 * (784 * 11_000 + 1e7)),
    }  # fmt: skip
    seconds = interleaved({name: piece[0] for name, piece in pieces.items()}, rounds=7)
    return [
        {"name": name, "flop": flop, "bytes": moved, "seconds": seconds[name]}
        for name, (_, flop, moved) in pieces.items()
    ]
