"""Pages that are made, not written: from the ledger, results and configurations, whenever the book is staged.

    summary    the landing page's verdicts               machines    what the book's runs were trained on
    scorecard  every claim with its verdict              speed       what `make bench` measured
    appendix   every hyper-parameter beside the paper's  faults      what `make faults` found
    deviations those of all chapters, for the last one   cluster     the transcript of `make slurm`
    cost       GPU-hours for each claim                  sweep       what `make sweep` measured

So no page can drift from what it tells of. Nothing here needs torch.
"""

from __future__ import annotations

import ast
import html
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aae_lib import claims, store
from aae_lib.config import Code, Experiment, Rates
from aae_lib.errors import UNREADABLE, UserError
from aae_lib.experiments import EXPERIMENTS
from aae_lib.priors import Categorical, Gaussian
from aae_lib.store import duration

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from aae_lib.bench import Bench


def raw_html(*lines: str) -> str:
    """HTML as a block of MyST markdown, which no line of it can end."""
    body, fence = "\n".join(lines), "```"
    while fence in body:
        fence += "`"
    return f"{fence}{{raw}} html\n{body}\n{fence}\n"


def without_dead_links(text: str, present: Collection[str]) -> str:
    """`text` with links to chapters that are not `present` in the book replaced by their words."""
    link = r"<a href='(?:chapters/)?(\d\w+)\.html#[\w.-]+'>(.*?)</a>"
    return re.sub(link, lambda m: m[0] if m[1] in present else m[2], text)


# ---- verdicts


def summary(rows: Sequence[claims.Row]) -> str:
    """The scorecard in short, for the landing page: counts, and for each verdict a claim of the paper's own model."""
    ours = [row for row in rows if row.claim.run]
    chips = [
        f'<a href="scorecard.html">{claims.chip(verdict, count)}</a>'
        for verdict, count in claims.counts(ours).items()
    ]
    first = {}
    for row in ours:
        own = row.model == claims.OWN and row.claim.data == "mnist"  # no stand-in among these
        if own and None not in (row.reported, row.obtained):
            first.setdefault(row.told, row)
    shown = [first[verdict] for verdict in claims.counts(ours) if verdict in first]
    table = [claims.html_table({"Ours": shown})] if shown else []
    standing = f"<p>{html.escape(claims.standing(ours))}</p>"
    return raw_html('<p class="chips">', *chips, "</p>", standing, *table)


def scorecard(columns: Mapping[str, Sequence[claims.Row]], chapters: str) -> dict[str, str]:
    """The claims in one HTML table for each figure, table, section or appendix of the paper, by its title.

    As `claims.html_table`; `chapters` is where the chapters' pages lie as seen from the page that shows it.
    """
    tables = {}
    kinds = {"s": "Section ", "fig": "Figure ", "table": "Table ", "a": "Appendix A."}
    places = dict.fromkeys(row.id.split(".")[0] for row in next(iter(columns.values())))
    for name in places:
        part = {
            title: [row for row in column if row.id.split(".")[0] == name]
            for title, column in columns.items()
        }
        kind, number = re.fullmatch("([a-z]+)([0-9]+)", name).groups()
        tables[kinds[kind] + number] = claims.html_table(part, chapters)
    return tables


def in_sections(tables: Mapping[str, str]) -> str:
    """HTML tables under a heading each, as markdown."""
    return "\n".join(f"## {title}\n\n{raw_html(table)}" for title, table in tables.items())


# ---- what a chapter's page shows beyond its executed copy


