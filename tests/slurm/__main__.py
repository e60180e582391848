"""`make slurm`: the Snakefile on a real Slurm cluster, which loses a job and a node on the way.

Installs Debian's slurm-wlm and munge if they are missing (as root) and starts a cluster on this machine alone: a
controller and two node daemons, with a key, ports and files of their own. Snakemake sends twelve replicates of an
experiment (easy digits, the smoke profile) to it, a job for each. One training is killed outright; then a node falls
with all that runs on it, and comes back once the cluster has missed it. In the end all twelve have to be in the store,
equal to the bit to those of a local run, and both faults have to have hit something. Writes what happened to slurm.log
of the build folder; all else but the packages is gone afterwards. Exit code 0 if nothing was lost, 1 if something was,
2 if there can be no cluster here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the tests' own small files

from aae_lib import store
from aae_lib.config import profile
from aae_lib.errors import UserError, exit_code
from aae_lib.experiments import by_name
from aae_lib.store import REPOSITORY

EXPERIMENT = "mnist_100"
SEEDS = range(12)
NODES = ("node1", "node2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo")
TRAINING = (sys.executable, "-m", "aae_lib.cli", "train")  # how the process that trains begins
PATIENCE = 120.0  # seconds that a daemon may take to answer
QUEUED = 200  # jobs that are only queued, to see how fast
PAUSE = 0.5  # seconds between two looks at the cluster


# ---- Whether there can be a cluster ----------------------------------------------------------------


def install() -> None:
    """Install Slurm where it is missing. Raises UserError, in one line, where there can be no cluster."""
    if find_spec("snakemake_executor_plugin_slurm") is None:
        raise UserError("Snakemake's Slurm plugin is missing; 'make tools' installs it.")
    if os.geteuid() != 0:
        raise UserError("only root may start a cluster's daemons; run it as root, in a container.")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise UserError(f"{', '.join(missing)} missing, and apt-get too: install Slurm and munge.")
    command = ["apt-get", "install", "--yes", "--quiet", "slurm-wlm", "munge"]
    quietly = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=quietly, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"'{' '.join(command)}' failed: {last} (try 'apt-get update').")


# ---- The cluster -----------------------------------------------------------------------------------


def configuration(folder: Path, host: str, ports: tuple[int, ...]) -> str:
    """slurm.conf of a controller and two nodes of one core each on this machine, all their files in `folder`."""
    controller, *nodes = ports
    lines = [
        "ClusterName=aae",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={controller}",
        "SlurmUser=root",
        # After a node fell, its jobs may start anew only when their old credentials have run out.
        f"AuthInfo=socket={folder}/munge.socket,cred_expire=20",
        f"StateSaveLocation={folder}/state",
        f"SlurmctldPidFile={folder}/controller.pid",
        f"SlurmctldLogFile={folder}/controller.log",
        f"SlurmdSpoolDir={folder}/%n",
        f"SlurmdPidFile={folder}/%n.pid",
        f"SlurmdLogFile={folder}/%n.log",
        "SlurmdParameters=config_overrides",  # a node has the core that is said below, not all of them
        "ProctrackType=proctrack/linuxproc",  # no cgroups, which a container may not make
        "TaskPlugin=task/none",
        "MpiDefault=none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU",
        "SlurmdTimeout=10",  # a node that is silent for so long is down
        "KillWait=5",
        "ReturnToService=2",  # a node that comes back is used again
        "JobRequeue=1",
        # Without a database of accounts only the queue tells how a job ended, and it has to remember.
        "AccountingStorageType=accounting_storage/none",
        "MinJobAge=3600",
    ]
    lines += [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=2000"
        for name, port in zip(NODES, nodes, strict=True)
    ]
    return "\n".join([*lines, f"PartitionName=cpus Nodes={','.join(NODES)} Default=YES", ""])


def free_ports(number: int) -> tuple[int, ...]:
    """Ports of this machine that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = tuple(s.getsockname()[1] for s in sockets)
    for s in sockets:
        s.close()
    return ports


class Job(NamedTuple):
    """What the queue says of one job."""

    rule: str
    state: str
    node: str
    restarts: int


class Process(NamedTuple):
    """A process that the cluster started."""

    pid: int
    command: tuple[str, ...]


