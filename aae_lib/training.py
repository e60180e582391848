"""Runs of experiments: trained, resumed or loaded, alone or several replicates together.

What one iteration does is in `phases`, what makes it fast in `engine`; here is the loop over epochs, with its
checkpoints. Randomness is an argument: each epoch's generator follows from (seed, epoch) alone, so a run that is
resumed at an epoch's end draws what an uninterrupted one would have drawn. One that is resumed inside an epoch finds
the generator's state in what it left.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Generator, Size, Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from aae_lib import store
from aae_lib.baselines.gan import GenerativeAdversarialNetwork
from aae_lib.baselines.gmmn import MomentMatchingNetwork
from aae_lib.baselines.vae import VariationalAutoencoder
from aae_lib.config import Experiment, Profile, checked_epochs, labels_code
from aae_lib.data import Dataset, Split
from aae_lib.engine import (
    WARM_UP,
    Images,
    Model,
    Program,
    epoch_generator,
    scale,
)
from aae_lib.errors import Diverged, Stopped, UserError, on_sigterm, suggest
from aae_lib.model import AdversarialAutoencoder
from aae_lib.phases import Descent
from aae_lib.statistics import cluster_error, cluster_names

MODELS = {
    "aae": AdversarialAutoencoder,
    "vae": VariationalAutoencoder,
    "gan": GenerativeAdversarialNetwork,
    "gmmn": MomentMatchingNetwork,
}

CHECKPOINT_SECONDS = 60.0
"""A run that is killed loses at most about this much."""


@dataclass
class Run:
    """One replicate after some epochs: the trained model, its curves, and what made it."""

    experiment: Experiment
    seed: int
    epochs: float  # a whole number, or a share of the first epoch
    model: Model
    # One value for each epoch (of its stage); "epoch" itself counts from 1, or is a share of the first
    history: dict[str, list[float]]
    provenance: dict[str, Any]


def fit(
    experiment: Experiment, dataset: Dataset, *, seed: int, epochs: float, **options: Any
) -> Run:
    """Replicate `seed` of `experiment` after `epochs` epochs; `options` and errors as of `fit_replicates`."""
    return fit_replicates(experiment, dataset, seeds=[seed], epochs=epochs, **options)[0]


def fit_replicates(
    experiment: Experiment,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    epochs: float,
    device: str = "auto",
    together: bool | None = None,
    bfloat16: bool = False,
    quiet: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> list[Run]:
    """Replicates of `experiment` after `epochs` epochs: loaded, resumed or trained, as the store has them.

    A number of epochs between 0 and 1 ends within the first one; nothing goes on from there.
    `together` trains those that stand at the same epoch as one program; None does so on a GPU, which one replicate
    alone does not fill. Each has the randomness that it has alone; its numbers then differ by rounding.
    `bfloat16` has hidden layers compute in that format (`engine.in_bfloat16`), which some processors do faster.
    Raises UserError for an unusable device or data set, a GPU whose memory is full or a disk that refuses, Stopped at
    SIGTERM, after which the same call goes on where it was, and, once the other seeds are done, Diverged for a cost
    that is not finite.
    """
    if experiment.labels and dataset.classes < 2:
        raise UserError(f"{experiment.name} learns from labels; {dataset.name} has a single class.")
    experiment = experiment.on(dataset)
    if not seeds:
        raise UserError(f"{experiment.name}: there is no seed to train.")
    for seed in seeds:
        if type(seed) is not int or seed < 0:  # True would be a seed 1 of another name
            raise UserError(
                f"{experiment.name}: seed {seed!r}; a seed is a whole number of 0 or more."
            )
    epochs = checked_epochs(f"{experiment.name}: epochs", epochs)
    if len(dataset.train) < experiment.batch_size:
        raise UserError(
            f"{experiment.name}: {len(dataset.train)} training images are fewer than one mini-batch "
            f"of {experiment.batch_size}."
        )
    target = made_ready(choose_device(device))
    if bfloat16:
        require_bfloat16(target)
    if together is None:
        together = target.type == "cuda"
    done: dict[int, Run] = {}
    lost: dict[int, str] = {}  # seeds that diverged, with what is to be said of them
    while waiting := [seed for seed in dict.fromkeys(seeds) if seed not in {**done, **lost}]:
        group = waiting if together else waiting[:1]
        try:
            replicas = [_replica(experiment, dataset, seed, target, bfloat16) for seed in group]
            done |= _finished(replicas, dataset, epochs, quiet, checkpoint_seconds)
        except Diverged as error:
            lost |= dict.fromkeys(error.seeds, str(error))
            if len(waiting) > len(error.seeds):
                print(f"warning: {error} The other seeds go on.", file=sys.stderr)
        except torch.OutOfMemoryError:
            raise UserError(
                f"the memory of {target} is full: {experiment.name}, seed {', '.join(map(str, group))}. "
                "Train fewer at once (--seeds or --no-together; replicates in a notebook), or see with nvidia-smi what "
                "else it holds. Checkpoints stand."
            ) from None
    if lost:
        raise Diverged("\n".join(dict.fromkeys(lost.values())), lost)
    for run in done.values():
        run.model.eval()
    return [done[seed] for seed in seeds]


def _finished(
    group: Sequence[Replica],
    dataset: Dataset,
    epochs: float,
    quiet: bool,
    checkpoint_seconds: float,
) -> dict[int, Run]:
    """Runs by seed: replicas of one experiment at `epochs`, those that stand at the same step taken on as one program.

    Raises Diverged once all that go on beside the diverged one have left a checkpoint.
    """
    # What is there is loaded without a lock.
    missing = [r for r in group if not _resume(r, [epochs], report=False)]
    with ExitStack() as locks:
        for replica in sorted(missing, key=lambda r: r.run.seed):  # one order: no deadlock
            folder = store.run_folder(replica.run.experiment, replica.run.seed)
            locks.enter_context(store.locked(folder))
        for replica in missing:
            _resume(replica, range(epochs, 0, -1) if epochs >= 1 else [epochs])
            if epochs >= 1:
                _resume_within(replica, epochs)
        missing.sort(key=Replica.place)
        for (start, _), level in groupby(missing, key=Replica.place):
            if start < epochs:
                _train(list(level), dataset, epochs, quiet, checkpoint_seconds)
    return {replica.run.seed: replica.run for replica in group}


@dataclass
class Replica:
    """A run in training: with its descent and, inside an epoch, where it stands there (`Program.standing`)."""

    run: Run
    descent: Descent
    here: dict[str, Any]  # the provenance of this process, whoever began the run
    bfloat16: bool = False  # whether hidden layers multiply in bfloat16 here
    average: AveragedModel | None = None  # where the experiment averages weights
    standing: dict[str, Tensor] | None = None

    def place(self) -> tuple[int, int]:
        """Whole epochs, and steps of the next one."""
        return self.run.epochs, int(self.standing["position"]) if self.standing else 0


def _replica(
    experiment: Experiment, dataset: Dataset, seed: int, device: torch.device, bfloat16: bool
) -> Replica:
    model, descent = build(experiment, dataset.dim, dataset.classes, seed, device)
    # Before replicates share memory, which a copy would copy as a whole.
    average = None if experiment.average_after is None else AveragedModel(model, use_buffers=True)
    provenance = store.provenance(str(device), torch.get_num_threads())
    if bfloat16:
        provenance["products"] = "bfloat16"
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        provenance["products"] = "TF32"  # which older GPUs do not have
    run = Run(experiment, seed, 0, model, {}, provenance)
    return Replica(run, descent, provenance, bfloat16, average)


def build(
    experiment: Experiment, pixels: int, classes: int, seed: int, device: torch.device
) -> tuple[Model, Descent]:
    """A new model of replicate `seed` on `device`, and its descent. The initial weights are equal on all devices."""
    initial = epoch_generator(seed, 0, torch.device("cpu"))
    model = MODELS[experiment.method](experiment, pixels, classes, initial).to(device)
    return model, Descent(model)


def _train(
    replicas: Sequence[Replica],
    dataset: Dataset,
    epochs: float,
    quiet: bool,
    checkpoint_seconds: float,
) -> None:
    """Take runs that stand at one step to `epochs`, as one program, with checkpoints now and then and at the end.

    Raises Stopped, once it has left one, at SIGTERM.
    """
    runs = [replica.run for replica in replicas]
    experiment = runs[0].experiment
    program = _program(replicas, dataset)
    device = program.device
    if device.type == "cuda":  # else the most of an earlier run in this process would be this one's
        torch.cuda.reset_peak_memory_stats(device)

    saved = ended = started = time.monotonic()  # `ended`: the last checkpoint at an epoch's end
    spent = [run.provenance.get("wall_seconds", 0.0) for run in runs]
    held = [run.provenance.get("peak_memory_gib", 0.0) for run in runs]
    done, first_step = replicas[0].place()
    seeds = ", ".join(str(run.seed) for run in runs)
    name = f"{experiment.name} seed{'s' * (len(runs) > 1)} {seeds}"
    updates = math.ceil(min(epochs, 1) * program.updates)  # of one epoch
    last = math.ceil(epochs)

    def account() -> None:
        took = (time.monotonic() - started) / len(runs)  # each one's share
        for run, before, most in zip(runs, spent, held, strict=True):
            run.provenance |= {
                "wall_seconds": round(before + took, 3),
                "peak_memory_gib": max(most, peak_memory_gib(device)),
                "together": len(runs),
            }

    bar = tqdm(
        total=last * updates, initial=done * updates + first_step, disable=quiet, unit="step"
    )
    # A scheduler that wants its machine back sends SIGTERM, and waits a little.
    asked: list[int] = []  # empty until then
    with bar, on_sigterm(lambda number, _: asked.append(number)):
        for epoch in range(done + 1, last + 1):
            bar.set_description(f"{name} epoch {epoch}/{epochs:g}")
            program.start(epoch)
            if first_step:
                program.go_on([replica.standing for replica in replicas])
            for _ in range(first_step, updates):
                program.advance()
                bar.update()
                if asked or time.monotonic() - saved > checkpoint_seconds:
                    account()
                    if epochs >= 1:  # a share of an epoch begins again
                        _save_within(replicas, program)
                    saved = time.monotonic()
                    if asked:
                        raise Stopped(
                            f"{name} was stopped in epoch {epoch}; the same command goes on."
                        )
            first_step = 0
            costs = program.costs()
            account()
            diverged: dict[int, list[str]] = {}
            for replica, values in zip(replicas, costs, strict=True):
                values |= _measured(replica, program.images[0], epoch)
                if bad := [name for name, value in values.items() if not math.isfinite(value)]:
                    diverged[replica.run.seed] = bad
                else:
                    _record(replica.run, min(epoch, epochs), values)
            due = time.monotonic() - ended > checkpoint_seconds
            if due or diverged or epoch in (last, *store.KEPT_EPOCHS):
                _save([r for r in replicas if r.run.seed not in diverged])
                saved = ended = time.monotonic()
            if diverged:
                raise _divergence(experiment, epoch, diverged)
            now = {k: fmean(run.history[k][-1] for run in runs) for k in runs[0].history}
            bar.set_postfix({k: f"{v:.3g}" for k, v in now.items() if k != "epoch"})
        if asked:  # after the last step: what comes after this run must not begin
            raise Stopped(f"{name} is done and was asked to stop; the same command goes on.")


def _program(replicas: Sequence[Replica], dataset: Dataset) -> Program:
    """The program that takes `replicas` on. A new one gets its images' statistics, another a note of who goes on."""
    runs = [replica.run for replica in replicas]
    experiment = runs[0].experiment
    for replica in replicas:
        if replica.place() > (0, 0):
            before = replica.run.provenance.get("continued", [])
            so_far = {"after_seconds": replica.run.provenance.get("wall_seconds", 0.0)}
            replica.run.provenance["continued"] = [*before, replica.here | so_far]
        elif experiment.standardise:
            mean, deviation = dataset.train.statistics
            replica.run.model.mean.copy_(torch.from_numpy(mean))
            replica.run.model.deviation.copy_(torch.from_numpy(deviation))
    device = next(runs[0].model.parameters()).device
    first = Images.of(dataset, experiment, runs[0].seed, device)
    images = [first, *(first.with_labels(dataset, experiment, run.seed) for run in runs[1:])]
    descents = [replica.descent for replica in replicas]
    models, seeds = [run.model for run in runs], [run.seed for run in runs]
    return Program(models, descents, images, seeds, replicas[0].bfloat16)


