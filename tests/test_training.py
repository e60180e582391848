"""Training: costs against closed forms, order and labels, resuming to the bit, faults."""

from __future__ import annotations

import copy
import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from materials import fit, fit_replicates
from safetensors.torch import save_file
from variants import program, trained, vector

from aae_lib import data, engine, phases, store, training
from aae_lib.config import PROFILES, Code, Rates
from aae_lib.engine import Images, Program, batch_of, epoch_generator, epoch_order
from aae_lib.errors import Diverged, Stopped, UserError
from aae_lib.experiments import by_name
from aae_lib.priors import Categorical
from aae_lib.training import evaluate

CPU = torch.device("cpu")


def small(name: str, **changes):
    return replace(by_name(name), hidden=20, **changes)


def weights(run: training.Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_folder_that_cannot_be_locked_is_told_in_one_line(tmp_path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"cannot lock .*file/run"),
        store.locked(tmp_path / "file" / "run"),
    ):
        pass


def test_costs_of_the_game_against_their_formula() -> None:
    real, fake = torch.randn(9), torch.randn(9)
    d = -(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean())
    assert float(phases.discriminator_loss(real, fake)) == pytest.approx(float(d), rel=1e-5)
    g = -fake.sigmoid().log().mean()
    assert float(phases.generator_loss(fake)) == pytest.approx(float(g), rel=1e-5)


def test_an_epoch_is_one_pass_over_the_unlabelled_images(digits) -> None:
    e = small("mnist_100", labels=20, batch_size=30)
    images = Images.of(digits, e, 0, CPU)
    order = epoch_order(images, e, epoch_generator(0, 1, CPU))
    seen = [batch_of(images, *rows) for rows in zip(*order, strict=True)]
    assert len(seen) == 1600 // 30
    rows = torch.cat([b.x for b in seen])
    assert len(rows.unique(dim=0)) == len(rows)  # each image once; ten that fill no batch wait
    pixels = torch.from_numpy(digits.train.pixels())
    labels = torch.from_numpy(digits.train.labels).long()
    for b, i, beside in zip(seen, *order, strict=True):
        assert torch.equal(b.x, pixels[i]) and torch.equal(b.label, labels[i])
        known = torch.where(torch.isin(i, images.labelled), labels[i], images.classes)
        assert torch.equal(b.known, known)
        assert torch.equal(b.labelled_y, labels[beside])
    assert all(len(b.labelled_x) == 30 for b in seen)
    labelled = torch.cat([b.labelled_x for b in seen]).unique(dim=0)
    assert len(labelled) == 20


