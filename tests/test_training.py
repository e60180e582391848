"""Training: costs against closed forms, order and labels, resuming to the bit, faults."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aae_lib import data, store, training
from aae_lib.config import PROFILES, Rates
from aae_lib.errors import UserError
from aae_lib.experiments import by_name
from aae_lib.training import Images, batches, epoch_generator, fit

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def digits(digits_archive) -> data.Dataset:
    return data.load(str(digits_archive))


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def small(name: str, **changes):
    return replace(by_name(name), hidden=20, **changes)


def weights(run: training.Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_costs_of_the_game_where_nobody_can_tell() -> None:
    logits = torch.zeros(7)
    assert float(training.discriminator_loss(logits, logits)) == pytest.approx(2 * math.log(2))
    assert float(training.generator_loss(logits)) == pytest.approx(math.log(2))


def test_costs_of_the_game_against_their_formula() -> None:
    real, fake = torch.randn(9), torch.randn(9)
    d = -(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean())
    assert float(training.discriminator_loss(real, fake)) == pytest.approx(float(d), rel=1e-5)
    g = -fake.sigmoid().log().mean()
    assert float(training.generator_loss(fake)) == pytest.approx(float(g), rel=1e-5)


def test_an_epoch_is_one_pass_over_the_unlabelled_images(digits) -> None:
    e = small("mnist_100", labels=20, batch_size=30)
    images = Images.of(digits, e, 0, CPU)
    seen = list(batches(images, e, epoch_generator(0, 1, CPU)))
    assert len(seen) == 600 // 30
    rows = torch.cat([b.x for b in seen])
    assert len(rows.unique(dim=0)) == len(training.scale(images.train).unique(dim=0))
    assert all(len(b.labelled_x) == 30 for b in seen)
    labelled = torch.cat([b.labelled_x for b in seen]).unique(dim=0)
    assert len(labelled) == 20


def test_no_label_beside_the_labelled_ones_reaches_training(digits) -> None:
    """Scrambling every other label changes nothing that an epoch yields but the true labels of §4."""
    e = small("mnist_100", labels=20)
    images = Images.of(digits, e, 0, CPU)
    hidden = torch.ones(len(images.train), dtype=torch.bool)
    hidden[images.labelled] = False
    images.train_labels[hidden] = 0
    other = Images.of(digits, e, 0, CPU)
    pairs = zip(
        batches(images, e, epoch_generator(0, 1, CPU)),
        batches(other, e, epoch_generator(0, 1, CPU)),
        strict=True,
    )
    for a, b in pairs:
        assert torch.equal(a.known, b.known)
        assert torch.equal(a.labelled_y, b.labelled_y)
        assert set(a.known.tolist()) <= set(range(11))


def test_seeds_differ_and_repeat(digits, runs) -> None:
    e = small("mnist_100", labels=20)
    first = weights(fit(e, digits, seed=0, epochs=1, device="cpu", quiet=True))
    other = weights(fit(e, digits, seed=1, epochs=1, device="cpu", quiet=True))
    assert not equal(first, other)
    torch.manual_seed(123)
    for path in sorted(runs.rglob("*.safetensors")):
        path.unlink()
    assert equal(first, weights(fit(e, digits, seed=0, epochs=1, device="cpu", quiet=True)))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mnist_100", {"labels": 20, "milestones": (2,)}),
        ("mnist_100", {"labels": 20, "batch_norm": "autoencoder", "input_dropout": 0.2}),
        ("fig2_mixture", {"posterior": "universal"}),
        ("fig2_vae_mixture", {}),
        ("nn_100", {"labels": 20}),
    ],
)
def test_a_longer_profile_continues_a_shorter_one_to_the_bit(digits, runs, name, changes) -> None:
    e = small(name, **changes)
    whole = fit(e, digits, seed=3, epochs=4, device="cpu", quiet=True)
    for path in runs.rglob("*.safetensors"):
        path.unlink()
    fit(e, digits, seed=3, epochs=1, device="cpu", quiet=True)
    parts = fit(e, digits, seed=3, epochs=4, device="cpu", quiet=True)
    assert equal(weights(whole), weights(parts))
    assert whole.history == parts.history
    # … and the shorter one is still there
    again = fit(e, digits, seed=3, epochs=1, device="cpu", quiet=True)
    assert again.history["epoch"] == [1]


RUN = """
import sys
from dataclasses import replace
from aae_lib import data
from aae_lib.experiments import by_name
from aae_lib.training import fit
e = replace(by_name("mnist_100"), hidden=20, labels=20)
fit(e, data.load(sys.argv[1]), seed=0, epochs=60, device="cpu", checkpoint_seconds=0)
"""


def test_a_run_killed_at_five_random_moments_ends_in_the_same_bits(
    digits, digits_archive, runs, tmp_path, monkeypatch
) -> None:
    e = small("mnist_100", labels=20)
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "undisturbed"))
    undisturbed = fit(e, digits, seed=0, epochs=60, device="cpu", quiet=True)
    monkeypatch.setenv("AAE_RUNS", str(runs))
    environment = os.environ | {
        "TQDM_MININTERVAL": "0",  # a line of progress for each step: the moments to choose from
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    moments = random.Random(0)
    killed = 0
    for _ in range(5):
        command = [sys.executable, "-c", RUN, str(digits_archive)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            for _ in range(moments.randint(1, 60)):
                if not process.stderr.read(100):
                    break
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
    assert killed == 5
    resumed = fit(e, digits, seed=0, epochs=60, device="cpu", quiet=True)
    assert equal(weights(undisturbed), weights(resumed))
    assert undisturbed.history == resumed.history


def test_a_corrupt_checkpoint_is_named_and_the_one_before_it_serves(digits, runs, capsys) -> None:
    e = small("fig2_gaussian")
    fit(e, digits, seed=0, epochs=1, device="cpu", quiet=True)
    whole = weights(fit(e, digits, seed=0, epochs=3, device="cpu", quiet=True))
    e = replace(e, data=digits.identity)
    path = store.checkpoint_path(e, 0, 3)
    path.write_bytes(path.read_bytes()[:-100])
    assert equal(whole, weights(fit(e, digits, seed=0, epochs=3, device="cpu", quiet=True)))
    assert str(path) in capsys.readouterr().err


def test_rolling_checkpoints_are_dropped_and_profile_ends_are_kept(digits, runs) -> None:
    e = small("fig2_gaussian")
    fit(e, digits, seed=0, epochs=4, device="cpu", quiet=True, checkpoint_seconds=0)
    assert list(store.checkpoints(replace(e, data=digits.identity), 0)) == [1, 4]


def test_a_cost_that_is_not_finite_stops_the_run_with_one_message(digits, runs) -> None:
    e = small("fig2_gaussian", output="linear", reconstruction=Rates(1e12, 0.9))
    with pytest.raises(UserError, match=r"diverged in epoch 1.*reconstruction.*learning rate"):
        fit(e, digits, seed=0, epochs=2, device="cpu", quiet=True)
    assert not list(runs.rglob("*.safetensors"))


def test_too_few_images_for_a_mini_batch(digits, runs) -> None:
    few = data.subset(digits, 50, 50, 50)
    with pytest.raises(UserError, match="50 training images are fewer than one mini-batch of 100"):
        fit(small("fig2_gaussian"), few, seed=0, epochs=1, device="cpu", quiet=True)


def test_a_disk_that_refuses_gets_one_message(digits, runs, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        fit(small("fig2_gaussian"), digits, seed=0, epochs=1, device="cpu", quiet=True)
    assert [p.name for p in runs.rglob("*") if p.is_file()] == ["lock"]


def test_a_wrong_device_is_refused() -> None:
    for name in ("cuda:99", "nonsense"):
        with pytest.raises(UserError, match=f"device '{name}' cannot be used here"):
            training.choose_device(name)


def test_the_paper_profile_needs_a_gpu_or_a_word() -> None:
    with pytest.raises(UserError, match="--allow-cpu"):
        training.require_gpu(PROFILES["paper"], "cpu")
    training.require_gpu(PROFILES["paper"], "cpu", allow_cpu=True)
    training.require_gpu(PROFILES["standard"], "cpu")


def test_provenance_says_what_made_a_run(digits, runs) -> None:
    run = fit(small("fig2_gaussian"), digits, seed=0, epochs=1, device="cpu", quiet=True)
    made_by = run.provenance
    assert made_by["versions"]["torch"] == torch.__version__
    assert made_by["device"] == "cpu"
    assert made_by["threads"] == torch.get_num_threads()
    assert made_by["wall_seconds"] > 0
    assert made_by["peak_memory_gib"] > 0
    assert made_by["hardware"]["cores"] == os.cpu_count()


@pytest.mark.parametrize("name", ["mnist_100", "nn_100"])
def test_smoke_learns_something(digits, runs, name: str) -> None:
    """Ten easy digits from 100 labels in a few epochs: far better than the 90 % of chance."""
    e = replace(by_name(name), reconstruction=None, adversarial=None, hidden=100)
    run = fit(e, digits, seed=0, epochs=20, device="cpu", quiet=True)
    assert run.history["validation error"][-1] < 40


def test_real_mnist_runs_through(mnist, runs) -> None:
    dataset = data.subset(mnist, 200, 100, 100)
    run = fit(small("mnist_100"), dataset, seed=0, epochs=1, device="cpu", quiet=True)
    assert set(run.history) >= {"reconstruction", "discriminator y", "generator z", "test error"}
