"""Configurations: their hash, their schedule, the profiles that cut it."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, replace

import pytest

from aae_lib import claims, experiments
from aae_lib.cli import parse_seeds
from aae_lib.config import MATHEMATICS, PROFILES, Code, Experiment, Rates, labels_code, profile
from aae_lib.errors import UserError
from aae_lib.priors import Categorical, Gaussian, GaussianMixture, SwissRoll
from aae_lib.store import KEPT_EPOCHS, checkpoint_path

EXPERIMENTS = experiments.EXPERIMENTS


def test_a_run_keeps_the_ends_of_profiles_and_the_epochs_that_a_2_prints() -> None:
    ends = {PROFILES[name].epochs for name in ("quick", "standard")}
    printed = {claim.epochs for claim in claims.load() if claim.id.startswith("a2.")}
    assert set(KEPT_EPOCHS) == (ends | printed) - {5000}  # where a run ends, and all of it is kept


def test_every_configuration_has_a_hash_of_its_own() -> None:
    hashes = [e.hash for e in EXPERIMENTS.values()]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 999},
        {"adversarial": None},
        {"reconstruction": Rates(0.01, 0.8)},
        {"labels": 99},
        {"data": "digits@0123456789ab"},
        {"codes": (EXPERIMENTS["mnist_100"].codes[0], Code("z", Gaussian(11)))},
    ],
)
def test_what_changes_the_mathematics_changes_the_hash(change: dict) -> None:
    base = EXPERIMENTS["mnist_100"]
    assert replace(base, **change).hash != base.hash


def test_equal_configurations_have_one_hash() -> None:
    """A whole number is the float that it equals; of labels, where 1 is one image and 1.0 all, it is not."""
    base = EXPERIMENTS["mnist_100"]
    whole = {
        "balance": 1,
        "adversarial": Rates(1, 0),
        "codes": (base.codes[0], Code("z", Gaussian(10, 5))),
    }
    floats = {
        "balance": 1.0,
        "adversarial": Rates(1.0, 0.0),
        "codes": (base.codes[0], Code("z", Gaussian(10, 5.0))),
    }
    assert replace(base, **whole).hash == replace(base, **floats).hash
    staged = EXPERIMENTS["table1_gmmn"]
    assert replace(staged, bandwidths=(1, 2)).hash == replace(staged, bandwidths=(1.0, 2.0)).hash
    assert replace(base, labels=1).hash != replace(base, labels=1.0).hash
    assert type(staged.quick) is int  # a number of epochs stays whole


def test_where_the_paper_says_it_does_not_change_the_hash() -> None:
    base = EXPERIMENTS["mnist_100"]
    assert replace(base, paper="elsewhere").hash == base.hash


def test_hashes_of_published_runs_still_name_the_same_configuration() -> None:
    assert EXPERIMENTS["mnist_100"].hash == "68bc9ec9899a"
    assert EXPERIMENTS["fig2_gaussian"].hash == "a49b910dce5e"


DEFAULTS = {
    Experiment: {
        "method": "aae",
        "posterior": "deterministic",
        "noise_dim": 10,
        "hidden": 1000,
        "layers": 2,
        "output": "sigmoid",
        "standardise": False,
        "batch_norm": "none",
        "batch_norm_after": False,
        "batch_norm_learned": True,
        "temperature": 1.0,
        "init_std": 0.01,
        "combine": "concatenate",
        "head_distance": None,
        "head_scale": None,
        "decoder_label": False,
        "discriminator_label": False,
        "labels": None,
        "labelled_share": None,
        "reconstruction": Rates(0.01, 0.9, "sgd"),
        "adversarial": Rates(0.1, 0.1, "sgd"),
        "supervised": None,
        "balance": 0.0,
        "likelihood": "gaussian",
        "input_noise": 0.0,
        "input_dropout": 0.0,
        "hidden_dropout": 0.0,
        "discriminator_noise": 0.0,
        "matching": None,
        "matching_layers": (),
        "code_dim": 32,
        "bandwidths": (),
        "pretraining": 0,
        "batch_size": 100,
        "epochs": 5000,
        "milestones": (50, 1000),
        "decay": 0.1,
        "average_after": None,
        "data": "mnist",
    },
    Rates: {"optimiser": "sgd"},
    Gaussian: {"std": 1.0},
    GaussianMixture: {"parts": 10, "radius": 1.4, "std_along": 0.5, "std_across": 0.05},
    SwissRoll: {"parts": 10, "radius": 3.0, "turns": 2.0, "std": 0.1},
}


def test_a_default_stays_what_it_was_when_runs_were_named() -> None:
    """No hash holds a default: whoever changes one loads old weights as new, unless config.MATHEMATICS is raised."""
    now = {
        kind: {
            f.name: f.default
            for f in fields(kind)
            if f.default is not MISSING and f.metadata.get("hashed", True)
        }
        for kind in DEFAULTS
    }
    assert (MATHEMATICS, now) == (1, DEFAULTS)


def test_the_paper_s_rates_and_steps() -> None:
    e = EXPERIMENTS["mnist_100"]
    assert (e.reconstruction, e.adversarial, e.supervised) == (
        Rates(0.01, 0.9),
        Rates(0.1, 0.1),
        Rates(0.1, 0.9),
    )
    factors = [e.rate_factor(epoch) for epoch in (1, 50, 51, 1000, 1001, 5000)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert (e.hidden, e.layers, e.batch_size, e.epochs) == (1000, 2, 100, 5000)
    assert (e.input_noise, e.batch_norm, e.init_std) == (0.3, "none", 0.01)


def test_profiles_are_prefixes_of_one_schedule() -> None:
    e = EXPERIMENTS["mnist_100"]
    assert [PROFILES[p].epochs_of(e) for p in ("quick", "standard", "paper")] == [1, 50, 5000]
    short = replace(e, epochs=10)
    assert PROFILES["standard"].epochs_of(short) == 10
    large = EXPERIMENTS["clusters_16"]
    epochs = [PROFILES[p].epochs_of(large) for p in ("smoke", "quick", "standard", "paper")]
    assert epochs == [0.05, 0.05, 50, 1500]
    staged = EXPERIMENTS["table1_gmmn"]
    epochs = [PROFILES[p].epochs_of(staged) for p in ("smoke", "quick", "standard", "paper")]
    assert epochs == [4, 4, 50, 802]
    assert staged.quick > staged.pretraining  # so that there is something to sample from
    paths = {checkpoint_path(e, 0, n).parent for n in (1, 50, 5000)}
    assert len(paths) == 1


def test_smoke_images_are_a_data_set_of_their_own(digits_archive) -> None:
    e = EXPERIMENTS["mnist_100"]
    assert PROFILES["quick"].experiment_on(e, "mnist") == e
    quick = PROFILES["quick"].experiment_on(e, str(digits_archive))
    smoke = PROFILES["smoke"].experiment_on(e, str(digits_archive))
    assert len({e.hash, quick.hash, smoke.hash}) == 3
    assert quick.data.startswith("digits@")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("fig2_gaussian", {"posterior": "gausian"}, "did you mean 'gaussian'"),
        ("mnist_100", {"labels": None}, "supervised needs a categorical code and labels"),
        ("fig2_gaussian", {"supervised": Rates(0.1, 0.9), "labels": 100}, "categorical code"),
        (
            "fig11_a",
            {"codes": (*EXPERIMENTS["fig11_a"].codes, Code("w", Gaussian(2)))},
            "needs two codes, a categorical y and a z",
        ),
        ("fig2_gaussian", {"combine": "sum"}, "needs two codes, a categorical y and a z"),
        ("fig2_gaussian", {"balance": 1.0}, "balance needs a categorical code and an adversary"),
        ("nn_100", {"balance": 1.0}, "balance needs a categorical code and an adversary"),
        ("clusters_16", {"temperature": 0.0}, "temperature must be above 0"),
        ("mnist_100", {"batch_norm_learned": False}, "needs batch norm in the heads"),
        ("fig2_gaussian", {"average_after": 3}, "average_after needs a classifier"),
        ("svhn_1000", {"average_after": 3}, "average_after needs .* without batch norm"),
        ("mnist_100", {"standardise": True}, "standardise needs .* a linear output"),
        (
            "table1_gan",
            {"standardise": True, "output": "linear"},
            "needs an adversarial autoencoder",
        ),
        ("mnist_100", {"discriminator_label": True}, "priors that say what each label draws"),
        ("fig4_mixture", {"labels": "all"}, "labelled_share must lie between 0 and 1"),
        ("fig4_mixture", {"labelled_share": 0.001}, "images of both kinds in a mini-batch"),
        ("fig4_mixture", {"labelled_share": 1.0}, "labelled_share must lie between 0 and 1"),
        ("fig2_gaussian", {"labelled_share": 0.5}, "needs labels of some images"),
        ("fig2_gaussian", {"method": "vae"}, "a VAE needs a Gaussian posterior"),
        ("fig2_vae_gaussian", {"codes": (Code("z", SwissRoll()),)}, "prior has a density"),
        ("table1_gan", {"reconstruction": Rates(0.01, 0.9)}, "nothing to reconstruct"),
        ("table1_gan", {"adversarial": None}, "a GAN needs one code z, an adversary"),
        ("table1_gmmn", {"bandwidths": (1.0, 0.0)}, "bandwidths above 0"),
        ("table1_gmmn", {"pretraining": 0}, "pretraining if it has an autoencoder"),
        ("table1_gmmn", {"reconstruction": None}, "pretraining if it has an autoencoder"),
        ("table1_gmmn", {"matching_layers": ()}, "matching rates and layers"),
        ("table1_gmmn", {"matching": None}, "matching rates and layers"),
        ("table1_gan", {"output": "linear"}, "a GAN's and a GMMN's output is a sigmoid"),
        ("table1_gmmn", {"output": "linear", "likelihood": "gaussian"}, "a GMMN's output is"),
        ("table1_gmmn", {"batch_norm": "hidden"}, "a GMMN has no batch norm"),
        ("fig2_vae_gaussian", {"discriminator_label": True}, "label needs an adversary"),
        *(
            ("mnist_100", {"name": name}, "a name has 1 to 60 printable characters")
            for name in ("", "../mine", "a\\b", ".mine", "x" * 61, "two\nlines")
        ),
        *(
            (
                name,
                {field: value},
                "a deterministic code, no noise but dropout, and look at no label",
            )
            for name in ("table1_gan", "table1_gmmn")
            for field, value in (
                ("posterior", "gaussian"),
                ("input_noise", 0.3),
                ("decoder_label", True),
                ("labels", 100),
            )
        ),
        ("table1_gan", {"discriminator_noise": 0.3}, "no noise but dropout"),
        (
            "table1_gan",
            {"discriminator_label": True, "labels": 100},
            "look at no label",
        ),
        ("fig2_gaussian", {"pretraining": 1}, "pretraining are of a GMMN"),
        ("fig11_a", {"reconstruction": None}, "and a reconstruction"),
        ("mnist_100", {"head_distance": 1.0}, "need combine='sum'"),
        ("table1_gan", {"hidden": 4}, "at least 5 hidden units"),
        ("mnist_100", {"hidden": 0}, "must be at least 1"),
        ("mnist_100", {"layers": 0}, "must be at least 1"),
        ("mnist_100", {"batch_size": 0}, "must be at least 1"),
        ("mnist_100", {"input_dropout": 1.5}, "at least 0 and below 1"),
        ("mnist_100", {"input_noise": -0.1}, "noise must be at least 0"),
        ("mnist_100", {"labels": "100"}, "labels must be int .* not '100'"),
        ("mnist_100", {"labels": 1.5}, "labels must be a number"),
        ("fig2_gaussian", {"reconstruction": None, "adversarial": None}, "no cost to lower"),
        ("mnist_100", {"reconstruction": 0.1}, r"reconstruction must be Rates \| None, not 0.1"),
        ("mnist_100", {"input_dropout": None}, "input_dropout must be float, not None"),
        ("mnist_100", {"hidden": True}, "hidden must be int, not True"),
        ("mnist_100", {"milestones": 35}, "milestones must be tuple.* not 35"),
        ("mnist_100", {"codes": Code("z", Gaussian(2))}, "codes must be tuple"),
        ("mnist_100", {"codes": (Code("z", Gaussian(2)),) * 2}, "a name of its own"),
        ("mnist_100", {"init_std": -1.0}, "a standard deviation above 0"),
        ("mnist_100", {"init_std": 0.0}, "a standard deviation above 0"),
        ("mnist_100", {"balance": -1.0}, "balance must be at least 0"),
        ("mnist_100", {"average_after": -1}, "average_after must be at least 0"),
        ("fig2_gaussian", {"temperature": 0.5}, "temperature needs a categorical code"),
        ("nn_100", {"discriminator_noise": 0.3}, "discriminator_noise needs an adversary"),
        ("fig11_a", {"head_scale": 10.0}, "head_scale for heads that are not"),
        *(
            (
                "fig11_d",
                {"codes": (Code("y", Categorical(dim)), Code("z", prior))},
                "as many dimensions as",
            )
            for dim, prior in ((20, Gaussian(2)), (2, SwissRoll()))
        ),
        ("mnist_100", {"likelihood": "bernoulli"}, "bernoulli likelihood needs a VAE or a GMMN"),
        ("fig2_vae_gaussian", {"likelihood": "bernoulli", "output": "linear"}, "a sigmoid output"),
        ("table1_gmmn", {"adversarial": Rates(0.1, 0.1)}, "a GMMN needs one code z, no adversary"),
        (
            "table1_gan",
            {"codes": (Code("z", Categorical(10)),), "labels": 100, "supervised": Rates(0.1, 0.9)},
            "supervised is for an autoencoder",
        ),
        ("nn_100", {"hidden_dropout": 1.0}, "at least 0 and below 1"),
        ("fig2_gaussian", {"discriminator_noise": -0.1}, "noise must be at least 0"),
        ("mnist_100", {"head_scale": 10.0}, "need combine='sum'"),
        ("fig2_gaussian", {"codes": ()}, "there must be a code"),
        ("fig2_gaussian", {"codes": (Code("a.b", Gaussian(2)),)}, "named by an identifier"),
        ("fig2_gaussian", {"codes": (Code("z", Gaussian(0)),)}, "a prior must be above 0"),
        ("fig2_gaussian", {"codes": (Code("z", Gaussian(2, std=0)),)}, "a prior must be above 0"),
        ("fig2_gaussian", {"codes": (Code("z", Gaussian("2")),)}, "z: dim must be int, not '2'"),
        ("fig2_gaussian", {"codes": (Code("z", "gaussian"),)}, "z: prior must be Prior, not 'gau"),
        ("fig2_gaussian", {"codes": (Code(3, Gaussian(2)),)}, "3: name must be str, not 3"),
        ("fig2_gaussian", {"noise_dim": -30}, "noise_dim and code_dim must be at least 1"),
        ("clusters_16", {"batch_size": 1}, "mini-batches of at least 2"),
        ("mnist_100", {"input_noise": math.nan}, "input_noise must be float, not nan"),
        ("mnist_100", {"input_noise": 10**400}, "input_noise must be float, not 1000"),
        ("mnist_100", {"decay": -1.0}, "decay must be at least 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_when_it_is_written(name, changes, message) -> None:
    with pytest.raises(UserError, match=message):
        replace(EXPERIMENTS[name], **changes)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ((0.01, 0.9, "SGD"), "unknown optimiser 'SGD'; Valid: sgd, adam"),
        ((-0.01, 0.9), "a learning rate above 0"),
        ((0.0, 0.9), "a learning rate above 0"),
        ((0.01, 1.0), "a momentum of at least 0 and below 1"),
        (("0.01", 0.9), "learning_rate must be float, not '0.01'"),
        ((math.inf, 0.9), "learning_rate must be float, not inf"),
    ],
)
def test_rates_that_would_not_descend_are_refused(rates: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Rates(*rates)


@pytest.mark.parametrize("name", ["fig4_mixture", "fig4_swiss_roll"])
def test_a_prior_with_labels_has_a_part_for_each_class(name: str, digits) -> None:
    experiment = EXPERIMENTS[name]
    few = experiment.on(replace(digits, classes=7))
    assert few.code("z").prior == replace(experiment.code("z").prior, parts=7)
    plain = replace(experiment, codes=(Code("z", Gaussian(2)),))
    assert plain.with_classes(7) == plain
    many = replace(experiment, codes=(Code("z", GaussianMixture(parts=12)),))
    assert many.on(digits).code("z").prior.parts == digits.classes


def test_cluster_heads_10_i_have_a_dimension_for_each_class(digits) -> None:
    few = EXPERIMENTS["fig11_d"].on(replace(digits, classes=7))
    assert [code.prior.dim for code in few.codes] == [7, 7]
    free = EXPERIMENTS["fig11_a"].on(replace(digits, classes=7))
    assert [code.prior.dim for code in free.codes] == [7, 2]
    assert EXPERIMENTS["fig11_c"].on(replace(digits, classes=7)).code("y").prior.dim == 20


def test_labels_code_is_the_categorical_one() -> None:
    assert labels_code(EXPERIMENTS["mnist_100"]) == "y"
    assert labels_code(EXPERIMENTS["fig2_gaussian"]) is None


@pytest.mark.parametrize(
    ("ask", "wrong", "right"),
    [
        (profile, "standart", "standard"),
        (experiments.by_name, "mnist_10", "mnist_100"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(ask, wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"'{wrong}'.*did you mean '{right}'"):
        ask(wrong)


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-3", [0, 1, 2, 3]), ("5", [5]), ("3,1-2,3", [3, 1, 2])]
)
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "0,5-3", "1,", "-2", "5-", "0-99999999", f"0-{10**19}", "1.5"]
)
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--seeds"):
        parse_seeds(text)