@dataclass
class Cluster:
    """A Slurm cluster of this machine alone; its files and daemons live and end with it."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need: where it is told how it looks, and one thread for each training."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        return inherited | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> None:
        """Start the daemons; returns when both nodes are ready. Raises UserError if they never are."""
        host = socket.gethostname().partition(".")[0]
        text = configuration(self.folder, host, free_ports(1 + len(NODES)))
        (self.folder / "slurm.conf").write_text(text)
        for name in ("state", "bin", *NODES):
            (self.folder / name).mkdir()
        # The plugin takes SLURM_CONF from the srun inside a job, for which /etc/slurm tells the same elsewhere.
        srun = self.folder / "bin" / "srun"
        srun.write_text(
            f"#!/bin/sh\nSLURM_CONF='{self.folder}/slurm.conf' exec {shutil.which('srun')} \"$@\"\n"
        )
        srun.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        places = [
            f"--{what}={self.folder}/munge.{what.partition('-')[0]}"
            for what in ("socket", "pid-file", "log-file", "seed-file")
        ]
        self.daemon("munge", "munged", "--foreground", "--force", f"--key-file={key}", *places)
        wait_for("munge's socket", (self.folder / "munge.socket").exists)
        self.daemon("controller", "slurmctld", "-D")
        for name in NODES:
            self.start_node(name)
        wait_for("two idle nodes", lambda: self.nodes() == dict.fromkeys(NODES, "idle"))

    def daemon(self, name: str, *command: str) -> None:
        # In a session of its own, so that Ctrl-C reaches this script alone, which then ends them in order.
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def start_node(self, name: str) -> None:
        self.daemon(name, "slurmd", "-D", "-N", name)

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def nodes(self) -> dict[str, str]:
        """Node -> idle, allocated, down, …"""
        lines = self.ask("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return {name: state.rstrip("*") for name, state in map(str.split, lines)}

    def jobs(self) -> dict[int, Job]:
        """All jobs that there were, by number."""
        columns = "JobID:|,Comment:|,State:|,NodeList:|,RestartCnt:|"
        told = self.ask("squeue", "--noheader", "--states=all", f"--Format={columns}")
        found = {}
        for line in told.splitlines():
            number, rule, state, node, restarts = line.split("|")[:5]
            found[int(number)] = Job(rule.removeprefix("rule_"), state, node, int(restarts))
        return dict(sorted(found.items()))

    def processes(self, node: str | None = None) -> list[Process]:
        """All processes of the cluster, or of one node: its daemon, the keepers of its jobs, the jobs."""
        ours = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                environment = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if ours in environment and (node is None or self.is_on(node, folder, environment)):
                    found.append(Process(int(folder.name), tuple(command)))
        return found

    def is_on(self, node: str, process: Path, environment: list[bytes]) -> bool:
        """Whether a process of the cluster runs on `node`: a job is told so, and a daemon writes to the node's log."""
        if f"SLURMD_NODENAME={node}".encode() in environment:
            return True
        for file in (process / "fd").iterdir():
            with suppress(OSError):  # it has been closed
                if os.readlink(file) == f"{self.folder}/{node}.log":
                    return True
        return False

    def training(self, node: str, seed: int) -> Process | None:
        """The process on `node` that trains this replicate."""
        for process in self.processes(node):
            if process.command[: len(TRAINING)] == TRAINING:
                at = process.command.index("--seeds")
                if process.command[at + 1] == str(seed):
                    return process
        return None

    def fell(self, node: str) -> None:
        """Kill a node's daemon and all that runs on it, as if its power had gone."""
        self.daemons[node].kill()
        # Then the keepers of the jobs, so that nobody is left to tell the controller that the jobs died.
        while alive := [p for p in self.processes(node) if p.pid != self.daemons[node].pid]:
            for process in sorted(alive, key=lambda p: not p.command[0].startswith("slurmstepd")):
                kill(process.pid)
        self.daemons[node].wait()

    def stop(self) -> None:
        """End all of it."""
        for name in (*NODES, "controller", "munge"):
            if process := self.daemons.get(name):
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
                process.wait()
        for process in self.processes():
            kill(process.pid)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(what: str, there: Callable[[], bool]) -> None:
    """Return once `there()`; raises UserError if that takes too long."""
    end = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > end:
            raise UserError(f"{what} did not come within {PATIENCE:.0f} s.")
        time.sleep(PAUSE)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster with its files in `folder`, which ends however its use ends."""
    folder.mkdir()
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


# ---- The sweep, and what is done to it -------------------------------------------------------------


@dataclass
class Transcript:
    """What happens, printed and kept, with the seconds since the start."""

    started: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(f"{time.monotonic() - self.started:5.0f} s  {text}")
        print(self.lines[-1], flush=True)


def sweep(
    cluster: Cluster, targets: list[Path], digits: Path, places: Mapping[str, str]
) -> subprocess.Popen:
    """Snakemake, which sends a job for each of `targets` to the cluster; what it says goes to snakemake.out."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"),
        "--directory", str(cluster.folder), "--nolock", "--rerun-incomplete",
        "--executor", "slurm", "--jobs", "4",
        # A job that failed is sent again; one whose node fell is queued again by Slurm itself.
        "--retries", "3", "--slurm-requeue",
        # Neither accounts nor their database here; and jobs of seconds are looked at more often than hourly ones.
        "--slurm-no-account", "--slurm-status-command", "squeue",
        "--slurm-init-seconds-before-status-checks", "5", "--seconds-between-status-checks", "5",
        "--default-resources", "slurm_partition=cpus", "mem_mb=1000", "runtime=30",
        "--config", "profile=smoke", f"replicates={len(SEEDS)}", "threads=1", f"data={digits}",
        "--", *map(str, targets),
    ]  # fmt: skip
    env = cluster.environment | places
    with (cluster.folder / "snakemake.out").open("wb") as out:
        return subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)


