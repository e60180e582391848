"""The model: which networks a phase reaches, what is combined, what is drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from literal import Literal
from materials import generator
from torch.nn.functional import one_hot
from variants import VARIANTS

from aae_lib.baselines.vae import VariationalAutoencoder, kl_divergence
from aae_lib.config import Code, Experiment, Rates
from aae_lib.draws import Recorder, Request
from aae_lib.engine import STEPS
from aae_lib.errors import UserError
from aae_lib.experiments import by_name
from aae_lib.model import AdversarialAutoencoder, half_squared_error, head_repulsion
from aae_lib.networks import Output
from aae_lib.phases import Batch, Descent, alone, generator_costs, imbalance, step
from aae_lib.priors import Categorical, Gaussian, GaussianMixture
from aae_lib.training import MODELS

PIXELS, CLASSES, SIZE = 30, 10, 20


def number(value: torch.Tensor) -> float:
    return value.detach().item()


def build(experiment: Experiment | str, **changes) -> AdversarialAutoencoder:
    e = by_name(experiment) if isinstance(experiment, str) else experiment
    e = replace(e, hidden=16, **changes)
    return MODELS[e.method](e, PIXELS, CLASSES, generator())


def batch(seed: int = 1) -> Batch:
    x = torch.rand(SIZE, PIXELS, generator=generator(seed))
    label = torch.arange(SIZE) % CLASSES
    known = torch.where(torch.arange(SIZE) < 5, label, CLASSES)
    return Batch(x, label, known, x.flip(0), label.flip(0))


_AUTOENCODER = {
    "reconstruction": ("encoder", "heads", "decoder", "output", "cluster_heads"),
    "discriminator": ("discriminators",),
    "generator": ("encoder", "heads"),
    "supervised": ("encoder", "heads.y"),
}
OWNERS = {
    "aae": _AUTOENCODER,
    "vae": _AUTOENCODER,
    "gan": {"discriminator": ("discriminator",), "generator": ("generator", "output")},
    "gmmn": {
        "reconstruction": ("encoder", "head", "decoder", "output"),
        "matching": ("matcher", "matched"),
    },
}
"""The networks that each phase may change, by method."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_phase_changes_its_own_networks_and_no_others(variant: str) -> None:
    name, changes = VARIANTS[variant]
    model = build(name, **changes)
    descent = Descent(model)
    owners = OWNERS[model.experiment.method]
    moved: dict[str, set[str]] = {}
    take_step = descent.step

    def watched(phase: str, cost: torch.Tensor) -> None:
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        take_step(phase, cost)
        moved[phase] = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert all(p.grad is None for p in model.parameters())

    descent.step = watched
    for i in range(4):  # the first step cannot move everything: symmetric zeros
        descent.pretraining = i < 2 and model.experiment.pretraining > 0
        STEPS[model.experiment.method](alone(model), descent, batch(i), generator(i))
    assert moved.keys() == descent.rates.keys()
    for phase, names in moved.items():
        assert all(n.startswith(owners[phase]) for n in names), (phase, names)
        reached = {owner for owner in owners[phase] for n in names if n.startswith(owner)}
        there = {o for o in owners[phase] for n in model.parameters_of(phase) if n.startswith(o)}
        assert reached == there, (phase, names)
    if model.experiment.head_scale is not None:
        assert torch.equal(model.cluster_heads, 10 * torch.eye(10))


LITERAL = {
    "§5, semi-supervised": ("mnist_100", {}),
    "§2, plain": ("fig2_gaussian", {}),
    "§2.3, labels to the discriminator": (
        "fig2_mixture",
        {"discriminator_label": True, "labels": 10},
    ),
    "§4, label to the decoder": ("fig2_gaussian", {"decoder_label": True}),
    "§4, and to the discriminator of one Gaussian": (
        "fig2_gaussian",
        {"decoder_label": True, "discriminator_label": True, "labels": "all"},
    ),
    "§7, heads that keep their distance": ("mnist_100", {"combine": "sum", "head_distance": 4.5}),
    "noise on what is judged": ("mnist_100", {"discriminator_noise": 0.3}),
    "§2, Gaussian posterior": ("fig2_gaussian", {"posterior": "gaussian"}),
    "§2, universal posterior": ("fig2_gaussian", {"posterior": "universal"}),
}


