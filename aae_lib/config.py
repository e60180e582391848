"""What is trained, and how far: experiments as frozen values, and the profiles that cut their schedule.

An experiment is one row of the paper: the codes with their priors, what the decoder and the discriminators
see, the rates of each cost. Its defaults are the paper's (Appendix A.2.1 unless a comment says otherwise).
Nothing here needs torch, so that the command line and Snakemake can read configurations quickly.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from aae_lib.data import Dataset, digest_of, fit_for_a_file, load, subset
from aae_lib.errors import UserError, suggest
from aae_lib.priors import Categorical, Gaussian, GaussianMixture, Prior, SwissRoll

MOST_SEEDS = 10_000
"""As many replicates, or more, are a slip of the pen, and would be a list that fills the memory."""
MOST_EPOCHS = 1_000_000
"""So many are not allowed either: the names of checkpoints have six digits."""

MATHEMATICS = 1
"""Part of every configuration hash: raise it when a default or the training procedure changes its meaning."""


def _check_types(value: Any, name: str) -> None:
    """Refuse a field that is not of the type that its annotation says. Raises UserError that names it.

    A whole number in the place of a float becomes one, so that equal configurations have one hash.
    """
    hints = get_type_hints(type(value))
    for f in fields(value):
        found, hint = getattr(value, f.name), hints[f.name]
        if _fits(found, hint):
            object.__setattr__(value, f.name, _settled(found, hint))
            continue
        if get_origin(hint) is Literal:
            close = suggest(str(found), get_args(hint))
            raise UserError(f"{name}: unknown {f.name} '{found}'; {close}")
        raise UserError(f"{name}: {f.name} must be {f.type}, not {found!r}.")


def _fits(value: Any, hint: Any) -> bool:
    """Whether `value` is what an annotation says: a float is finite, or a whole number; True is none."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(v, get_args(hint)[0]) for v in value)
    if kinds := get_args(hint):  # one of several
        return any(_fits(value, kind) for kind in kinds)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    return isinstance(value, hint)


def _settled(value: Any, hint: Any) -> Any:
    """`value` with a float for a whole number where the annotation has floats and no int."""
    if isinstance(value, tuple):
        return tuple(_settled(v, get_args(hint)[0]) for v in value)
    kinds = {hint, *get_args(hint)}
    return float(value) if type(value) is int and float in kinds and int not in kinds else value


@dataclass(frozen=True)
class Rates:
    """Gradient descent of one cost: initial learning rate and momentum (Adam: its β₁)."""

    learning_rate: float
    momentum: float
    # A.2.1: "gradient descent with momentum" for all costs
    optimiser: Literal["sgd", "adam"] = "sgd"

    def __post_init__(self) -> None:
        """Refuse what would not descend. Raises UserError that names the field."""
        _check_types(self, "Rates")
        if self.learning_rate <= 0 or not 0 <= self.momentum < 1:
            raise UserError(
                f"Rates: a learning rate above 0 and a momentum of at least 0 and below 1 are needed, not {self}."
            )