def test_a_mini_batch_has_its_share_of_labelled_images(digits) -> None:
    e = small("fig4_mixture", labels=20, labelled_share=0.25, batch_size=40)
    images = Images.of(digits, e, 0, CPU)
    order, beside = epoch_order(images, e, epoch_generator(0, 1, CPU))
    assert order.shape == (1600 // 40, 40) and beside is None
    known = images.known[order] != images.classes
    assert known.sum(1).tolist() == [10] * len(order)
    times = torch.bincount(order.flatten(), minlength=1600)
    assert times[images.labelled].tolist() == [20] * 20  # 400 labelled rows, evenly
    unlabelled = times[images.known == images.classes]
    assert len(unlabelled) == 1580 and unlabelled.max() == 1 and unlabelled.sum() == 1200


@pytest.mark.parametrize("labels", [1600, 0.9999])
def test_a_share_of_labelled_images_needs_unlabelled_ones(digits, runs, labels) -> None:
    e = small("fig4_mixture", labels=labels)
    with pytest.raises(UserError, match="labelled_share needs unlabelled images too"):
        fit(e, digits, seed=0, epochs=1)


def test_a_share_of_labels_that_is_no_image_is_refused(digits, runs) -> None:
    with pytest.raises(UserError, match="is none; label more"):
        fit(small("nn_100", labels=1e-5), digits, seed=0, epochs=1)


def test_no_seed_is_nothing_to_train(digits, runs) -> None:
    with pytest.raises(UserError, match="no seed"):
        fit_replicates(small("nn_100"), digits, seeds=[], epochs=1)


def test_no_label_beside_the_labelled_ones_reaches_training(digits, runs) -> None:
    """Other labels for every image but the labelled ones: the same weights to the bit."""
    e = small("mnist_100", labels=20)
    chosen = data.balanced_labels(digits.train.labels, 20, 0)
    scrambled = (digits.train.labels + 1) % 10
    scrambled[chosen] = digits.train.labels[chosen]
    other = replace(digits, train=replace(digits.train, labels=scrambled), digest="0" * 12)
    with pytest.MonkeyPatch.context() as patch:  # the subset is drawn by the true labels
        patch.setattr(engine, "balanced_labels", lambda *_: chosen)
        a = fit(e, digits, seed=0, epochs=1)
        b = fit(e, other, seed=0, epochs=1)
    assert equal(weights(a), weights(b))


@pytest.mark.parametrize("together", [False, True])
def test_each_seed_has_its_own_weights_labels_order_and_noise(
    digits, runs, double_precision, together
) -> None:
    """Runs that are asked for as everybody asks, against programs that are made of one seed each."""
    e, seeds = small("mnist_100", labels=20).on(digits), [3, 5]
    first, second = (vector(program(e, digits, seed)) for seed in seeds)
    assert float(first @ second) < 0.1 * float(first @ first)  # independent initial weights
    found = fit_replicates(e, digits, seeds=seeds, epochs=1, together=together)
    for seed, run in zip(seeds, found, strict=True):
        (own,) = trained(program(e, digits, seed), iterations=16).models
        for name, value in own.state_dict().items():
            torch.testing.assert_close(run.model.state_dict()[name], value, rtol=1e-8, atol=1e-11)


def test_seeds_differ_and_repeat(digits, runs) -> None:
    e = small("mnist_100", labels=20)
    first = weights(fit(e, digits, seed=0, epochs=1))
    other = weights(fit(e, digits, seed=1, epochs=1))
    assert not equal(first, other)
    torch.manual_seed(123)
    for path in sorted(runs.rglob("*.safetensors")):
        path.unlink()
    assert equal(first, weights(fit(e, digits, seed=0, epochs=1)))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mnist_100", {"labels": 20, "milestones": (2,)}),
        ("mnist_100", {"labels": 20, "batch_norm": "autoencoder", "input_dropout": 0.2}),
        ("fig2_mixture", {"posterior": "universal"}),
        ("fig2_vae_mixture", {}),
        ("nn_100", {"labels": 20, "average_after": 2}),
        ("mnist_100", {"labels": 20, "average_after": 0}),
        ("table1_gan", {"milestones": (2,)}),
        ("table1_gmmn", {"batch_size": 200, "pretraining": 2, "matching_layers": (16, 16)}),
    ],
)
def test_a_longer_profile_continues_a_shorter_one_to_the_bit(digits, runs, name, changes) -> None:
    e = small(name, **changes)
    whole = fit(e, digits, seed=3, epochs=4)
    for path in runs.rglob("*.safetensors"):
        path.unlink()
    fit(e, digits, seed=3, epochs=1)
    parts = fit(e, digits, seed=3, epochs=4)
    assert equal(weights(whole), weights(parts))
    assert whole.history == parts.history
    # … and the shorter one is still there
    again = fit(e, digits, seed=3, epochs=1)
    assert again.history["epoch"] == [1]


@pytest.mark.parametrize("together", [False, True])
def test_averaged_weights_are_the_mean_of_those_at_the_ends_of_epochs(
    digits, runs, together
) -> None:
    e, seeds = small("mnist_100", labels=20), [0, 1]
    options = {"seeds": seeds, "device": "cpu", "quiet": True, "together": together}
    after = [fit_replicates(e, digits, epochs=epochs, **options) for epochs in (2, 3)]
    averaging = fit_replicates(replace(e, average_after=1), digits, epochs=3, **options)
    for seed in seeds:
        run, plain = averaging[seed], after[1][seed]
        assert equal(weights(run), weights(plain))  # training does not know of it
        assert {
            k: v for k, v in run.history.items() if not k.startswith("averaged")
        } == plain.history
        tensors, _ = store.load(store.checkpoint_path(run.experiment, seed, 3))
        for name, parameter in plain.model.named_parameters():
            mean = (after[0][seed].model.get_parameter(name) + parameter) / 2
            torch.testing.assert_close(tensors[f"average/module.{name}"], mean)
        model = copy.deepcopy(plain.model)
        model.load_state_dict({k: tensors[f"average/module.{k}"] for k in model.state_dict()})
        images = Images.of(digits, e, seed, CPU)
        for name, error in evaluate(model, images).items():
            assert run.history[f"averaged {name}"] == [plain.history[name][0], ANY, error]


RUN = """
import sys
from dataclasses import replace
from aae_lib import data
from aae_lib.experiments import by_name
from aae_lib.training import fit
e = replace(by_name("mnist_100"), hidden=20, labels=20)
fit(e, data.load(sys.argv[1]), seed=0, epochs=40, device="cpu", checkpoint_seconds=0)
"""


