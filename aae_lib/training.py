"""The training loop of every experiment: the paper's phases, on each mini-batch, one after the other.

    for each mini-batch of images
        reconstruction     encoder and decoder lower the reconstruction cost
        regularisation     discriminators learn to tell prior from codes; then the encoder learns to confuse them
        classification     the encoder lowers the cross-entropy of a labelled mini-batch (where there are labels)

Randomness is an argument: each epoch's generator follows from (seed, epoch) alone, so a run that is resumed
at an epoch's end draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib
import math
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import Parameter
from torch.nn.functional import cross_entropy, softplus
from tqdm import tqdm

from aae_lib import store
from aae_lib.baselines.vae import VariationalAutoencoder
from aae_lib.config import Experiment, Profile, Rates, labels_code
from aae_lib.data import Dataset, balanced_labels
from aae_lib.errors import UserError, suggest
from aae_lib.model import AdversarialAutoencoder

SHOWN_EVERY = 50
"""Steps between two readings of the costs for the progress bar; each waits for the device."""

MODELS = {"aae": AdversarialAutoencoder, "vae": VariationalAutoencoder}

CHECKPOINT_SECONDS = 60.0
"""A run that is killed loses at most about this much, plus one epoch."""


@dataclass
class Images:
    """A data set resident on the device. Pixels stay uint8, as stored, and are scaled to [0, 1] on use."""

    train: Tensor  # (n, pixels) uint8
    train_labels: Tensor  # (n,) int64
    labelled: Tensor  # (l,) int64, rows of `train` whose label may be used
    known: Tensor  # (n,) int64: the label, or `classes` where it may not be used
    validation: Tensor
    validation_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int

    @classmethod
    def of(
        cls, dataset: Dataset, experiment: Experiment, seed: int, device: torch.device
    ) -> Images:
        """`dataset` on `device`, with the labelled subset that (experiment, seed) draws. Paper: A.2.1."""

        def move(array) -> Tensor:
            return torch.as_tensor(array, device=device)

        count = len(dataset.train) if experiment.labels == "all" else experiment.labels or 0
        chosen = balanced_labels(dataset.train.labels, count, seed) if count else []
        train_labels = move(dataset.train.labels).long()
        labelled = torch.as_tensor(chosen, dtype=torch.int64, device=device)
        known = torch.full_like(train_labels, dataset.classes)
        known[labelled] = train_labels[labelled]
        return cls(
            train=move(dataset.train.images).flatten(1),
            train_labels=train_labels,
            labelled=labelled,
            known=known,
            validation=move(dataset.validation.images).flatten(1),
            validation_labels=move(dataset.validation.labels).long(),
            test=move(dataset.test.images).flatten(1),
            test_labels=move(dataset.test.labels).long(),
            classes=dataset.classes,
        )


@dataclass
class Batch:
    """One mini-batch: images in [0, 1], what is known of their labels, and a labelled mini-batch."""

    x: Tensor  # (batch, pixels)
    label: Tensor  # (batch,) the true labels, for a decoder that is given them (§4)
    known: Tensor  # (batch,) labels, or `classes` where unknown (§2.3)
    labelled_x: Tensor | None = None
    labelled_y: Tensor | None = None


class Descent:
    """Gradient descent with momentum for each phase, with a momentum of its own. Paper: A.2.1.

    The paper gives each cost its own momentum, so one network that serves several costs has one
    velocity for each of them.
    """

    def __init__(self, model: AdversarialAutoencoder):
        e = model.experiment
        rates = {
            "reconstruction": e.reconstruction,
            "discriminator": e.adversarial if model.discriminators else None,
            "generator": e.adversarial if model.discriminators else None,
            "supervised": e.supervised,
        }
        self.rates = {phase: r for phase, r in rates.items() if r is not None}
        self.parameters = {phase: model.parameters_of(phase) for phase in self.rates}
        self.optimisers = {
            phase: _optimiser(list(self.parameters[phase].values()), r)
            for phase, r in self.rates.items()
        }

    def scale_rates(self, factor: float) -> None:
        """Set every learning rate to `factor` times its initial value."""
        for phase, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = factor * self.rates[phase].learning_rate

    def step(self, phase: str, cost: Tensor) -> None:
        """Lower `cost` by one step of the parameters of `phase`; no other gradient is computed."""
        parameters = list(self.parameters[phase].values())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(cost, parameters), strict=True
        ):
            parameter.grad = gradient
        self.optimisers[phase].step()
        for parameter in parameters:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Velocities and the like by "phase/parameter/quantity"; empty before the first step."""
        return {
            f"{phase}/{name}/{quantity}": value
            for phase, optimiser in self.optimisers.items()
            for name, parameter in self.parameters[phase].items()
            for quantity, value in optimiser.state[parameter].items()
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""
        for key, value in state.items():
            phase, name, quantity = key.split("/")
            parameter = self.parameters[phase][name]
            self.optimisers[phase].state[parameter][quantity] = value.to(parameter.device)


def _optimiser(parameters: list[Parameter], rates: Rates) -> torch.optim.Optimizer:
    """One fused optimiser: it passes over the parameters once, and that pass is what an update costs."""
    if rates.optimiser == "adam":
        betas = (rates.momentum, 0.999)
        return torch.optim.Adam(parameters, lr=rates.learning_rate, betas=betas, fused=True)
    return torch.optim.SGD(parameters, lr=rates.learning_rate, momentum=rates.momentum, fused=True)


def step(
    model: AdversarialAutoencoder, descent: Descent, batch: Batch, generator: Generator
) -> dict[str, Tensor]:
    """One iteration of the paper's phases on one mini-batch; returns each cost, detached. Paper: §2, §5.

    With no adversarial, reconstruction or supervised rates in the experiment, that phase does not run.
    """
    e = model.experiment
    losses: dict[str, Tensor] = {}
    x = model.corrupt(batch.x, generator)

    if e.reconstruction:
        costs = model.reconstruction_costs(x, batch.x, batch.label, generator)
        losses |= {name: cost.detach() for name, cost in costs.items()}
        descent.step("reconstruction", sum(costs.values()))

    if e.adversarial:
        # The encoder does not move between the two adversarial phases: one pass serves both.
        codes = model.encode(x, generator)
        known = batch.known if e.discriminator_label else None
        cost = 0.0
        for code in e.codes:
            real = code.prior.sample(len(x), generator, known)
            both = torch.cat((real, codes[code.name].detach()))
            logits = model.discriminate(code.name, both, None if known is None else known.repeat(2))
            loss = discriminator_loss(*logits.chunk(2))
            losses[f"discriminator {code.name}"] = loss.detach()
            cost = cost + loss
        descent.step("discriminator", cost)

        cost = 0.0
        for code in e.codes:
            loss = generator_loss(model.discriminate(code.name, codes[code.name], known))
            losses[f"generator {code.name}"] = loss.detach()
            cost = cost + loss
        descent.step("generator", cost)

    if e.supervised:
        labelled_x = model.corrupt(batch.labelled_x, generator)
        y = labels_code(e)
        cost = cross_entropy(
            model.encode_logits(labelled_x, generator, only=y)[y], batch.labelled_y
        )
        losses["supervised"] = cost.detach()
        descent.step("supervised", cost)
    return losses


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−E[log D(prior)] − E[log(1 − D(code))] of logits (batch,); 2 ln 2 where D cannot tell. Paper: §1.1."""
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """−E[log D(code)] of logits (batch,), the non-saturating form; ln 2 where D cannot tell."""
    return softplus(-fake).mean()


def epoch_generator(seed: int, epoch: int, device: torch.device) -> Generator:
    """The source of all randomness of one epoch (0: the initial weights) of one replicate."""
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    return Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def batches(images: Images, experiment: Experiment, generator: Generator) -> Iterable[Batch]:
    """One epoch: one pass over the unlabelled images in random order, the labelled ones cycled beside them."""
    n, size = len(images.train), experiment.batch_size
    updates = n // size
    order = torch.randperm(n, generator=generator, device=images.train.device)
    labelled = None
    if experiment.supervised:
        passes = math.ceil(updates * size / len(images.labelled))
        labelled = images.labelled[
            torch.cat([
                torch.randperm(len(images.labelled), generator=generator, device=order.device)
                for _ in range(passes)
            ])
        ]  # fmt: skip
    for i in range(updates):
        rows = order[i * size : (i + 1) * size]
        batch = Batch(scale(images.train[rows]), images.train_labels[rows], images.known[rows])
        if labelled is not None:
            rows = labelled[i * size : (i + 1) * size]
            batch.labelled_x, batch.labelled_y = (
                scale(images.train[rows]),
                images.train_labels[rows],
            )
        yield batch


def scale(pixels: Tensor) -> Tensor:
    """uint8 pixels as float32 in [0, 1]."""
    return pixels.float().div_(255)


@dataclass
class Run:
    """One replicate after some epochs: the trained model, its curves, and what made it."""

    experiment: Experiment
    seed: int
    epochs: int
    model: AdversarialAutoencoder
    history: dict[str, list[float]]  # one value for each epoch; "epoch" itself counts from 1
    provenance: dict[str, Any]


def fit(
    experiment: Experiment,
    dataset: Dataset,
    *,
    seed: int,
    epochs: int,
    device: str = "auto",
    quiet: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Run:
    """Replicate `seed` of `experiment` after `epochs` epochs: loaded, resumed or trained, as the store has it.

    Raises UserError for an unusable device or data set, a disk that refuses, or a cost that stops being finite.
    """
    experiment = experiment.on(dataset)
    if seed < 0 or epochs < 1:
        raise UserError(
            f"{experiment.name}: seed {seed} and {epochs} epochs; at least 0 and 1 are needed."
        )
    target = torch.device(choose_device(device))
    model, descent = build(experiment, dataset.dim, dataset.classes, seed, target)
    run = Run(
        experiment, seed, 0, model, {}, store.provenance(str(target), torch.get_num_threads())
    )
    if not _resume(run, descent, [epochs], report=False):  # what is there is loaded without a lock
        with store.locked(store.run_folder(experiment, seed)):
            _resume(run, descent, range(epochs, 0, -1))
            if run.epochs < epochs:
                _train(run, descent, dataset, epochs, quiet, checkpoint_seconds)
    run.model.eval()
    return run


def build(
    experiment: Experiment, pixels: int, classes: int, seed: int, device: torch.device
) -> tuple[AdversarialAutoencoder, Descent]:
    """A new model of replicate `seed` on `device`, and its descent. The initial weights are equal on all devices."""
    initial = epoch_generator(seed, 0, torch.device("cpu"))
    model = MODELS[experiment.method](experiment, pixels, classes, initial).to(device)
    return model, Descent(model)


def _train(
    run: Run,
    descent: Descent,
    dataset: Dataset,
    epochs: int,
    quiet: bool,
    checkpoint_seconds: float,
) -> None:
    """Take `run` from where it is to `epochs`, with a checkpoint now and then and at the end."""
    experiment, seed, model = run.experiment, run.seed, run.model
    device = next(model.parameters()).device
    images = Images.of(dataset, experiment, seed, device)
    updates = len(images.train) // experiment.batch_size
    if not updates:
        raise UserError(
            f"{experiment.name}: {len(images.train)} training images are fewer than one mini-batch "
            f"of {experiment.batch_size}."
        )
    saved = started = time.monotonic()
    spent = run.provenance.get("wall_seconds", 0.0)
    bar = tqdm(total=epochs * updates, initial=run.epochs * updates, disable=quiet, unit="step")
    with bar:
        for epoch in range(run.epochs + 1, epochs + 1):
            bar.set_description(f"{experiment.name} seed {seed} epoch {epoch}/{epochs}")
            losses = _train_epoch(model, descent, images, seed, epoch, bar)
            _record(run, epoch, losses | evaluate(model, images))
            bar.set_postfix({k: f"{v[-1]:.3g}" for k, v in run.history.items() if k != "epoch"})
            run.provenance |= {
                "wall_seconds": round(spent + time.monotonic() - started, 3),
                "peak_memory_gib": peak_memory_gib(device),
            }
            due = time.monotonic() - saved > checkpoint_seconds
            if due or epoch in (epochs, *store.KEPT_EPOCHS):
                _save(run, descent)
                saved = time.monotonic()


def _train_epoch(
    model: AdversarialAutoencoder,
    descent: Descent,
    images: Images,
    seed: int,
    epoch: int,
    bar: tqdm,
) -> dict[str, float]:
    """One pass over the training images; returns the mean of each cost."""
    generator = epoch_generator(seed, epoch, images.train.device)
    descent.scale_rates(model.experiment.rate_factor(epoch))
    model.train()
    totals: dict[str, Tensor] = {}
    updates = 0
    for batch in batches(images, model.experiment, generator):
        for name, cost in step(model, descent, batch, generator).items():
            totals[name] = totals.get(name, 0.0) + cost
        updates += 1
        if updates % SHOWN_EVERY == 0:
            bar.set_postfix(
                {k: f"{float(v) / updates:.3g}" for k, v in totals.items()}, refresh=False
            )
        bar.update()
    return {name: float(total) / updates for name, total in totals.items()}


@torch.no_grad()
def evaluate(model: AdversarialAutoencoder, images: Images) -> dict[str, float]:
    """Classification error in % on validation and test images, where the experiment learns to classify."""
    if model.experiment.supervised is None:
        return {}
    y = labels_code(model.experiment)
    model.eval()
    sets = {
        "validation error": (images.validation, images.validation_labels),
        "test error": (images.test, images.test_labels),
    }
    return {
        name: 100 * float((codes_of(model, pixels)[y].argmax(1) != labels).float().mean())
        for name, (pixels, labels) in sets.items()
    }


@torch.no_grad()
def codes_of(
    model: AdversarialAutoencoder,
    pixels: Tensor,
    generator: Generator | None = None,
    block: int = 1000,
) -> dict[str, Tensor]:
    """Codes, by name, of uint8 images (n, pixels), computed in blocks; a sample where a generator is given."""
    model.eval()
    blocks = [model.encode(scale(part), generator) for part in pixels.split(block)]
    return {name: torch.cat([codes[name] for codes in blocks]) for name in blocks[0]}


def _record(run: Run, epoch: int, values: dict[str, float]) -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"{run.experiment.name} seed {run.seed} diverged in epoch {epoch}: {', '.join(bad)} is not finite. "
            f"Its earlier checkpoints stay in {store.run_folder(run.experiment, run.seed)}; "
            "try a lower learning rate."
        )
    for name, value in {"epoch": epoch, **values}.items():
        run.history.setdefault(name, []).append(value)
    run.epochs = epoch


def _save(run: Run, descent: Descent) -> None:
    """Write the run's checkpoint, then drop the one that it continues, unless that is one to keep."""
    tensors = {f"model/{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"optimiser/{k}": v for k, v in descent.state().items()}
    metadata = {
        "experiment": run.experiment.describe(),
        "seed": run.seed,
        "epoch": run.epochs,
        "history": run.history,
        "provenance": run.provenance,
    }
    store.save(store.checkpoint_path(run.experiment, run.seed, run.epochs), tensors, metadata)
    kept = {*store.KEPT_EPOCHS, run.experiment.epochs, run.epochs}
    for epoch, path in store.checkpoints(run.experiment, run.seed).items():
        if epoch < run.epochs and epoch not in kept:
            path.unlink()


def _resume(run: Run, descent: Descent, epochs: Sequence[int], report: bool = True) -> bool:
    """Bring `run` to the first of `epochs` with a sound checkpoint; whether there is one. `report` names others."""
    found = store.checkpoints(run.experiment, run.seed)
    for epoch in epochs:
        if epoch in found:
            try:
                tensors, metadata = store.load(found[epoch])
                expected = (run.experiment.describe(), run.seed, epoch)
                if tuple(metadata.get(k) for k in ("experiment", "seed", "epoch")) != expected:
                    raise UserError(f"{found[epoch]} belongs to another run.")
            except UserError as error:
                if report:
                    print(f"warning: {error} It is made again.", file=sys.stderr)
                continue
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}}
            for key, tensor in tensors.items():
                part, name = key.split("/", 1)
                parts[part][name] = tensor
            run.model.load_state_dict(parts["model"])
            descent.load_state(parts["optimiser"])
            run.epochs, run.history = epoch, metadata["history"]
            here, run.provenance = run.provenance, metadata["provenance"]
            if epoch < max(epochs):  # it goes on here
                run.provenance["continued"] = [*run.provenance.get("continued", []), here]
            return True
    return False


