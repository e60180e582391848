"""What a chapter asks of the library: its parameters checked, its runs, its results written down."""

from __future__ import annotations

import inspect
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import torch
from IPython.display import HTML, Markdown, display

from aae_lib import book, claims, data, figures, mat, pages, store
from aae_lib.config import Experiment, Profile, checked_epochs, profile
from aae_lib.errors import UNREADABLE, UserError, suggest
from aae_lib.experiments import by_name
from aae_lib.training import Run, choose_device, fit_replicates, require_gpu


@dataclass
class PublishedRun:
    """What published results tell of a run: all but its model."""

    experiment: Experiment
    seed: int
    epochs: float
    history: dict[str, list[float]]
    provenance: dict[str, Any]

    @property
    def model(self) -> NoReturn:
        """Raises UserError: a model is not published."""
        raise UserError(
            f"published results hold no model of {self.experiment.name}; train it here, with train = True."
        )


@dataclass
class Chapter:
    """One execution of one chapter: where its runs and its results meet."""

    name: str
    title: str
    profile: Profile
    seeds: list[int]
    device: str
    dataset: data.Dataset
    parameters: dict[str, Any]
    obtained: dict[str, dict[str, Any]] = field(default_factory=dict)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    namespace: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, name: str, title: str, namespace: Mapping[str, Any], also: Sequence[str] = ()
    ) -> Chapter:
        """Start chapter `name` with the parameters found in the notebook's `namespace`, `globals()`.

        `also` names the parameters that this chapter has beside those of all chapters. Raises UserError
        for an unknown or ill-typed parameter, an unknown profile, a device or data set that is not here.
        """
        known = [*book.PARAMETERS, *also]
        rerun_by_hand = any(isinstance(value, cls) for value in namespace.values())
        if not rerun_by_hand:  # which may have variables of its own
            _refuse_unknown(name, namespace, known)
        if missing := [key for key in known if key not in namespace]:
            raise UserError(
                f"{name}: there is no parameter '{missing[0]}'; put it back into the cell tagged 'parameters'."
            )
        parameters = {key: namespace[key] for key in known}
        book.refuse_ill_typed(name, parameters)
        chosen = profile(parameters["profile"])
        count = parameters["replicates"] or chosen.replicates
        require_gpu(chosen, parameters["device"], parameters["allow_cpu"])
        dataset = chosen.dataset(parameters["data"])
        seeds = list(range(parameters["seed"], parameters["seed"] + count))
        device = choose_device(parameters["device"])
        if parameters["data"] != "mnist":
            note = f" ({dataset.note.rstrip('.')})" if dataset.note else ""
            told = f"*Images of {dataset.name}{note} in the place of MNIST's, of which the paper's numbers are.*"
            display(Markdown(told))
        return cls(name, title, chosen, seeds, device, dataset, parameters, namespace=namespace)

    def train(
        self,
        experiment: str | Experiment,
        *,
        epochs: float | None = None,
        seeds: Sequence[int] | None = None,
        dataset: data.Dataset | None = None,
    ) -> list[Run] | list[PublishedRun]:
        """One run for each seed, as far as the profile goes: loaded from the store, resumed or trained.

        `epochs`, `seeds` and `dataset`, where given, take the place of the profile's and the chapter's.
        In a chapter whose parameter `train` is False nothing is trained: a run that the store does not hold
        is `published`. Raises UserError for a parameter that was changed since the chapter was opened, and as
        `training.fit_replicates` does.
        """
        self._refuse_changed()
        if isinstance(experiment, str):
            experiment = by_name(experiment)
        if epochs is None:
            epochs = self.profile.epochs_of(experiment)
        if isinstance(seeds, int):
            raise UserError(f"{experiment.name}: seeds must be a list, [{seeds}] for one of them.")
        dataset = dataset or self.dataset
        seeds = self.seeds if seeds is None else seeds
        epochs = checked_epochs(f"{experiment.name}: epochs", epochs)
        if not self.parameters.get("train", True):
            keyed = experiment.on(dataset)
            if not all(store.checkpoint_path(keyed, seed, epochs).exists() for seed in seeds):
                return self.published(experiment, epochs=epochs, seeds=seeds, dataset=dataset)
        runs = fit_replicates(experiment, dataset, seeds=seeds, epochs=epochs, device=self.device)
        for run in runs:
            run.model.cpu()  # where chapters draw and measure; the Parzen estimate takes what it needs to the device
            self._note(run)
        return runs

    def published(
        self, experiment: Experiment, *, epochs: float, seeds: Sequence[int], dataset: data.Dataset
    ) -> list[PublishedRun]:
        """The runs that `train` would make, as this chapter's published results tell of them, without their models.

        Raises UserError where they do not hold such a run: of this configuration, data, seed and number of epochs.
        """
        experiment = experiment.on(dataset)
        path = store.PUBLISHED / f"{self.name}.json"
        runs = []
        for seed in seeds:
            key = _key(experiment, seed, epochs)
            try:
                results = json.loads(path.read_bytes())
                told = next(run for run in results["runs"] if key.items() <= run.items())
                curves = results["series"][experiment.name]
                titles = [f"seed-{seed}-{mark}" for mark in (experiment.hash, told.get("started"))]
                title = next((t for t in titles if t in curves), f"seed-{seed}")  # see _note
                curve = curves[title]
                until = sum(epoch <= epochs for epoch in curve["epoch"])  # the run may have gone on
                history = {name: values[:until] for name, values in curve.items()}
            except StopIteration:
                raise UserError(
                    f"{path} holds no run of {experiment.name}, as it is configured today, with seed {seed} and "
                    f"{counted(epochs, 'epoch')}; train it here."
                ) from None
            except UNREADABLE as error:
                raise UserError(f"cannot read {path} ({error!r}); train here.") from None
            provenance = {name: value for name, value in told.items() if name not in key}
            runs.append(PublishedRun(experiment, seed, epochs, history, provenance))
            self._note(runs[-1])
        return runs

    def measure(
        self, run: Run | PublishedRun, quantity: str, function: Callable[[Run], float]
    ) -> float:
        """`function(run)`, kept in the results as this `quantity` of the run; of a PublishedRun, what those hold.

        Raises UserError where they hold no such quantity.
        """
        key = _key(run.experiment, run.seed, run.epochs)
        kept = next((told for told in self.runs if key.items() <= told.items()), {})
        measured = kept.setdefault("measured", {})
        if isinstance(run, Run):
            measured[quantity] = float(function(run))
        elif quantity not in measured:
            raise UserError(
                f"{self.name}: the published results hold no {quantity} of {run.experiment.name} with seed {run.seed}; "
                "train it here."
            )
        return measured[quantity]

    def _note(self, run: Run | PublishedRun) -> None:
        name, own, seed = run.experiment.name, run.experiment.hash, run.seed
        if name.startswith("exercise_"):  # a reader's, and no evidence
            return
        started = run.provenance.get("started")
        earlier = [r for r in self.runs if (r["experiment"], r["seed"]) == (name, seed)]
        self.runs.append({**_key(run.experiment, seed, run.epochs), **run.provenance})
        curves = self.series.setdefault(name, {})
        # A variant under the same name has a curve of its own; the same seed trained anew, say elsewhere, too.
        title = f"seed-{seed}"
        if earlier and own != earlier[0]["hash"]:
            title += f"-{own}"
        elif earlier and started != earlier[0].get("started"):
            title += f"-{started}"
        # An ablation may show a run as it was then: the whole curve stays.
        there = curves.get(title, {"epoch": []})["epoch"]
        if len(run.history["epoch"]) > len(there):
            curves[title] = {k: [round(v, 5) for v in vs] for k, vs in run.history.items()}

    def beside(self, official: str, source: str) -> data.Dataset | None:
        """The data set `source` that a chapter shows beside its own; None where that is `official` and not here.

        Raises UserError as `data.load`.
        """
        if source == official and not mat.is_here(source, data.root()):
            return None
        return self.profile.dataset(source)

    def short(self, most: int) -> float:
        """Epochs of each model of an ablation: at most `most`, and a tenth of one where the profile stops at one."""
        epochs = self.profile.epochs or most
        return 0.1 if epochs == 1 else min(most, epochs)

    def record(
        self,
        claim: str,
        values: Mapping[int, float],
        *,
        epochs: float,
        of_epochs: int,
        dataset: data.Dataset | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        """Note what was obtained for `claim`, by seed, after `epochs` of the paper's `of_epochs` epochs.

        `dataset` and `seeds` are named where it was not measured on the chapter's own; a seed without a value counts
        as one that failed. Raises UserError for a claim that the ledger does not hold.
        """
        known = [c.id for c in claims.load()]
        if claim not in known:
            raise UserError(f"{claim} is not in data/claims.toml; {suggest(claim, known)}")
        by_seed = {str(seed): float(value) for seed, value in values.items()}
        self.obtained[claim] = {"values": by_seed, "epochs": epochs, "of_epochs": of_epochs}
        if dataset is not None:
            self.obtained[claim]["data"] = _told(dataset)
        if seeds is not None:
            self.obtained[claim]["seeds"] = list(seeds)

    def finish(self) -> Path:
        """Write this execution's results as one JSON file in the profile's folder; returns its path.

        Raises UserError for a result that is not finite, for a parameter that was changed since the chapter was opened,
        and if the disk refuses.
        """
        self._refuse_changed()
        seed = f".seed-{self.seeds[0]}" if self.seeds[0] else ""
        own = "" if self.parameters["data"] == "mnist" else f".{self.dataset.identity}"
        folder = store.build_root() / "results" / self.profile.name
        path = folder / f"{self.name}{own}{seed}.json"
        text = json.dumps(self._as_json(), indent=1, allow_nan=False)
        store.write_atomically(path, text.encode() + b"\n")
        return path

    def _refuse_changed(self) -> None:
        """Results would be said to be of parameters that they are not of."""
        for key, before in self.parameters.items():
            now = self.namespace.get(key, before)
            if key == "epochs":  # to which chapter 9 gives another meaning
                continue
            if type(now) is not type(before) or now != before:
                raise UserError(
                    f"{self.name}: {key} was {before!r} when the chapter was opened, and is something else now. Put it "
                    f"back ({key} = {before!r}), or change it in the parameters' cell and run all cells from there on."
                )

    def against_the_paper(self, *places: str) -> HTML:
        """The claims whose ids begin with one of `places`: the paper's number, this run, the published evidence.

        This run is what `finish` writes, so far.
        """
        columns = {
            "This run": claims.scorecard(self.finish()),
            "Published": claims.scorecard(store.PUBLISHED),
        }
        return HTML(claims.against_the_paper(columns, places))

    def wall_time(self) -> str:
        """Time that the runs shown here took to train, in words; more than this execution if some were loaded."""
        return store.duration(sum(run["wall_seconds"] for run in pages.distinct(self.runs)))

    def machine(self) -> str:
        """What the runs shown here were trained on; without any, the processor that this execution ran on."""
        found = {
            s["hardware"]["accelerator"]
            or f"{s['hardware']['processor']} ({counted(s['threads'], 'thread')})"
            for r in self.runs or [store.provenance("cpu", torch.get_num_threads())]
            for s in pages.stages(r)
        }
        return ", ".join(sorted(found))

    def _as_json(self) -> dict[str, Any]:
        found = [o["values"] for o in self.obtained.values()]
        found += [run.get("measured", {}) for run in self.runs]
        if not all(math.isfinite(v) for values in found for v in values.values()):
            raise UserError(f"{self.name}: a result is not finite; nothing was written.")
        return {
            "schema": claims.SCHEMA,
            "chapter": self.name,
            "title": self.title,
            "profile": self.profile.name,
            "seeds": self.seeds,
            "parameters": self.parameters,
            "data": _told(self.dataset),
            "source_sha256": book.source_sha256(book.Project(), self.name),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "executed": store.provenance(self.device, torch.get_num_threads()),
            "claims": self.obtained,
            "series": self.series,
            "runs": self.runs,
        }


def _key(experiment: Experiment, seed: int, epochs: float) -> dict[str, Any]:
    """What tells a run from all others."""
    return {
        "experiment": experiment.name,
        "hash": experiment.hash,
        "seed": seed,
        "epochs": epochs,
    }


def _told(dataset: data.Dataset) -> dict[str, str]:
    return {"name": dataset.name, "digest": dataset.digest, "note": dataset.note}


def pixels(images: Any) -> torch.Tensor:
    """uint8 images (n, h, w[, 3]) as a tensor (n, pixels), as `training.codes_of` takes them."""
    return torch.as_tensor(images).flatten(1)


def source(*functions: Callable[..., Any]) -> Markdown:
    """The library's own code of `functions`, without their docstrings: never a copy that could drift."""
    parts = []
    for function in functions:
        text = textwrap.dedent(inspect.getsource(function))
        if function.__doc__:
            start = text.index('"""')
            end = text.index('"""', start + 3) + 3
            text = text[:start].rstrip() + "\n" + text[end:].lstrip("\n")
        parts.append(text.rstrip())
    return Markdown("```python\n" + "\n\n\n".join(parts) + "\n```")


def changed(experiment: str | Experiment, name: str, **changes: Any) -> Experiment:
    """A variant of `experiment` under a new name. Raises UserError for a field that there is not."""
    if isinstance(experiment, str):
        experiment = by_name(experiment)
    known = [f.name for f in fields(experiment)]
    for key in changes:
        if key not in known:
            raise UserError(f"{name}: an experiment has no field '{key}'; {suggest(key, known)}")
    return replace(experiment, name=name, **changes)


def film(frames: Any, text: str) -> HTML:
    """`figures.film`, for a cell to show."""
    return HTML(figures.film(frames, text))


def choices(parameter: str, text: str, valid: Sequence[str]) -> list[str]:
    """The comma-separated values of a text parameter, in order. Raises UserError for one not valid."""
    chosen = [part.strip() for part in str(text).split(",") if part.strip()]
    for part in chosen:
        if part not in valid:
            raise UserError(
                f"parameter {parameter}: unknown value '{part}'; {suggest(part, valid)}"
            )
    if not chosen:
        raise UserError(f"parameter {parameter} is empty; choose from {', '.join(valid)}.")
    return chosen


def counted(number: float, thing: str) -> str:
    """A number with its noun for a chapter's sentences: 1 epoch, 50 epochs, 0.1 epochs."""
    return f"{number:,g} {thing}" if number == 1 else f"{number:,g} {thing}s"


def glue(name: str, value: Any) -> None:
    """Make `value` available to the chapter's prose under `name`, so that no number there is typed.

    Only a built book shows it: a kernel without the book's packages does without.
    """
    with suppress(ImportError):
        from myst_nb import glue as put

        put(name, value, display=False)


def _refuse_unknown(name: str, namespace: Mapping[str, Any], known: Sequence[str]) -> None:
    """papermill only logs a parameter that a notebook does not have; here it stops the chapter."""
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    given = [
        key
        for key, value in namespace.items()
        if isinstance(value, plain) and not key.startswith("_") and key not in ("In", "Out")
    ]
    for key in given:
        if key not in known:
            raise UserError(
                f"{name}: unknown parameter '{key}'; {suggest(key, known)} A variable of your own has its place "
                "below this cell."
            )