def test_a_run_killed_at_three_random_moments_ends_in_the_same_bits(
    digits, digits_archive, runs, tmp_path, monkeypatch
) -> None:
    e = small("mnist_100", labels=20)
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "undisturbed"))
    undisturbed = fit(e, digits, seed=0, epochs=40)
    monkeypatch.setenv("AAE_RUNS", str(runs))
    environment = os.environ | {
        "TQDM_MININTERVAL": "0",  # a line of progress for each step: the moments to choose from
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    moments = random.Random(0)
    killed = 0
    for _ in range(3):
        command = [sys.executable, "-c", RUN, str(digits_archive)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            for _ in range(moments.randint(1, 60)):
                if not process.stderr.read(100):
                    break
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
    assert killed == 3
    resumed = fit(e, digits, seed=0, epochs=40)
    assert resumed.provenance["continued"]  # it did not begin anew
    assert equal(weights(undisturbed), weights(resumed))
    assert undisturbed.history == resumed.history


@pytest.mark.parametrize("together", [False, True])
def test_a_run_stopped_inside_an_epoch_goes_on_there_to_the_same_bits(
    digits, runs, tmp_path, monkeypatch, together
) -> None:
    e = small("mnist_100", labels=20, batch_norm="autoencoder", input_dropout=0.2)
    options = {"seeds": [0, 1], "device": "cpu", "quiet": True, "together": together}
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "undisturbed"))
    undisturbed = fit_replicates(e, digits, epochs=3, **options)
    monkeypatch.setenv("AAE_RUNS", str(runs))
    before, advance, steps = signal.getsignal(signal.SIGTERM), Program.advance, []

    def advance_until(stop: int | None):
        def advanced(self: Program) -> None:
            advance(self)
            steps.append(self)
            if len(steps) == stop:
                signal.raise_signal(signal.SIGTERM)

        return advanced

    for stop in (5, 16 + 7, None):  # inside the first epoch; far inside what is left of both; never
        steps.clear()
        monkeypatch.setattr(Program, "advance", advance_until(stop))
        try:
            resumed = fit_replicates(e, digits, epochs=3, **options)
        except Stopped as stopped:
            assert "the same command goes on" in str(stopped)
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(steps) < (1 if together else 2) * 3 * 16  # not all over again
    for run, other in zip(undisturbed, resumed, strict=True):
        assert equal(weights(run), weights(other))
        assert run.history == other.history
        assert not store.withins(other.experiment, other.seed)
        # alone, seed 1 began after the last stop
        assert ("continued" in other.provenance) == (together or other.seed == 0)