def _measured(replica: Replica, images: Images, epoch: int) -> dict[str, float]:
    """Errors at the end of `epoch`; those of averaged weights too, where the experiment averages them."""
    values = evaluate(replica.run.model, images)
    if replica.average is not None:
        if epoch > replica.run.experiment.average_after:
            replica.average.update_parameters(replica.run.model)
        some = replica.average.n_averaged > 0  # until there are, the model as it is
        averaged = evaluate(replica.average.module if some else replica.run.model, images)
        values |= {f"averaged {name}": error for name, error in averaged.items()}
    return values


def _divergence(experiment: Experiment, epoch: int, bad: dict[int, list[str]]) -> Diverged:
    """What to raise when costs or errors, by seed, are no longer finite."""
    which = "; ".join(
        f"seed {seed} diverged in epoch {epoch}: {', '.join(names)} is not finite"
        for seed, names in bad.items()
    )
    return Diverged(
        f"{experiment.name} {which}. Earlier checkpoints stay in "
        f"{store.run_folder(experiment, min(bad)).parent}; try a lower learning rate.",
        bad,
    )


@torch.no_grad()
def evaluate(model: Model, images: Images) -> dict[str, float]:
    """Error in % on validation and test images, where the experiment has a categorical code.

    Where it learns from labels the code is the class; else a cluster, which validation images name. Paper: §6.
    """
    y = labels_code(model.experiment)
    if y is None:
        return {}
    labels = {"validation": images.validation_labels, "test": images.test_labels}
    q = {part: codes_of(model, getattr(images, part))[y] for part in labels}
    names = cluster_names(q["validation"], labels["validation"])
    if model.experiment.supervised:
        names = torch.arange(len(names), device=names.device)
    return {f"{part} error": cluster_error(q[part], labels[part], names) for part in labels}