@dataclass
class Faults:
    """What is done to the cluster: first a training is killed, then a node. And whether it hit."""

    cluster: Cluster
    targets: Mapping[int, Path]
    say: Callable[[str], None]
    killed: int | None = None  # the job whose training was killed
    fell: int | None = None  # the job that the node ran when it fell
    back: bool = False  # whether the node came back

    def steps(self) -> Iterator[None]:
        """Do it, in order; yields where there is something to wait for."""
        while self.killed is None:
            yield
            self.kill_a_training(NODES[0])
        while self.fell is None:
            yield
            self.fell_a_node(NODES[1])
        while self.cluster.nodes().get(NODES[1]) != "down":
            yield
        self.say(f"started the daemon of {NODES[1]} again")
        self.cluster.start_node(NODES[1])
        while self.cluster.nodes().get(NODES[1]) == "down":
            yield
        self.back = True

    def victim(self, node: str) -> tuple[int, int, Process] | None:
        """Job, seed and process of a training that is under way on `node`: it holds its run, which is not there yet."""
        for number, job in self.cluster.jobs().items():
            if job.state == "RUNNING" and job.node == node and job.rule.startswith("train_"):
                seed = int(job.rule.rpartition("_")[2])
                path = self.targets[seed]
                under_way = (path.parent / "lock").exists() and not path.exists()
                if under_way and (process := self.cluster.training(node, seed)):
                    return number, seed, process
        return None

    def kill_a_training(self, node: str) -> None:
        if found := self.victim(node):
            number, seed, process = found
            kill(process.pid)
            # A kill that came when the run had just ended would show nothing: then another one is killed.
            if not self.targets[seed].exists():
                self.say(f"KILLED the training of seed {seed}, job {number} on {node} (SIGKILL)")
                self.killed = number

    def fell_a_node(self, node: str) -> None:
        if found := self.victim(node):
            number, seed, _ = found
            self.cluster.fell(node)
            ran = f"job {number} with seed {seed}"
            self.say(f"KILLED {node}: its daemon and all that ran on it, {ran} (SIGKILL)")
            self.fell = number

    def missed(self) -> list[str]:
        """What did not happen as it should; empty if both faults hit and were made good."""
        jobs, lines = self.cluster.jobs(), []
        if self.killed is None:
            lines.append("no training was killed: the sweep was over before")
        elif jobs[self.killed].state != "FAILED":
            lines.append(f"job {self.killed} ended as {jobs[self.killed].state} though killed")
        if self.fell is None:
            lines.append("no node fell: the sweep was over before")
        elif jobs[self.fell].restarts == 0:
            lines.append(f"job {self.fell} was not queued again when its node fell")
        if self.fell is not None and not self.back:
            lines.append("the node that fell did not come back")
        return lines


def watch(snakemake: subprocess.Popen, faults: Faults) -> None:
    """Tell each change of a job or a node until the sweep ends, and take the faults a step further each time."""
    cluster, say = faults.cluster, faults.say
    jobs: dict[int, Job] = {}
    nodes = cluster.nodes()
    steps = faults.steps()
    while True:
        over = snakemake.poll() is not None  # asked first, so that the last changes are told
        for number, job in cluster.jobs().items():
            if jobs.get(number) != job:
                again = f"restarts: {job.restarts}" if job.restarts else ""
                say(f"job {number:2}  {job.rule:20} {job.state:10} {job.node:5}  {again}".rstrip())
                jobs[number] = job
        for name, state in cluster.nodes().items():
            if nodes.get(name) != state and "down" in (nodes.get(name), state):
                say(f"{name} is {state}")
            nodes[name] = state
        if over:
            say(f"snakemake ended with exit code {snakemake.returncode}")
            return
        next(steps, None)
        time.sleep(PAUSE)


def queue_speed(cluster: Cluster) -> str:
    """How fast the scheduler takes jobs, one after the other, and tells the state of all of them."""
    started = time.monotonic()
    for _ in range(QUEUED):
        cluster.ask("sbatch", "--hold", "--output=/dev/null", "--wrap=true")
    submitted = time.monotonic()
    waiting = sum(job.state == "PENDING" for job in cluster.jobs().values())
    told = time.monotonic()
    cluster.ask("scancel", "--state=PENDING")
    if waiting < QUEUED:
        raise UserError(f"only {waiting} of {QUEUED} jobs came into the queue.")
    return (
        f"then, to see how fast: {QUEUED / (submitted - started):.0f} jobs a second taken one by one, "
        f"the state of all {waiting} told in {(told - submitted) * 1e3:.0f} ms"
    )


