"""What only a GPU can show. Skipped without one; the CPU's tests cover the same code path for path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aae_lib import data
from aae_lib.experiments import EXPERIMENTS, by_name
from aae_lib.training import build, fit

pytestmark = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@needs_gpu
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_run_on_the_gpu_starts_from_the_cpu_s_weights_and_resumes_to_its_own_bits(
    name: str, digits_archive, tmp_path, monkeypatch
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
        assert torch.allclose(value, ends[1][key], rtol=1e-4, atol=1e-6), key


def test_a_model_is_built_with_a_generator_of_the_cpu(monkeypatch) -> None:
    """On a GPU machine the weights are drawn before the model moves there: no CUDA generator may be used."""
    moved = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: moved.append(device) or self)
    model, _ = build(replace(by_name("mnist_100"), hidden=8), 30, 10, 0, torch.device("cuda"))
    assert moved == [torch.device("cuda")]
    assert next(model.parameters()).device.type == "cpu"
