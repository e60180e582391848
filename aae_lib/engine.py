"""What makes training fast: data that stays on the device, replicates in one program, and a captured iteration.

Nothing here but `in_bfloat16`, which is asked for, changes the numbers of `phases.step` beyond rounding.
"""

from __future__ import annotations

import copy
import ctypes
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import Parameter

from aae_lib.baselines import gan, gmmn
from aae_lib.config import Experiment
from aae_lib.data import Dataset, balanced_labels
from aae_lib.draws import Draws, Recorder, Request, Source, seed_of
from aae_lib.errors import UserError
from aae_lib.model import AdversarialAutoencoder
from aae_lib.phases import Batch, Descent, Each, alone, step

Model = AdversarialAutoencoder | gan.GenerativeAdversarialNetwork | gmmn.MomentMatchingNetwork

STEPS = {"aae": step, "vae": step, "gan": gan.step, "gmmn": gmmn.step}
"""What one iteration does, by the experiment's method."""

WARM_UP = 3
"""Iterations on a GPU before one is captured: libraries choose their kernels in the first ones."""


@dataclass
class Images:
    """A data set resident on the device. Pixels stay uint8, as stored, and are scaled to [0, 1] on use.

    Of several replicates, `known` has the replicates first.
    """

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
        """`dataset` on `device`, with the labelled subset that (experiment, seed) draws. Paper: A.2.1.

        Raises UserError where that leaves no labelled image, or no other where some are asked for.
        """

        def move(array) -> Tensor:
            return torch.as_tensor(array, device=device)

        train_labels = move(dataset.train.labels).long()
        images = cls(
            train=move(dataset.train.images).flatten(1),
            train_labels=train_labels,
            labelled=torch.empty(0, dtype=torch.int64, device=device),
            known=torch.full_like(train_labels, dataset.classes),
            validation=move(dataset.validation.images).flatten(1),
            validation_labels=move(dataset.validation.labels).long(),
            test=move(dataset.test.images).flatten(1),
            test_labels=move(dataset.test.labels).long(),
            classes=dataset.classes,
        )
        images = images.with_labels(dataset, experiment, seed)
        n = len(images.train)
        if experiment.labels and not len(images.labelled):
            raise UserError(
                f"{experiment.name}: {experiment.labels:g} of {n} training images is none; label more."
            )
        if experiment.labelled_share and len(images.labelled) == n:
            raise UserError(
                f"{experiment.name}: labelled_share needs unlabelled images too, and all {n} have labels; "
                "label fewer, or set labelled_share to None."
            )
        return images

    def with_labels(self, dataset: Dataset, experiment: Experiment, seed: int) -> Images:
        """The same images with the labelled subset of another replicate."""
        count = experiment.labels or 0
        if count == "all":
            count = len(dataset.train)
        elif isinstance(count, float):
            count = round(count * len(dataset.train))
        chosen = balanced_labels(dataset.train.labels, count, seed) if count else []
        labelled = torch.as_tensor(chosen, dtype=torch.int64, device=self.train.device)
        known = torch.full_like(self.train_labels, self.classes)
        known[labelled] = self.train_labels[labelled]
        return replace(self, labelled=labelled, known=known)


def scale(pixels: Tensor) -> Tensor:
    """uint8 pixels in [0, 1], of torch's default type: float32."""
    return pixels.to(torch.get_default_dtype()).div_(255)


def epoch_generator(seed: int, epoch: int, device: torch.device) -> Generator:
    """A generator of all randomness of one epoch (0: the initial weights) of one replicate."""
    return Generator(device).manual_seed(seed_of(seed, epoch))


