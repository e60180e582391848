"""What `make slurm` does before, beside and after the cluster: its configuration, its refusals, its comparison."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aae_lib.errors import UserError

FOLDER = Path(__file__).parent / "slurm"


@pytest.fixture(scope="module")
def slurm():
    spec = importlib.util.spec_from_file_location("slurm_main", FOLDER / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["slurm_main"] = module  # where a dataclass looks for its module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["slurm_main"]


def test_a_cluster_is_a_controller_and_two_nodes_on_ports_of_their_own(slurm, tmp_path: Path):
    ports = slurm.free_ports(3)
    assert len(set(ports)) == 3
    text = slurm.configuration(tmp_path, "host", ports)
    for name, port in zip(slurm.NODES, ports[1:], strict=True):
        (line,) = (line for line in text.splitlines() if line.startswith(f"NodeName={name} "))
        assert f" Port={port} " in line
    assert f"SlurmctldPort={ports[0]}\n" in text
    assert f"Nodes={','.join(slurm.NODES)} " in text


def test_what_is_missing_or_differs_is_told_by_seed(slurm):
    good = {seed: f"weights of {seed}" for seed in range(slurm.REPLICATES)}
    assert slurm.differing(good, good) == []
    lost = {seed: value for seed, value in good.items() if seed != 3}
    assert slurm.differing(lost, good) == ["seed 3 is not in the cluster's store"]
    assert slurm.differing(good, lost) == ["seed 3 is not in the local store"]
    assert slurm.differing(good | {7: "others"}, good) == ["seed 7 differs"]


def test_a_checkpoint_that_is_not_there_is_not_in_the_store(slurm, tmp_path: Path):
    assert slurm.contents({0: tmp_path / "checkpoint-000002.safetensors"}) == {}


def test_a_machine_that_cannot_or_must_not_is_refused(slurm, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(slurm.os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="need root"):
        slurm.install()
    monkeypatch.setattr(slurm.os, "geteuid", lambda: 0)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    monkeypatch.setattr(slurm, "CONFIGURATION", tmp_path / "slurm.conf")
    with pytest.raises(UserError, match="munged is missing, and so is apt-get"):
        slurm.install()
    (tmp_path / "slurm.conf").write_text("")
    with pytest.raises(UserError, match="belongs to a cluster already"):
        slurm.install()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Slurm's cluster is on Linux alone")
def test_the_processes_of_a_node_are_those_that_its_jobs_started(slurm, tmp_path: Path):
    marks = {
        "AAE_CLUSTER": str(tmp_path),
        "SLURM_JOB_ID": "3",
        "SLURMD_NODENAME": slurm.NODES[0],
    }
    code = f"print('{slurm.TRAINING}', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | marks,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        cluster = slurm.Cluster(tmp_path)
        assert cluster.trainings(slurm.NODES[0]) == [process.pid]
        assert cluster.trainings(slurm.NODES[1]) == []
        assert slurm.Cluster(tmp_path / "other").trainings(slurm.NODES[0]) == []
        assert [pid for pid, _ in slurm.ancestors(process.pid)][:2] == [process.pid, os.getpid()]
    finally:
        process.communicate()
    assert list(slurm.ancestors(process.pid)) == []


def test_a_failed_sweep_ends_with_the_words_of_the_last_job(slurm, tmp_path: Path):
    (tmp_path / "snakemake.out").write_text("x" * 5000 + " job 2 failed")
    logs = tmp_path / ".snakemake" / "slurm_logs" / "rule_train"
    logs.mkdir(parents=True)
    for age, name in enumerate(("first", "last")):
        (logs / f"{name}.log").write_text(f"{name} words")
        os.utime(logs / f"{name}.log", (age, age))
    told = slurm.last_words(tmp_path)
    assert len(told) < 3100
    assert told.endswith("job 2 failed\n\nlast words")