@pytest.mark.parametrize("variant", LITERAL)
def test_a_step_is_the_paper_s_phases_word_for_word(variant: str, double_precision) -> None:
    """Against a transcription that encodes anew in each phase, with one optimiser per cost: 50 iterations."""
    name, changes = LITERAL[variant]
    changes = {"init_std": 0.2, "reconstruction": Rates(0.01, 0.9), **changes}
    ours, transcribed = (build(name, **changes) for _ in range(2))
    descent, literal = Descent(ours), Literal(transcribed)
    for i in range(50):
        step(alone(ours), descent, batch(i), generator(i))
        literal.step(batch(i), generator(i))
    for (key, a), b in zip(
        ours.state_dict().items(), transcribed.state_dict().values(), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-10), key


def test_initial_weights_are_the_paper_s() -> None:
    model = AdversarialAutoencoder(by_name("mnist_100"), 784, 10, generator())
    weights = torch.cat([p.flatten() for n, p in model.named_parameters() if n.endswith("weight")])
    assert number(weights.std()) == pytest.approx(0.01, rel=0.01)
    assert not any(p.any() for n, p in model.named_parameters() if n.endswith("bias"))


def test_initial_weights_without_a_deviation_of_their_own_keep_the_variance_of_relus() -> None:
    """N(0, 2 / inputs) for each layer; the learned heads of clusters of §7 start as N(0, 1)."""
    codes = (Code("y", Categorical(40)), Code("z", Gaussian(50)))
    e = replace(by_name("fig11_c"), hidden=400, codes=codes)
    model = AdversarialAutoencoder(e, 784, 10, generator())
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features > 1]
    for layer in layers:
        deviation = math.sqrt(2 / layer.in_features)
        assert number(layer.weight.std()) == pytest.approx(deviation, rel=0.05)
    assert len(layers) == 11
    assert number(model.cluster_heads.std()) == pytest.approx(1, rel=0.1)


def test_layer_sizes_are_the_paper_s() -> None:
    model = AdversarialAutoencoder(by_name("mnist_100"), 784, 10, generator())
    sizes = {n: tuple(p.shape) for n, p in model.named_parameters() if n.endswith("weight")}
    assert sizes == {
        "encoder.0.weight": (1000, 784),
        "encoder.2.weight": (1000, 1000),
        "heads.y.0.weight": (10, 1000),
        "heads.z.0.weight": (10, 1000),
        "decoder.0.weight": (1000, 20),
        "decoder.2.weight": (1000, 1000),
        "output.0.weight": (784, 1000),
        **{f"discriminators.{c}.0.weight": (1000, 10) for c in "yz"},
        **{f"discriminators.{c}.2.weight": (1000, 1000) for c in "yz"},
        **{f"discriminators.{c}.4.weight": (1, 1000) for c in "yz"},
    }


def test_batch_norm_follows_appendix_a() -> None:
    """A.3: in every encoder layer with the heads; A.2.2: in the decoder and output too; never in D."""

    def places(kind: str) -> set[str]:
        model = build("mnist_100", batch_norm=kind)
        return {
            n.split(".")[0] for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm1d)
        }

    assert places("none") == set()
    assert places("hidden") == {"encoder"}
    assert places("encoder") == {"encoder", "heads"}
    assert places("autoencoder") == {"encoder", "heads", "decoder", "output"}


def test_batch_norm_stands_before_or_after_the_relu() -> None:
    linear, norm, relu = torch.nn.Linear, torch.nn.BatchNorm1d, torch.nn.ReLU
    for after, order in ((False, [linear, norm, relu]), (True, [linear, relu, norm])):
        model = build("clusters_16", batch_norm_after=after)
        assert [type(layer) for layer in model.encoder] == 2 * order
        assert [type(layer) for layer in model.heads["y"]] == [Output, norm]
    x = model.train().features(torch.rand(50, PIXELS, generator=generator()))
    assert torch.allclose(
        x.mean(0), torch.zeros(16), atol=1e-5
    )  # after it, features are normalised


