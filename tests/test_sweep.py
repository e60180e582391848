"""What `make sweep` measures: processes that begin together, numbers that add up, and one line for a failure."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from materials import main_of

from aae_lib import store
from aae_lib.errors import UserError
from aae_lib.training import Replica, Run, build

FOLDER = Path(__file__).parent / "sweep"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    module = main_of(FOLDER)
    monkeypatch.setattr(module, "WRITERS", (1, 3))
    monkeypatch.setattr(module, "LOCKERS", 3)
    return module


def test_all_do_their_own_part_and_each_is_timed(harness, tmp_path: Path):
    times = harness.all_at_once(3, lambda i: (tmp_path / str(i)).touch())
    assert len(times) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_a_process_that_fails_is_told(harness, capfd):
    with pytest.raises(UserError, match="one of 2 processes failed"):
        harness.all_at_once(2, lambda i: 1 / i)


def test_rows_tell_what_lies_on_the_disk(harness, tmp_path: Path):
    model, descent = build(harness.EXPERIMENT, 784, 10, 0, torch.device("cpu"))
    replica = Replica(Run(harness.EXPERIMENT, 0, 0, model, {}, {}), descent, {})
    files, rate = harness.checkpoints(tmp_path, replica)
    written = sorted(tmp_path.glob("writer-*/*"))
    assert len(written) == 3 and all(store.load(path) for path in written)
    megabytes = written[0].stat().st_size / 1e6
    kept = 5  # after 1, 50, 500, 1000 and 5000 epochs
    assert (
        files["measured"]
        == f"{kept} checkpoints and a lock for each run, {kept * megabytes:.0f} MB"
    )
    assert files["thousand"].startswith("6000 files in 1000 folders")
    assert rate["what"].startswith(f"A checkpoint of {megabytes:.0f} MB")
    assert "120 times the same lock" in harness.locks(tmp_path)["measured"]


def test_planning_needs_a_sound_workflow_and_counts_what_is_there(
    harness, tmp_path: Path, monkeypatch
):
    asked = []

    def snakemake(command, **_):
        asked.append(sum(Path(target).exists() for target in command[command.index("--") + 1 :]))
        return SimpleNamespace(returncode=len(asked) == 3, stderr="no such rule")

    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(harness.subprocess, "run", snakemake)
    assert "1000 seeds of mnist_100" in harness.graph(tmp_path)["what"]
    assert asked == [0, 1000]
    with pytest.raises(UserError, match="snakemake failed: no such rule"):
        harness.asked([], tmp_path)


def test_what_was_measured_is_written_with_its_commit(harness, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("AAE_BUILD", str(tmp_path))
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(sys, "argv", ["sweep"])
    row = {"what": "it", "measured": "3 s", "thousand": "once"}
    for part in "graph", "locks":
        monkeypatch.setattr(harness, part, lambda *_: row)
    monkeypatch.setattr(harness, "checkpoints", lambda *_: [row])
    harness.main()
    assert "it: 3 s" in capsys.readouterr().out
    assert json.loads((tmp_path / "sweep.json").read_bytes()) == [row] * 3
    assert "commit" in store.made(json.loads((tmp_path / "sweep_details.json").read_bytes()))

    def fails(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(harness, "locks", fails)
    with pytest.raises(UserError, match="the disk is full"):
        harness.main()
