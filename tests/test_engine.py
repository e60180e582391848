"""The engine changes no result: replicates in company and alone, captured and not, are the same."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace
from weakref import ref

import pytest
import torch
from materials import fit, fit_replicates
from variants import VARIANTS, program, trained, vector

from aae_lib import draws, store
from aae_lib.config import Experiment
from aae_lib.draws import Draws, Recorder
from aae_lib.engine import Program, epoch_generator, in_bfloat16
from aae_lib.errors import Diverged
from aae_lib.experiments import EXPERIMENTS, by_name
from aae_lib.phases import alone, encode

CPU = torch.device("cpu")
SEEDS = (0, 1, 5)
CHAOTIC = ("clusters_16", "clusters_30", "fig11_a", "fig11_b", "fig11_c", "fig11_d")
"""With their own initial weights: one weight moved by one rounding changes a run alone by up to 0.0035 in 50 steps."""


def variant(name: str) -> Experiment:
    base, changes = VARIANTS[name]
    experiment = replace(by_name(base), hidden=20, **changes)
    counted = isinstance(experiment.labels, int)
    return replace(experiment, labels=min(experiment.labels, 100)) if counted else experiment


def unlike(names: Iterable[str]) -> list[str]:
    """The variants that train differently: of those that are one with so few images and labels, the first."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(replace(variant(name), name="x", data="mnist", epochs=1).hash, name)
    return list(first.values())


@pytest.mark.parametrize("name", unlike(VARIANTS))
def test_a_replicate_in_company_equals_the_same_seed_alone(name, digits, double_precision) -> None:
    e = variant(name)
    company = trained(program(e, digits, *SEEDS), iterations=20)  # into the second epoch
    for i, seed in enumerate(SEEDS):
        alone = trained(program(e, digits, seed), iterations=20)
        assert torch.allclose(vector(alone, 0), vector(company, i), rtol=1e-8, atol=1e-11)
        assert alone.costs()[0] == pytest.approx(company.costs()[i], rel=1e-9)
    assert not torch.allclose(vector(company, 0), vector(company, 1), rtol=1e-3)


def differences(e: Experiment, digits) -> list[float]:
    """How far each of two seeds after 50 iterations in company is from the same seed alone, relative to its weights."""
    two = SEEDS[:2]
    company = trained(program(e, digits, *two), iterations=50)
    alone = [vector(trained(program(e, digits, seed), iterations=50)) for seed in two]
    return [float((a - vector(company, i)).norm() / a.norm()) for i, a in enumerate(alone)]


def test_in_single_precision_they_differ_by_less_than_1e_4_after_50_iterations(digits) -> None:
    for name in unlike(EXPERIMENTS):
        e = variant(name)
        if name in CHAOTIC:  # the next test holds their own weights to more
            e = replace(e, init_std=0.01)
        assert max(differences(e, digits)) < 1e-4, name


def test_in_double_precision_so_do_those_that_let_a_rounding_grow(digits, double_precision) -> None:
    for name in unlike(CHAOTIC):
        assert max(differences(variant(name), digits)) < 1e-8, name


def test_replicates_in_company_land_in_the_store_like_others(digits, runs) -> None:
    """One that is there is loaded, one that is half done is resumed; each can go on alone or in company."""
    e = variant("mnist_100")
    fit(e, digits, seed=1, epochs=1)
    fit(e, digits, seed=2, epochs=2)
    before = store.checkpoint_path(e.on(digits), 2, 2).read_bytes()
    together = fit_replicates(e, digits, seeds=[3, 0, 1, 2], epochs=2, together=True)
    assert [run.seed for run in together] == [3, 0, 1, 2]
    assert store.checkpoint_path(e.on(digits), 2, 2).read_bytes() == before
    assert [run.provenance.get("together") for run in together] == [2, 2, 1, 1]
    loaded = fit_replicates(e, digits, seeds=[0, 3], epochs=2)
    for run, again in zip((together[1], together[0]), loaded, strict=True):
        for key, value in run.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[key])
        assert run.history == again.history
    assert fit(e, digits, seed=0, epochs=3).history["epoch"] == [1, 2, 3]