def test_sigterm_after_the_last_step_keeps_what_comes_next_from_beginning(
    digits, runs, monkeypatch
) -> None:
    e, evaluate = small("nn_100", labels=20), training.evaluate

    def last(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return evaluate(*arguments)

    monkeypatch.setattr(training, "evaluate", last)
    options = {"seeds": [0, 1], "epochs": 1, "device": "cpu", "quiet": True}
    with pytest.raises(Stopped, match="seed 0 is done and was asked to stop"):
        fit_replicates(e, digits, **options)
    assert list(store.checkpoints(e.on(digits), 0)) == [1]  # nothing is lost
    assert not store.checkpoints(e.on(digits), 1)


def test_a_run_that_was_stopped_further_on_is_not_taken_for_a_shorter_one(
    digits, runs, monkeypatch
) -> None:
    e, advance, steps = small("nn_100", labels=20), Program.advance, []

    def advanced(self: Program) -> None:
        advance(self)
        steps.append(self)
        if len(steps) == 2 * 16 + 5:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(Stopped, match="in epoch 3"):
        patch.setattr(Program, "advance", advanced)
        fit(e, digits, seed=0, epochs=3)
    assert list(store.withins(e.on(digits), 0)) == [2]
    shorter = fit(e, digits, seed=0, epochs=2)
    assert shorter.history["epoch"] == [1, 2]
    (plain,) = trained(program(e.on(digits), digits, 0), iterations=2 * 16).models
    assert equal(weights(shorter), dict(plain.state_dict()))


def test_a_corrupt_place_inside_an_epoch_is_named_and_the_epoch_begins_again(
    digits, runs, capsys
) -> None:
    e = small("mnist_100", labels=20)
    whole = fit(e, digits, seed=0, epochs=2)
    store.checkpoint_path(whole.experiment, 0, 2).unlink()
    path = store.within_path(whole.experiment, 0, 1)
    path.write_bytes(b"half-written")
    again = fit(e, digits, seed=0, epochs=2)
    assert str(path) in capsys.readouterr().err
    assert equal(weights(whole), weights(again))
    assert not path.exists()


def test_a_share_of_an_epoch_ends_within_it_and_nothing_goes_on_from_there(digits, runs) -> None:
    e = replace(small("clusters_16"), quick=0.2)
    options = {"seed": 0, "device": "cpu", "quiet": True}
    share = fit(e, digits, epochs=0.2, **options)
    assert share.history["epoch"] == [0.2]
    iterations = trained(program(e.on(digits), digits, 0), math.ceil(0.2 * 16))
    assert equal(weights(share), dict(iterations.models[0].state_dict()))
    whole = fit(e, digits, epochs=2, **options)
    assert whole.history["epoch"] == [1, 2]
    assert list(store.checkpoints(e.on(digits), 0)) == [0.2, 1, 2]
    assert fit(e, digits, epochs=0.2, **options).history == share.history
    for epochs in (1.5, 0, math.nan, "20"):
        with pytest.raises(UserError, match=f"epochs is {epochs!r}"):
            fit(e, digits, epochs=epochs, **options)


def test_images_are_standardised_by_the_training_set_and_the_checkpoint_keeps_that(
    digits, runs
) -> None:
    e = small("mnist_100", standardise=True, output="linear", input_noise=0.0)
    first = fit(e, digits, seed=0, epochs=1)
    pixels = digits.train.pixels()
    assert first.model.mean.numpy() == pytest.approx(pixels.mean(0), abs=1e-6)
    changing = pixels.std(0) > 0
    assert first.model.deviation.numpy()[changing] == pytest.approx(
        pixels.std(0)[changing], rel=1e-4
    )
    other = replace(digits, train=digits.validation)
    again = fit(e, replace(other, digest=digits.digest), seed=0, epochs=1)
    assert equal(weights(first), weights(again))  # loaded: not fitted to other images


def test_a_checkpoint_with_another_history_is_refused_and_an_older_one_is_not(tmp_path):
    path = tmp_path / "checkpoint-000001.safetensors"
    tensors, told = {"w": torch.arange(6.0)}, {"history": [16.25], "epoch": 1}
    store.save(path, tensors, told)
    loaded, metadata = store.load(path)
    assert torch.equal(loaded["w"], tensors["w"]) and metadata == told
    path.write_bytes(path.read_bytes().replace(b"16.25", b"16.24"))
    with pytest.raises(UserError, match="its content is not what was written"):
        store.load(path)
    older = {key: json.dumps(value) for key, value in told.items()}
    older["sha256"] = json.dumps(store.digest(tensors))  # of the tensors alone
    save_file(tensors, path, metadata=older)
    assert store.load(path)[1] == told


def test_a_corrupt_checkpoint_is_named_and_the_one_before_it_serves(digits, runs, capsys) -> None:
    e = small("fig2_gaussian")
    fit(e, digits, seed=0, epochs=1)
    whole = weights(fit(e, digits, seed=0, epochs=3))
    path = store.checkpoint_path(e.on(digits), 0, 3)
    path.write_bytes(path.read_bytes()[:-100])
    assert equal(whole, weights(fit(e, digits, seed=0, epochs=3)))
    assert str(path) in capsys.readouterr().err


def test_rolling_checkpoints_are_dropped_and_profile_ends_are_kept(digits, runs) -> None:
    e = small("fig2_gaussian")
    fit(e, digits, seed=0, epochs=4, checkpoint_seconds=0)
    assert list(store.checkpoints(e.on(digits), 0)) == [1, 4]


def test_epochs_that_are_shorter_than_a_minute_leave_checkpoints_at_their_end(
    digits, runs, monkeypatch
) -> None:
    """Not only inside an epoch, from where no other kind of device goes on. On a clock that ticks once a step."""
    advance, ticks = Program.advance, []

    def step(program: Program) -> None:
        if len(ticks) == 60:  # of sixteen an epoch
            raise SystemExit("killed")
        ticks.append(advance(program))

    monkeypatch.setattr(Program, "advance", step)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(len(ticks))))
    e = small("fig2_gaussian")
    with pytest.raises(SystemExit):
        fit(e, digits, seed=0, epochs=5, checkpoint_seconds=20)
    assert list(store.checkpoints(e.on(digits), 0)) == [1, 3]
    assert list(store.withins(e.on(digits), 0)) == []