def test_heads_that_learn_no_scale_keep_mean_0_and_variance_1() -> None:
    x = torch.rand(200, PIXELS, generator=generator())
    model = build("clusters_16", batch_norm_learned=False, temperature=0.4).train()
    logits = model.encode_logits(x)
    for values in (0.4 * logits["y"], logits["z"]):
        assert torch.allclose(values.mean(0), torch.zeros(values.shape[1]), atol=1e-4)
        assert torch.allclose(values.var(0, unbiased=False), torch.ones(values.shape[1]), atol=1e-2)
    assert not list(model.heads["y"][1].parameters())
    assert len(list(build("clusters_16").heads["y"][1].parameters())) == 2


def test_temperature_divides_the_logits_of_the_categorical_code_alone() -> None:
    plain, sharp = (
        build("mnist_100", init_std=0.5),
        build("mnist_100", init_std=0.5, temperature=0.5),
    )
    x = batch().x
    assert torch.allclose(sharp.encode(x)["y"], (2 * plain.encode_logits(x)["y"]).softmax(1))
    assert torch.equal(sharp.encode_logits(x)["y"], 2 * plain.encode_logits(x)["y"])
    assert torch.equal(sharp.encode(x)["z"], plain.encode(x)["z"])


@pytest.mark.parametrize("name", ["keys", "type", "training"])
def test_a_name_that_torch_keeps_for_itself_is_refused(name: str) -> None:
    codes = (*by_name("mnist_100").codes, Code(name, Gaussian(2)))
    with pytest.raises(UserError, match=f"a code cannot be called '{name}'"):
        build("mnist_100", codes=codes)


def test_temperature_is_of_every_categorical_code() -> None:
    codes = (Code("y", Categorical(10)), Code("v", Categorical(3)))
    plain, sharp = (
        build("clusters_16", codes=codes, init_std=0.5, temperature=temperature).eval()
        for temperature in (1.0, 0.5)
    )
    x = batch().x
    for name, logits in sharp.encode_logits(x).items():
        assert torch.equal(logits, 2 * plain.encode_logits(x)[name])


def test_the_discriminator_judges_codes_with_noise_where_there_is_any() -> None:
    """Against the network on codes to which the same numbers were added by hand."""
    model = build("clusters_16", init_std=0.5, discriminator_noise=0.3)
    code = torch.rand(9, 5, generator=generator(1))
    noise = torch.empty_like(code).normal_(generator=generator(3))
    found = model.discriminate("z", code, source=generator(3))
    noisy = torch.add(code, noise, alpha=0.3)
    assert torch.equal(found, model.discriminators["z"](noisy)[:, 0])
    assert torch.equal(model.discriminate("z", code), model.discriminators["z"](code)[:, 0])
    quiet = build("clusters_16", init_std=0.5)
    assert torch.equal(
        quiet.discriminate("z", code, source=generator(3)), quiet.discriminate("z", code)
    )


def test_imbalance_is_the_divergence_of_the_mean_from_uniform() -> None:
    q = torch.rand(7, 4, generator=generator()).softmax(1)
    mean = torch.distributions.Categorical(q.mean(0))
    expected = torch.distributions.kl_divergence(
        mean, torch.distributions.Categorical(torch.ones(4))
    )
    assert number(imbalance(q)) == pytest.approx(number(expected), abs=1e-6)
    assert number(imbalance(torch.eye(4))) == pytest.approx(0, abs=1e-6)
    one = one_hot(torch.zeros(7, dtype=torch.int64), 4).float().requires_grad_()
    assert number(imbalance(one)) == pytest.approx(math.log(4))
    imbalance(one).backward()
    assert one.grad.isfinite().all()


def test_a_cost_for_balance_is_in_the_encoders_adversarial_cost_and_moves_it() -> None:
    plain, balanced = (build("mnist_100", balance=weight) for weight in (0.0, 2.0))
    codes = balanced.encode(batch().x)
    costs = generator_costs(balanced, codes, None, generator())
    torch.testing.assert_close(costs.pop("balance"), 2 * imbalance(codes["y"]))
    torch.testing.assert_close(costs, generator_costs(plain, codes, None, generator()))
    for model in (plain, balanced):
        step(alone(model), Descent(model), batch(), generator())
    moved = [
        name
        for (name, a), b in zip(plain.named_parameters(), balanced.parameters(), strict=True)
        if not torch.equal(a, b)
    ]
    assert "heads.y.0.weight" in moved
    assert not any(name.startswith(("decoder", "output", "discriminators")) for name in moved)


