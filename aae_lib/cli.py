"""`aae`: fetch data, train runs into the store, read the claims, verify the evidence, look at this machine."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version

from aae_lib import __version__, claims, data, mat, store
from aae_lib.config import MOST_SEEDS, PROFILES, profile
from aae_lib.errors import Parser, UserError, exit_code
from aae_lib.experiments import EXPERIMENTS, by_name

FETCHED = {"mnist": data.fetch, "svhn": mat.fetch_svhn}
"""The data sets that can be downloaded: (root, quiet) -> their files."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code, 1 for evidence that does not add up, others as `errors.exit_code` has."""
    options = build_parser().parse_args(arguments)
    goes_on = "; the last checkpoint stands, and the same command goes on"
    interrupted = goes_on if options.command is _train else ""
    return exit_code("aae", lambda: options.command(options), interrupted)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="aae",
        description="Adversarial autoencoders, reproduced: train the paper's models and check its numbers.",
        epilog="Start with 'aae doctor', then 'aae train mnist_100'. 'aae claims' judges what chapters measure: "
        "'make book' trains their models, executes them and builds the book.",
    )
    parser.add_argument("--version", action="version", version=f"aae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fetch = commands.add_parser(
        "fetch",
        help="download and verify MNIST or SVHN",
        description="Download what is missing of MNIST (55 MB) or SVHN (1.6 GB) into $AAE_DATA (default data/cache), "
        "each file checked by its hash. A download of SVHN that broke off goes on where it was.",
    )
    fetch.add_argument(
        "dataset", nargs="?", choices=FETCHED, default="mnist", help="which; mnist if left out"
    )
    fetch.add_argument("--quiet", action="store_true", help="no progress bar")
    fetch.set_defaults(command=_fetch)

    train = commands.add_parser(
        "train",
        help="train, resume or load runs of one experiment",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train replicates of one experiment into the run store ($AAE_RUNS, default _build/runs).\n"
        "A run that is there is loaded; one that stopped half-way goes on from its last checkpoint, to the\n"
        "same weights (on a GPU, up to rounding). A longer profile continues a shorter one of whole epochs.\n\n"
        "Experiments:\n"
        + "\n".join(f"  {e.name:18} {e.paper}" for e in EXPERIMENTS.values())
        + "\n\nProfiles:\n"
        + "\n".join(f"  {p.name:18} {p.purpose}" for p in PROFILES.values()),
        epilog="Example: aae train mnist_100 --profile standard --seeds 0-2",
    )
    train.add_argument("experiment", metavar="EXPERIMENT", help="one of the names above")
    train.add_argument("--profile", default="quick", help="how far to train (default: quick)")
    train.add_argument(
        "--seeds", help="replicates, as 0-9 or 0,3,5 (default: the profile's number, from 0)"
    )
    train.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, … (default: a GPU if there is one)"
    )
    train.add_argument(
        "--data",
        help="mnist, svhn, tfd, or an image archive (.npz; see data/README.md); default: what the paper trains it on",
    )
    train.add_argument(
        "--allow-cpu", action="store_true", help="let the paper profile run without a GPU"
    )
    train.add_argument(
        "--together",
        action=argparse.BooleanOptionalAction,
        help="train the seeds as one program (default: on a GPU, which one seed alone does not fill)",
    )
    train.add_argument(
        "--bfloat16",
        action="store_true",
        help="hidden layers compute with 8 significant bits, in six tenths of the time where the processor can",
    )
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(command=_train)

    ledger = commands.add_parser(
        "claims",
        help="every number of the paper beside ours, with a verdict",
        description="List every claim of data/claims.toml beside the published evidence in data/results, "
        "or beside this machine's own runs.",
    )
    ledger.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    ledger.add_argument(
        "--profile", help="judge this machine's results of a profile (_build/results/PROFILE)"
    )
    ledger.set_defaults(command=_claims)

    verify = commands.add_parser(
        "verify",
        help="whether the published evidence is whole, fresh and traceable",
        description="Compare all published evidence, and the ledger, with the sums that "
        "'make publish' left in data/SHA256SUMS; each chapter with its source; each run with today's configuration "
        "of its name and with this repository's history. What does not add up is listed, and the exit code is 1.",
    )
    verify.set_defaults(command=_verify)

    doctor = commands.add_parser(
        "doctor",
        help="what this machine has, and what each profile would take on it",
        description="Report device, data, versions and disk, time a few training steps, and estimate each profile.",
    )
    doctor.add_argument(
        "--device", default="auto", help="cpu, cuda, … (default: a GPU if there is one)"
    )
    doctor.set_defaults(command=_doctor)
    return parser


def _fetch(options: argparse.Namespace) -> None:
    for path in FETCHED[options.dataset](data.root(), options.quiet):
        print(path)


