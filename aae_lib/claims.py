"""What the paper claims, and whether results bear it out.

The ledger `data/claims.toml` holds every number of the paper and its statements about pictures, each
with the band of values that counts as finding it again. Results are the JSON files that chapters
write. A claim and its evidence give a verdict, with the reason: reproduced, partly, not reproduced,
or not run.

    rows = scorecard("data/results")
    print(render(rows))
"""

from __future__ import annotations

import html
import json
import math
import os
import re
import textwrap
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from aae_lib import mat, store
from aae_lib.config import PROFILES
from aae_lib.data import MNIST_DIGEST, OFFICIAL
from aae_lib.errors import UNREADABLE, UserError, suggest

LEDGER = store.REPOSITORY / "data" / "claims.toml"
SCHEMA = 1
"""Version of the results files that are read here."""

VERDICTS = ("reproduced", "partly", "not reproduced", "not run")
NO_VERDICT = "no verdict"
"""What a table calls `not run` where something was measured that the claim cannot be judged by."""
OWN = "Adversarial autoencoder"
"""The paper's model, as the ledger calls it."""
DIRECTIONS = ("lower", "higher", "near")
FULL_PROFILES = ("standard", "paper")
"""Profiles whose last epoch may stand for a number that the paper gives without an epoch count."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A number, or a statement turned into one. The ledger's head says what each field means."""

    id: str
    place: str
    model: str
    quantity: str
    direction: str
    chapter: str
    statement: str | None = None
    reported: float | None = None
    plusminus: float | None = None
    plusminus_meaning: str | None = None
    band: tuple[float, float] | None = None
    band_reason: str | None = None
    wrong: float | None = None
    wrong_reason: str | None = None
    partial: tuple[float, float] | None = None
    partial_reason: str | None = None
    given: str | None = None
    given_reason: str | None = None
    epochs: int | None = None
    data: str = "mnist"
    run: bool = True
    reason: str | None = None

    @property
    def aim(self) -> float:
        """The paper's number, where it prints one; else the middle of the band of what is to be near a value.

        Of any other claim it is the end of the band that is further from `wrong`: a limit and no target.
        """
        if self.reported is not None:
            return self.reported
        if self.direction == "near":
            return sum(self.band) / 2
        return max(self.band, key=lambda end: abs(end - self.wrong))