def test_categorical_code_is_the_softmax_of_its_logits() -> None:
    model, x = build("mnist_100"), batch().x
    codes, logits = model.encode(x), model.encode_logits(x)
    assert torch.equal(codes["y"], logits["y"].softmax(1))
    assert torch.equal(codes["z"], logits["z"])
    assert torch.equal(model.encode_logits(x, only="y")["y"], logits["y"])


def test_noise_is_on_the_input_alone_and_from_the_generator() -> None:
    model, x = build("mnist_100"), torch.full((2000, PIXELS), 0.5)
    noisy = model.corrupt(x, generator())
    assert torch.equal(noisy, model.corrupt(x, generator()))
    assert number((noisy - x).std()) == pytest.approx(0.3, rel=0.02)
    assert torch.equal(x, torch.full((2000, PIXELS), 0.5))
    assert torch.equal(build("fig2_gaussian").corrupt(x, generator()), x)


def test_input_dropout_keeps_the_mean() -> None:
    model, x = build("fig2_gaussian", input_dropout=0.2), torch.full((2000, PIXELS), 0.5)
    dropped = model.corrupt(x, generator())
    assert number((dropped == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert number(dropped.mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "corruption", [{"input_noise": 0.3}, {"input_noise": 0, "input_dropout": 0.2}]
)
def test_standardising_in_the_model_is_training_on_standardised_images(
    double_precision, corruption
) -> None:
    raw = batch()
    mean, deviation = raw.x.mean(0), raw.x.std(0)
    scaled = raw._replace(
        x=(raw.x - mean) / deviation, labelled_x=(raw.labelled_x - mean) / deviation
    )
    ours = build("mnist_100", output="linear", standardise=True, **corruption)
    plain = build("mnist_100", output="linear", **corruption)
    ours.mean.copy_(mean)
    ours.deviation.copy_(deviation)
    for model, seen in ((ours, raw), (plain, scaled)):
        descent = Descent(model)
        for i in range(20):
            step(alone(model), descent, seen, generator(i))
    for name, parameter in plain.named_parameters():
        assert torch.allclose(parameter, dict(ours.named_parameters())[name], atol=1e-10)
    assert torch.allclose(ours.encode(raw.x)["z"], plain.encode(scaled.x)["z"], atol=1e-12)


def test_a_standardising_decoder_gives_images_between_black_and_white() -> None:
    model, x = build("mnist_100", output="linear", standardise=True, init_std=1.0), batch().x
    model.mean.copy_(x.mean(0))
    model.deviation.copy_(x.std(0))
    assert torch.allclose(model.restored(model.standardised(x)), x, atol=1e-6)
    codes = model.combine({"y": torch.randn(50, 10), "z": 100 * torch.randn(50, 10)})
    inside = model.restored(model.activate(model.decode_logits(codes)))
    decoded = model.decode(codes)
    assert (decoded.min(), decoded.max()) == (0, 1)
    assert torch.equal(decoded, inside.clamp(0, 1))


def test_gaussian_posterior_has_its_mean_and_deviation() -> None:
    model, x = build("fig2_gaussian", posterior="gaussian", init_std=0.5), batch().x
    mean, log_variance = model.heads["z"](model.encoder(x)).chunk(2, 1)
    epsilon = torch.empty_like(mean).normal_(generator=generator(3))
    expected = mean + log_variance.exp().sqrt() * epsilon
    assert torch.allclose(model.encode(x, generator(3))["z"], expected)
    assert torch.allclose(model.encode(x)["z"], mean)


def test_universal_posterior_is_a_function_of_image_and_noise() -> None:
    model, x = build("fig2_gaussian", posterior="universal", init_std=0.5), batch().x
    first = model.encode(x, generator(0))["z"]
    assert torch.equal(first, model.encode(x, generator(0))["z"])
    assert not torch.allclose(first, model.encode(x, generator(1))["z"])
    without = torch.cat((x, torch.zeros(SIZE, model.experiment.noise_dim)), 1)
    assert torch.equal(model.encode(x)["z"], model.heads["z"](model.encoder(without)))


def test_combine_puts_codes_and_label_side_by_side() -> None:
    model = build("mnist_100", decoder_label=True)
    codes = {"y": torch.rand(4, 10), "z": torch.rand(4, 10)}
    label = torch.tensor([0, 3, 9, 3])
    expected = torch.cat((codes["y"], codes["z"], one_hot(label, 10)), 1)
    assert torch.equal(model.combine(codes, label), expected)


def test_combine_as_a_sum_moves_z_to_the_cluster_head() -> None:
    model = build("mnist_100", combine="sum", head_scale=10.0)
    z = torch.rand(4, 10)
    y = one_hot(torch.tensor([1, 1, 0, 5]), 10).float()
    assert torch.allclose(model.combine({"y": y, "z": z}), z + 10 * y)


def test_discriminator_sees_the_label_and_an_eleventh_class() -> None:
    model = build("fig2_mixture", discriminator_label=True, labels=10, init_std=1.0)
    assert model.discriminators["z"][0].in_features == 2 + CLASSES + 1
    z = torch.zeros(11, 2)
    logits = model.discriminate("z", z, torch.arange(11))
    assert len(set(logits.tolist())) == CLASSES + 1


def test_half_squared_error_sums_over_pixels_and_averages_over_the_batch() -> None:
    x, y = torch.rand(6, PIXELS), torch.rand(6, PIXELS)
    expected = sum(0.5 * number((a - b) @ (a - b)) for a, b in zip(x, y, strict=True)) / 6
    assert number(half_squared_error(x, y)) == pytest.approx(expected, rel=1e-5)
    twice = half_squared_error(x.repeat(1, 2), y.repeat(1, 2))
    assert number(twice) == pytest.approx(2 * expected, rel=1e-5)


def test_head_repulsion_is_a_hinge_over_pairs() -> None:
    heads = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], requires_grad=True)
    distances = [5.0, 1.0, (9 + 9) ** 0.5]
    for threshold in (0.5, 4.5, 10.0):
        expected = sum(max(0.0, threshold - d) for d in distances)
        assert number(head_repulsion(heads, threshold)) == pytest.approx(expected)
    head_repulsion(heads, 2.0).backward()
    assert heads.grad[2, 1] < 0 < heads.grad[0, 1]  # a step downhill parts the close pair
    assert not heads.grad[1].any()


