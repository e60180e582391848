"""The GAN and the moment-matching network: their costs against sums written out, their stages, their samples."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from materials import fit, fit_replicates, generator
from torch.nn.functional import binary_cross_entropy

from aae_lib import store
from aae_lib.baselines import gan, gmmn
from aae_lib.baselines.gan import (
    PIECES,
    GenerativeAdversarialNetwork,
    Maxout,
    discriminator_cost,
    generator_cost,
)
from aae_lib.baselines.gmmn import (
    MomentMatchingNetwork,
    kernel,
    matching_cost,
    reconstruction_cost,
    squared_mmd,
)
from aae_lib.config import Experiment
from aae_lib.draws import Recorder, Request
from aae_lib.experiments import by_name
from aae_lib.phases import Batch, Descent, alone
from aae_lib.training import MODELS, codes_of

PIXELS = 30
BANDWIDTHS = (0.5, 2.0)


def number(value: torch.Tensor) -> float:
    return value.detach().item()


def small(name: str, **changes) -> Experiment:
    if name == "table1_gmmn":
        changes = {"batch_size": 200, "matching_layers": (16, 16), **changes}
    return replace(by_name(name), hidden=20, **changes)


def build(name: str, **changes) -> GenerativeAdversarialNetwork | MomentMatchingNetwork:
    e = small(name, **changes)
    return MODELS[e.method](e, PIXELS, 10, generator())


# ---- maximum mean discrepancy


def summed(x: torch.Tensor, y: torch.Tensor, *, other_rows: bool) -> float:
    """The mean of Σ exp(−‖x − y‖² / 2σ), pair by pair; without a row and itself where `other_rows`."""
    total, pairs = 0.0, 0
    for i, a in enumerate(x.tolist()):
        for j, b in enumerate(y.tolist()):
            if not (other_rows and i == j):
                squared = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
                total += sum(math.exp(-squared / (2 * sigma)) for sigma in BANDWIDTHS)
                pairs += 1
    return total / pairs


@pytest.mark.parametrize("biased", [False, True])
def test_mmd_is_its_direct_double_sum(biased: bool, double_precision) -> None:
    x, y = torch.randn(7, 3, generator=generator()), torch.rand(5, 3, generator=generator())
    expected = (
        summed(x, x, other_rows=not biased)
        + summed(y, y, other_rows=not biased)
        - 2 * summed(x, y, other_rows=False)
    )
    found = squared_mmd(x, y, BANDWIDTHS, biased=biased)
    assert number(found) == pytest.approx(expected, rel=1e-10)


def test_the_unbiased_mmd_is_zero_on_average_for_equal_distributions_and_the_biased_one_is_not() -> (
    None
):
    draws = [torch.randn(2, 20, 3, generator=generator(seed)) for seed in range(400)]
    unbiased, biased = (
        np.array([number(squared_mmd(*pair, BANDWIDTHS, biased=b)) for pair in draws])
        for b in (False, True)
    )
    error = unbiased.std() / math.sqrt(len(draws))
    assert abs(unbiased.mean()) < 3 * error
    assert (unbiased < 0).any()  # so that it has no root
    assert biased.min() > 0
    # What the pairs of a row and itself add: k(z, z) − E k(z, z′), for each sample 1/n of it.
    within = np.mean([number(kernel(*pair, BANDWIDTHS).mean()) for pair in draws])
    excess = 2 * (len(BANDWIDTHS) - within) / 20
    assert biased.mean() == pytest.approx(excess, abs=3 * error)


def test_mmd_of_two_gaussians_is_its_closed_form() -> None:
    """E exp(−(x − y)² / 2σ) of normal x − y with mean d and variance 2 is √(σ/(σ+2)) exp(−d²/2(σ+2))."""
    shift, n = 1.5, 4000
    x, y = torch.randn(2, n, 1, generator=generator())
    found = number(squared_mmd(x, y + shift, BANDWIDTHS))
    expected = sum(
        2 * math.sqrt(s / (s + 2)) * (1 - math.exp(-(shift**2) / (2 * (s + 2)))) for s in BANDWIDTHS
    )
    assert found == pytest.approx(expected, rel=0.05)


def test_a_step_down_the_mmd_moves_a_sample_to_the_other() -> None:
    x = torch.zeros(5, 2, requires_grad=True)
    squared_mmd(x, torch.ones(6, 2), BANDWIDTHS).backward()
    assert (x.grad < 0).all()


def test_the_kernel_is_one_at_distance_zero_for_each_bandwidth() -> None:
    x = torch.rand(4, 3, generator=generator())
    k = kernel(x, x, BANDWIDTHS)
    assert torch.allclose(k.diagonal(), torch.full((4,), float(len(BANDWIDTHS))))
    assert torch.allclose(k, k.T)


# ---- the moment-matching network


def test_sizes_are_those_of_li_et_al() -> None:
    model = MomentMatchingNetwork(by_name("table1_gmmn"), 784, 10, generator())
    sizes = {n: tuple(p.shape) for n, p in model.named_parameters() if n.endswith("weight")}
    assert sizes == {
        "encoder.0.weight": (1024, 784),
        "head.weight": (32, 1024),
        "decoder.0.weight": (1024, 32),
        "output.weight": (784, 1024),
        "matcher.0.weight": (64, 10),
        "matcher.2.weight": (256, 64),
        "matcher.4.weight": (256, 256),
        "matcher.6.weight": (1024, 256),
        "matched.weight": (32, 1024),
    }


def test_the_matching_cost_is_the_root_of_the_mmd_of_codes_without_dropout() -> None:
    model, x = build("table1_gmmn").train(), torch.rand(9, PIXELS, generator=generator())
    cost = matching_cost(model, x, generator(3))
    codes, made = model.eval().encode(x)["z"], model.match(9, generator(3))
    squared = squared_mmd(made, codes, model.experiment.bandwidths, biased=True)
    assert number(cost) == pytest.approx(math.sqrt(number(squared)), rel=1e-4)


def test_the_matching_cost_stays_finite_where_rounding_makes_the_mmd_negative() -> None:
    """A matching network that has collapsed onto one code, and images that all have it."""
    model = build("table1_gmmn", bandwidths=(1e4,))
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    cost = matching_cost(model, torch.rand(50, PIXELS, generator=generator()), generator())
    assert 0 <= number(cost) < 1e-2


def test_the_autoencoder_s_dropout_needs_training_and_a_source() -> None:
    model, x = build("table1_gmmn").train(), torch.rand(9, PIXELS, generator=generator())
    plain = model.encode(x)["z"]
    source = Recorder(generator())
    model.encode(x, source)
    assert source.requests == [Request("kept", 0.2, (9, PIXELS)), Request("kept", 0.5, (9, 20))]
    assert not torch.equal(plain, model.encode(x, generator())["z"])
    assert torch.equal(plain, model.eval().encode(x, generator())["z"])


def test_the_autoencoder_s_cost_is_the_experiment_s_likelihood() -> None:
    x = torch.rand(9, PIXELS, generator=generator())
    for likelihood in ("bernoulli", "gaussian"):
        model = build("table1_gmmn", likelihood=likelihood).eval()
        p = model.decode(model.encode(x)["z"])
        expected = {
            "bernoulli": -(x * p.log() + (1 - x) * (1 - p).log()).sum(1).mean(),
            "gaussian": 0.5 * (p - x).square().sum(1).mean(),
        }[likelihood]
        assert number(reconstruction_cost(model, x, generator())) == pytest.approx(
            number(expected), rel=1e-4
        )


def test_the_autoencoder_steps_on_a_hundred_images_and_its_cost_is_the_mean() -> None:
    model, x = build("table1_gmmn").eval(), torch.rand(1000, PIXELS, generator=generator())
    descent, seen = Descent(model), []
    descent.pretraining = True
    descent.step = lambda phase, cost: seen.append((phase, number(cost)))
    found = gmmn.step(alone(model), descent, Batch(x, None, None), generator())
    parts = [number(reconstruction_cost(model, part, generator())) for part in x.split(100)]
    assert seen == [("reconstruction", pytest.approx(part)) for part in parts]
    assert number(found["reconstruction"]) == pytest.approx(sum(parts) / 10)


def test_without_an_autoencoder_the_codes_are_the_images() -> None:
    model = build("table1_gmmn", reconstruction=None, pretraining=0)
    x = torch.rand(9, PIXELS, generator=generator())
    assert torch.equal(model.encode(x)["z"], x)
    assert {n.split(".")[0] for n, _ in model.named_parameters()} == {"matcher", "matched"}
    assert model.sample(3, generator()).shape == (3, PIXELS)


def test_the_autoencoder_freezes_when_the_matching_begins(digits, runs) -> None:
    e = small("table1_gmmn", pretraining=2)
    one, two, four = (fit(e, digits, seed=0, epochs=n) for n in (1, 2, 4))
    states = [run.model.state_dict() for run in (one, two, four)]
    for name in states[0]:
        matched = name.startswith("match")
        assert torch.equal(states[0][name], states[1][name]) == matched, name
        assert torch.equal(states[1][name], states[2][name]) != matched, name
    assert {k: len(v) for k, v in four.history.items()} == {
        "epoch": 4,
        "reconstruction": 2,
        "mmd": 2,
    }
    images = torch.as_tensor(digits.test.images).flatten(1)
    assert torch.equal(codes_of(two.model, images)["z"], codes_of(four.model, images)["z"])


def test_replicates_in_company_go_through_both_stages(digits, runs) -> None:
    e = small("table1_gmmn", pretraining=1)
    together = fit_replicates(e, digits, seeds=[0, 1], epochs=3, together=True)
    for path in runs.rglob("*.safetensors"):
        path.unlink()
    fit_replicates(e, digits, seeds=[0, 1], epochs=1, together=True)
    resumed = fit_replicates(e, digits, seeds=[0, 1], epochs=3, together=True)
    for whole, parts in zip(together, resumed, strict=True):
        assert whole.history == parts.history
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, parts.model.state_dict()[name]), name
    assert set(store.checkpoints(e.on(digits), 0)) == {1, 3}


# ---- the GAN


def test_maxout_takes_the_largest_of_its_maps() -> None:
    layer, x = Maxout(4, 3), torch.randn(6, 4, generator=generator())
    weight, bias = layer.maps.weight.view(3, PIECES, 4), layer.maps.bias.view(3, PIECES)
    expected = (torch.einsum("upi,bi->bup", weight, x) + bias).max(2).values
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_the_costs_of_the_pixel_game_against_their_formula() -> None:
    model = build("table1_gan", init_std=0.5, input_dropout=0.0, hidden_dropout=0.0)
    real, fake = torch.rand(2, 8, PIXELS, generator=generator())
    p, q = model.discriminate(real).sigmoid(), model.discriminate(fake).sigmoid()
    d = -(p.log().mean() + (1 - q).log().mean())
    assert number(discriminator_cost(model, real, fake, generator())) == pytest.approx(
        number(d), rel=1e-4
    )
    assert number(generator_cost(model, fake, generator())) == pytest.approx(
        number(-q.log().mean()), rel=1e-4
    )


def test_steps_of_the_pixel_game_word_for_word(double_precision) -> None:
    """Against cross-entropies with targets 1 and 0 and torch's own Adam: twenty iterations without dropout."""
    changes = {"init_std": 0.2, "input_dropout": 0.0, "hidden_dropout": 0.0}
    ours, theirs = (build("table1_gan", **changes) for _ in range(2))
    descent, source, again = Descent(ours), generator(), generator()
    rates = theirs.experiment.adversarial
    player = {
        who: torch.optim.Adam(
            theirs.parameters_of(who).values(), rates.learning_rate, (rates.momentum, 0.999)
        )
        for who in ("discriminator", "generator")
    }

    def descend(who: str, *judged: tuple[torch.Tensor, float]) -> None:
        cost = sum(
            binary_cross_entropy(logits.sigmoid(), torch.full_like(logits, target))
            for logits, target in judged
        )
        player[who].zero_grad()
        cost.backward()
        player[who].step()

    for i in range(20):
        x = torch.rand(8, PIXELS, generator=generator(i))
        gan.step(alone(ours), descent, Batch(x, None, None), source)
        fake = theirs.generate(8, again)
        still = fake.detach()
        descend("discriminator", (theirs.discriminate(x), 1), (theirs.discriminate(still), 0))
        descend("generator", (theirs.discriminate(fake), 1))
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-9), name


