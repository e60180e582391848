"""What of `make slurm` needs no Slurm: the cluster that it describes, what it tells as lost, and when it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from materials import main_of

from aae_lib.errors import UserError, exit_code
from aae_lib.store import REPOSITORY

FOLDER = Path(__file__).parent / "slurm"
EVERY = {seed: (f"sum {seed}", {"loss": [seed]}) for seed in range(12)}


@pytest.fixture(scope="module")
def harness():
    return main_of(FOLDER)


@pytest.fixture
def able(harness, monkeypatch):
    """A machine that has all that a cluster needs; each test takes something away."""
    monkeypatch.setattr(harness, "find_spec", lambda name: name)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    harness.install()


def test_the_cluster_has_a_controller_and_two_nodes_with_files_and_ports_of_their_own(harness):
    ports = harness.free_ports(3)
    assert len(set(ports)) == 3
    text = harness.configuration(Path("/somewhere"), "host", ports)
    nodes = [line for line in text.splitlines() if line.startswith("NodeName=")]
    assert [line.split()[0] for line in nodes] == ["NodeName=node1", "NodeName=node2"]
    assert [f"Port={port}" in line for port, line in zip(ports[1:], nodes, strict=True)] == [1, 1]
    assert f"SlurmctldPort={ports[0]}\n" in text
    assert "Nodes=node1,node2" in text
    places = [line for line in text.splitlines() if "/" in line and "Type=" not in line]
    assert all(
        "=/somewhere/" in line for line in places if "Plugin" not in line and "(" not in line
    )


def test_a_replicate_that_differs_or_is_missing_is_told(harness):
    assert harness.differing(EVERY, EVERY) == []
    other = EVERY | {3: ("another sum", EVERY[3][1]), 7: (EVERY[7][0], {"loss": [0.5]})}
    del other[11]
    assert harness.differing(other, EVERY) == [
        "seed 3 is not the same in both stores",
        "seed 7 is not the same in both stores",
        "seed 11 is not in the cluster's store",
    ]
    assert harness.differing(EVERY, other)[2] == "seed 11 is not in the local store"


def test_a_checkpoint_that_is_not_there_is_not_in_the_store(harness, tmp_path: Path):
    assert harness.contents({0: tmp_path / "checkpoint-000002.safetensors"}) == {}


class Queue:
    """A cluster that has come to its end, as the queue then tells it."""

    def __init__(self, harness, state: str, restarts: int):
        self.told = {
            2: harness.Job("train_mnist_100_1", state, "node1", 0),
            3: harness.Job("train_mnist_100_2", "COMPLETED", "node2", restarts),
        }

    def jobs(self):
        return self.told


def test_faults_that_hit_nothing_are_told(harness):
    def missed(state: str = "FAILED", restarts: int = 1, **what) -> list[str]:
        return harness.Faults(Queue(harness, state, restarts), {}, print, **what).missed()

    both = {"killed": 2, "fell": 3, "back": True}
    assert missed(**both) == []
    assert missed(state="COMPLETED", **both) == ["job 2 ended as COMPLETED though killed"]
    assert missed(restarts=0, **both) == ["job 3 was not queued again when its node fell"]
    assert missed(**both | {"back": False}) == ["the node that fell did not come back"]
    assert missed() == [
        "no training was killed: the sweep was over before",
        "no node fell: the sweep was over before",
    ]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the cluster is on Linux alone")
def test_a_node_s_processes_are_its_jobs_and_the_daemons_that_write_to_its_log(
    harness, tmp_path: Path, monkeypatch
):
    code = "print(flush=True); input()"
    training = (sys.executable, "-c", code, "mnist_100", "--seeds", "3")
    monkeypatch.setattr(harness, "TRAINING", training[:3])
    cluster = harness.Cluster(tmp_path)
    environment = cluster.environment | {"SLURMD_NODENAME": "node1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # The shell that starts a training holds its command line too, but is not the training.
    shell = f'{sys.executable} "$@"; true'
    command = ["/bin/sh", "-c", shell, "sh", *training[1:]]
    with (
        (tmp_path / "node2.log").open("wb") as log,
        subprocess.Popen(command, env=environment, **pipes) as job,
        subprocess.Popen(training, env=cluster.environment, stderr=log, **pipes) as keeper,
    ):
        job.stdout.readline(), keeper.stdout.readline()
        found = {p.pid for p in cluster.processes("node1")}
        assert job.pid in found and keeper.pid not in found
        trains = cluster.training("node1", 3)
        assert trains.pid in found - {job.pid} and cluster.training("node1", 4) is None
        assert [p.pid for p in cluster.processes("node2")] == [keeper.pid]
        assert {p.pid for p in cluster.processes()} == {*found, keeper.pid}
        assert harness.Cluster(tmp_path / "other").processes() == []
        for process in job, keeper:
            process.communicate(b"\n")
    assert cluster.processes() == []


def test_a_failed_sweep_ends_with_the_words_of_the_last_job(harness, tmp_path: Path):
    (tmp_path / "snakemake.out").write_text("x" * 5000 + " job 2 failed")
    logs = tmp_path / ".snakemake" / "slurm_logs" / "rule_train"
    logs.mkdir(parents=True)
    for age, name in enumerate(("first", "last")):
        (logs / f"{name}.log").write_text(f"{name} words")
        os.utime(logs / f"{name}.log", (age, age))
    told = harness.last_words(tmp_path)
    assert len(told) < 3100 and told.endswith("job 2 failed\n\nlast words")


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ("plugin", "Snakemake's Slurm plugin is missing"),
        ("root", "only root may start a cluster's daemons"),
        ("apt-get", "slurmctld, slurmd missing, and apt-get too"),
    ],
)
def test_a_machine_that_can_have_no_cluster_is_told_in_one_line(
    harness, able, monkeypatch, capsys, tmp_path: Path, lacking: str, told: str
):
    if lacking == "plugin":
        monkeypatch.setattr(harness, "find_spec", lambda name: None)
    elif lacking == "root":
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
    else:
        gone = ("slurmctld", "slurmd", "apt-get")
        monkeypatch.setattr(shutil, "which", lambda name: None if name in gone else name)
    monkeypatch.setenv("AAE_BUILD", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["slurm"])
    monkeypatch.setattr(harness.signal, "signal", lambda *_: None)
    assert exit_code("slurm", harness.main) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"slurm: {told}") and said.count("\n") == 1
    assert not (tmp_path / "slurm.log").exists()


def test_the_workflow_asks_for_no_number_of_cores_where_threads_are_given():
    """On a cluster there is none, and Snakemake then ends; a dry run would not tell."""

    class Workflow:
        @property
        def cores(self):
            raise AssertionError("a cluster has no number of cores")

    text = (REPOSITORY / "Snakefile").read_text()
    function = re.search(r"^def whole\(.*?(?=^def )", text, re.DOTALL | re.MULTILINE)[0]
    (line,) = re.findall(r"^    (THREADS = .*)$", text, re.MULTILINE)
    names = {"config": {"threads": 3}, "workflow": Workflow(), "UserError": UserError}
    exec(f"{function}\n{line}", names)
    assert names["THREADS"] == 3
    exec(
        f"{function}\n{line}", names := names | {"config": {}, "workflow": SimpleNamespace(cores=8)}
    )
    assert names["THREADS"] == 4