@dataclass(frozen=True)
class Evidence:
    """What a chapter measured for one claim."""

    values: dict[int, float | None]  # by seed; None where a seed gave no value
    epochs: float  # epochs that were trained
    of_epochs: float | None  # epochs of the whole schedule
    profile: str
    chapter: str
    data: str = "mnist"  # what it was measured on: mnist, svhn or tfd as published, or another name
    # The configurations of the runs in the same file: a hash by experiment.
    hashes: dict[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, with mean and standard deviation (ddof 1) over its n seeds."""

    verdict: str
    reason: str | None = None
    obtained: float | None = None
    std: float | None = None
    n: int | None = None
    profile: str | None = None
    epochs: float | None = None

    @property
    def told(self) -> str:
        """The verdict as a reader is told it."""
        measured = self.verdict == "not run" and self.obtained is not None
        return NO_VERDICT if measured else self.verdict


@dataclass(frozen=True, kw_only=True)
class Row(Verdict):
    """A claim with the verdict on it: one line of the scorecard."""

    claim: Claim

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def place(self) -> str:
        return self.claim.place

    @property
    def model(self) -> str:
        return self.claim.model

    @property
    def reported(self) -> float | None:
        return self.claim.reported


# ---- verdicts


def check(claim: Claim, evidence: Evidence | None) -> Verdict:
    """The verdict on `claim`: the mean over seeds against the claim's band.

    No verdict (`not run`) comes from a smoke run, from other data than the claim's, from a seed without a
    value or from another epoch than the claim's. Where the paper gives no epoch count, a standard
    or paper run of full length is judged at its own last epoch. A value that is not finite is never a pass.
    """
    if not claim.run:
        return Verdict("not run", claim.reason)
    if evidence is None:
        return Verdict("not run", claim.reason or "no evidence yet")

    mean, std = _mean_std(evidence.values)
    obtained = _measured(mean, std)
    trained = f"at {_epochs(evidence.epochs)}"

    def verdict(word: str, reason: str) -> Verdict:
        n = len(evidence.values)
        return Verdict(word, reason, mean, std, n, evidence.profile, evidence.epochs)

    if evidence.data != claim.data:
        other = f"no verdict on data other than {claim.data.upper()}"
        return verdict("not run", f"measured on {_clean(evidence.data)}: {other}")
    if evidence.profile == "smoke":
        return verdict("not run", "no verdict on a smoke run")
    missing = [seed for seed, value in evidence.values.items() if value is None]
    if missing or not evidence.values:
        return verdict("not run", f"no value for seed {', '.join(map(str, missing)) or 'any'}")
    if claim.epochs is None and evidence.profile not in FULL_PROFILES:
        return verdict("not run", f"{trained}: no verdict on a {evidence.profile} profile")
    least = min(PROFILES["standard"].epochs, evidence.of_epochs or math.inf)
    if claim.epochs is None and evidence.epochs < least:
        return verdict("not run", f"{trained}: no verdict before {_epochs(least)}")
    if claim.epochs is not None and evidence.epochs < claim.epochs:
        so_far = f"at {evidence.epochs:g} of {claim.epochs} epochs: {obtained}"
        return verdict("not run", f"{so_far}, no verdict on the final number")
    if claim.epochs is not None and evidence.epochs > claim.epochs:
        return verdict("not run", f"{trained}: {obtained}, no verdict on {_epochs(claim.epochs)}")

    if mean is None:
        bad = [str(s) for s, value in evidence.values.items() if not math.isfinite(value)]
        return verdict("not reproduced", f"not a finite number for seed {', '.join(bad) or 'all'}")
    low, high = claim.band
    if low <= mean <= high:
        error = std / math.sqrt(len(evidence.values)) if std else 0.0
        edge = ", by less than its standard error" if min(mean - low, high - mean) < error else ""
        return verdict("reproduced", f"within {_interval(claim.band)}{edge}")
    if claim.partial and claim.partial[0] <= mean <= claim.partial[1]:
        return verdict("partly", claim.partial_reason)
    better = (claim.direction == "lower" and mean < low) or (
        claim.direction == "higher" and mean > high
    )
    doubt = ", better than is plausible: look for a mistake" if better else ""
    return verdict("not reproduced", f"outside {_interval(claim.band)}{doubt}")


def scorecard(results: Path | str | Iterable[Path | str]) -> list[Row]:
    """Every claim of the ledger with its verdict, from one folder or file of results, or several.

    Where several files give the same claim, see `evidence` for which of them counts.
    Raises UserError for a defect in the ledger or in a results file.
    """
    return judge(load(), evidence(results))


def judge(claims: Sequence[Claim], found: Mapping[str, Evidence]) -> list[Row]:
    """Each of `claims` with the verdict on it, by the evidence for each claim id.

    One that means something only where another holds, the claim that it is `given`, which is to be among `claims`,
    has no verdict where that one is neither reproduced nor partly so.
    """
    held = ("reproduced", "partly")
    rows = {c.id: Row(claim=c, **vars(check(c, found.get(c.id)))) for c in claims}

    def judged(row: Row) -> Row:
        if row.claim.given is None or row.verdict not in held:
            return row
        other = rows[row.claim.given]
        if other.verdict in held:
            return row
        how = "is missed" if other.verdict == "not reproduced" else "has no verdict"
        what = f"{other.place}, {other.claim.quantity}"
        reason = f"it rests on a claim that {how} ({what}): {row.claim.given_reason}"
        return replace(row, verdict="not run", reason=reason)

    return [judged(row) for row in rows.values()]


# ---- reading: the ledger


def load(path: Path | str | None = None) -> list[Claim]:
    """The claims of the ledger at `path` (default: the project's), in its order.

    Raises UserError that names the file, the claim and the key for any defect.
    """
    path = Path(path or LEDGER)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or not TOML
        raise UserError(f"cannot read the claims ledger {path}: {_clean(error)}") from None
    entries = content.pop("claim", [])
    if content:
        raise UserError(f"{path}: unknown key '{_clean(next(iter(content)))}'; Valid: claim.")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: no [[claim]] in it; restore the file from the repository")
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(entries, 1):
        claim = _claim(path, number, entry)
        if claim.id in claims:
            raise UserError(f"{path}: claim {claim.id}: id: used twice; give each claim its own")
        claims[claim.id] = claim
    tested = [claim.id for claim in claims.values() if claim.run]
    for claim in claims.values():
        if claim.given is not None and claim.given not in tested:
            raise UserError(
                f"{path}: claim {claim.id}: given: {_clean(claim.given)} is no claim that is tested; "
                f"{suggest(claim.given, tested)}"
            )
        if claim.given is not None and claims[claim.given].given is not None:
            raise UserError(
                f"{path}: claim {claim.id}: given: {_clean(claim.given)} rests on another claim itself; name that one"
            )
    return list(claims.values())


def _claim(path: Path, number: int, entry: Any) -> Claim:
    """One entry of the ledger, every key checked."""
    if not isinstance(entry, dict):
        raise UserError(f"{path}: claim number {number}: a [[claim]] table was expected")
    name = _clean(entry["id"]) if isinstance(entry.get("id"), str) else f"number {number}"

    def fail(key: str, problem: str) -> UserError:
        return UserError(f"{path}: claim {name}: {_clean(key)}: {problem}")

    for key in entry:
        if key not in _READERS:
            raise fail(key, f"unknown key; {suggest(key, _READERS)}")
    for part in fields(Claim):
        if part.default is MISSING and part.name not in entry:
            raise fail(part.name, "missing")
    values = {}
    for key, value in entry.items():
        try:
            values[key] = _READERS[key](value)
        except ValueError as error:
            raise fail(key, f"{error} was expected, not {_clean(repr(value))}") from None
    claim = Claim(**values)

    # What one key demands of another.
    if not re.fullmatch(r"(s|fig|table|a)[0-9]+(\.[a-z0-9-]+){1,2}", claim.id):
        raise fail(
            "id", "the form place.column.model, as table1.mnist-10k.aae, lower case, was expected"
        )
    if claim.direction not in DIRECTIONS:
        raise fail("direction", f"unknown; {suggest(claim.direction, DIRECTIONS)}")
    needed = ["band", "band_reason", "wrong", "wrong_reason"] if claim.run else ["reason"]
    needed += ["statement"] if claim.reported is None else []
    needed += ["reported", "plusminus_meaning"] if claim.plusminus is not None else []
    needed += ["partial_reason", "band"] if claim.partial else []
    needed += ["given_reason"] if claim.given else []
    for key in needed:
        if getattr(claim, key) is None:
            raise fail(key, "missing")
    if claim.plusminus is not None and claim.plusminus < 0:
        raise fail("plusminus", "must not be negative")
    if claim.band:
        low, high = claim.band
        outer = claim.partial or claim.band
        if not (outer[0] <= low and high <= outer[1]):
            raise fail("partial", f"must enclose the band {_interval(claim.band)}")
        if claim.wrong is not None and outer[0] <= claim.wrong <= outer[1]:
            raise fail("wrong", f"lies in {_interval(outer)}: the claim would not refuse it")
        if claim.reported is not None and not low <= claim.reported <= high:
            raise fail("band", f"does not hold the reported {_number(claim.reported)}")
        if None not in (claim.reported, claim.wrong) and (
            high - low >= abs(claim.wrong - claim.reported)
        ):
            raise fail("band", "must be narrower than the distance from 'reported' to 'wrong'")
    return claim


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("text")
    return value


def _finite(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(_float(value)):
        raise ValueError("a finite number")
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("a whole number above 0")
    return value


def _pair(value: Any) -> tuple[float, float]:
    try:
        low, high = map(_finite, value) if isinstance(value, list) else ()
    except ValueError:
        low, high = 0.0, 0.0
    if low >= high:
        raise ValueError("[low, high], two finite numbers with low below high,")
    return low, high


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _dataset(value: Any) -> str:
    if value not in OFFICIAL:
        raise ValueError("mnist, svhn or tfd")
    return value


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "reported": _finite,
    "plusminus": _finite,
    "band": _pair,
    "wrong": _finite,
    "partial": _pair,
    "epochs": _count,
    "data": _dataset,
    "run": _flag,
}
_READERS = {part.name: _SPECIAL.get(part.name, _text) for part in fields(Claim)}


# ---- reading: results


def _results_files(folder: Path) -> list[Path]:
    """The results files of a folder, or `folder` itself if it is one; none where there is no such folder.

    Raises UserError for one that cannot be read, which `Path.rglob` would pass over, as it does one inside.
    """
    if folder.is_file():
        return [folder]
    try:
        os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}.") from None
    # What begins with a dot is no one's results: macOS leaves such files beside others.
    return sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))


def evidence(results: Path | str | Iterable[Path | str]) -> dict[str, Evidence]:
    """The evidence for each claim id in one folder of results files, or one such file, or several.

    Where several files give the same claim, one counts: a run on the claim's data that is no smoke run before
    any other, then one at the claim's own epoch, then the one with more epochs, then the one with
    more seeds. Seeds that other files have beside it, measured after as many epochs on the same profile and data
    by models of the same configurations, are added where seeds that both have agree: a chapter may be executed seed by
    seed.
    A folder that does not exist holds no evidence.
    Raises UserError for a folder that cannot be read, and, with file and key, for any defect in a file.
    """
    claims = {claim.id: claim for claim in load()}
    found: dict[str, list[Evidence]] = {}
    for folder in [results] if isinstance(results, str | Path) else results:
        for path in _results_files(Path(folder)):
            for name, item in _read_results(path, claims).items():
                found.setdefault(name, []).append(item)

    def rank(claim: Claim, item: Evidence) -> tuple:
        counts = item.data == claim.data and item.profile != "smoke"
        return counts, item.epochs == claim.epochs, item.epochs, len(item.values)

    best = {}
    for name, items in found.items():
        first, *others = sorted(items, key=partial(rank, claims[name]), reverse=True)
        for item in others:
            alike = replace(item, values=first.values) == first
            alike &= all(item.hashes.get(e, told) == told for e, told in first.hashes.items())
            if alike and all(first.values.get(s, v) == v for s, v in item.values.items()):
                first = replace(
                    first, values=first.values | item.values, hashes=item.hashes | first.hashes
                )
        best[name] = first
    return best


def _read_results(path: Path, claims: dict[str, Claim]) -> dict[str, Evidence]:
    """The evidence in one results file."""
    remedy = "run its chapter again, or remove the file"

    def fail(key: str, problem: str) -> UserError:
        return UserError(f"{path}: {_clean(key)}: {problem}; {remedy}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]:
            raise fail(twice[0], "given twice")
        return dict(pairs)

    def get(table: Any, key: str, inside: str = "") -> Any:
        if not isinstance(table, dict) or key not in table:
            raise fail(inside + key, "missing")
        return table[key]

    def expect(condition: bool, key: str, what: str, value: Any) -> None:
        if not condition:
            raise fail(key, f"{what} was expected, not {_clean(repr(value))}")

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or not JSON
        raise UserError(f"cannot read the results {path}: {_clean(error)}; {remedy}") from None

    schema = get(content, "schema")
    expect(type(schema) is int and schema == SCHEMA, "schema", str(SCHEMA), schema)
    profile = get(content, "profile")
    known = isinstance(profile, str) and profile in PROFILES
    expect(known, "profile", " or ".join(PROFILES), profile)
    chapter = get(content, "chapter")
    expect(isinstance(chapter, str), "chapter", "text", chapter)

    def seeds_of(table: dict[str, Any], inside: str = "") -> list[int]:
        seeds = get(table, "seeds", inside)
        whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
        expect(whole, f"{inside}seeds", "a list of whole numbers", seeds)
        return seeds

    seeds = seeds_of(content)

    def measured_on(table: dict[str, Any], inside: str = "") -> str:
        source = table.get("data", {"name": "mnist"})
        name, digest = get(source, "name", f"{inside}data."), source.get("digest", MNIST_DIGEST)
        expect(isinstance(name, str), f"{inside}data.name", "text", name)
        expect(isinstance(digest, str), f"{inside}data.digest", "text", digest)
        # A part of a data set is another one. TFD's digest nobody can know, but no image archive can have its name.
        official = {"mnist": MNIST_DIGEST, "svhn": mat.svhn_digest(), "tfd": digest}
        whole = digest == official.get(name)
        return _clean(name if whole else f"{name}@{digest}")

    data = measured_on(content)
    hashes: dict[str, str] = {}
    with suppress(*UNREADABLE):  # of runs that cannot be read `aae verify` tells
        hashes = {run["experiment"]: run["hash"] for run in content["runs"]}
    entries = get(content, "claims")
    expect(isinstance(entries, dict), "claims", "a table by claim id", entries)
    found = {}
    for name, entry in entries.items():
        key = f"claims.{name}"
        if name not in claims:
            near = get_close_matches(name, claims, n=1, cutoff=0)[0]
            raise fail(key, f"the ledger has no such claim; the nearest is '{near}'")
        values = get(entry, "values", f"{key}.")
        expect(isinstance(values, dict), f"{key}.values", "a table by seed", values)
        meant = seeds_of(entry, f"{key}.") if "seeds" in entry else seeds
        by_seed: dict[int, float | None] = dict.fromkeys(meant)
        for seed, value in values.items():
            expect(re.fullmatch("[0-9]{1,19}", seed) is not None, f"{key}.values", "a seed", seed)
            number = value is None or type(value) in (int, float)
            expect(number, f"{key}.values.{seed}", "a number or null", value)
            by_seed[int(seed)] = None if value is None else _float(value)
        epochs = get(entry, "epochs", f"{key}.")
        of_epochs = entry.get("of_epochs")
        for part, count in (("epochs", epochs), ("of_epochs", of_epochs)):
            good = type(count) in (int, float) and 0 <= _float(count) < math.inf
            good = good or (part == "of_epochs" and count is None)
            expect(good, f"{key}.{part}", "a number of epochs", count)
        on = measured_on(entry, f"{key}.") if "data" in entry else data
        found[name] = Evidence(by_seed, epochs, of_epochs, profile, _clean(chapter), on, hashes)
    return found


def _float(value: float) -> float:
    """`value` as a float; a whole number too large for one is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


# ---- rendering


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as `aae claims --json` prints them: plain values, null where there is none."""
    return [
        {
            "id": row.id,
            "place": row.place,
            "reported": row.reported,
            "obtained": row.obtained,
            "std": row.std,
            "n": row.n,
            "profile": row.profile,
            "epochs": row.epochs,
            "verdict": row.told,
            "reason": row.reason,
        }
        for row in rows
    ]


def html_table(columns: Mapping[str, Sequence[Row]], chapters: str | None = None) -> str:
    """An HTML table for the book: claims and the paper's numbers, then one column for each entry of `columns`.

    Its rows are the same claims, judged on different results ("Published", "This run"). With `chapters`, the folder of
    the chapters' pages as seen from this page ("" or "chapters/"), each claim links to the cell of its chapter that
    measures it (`pages.with_anchors`). Every text is escaped.
    """
    rows, ids = [], []
    for judged in zip(*columns.values(), strict=True):
        claim = judged[0].claim
        cell = {key: html.escape(text) for key, text in _cells(judged[0]).items()}
        what = f"<b>{cell['place']}</b> {cell['model']}"
        if chapters is not None and claim.run:
            # Single quotes, so that it reads the same inside a notebook's JSON.
            page = f"{chapters}{claim.chapter}.html#{anchor(claim)}"
            what += (
                f" <small>· <a href='{page}'>chapter {claim.chapter[:2].lstrip('0')}</a></small>"
            )
        what += f"<br><small>{cell['quantity']}</small>"
        if claim.statement:
            what += f"<br><small>The paper: {html.escape(claim.statement)}</small>"
        rows.append([what, cell["reported"], *map(_result, judged)])
        ids.append(cell["claim"])
    return table(["Claim", "Paper", *map(html.escape, columns)], rows, ids)


def table(
    head: Iterable[str], rows: Iterable[Sequence[str]], ids: Iterable[str] | None = None
) -> str:
    """A table for the book, a line for each row. Cells and `ids`, the rows' targets for links, are HTML already."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = [f'<table class="table scorecard"><thead><tr>{titles}</tr></thead><tbody>']
    rows = list(rows)
    starts = ["<td>"] * len(rows) if ids is None else [f'<td id="{name}">' for name in ids]
    for start, row in zip(starts, rows, strict=True):
        lines.append(f"<tr>{start}{'</td><td>'.join(row)}</td></tr>")
    return "\n".join([*lines, "</tbody></table>"])


def against_the_paper(columns: Mapping[str, Sequence[Row]], places: Sequence[str]) -> str:
    """`html_table` of the claims that this project runs and whose ids begin with one of `places`."""
    mine = {
        name: [row for row in rows if row.claim.run and row.id.startswith(tuple(places))]
        for name, rows in columns.items()
    }
    return html_table(mine)


def anchor(claim: Claim) -> str:
    """The id of the place in a chapter's page where `claim` is measured; its row of the chapter's table has its own."""
    return f"cell.{claim.id}"


def chip(verdict: str, count: int | None = None) -> str:
    """A verdict as a coloured label, with how many claims have it."""
    number = "" if count is None else f"<b>{count}</b> "
    return f'<span class="chip {verdict.replace(" ", "-")}">{number}{verdict}</span>'


def _result(row: Row) -> str:
    """What was obtained, from how much, and the verdict, in HTML."""
    cell = {key: html.escape(text) for key, text in _cells(row).items()}
    found = ""
    if row.obtained is not None:
        how = f"n = {cell['n']}, epoch {cell['epochs']}, {cell['profile']}"
        found = f"{cell['obtained']} <small>{how}</small><br>"
    reason = f"<br><small>{cell['reason']}</small>" if cell["reason"] else ""
    return f"{found}{chip(row.told)}{reason}"


def summary(rows: list[Row]) -> str:
    """How many claims have which verdict, in one line."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts(rows).items())


def standing(rows: Sequence[Row]) -> str:
    """What those that are reproduced weigh, in a sentence: printed numbers, the paper's own model, single seeds."""
    found = [row for row in rows if row.verdict == "reproduced"]
    if not found:
        return "None is reproduced."
    printed = [row for row in found if row.reported is not None]
    own = sum(row.model == OWN for row in printed)
    alone = sum(row.n == 1 for row in found)
    return (
        f"Of the {len(found)} reproduced, the paper prints a number for {len(printed)} ({own} of its own model); the "
        f"rest are statements about a picture or a comparison, turned into a number. Of one seed alone: {alone}."
    )


def counts(rows: Iterable[Verdict]) -> dict[str, int]:
    """How many claims have which verdict, as a reader is told it; all verdicts, in order."""
    words = [row.told for row in rows]
    *judged, not_run = VERDICTS
    return {verdict: words.count(verdict) for verdict in (*judged, NO_VERDICT, not_run)}


def render(rows: list[Row], width: int = 120) -> str:
    """Rows as text for a terminal, at most `width` columns wide, grouped by place, counts last."""
    columns = ("claim", "reported", "obtained", "n", "epochs", "profile")
    cells = [_cells(row) for row in rows]
    sizes = {c: max([len(c), *(len(cell[c]) for cell in cells)]) for c in columns}
    rest = max(width - sum(size + 2 for size in sizes.values()), 20)

    def line(cell: dict[str, str], last: str) -> str:
        parts = [f"{cell[c]:{'>' if c in ('n', 'epochs') else '<'}{sizes[c]}}" for c in columns]
        return "  ".join([*parts, last]).rstrip()

    lines = [line({c: c.capitalize() for c in columns}, "Verdict")]
    for place, group in groupby(cells, key=lambda cell: cell["place"]):
        lines += ["", place]
        for cell in group:
            verdict, *more = textwrap.wrap(_verdict(cell), rest)
            lines.append(line(cell, verdict))
            lines += [line(dict.fromkeys(columns, ""), part) for part in more]
    return "\n".join([*lines, "", summary(rows)])


def markdown(rows: list[Row]) -> str:
    """The claims that this project runs as a markdown table under a line of what they add up to."""
    rows = [row for row in rows if row.claim.run]
    head = "| Place | Model | Quantity | Paper | Obtained | n | Epochs | Verdict |"
    lines = [f"{summary(rows)}. {standing(rows)}", "", head, "|---|---|---|--:|--:|--:|--:|---|"]
    for row in rows:
        cell = _cells(row)
        texts = [cell["place"], cell["model"], cell["quantity"], cell["reported"], cell["obtained"]]
        texts += [cell["n"], cell["epochs"], _verdict(cell)]
        lines.append("| " + " | ".join(map(plain, texts)) + " |")
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> dict[str, str]:
    """What a row shows, as text."""
    return {
        "claim": row.id,
        "place": row.place,
        "model": row.model,
        "quantity": row.claim.quantity,
        "reported": _measured(row.reported, row.claim.plusminus, none="—"),
        "obtained": _measured(row.obtained, row.std, none="—"),
        "n": "—" if row.n is None else str(row.n),
        "epochs": "—" if row.epochs is None else f"{row.epochs:g}",
        "profile": row.profile or "—",
        "verdict": row.told,
        "reason": row.reason or "",
    }


def _verdict(cell: dict[str, str]) -> str:
    return f"{cell['verdict']}: {cell['reason']}" if cell["reason"] else cell["verdict"]


def _mean_std(values: dict[int, float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (ddof 1) over seeds; None where they are no finite number."""
    numbers = np.array([math.nan if v is None else v for v in values.values()], dtype=float)
    if not numbers.size or not np.isfinite(numbers).all():
        return None, None
    with np.errstate(all="ignore"):  # huge values overflow, and are then no finite mean
        mean = float(numbers.mean())
        std = float(numbers.std(ddof=1)) if numbers.size > 1 else math.nan
    return (mean if math.isfinite(mean) else None), (std if math.isfinite(std) else None)


def _number(value: float) -> str:
    """Two decimals below 100 (errors in %, ratios), four digits above (nats)."""
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.4g}"


def _measured(value: float | None, spread: float | None, none: str = "no value") -> str:
    if value is None:
        return none
    if spread is None:
        return _number(value)
    if abs(value) < 100:
        return f"{_number(value)} ± {spread:.2f}"
    return f"{_number(value)} ± " + (f"{spread:.2g}" if spread < 100 else f"{spread:.0f}")


def _interval(pair: tuple[float, float]) -> str:
    return f"[{pair[0]:g}, {pair[1]:g}]"


def _epochs(epochs: float) -> str:
    return f"{epochs:g} epoch{'' if epochs == 1 else 's'}"


def _printable(text: object) -> str:
    """Foreign text made safe to print: one line of printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _clean(text: object) -> str:
    """`_printable`, and not too long."""
    return textwrap.shorten(_printable(text), 200, placeholder=" …")


def plain(text: object) -> str:
    """`text` for a line of markdown that shows it as it is: no markup of markdown, MyST or HTML takes effect."""
    return re.sub(r"([\\`*_{}\[\]<>&$~^!|])", r"\\\1", _printable(text))