@dataclass(frozen=True)
class Code:
    """One code of the autoencoder: its name in the formulas and the prior imposed on it."""

    name: str
    prior: Prior


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One model with its training schedule. Paper: §2–§7, Appendix A."""

    name: str
    paper: str = field(metadata={"hashed": False})  # where the paper describes it
    codes: tuple[Code, ...]
    method: Literal["aae", "vae", "gan", "gmmn"] = "aae"

    # Networks
    posterior: Literal["deterministic", "gaussian", "universal"] = "deterministic"  # §2, end
    noise_dim: int = 10  # of η, for the universal approximator; the paper gives none
    hidden: int = 1000  # A.1, A.2.1: "two layers of 1000 hidden units"
    layers: int = 2
    output: Literal["sigmoid", "linear"] = "sigmoid"  # "sigmoid is better for sample visualization"
    # A.1 for faces, A.2.2: pixels less their mean over the training images, divided by their standard deviation there
    standardise: bool = False
    # "did not help" on MNIST (A.2.1); "hidden": in the encoder, but not in its heads
    batch_norm: Literal["none", "hidden", "encoder", "autoencoder"] = "none"
    batch_norm_after: bool = False  # after the ReLU in place of before it; the paper does not say
    # Whether batch norm in the heads learns a scale and a shift for each number; the paper does not say (chapter 08)
    batch_norm_learned: bool = True
    temperature: float = 1.0  # a categorical code is softmax(logits / temperature); the paper has 1
    init_std: float | None = 0.01  # A.1, for every weight; None: √(2/inputs). Biases start at zero

    # What joins the codes
    combine: Literal["concatenate", "sum"] = "concatenate"  # §5: y ⊕ z; §7: y·W_C + z
    head_distance: float | None = None  # §7: the threshold η under which cluster heads repel
    head_scale: float | None = None  # §7, Fig 11d: W_C fixed to this multiple of the identity
    decoder_label: bool = False  # §4: the decoder gets the true one-hot label
    discriminator_label: bool = False  # §2.3: the discriminator gets the label, and an 11th class
    # Labelled training examples: how many, or which share of them, or "all"; None uses none
    labels: int | float | Literal["all"] | None = None
    # §2.3: share of a mini-batch that is of labelled examples; None: mini-batches of all alike, as chance has it
    labelled_share: float | None = None

    # Costs; None switches a phase off
    reconstruction: Rates | None = Rates(0.01, 0.9)
    adversarial: Rates | None = Rates(0.1, 0.1)
    supervised: Rates | None = None  # A.2.1: Rates(0.1, 0.9)
    # Weight of KL(mean of q(y|x) over the mini-batch ‖ uniform) in the encoder's adversarial cost; the paper has none
    balance: float = 0.0
    # half the squared error, or the VAE's choice
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"

    # Regularisers of the input and, for the baseline network, of the hidden layers
    input_noise: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    # Standard deviation of noise on all that a discriminator judges; the paper has none, some public code has 0.3
    discriminator_noise: float = 0.0

    # §2.2: a moment-matching network. It is trained after the first `pretraining` epochs, which are the autoencoder's
    # alone; without a reconstruction cost there is no autoencoder, and it matches the pixels themselves.
    matching: Rates | None = None
    matching_layers: tuple[int, ...] = ()  # hidden units on the way from noise to codes
    code_dim: int = 32  # of the codes that it matches
    bandwidths: tuple[float, ...] = ()  # of the Gaussian kernels that are summed: variances
    pretraining: int = 0

    # Schedule
    batch_size: int = 100  # A.1
    epochs: int = 5000
    milestones: tuple[int, ...] = (50, 1000)  # all rates × 0.1 after these epochs
    decay: float = 0.1
    # Of the epochs after this one, weights are averaged, as they are at the end of each: beside the training, which
    # does not know of it. The paper averages none
    average_after: int | None = None
    # What the quick profile (and smoke) trains: one epoch, a share of one for networks that are too large for it,
    # or a few for a model of two stages
    quick: int | float = field(default=1, metadata={"hashed": False})

    # Data
    source: str = field(default="mnist", metadata={"hashed": False})  # what the paper trains it on
    data: str = "mnist"  # identity of the data set that it is trained on

    def __post_init__(self) -> None:
        """Refuse what cannot be trained. Raises UserError that names the field."""
        _check_types(self, self.name)
        for code in self.codes:
            _check_types(code, f"{self.name}, {code.name}")
            _check_types(code.prior, f"{self.name}, {code.name}")
        kinds = {code.name: type(code.prior) for code in self.codes}
        sizes = (self.hidden, self.layers, self.batch_size, self.epochs, *self.matching_layers)
        sizes += (self.noise_dim, self.code_dim)
        needs = {
            "a name has 1 to 60 printable characters without / or \\, the first no dot": not (
                fit_for_a_file(self.name)
            ),
            "units, layers, batch_size, epochs, noise_dim and code_dim must be at least 1": any(
                size < 1 for size in sizes
            ),
            "there must be a code, named by an identifier": (
                not kinds or not all(name.isidentifier() for name in kinds)
            ),
            "each code needs a name of its own": len(kinds) < len(self.codes),
            "what describes a prior must be above 0": any(
                value <= 0 for code in self.codes for value in vars(code.prior).values()
            ),
            "decay must be at least 0": self.decay < 0,
            "batch norm needs mini-batches of at least 2": (
                self.batch_norm != "none" and self.batch_size < 2
            ),
            "supervised is for an autoencoder": self.supervised and self.method in ("gan", "gmmn"),
            "a bernoulli likelihood needs a VAE or a GMMN, and a sigmoid output": (
                self.likelihood == "bernoulli"
                and (self.method not in ("vae", "gmmn") or self.output != "sigmoid")
            ),
            "dropout must be at least 0 and below 1": not (
                0 <= self.input_dropout < 1 and 0 <= self.hidden_dropout < 1
            ),
            "noise must be at least 0": min(self.input_noise, self.discriminator_noise) < 0,
            "initial weights need a standard deviation above 0, or None": (
                self.init_std is not None and self.init_std <= 0
            ),
            "labels must be a number of at least 1, a share between 0 and 1, 'all', or None": (
                (isinstance(self.labels, int) and self.labels < 1)
                or (isinstance(self.labels, float) and not 0 < self.labels <= 1)
            ),
            "supervised needs a categorical code and labels (a number, a share, or 'all')": self.supervised
            and (Categorical not in kinds.values() or not self.labels),
            "balance must be at least 0": self.balance < 0,
            "balance needs a categorical code and an adversary": self.balance
            and (Categorical not in kinds.values() or self.adversarial is None),
            "average_after needs a classifier without batch norm, whose statistics are not the averaged network's": (
                self.average_after is not None
                and (not self.supervised or self.batch_norm != "none")
            ),
            "average_after must be at least 0": (self.average_after or 0) < 0,
            "temperature must be above 0": self.temperature <= 0,
            "temperature needs a categorical code": self.temperature != 1
            and Categorical not in kinds.values(),
            "discriminator_noise needs an adversary": self.discriminator_noise
            and self.adversarial is None,
            "batch_norm_learned=False needs batch norm in the heads": not self.batch_norm_learned
            and self.batch_norm not in ("encoder", "autoencoder"),
            "standardise needs an adversarial autoencoder with a linear output": self.standardise
            and (self.method != "aae" or self.output != "linear"),
            "labelled_share must lie between 0 and 1, with images of both kinds in a mini-batch, "
            "and needs labels of some images but not of all": (
                self.labelled_share is not None
                and (
                    not 0 < round(self.labelled_share * self.batch_size) < self.batch_size
                    or self.labels in (None, 1.0, "all")
                )
            ),
            "combine='sum' needs two codes, a categorical y and a z, and a reconstruction": (
                self.combine == "sum"
                and (
                    kinds.get("y") is not Categorical
                    or set(kinds) != {"y", "z"}
                    or self.reconstruction is None
                )
            ),
            "head_distance and head_scale need combine='sum'": self.combine != "sum"
            and (self.head_distance, self.head_scale) != (None, None),
            "head_distance is for heads that are learned, head_scale for heads that are not": (
                None not in (self.head_distance, self.head_scale)
            ),
            "head_scale needs a prior of z that has as many dimensions as there are classes": (
                self.head_scale is not None
                and (
                    kinds.get("z") in (GaussianMixture, SwissRoll)
                    or len({code.prior.dim for code in self.codes}) > 1
                )
            ),
            "discriminator_label needs priors that say what each label draws: Gaussian, GaussianMixture or SwissRoll": (
                self.discriminator_label
                and not {Gaussian, GaussianMixture, SwissRoll}.issuperset(kinds.values())
            ),
            "a VAE needs a Gaussian posterior, one code z whose prior has a density, and no adversary": (
                self.method == "vae"
                and (
                    self.posterior != "gaussian"
                    or self.adversarial is not None
                    or list(kinds) != ["z"]
                    or not hasattr(kinds["z"], "log_prob")
                )
            ),
            "a GAN needs one code z, an adversary, at least 5 hidden units, and nothing to reconstruct": (
                self.method == "gan"
                and (
                    list(kinds) != ["z"]
                    or self.adversarial is None
                    or self.reconstruction
                    or self.hidden < 5
                )
            ),
            "a GMMN needs one code z, no adversary, matching rates and layers, bandwidths above 0, and pretraining if "
            "it has an autoencoder": (
                self.method == "gmmn"
                and (
                    list(kinds) != ["z"]
                    or self.adversarial is not None
                    or self.matching is None
                    or not self.matching_layers
                    or not self.bandwidths
                    or min(self.bandwidths) <= 0
                    or (self.pretraining > 0) != (self.reconstruction is not None)
                )
            ),
            "a GAN and a GMMN have a deterministic code, no noise but dropout, and look at no label": (
                self.method in ("gan", "gmmn")
                and (
                    self.posterior != "deterministic"
                    or self.input_noise > 0
                    or self.discriminator_noise > 0
                    or self.decoder_label
                    or self.discriminator_label
                    or self.labels is not None
                )
            ),
            "a GAN's and a GMMN's output is a sigmoid": self.method in ("gan", "gmmn")
            and self.output != "sigmoid",
            "a GMMN has no batch norm": self.method == "gmmn" and self.batch_norm != "none",
            "discriminator_label needs an adversary": self.discriminator_label
            and self.adversarial is None,
            "matching and pretraining are of a GMMN": self.method != "gmmn"
            and (self.matching or self.pretraining),
            "there is no cost to lower: give rates": not (
                self.reconstruction or self.adversarial or self.supervised or self.matching
            ),
        }
        for need, missing in needs.items():
            if missing:
                raise UserError(f"{self.name}: {need}.")

    def on(self, dataset: Dataset) -> Experiment:
        """This experiment on `dataset`: keyed by it, and with as many classes."""
        return replace(self.with_classes(dataset.classes), data=dataset.identity)

    def with_classes(self, classes: int) -> Experiment:
        """This experiment for images of `classes` classes, where it learns of classes."""

        def fitted(prior: Prior) -> Prior:
            if self.discriminator_label and isinstance(prior, GaussianMixture | SwissRoll):
                return replace(prior, parts=classes)  # a component or a stretch for each class
            # Where W_C is a multiple of the identity (§7), z has a dimension for each class too.
            follows = isinstance(prior, Categorical) or self.head_scale is not None
            if self.supervised and follows:
                return replace(prior, dim=classes)
            return prior

        return replace(self, codes=tuple(replace(c, prior=fitted(c.prior)) for c in self.codes))

    def code(self, name: str) -> Code:
        """The code called `name`. Raises KeyError if there is none."""
        return {code.name: code for code in self.codes}[name]

    @property
    def hash(self) -> str:
        """12 hex digits that name this configuration, whatever the seed.

        Only fields that differ from their default enter, so that a field added later does not
        rename the runs that do not use it.
        """
        text = json.dumps({"mathematics": MATHEMATICS, **self.describe()}, sort_keys=True)
        return digest_of(text)

    def describe(self) -> dict[str, Any]:
        """The fields that differ from their default, as plain JSON values."""
        return _plain(self)

    def rate_factor(self, epoch: int) -> float:
        """The factor on all learning rates during the `epoch`-th epoch, counted from 1. Paper: A.2.1."""
        return self.decay ** sum(epoch > milestone for milestone in self.milestones)


def _plain(value: Any) -> Any:
    """`value` as JSON values, without the fields of dataclasses that are at their default."""
    if is_dataclass(value):
        set_fields = {
            f.name: _plain(getattr(value, f.name))
            for f in fields(value)
            if f.metadata.get("hashed", True) and getattr(value, f.name) != f.default
        }
        return {"kind": type(value).__name__, **set_fields}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Profile:
    """How far along an experiment's schedule a run goes, and how many replicates there are."""

    name: str
    epochs: int | None  # None: all the paper's
    replicates: int
    images: tuple[int, int, int] | None  # at most so many for training, validation, test; None: all
    purpose: str

    def epochs_of(self, experiment: Experiment) -> float:
        """Epochs that this profile trains `experiment` for: on the short ones its `quick`, where it has a number of
        its own; else the profile's, and never more than the paper's."""
        if experiment.quick != 1 and self.name in ("smoke", "quick"):
            return experiment.quick
        return min(self.epochs or experiment.epochs, experiment.epochs)

    def dataset(self, source: str) -> Dataset:
        """The data set `source` as this profile uses it: whole, but for smoke's few images. Raises as `data.load`."""
        dataset = load(source)
        return subset(dataset, *self.images) if self.images else dataset

    def experiment_on(self, experiment: Experiment, source: str) -> Experiment:
        """`experiment` as it is keyed in the run store when trained on `source`; MNIST is not loaded for it."""
        if source == "mnist" and not self.images:
            return experiment
        return experiment.on(self.dataset(source))