def staged(
    notebook: NotebookNode, chapter: str, columns: Mapping[str, Sequence[claims.Row]]
) -> None:
    """Make an executed chapter ready for the book: anchors, its parameters, tables of today, texts for pictures.

    `columns` are those of its table against the paper. When the chapter was executed the evidence was another: shown
    is what all other pages show.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _with_verdicts(cell, columns)
            _with_alternative_text(cell)
    _with_parameters(notebook)
    with_anchors(notebook, chapter)


def _with_verdicts(cell: NotebookNode, columns: Mapping[str, Sequence[claims.Row]]) -> None:
    if "chapter.against_the_paper(" not in cell.source:
        return
    try:
        (places,) = [
            [ast.literal_eval(place) for place in node.args]
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "chapter.against_the_paper"
        ]
    except (SyntaxError, ValueError):  # a reader's own cell: it keeps the table that it made
        return
    table = claims.against_the_paper(columns, places)
    for output in cell.outputs:
        if "text/html" in output.get("data", {}):
            output.data = {"text/html": table}


def _with_alternative_text(cell: NotebookNode) -> None:
    """What a screen reader says of a picture: the first sentence of its caption."""
    shown = cell.metadata.get("mystnb", {})
    if caption := shown.get("figure", {}).get("caption"):
        shown["image"] = {"alt": caption.split(". ")[0].rstrip(".")}


def _with_parameters(notebook: NotebookNode) -> None:
    """Below the cell with a chapter's default parameters, those that this execution was given."""
    import nbformat

    for at, cell in enumerate(notebook.cells):
        if "injected-parameters" in cell.metadata.get("tags", []):
            given = [line for line in cell.source.splitlines() if line and line[0] != "#"]
            text = "*Executed with* " + ", ".join(f"`{line}`" for line in given) + "."
            notebook.cells.insert(at + 1, nbformat.v4.new_markdown_cell(text, id="parameters"))
            return


def with_anchors(notebook: NotebookNode, chapter: str) -> None:
    """Put an anchor for each claim of `chapter` before the cell that records it; before the last one if none does."""
    import nbformat

    found: dict[int, list[str]] = {}
    for claim in claims.load():
        if claim.run and claim.chapter == chapter:
            at = recording_cell(claim.id, [cell.source for cell in notebook.cells])
            found.setdefault(len(notebook.cells) - 1 if at is None else at, []).append(
                f'<span id="{claims.anchor(claim)}"></span>'
            )
    for at, spans in sorted(found.items(), reverse=True):
        cell = nbformat.v4.new_markdown_cell(raw_html(*spans), id=f"anchors-{at}")
        notebook.cells.insert(at, cell)


def recording_cell(claim: str, sources: Sequence[str]) -> int | None:
    """Which of a chapter's cells records `claim`: it calls `record`, and a text in it is the id, or becomes it.

    An f-string becomes every id that has its fixed parts. Of several such cells the one that names most of the id's
    parts elsewhere, too; None if there is none.
    """
    best, most = None, -1
    for i, source in enumerate(sources):
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except (SyntaxError, ValueError):  # prose
            continue
        called = {
            getattr(n.func, "attr", getattr(n.func, "id", ""))
            for n in nodes
            if isinstance(n, ast.Call)
        }
        texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        made = [
            "".join(re.escape(part.value) if isinstance(part, ast.Constant) else "[^.]+" for part in n.values)
            for n in nodes
            if isinstance(n, ast.JoinedStr)
        ]  # fmt: skip
        named = sum(part in texts for part in claim.split("."))
        if (
            "record" in called
            and (claim in texts or any(re.fullmatch(pattern, claim) for pattern in made))
            and named > most
        ):
            best, most = i, named
    return best


# ---- deviations