def test_a_cost_that_is_not_finite_stops_the_run_with_one_message(digits, runs) -> None:
    e = small("fig2_gaussian", output="linear", reconstruction=Rates(1e12, 0.9))
    with pytest.raises(Diverged, match=r"diverged in epoch 1.*reconstruction.*learning rate"):
        fit(e, digits, seed=0, epochs=2)
    assert not list(runs.rglob("*.safetensors"))


def test_a_gpu_whose_memory_is_full_is_one_message(digits, runs, monkeypatch) -> None:
    def full(program: Program) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Program, "advance", full)
    seeds = {"seeds": [3, 4], "together": True}
    with pytest.raises(UserError, match=r"full: fig2_gaussian, seed 3, 4.*fewer at once"):
        fit_replicates(small("fig2_gaussian"), digits, epochs=1, **seeds)


def test_too_few_images_for_a_mini_batch(digits, runs) -> None:
    few = data.subset(digits, 50, 50, 50)
    with pytest.raises(UserError, match="50 training images are fewer than one mini-batch of 100"):
        fit(small("fig2_gaussian"), few, seed=0, epochs=1)


def full(*_: object) -> None:
    """A disk's answer to whoever writes."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_refuses_gets_one_message(digits, runs, monkeypatch) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        fit(small("fig2_gaussian"), digits, seed=0, epochs=1)
    assert [p.name for p in runs.rglob("*") if p.is_file()] == ["lock"]


def test_a_disk_that_is_full_later_on_costs_no_checkpoint_that_is_there(
    digits, runs, monkeypatch
) -> None:
    e = small("fig2_gaussian")
    fit(e, digits, seed=0, epochs=2)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        fit(e, digits, seed=0, epochs=3)
    assert list(store.checkpoints(e.on(digits), 0)) == [1, 2]


def test_a_run_store_that_cannot_be_read_gets_one_message(digits, runs, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(UserError, match=r"cannot read .*seed-0: Permission denied.*AAE_RUNS"):
        fit(small("fig2_gaussian"), digits, seed=0, epochs=1)


def test_a_wrong_device_is_refused() -> None:
    for name in ("cuda:99", "nonsense"):
        with pytest.raises(UserError, match=f"device '{name}' cannot be used here"):
            training.choose_device(name)


def test_bfloat16_is_refused_where_a_processor_would_imitate_it(digits, runs, monkeypatch) -> None:
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False
    )
    with pytest.raises(UserError, match="no products in bfloat16"):
        fit(small("mnist_100"), digits, seed=0, epochs=1, bfloat16=True)
    assert not runs.exists()


def test_a_run_says_that_its_products_were_of_bfloat16_and_goes_on_to_the_same_bits(
    digits, runs, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    e, options = small("mnist_100"), {"device": "cpu", "quiet": True, "seed": 0}
    whole = fit(e, digits, epochs=2, bfloat16=True, **options)
    assert whole.provenance["products"] == "bfloat16"
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "parts"))
    fit(e, digits, epochs=1, bfloat16=True, **options)
    parts = fit(e, digits, epochs=2, bfloat16=True, **options)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[key]), key
    longer = fit(e, digits, epochs=3, **options)  # in full precision from here on
    assert [stage.get("products") for stage in longer.provenance["continued"]] == ["bfloat16", None]


def test_the_paper_profile_needs_a_gpu_or_a_word() -> None:
    with pytest.raises(UserError, match="--allow-cpu"):
        training.require_gpu(PROFILES["paper"], "cpu")
    training.require_gpu(PROFILES["paper"], "cpu", allow_cpu=True)
    training.require_gpu(PROFILES["standard"], "cpu")


def test_the_progress_bar_has_epoch_costs_rate_and_time_left(digits, runs, capsys) -> None:
    fit(small("mnist_100", labels=20), digits, seed=4, epochs=2, quiet=False)
    line = capsys.readouterr().err.rstrip().split("\r")[-1]
    for part in (
        "mnist_100 seed 4 epoch 2/2",
        "/32 [",
        "<00:",
        "step/s",
        "reconstruction=",
        "test error=",
    ):
        assert part in line


def test_provenance_says_what_made_a_run(digits, runs) -> None:
    run = fit(small("fig2_gaussian"), digits, seed=0, epochs=1)
    made_by = run.provenance
    assert made_by["versions"]["torch"] == torch.__version__
    assert made_by["device"] == "cpu"
    assert made_by["threads"] == torch.get_num_threads()
    assert made_by["peak_memory_gib"] > 0
    assert made_by["hardware"]["cores"] == os.cpu_count()


def test_the_time_of_a_run_is_that_of_all_its_parts_and_its_share_of_what_it_had_company_in(
    digits, runs, monkeypatch
) -> None:
    """On a clock that ticks once a step; of sixteen steps an epoch."""
    advance, ticks = Program.advance, []
    monkeypatch.setattr(Program, "advance", lambda self: ticks.append(advance(self)))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(len(ticks))))
    e, options = small("fig2_gaussian"), {"seeds": [0, 1], "checkpoint_seconds": 7.0}
    alone = fit_replicates(e, digits, epochs=1, together=False, **options)
    assert [run.provenance["wall_seconds"] for run in alone] == [16, 16]
    longer = fit_replicates(e, digits, epochs=3, together=True, **options)
    assert [run.provenance["wall_seconds"] for run in longer] == [16 + 2 * 16 / 2] * 2


@pytest.mark.parametrize("name", ["mnist_100", "nn_100"])
def test_a_run_learns_to_classify(digits, runs, name: str) -> None:
    """Ten easy digits from 100 labels in a few epochs: far better than the 90 % of chance."""
    run = fit(replace(by_name(name), hidden=200), digits, seed=0, epochs=8)
    assert run.history["validation error"][-1] < 40
    assert len(run.history["test error"]) == 8


def test_errors_are_counted_on_the_right_images_without_dropout_or_noise(digits, runs) -> None:
    e = small("nn_100", labels=20, input_noise=0.3)
    run = fit(e, digits, seed=0, epochs=1)
    images = Images.of(digits, run.experiment, 0, CPU)
    run.model.train()
    first = training.evaluate(run.model, images)
    run.model.train()
    assert first == training.evaluate(run.model, images)
    run.model.eval()
    for name, split in (("validation error", digits.validation), ("test error", digits.test)):
        logits = run.model.encode_logits(torch.as_tensor(split.pixels()))["y"]
        wrong = sum(
            int(a != b) for a, b in zip(logits.argmax(1).tolist(), split.labels, strict=True)
        )
        assert first[name] == pytest.approx(100 * wrong / len(split))
    assert first["validation error"] != first["test error"]


def test_without_labels_validation_images_name_the_clusters(digits, runs) -> None:
    """Paper: §6, written out image by image; test labels are counted, never used."""
    e = small("clusters_16")
    run = fit(e, digits, seed=0, epochs=3)
    run.model.eval()
    q = {
        part: run.model.encode(torch.as_tensor(split.pixels()))["y"].detach()
        for part, split in (("validation", digits.validation), ("test", digits.test))
    }
    names = []
    for cluster in range(16):
        best = max(range(len(digits.validation)), key=lambda i: float(q["validation"][i, cluster]))
        names.append(int(digits.validation.labels[best]))
    for part, split in (("validation", digits.validation), ("test", digits.test)):
        wrong = sum(
            names[int(row.argmax())] != label
            for row, label in zip(q[part], split.labels, strict=True)
        )
        assert run.history[f"{part} error"][-1] == pytest.approx(100 * wrong / len(split))
    assert run.history["epoch"] == [1, 2, 3]
    assert "test error" not in fit(small("fig2_gaussian"), digits, seed=0, epochs=1).history


def test_the_rates_of_an_epoch_are_those_of_the_schedule(digits, runs) -> None:
    plain = small("fig2_gaussian", milestones=())
    stepped = small("fig2_gaussian", milestones=(1,), decay=0.0)
    one = weights(fit(plain, digits, seed=0, epochs=1))
    assert equal(one, weights(fit(stepped, digits, seed=0, epochs=1)))
    # in the second epoch all rates are zero: nothing moves
    assert equal(one, weights(fit(stepped, digits, seed=0, epochs=2)))
    assert not equal(one, weights(fit(plain, digits, seed=0, epochs=2)))


COUNTED = """
from aae_lib.engine import Program
advance = Program.advance
Program.advance = lambda self: (advance(self), print("step"))
"""


def test_two_processes_on_one_run_make_it_once(digits_archive, runs) -> None:
    program = RUN.replace("epochs=40", "epochs=3")
    command = [sys.executable, "-c", COUNTED + program, str(digits_archive)]
    pair = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    steps = 0
    for process in pair:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        steps += output.count("step\n")
    assert steps == 3 * 16
    assert [p.name for p in sorted(runs.rglob("checkpoint-*"))] == [
        "checkpoint-000001.safetensors",
        "checkpoint-000003.safetensors",
    ]


def test_a_flipped_bit_in_a_checkpoint_is_found(digits, runs, capsys) -> None:
    e = small("fig2_gaussian")
    whole = weights(fit(e, digits, seed=0, epochs=2))
    path = store.checkpoint_path(e.on(digits), 0, 2)
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)
    assert equal(whole, weights(fit(e, digits, seed=0, epochs=2)))
    assert "not what was written" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_refused(digits, runs, capsys) -> None:
    e = small("fig2_gaussian")
    fit(e, digits, seed=0, epochs=1)
    mine, other = (store.checkpoint_path(e.on(digits), seed, 1) for seed in (0, 1))
    other.parent.mkdir(parents=True)
    other.write_bytes(mine.read_bytes())
    run = fit(e, digits, seed=1, epochs=1)
    assert "belongs to another run" in capsys.readouterr().err
    assert run.seed == 1


def test_a_checkpoint_under_another_epoch_or_of_other_rates_is_refused(
    digits, runs, capsys
) -> None:
    e = small("fig2_gaussian").on(digits)
    fit(e, digits, seed=0, epochs=1)
    mine = store.checkpoint_path(e, 0, 1)
    slower = replace(e, adversarial=Rates(0.01, 0.1))
    for other, epochs in ((e, 2), (slower, 1)):
        path = store.checkpoint_path(other, 0, epochs)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mine.read_bytes())
        run = fit(other, digits, seed=0, epochs=epochs)
        assert f"{path} belongs to another run" in capsys.readouterr().err
        (plain,) = trained(program(other, digits, 0), iterations=16 * epochs).models
        assert equal(weights(run), dict(plain.state_dict()))


def test_a_checkpoint_with_another_models_tensors_is_refused(digits, runs, capsys) -> None:
    e = small("fig2_gaussian")
    whole = weights(fit(e, digits, seed=0, epochs=1))
    path = store.checkpoint_path(e.on(digits), 0, 1)
    tensors, metadata = store.load(path)
    del tensors["model/output.0.bias"]
    store.save(path, tensors, {k: v for k, v in metadata.items() if k != "sha256"})
    assert equal(whole, weights(fit(e, digits, seed=0, epochs=1)))
    assert "holds another model's tensors" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [-1, 0.5, True])
def test_what_is_no_seed_is_refused(digits, runs, seed) -> None:
    with pytest.raises(UserError, match=f"seed {seed}; a seed is a whole number"):
        fit(small("fig2_gaussian"), digits, seed=seed, epochs=1)
    assert not runs.exists()


@pytest.mark.parametrize("share", [1 / 3, 0.05, 1e-4])
def test_a_share_of_an_epoch_is_found_again(digits, runs, monkeypatch, share: float) -> None:
    e = small("fig2_gaussian")
    run = fit(e, digits, seed=0, epochs=share)
    assert list(store.checkpoints(run.experiment, 0)) == [share]
    monkeypatch.setattr(Program, "advance", None)  # nothing is trained again
    again = fit(e, digits, seed=0, epochs=share)
    assert equal(weights(run), weights(again))


def test_an_epoch_that_began_on_another_kind_of_device_begins_again(digits, runs, capsys) -> None:
    e = small("fig2_gaussian")
    first, whole = (fit(e, digits, seed=0, epochs=n) for n in (1, 2))
    store.checkpoint_path(whole.experiment, 0, 2).unlink()
    tensors, metadata = store.load(store.checkpoint_path(first.experiment, 0, 1))
    tensors |= {
        "standing/position": torch.tensor(1),
        "standing/generator": torch.zeros(16, dtype=torch.uint8),  # as a GPU's is
    }
    store.save(store.within_path(first.experiment, 0, 1), tensors, metadata)
    copy = store.within_path(first.experiment, 0, 1).with_stem("within-000001.bak")
    copy.write_bytes(b"")  # somebody's own: not looked at
    again = fit(e, digits, seed=0, epochs=2)
    assert "another kind of device" in capsys.readouterr().err
    assert equal(weights(whole), weights(again))


def test_fewer_categories_than_classes_become_as_many(digits, runs) -> None:
    e = small("nn_100", labels=50, codes=(Code("y", Categorical(5)),))
    run = fit(e, digits, seed=0, epochs=1)
    assert run.experiment.code("y").prior.dim == digits.classes


def test_what_a_killed_process_left_half_written_is_swept_away(digits, runs) -> None:
    e = small("fig2_gaussian")
    folder = store.run_folder(e.on(digits), 0)
    folder.mkdir(parents=True)
    (folder / f".checkpoint-000001.safetensors.0123abcd{store.TEMPORARY}").write_bytes(b"half")
    (folder / f".0123abcd{store.TEMPORARY}").mkdir()  # `store.scratch`
    fit(e, digits, seed=0, epochs=1)
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoint-000001.safetensors", "lock"]


def test_a_run_that_goes_on_says_where_it_was_before(digits, runs, monkeypatch) -> None:
    """And how much of its time was spent by then; its memory is the most that it ever held."""
    e = small("fig2_gaussian")
    peaks = iter([3.0, 0.5])
    monkeypatch.setattr(training, "peak_memory_gib", lambda device: next(peaks))
    first = fit(e, digits, seed=0, epochs=1)
    run = fit(e, digits, seed=0, epochs=2)
    assert run.provenance["continued"][0]["after_seconds"] == first.provenance["wall_seconds"]
    assert run.provenance["peak_memory_gib"] == 3.0
    assert len(run.provenance["continued"]) == 1
    assert run.provenance["continued"][0]["versions"] == run.provenance["versions"]


def test_more_labels_than_images_are_refused(digits, runs) -> None:
    with pytest.raises(UserError, match="5000 labelled examples"):
        fit(small("mnist_100", labels=5000), digits, seed=0, epochs=1)


def test_all_labels_are_all_labels(digits) -> None:
    images = Images.of(digits, small("mnist_all"), 0, CPU)
    assert torch.equal(images.known, images.train_labels)


def test_a_share_of_labels_is_that_share_of_the_training_images(digits) -> None:
    """Paper: §2.3, 10K of 50K."""
    images = Images.of(digits, small("fig4_mixture"), 0, CPU)
    assert len(images.labelled) == len(digits.train) / 5
    assert (images.known < digits.classes).sum() == len(digits.train) / 5


def test_images_of_another_number_of_classes_get_a_code_of_that_size(digits, runs) -> None:
    few = replace(
        digits,
        **{
            name: data.Split(part.images[part.labels < 4], part.labels[part.labels < 4])
            for name, part in (
                ("train", digits.train),
                ("validation", digits.validation),
                ("test", digits.test),
            )
        },
        classes=4,
        digest="f" * 12,
    )
    run = fit(small("mnist_100"), few, seed=0, epochs=1)
    assert run.model.heads["y"][0].out_features == 4
    assert run.model.discriminators["y"][0].in_features == 4


def test_real_mnist_runs_through(mnist, runs) -> None:
    dataset = data.subset(mnist, 200, 100, 100)
    run = fit(small("mnist_100"), dataset, seed=0, epochs=1)
    assert set(run.history) >= {"reconstruction", "discriminator y", "generator z", "test error"}


@pytest.mark.parametrize("name", ["fig2_gaussian", "mnist_100", "table1_gan"])
def test_a_run_comes_back_ready_to_be_looked_at(digits, runs, name: str):
    """Without dropout, and with the statistics of batch norm that training has left."""
    experiment = replace(by_name(name), hidden=20)
    for _ in ("trained", "loaded"):
        assert not fit(experiment, digits, seed=0, epochs=1).model.training


def test_the_end_of_the_schedule_is_kept(digits, runs):
    experiment = replace(by_name("fig2_gaussian"), hidden=20, epochs=3)
    for epochs in (3, 4):
        fit(experiment, digits, seed=0, epochs=epochs)
    assert list(store.checkpoints(experiment.on(digits), 0)) == [1, 3, 4]


def test_the_numbers_of_a_seed_are_those_of_the_published_runs(digits):
    """Labelled images, weights, order and noise: where they change, raise config.MATHEMATICS."""
    experiment = replace(by_name("mnist_100"), hidden=20, labels=20)
    chosen = data.balanced_labels(np.arange(1000) % 10, 13, seed=0)
    assert chosen[:5].tolist() == [187, 494, 823, 194, 561]
    model, _ = training.build(experiment, digits.dim, digits.classes, 0, CPU)
    first = model.encoder[0].weight[0, :3].tolist()
    assert first == pytest.approx([0.008802, -0.006083, 0.006224], abs=2e-6)
    source = epoch_generator(0, 1, CPU)
    order, labelled = epoch_order(Images.of(digits, experiment, 0, CPU), experiment, source)
    assert order[0, :5].tolist() == [1398, 11, 1486, 54, 7]
    assert labelled[0, :5].tolist() == [709, 15, 1281, 351, 673]
    assert torch.randint(1000, (3,), generator=source).tolist() == [713, 112, 162]