def test_company_resumed_to_the_bit(digits, runs, monkeypatch, tmp_path) -> None:
    e, options = variant("mnist_100"), {"epochs": 2, "seeds": SEEDS, "together": True}
    whole = fit_replicates(e, digits, **options)
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "parts"))
    fit_replicates(e, digits, **options | {"epochs": 1})
    for run, again in zip(whole, fit_replicates(e, digits, **options), strict=True):
        for key, value in run.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[key]), key


def test_a_company_killed_while_it_saves_goes_on_as_one(
    digits, runs, monkeypatch, tmp_path
) -> None:
    e, options = variant("mnist_100"), {"seeds": SEEDS, "together": True}
    whole = fit_replicates(e, digits, epochs=2, **options)
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "killed"))
    serialised, calls = store._serialised, []

    def killed(*arguments: object) -> bytes:
        calls.append(arguments)
        if len(calls) == 5 * len(SEEDS) + 2:  # the second of its three files
            raise SystemExit("killed")
        return serialised(*arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(store, "_serialised", killed)
        fit_replicates(e, digits, epochs=2, checkpoint_seconds=0, **options)
    places = {
        store.load(store.within_path(e.on(digits), s, 0))[0]["standing/position"] for s in SEEDS
    }
    assert {int(place) for place in places} == {5}
    for run, again in zip(whole, fit_replicates(e, digits, epochs=2, **options), strict=True):
        assert again.provenance["together"] == len(SEEDS)
        for key, value in run.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[key]), key


@pytest.mark.parametrize("together", [True, False])
def test_one_that_diverges_costs_the_others_nothing(
    digits, runs, monkeypatch, capsys, together: bool
) -> None:
    e = variant("fig2_gaussian")
    costs = Program.costs

    def one_bad(self: Program) -> list[dict[str, float]]:
        bad = {1: {"reconstruction": float("nan")}}
        return [c | bad.get(s, {}) for s, c in zip(self.seeds, costs(self), strict=True)]

    monkeypatch.setattr(Program, "costs", one_bad)
    told = "seed 1 diverged in epoch 1: reconstruction is not finite"
    for _ in range(2):  # asked again, it is no different
        with pytest.raises(Diverged, match=told) as raised:
            fit_replicates(e, digits, seeds=(1, 0, 5), epochs=2, together=together)
        assert raised.value.seeds == [1]
        saved = {seed: list(store.checkpoints(e.on(digits), seed)) for seed in SEEDS}
        assert saved == {0: [1, 2], 1: [], 5: [1, 2]}
        said = capsys.readouterr().err
        assert said.count(f"warning: {e.name} {told}") == said.count("The other seeds go on") == 1


def test_what_diverged_holds_no_memory_while_the_others_go_on(digits, runs, monkeypatch) -> None:
    e = variant("fig2_gaussian")
    costs, programs = Program.costs, []

    def first_bad(self: Program) -> list[dict[str, float]]:
        gc.collect()
        assert [program() for program in programs] == [None] * len(programs)
        programs.append(ref(self))
        bad = {0: {"reconstruction": float("nan")}}
        return [c | bad.get(s, {}) for s, c in zip(self.seeds, costs(self), strict=True)]

    monkeypatch.setattr(Program, "costs", first_bad)
    with pytest.raises(Diverged):
        fit_replicates(e, digits, seeds=(0, 5), epochs=2, together=True)
    assert len(programs) == 2