def test_the_discriminator_drops_in_training_alone() -> None:
    model, x = (
        build("table1_gan", init_std=0.5).train(),
        torch.rand(9, PIXELS, generator=generator()),
    )
    source, units = Recorder(generator()), 20 // PIECES
    model.discriminate(x, source)
    hidden = [Request("kept", 0.5, (9, units))] * 2
    assert source.requests == [Request("kept", 0.2, (9, PIXELS)), *hidden]
    first, second = (model.discriminate(x, generator(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model.discriminate(x), model.discriminate(x, generator()))


def test_the_discriminator_of_the_gan_has_the_sizes_of_its_authors() -> None:
    model = GenerativeAdversarialNetwork(by_name("table1_gan"), 784, 10, generator())
    sizes = [tuple(p.shape) for p in model.discriminator.parameters() if p.ndim == 2]
    assert sizes == [(240 * 5, 784), (240 * 5, 240), (1, 240)]
    assert [tuple(p.shape) for p in model.generator.parameters() if p.ndim == 2] == [
        (1200, 100),
        (1200, 1200),
    ]
    norms = [n for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms == ["generator.1", "generator.4"]  # none in the discriminator


# ---- both


@pytest.mark.parametrize("name", ["table1_gan", "table1_gmmn"])
def test_samples_are_images_that_follow_from_the_source(name: str, digits, runs) -> None:
    run = fit(small(name), digits, seed=0, epochs=3)
    images = run.model.sample(7, generator())
    assert images.shape == (7, digits.dim)
    assert torch.equal(images, run.model.sample(7, generator()))
    assert not torch.equal(images, run.model.sample(7, generator(1)))
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert not images.requires_grad


def test_matching_brings_the_samples_nearer_to_the_images(digits, runs) -> None:
    """The MMD between samples and held-out images, in pixels, before and after some epochs of matching."""
    e = replace(small("table1_gmmn", pretraining=4), hidden=100)
    images = torch.as_tensor(digits.test.pixels())

    def distance(epochs: int) -> float:
        model = fit(e, digits, seed=0, epochs=epochs).model
        return number(squared_mmd(model.sample(200, generator()), images, (5.0, 20.0, 80.0)))

    assert distance(20) < 0.7 * distance(4)


def test_samples_of_the_gan_are_made_with_frozen_statistics():
    model = build("table1_gan", init_std=0.5).train()
    images = model.sample(7, generator())
    assert not model.training
    noise = model.experiment.code("z").prior.sample(7, generator())
    assert torch.equal(images, model.output(model.generator(noise)).sigmoid())


def test_the_discrepancy_is_of_full_precision_where_hidden_layers_are_not():
    """It is a difference of numbers that are nearly equal where codes match."""
    model, x = build("table1_gmmn"), torch.rand(50, PIXELS)
    codes = torch.rand(50, 32, generator=generator())
    made = (codes + 0.02 * torch.randn(50, 32, generator=generator())).clamp(0, 1)
    model.encode, model.match = lambda x: {"z": codes}, lambda n, source: made
    plain = float(matching_cost(model, x, generator()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(matching_cost(model, x, generator())) == pytest.approx(plain, rel=1e-4)