def last_words(folder: Path) -> str:
    """The ends of what snakemake said, and of the log of the job that wrote last."""
    logs = sorted(folder.glob(".snakemake/slurm_logs/**/*.log"), key=lambda p: p.stat().st_mtime)
    told = (folder / "snakemake.out", *logs[-1:])
    return "\n\n".join(path.read_text(errors="replace")[-3000:] for path in told)


# ---- What is compared ------------------------------------------------------------------------------


def last_checkpoints(digits: Path, runs: Path) -> dict[int, Path]:
    """Seed -> where its run ends in the store `runs`."""
    length = profile("smoke")
    experiment = length.experiment_on(by_name(EXPERIMENT), str(digits))
    epochs = length.epochs_of(experiment)
    paths = {seed: store.checkpoint_path(experiment, seed, epochs) for seed in SEEDS}
    return {seed: runs / path.relative_to(store.runs_root()) for seed, path in paths.items()}


def contents(paths: Mapping[int, Path]) -> dict[int, object]:
    """Seed -> sum of the weights, and history, of each checkpoint that is there. Raises UserError for a damaged one."""
    found = {}
    for seed, path in paths.items():
        if path.exists():
            tensors, metadata = store.load(path)
            found[seed] = store.digest(tensors), metadata["history"]
    return found


def differing(cluster: Mapping[int, object], local: Mapping[int, object]) -> list[str]:
    """What the two stores do not share, a line for each replicate; empty if all are in both and equal."""
    lines = []
    for seed in SEEDS:
        absent = [
            name for name, there in (("cluster's", cluster), ("local", local)) if seed not in there
        ]
        if absent:
            lines += [f"seed {seed} is not in the {name} store" for name in absent]
        elif cluster[seed] != local[seed]:
            lines.append(f"seed {seed} is not the same in both stores")
    return lines


def train_locally(digits: Path, environment: Mapping[str, str]) -> None:
    """The same replicates without a cluster, one after the other, in a process that has a thread too."""
    command = [*TRAINING, EXPERIMENT, "--profile", "smoke", "--seeds", f"0-{SEEDS[-1]}", "--quiet"]
    command += ["--device", "cpu", "--data", str(digits)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise UserError(f"the local training failed with exit code {done.returncode}.")


def run(root: Path, transcript: Transcript) -> list[str]:
    """All of it, in the folder `root`; what was lost. Raises UserError if there can be no cluster."""
    from materials import write_digits

    install()
    digits = write_digits(root / "digits.npz")
    places = {f"AAE_{n}": str(root / n.lower()) for n in ("RUNS", "BUILD", "DATA")}
    targets = last_checkpoints(digits, root / "runs")
    with running(root / "cluster") as cluster:
        version = cluster.ask("sbatch", "--version").split()[-1]
        transcript.say(f"Slurm {version}: {' and '.join(NODES)} are idle")
        faults = Faults(cluster, targets, transcript.say)
        snakemake = sweep(cluster, list(targets.values()), digits, places)
        watch(snakemake, faults)
        missed = faults.missed()
        with suppress(
            UserError
        ):  # how fast the queue is belongs to the log, not to what may be lost
            transcript.say(queue_speed(cluster))
        if snakemake.returncode:
            missed.append("snakemake failed")
            print(last_words(cluster.folder), file=sys.stderr)
    local = os.environ | places | {"AAE_RUNS": str(root / "local"), "OMP_NUM_THREADS": "1"}
    train_locally(digits, local)
    transcript.say(f"the same {len(SEEDS)} trained without a cluster")
    return missed + differing(contents(targets), contents(last_checkpoints(digits, root / "local")))


def main() -> int:
    """Run the sweep, hurt it, compare; returns the exit code."""
    argparse.ArgumentParser(prog="make slurm", description=__doc__).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that daemons end
    transcript = Transcript()
    now = datetime.now(UTC).isoformat()
    transcript.say(store.made({"provenance": store.provenance("cpu", 1), "finished": now}))
    with tempfile.TemporaryDirectory(prefix="aae-slurm-", ignore_cleanup_errors=True) as name:
        lost = run(Path(name), transcript)
    every = f"all {len(SEEDS)} replicates are in the store, equal to the bit to the local ones"
    for line in lost or [every]:
        transcript.say(line)
    path = store.build_root() / "slurm.log"
    store.write_atomically(path, "\n".join([*transcript.lines, ""]).encode())
    print(f"written: {path}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(exit_code("slurm", main))