def _train(options: argparse.Namespace) -> None:
    experiment, chosen = by_name(options.experiment), profile(options.profile)
    seeds = list(range(chosen.replicates)) if options.seeds is None else parse_seeds(options.seeds)
    from aae_lib.training import fit_replicates, require_gpu  # torch takes seconds to import

    require_gpu(chosen, options.device, options.allow_cpu)
    dataset = chosen.dataset(experiment.source if options.data is None else options.data)
    runs = fit_replicates(
        experiment,
        dataset,
        seeds=seeds,
        epochs=chosen.epochs_of(experiment),
        device=options.device,
        together=options.together,
        bfloat16=options.bfloat16,
        quiet=options.quiet,
    )
    for run in runs:
        last = {k: round(v[-1], 4) for k, v in run.history.items()}
        print(f"{experiment.name} seed {run.seed}: {last}")


def parse_seeds(text: str) -> list[int]:
    """Seeds from "0-9", "3" or "0,2,5-7". Raises UserError for anything else."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            ends = range(int(first), int(last if dash else first) + 1)
            if not ends:
                raise ValueError(part)
            seeds += ends[:MOST_SEEDS]  # a range may be longer than memory
    except (ValueError, OverflowError):
        seeds = []
    if not 0 < len(seeds) < MOST_SEEDS:
        raise UserError(
            f"--seeds '{text}' is not a list of fewer than {MOST_SEEDS:,} seeds; write 0-9 or 0,3,5."
        )
    return list(dict.fromkeys(seeds))


def _claims(options: argparse.Namespace) -> None:
    folder = store.PUBLISHED
    if options.profile is not None:
        folder = store.build_root() / "results" / profile(options.profile).name
    rows = claims.scorecard(folder)
    if options.json:
        print(json.dumps(claims.as_json(rows), indent=2))
    else:
        print(claims.render(rows, shutil.get_terminal_size((120, 24)).columns))


def _verify(_options: argparse.Namespace) -> int:
    from aae_lib import book, verify

    project = book.Project()
    found = verify.problems(project)
    for problem in found:
        print(problem)
    told = f"problems: {len(found)}" if found else "all adds up"
    print(f"{len(verify.published(project))} files looked at; {told}")
    return 1 if found else 0


def _doctor(options: argparse.Namespace) -> None:
    def line(what: str, found: object) -> None:
        print(f"{what:12} {found}")

    line("aae", f"{__version__}, commit {store.commit()}")
    line("python", sys.version.split()[0])
    for package in ("torch", "numpy", "jupyter-book", "papermill", "snakemake"):
        try:
            line(package, version(package))
        except PackageNotFoundError:
            line(package, "missing: run 'make -B setup'")
    for what, folder in (("data", data.root()), ("run store", store.runs_root())):
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        line(what, f"{folder} ({shutil.disk_usage(existing).free / 2**30:.1f} GiB free)")
    line("MNIST", _mnist_state())
    line("SVHN", "here" if mat.is_here("svhn", data.root()) else "missing: run 'aae fetch svhn'")
    line("TFD", "here" if mat.is_here("tfd", data.root()) else "missing: it is not public")

    from aae_lib.training import choose_device, seconds_per_epoch

    device = choose_device(options.device)
    hardware = store.provenance(device, 0)["hardware"]
    line(
        "device",
        f"{device}: {hardware['accelerator'] or hardware['processor']}, {hardware['cores']} cores",
    )
    if (options.device, device) == ("auto", "cpu") and shutil.which("nvidia-smi"):
        line(
            "",
            "nvidia-smi is here, but PyTorch finds no GPU that it can use: is the driver too old for its CUDA?",
        )
    print("\nWhat each profile would take here (timed on a few steps, evaluation aside):\n")
    columns = [p for p in PROFILES.values() if p.name != "smoke"]
    print(f"{'experiment':18} {'one epoch':>10} " + " ".join(f"{p.name:>12}" for p in columns))
    for experiment in EXPERIMENTS.values():
        if experiment.source != "mnist" and not mat.is_here(experiment.source, data.root()):
            continue
        pixels, images = mat.SIZES[experiment.source]
        epoch = seconds_per_epoch(experiment, device, pixels) * images / 50_000
        cells = [epoch * p.epochs_of(experiment) * p.replicates for p in columns]
        print(
            f"{experiment.name:18} {store.duration(epoch):>10} "
            + " ".join(f"{store.duration(c):>12}" for c in cells)
        )
    if device != "cpu":
        print("\nReplicates are counted one after another. A GPU trains them together, in less.")


def _mnist_state() -> str:
    missing = [name for name in data.MNIST if data.present(data.root(), name) is None]
    return f"missing {', '.join(missing)}: run 'aae fetch'" if missing else "here"


if __name__ == "__main__":
    sys.exit(main())