def choose_device(name: str = "auto") -> str:
    """`auto`: the GPU where there is one, else the CPU. Raises UserError for a device that is not here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    gpus = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    valid = ["auto", "cpu", *(gpus if torch.cuda.is_available() else [])]
    if name not in valid:
        raise UserError(f"device '{name}' cannot be used here; {suggest(name, valid)}")
    return name


def require_gpu(profile: Profile, device: str, allow_cpu: bool = False) -> None:
    """Refuse to start the paper profile on a CPU, where it takes weeks. Raises UserError unless allowed."""
    if profile.name == "paper" and not allow_cpu and not choose_device(device).startswith("cuda"):
        raise UserError(
            "the paper profile needs a GPU and none is in use; "
            "choose --profile standard, or insist with --allow-cpu (allow_cpu = True in a notebook)."
        )


def seconds_per_epoch(
    experiment: Experiment, device: str, pixels: int = 784, classes: int = 10
) -> float:
    """Seconds that one epoch of 50 000 images would take here, from a few steps on random images."""
    target = torch.device(device)
    model, descent = build(experiment, pixels, classes, 0, target)
    generator = epoch_generator(0, 1, target)
    x = torch.rand(experiment.batch_size, pixels, device=target)
    label = torch.arange(len(x), device=target) % classes
    batch = Batch(x, label, label, x, label)
    for timed in (3, 7):  # the first few warm up
        started = time.perf_counter()
        for _ in range(timed):
            losses = step(model, descent, batch, generator)
        float(next(iter(losses.values())))  # waits for the device
    return (time.perf_counter() - started) / timed * 50_000 / experiment.batch_size


def peak_memory_gib(device: torch.device) -> float:
    """The most memory in GiB that this process has held: on the GPU if it trains there, else in all."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    unit = 2**20 if sys.platform != "darwin" else 2**30
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 2)
