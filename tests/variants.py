"""Every kind of model of the paper, as (experiment, changes), and programs that train it a little."""

from __future__ import annotations

import torch

from aae_lib.config import Code, Experiment
from aae_lib.data import Dataset
from aae_lib.engine import Images, Program
from aae_lib.experiments import EXPERIMENTS
from aae_lib.priors import SwissRoll
from aae_lib.training import build

VARIANTS = {
    **{name: (name, {}) for name in EXPERIMENTS},
    # Small, and on these data with an epoch of the autoencoder and more of the moment-matching network.
    **{
        name: (name, {"batch_size": 200, "pretraining": 1, "matching_layers": (16, 16)})
        for name in ("table1_gmmn", "table1_tfd_gmmn")
    },
    "moment matching of pixels (§2.2)": (
        "table1_gmmn",
        {
            "batch_size": 200,
            "reconstruction": None,
            "pretraining": 0,
            "matching_layers": (16, 16),
            "bandwidths": (2.0, 80.0),
        },
    ),
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
    "batch norm after the ReLU": ("clusters_16", {"batch_norm_after": True}),
    "batch norm of the heads not learned": ("clusters_16", {"batch_norm_learned": False}),
    "batch norm not in the heads": ("clusters_16", {"batch_norm": "hidden"}),
    "temperature, balance, noise on what is judged": (
        "clusters_16",
        {"temperature": 0.5, "balance": 1.0, "discriminator_noise": 0.3},
    ),
    "balance beside labels": ("mnist_100", {"balance": 1.0}),
    "sum of codes (§7)": (
        "mnist_100",
        {"combine": "sum", "head_distance": 3.0, "labels": 10},
    ),
    "fixed heads (§7)": ("mnist_100", {"combine": "sum", "head_scale": 10.0}),
    "linear output": ("fig2_gaussian", {"output": "linear"}),
    "standardised images (A.1, A.2.2)": (
        "mnist_100",
        {"standardise": True, "output": "linear", "input_noise": 0.0, "input_dropout": 0.2},
    ),
}


def program(
    experiment: Experiment,
    dataset: Dataset,
    *seeds: int,
    device: str = "cpu",
    bfloat16: bool = False,
) -> Program:
    """A program of new replicates of `experiment`."""
    target = torch.device(device)
    built = [build(experiment, dataset.dim, dataset.classes, seed, target) for seed in seeds]
    images = [Images.of(dataset, experiment, seed, target) for seed in seeds]
    return Program(*zip(*built, strict=True), images, seeds, bfloat16)


def trained(these: Program, iterations: int) -> Program:
    """The program after so many iterations from its first epoch on."""
    for i in range(iterations):
        if i % these.updates == 0:
            these.start(epoch=i // these.updates + 1)
        these.advance()
    return these


def vector(these: Program, i: int = 0) -> torch.Tensor:
    """All that one replicate consists of: parameters and batch statistics."""
    state = these.models[i].state_dict().values()
    return torch.cat([tensor.flatten().double().cpu() for tensor in state])