def test_every_seed_that_diverges_is_named(digits, runs, monkeypatch) -> None:
    e = variant("fig2_gaussian")
    costs = Program.costs
    monkeypatch.setattr(
        Program, "costs", lambda self: [c | {"reconstruction": float("inf")} for c in costs(self)]
    )
    with pytest.raises(Diverged, match=r"(?s)seed 0 diverged.*\n.*seed 5 diverged") as raised:
        fit_replicates(e, digits, seeds=(0, 5), epochs=2)
    assert raised.value.seeds == [0, 5]


def test_what_a_captured_iteration_reads_and_writes_stays_in_its_place(digits) -> None:
    these = trained(program(variant("mnist_100"), digits, *SEEDS), iterations=1)

    def places() -> dict[str, int]:
        tensors = {
            "order": these.order,
            "labelled": these.labelled_order,
            "position": these.position,
            **these.totals,
            **these.descent.state(),
            **{f"{i}": t for i, t in enumerate(these.drawn)},
            **dict(these.models[0].named_parameters()),
        }
        return {name: tensor.data_ptr() for name, tensor in tensors.items()}

    before = places()
    trained(these, iterations=these.updates + 2)
    assert places() == before


class RecordedGraph:
    """Stands for torch.cuda.CUDAGraph: its capture computes nothing, its replay makes one iteration."""

    made = 0
    on_its_device = False

    def __init__(self) -> None:
        type(self).made += 1
        self.generators: list[torch.Generator] = []

    def register_generator_state(self, generator: torch.Generator) -> None:
        assert type(self).on_its_device  # else it would have memory on another
        self.generators.append(generator)


@pytest.mark.parametrize(
    ("name", "changes"), [("mnist_100", {"milestones": (2,)}), ("table1_gmmn", {"pretraining": 2})]
)
def test_an_iteration_is_captured_after_a_few_and_again_when_rates_or_stage_change(
    name: str, changes: dict, digits, monkeypatch
) -> None:
    """The control flow of the GPU path on a CPU: what it trains is what the plain path trains."""
    e = replace(variant(name), **changes)
    plain = trained(program(e, digits, 0), iterations=60)
    these = program(e, digits, 0)
    iterate = these._iterate

    @contextmanager
    def capture(graph: RecordedGraph, stream: torch.device):
        assert graph.generators == these.generators
        assert stream == these.device and RecordedGraph.on_its_device
        monkeypatch.setattr(these, "_iterate", lambda: None)
        yield
        monkeypatch.setattr(these, "_iterate", iterate)
        graph.replay = iterate

    @contextmanager
    def guard(device: torch.device):
        assert device == these.device
        monkeypatch.setattr(RecordedGraph, "on_its_device", True)
        yield
        monkeypatch.setattr(RecordedGraph, "on_its_device", False)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: device)
    monkeypatch.setattr(torch.cuda, "device", guard)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(these, "captures", True)
    RecordedGraph.made = 0
    trained(these, iterations=60)  # more than three epochs
    assert RecordedGraph.made == 2
    assert torch.equal(vector(plain, 0), vector(these, 0))
    assert plain.costs() == these.costs()


def test_draws_are_the_generator_s_own_numbers_in_order() -> None:
    recorder = Recorder(epoch_generator(0, 1, CPU))
    made = [
        draws.normal(recorder, 40, 3),
        draws.uniform(recorder, 7),
        draws.integers(recorder, 10, 50),
        draws.kept(recorder, 0.2, 30, 4),
    ]
    assert [r.kind for r in recorder.requests] == ["normal", "uniform", "integers", "kept"]
    again, replay = epoch_generator(0, 1, CPU), Draws(made)
    for request, first in zip(recorder.requests, made, strict=True):
        assert torch.equal(request.draw(request.empty(CPU, 1)[0], again), first)
        assert replay.next(request) is first
    assert made[2].min() == 0 and made[2].max() == 9
    assert set(made[3].flatten().tolist()) == {0.0, 1.0}


