"""What only a GPU can show. Skipped without one; the CPU's tests cover the same code path for path.

Two ways to the same weights are compared in double precision: in single, a rounding grows within fifty iterations of
some experiments (test_engine's CHAOTIC; on an H200 those of the NN baselines, too), and kernels round differently
inside a captured graph and outside.
"""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from variants import VARIANTS, program, trained, vector

from aae_lib import data, engine, store
from aae_lib.config import Experiment
from aae_lib.engine import Program
from aae_lib.errors import Diverged, Stopped
from aae_lib.experiments import EXPERIMENTS, by_name
from aae_lib.parzen import Parzen
from aae_lib.training import build, fit, fit_replicates

pytestmark = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@needs_gpu
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_run_on_the_gpu_starts_from_the_cpu_s_weights_and_resumes_to_its_own(
    name: str, digits_archive, tmp_path, monkeypatch, double_precision
) -> None:
    dataset = data.load(str(digits_archive))
    e = replace(by_name(name), hidden=50)
    cpu, gpu = (
        build(e, dataset.dim, dataset.classes, 0, torch.device(device))[0].state_dict()
        for device in ("cpu", "cuda")
    )
    assert all(torch.equal(cpu[key], gpu[key].cpu()) for key in cpu)
    ends = []
    for folder, stops in (("whole", [3]), ("parts", [1, 3])):
        monkeypatch.setenv("AAE_RUNS", str(tmp_path / folder))
        for epochs in stops:
            run = fit(e, dataset, seed=0, epochs=epochs, device="cuda", quiet=True)
        ends.append(run.model.state_dict())
        assert run.provenance["hardware"]["accelerator"]
    for key, value in ends[0].items():
        assert torch.allclose(value, ends[1][key], rtol=1e-7, atol=1e-9), key


def small(name: str) -> Experiment:
    """A variant whose rates change after one of these data's epochs, of 8 or 16 iterations."""
    base, changes = VARIANTS[name]
    return replace(by_name(base), **{"hidden": 50, "milestones": (1,)} | changes)


@needs_gpu
@pytest.mark.parametrize("name", VARIANTS)
def test_a_captured_iteration_trains_what_the_plain_one_trains(
    name: str, digits_archive, monkeypatch, double_precision
) -> None:
    """Over three epochs or six, with a change of rates, so that it is captured twice."""
    dataset, e = data.load(str(digits_archive)), small(name)
    capture, captures = Program._capture, []
    monkeypatch.setattr(Program, "_capture", lambda self: captures.append(capture(self)))
    captured = trained(program(e, dataset, 0, device="cuda"), iterations=48)
    assert captured.graph is not None and len(captures) == 2
    monkeypatch.setattr(engine, "WARM_UP", 10**9)
    plain = trained(program(e, dataset, 0, device="cuda"), iterations=48)
    assert plain.graph is None
    assert (vector(plain) - vector(captured)).norm() < 1e-8 * vector(plain).norm()
    assert captured.costs()[0] == pytest.approx(plain.costs()[0], rel=1e-6)


@needs_gpu
@pytest.mark.parametrize("name", VARIANTS)
def test_a_replicate_in_company_equals_the_same_seed_alone(
    name: str, digits_archive, double_precision
) -> None:
    dataset, seeds = data.load(str(digits_archive)), (0, 1, 5)
    together = trained(program(small(name), dataset, *seeds, device="cuda"), iterations=32)
    for i, seed in enumerate(seeds):
        alone = vector(trained(program(small(name), dataset, seed, device="cuda"), iterations=32))
        assert (alone - vector(together, i)).norm() < 1e-8 * alone.norm()