def test_samples_are_images_of_draws_of_the_priors() -> None:
    model = build("fig7_mnist", init_std=0.5, batch_norm="autoencoder").train()
    label = torch.arange(7)
    images = model.sample(7, generator(), label)
    assert not model.training  # batch statistics are frozen
    z = model.experiment.code("z").prior.sample(7, generator())
    assert torch.equal(images, model.decode(model.combine({"z": z}, label)))
    assert 0 <= number(images.min()) < number(images.max()) <= 1


# ---- the VAE


def test_kl_to_a_gaussian_against_torch() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    p = torch.distributions.Normal(torch.zeros(3), 2 * torch.ones(3))
    expected = torch.distributions.kl_divergence(q, p).sum(1).mean()
    found = kl_divergence(mean, log_variance, torch.randn(5, 3), Gaussian(3, 2.0))
    assert number(found) == pytest.approx(number(expected), rel=1e-5)


def test_monte_carlo_kl_is_right_on_average() -> None:
    """A mixture whose components coincide is one Gaussian, for which the divergence is known."""
    n = 400_000
    mean, log_variance = torch.tensor([[0.3, -0.2]]), torch.tensor([[-1.0, -2.0]])
    epsilon = torch.randn(n, 2, generator=generator())
    sphere = GaussianMixture(parts=4, radius=0.0, std_along=1.0, std_across=1.0)
    found = kl_divergence(mean.expand(n, 2), log_variance.expand(n, 2), epsilon, sphere)
    exact = kl_divergence(mean, log_variance, epsilon[:1], Gaussian(2))
    assert number(found) == pytest.approx(number(exact), abs=0.01)


