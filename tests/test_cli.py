"""The command line: what it prints, how it refuses, what it leaves in the store."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from materials import write_results

from aae_lib import cli, config, data, training
from aae_lib.book import Project
from aae_lib.claims import load


@pytest.fixture
def roots(tmp_path, monkeypatch):
    monkeypatch.setenv("AAE_BUILD", str(tmp_path))
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    return tmp_path


def test_a_folder_that_may_not_be_searched_is_told_in_one_line(monkeypatch, capsys) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/locked")

    monkeypatch.setattr(cli.shutil, "disk_usage", refused)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "aae: [Errno 13] Permission denied: '/locked'\n"


def test_help_teaches_and_needs_no_torch() -> None:
    program = (
        "import sys; from aae_lib import cli\n"
        "try: cli.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("mnist_100", "standard", "--seeds", "--device", "Example:"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["trian", "mnist_100"], "invalid choice"),
        (["train", "mnist_10"], "did you mean 'mnist_100'"),
        (["train", "mnist_100", "--profile", "smok"], "did you mean 'smoke'"),
        (["train", "mnist_100", "--seeds", "x"], "--seeds 'x'"),
        (["train", "mnist_100", "--seeds", ""], "--seeds ''"),
        (["train", "mnist_100", "--profile", "smoke", "--data", "nowhere.npz"], "nowhere.npz"),
        (["train", "mnist_100", "--profile", "paper", "--device", "cpu"], "--allow-cpu"),
        (["claims", "--profile", "fast"], "unknown profile 'fast'"),
        (["doctor", "--device", "cuda:77"], "device 'cuda:77'"),
        (["train", "nn_100", "--data", "~nobody-here/x.npz"], "no such home folder"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, message, roots, capsys) -> None:
    try:
        code = cli.main(arguments)
    except SystemExit as stop:  # argparse's own refusals
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_train_then_claims(roots, digits_archive, capsys) -> None:
    command = ["train", "nn_100", "--profile", "smoke", "--data", str(digits_archive)]
    assert cli.main([*command, "--seeds", "0,2", "--device", "cpu", "--quiet"]) == 0
    assert capsys.readouterr().out.count("test error") == 2
    assert {p.name for p in (roots / "runs").glob("*/*")} == {"seed-0", "seed-2"}
    assert cli.main(["claims", "--profile", "smoke"]) == 0
    assert "not run" in capsys.readouterr().out


def test_claims_as_json(capsys) -> None:
    assert cli.main(["claims", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    keys = [
        "id",
        "place",
        "reported",
        "obtained",
        "std",
        "n",
        "profile",
        "epochs",
        "verdict",
        "reason",
    ]
    assert [list(row) for row in rows] == [keys] * len(load())


def test_doctor_reports_and_estimates(roots, monkeypatch, capsys) -> None:
    monkeypatch.setenv("AAE_DATA", str(roots / "data"))
    monkeypatch.setattr(training, "seconds_per_epoch", lambda experiment, device, pixels: 60.0)
    assert cli.main(["doctor", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "GiB free" in out
    assert "nvidia-smi" not in out
    line = next(row for row in out.splitlines() if row.startswith("mnist_100 "))
    # one minute an epoch: 1, 50 with 3 replicates, 5000 with 10
    assert line.split() == ["mnist_100", "1.0", "min", "1.0", "min", "2.5", "h", "34.7", "days"]
    assert re.search("^TFD +missing: it is not public$", out, re.M)
    assert "table1_tfd_aae" not in out
    (data.root() / "tfd").mkdir(parents=True)
    (data.root() / "tfd" / "TFD_48x48.mat").touch()
    assert cli.main(["doctor", "--device", "cpu"]) == 0
    assert re.search("^table1_tfd_aae +2.0 min", capsys.readouterr().out, re.M)


def test_a_terminal_without_dashes_is_told_the_claims_all_the_same(roots) -> None:
    command = [sys.executable, "-m", "aae_lib.cli", "claims"]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mnist" in done.stdout.lower()


def test_windows_is_told_what_the_library_needs() -> None:
    script = "import sys; sys.platform = 'win32'; import aae_lib"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.endswith(
        "ImportError: aae_lib needs Linux or macOS: on Windows, its Linux (WSL)\n"
    )


@pytest.mark.parametrize("smi", [None, "/usr/bin/nvidia-smi"])
def test_doctor_says_where_a_driver_is_no_help(smi, roots, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training, "seconds_per_epoch", lambda *_: 60.0)
    monkeypatch.setattr(training.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(cli.shutil, "which", lambda _: smi)
    assert cli.main(["doctor"]) == 0
    assert ("PyTorch finds no GPU" in capsys.readouterr().out) == bool(smi)


def test_what_train_is_given_reaches_training(roots, digits_archive, monkeypatch) -> None:
    asked = {}
    monkeypatch.setattr(training, "fit_replicates", lambda *_, **given: asked.update(given) or [])
    command = ["train", "nn_100", "--profile", "standard", "--data", str(digits_archive)]
    assert cli.main(command) == 0
    usual = {"device": "auto", "together": None, "bfloat16": False, "quiet": False}
    assert asked == {"seeds": [0, 1, 2], "epochs": 50, **usual}
    own = ["--seeds", "0,2", "--device", "cpu", "--together", "--bfloat16", "--quiet"]
    assert cli.main([*command, *own]) == 0
    assert [asked[name] for name in ("seeds", *usual)] == [[0, 2], "cpu", True, True, True]
    assert cli.main([*command, "--no-together"]) == 0
    assert asked["together"] is False
    paper = ["train", "nn_100", "--profile", "paper", "--device", "cpu"]
    paper += ["--data", str(digits_archive)]
    assert cli.main(paper) == 2
    assert cli.main([*paper, "--allow-cpu"]) == 0
    assert (asked["seeds"], asked["epochs"]) == (list(range(10)), 5000)


def test_without_data_an_experiment_trains_on_its_own(roots, digits, monkeypatch) -> None:
    loaded = []
    monkeypatch.setattr(config, "load", lambda source: loaded.append(source) or digits)
    monkeypatch.setattr(training, "fit_replicates", lambda *_, **__: [])
    for name in ("svhn_1000", "table1_tfd_gan", "mnist_100"):
        assert cli.main(["train", name, "--device", "cpu"]) == 0
    assert loaded == ["svhn", "tfd", "mnist"]


def test_claims_of_a_profile_are_of_no_other(roots, capsys) -> None:
    path = roots / "results" / "standard" / "01_introduction.json"
    write_results(Project(), path, path.stem)
    name = "a2.mnist-100.epoch-1"
    for profile, obtained in ("standard", 16.0), ("quick", None):
        assert cli.main(["claims", "--json", "--profile", profile]) == 0
        rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows[name]["obtained"] == obtained


def test_sigterm_leaves_a_place_to_go_on_from_and_a_code_to_requeue_on(
    roots, digits_archive
) -> None:
    command = [sys.executable, "-m", "aae_lib.cli", "train", "nn_100", "--profile", "standard"]
    command += ["--seeds", "0", "--device", "cpu", "--data", str(digits_archive)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        read = ""
        while "epoch 2/50" not in read:
            more = process.stderr.read(100)
            assert more, read  # it ended before
            read += more
        process.terminate()
        read += process.stderr.read()
    assert process.returncode == os.EX_TEMPFAIL == 75
    assert re.search(
        r"aae: nn_100 seed 0 was stopped in epoch \d+; the same command goes on\.$", read
    )
    assert list(roots.rglob("within-*.safetensors"))


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m aae_lib.cli claims | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_reader_who_has_seen_enough_hides_no_problem() -> None:
    """What was printed meets the closed pipe only after the command's end, with its exit code."""
    seen, pipe = os.pipe()
    os.close(seen)
    code = (
        "import sys\nfrom aae_lib.errors import exit_code\n"
        "def problems():\n    print('one')\n    return 1\nsys.exit(exit_code('aae', problems))"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with os.fdopen(pipe, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=closed, stderr=subprocess.PIPE, env=env
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_seconds_per_epoch_are_those_of_a_step_times_the_steps_of_mnist(monkeypatch) -> None:
    from aae_lib.experiments import by_name

    clock = iter([10.0, 17.0])  # seven steps are timed
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(clock))
    found = training.seconds_per_epoch(replace(by_name("nn_100"), hidden=16), "cpu")
    assert found == pytest.approx(50_000 / 100)


def test_ctrl_c_is_told_in_one_line_and_is_no_success(monkeypatch, capsys) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.shutil, "disk_usage", interrupted)
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "aae: interrupted.\n"
    monkeypatch.setattr(config.Profile, "dataset", interrupted)
    assert cli.main(["train", "mnist_100"]) == 130
    assert capsys.readouterr().err.startswith("aae: interrupted; the last checkpoint stands")


def test_a_torch_that_does_not_load_is_told_in_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "aae_lib.training", None)
    assert cli.main(["train", "mnist_100"]) == 2
    assert capsys.readouterr().err.endswith("; run 'make -B setup'.\n")


def test_seconds_per_epoch_are_of_the_stage_that_a_model_is_longest_in(monkeypatch) -> None:
    from aae_lib.engine import Program
    from aae_lib.experiments import by_name

    started = []
    start = Program.start

    def noted(program: Program, epoch: int) -> None:
        started.append(epoch)
        start(program, epoch)

    monkeypatch.setattr(Program, "start", noted)
    e = replace(by_name("table1_gmmn"), hidden=16, matching_layers=(16, 16))
    training.seconds_per_epoch(e, "cpu")
    assert started == [e.pretraining + 1]