@needs_gpu
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 5)])
def test_what_is_stopped_inside_an_epoch_goes_on_to_its_own_weights(
    seeds: tuple[int, ...], digits_archive, tmp_path, monkeypatch, double_precision
) -> None:
    dataset, e = data.load(str(digits_archive)), small("mnist_100")
    options = {"seeds": seeds, "epochs": 2, "device": "cuda", "quiet": True}
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "whole"))
    whole = fit_replicates(e, dataset, **options)
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "parts"))
    advance, steps = Program.advance, []

    def asked_in_the_second_epoch(self: Program) -> None:
        steps.append(advance(self))
        if len(steps) == 26:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Program, "advance", asked_in_the_second_epoch)
    with pytest.raises(Stopped, match="in epoch 2"):
        fit_replicates(e, dataset, **options)
    for run, again in zip(whole, fit_replicates(e, dataset, **options), strict=True):
        for key, value in run.model.state_dict().items():
            assert torch.allclose(value, again.model.state_dict()[key], rtol=1e-7, atol=1e-9), key
    assert len(steps) == 32  # and not from the epoch's beginning


@needs_gpu
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 5)])
@pytest.mark.parametrize("name", ["mnist_100", "clusters_16", "svhn_1000"])
def test_products_in_bfloat16_are_captured_and_move_the_costs_a_little(
    name: str, seeds: tuple[int, ...], digits_archive
) -> None:
    dataset = data.load(str(digits_archive))
    exact, rounded = (
        trained(program(small(name), dataset, *seeds, device="cuda", bfloat16=b), iterations=8)
        for b in (False, True)
    )
    assert rounded.graph is not None
    for one, other in zip(exact.costs(), rounded.costs(), strict=True):
        assert other == pytest.approx(one, rel=0.05, abs=0.01)
        assert other != one


@needs_gpu
def test_those_beside_one_that_diverges_go_on(digits_archive, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AAE_RUNS", str(tmp_path))
    dataset, e, costs = data.load(str(digits_archive)), small("mnist_100"), Program.costs

    def one_bad(self: Program) -> list[dict[str, float]]:
        bad = {1: {"reconstruction": float("nan")}}
        return [c | bad.get(s, {}) for s, c in zip(self.seeds, costs(self), strict=True)]

    monkeypatch.setattr(Program, "costs", one_bad)
    with pytest.raises(Diverged, match="seed 1 diverged in epoch 1"):
        fit_replicates(e, dataset, seeds=[0, 1, 5], epochs=2, device="cuda", quiet=True)
    kept = [list(store.checkpoints(e.on(dataset), seed)) for seed in (0, 1, 5)]
    assert kept == [[1, 2], [], [1, 2]]


@needs_gpu
def test_seeds_train_together_by_default_and_with_tf32(
    digits_archive, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("AAE_RUNS", str(tmp_path))
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    dataset, e = data.load(str(digits_archive)), replace(by_name("mnist_100"), hidden=50)
    runs = fit_replicates(e, dataset, seeds=[0, 1, 2], epochs=1, device="cuda", quiet=True)
    assert [run.provenance["together"] for run in runs] == [3, 3, 3]
    assert torch.backends.cuda.matmul.allow_tf32


@needs_gpu
def test_parzen_on_the_gpu_is_that_of_the_cpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)  # as after training
    points, samples = torch.rand(300, 784), torch.rand(5000, 784)
    found = []
    for device in ("cpu", "cuda"):
        parzen = Parzen(points.to(device))
        for block in samples.to(device).split(1500):
            parzen.add(block)
        found.append(parzen.log_likelihood().cpu())
    assert (found[0] - found[1]).abs().max() < 1e-3


def test_a_model_is_built_with_a_generator_of_the_cpu(monkeypatch) -> None:
    """On a GPU machine the weights are drawn before the model moves there: no CUDA generator may be used."""
    moved = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: moved.append(device) or self)
    model, _ = build(replace(by_name("mnist_100"), hidden=8), 30, 10, 0, torch.device("cuda"))
    assert moved == [torch.device("cuda")]
    assert next(model.parameters()).device.type == "cpu"