def test_draws_refuse_what_was_not_drawn() -> None:
    source = Draws([torch.zeros(3)])
    with pytest.raises(ValueError, match="not what was drawn at place 0"):
        draws.normal(source, 4)
    draws.normal(source, 3)
    with pytest.raises(ValueError, match="place 1"):
        draws.normal(source, 3)


def test_each_replicate_has_its_own_order_labels_and_noise(digits) -> None:
    these = trained(program(variant("mnist_100"), digits, *SEEDS), iterations=1)
    for tensor in (*these.drawn, these.order[0], these.labelled_order[0], these.resident.known):
        if tensor.dtype != torch.int64 or tensor.shape[-1] > 10:
            assert not torch.equal(tensor[0], tensor[1])


def test_costs_of_an_epoch_are_means_over_its_iterations(digits, monkeypatch) -> None:
    these, seen = program(variant("mnist_100"), digits, 0), []
    step = these.step
    monkeypatch.setattr(these, "step", lambda *given: seen.append(step(*given)) or seen[-1])
    trained(these, iterations=3)
    expected = {name: sum(float(costs[name]) for costs in seen) / 3 for name in seen[0]}
    assert these.costs()[0] == pytest.approx(expected, rel=1e-5)


def test_the_epochs_of_a_seed_are_seeded_apart(digits) -> None:
    assert len({draws.seed_of(s, e) for s in range(20) for e in range(50)}) == 1000
    assert draws.seed_of(0, 1) == 47631350493125314  # that of the published runs
    these = program(variant("mnist_100"), digits, 0)
    begun = []
    for epoch in (1, 2):
        these.start(epoch)
        begun.append((these.order.clone(), these.labelled_order.clone(), these.standing(0)))
    (order, labelled, one), (other_order, other_labelled, two) = begun
    assert not torch.equal(order, other_order) and not torch.equal(labelled, other_labelled)
    assert not torch.equal(one["generator"], two["generator"])


@pytest.mark.parametrize("name", VARIANTS)
def test_bfloat16_moves_every_cost_a_little_and_rounds_no_parameter(name, digits) -> None:
    # With A.1's weights no cost would feel the networks yet.
    e = replace(variant(name), init_std=None)
    exact, rounded = (
        trained(program(e, digits, 0, bfloat16=bfloat16), iterations=1)
        for bfloat16 in (False, True)
    )
    (costs,) = rounded.costs()
    assert costs == pytest.approx(exact.costs()[0], rel=0.02, abs=1e-3)
    assert costs != exact.costs()[0]
    assert {t.dtype for t in rounded.totals.values()} == {torch.float32}
    for p in rounded.models[0].parameters():
        assert p.dtype == torch.float32
    weights = vector(rounded)
    assert not torch.equal(weights, weights.bfloat16().double())


def test_bfloat16_leaves_codes_unrounded_and_sees_parameters_that_moved(digits) -> None:
    (model,) = program(variant("clusters_16"), digits, 0).models
    each, x = in_bfloat16(alone(model), CPU), torch.rand(50, digits.dim)
    codes = each(encode, x, epoch_generator(0, 1, CPU))
    for code in codes.values():
        assert code.dtype == torch.float32
        assert not torch.equal(code, code.bfloat16().float())
    assert torch.allclose(codes["y"].sum(1), torch.ones(50), atol=1e-6)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.zero_()
    again = each(encode, x, epoch_generator(0, 1, CPU))
    assert torch.allclose(again["y"], again["y"][:1].expand(50, -1), atol=1e-6)
    assert not torch.allclose(codes["y"], codes["y"][:1].expand(50, -1), atol=1e-2)


def test_seeds_in_company_train_in_bfloat16_too(digits) -> None:
    e = variant("mnist_100")
    company = trained(program(e, digits, *SEEDS, bfloat16=True), iterations=5)
    for i, seed in enumerate(SEEDS):
        own = trained(program(e, digits, seed, bfloat16=True), iterations=5)
        assert own.costs()[0] == pytest.approx(company.costs()[i], rel=0.02)