def test_vae_has_no_discriminator_and_the_same_networks_beside() -> None:
    aae, vae = build("fig2_gaussian"), build("fig2_vae_gaussian")
    assert isinstance(vae, VariationalAutoencoder)
    assert not vae.discriminators

    def shapes(model: AdversarialAutoencoder) -> dict:
        return {
            n: p.shape
            for n, p in model.named_parameters()
            if not n.startswith(("discriminators", "heads"))
        }

    assert shapes(aae) == shapes(vae)


def test_bernoulli_likelihood_against_its_closed_form() -> None:
    vae, b = build("fig2_vae_gaussian"), batch()
    logits = torch.randn(SIZE, PIXELS)
    p = logits.sigmoid()
    expected = -(b.x * p.log() + (1 - b.x) * (1 - p).log()).sum(1).mean()
    found = vae._negative_log_likelihood(logits, b.x)
    assert number(found) == pytest.approx(number(expected), rel=1e-4)


@pytest.mark.parametrize("name", ["fig2_vae_gaussian", "fig2_vae_mixture"])
def test_the_vae_lowers_the_bound_of_eq_2(name: str) -> None:
    """Reconstruction of a draw plus the divergence at that draw, from torch's own distributions."""
    vae, b = build(name, init_std=0.3), batch()
    costs = vae.reconstruction_costs(b.x, b.x, b.label, generator(5))
    mean, log_variance = vae.heads["z"](vae.encoder(b.x)).chunk(2, 1)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    z = mean + q.stddev * torch.empty_like(mean).normal_(generator=generator(5))
    pixels = torch.distributions.Bernoulli(logits=vae.decode_logits(z), validate_args=False)
    assert number(costs["reconstruction"]) == pytest.approx(
        number(-pixels.log_prob(b.x).sum(1).mean()), rel=1e-4
    )
    prior = vae.experiment.code("z").prior
    if name == "fig2_vae_gaussian":
        p = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
        expected = torch.distributions.kl_divergence(q, p).sum(1)
    else:
        expected = -q.entropy().sum(1) - prior.log_prob(z)
    assert number(costs["kl"]) == pytest.approx(number(expected.mean()), rel=1e-4)


def test_hidden_dropout_follows_every_relu_in_training_alone() -> None:
    model, x = build("nn_100", init_std=0.3), batch().x
    source = Recorder(generator())
    model.train().features(x, source)
    assert source.requests == [Request("kept", 0.5, (SIZE, 16))] * 2
    assert not torch.equal(model.features(x, generator(0)), model.features(x, generator(1)))
    model.eval()
    assert torch.equal(model.features(x), model.features(x))


def test_a_code_s_posterior_stays_deterministic_for_categories() -> None:
    model = build("mnist_100", posterior="gaussian", codes=(Code("y", Categorical(10)),))
    assert model.heads["y"][0].out_features == 10


def test_descent_is_torch_s_own() -> None:
    """SGD with momentum and Adam, with their rates and the schedule's factor, against torch.optim."""
    for name, changes, reference in (
        ("fig2_gaussian", {"adversarial": None}, lambda p: torch.optim.SGD(p, 0.0001, 0.9)),
        ("fig2_vae_gaussian", {}, lambda p: torch.optim.Adam(p, 0.0001, (0.9, 0.999))),
    ):
        ours, theirs = build(name, **changes), build(name, **changes)
        descent, optimiser = Descent(ours), reference(theirs.parameters())
        descent.factor = 0.1
        for i in range(5):
            step(alone(ours), descent, batch(i), generator(i))
            b = batch(i)
            costs = theirs.reconstruction_costs(b.x, b.x, b.label, generator(i))
            optimiser.zero_grad()
            sum(costs.values()).backward()
            optimiser.step()
        for (key, a), b in zip(
            ours.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-7), key


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_phase_may_change_all_of_its_networks(variant: str) -> None:
    """Not only those that `parameters_of` names, which no phase could then move."""
    name, changes = VARIANTS[variant]
    model = build(name, **changes)
    for phase in Descent(model).rates:
        owners = OWNERS[model.experiment.method][phase]
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        assert set(model.parameters_of(phase)) == {n for n in trained if n.startswith(owners)}
