"""Data -> runs -> chapters -> book, on one machine or a cluster.

    snakemake --cores all --config profile=standard                            what 'make book PROFILE=standard' does
    snakemake --executor slurm --jobs 20 --config profile=paper threads=8      on a cluster, a job for each run
    … --config together=1                                                      a job for all seeds of an experiment

A run's target is its checkpoint in the run store, so what is there is never trained again.
"""

import os
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from shlex import quote

from aae_lib import data, mat, store
from aae_lib.config import MOST_SEEDS, profile
from aae_lib.errors import UserError
from aae_lib.experiments import BESIDE, CHAPTERS, by_name

REPOSITORY = Path(workflow.basedir)
PYTHON = f"cd {quote(str(REPOSITORY))} && {quote(sys.executable)} -m "
PROFILE, DATA = config.get("profile", "quick"), str(config.get("data", "mnist"))
INSISTS = bool(config.get("allow_cpu"))  # on the paper profile without a GPU
TOGETHER = bool(config.get("together"))  # all seeds of an experiment in one job, which fills a GPU


def whole(name, least, default, below=None):
    """A whole number of --config."""
    value = config.get(name)
    if value in (None, ""):
        return default
    if type(value) is not int or value < least or (below and value >= below):
        limit = f" and below {below:,}" if below else ""
        raise UserError(f"{name}={value} must be a whole number of at least {least}{limit}.")
    return value


def trained_on(name):
    """The data set of an experiment: what takes MNIST's place, or its own."""
    source = by_name(name).source
    return DATA if source == "mnist" else source


@cache
def configured(name):
    """An experiment on its data set, which is read once for all seeds."""
    return LENGTH.experiment_on(by_name(name), trained_on(name))


def run(name, seed):
    """The checkpoint at which a run of this profile ends."""
    experiment = configured(name)
    return str(store.checkpoint_path(experiment, seed, LENGTH.epochs_of(experiment)))


try:
    BUILD = store.build_root()
    if DATA.endswith(".npz"):  # as seen from the repository, where the jobs run
        DATA = str(REPOSITORY / store.expanded(DATA))
    LENGTH = profile(PROFILE)
    # Two jobs side by side, with half of the cores each: on two cores they take less than one after the other with
    # both, for a training by 10-20 %, and a chapter draws while the next model trains.
    THREADS = whole("threads", 1, None) or max(1, workflow.cores // 2)  # a cluster has no number of cores
    SEED, REPLICATES = whole("seed", 0, 0), whole("replicates", 1, None, MOST_SEEDS)
    SEEDS = range(SEED, SEED + (REPLICATES or LENGTH.replicates))
    SHOWN = {
        chapter: [*names, *(n for n in BESIDE.get(chapter, ()) if mat.is_here(trained_on(n), data.root()))]
        for chapter, names in CHAPTERS.items()
    }
    RUNS = {(name, seed): run(name, seed) for names in SHOWN.values() for name in names for seed in SEEDS}
except UserError as error:
    sys.exit(f"snakemake: {error}")


def needed(wildcards):
    """The runs that a chapter shows. The conclusion reads the results of the others, and trains what it has itself."""
    if wildcards.chapter == "10_conclusion":
        return [chapter for chapter in EXECUTED if chapter.stem != wildcards.chapter]
    return [RUNS[name, seed] for name in SHOWN[wildcards.chapter] for seed in SEEDS]


localrules:  # seconds each: not worth a place in a cluster's queue
    book,
    data,


EXECUTED = [BUILD / "chapters" / f"{chapter}.ipynb" for chapter in CHAPTERS]


onerror:
    print("snakemake: a job failed; what it said stands above. The same command makes what is missing.", file=sys.stderr)


rule book:
    input:
        EXECUTED,
    shell:
        PYTHON + "aae_lib.book build"


rule data:
    output:
        touch(BUILD / "data-verified"),
    shell:
        PYTHON + "aae_lib.cli fetch" if DATA == "mnist" else "true"


# A chapter that takes long itself, for an ablation or tens of thousands of samples, would end the book alone beside idle
# cores: so these are begun first, the longest before the others.
LONG = [
    "08_clustering",
    "05_likelihood",
    "09_dimensionality_reduction",
    "02_adversarial_autoencoders",
    "07_semi_supervised",
    "06_supervised",
]
PRIORITY = {name: len(LONG) - i for i, chapter in reversed([*enumerate(LONG)]) for name in SHOWN[chapter]}

# A clock that ran ahead leaves files of the future, than which nothing that is made from them now would be newer, and
# Snakemake ends over that. They are taken to be of now.
SOURCES = [REPOSITORY / "notebooks" / f"{chapter}.ipynb" for chapter in CHAPTERS]
for PLACE in [*SOURCES, *RUNS.values(), *EXECUTED, BUILD / "data-verified"]:
    with suppress(OSError):  # not there, or another owner's
        if os.path.getmtime(PLACE) > time.time():
            os.utime(PLACE)

JOBS = {}
for (NAME, NUMBER), CHECKPOINT in RUNS.items():
    JOBS.setdefault((NAME, None if TOGETHER else NUMBER), {})[NUMBER] = CHECKPOINT

# 'update' keeps what is there until the job has made its successor, and if the job fails.
for (NAME, _), CHECKPOINTS in JOBS.items():

    rule:
        name:
            f"train_{NAME}_" + "_to_".join(map(str, sorted({min(CHECKPOINTS), max(CHECKPOINTS)})))
        input:
            ancient(rules.data.output),
        output:
            update(list(CHECKPOINTS.values())),
        params:
            arguments=f"{NAME} --profile {PROFILE} --seeds {','.join(map(str, CHECKPOINTS))} --data {quote(trained_on(NAME))}"
            + " --allow-cpu" * INSISTS,
        threads: THREADS
        priority: PRIORITY.get(NAME, 0)
        shell:
            PYTHON + "aae_lib.cli train {params.arguments}"


rule chapter:
    input:
        REPOSITORY / "notebooks" / "{chapter}.ipynb",
        needed,
    output:
        update(BUILD / "chapters" / "{chapter}.ipynb"),
    params:
        arguments=f"--profile {PROFILE} --seed {SEED} -p replicates {REPLICATES} -p data {quote(DATA)}"
        + " -p allow_cpu True" * INSISTS,
    threads: THREADS
    priority: len(LONG) + 1  # as soon as its runs are there
    shell:
        PYTHON + "aae_lib.book run {wildcards.chapter} {params.arguments}"