PROFILES = {
    p.name: p
    for p in (
        Profile(
            "smoke", 2, 1, (2000, 200, 200), "tests: every chapter in seconds; never published"
        ),
        Profile("quick", 1, 1, None, "the whole book in minutes on two cores (the default)"),
        Profile("standard", 50, 3, None, "a day or two on two cores, minutes on a GPU"),
        Profile(
            "paper", None, 10, None, "the paper's own schedule and ten replicates; needs a GPU"
        ),
    )
}


def profile(name: str) -> Profile:
    """The profile called `name`. Raises UserError with the nearest valid name."""
    if name not in PROFILES:
        raise UserError(f"unknown profile '{name}'; {suggest(str(name), PROFILES)}")
    return PROFILES[name]


def checked_epochs(what: str, epochs: object) -> float:
    """`epochs`, a whole number as an int. Raises UserError, naming `what`, for what is no length of a run."""
    number = type(epochs) in (int, float) and abs(epochs) <= sys.float_info.max
    if not (number and 0 < epochs < MOST_EPOCHS and (epochs < 1 or epochs == int(epochs))):
        raise UserError(
            f"{what} is {epochs!r}; epochs are a whole number from 1 to fewer than {MOST_EPOCHS:,}, or a share of the "
            "first epoch, between 0 and 1."
        )
    return int(epochs) if epochs >= 1 else epochs  # 20.0 is 20


def labels_code(experiment: Experiment) -> str | None:
    """Name of the code that holds a class or cluster: the categorical one; None if there is none."""
    return next((c.name for c in experiment.codes if isinstance(c.prior, Categorical)), None)