def deviations(notebooks: Path, executed: Sequence[Path] = ()) -> dict[str, tuple[str, list[str]]]:
    """For each chapter that lists deviations from the paper: its title, and the items of "### Deviations".

    Read from the sources `notebooks`/NN_slug.py, as markdown that stands by itself on another page: its glued numbers
    are those of the first of the folders `executed` that holds the chapter, other references are put in words.
    """
    import jupytext

    found = {}
    for path in sorted(notebooks.glob("[0-9]*.py")):
        text = "\n\n".join(c.source for c in jupytext.read(path).cells if c.cell_type == "markdown")
        section = re.search(r"^### Deviations\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
        items = re.split(r"^\d+\. +", section[1], flags=re.MULTILINE)[1:] if section else []
        if items:
            title = re.search("^# (.*)", text, re.MULTILINE)[1]
            numbers = _glued([folder / f"{path.stem}.ipynb" for folder in executed])
            found[path.stem] = title, [_by_itself(" ".join(i.split()), numbers) for i in items]
    return found


def _by_itself(item: str, numbers: Mapping[str, str]) -> str:
    item = re.sub(r"([Ee]quations? )?\{eq\}`[^`]*`", "the equation there", item)
    item = re.sub(r"([Ff]igures? )?\{numref\}`[^`]*`", "the figure there", item)
    return re.sub(r"\{glue:\w*\}`([^`]*)`", lambda m: numbers.get(m[1], "(see there)"), item)


def _glued(copies: Sequence[Path]) -> dict[str, str]:
    """What the first executed notebook of `copies` that exists has made available to its prose, by name."""
    import nbformat

    path = next((path for path in copies if path.exists()), None)
    cells = nbformat.read(path, as_version=4).cells if path else []
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    kind = "application/papermill.record/text/plain"
    return {
        output.metadata["scrapbook"]["name"]: output.data[kind].strip("'\"")
        for output in outputs
        if kind in output.get("data", {})
    }


# ---- machines


def distinct(runs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each run once, as far as it was trained: chapters may share runs, and show one at several epochs."""
    longest: dict[tuple, Mapping[str, Any]] = {}
    for run in runs:
        # The same seed on another machine is another run; one that went on keeps the time of its start.
        key = run["hash"], run["seed"], run.get("started")
        if key not in longest or run["epochs"] > longest[key]["epochs"]:
            longest[key] = run
    return list(longest.values())


def in_short(runs: Sequence[Mapping[str, Any]]) -> str:
    """How many runs, their time and their memory, in words."""
    if not runs:
        return "no runs"
    count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    took = duration(sum(run["wall_seconds"] for run in runs))
    memory = max(run["peak_memory_gib"] for run in runs)
    return f"{count}, {took} of training, at most {memory:.2f} GiB of memory"


def hardware(run: Mapping[str, Any]) -> str:
    """The machine of a run in words."""
    found = run["hardware"]
    machine = f"{found['processor']}, {found['cores']} cores"
    return f"{found['accelerator']} ({machine})" if found["accelerator"] else machine


def _versions(run: Mapping[str, Any]) -> str:
    return " · ".join(f"{name} {version}" for name, version in run["versions"].items())


def machines(results: Sequence[Mapping[str, Any]]) -> str:
    """What the runs of chapters, given as their results, were trained on: sums, then a table for each chapter."""
    runs = distinct(run for chapter in results for run in chapter.get("runs", []))
    if not runs:
        return "No chapter of this book has trained anything yet: `make book` does it.\n"

    def among(say: Callable[[Mapping[str, Any]], str]) -> str:
        """What `say` says of each run, once however often that went on, and again where it changed."""
        return claims.plain(
            _agreed(text for run in runs for text in dict.fromkeys(map(say, stages(run))))
        )

    parts = [
        f"**All of it.** {in_short(runs)}.\n",
        f"**Hardware.** {among(hardware)}.\n",
        f"**Software.** {among(_versions)}.\n",
    ]
    head = ("Run", "Seed", "Epochs", "Wall time", "Peak memory", "On", "Commit")
    for chapter in results:
        if mine := chapter.get("runs"):
            parts += [
                f"## {claims.plain(_title(chapter))}\n",
                f"Profile {claims.plain(chapter['profile'])}: {in_short(distinct(mine))}.{_executed(chapter)}\n",
                raw_html(claims.table(head, map(_machine_row, distinct(mine)))),
            ]
    return "\n".join(parts)


def _machine_row(run: Mapping[str, Any]) -> list[str]:
    name = html.escape(run["experiment"])
    where = dict.fromkeys(
        f"{s['device']}, {s['threads']} thread{'s' * (s['threads'] != 1)}" for s in stages(run)
    )
    rounded = dict.fromkeys(s["products"] for s in stages(run) if "products" in s)
    amounts = [
        duration(run["wall_seconds"]),
        f"{run['peak_memory_gib']:.2f} GiB",
        html.escape(", ".join((", then ".join(where), *rounded))),
    ]
    commits = dict.fromkeys(stage["commit"] for stage in stages(run))
    unbroken = [text.replace(" ", "&nbsp;") for text in amounts]
    epochs = f"{run['epochs']:g}"
    made = html.escape(", ".join(commits))
    return [f"<code>{name}</code>", html.escape(str(run["seed"])), epochs, *unbroken, made]


def _title(chapter: Mapping[str, Any]) -> str:
    return f"{chapter['chapter'][:2].lstrip('0')} · {chapter['title']}"


def _executed(chapter: Mapping[str, Any]) -> str:
    """Where the chapter itself ran, in a sentence; nothing for results that do not say so."""
    if not (found := chapter.get("executed")):
        return ""
    return f" The chapter itself ran on {claims.plain(hardware(found))}, commit {claims.plain(found['commit'])}."


def cost(results: Sequence[Mapping[str, Any]]) -> str:
    """What a claim costs: for each chapter, given as its results, hours of training over the claims it measures."""
    head = (
        "Chapter",
        "Profile",
        "Claims",
        "Runs",
        "GPU-hours",
        "GPU-hours per claim",
        "Processor hours",
    )
    rows = []
    for chapter in results:
        runs, measured = distinct(chapter.get("runs", [])), len(chapter.get("claims", ()))
        if not runs or not measured:
            continue
        took = [
            part for run in runs for part in zip(stages(run), seconds_by_stage(run), strict=True)
        ]
        on_gpu, elsewhere = (
            sum(s for stage, s in took if bool(stage["hardware"]["accelerator"]) == gpu) / 3600
            for gpu in (True, False)
        )
        amounts = [
            f"{hours:.3f}" if 0 < hours < 0.1 else f"{hours:.1f}"
            for hours in (on_gpu, on_gpu / measured, elsewhere)
        ]
        named = [html.escape(_title(chapter)), html.escape(str(chapter["profile"]))]
        rows.append([*named, str(measured), str(len(runs)), *amounts])
    return (
        raw_html(claims.table(head, rows))
        if rows
        else "No chapter of this book has trained anything yet.\n"
    )


def stages(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The provenance of a run's start, and of each time that it went on."""
    return [run, *run.get("continued", [])]


def seconds_by_stage(run: Mapping[str, Any]) -> list[float]:
    """The run's wall time, divided among its `stages`. One that noted no time counts as the one before."""
    begun = [run["wall_seconds"]]
    for stage in reversed(run.get("continued", [])):
        begun.append(stage.get("after_seconds", begun[-1]))
    begun = [0.0, *reversed(begun)]
    return [then - now for now, then in itertools.pairwise(begun)]


def _agreed(texts: Iterable[str]) -> str:
    """The text that all share, or each with how often it occurs."""
    counts = Counter(texts)
    return (
        next(iter(counts))
        if len(counts) == 1
        else "; ".join(f"{text} ({n}×)" for text, n in counts.most_common())
    )


# ---- speed


def speed(bench: Bench | None, whose: str, folder: Path) -> str:
    """What `make bench` measured on `whose` machine, its pictures written into `folder`."""
    if bench is None:
        return "Nothing has been measured yet: `make bench` does it.\n"
    from aae_lib.bench import pictures, table

    parts = [f"From {whose}: {claims.plain(bench.made)}.\n", raw_html(table(bench))]
    for picture in pictures(bench):
        (folder / f"{picture.name}.png").write_bytes(picture.png)
        figure = f"```{{figure}} {folder.name}/{picture.name}.png\n:alt: {picture.alt}\n"
        parts.append(f"{figure}\n{picture.caption}\n```\n")
    return "\n".join(parts)


# ---- faults, and a cluster


def faults(path: Path | None, whose: str) -> str:
    """The table that `make faults` wrote into `path` on `whose` machine.

    Raises UserError for a file that is not a list of fault, tried, survived, lost, or lacks its details.
    """
    if path is None:
        return "Nothing has been tried yet: `make faults` does it.\n"
    keys = ("tried", "survived", "lost")
    found, made = _measured(
        path, lambda row: (str(row["fault"]), *(int(row[k]) for k in keys)), "make faults"
    )
    cases = [row for row in found if row[0].startswith("fuzzed")]
    done = [row for row in found if row not in cases]
    rows = []
    for part, title in ((done, "Faults"), (cases, "Fuzzed cases")):
        rows += [[html.escape(name), *(f"{n:,}" for n in numbers)] for name, *numbers in part]
        total = (f"<b>{sum(row[i] for row in part):,}</b>" for i in range(1, len(keys) + 1))
        rows.append([f"<b>{title}, together</b>", *total])
    table = claims.table(["What was done", "Tried", "Survived", "Lost"], rows)
    return f"From {whose} ({made}):\n\n{raw_html(table)}"


def sweep(path: Path | None, whose: str) -> str:
    """The table that `make sweep` wrote into `path` on `whose` machine. Raises UserError for any other file."""
    if path is None:
        return "Nothing has been measured yet: `make sweep` does it.\n"
    rows, made = _measured(
        path,
        lambda row: [html.escape(str(row[key])) for key in ("what", "measured", "thousand")],
        "make sweep",
    )
    table = claims.table(["", "Measured", "For a thousand runs at once"], rows)
    return f"From {whose} ({made}):\n\n{raw_html(table)}"


def _measured(path: Path, parse: Callable[[Any], Any], maker: str) -> tuple[list[Any], str]:
    """Each row that `store.write_measured` wrote to `path`, parsed; and when, where and by which commit it was made.

    Raises UserError for any other file.
    """
    try:
        rows = [parse(row) for row in json.loads(path.read_bytes())]
        details = json.loads(path.with_name(f"{path.stem}_details.json").read_bytes())
        return rows, claims.plain(store.made(details))
    except UNREADABLE as error:
        raise UserError(
            f"{path} or its details are not what '{maker}' writes ({error!r}); run it again."
        ) from None


def cluster(path: Path | None, whose: str) -> str:
    """The transcript that `make slurm` wrote into `path` on `whose` machine."""
    if path is None:
        return "It has not been run yet: `make slurm` does it.\n"
    text = path.read_text(encoding="utf-8", errors="replace").rstrip()
    shown = f'<pre style="white-space: pre-wrap">{html.escape(text)}</pre>'
    return f"From {whose}:\n\n{raw_html(shown)}"


# ---- appendix


class Said(NamedTuple):
    """What the paper says of one hyper-parameter: in words, and as the value that an `Experiment` holds for it.

    `value` may be a dict by experiment, and is left out where the words give none; `place` is that of the section
    unless given.
    """

    words: str
    value: Any = ...
    place: str | None = None


@dataclass(frozen=True)
class Section:
    """Experiments that the paper describes in one place: those whose field `paper` holds `mark`."""

    title: str
    mark: str
    place: str
    chapter: str | None = None
    said: Mapping[str, Said] = field(default_factory=dict)


_ADVERSARIAL = Said("initial rate 0.1, momentum 0.1", Rates(0.1, 0.1))
_RECONSTRUCTION = Said("initial rate 0.01, momentum 0.9", Rates(0.01, 0.9))
_THOUSAND = {"layers": Said("two", 2), "hidden": Said("1000", 1000)}
_RELU = {"activation": Said("ReLU", "ReLU")}
_HALF_SQUARED = Said("half the Euclidean error")
_TENTH = Said("each step divides by ten", 0.1)
_NO_OTHER = Said("no other dropout, ℓ2 weight decay or Gaussian noise", "none")
_DETERMINISTIC = Said("deterministic, from there on", "deterministic", "§2")


def _classes_and_style(classes: int, style: int) -> tuple[Code, ...]:
    return Code("y", Categorical(classes)), Code("z", Gaussian(style))


def _aae_and_vae(aae: str, vae: str) -> dict[str, str]:
    both = {"fig2": aae, "fig2_vae": vae}
    return {f"{e}_{prior}": value for e, value in both.items() for prior in ("gaussian", "mixture")}


PAPER = (
    Section("A.1: likelihood", "A.1", "A.1", "05_likelihood", {
        "codes": Said(
            "z: 8-D Gaussian, standard deviation 5 (TFD: 15-D, 10)",
            {"table1_aae": (Code("z", Gaussian(8, 5.0)),), "table1_tfd_aae": (Code("z", Gaussian(15, 10.0)),)},
        ),
        "posterior": _DETERMINISTIC, **_THOUSAND, **_RELU,
        "heads": Said("linear", "linear; softmax for a categorical code"),
        "output": Said("sigmoid (TFD: linear)", {"table1_aae": "sigmoid", "table1_tfd_aae": "linear"}),
        "standardise": Said("TFD: over the whole training set", {"table1_aae": False, "table1_tfd_aae": True}),
        "init_std": Said("Gaussian, standard deviation 0.01", 0.01),
        "likelihood": Said("Euclidean cost"),
        "batch_size": Said("100", 100),
    }),
    Section("A.2.1: semi-supervised, MNIST", "A.2.1", "A.2.1", "07_semi_supervised", {
        "codes": Said("y: Categorical of 10; z: 10-D Gaussian, standard deviation 1", _classes_and_style(10, 10)),
        "posterior": _DETERMINISTIC, **_THOUSAND, **_RELU,
        "heads": Said("q(y|x) softmax, q(z|x) linear", "linear; softmax for a categorical code"),
        "shared": Said("both hidden layers", "both hidden layers"),
        "output": Said("linear or sigmoid, which is better to look at", "sigmoid"),
        "batch_norm": Said("did not help", "none"),
        "labels": Said("100, 1000 or all", {"mnist_100": 100, "mnist_1000": 1000, "mnist_all": "all"}, "Table 2"),
        "choice": Said("at random, evenly over the classes", "at random, evenly over the classes"),
        "reconstruction": _RECONSTRUCTION, "adversarial": _ADVERSARIAL,
        "supervised": Said("initial rate 0.1, momentum 0.9", Rates(0.1, 0.9)),
        "likelihood": _HALF_SQUARED,
        "input_noise": Said("Gaussian, standard deviation 0.3, in training only", 0.3),
        "input_dropout": Said("none", 0.0), "hidden_dropout": Said("none", 0.0), "weight_decay": _NO_OTHER,
        "epochs": Said("5000", 5000), "milestones": Said("after 50 and 1000 epochs", (50, 1000)), "decay": _TENTH,
    }),
    Section("A.2.1: the network on the labels alone", "NN baseline", "§5", "07_semi_supervised", {
        "layers": Said("all labels: the same architecture", {"nn_all": 2}),
        "hidden": Said("all labels: the same architecture", {"nn_all": 1000}),
        "labels": Said(
            "100, 1000 or all; of SVHN 1000",
            {"nn_100": 100, "nn_1000": 1000, "nn_all": "all", "nn_svhn_1000": 1000}, "Table 2",
        ),
        "input_dropout": Said("all labels: dropout, no rate given"),
        "hidden_dropout": Said("all labels: dropout, no rate given"),
    }),
    Section("A.2.2: semi-supervised, SVHN", "A.2.2", "A.2.2", "07_semi_supervised", {
        "codes": Said("y: Categorical of 10; z: 20 dimensions", _classes_and_style(10, 20)),
        "posterior": _DETERMINISTIC,
        "standardise": Said("mean and standard deviation of each dimension over the training set", True),
        "output": Said("linear", "linear"),
        "batch_norm": Said("all autoencoder layers, softmax and linear heads and output included", "autoencoder"),
        "labels": Said("1000", 1000),
        "choice": Said("at random, evenly over the classes", "at random, evenly over the classes"),
        "reconstruction": Said("initial rate 0.0001, momentum 0.9", Rates(0.0001, 0.9)),
        "adversarial": Said("initial rate 0.01, momentum 0.1", Rates(0.01, 0.1)),
        "supervised": Said("initial rate 0.1, momentum 0.9", Rates(0.1, 0.9)),
        "input_noise": Said("none", 0.0), "input_dropout": Said("20 %", 0.2), "hidden_dropout": Said("none", 0.0),
        "weight_decay": _NO_OTHER,
        "epochs": Said("1000", 1000), "milestones": Said("after 250 epochs", (250,)), "decay": _TENTH,
    }),
    Section("A.3: clustering", "A.3", "A.3", "08_clustering", {
        "codes": Said(
            "y: Categorical of 30 (Table 3: 16 too); z: 5-D Gaussian, standard deviation 1",
            {"clusters_16": _classes_and_style(16, 5), "clusters_30": _classes_and_style(30, 5)},
        ),
        "posterior": _DETERMINISTIC, "layers": Said("two", 2), "hidden": Said("3000", 3000), **_RELU,
        "output": Said("sigmoid", "sigmoid"),
        "batch_norm": Said("the encoder's layers, the heads included", "encoder"),
        "reconstruction": _RECONSTRUCTION, "adversarial": _ADVERSARIAL, "likelihood": _HALF_SQUARED,
        "input_noise": Said("none", 0.0), "input_dropout": Said("20 %", 0.2), "hidden_dropout": Said("none", 0.0),
        "weight_decay": _NO_OTHER,
        "epochs": Said("1500", 1500), "milestones": Said("after 50 epochs", (50,)), "decay": _TENTH,
    }),
    Section("Figure 2: beside the variational autoencoder", "§2.1", "§2.1", "02_adversarial_autoencoders", {
        "codes": Said("z: 2-D Gaussian, a mixture of ten 2-D Gaussians; drawn, no standard deviations given"),
        "method": Said("both", _aae_and_vae("aae", "vae")),
        "posterior": Said("deterministic (§2); VAE: Gaussian", _aae_and_vae("deterministic", "gaussian")),
    }),
    Section("Table 1: the two rivals", "§2.2", "§2.2", "03_gans_and_moment_matching"),
    Section("Figure 4: label information", "§2.3", "§2.3", "04_label_information", {
        "codes": Said("z: the mixture of Figure 2; a swiss roll, drawn and not described"),
        "posterior": _DETERMINISTIC,
        "discriminator_label": Said("a one-hot label with an extra class for unlabelled images", True),
        "labels": Said("10 000 of 50 000", 0.2),
    }),
    Section("Figure 7: style and label", "§4", "§4", "06_supervised", {
        "codes": Said("z: 15-D Gaussian, no standard deviation given"),
        "posterior": _DETERMINISTIC,
        "decoder_label": Said("a one-hot label goes into the decoder", True),
    }),
    Section("Figure 11: dimensionality reduction", "§7", "§7", "09_dimensionality_reduction", {
        "codes": Said(
            "y: Categorical of 10 (c: 20); z: 2-D Gaussian, no standard deviation given (d: 10-D, 1)",
            {"fig11_d": _classes_and_style(10, 10)},
        ),
        "posterior": _DETERMINISTIC,
        "combine": Said("y · W_C + z", "sum"),
        "head_distance": Said("heads repel below a threshold η, whose value is not given (d: W_C is fixed)"),
        "head_scale": Said("d: W_C = 10 I", {"fig11_d": 10.0}),
        "labels": Said(
            "a: 1000; b, d: 100; c: none", {"fig11_a": 1000, "fig11_b": 100, "fig11_c": None, "fig11_d": 100}
        ),
    }),
)  # fmt: skip
"""What the paper says of its experiments, in the order of the appendix; then those that the appendix passes over."""

NAMES = {
    "codes": "codes and their priors",
    "posterior": "posterior q(z|x)",
    "noise_dim": "dimensions of the posterior's noise",
    "hidden": "units in a hidden layer",
    "layers": "hidden layers of each network",
    "output": "last layer of the decoder",
    "standardise": "each pixel standardised over the training images",
    "batch_norm": "batch normalisation",
    "batch_norm_learned": "scale and shift learned in the heads' batch normalisation",
    "temperature": "temperature of a categorical code's softmax",
    "init_std": "standard deviation of initial weights",
    "combine": "what the decoder gets of the codes",
    "head_distance": "threshold η of the cluster heads",
    "head_scale": "W_C as a multiple of the identity",
    "decoder_label": "label for the decoder",
    "discriminator_label": "label for the discriminator",
    "labels": "labelled training images",
    "labelled_share": "labelled images in a mini-batch, share",
    "reconstruction": "descent on the reconstruction cost",
    "adversarial": "descent on the adversarial costs",
    "supervised": "descent on the labels' cross-entropy",
    "likelihood": "reconstruction cost",
    "input_noise": "noise on the input, standard deviation",
    "input_dropout": "dropout of the input",
    "hidden_dropout": "dropout of hidden units",
    "discriminator_noise": "noise on what a discriminator judges, standard deviation",
    "balance": "weight of the cost of unequal categories",
    "batch_size": "images in a mini-batch",
    "milestones": "epochs after which all rates fall",
    "decay": "factor on all rates there",
    "average_after": "epochs after which weights are averaged",
    "activation": "activation of hidden layers",
    "heads": "last layer of the encoder",
    "shared": "layers that q(y|x) and q(z|x) share",
    "choice": "how labelled images are chosen",
    "weight_decay": "weight decay",
}
"""Hyper-parameters in words; a field of `Experiment` that is not here goes by its own name."""

FIXED = {
    "activation": "ReLU",
    "heads": "linear; softmax for a categorical code",
    "shared": "both hidden layers",
    "choice": "at random, evenly over the classes",
    "weight_decay": "none",
}
"""What the library has for all experiments alike, so that no field sets it."""

ALWAYS = (
    "codes", "posterior", "hidden", "layers", "output", "init_std", "reconstruction", "adversarial",
    "likelihood", "batch_size", "epochs", "milestones", "decay",
)  # fmt: skip
"""Fields that every experiment shows, so that one sees where the paper is silent."""

WORDS = {
    ("combine", "sum"): "y · W_C + z",
    ("combine", "concatenate"): "side by side",
    ("likelihood", "gaussian"): "half the squared error, summed over pixels",
    ("likelihood", "bernoulli"): "cross-entropy, summed over pixels",
    ("init_std", None): "√(2/inputs)",
    ("method", "aae"): "adversarial",
    ("method", "vae"): "variational",
}


def appendix(experiments: Iterable[Experiment] = EXPERIMENTS.values()) -> str:
    """Every hyper-parameter of `experiments` beside the paper's, a section for each place that describes some."""
    left, parts = list(experiments), []
    for section in PAPER:
        mine = [e for e in left if section.mark in e.paper]
        left = [e for e in left if e not in mine]
        parts.append(_appendix_section(section, mine))
    if left:
        parts.append(_appendix_section(Section("Further experiments", "", "—"), left))
    return "\n".join(parts)


def _appendix_section(section: Section, experiments: Sequence[Experiment]) -> str:
    """One table: a row for each hyper-parameter that the paper names or that is set here."""
    if experiments:
        names = ", ".join(f"<code>{e.name}</code> ({html.escape(e.paper)})" for e in experiments)
        about = f"Experiments: {names}."
    else:
        about = "Its experiments are <b>not configured yet</b>: what the paper says stands alone."
    if experiments and section.chapter:
        page, number = f"chapters/{section.chapter}.html", int(section.chapter[:2])
        about += f" Reasons: the deviations of <a href='{page}#deviations'>chapter {number}</a>."
    settable = [
        f
        for f in fields(Experiment)
        if f.metadata.get("hashed", True) and f.name not in ("name", "data")
    ]
    shown = [
        f.name
        for f in settable
        if f.name in section.said
        or (experiments and f.name in ALWAYS)
        or any(getattr(e, f.name) != f.default for e in experiments)
    ]
    shown += [name for name in FIXED if name in section.said]
    head = ("Hyper-parameter", "The paper", "Here", "")
    rows = [_appendix_row(name, section, experiments) for name in shown]
    return f"## {section.title}\n\n{raw_html(f'<p>{about}</p>', claims.table(head, rows))}"


def _appendix_row(name: str, section: Section, experiments: Sequence[Experiment]) -> list[str]:
    """Name, what the paper says, what we have, and whether that is the same."""
    said = section.said.get(name)
    ours = {
        e.name: FIXED[name] if name in FIXED else worded(name, getattr(e, name))
        for e in experiments
        if not (name == "likelihood" and e.reconstruction is None)  # it has no such cost
    }
    theirs: dict[str, str] = {}  # by experiment, where the paper gives a value
    if said and said.value is not ...:
        by_name = said.value if isinstance(said.value, dict) else dict.fromkeys(ours, said.value)
        theirs = {e: worded(name, by_name[e]) for e in ours if e in by_name}
    same = {
        e: "our choice" if e not in theirs else "as printed" if text == theirs[e] else "differs"
        for e, text in ours.items()
    }
    paper = "silent"
    if said:
        paper = f"{html.escape(said.words)} <small>{said.place or section.place}</small>"
    name = html.escape(NAMES.get(name, name.replace("_", " ")))
    ours = {e: html.escape(text) for e, text in ours.items()}
    same = {e: claims.chip(text) for e, text in same.items()}
    return [name, paper, _by_experiment(ours), _by_experiment(same)]


def _by_experiment(texts: Mapping[str, str]) -> str:
    """The text that all experiments share, or each text with the experiments that have it."""
    sharing: dict[str, list[str]] = {}
    for experiment, text in texts.items():
        sharing.setdefault(text, []).append(f"<code>{experiment}</code>")
    if len(sharing) < 2:
        return next(iter(sharing), "—")
    return "<br>".join(f"{text} <small>{', '.join(who)}</small>" for text, who in sharing.items())


def worded(name: str, value: Any) -> str:
    """The value of an experiment's field `name` as the appendix shows it."""
    match value:
        case None:
            return WORDS.get((name, value), "none")
        case bool():
            return "yes" if value else "no"
        case str():
            return WORDS.get((name, value), value)
        case int() | float():
            return f"{value:g}"
        case Rates(rate, momentum, optimiser):
            if optimiser == "adam":
                return f"Adam, rate {rate:g}, β₁ {momentum:g}"
            return f"rate {rate:g}, momentum {momentum:g}"
        case Code(code, prior):
            return f"{code}: {worded(name, prior)}"
        case tuple():
            separator = "; " if value and is_dataclass(value[0]) else ", "
            return separator.join(worded(name, v) for v in value) or "none"
        case _ if is_dataclass(value):  # a prior
            kind = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(value).__name__)
            parts = [
                f"{f.name.replace('_', ' ')} {getattr(value, f.name):g}" for f in fields(value)
            ]
            return f"{kind} ({', '.join(parts)})"
    return str(value)