@torch.no_grad()
def codes_of(model: Model, pixels: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
    """Codes, by name, of uint8 images (n, pixels), computed in blocks; a sample where a generator is given."""
    model.eval()
    blocks = [model.encode(scale(part), generator) for part in pixels.split(1000)]
    return {name: torch.cat([codes[name] for codes in blocks]) for name in blocks[0]}


def _record(run: Run, epoch: float, values: dict[str, float]) -> None:
    for name, value in {"epoch": epoch, **values}.items():
        run.history.setdefault(name, []).append(value)
    run.epochs = epoch


def _contents(replica: Replica) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint."""
    run = replica.run
    tensors = {f"model/{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"optimiser/{k}": v for k, v in replica.descent.state().items()}
    if replica.average is not None:
        tensors |= {f"average/{k}": v for k, v in replica.average.state_dict().items()}
    return tensors, {
        "experiment": run.experiment.describe(),
        "seed": run.seed,
        "epoch": run.epochs,
        "history": run.history,
        "provenance": run.provenance,
    }


def _save(replicas: Sequence[Replica]) -> None:
    """Write checkpoints, all or none, then drop what they continue, unless that is one to keep.

    So a kill while they are written leaves those of one program at one place, from where they go on as one.
    """
    runs = [replica.run for replica in replicas]
    paths = [store.checkpoint_path(run.experiment, run.seed, run.epochs) for run in runs]
    store.save_together((p, *_contents(r)) for p, r in zip(paths, replicas, strict=True))
    for run in runs:
        kept = {*store.KEPT_EPOCHS, run.experiment.quick, run.experiment.epochs}
        for epoch, path in store.checkpoints(run.experiment, run.seed).items():
            if epoch < run.epochs and epoch not in kept:
                path.unlink(missing_ok=True)
        _drop_withins(run)


def _save_within(replicas: Sequence[Replica], program: Program) -> None:
    """Write, all or none, what it takes to go on inside an epoch, in the place of what was left there before."""

    def contents(i: int, replica: Replica) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
        run = replica.run
        tensors, metadata = _contents(replica)
        tensors |= {f"standing/{name}": tensor for name, tensor in program.standing(i).items()}
        return store.within_path(run.experiment, run.seed, run.epochs), tensors, metadata

    store.save_together(contents(i, replica) for i, replica in enumerate(replicas))
    for replica in replicas:
        _drop_withins(replica.run)


def _drop_withins(run: Run) -> None:
    """Drop what was left inside epochs that the run has behind it."""
    for epoch, path in store.withins(run.experiment, run.seed).items():
        if epoch < run.epochs:
            path.unlink(missing_ok=True)


def _resume(replica: Replica, epochs: Sequence[float], report: bool = True) -> bool:
    """Bring the run to the first of `epochs` with a sound checkpoint; whether there is one. `report` names others."""
    found = store.checkpoints(replica.run.experiment, replica.run.seed)
    return any(epoch in found and _loaded(replica, found[epoch], epoch, report) for epoch in epochs)


def _resume_within(replica: Replica, epochs: int) -> None:
    """Bring the run further, to where it was stopped inside an epoch before the end of `epochs`, if it was."""
    run = replica.run
    for epoch, path in reversed(store.withins(run.experiment, run.seed).items()):
        if run.epochs <= epoch < epochs and _loaded(replica, path, epoch, report=True):
            break


def _shapes(tensors: dict[str, Tensor]) -> dict[str, Size]:
    """Shapes of a checkpoint's tensors, but of those with which to go on inside an epoch."""
    return {k: v.shape for k, v in tensors.items() if not k.startswith("standing/")}


def _loaded(replica: Replica, path: Path, epoch: float, report: bool) -> bool:
    """Whether `path` is a sound checkpoint of this run after `epoch` epochs; then it is loaded."""
    run = replica.run
    try:
        tensors, metadata = store.load(path)
        expected = (run.experiment.describe(), run.seed, epoch)
        if tuple(metadata.get(k) for k in ("experiment", "seed", "epoch")) != expected:
            raise UserError(f"{path} belongs to another run.")
        if _shapes(tensors) != _shapes(_contents(replica)[0]):
            raise UserError(f"{path} holds another model's tensors.")
        here = Generator(next(run.model.parameters()).device).get_state()
        if tensors.get("standing/generator", here).shape != here.shape:
            raise UserError(f"{path} was left inside an epoch on another kind of device.")
    except UserError as error:
        if report:
            print(f"warning: {error} It is made again.", file=sys.stderr)
        return False
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        part, name = key.split("/", 1)
        parts[part][name] = tensor
    run.model.load_state_dict(parts["model"])
    replica.descent.load_state(parts["optimiser"])
    if replica.average is not None:
        replica.average.load_state_dict(parts["average"])
    replica.standing = parts["standing"] or None
    run.epochs, run.history = epoch, metadata["history"]
    run.provenance = metadata["provenance"]
    return True


def choose_device(name: str = "auto") -> str:
    """`auto`: the GPU where there is one, else the CPU. Raises UserError for a device that is not here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    gpus = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    valid = ["auto", "cpu", *(gpus if torch.cuda.is_available() else [])]
    if name not in valid:
        raise UserError(f"device '{name}' cannot be used here; {suggest(name, valid)}")
    return name


def made_ready(device: str) -> torch.device:
    """The device, set to how this library computes on it."""
    target = torch.device(device)
    if target.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True  # the GPU's fast products
        # of those in bfloat16 too, the sums are float32
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return target


def require_bfloat16(device: torch.device) -> None:
    """Raise UserError for a device that would only imitate products in bfloat16, at many times their cost."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            has = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch does not say
        has = any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    if not has:
        raise UserError(
            f"{device} has no products in bfloat16 and would be slower by imitating them; train without --bfloat16."
        )


def require_gpu(profile: Profile, device: str, allow_cpu: bool = False) -> None:
    """Refuse to start the paper profile on a CPU, where it takes weeks. Raises UserError unless allowed."""
    if profile.name == "paper" and not allow_cpu and not choose_device(device).startswith("cuda"):
        raise UserError(
            "the paper profile needs a GPU and none is in use; choose the profile standard, or insist: "
            "aae train --allow-cpu, make book ALLOW_CPU=1, allow_cpu = True in a notebook."
        )


def seconds_per_epoch(experiment: Experiment, device: str, pixels: int = 784) -> float:
    """Seconds that one epoch of 50 000 images would take here, evaluation aside, from a few steps on random images."""
    target, size, timed = made_ready(device), experiment.batch_size, 7
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (20 * size, pixels, 1), dtype=np.uint8)
    split = Split(images, (np.arange(len(images)) % 10).astype(np.uint8))
    dataset = Dataset("noise", "", "", split, split, split, classes=10)
    model, descent = build(experiment, dataset.dim, dataset.classes, 0, target)
    program = Program([model], [descent], [Images.of(dataset, experiment, 0, target)], [0])
    program.start(epoch=experiment.pretraining + 1)  # where a model of two stages spends its time
    for done in range(WARM_UP + 1 + timed):
        if done == WARM_UP + 1:
            program.costs()  # waits for the device
            started = time.perf_counter()
        program.advance()
    program.costs()
    return (time.perf_counter() - started) / timed * 50_000 / size


def peak_memory_gib(device: torch.device) -> float:
    """The most memory in GiB that this process has held: on the GPU if it trains there, else in all."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    with suppress(OSError, StopIteration):  # Linux; its ru_maxrss would count what the parent held
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(line for line in status if line.startswith("VmHWM"))
        return round(int(peak.split()[1]) / 2**20, 2)
    unit = 2**20 if sys.platform != "darwin" else 2**30
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 2)