def epoch_order(
    images: Images, experiment: Experiment, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """Rows of each mini-batch of one epoch, (updates, batch), and those of the labelled mini-batches beside them.

    An epoch has as many mini-batches as one pass over all images takes, in random order; where some images are to come
    more often than others, all are gone through again and again, in a new order each time. Paper: §5 for the
    labelled mini-batch; how an epoch is made up it does not say.
    """
    size, device = experiment.batch_size, images.train.device
    updates = len(images.train) // size

    def rows_of(pool: Tensor, width: int) -> Tensor:
        """(updates, width) rows of `pool`, all of them once before any comes again."""
        passes = math.ceil(updates * width / len(pool))
        orders = [
            torch.randperm(len(pool), generator=generator, device=device) for _ in range(passes)
        ]
        return pool[torch.cat(orders)[: updates * width]].view(updates, width)

    if experiment.labelled_share is None:
        order = rows_of(torch.arange(len(images.train), device=device), size)
    else:
        unlabelled = (images.known == images.classes).nonzero()[:, 0]
        labelled = round(experiment.labelled_share * size)
        order = torch.cat(
            (rows_of(images.labelled, labelled), rows_of(unlabelled, size - labelled)), 1
        )
    return order, rows_of(images.labelled, size) if experiment.supervised else None


def batch_of(images: Images, rows: Tensor, labelled_rows: Tensor | None) -> Batch:
    """The mini-batch of rows (batch,) or (replicates, batch) of the resident images."""
    batch = Batch(
        scale(images.train[rows]), images.train_labels[rows], images.known.gather(-1, rows)
    )
    if labelled_rows is None:
        return batch
    return batch._replace(
        labelled_x=scale(images.train[labelled_rows]),
        labelled_y=images.train_labels[labelled_rows],
    )


class Replicates:
    """Models of one experiment on stacked parameters, (replicates, …) each.

    Each model's own tensors become views of the stack: what is trained here is at once what each of them holds.
    """

    def __init__(self, models: Sequence[Model]):
        self.models, self.experiment = models, models[0].experiment
        self.template = _Applied(models[0])
        own = [dict(model.named_parameters()) for model in models]
        self.parameters = {name: Parameter(_stack([p[name] for p in own])) for name in own[0]}
        own = [dict(model.named_buffers()) for model in models]
        self.buffers = {name: _stack([b[name] for b in own]) for name in own[0]}

    def parameters_of(self, phase: str) -> dict[str, Parameter]:
        """The stacked parameters that `phase` may change."""
        return {name: self.parameters[name] for name in self.models[0].parameters_of(phase)}

    def each(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """function(model, *arguments) of every replicate: tensors have the replicates first, Draws are the last."""
        *given, source = arguments
        used = 0

        def one(state: dict[str, Tensor], drawn: list[Tensor], *given: Any) -> Any:
            nonlocal used
            own = Draws(drawn)
            result = functional_call(self.template, state, (function, *given, own))
            used = own.used
            return result

        state = {f"model.{name}": t for name, t in (self.parameters | self.buffers).items()}
        in_dims = (0, 0, *(_in_dims(argument) for argument in given))
        result = vmap(one, in_dims=in_dims)(state, source.left, *given)
        source.used += used
        return result


class _Applied(nn.Module):
    """A model as torch.func can call it: with any function of it."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.model, *arguments)


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """`tensors` in one, of which each of them becomes a view.

    Matrices lie transposed in memory, as the batched products make their gradients: else each would be copied.
    """
    if tensors[0].ndim == 2:
        stacked = torch.stack([t.detach().t() for t in tensors]).transpose(1, 2)
    else:
        stacked = torch.stack([t.detach() for t in tensors])
    for tensor, part in zip(tensors, stacked, strict=True):
        tensor.data = part
    return stacked


def _in_dims(argument: Any) -> Any:
    if isinstance(argument, dict):
        return {key: _in_dims(value) for key, value in argument.items()}
    return 0 if isinstance(argument, Tensor) else None


class Program:
    """Epochs of one or more replicates: one iteration, repeated on tensors that stay where they are.

    On a GPU the iteration is captured as a CUDA graph after a few were run, and then replayed: one launch for
    its hundreds of kernels. All of it but the capture runs on a CPU too. With `bfloat16`, as `in_bfloat16` says.
    """

    def __init__(
        self,
        models: Sequence[Model],
        descents: Sequence[Descent],
        images: Sequence[Images],
        seeds: Sequence[int],
        bfloat16: bool = False,
    ):
        self.experiment = models[0].experiment
        self.step = STEPS[self.experiment.method]
        self.models, self.seeds, self.images = models, seeds, images
        self.device = images[0].train.device
        self.generators = [Generator(self.device) for _ in seeds]
        self.updates = len(images[0].train) // self.experiment.batch_size
        self.position = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.order: Tensor | None = None
        self.labelled_order: Tensor | None = None
        self.totals: dict[str, Tensor] = {}
        if self.device.type == "cpu":
            keep_freed_memory()
        self.captures = self.device.type == "cuda"
        self.graph: torch.cuda.CUDAGraph | None = None
        self.pretraining: bool | None = None  # the stage, from the first epoch on
        self.iterations = 0  # of this stage so far
        self.together = len(models) > 1
        if self.together:
            stack = Replicates(models)
            self.each, self.descent = stack.each, Descent(stack)
            _share_memory(self.descent, descents)
            self.resident = replace(images[0], known=torch.stack([i.known for i in images]))
        else:
            self.each, self.descent, self.resident = alone(models[0]), descents[0], images[0]
        if bfloat16:
            self.each = in_bfloat16(self.each, self.device)

    def start(self, epoch: int) -> None:
        """Make ready for `epoch`, counted from 1: its stage, its order, its randomness, its rates."""
        for model in self.models:
            model.train()
        orders = []
        for seed, generator, images in zip(self.seeds, self.generators, self.images, strict=True):
            generator.manual_seed(seed_of(seed, epoch))
            orders.append(epoch_order(images, self.experiment, generator))
        order, labelled = (
            None if parts[0] is None else torch.stack(parts, 1) if self.together else parts[0]
            for parts in zip(*orders, strict=True)
        )
        if self.order is None:
            self.order, self.labelled_order = order, labelled
        else:  # a captured iteration reads these very tensors
            self.order.copy_(order)
            if labelled is not None:
                self.labelled_order.copy_(labelled)
        self.position.zero_()
        pretraining = epoch <= self.experiment.pretraining
        if pretraining != self.pretraining:
            self._begin(pretraining)
        for total in self.totals.values():
            total.zero_()
        factor = self.experiment.rate_factor(epoch)
        if factor != self.descent.factor:  # rates are constants of a captured iteration
            self.graph, self.descent.factor = None, factor

    def _begin(self, pretraining: bool) -> None:
        """Begin a stage: an iteration has other costs from here on, and draws other numbers."""
        self.pretraining = self.descent.pretraining = pretraining
        self.graph, self.iterations, self.totals = None, 0, {}
        if self.together:
            self.requests = _requests(self.models[0], self.images[0], pretraining)
            self.drawn = [r.empty(self.device, len(self.models)) for r in self.requests]

    def advance(self) -> None:
        """One iteration, without waiting for the device."""
        if self.captures and self.graph is None and self.iterations >= WARM_UP:
            self._capture()
        if self.graph:
            self.graph.replay()
        else:
            self._iterate()
        self.iterations += 1

    def costs(self) -> list[dict[str, float]]:
        """The mean of each cost over the epoch so far, for each replicate: the one place that waits for the device."""
        means = {name: (t / self.position).tolist() for name, t in self.totals.items()}
        return [{name: m[i] for name, m in means.items()} for i in range(len(self.models))]

    def standing(self, i: int) -> dict[str, Tensor]:
        """Where replicate `i` stands inside this epoch, beside its model and its descent, for `go_on`."""
        totals = {f"total/{name}": total[i] for name, total in self.totals.items()}
        state = self.generators[i].get_state()
        return {"position": self.position[0], "generator": state, **totals}

    def go_on(self, standings: Sequence[dict[str, Tensor]]) -> None:
        """From the start of an epoch to where its replicates stood, one `standing` each, all after as many steps."""
        for generator, standing in zip(self.generators, standings, strict=True):
            generator.set_state(standing["generator"])
        for name in (n.removeprefix("total/") for n in standings[0] if n.startswith("total/")):
            total = torch.stack([standing[f"total/{name}"] for standing in standings])
            self.totals[name] = total.to(self.device)
        self.position.fill_(int(standings[0]["position"]))

    def _iterate(self) -> None:
        rows, labelled = (
            None if order is None else order.index_select(0, self.position)[0]
            for order in (self.order, self.labelled_order)
        )
        batch = batch_of(self.resident, rows, labelled)
        for name, cost in self.step(self.each, self.descent, batch, self._source()).items():
            if name not in self.totals:
                self.totals[name] = torch.zeros(len(self.models), device=self.device)
            self.totals[name] += cost
        self.position += 1

    def _source(self) -> Source:
        """What is random in one iteration: a generator, or for several replicates the numbers that theirs give."""
        if not self.together:
            return self.generators[0]
        for i, generator in enumerate(self.generators):
            for request, out in zip(self.requests, self.drawn, strict=True):
                request.draw(out[i], generator)
        return Draws(self.drawn)

    def _capture(self) -> None:
        """Record one iteration as a CUDA graph."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        # Of this device: the default is the first GPU's. And a new one for each capture: what cuBLAS keeps for a stream
        # may be freed with the graph that was captured on it.
        stream = torch.cuda.Stream(self.device)
        with torch.cuda.device(self.device):
            for generator in self.generators:  # which allocates on the current device
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph, stream=stream):
                self._iterate()
        self.graph = graph


def in_bfloat16(each: Each, device: torch.device) -> Each:
    """`each`, with hidden layers in bfloat16: what they multiply, return and pass back has eight significant bits.

    Of seeds in company only what they multiply has: the sum with the bias is float32 there. Parameters, their updates,
    what a network returns and every cost keep float32, as do the sums inside a product. Each cost rounds its parameters
    anew: between two of them they move.
    """

    def rounded(function: Callable[..., Any], *arguments: Any) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return each(function, *arguments)

    return rounded


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next allocation, where it is glibc; elsewhere do nothing.

    By itself it gives large blocks back to the system. Each iteration then has its gradients' pages mapped and
    zeroed anew: some 4700 page faults, a tenth of its time.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def _requests(model: Model, images: Images, pretraining: bool) -> list[Request]:
    """What one iteration of `model` draws, in order: written down while a copy of it makes one."""
    model = copy.deepcopy(model).train()
    recorder = Recorder(epoch_generator(0, 0, images.train.device))
    order, labelled = epoch_order(images, model.experiment, recorder.generator)
    batch = batch_of(images, order[0], None if labelled is None else labelled[0])
    descent = Descent(model)
    descent.pretraining = pretraining
    STEPS[model.experiment.method](alone(model), descent, batch, recorder)
    return recorder.requests


def _share_memory(together: Descent, apart: Sequence[Descent]) -> None:
    """Stack the velocities of `apart` into `together`; theirs become views, as with the parameters."""
    for phase, quantities in together.memory.items():
        for quantity, tensors in quantities.items():
            for name in tensors:
                parts = [descent.memory[phase][quantity][name] for descent in apart]
                if quantity == "step":  # Adam counts once for all
                    tensors[name] = parts[0]
                    for descent in apart:
                        descent.memory[phase][quantity][name] = parts[0]
                else:
                    tensors[name] = _stack(parts)
