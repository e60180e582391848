"""`make slurm`: the Snakefile on a real Slurm cluster, which loses a job and a node on the way.

Installs Debian's slurm-wlm and munge if they are not there (as root), and starts a cluster of two nodes on this
machine alone: one controller, two node daemons, a key of its own. Snakemake sends twelve replicates of an experiment
(easy digits, the smoke profile) to it as jobs. One training is killed outright; one node falls with all that runs on
it, and comes back later. In the end all twelve have to be in the store, equal to the bit to those of a local run.
Writes what happened to slurm.log of the build folder; all else is gone afterwards but the packages. Exit code 0 if all
are there and equal, 1 if not, 2 if there is no Slurm.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the tests' own small files

from aae_lib import store
from aae_lib.config import profile
from aae_lib.errors import UserError
from aae_lib.experiments import by_name
from aae_lib.store import REPOSITORY

EXPERIMENT = "mnist_100"
REPLICATES = 12
NODES = ("node1", "node2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scontrol")
CONFIGURATION = Path("/etc/slurm/slurm.conf")
TRAINING = "aae_lib.cli"
"""What the command line of a training holds."""


# ---- The cluster -----------------------------------------------------------------------------------


def configuration(folder: Path, host: str, ports: tuple[int, ...]) -> str:
    """slurm.conf of a controller and two nodes with a core each on this machine, all their files in `folder`.

    A node that says nothing for ten seconds is down, and its jobs are queued again; one that comes back is used again.
    Jobs are remembered for an hour, so that the queue alone, without a database of accounts, tells how they ended.
    """
    controller, *nodes = ports
    lines = [
        "ClusterName=aae",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={controller}",
        "SlurmUser=root",
        f"AuthInfo=socket={folder}/munge.socket",
        f"StateSaveLocation={folder}/state",
        f"SlurmctldPidFile={folder}/controller.pid",
        f"SlurmctldLogFile={folder}/controller.log",
        f"SlurmdSpoolDir={folder}/%n",
        f"SlurmdPidFile={folder}/%n.pid",
        f"SlurmdLogFile={folder}/%n.log",
        "SlurmdParameters=config_overrides",  # a node has the core that is said below, not all of this machine
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU",
        "SlurmdTimeout=10",
        "KillWait=5",
        "MinJobAge=3600",
        "ReturnToService=2",
        "JobRequeue=1",
    ]
    lines += [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=4000"
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


@dataclass
class Cluster:
    """A Slurm cluster of this machine alone; its files and daemons live and end with it."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """With a mark that all processes of this cluster's jobs inherit."""
        return os.environ | {"AAE_CLUSTER": str(self.folder), "OMP_NUM_THREADS": "1"}

    def configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        text = configuration(self.folder, host, free_ports(1 + len(NODES)))
        # Where Slurm's programs look by themselves: a job's steps lose all variables that tell of another place.
        CONFIGURATION.parent.mkdir(exist_ok=True)
        with CONFIGURATION.open("x") as file:
            file.write(text)

    def start(self) -> None:
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        places = [
            f"--{what}={self.folder}/munge.{what.partition('-')[0]}"
            for what in ("socket", "pid-file", "log-file", "seed-file")
        ]
        self.daemon("munge", "munged", "--foreground", "--force", f"--key-file={key}", *places)
        wait_for("munge", lambda: (self.folder / "munge.socket").exists())
        self.daemon("controller", "slurmctld", "-D")
        for name in NODES:
            self.node(name)
        wait_for("two idle nodes", lambda: self.states() == dict.fromkeys(NODES, "idle"))

    def daemon(self, name: str, *command: str) -> None:
        # A session of its own, so that Ctrl-C reaches this script first.
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def node(self, name: str) -> None:
        self.daemon(name, "slurmd", "-D", "-N", name)

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def states(self) -> dict[str, str]:
        """Node -> idle, allocated, down, …"""
        lines = self.ask("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
        return {name: state.strip("*") for name, state in (line.split() for line in lines if line)}

    def jobs(self) -> dict[str, tuple[str, str, str]]:
        """Number of a job -> what it is, its state, its node."""
        told = self.ask("squeue", "--noheader", "--states=all", "--format=%i|%k|%T|%N")
        found = {}
        for number, what, state, node in (line.split("|") for line in told.splitlines()):
            found[number] = what.removeprefix("rule_").partition("_wildcards")[0], state, node
        return found

    def trainings(self, node: str) -> list[int]:
        """The processes on `node` that train."""
        return [pid for pid, command in self.processes(node) if TRAINING in command]

    def processes(self, node: str | None = None) -> Iterator[tuple[int, str]]:
        """Process numbers and command lines of all that jobs of this cluster started, on one node or on all."""
        marks = {f"AAE_CLUSTER={self.folder}".encode()}
        if node:
            marks.add(f"SLURMD_NODENAME={node}".encode())
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environment = set((folder / "environ").read_bytes().split(b"\0"))
                if marks <= environment and any(
                    e.startswith(b"SLURM_JOB_ID=") for e in environment
                ):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    yield int(folder.name), command

    def fell(self, node: str) -> None:
        """Kill a node's daemon and all that runs on it, as if its power had gone."""
        running = [pid for pid, _ in self.processes(node)]
        # First what would tell the controller of the others' end.
        watchers = {p for pid in running for p, name in ancestors(pid) if name == "slurmstepd"}
        for pid in [self.daemons[node].pid, *watchers, *running]:
            kill(pid)
        self.daemons[node].wait()

    def stop(self) -> None:
        for name in (*NODES, "controller", "munge"):
            if process := self.daemons.get(name):
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
        for pid, _ in list(self.processes()):
            kill(pid)
        CONFIGURATION.unlink()


def ancestors(pid: int) -> Iterator[tuple[int, str]]:
    """Number and name of a process, of its parent, of that one's parent, and so on."""
    while pid > 1:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        yield pid, found["Name"]
        pid = int(found["PPid"])


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(what: str, there: Callable[[], bool], seconds: float = 120) -> None:
    """Return once `there()`; raises UserError if that takes longer."""
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            raise UserError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.2)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    folder.mkdir()
    cluster = Cluster(folder)
    cluster.configure()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def install() -> None:
    """Install Slurm where it is not; raises UserError where that cannot be done."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid():
        raise UserError(
            "a cluster's daemons need root; run it as root, in a container for instance."
        )
    if CONFIGURATION.exists():
        raise UserError(f"{CONFIGURATION} is there: this machine belongs to a cluster already.")
    if missing and shutil.which("apt-get") is None:
        raise UserError(f"{missing[0]} is missing, and so is apt-get; install Slurm and munge.")
    if missing:
        command = ["apt-get", "install", "--yes", "--quiet", "slurm-wlm", "munge"]
        quietly = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=quietly, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"{' '.join(command)} failed: {last} ('apt-get update' first?)")


# ---- The sweep -------------------------------------------------------------------------------------


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
    """Snakemake, which sends a job for each of `targets` to the cluster."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += [
        "--directory",
        str(cluster.folder),
        "--nolock",
        "--executor",
        "slurm",
        "--jobs",
        "4",
    ]
    # Without a database of accounts the queue tells how a job ended. A job that failed is sent again; one whose node
    # fell is queued again by Slurm itself.
    command += [
        "--slurm-no-account",
        "--slurm-status-command",
        "squeue",
        "--slurm-requeue",
        "--retries",
        "3",
    ]
    command += [
        "--slurm-init-seconds-before-status-checks",
        "5",
        "--seconds-between-status-checks",
        "5",
    ]
    command += ["--default-resources", "slurm_partition=cpus", "mem_mb=1000", "runtime=30"]
    command += [
        "--config",
        "profile=smoke",
        f"replicates={REPLICATES}",
        "threads=1",
        f"data={digits}",
    ]
    with (cluster.folder / "snakemake.out").open("wb") as out:
        return subprocess.Popen(
            [*command, "--", *map(str, targets)],
            env=cluster.environment | places, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


def hurt(cluster: Cluster, snakemake: subprocess.Popen, transcript: Transcript) -> dict[str, bool]:
    """Watch the sweep to its end; kill a training, then a node, and bring the node back. Which of it happened."""
    seen: dict[str, tuple[str, str, str]] = {}
    nodes: dict[str, str] = {}
    done = {"a training was killed": False, "a node fell": False, "it came back": False}
    killed = None
    while snakemake.poll() is None:
        for number, job in cluster.jobs().items():
            if seen.get(number) != job:
                what, state, node = seen[number] = job
                transcript.say(f"job {number:3} {what:24} {state:10} {node}")
        for name, state in cluster.states().items():
            if nodes.get(name) not in (None, state) and "down" in (nodes[name], state):
                transcript.say(f"{name} is {state}")
                done["it came back"] |= done["a node fell"] and state != "down"
            nodes[name] = state
        ended = [number for number, job in seen.items() if job[1] == "COMPLETED"]
        first, second = NODES
        if (
            not done["a training was killed"]
            and len(ended) >= 3
            and (pids := cluster.trainings(first))
        ):
            killed = next((n for n, job in seen.items() if job[1:] == ("RUNNING", first)), None)
            kill(pids[0])
            transcript.say(f"KILLED the training of job {killed} on {first} (SIGKILL)")
            done["a training was killed"] = True
        elif (
            done["a training was killed"] and not done["a node fell"] and cluster.trainings(second)
        ):
            transcript.say(f"KILLED {second}: its daemon and all that runs on it (SIGKILL)")
            cluster.fell(second)
            done["a node fell"] = True
        elif (
            done["a node fell"]
            and nodes[second] == "down"
            and cluster.daemons[second].poll() is not None
        ):
            transcript.say(f"started the daemon of {second} again")
            cluster.node(second)
        time.sleep(0.2)
    transcript.say(f"snakemake ended with {snakemake.returncode}")
    return done


def last_words(folder: Path) -> str:
    """The ends of what snakemake said and of the log of the job that wrote last."""
    logs = sorted(
        folder.glob(".snakemake/slurm_logs/**/*.log"), key=lambda path: path.stat().st_mtime
    )
    told = [
        path.read_text(errors="replace")[-3000:] for path in (folder / "snakemake.out", *logs[-1:])
    ]
    return "\n\n".join(told)


def differing(ours: Mapping[int, object], theirs: Mapping[int, object]) -> list[str]:
    """What the two stores do not share, a line for each replicate; empty if all replicates are in both and equal."""
    lines = []
    for seed in range(REPLICATES):
        if seed not in ours or seed not in theirs:
            where = "the cluster's" if seed not in ours else "the local"
            lines.append(f"seed {seed} is not in {where} store")
        elif ours[seed] != theirs[seed]:
            lines.append(f"seed {seed} differs")
    return lines


def contents(paths: Mapping[int, Path]) -> dict[int, object]:
    """Seed -> sum of the weights, and history, for every checkpoint that is there and whole."""
    from safetensors import safe_open

    found = {}
    for seed, path in paths.items():
        if path.exists():
            _, metadata = store.load(path)  # which compares the weights with their sum
            with safe_open(path, framework="pt") as file:
                found[seed] = file.metadata()["sha256"], metadata["history"]
    return found


def checkpoints(digits: Path, runs: Path) -> dict[int, Path]:
    """Seed -> where its run ends in the store `runs`."""
    length = profile("smoke")
    experiment = length.experiment_on(by_name(EXPERIMENT), str(digits))
    os.environ["AAE_RUNS"] = str(runs)
    return {
        seed: store.checkpoint_path(experiment, seed, length.epochs_of(experiment))
        for seed in range(REPLICATES)
    }


def main() -> int:
    """Run the sweep, hurt it, compare; returns the exit code."""
    argparse.ArgumentParser(prog="make slurm", description=__doc__).parse_args()
    from conftest import write_digits

    transcript = Transcript()
    with tempfile.TemporaryDirectory(prefix="aae-slurm-") as name:
        root = Path(name)
        root.chmod(0o755)  # munge wants to be reached
        digits = write_digits(root / "digits.npz")
        places = {f"AAE_{n}": str(root / n.lower()) for n in ("RUNS", "BUILD", "DATA")}
        try:
            install()
            with running(root / "cluster") as cluster:
                transcript.say(
                    f"{cluster.ask('sbatch', '--version').strip()}: {', '.join(NODES)} are idle"
                )
                targets = checkpoints(digits, Path(places["AAE_RUNS"]))
                snakemake = sweep(cluster, list(targets.values()), digits, places)
                try:
                    done = hurt(cluster, snakemake, transcript)
                finally:
                    kill(snakemake.pid)
                if snakemake.returncode:
                    print(last_words(cluster.folder))
                    return 1
        except UserError as error:
            print(f"slurm: {error}", file=sys.stderr)
            return 2
        local = {**os.environ, **places, "AAE_RUNS": str(root / "local"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "aae_lib.cli", "train", EXPERIMENT, "--profile", "smoke"]
        command += [
            "--seeds",
            f"0-{REPLICATES - 1}",
            "--device",
            "cpu",
            "--quiet",
            "--data",
            str(digits),
        ]
        subprocess.run(command, cwd=REPOSITORY, env=local, check=True, stdout=subprocess.DEVNULL)
        transcript.say("the same twelve trained without a cluster")
        ours = contents(targets)
        missed = differing(ours, contents(checkpoints(digits, root / "local")))
        missed += [
            f"it did not happen that {what}" for what, happened in done.items() if not happened
        ]
    for line in missed or [
        f"all {REPLICATES} replicates are in the store, equal to the local ones to the bit"
    ]:
        transcript.say(line)
    path = store.build_root() / "slurm.log"
    store.write_atomically(path, "\n".join([*transcript.lines, ""]).encode())
    print(f"written: {path}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
