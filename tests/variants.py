"""Every experiment, and the paper's other kinds of model, as (experiment, changes)."""

from __future__ import annotations

from aae_lib.config import Code
from aae_lib.experiments import EXPERIMENTS
from aae_lib.priors import SwissRoll

VARIANTS = {
    **{name: (name, {}) for name in EXPERIMENTS},
    "gaussian posterior": ("mnist_100", {"posterior": "gaussian"}),
    "universal posterior": ("mnist_100", {"posterior": "universal"}),
    "label to the decoder (§4)": ("fig2_gaussian", {"decoder_label": True}),
    "label to the discriminator (§2.3)": (
        "fig2_mixture",
        {"discriminator_label": True, "labels": 10},
    ),
    "swiss roll (§2.3)": (
        "fig2_gaussian",
        {"discriminator_label": True, "labels": 10, "codes": (Code("z", SwissRoll()),)},
    ),
    "batch norm and input dropout (A.2.2, A.3)": (
        "mnist_100",
        {"batch_norm": "autoencoder", "input_dropout": 0.2},
    ),
    "sum of codes (§7)": (
        "mnist_100",
        {"combine": "sum", "head_distance": 3.0, "labels": 10},
    ),
    "fixed heads (§7)": ("mnist_100", {"combine": "sum", "head_scale": 10.0}),
    "linear output": ("fig2_gaussian", {"output": "linear"}),
}
