"""What `make bench` measured, as the book shows it: a table of ratios, and figures. Needs no torch."""

from __future__ import annotations

import html
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from aae_lib import claims, store
from aae_lib.claims import chip
from aae_lib.errors import UNREADABLE, UserError
from aae_lib.figures import GREY, INK, STYLE, WIDTH

FILES = ("bench.json", "bench_details.json")
QUANTITIES = {
    "step_vs_literal": "Time of an iteration: ours / the paper's phases written out one by one",
    "products_vs_step": "Time of an iteration: its matrix products alone / all of ours",
    "limit_vs_step": "Time of an iteration: its matrix products and parameter updates alone / all of ours",
    "replicates_together": "Time of ten replicates: as one program / one after another",
    "images_vs_pythae": "Images per second in training: ours / the trainer of the package pythae",
    "parzen_products": "Time of a Parzen estimate, one σ: its matrix products alone / all of ours",
    "parzen_grid": "Time of a Parzen estimate, ten σ: the same matrix products alone / all of ours",
    "parzen_vs_numpy": "Time of a Parzen estimate: ours / the formula written out in NumPy",
    "parzen_vs_sklearn": "Time of a Parzen estimate: ours / scikit-learn's KernelDensity",
    "parzen_10m_peak_gib": "Peak memory of a Parzen estimate from 10M samples, in GiB",
}
"""Each figure of the bench in plain words."""
ITERATION, MEMORY, ARITHMETIC = "whole iteration", "memory", "peak"
"""How the names of three points of the roofline begin; the last two of them are the roofs."""

Look = dict[str, Any]
OURS: Look = {"color": "C0", "ls": "-", "marker": "o"}
OTHER: Look = {"color": "C1", "ls": (0, (5, 1.5)), "marker": "s"}
LIMIT: Look = {"color": "C2", "ls": (0, (4, 1.5, 1, 1.5)), "marker": "D"}
PRODUCTS: Look = {"color": "C3", "ls": (0, (1, 1.2)), "marker": "^"}
"""Lines that mean the same look the same."""

Series = dict[str, np.ndarray]
"""Columns of one length; times in seconds."""


@dataclass(frozen=True)
class Measured:
    """One figure beside its target."""

    name: str
    value: float  # not finite where it could not be measured
    target: str  # "≤ x" or "≥ x"
    ok: bool


@dataclass(frozen=True)
class Piece:
    """A point of the roofline."""

    name: str
    flop: float
    bytes: float
    seconds: float

    @property
    def intensity(self) -> float:
        """Operations per byte that must move."""
        return self.flop / self.bytes

    @property
    def gflops(self) -> float:
        """10⁹ operations per second."""
        return self.flop / self.seconds / 1e9


@dataclass(frozen=True)
class Curves:
    """What the pictures are made from."""

    units: Series  # units, products, limit, ours, literal
    replicates: Series  # replicates, together, apart
    pieces: Sequence[Piece]  # of the roofline
    samples: Series  # samples, products, one sigma, ten sigmas
    sigmas: Series  # sigmas, seconds, products
    points: int  # images in both Parzen curves
    sigmas_samples: int  # samples in the one over sigmas

    def piece(self, beginning: str) -> Piece:
        """The point of the roofline whose name begins so; KeyError if there is none."""
        for piece in self.pieces:
            if piece.name.startswith(beginning):
                return piece
        raise KeyError(beginning)

    @property
    def bandwidth(self) -> float:
        """The slanted roof, 10⁹ bytes per second."""
        return self.piece(MEMORY).bytes / self.piece(MEMORY).seconds / 1e9

    @property
    def peak(self) -> float:
        """The flat roof, GFLOP/s."""
        return self.piece(ARITHMETIC).gflops


@dataclass(frozen=True)
class Bench:
    """One run of `make bench`."""

    figures: Sequence[Measured]
    how: Mapping[str, str]  # by figure: what was divided by what, with sizes and times
    curves: Curves
    made: str  # when, on what, from which commit; one line


@dataclass(frozen=True)
class Picture:
    """A figure for a page: its PNG and its texts."""

    name: str
    png: bytes
    alt: str
    caption: str


def load(folder: Path) -> Bench | None:
    """What `make bench` left in `folder`; None if there is nothing.

    Raises UserError naming the file that is missing beside the other, or that is not what the bench writes.
    """
    table, details = (folder / name for name in FILES)
    if not table.exists() and not details.exists():
        return None
    measured = _read(table, _parse_table)
    return _read(details, lambda content: _parse_details(content, measured))


def table(bench: Bench) -> str:
    """An HTML table: what each figure divides, its value, its target, and whether it is kept."""
    rows = []
    for figure in bench.figures:
        name, how = html.escape(figure.name), html.escape(bench.how[figure.name])
        what = html.escape(QUANTITIES.get(figure.name, figure.name))
        found = math.isfinite(figure.value)
        verdict = ("met" if figure.ok else "missed") if found else "not measured"
        rows.append([
            f"<b>{what}</b><br><small><code>{name}</code>: {how}</small>",
            f"{figure.value:#.3g}" if found else "—",
            f'<span class="target">{html.escape(figure.target)}</span>',
            chip(verdict),
        ])  # fmt: skip
    ids = (html.escape(figure.name) for figure in bench.figures)
    return claims.table(("Figure", "Value", "Target", ""), rows, ids)


def pictures(bench: Bench) -> list[Picture]:
    """The page's pictures with their captions."""
    made = []
    with mpl.rc_context(STYLE):
        for draw in (roofline, iteration, parzen):
            figure, alt, caption = draw(bench.curves)
            png = io.BytesIO()
            figure.savefig(png, format="png")
            made.append(Picture(draw.__name__, png.getvalue(), alt, caption))
    return made


# ---- figures: each returns the figure, its alternative text, and a caption whose numbers come from the data


def roofline(curves: Curves) -> tuple[Figure, str, str]:
    """Operations per second of the pieces of an iteration, under what the machine's memory and arithmetic allow."""
    memory, arithmetic = curves.piece(MEMORY), curves.piece(ARITHMETIC)
    pieces = [piece for piece in curves.pieces if piece not in (memory, arithmetic)]
    intensities, gflops = zip(*((p.intensity, p.gflops) for p in curves.pieces), strict=True)
    low, bend, high = min(intensities) / 2, curves.peak / curves.bandwidth, max(intensities) * 12

    figure = Figure(figsize=(WIDTH, 0.62 * WIDTH), layout="constrained")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    axes.set_ylim(min(gflops) / 2.5, max(gflops) * 3)
    axes.set_xlabel("operations per byte that must move between memory and processor")
    axes.set_ylabel("10⁹ operations per second (GFLOP/s)")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25, lw=0.6)
    roofs = (
        ([low, bend], f"{memory.name}: {curves.bandwidth:.3g} GB/s", "-"),
        ([bend, high], f"{arithmetic.name}: {curves.peak:.3g} GFLOP/s", (0, (5, 1.5))),
    )
    for x, name, dash in roofs:
        y = np.minimum(curves.bandwidth * np.array(x), curves.peak)
        axes.plot(x, y, color=INK, lw=2, ls=dash, label=name)
    axes.legend(title="what the machine allows", loc="upper left", alignment="left", handlelength=3)
    whole = curves.piece(ITERATION)
    # Names stand on stairs under the points, so that neither they nor the lines down to them can cross.
    for i, piece in enumerate(sorted(pieces, key=lambda p: (p.intensity, p.gflops))):
        mark = {"marker": "D", "ms": 8, "color": "C1"} if piece is whole else {"marker": "o"}
        axes.plot(piece.intensity, piece.gflops, ls="", **{"color": "C0"} | mark, zorder=4)
        axes.annotate(
            f" {piece.name}: {piece.gflops:.3g}",
            (piece.intensity, piece.gflops),
            (piece.intensity, 0.06 + 0.07 * i),
            textcoords=axes.get_xaxis_transform(),
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "lw": 0.8,
                "color": GREY,
                "shrinkA": 0,
                "relpos": (0, 0.5),
            },
        )
    share = whole.gflops / min(curves.bandwidth * whole.intensity, curves.peak)
    cached = any(p.gflops > 1.02 * min(curves.bandwidth * p.intensity, curves.peak) for p in pieces)
    caption = (
        "The more operations a piece of work makes for each byte, the further right it stands; the lines are what "
        "the machine allows, measured too. The whole iteration (diamond) reaches "
        f"{share:.0%} of the line above it. A piece under the slanted line waits for memory, one under the flat line "
        "for arithmetic"
        + (", and one above its line finds its numbers in the cache." if cached else ".")
    )
    alt = (
        "Roofline: operations per second against operations per byte for the pieces of a training iteration, below a "
        "slanted line (memory) and a flat one (arithmetic)"
    )
    return figure, alt, caption


def iteration(curves: Curves) -> tuple[Figure, str, str]:
    """Time of an iteration against hidden units, and of several replicates against their number."""
    figure, left, right = _panels()
    units, replicates = curves.units, curves.replicates
    left.set(title="One model", xlabel="hidden units per layer", ylabel="ms per iteration")
    lines = {
        "phases one by one": (OTHER, units["literal"]),
        "ours": (OURS, units["ours"]),
        "products and updates alone": (LIMIT, units["limit"]),
        "products alone": (PRODUCTS, units["products"]),
    }
    _lines(left, units["units"], {name: (look, 1e3 * y) for name, (look, y) in lines.items()})

    count = replicates["replicates"]
    apart, together = (1e3 * replicates[name] / count for name in ("apart", "together"))
    right.set(xscale="log", ylim=(0, 1.15 * max(*apart, *together)), title="Several replicates")
    right.set(xlabel="replicates", ylabel="ms per iteration and replicate")
    _lines(right, count, {"one after another": (OTHER, apart), "as one program": (OURS, together)})

    share, ratio = units["limit"] / units["ours"], together / apart
    caption = (
        f"Left: products and updates alone take {share[0]:.0%} of our time at {units['units'][0]:,.0f} hidden units, "
        f"and {share[-1]:.0%} at {units['units'][-1]:,.0f}. Right: {count[-1]:.0f} replicates as one program take "
        f"{ratio[-1]:.2f} of the time that they take one after another."
    )
    alt = (
        "Two panels: milliseconds of an iteration against hidden units, and milliseconds per replicate against the "
        "number of replicates"
    )
    return figure, alt, caption


def parzen(curves: Curves) -> tuple[Figure, str, str]:
    """Time of the Parzen estimate against samples, and against the number of sigmas."""
    figure, left, right = _panels()
    samples, sigmas = curves.samples, curves.sigmas
    left.set(title=f"{curves.points:,} images", xlabel="samples", ylabel="seconds")
    lines = {
        "ours, ten σ": (LIMIT, samples["ten sigmas"]),
        "ours, one σ": (OURS, samples["one sigma"]),
        "products alone": (PRODUCTS, samples["products"]),
    }
    _lines(left, samples["samples"], lines)

    right.set(title=f"{curves.points:,} images, {curves.sigmas_samples:,} samples")
    right.set(xlabel="number of σ in the grid", ylabel="seconds")
    right.set_ylim(0, 1.15 * max(*sigmas["seconds"], *sigmas["products"]))
    lines = {"ours": (OURS, sigmas["seconds"]), "products alone": (PRODUCTS, sigmas["products"])}
    _lines(right, sigmas["sigmas"], lines)

    one, ten = (samples["products"][-1] / samples[name][-1] for name in ("one sigma", "ten sigmas"))
    slope = np.polyfit(sigmas["sigmas"], sigmas["seconds"] / sigmas["products"], 1)[0]
    caption = (
        f"Left: at {samples['samples'][-1]:,.0f} samples the products alone take {one:.0%} of our time for one σ, and "
        f"{ten:.0%} for ten. Right: each further σ costs {slope:.0%} of the products."
    )
    alt = "Two panels: seconds of the Parzen estimate against samples, and against the number of sigmas"
    return figure, alt, caption


def _panels() -> tuple[Figure, Axes, Axes]:
    """A figure with two panels, the left one with logarithmic axes."""
    figure = Figure(figsize=(WIDTH, 0.5 * WIDTH), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set(xscale="log", yscale="log")
    return figure, left, right


def _lines(axes: Axes, x: np.ndarray, lines: Mapping[str, tuple[Look, np.ndarray]]) -> None:
    """A line for each (look, y), and ticks at the measured x. The axes' scales are set already."""
    for name, (look, y) in lines.items():
        axes.plot(x, y, ms=5, label=name, **look)
    axes.xaxis.set_major_locator(FixedLocator(x))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25, lw=0.6)
    axes.legend(handlelength=3)


# ---- reading


def _read(path: Path, parse: Callable[[Any], Any]) -> Any:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        problem = "it is missing"
    except KeyError as error:
        problem = f"there is no {error}"
    except UNREADABLE as error:
        problem = str(error)
    remedy = f"Run 'make bench' again, or remove {' and '.join(FILES)} from that folder."
    raise UserError(f"cannot read the bench's {path}: {problem}. {remedy}")


def _parse_table(rows: Any) -> list[Measured]:
    """The figures; ValueError, KeyError or TypeError if `rows` are not what the bench writes."""
    measured = []
    for row in rows:
        figure = Measured(str(row["name"]), float(row["value"]), row["target"], row["ok"])
        if not re.fullmatch(r"[≤≥] [0-9.]+", figure.target) or type(figure.ok) is not bool:
            raise ValueError(f"target {figure.target!r}, ok {figure.ok!r} of {figure.name}")
        measured.append(figure)
    if not measured:
        raise ValueError("it holds no figure")
    return measured


def _parse_details(details: Any, measured: Sequence[Measured]) -> Bench:
    how = {figure.name: str(details["how"][figure.name]) for figure in measured}
    line = f"{store.made(details)}, {int(details['provenance']['threads'])} threads"
    return Bench(measured, how, _parse_curves(details["curves"]), line)


def _parse_curves(curves: Any) -> Curves:
    samples, sigmas = curves["parzen_samples"], curves["parzen_sigmas"]
    same = [sigmas["products"]] * len(sigmas["sigmas"])  # the products do not depend on sigma
    parsed = Curves(
        units=_rows(curves["units"], "units", "products", "limit", "ours", "literal"),
        replicates=_rows(curves["replicates"], "replicates", "together", "apart"),
        pieces=[
            Piece(str(p["name"]), *_numbers([p["flop"], p["bytes"], p["seconds"]]))
            for p in curves["roofline"]
        ],
        samples=_series(samples, "samples", "products", "one sigma", "ten sigmas"),
        sigmas=_series(sigmas | {"products": same}, "sigmas", "seconds", "products"),
        points=int(samples["points"]),
        sigmas_samples=int(sigmas["samples"]),
    )
    for name in ITERATION, MEMORY, ARITHMETIC:
        parsed.piece(name)
    return parsed


def _rows(rows: Sequence[Mapping[str, float]], *names: str) -> Series:
    return _series({name: [row[name] for row in rows] for name in names}, *names)


def _series(columns: Mapping[str, Sequence[float]], *names: str) -> Series:
    series = {name: _numbers(columns[name]) for name in names}
    if len({len(column) for column in series.values()}) > 1:
        raise ValueError(f"{', '.join(names)} differ in length")
    return series


def _numbers(values: Sequence[float]) -> np.ndarray:
    """`values` as an array; ValueError unless they are finite and positive, and there is one."""
    numbers = np.array(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or not (np.isfinite(numbers) & (numbers > 0)).all():
        raise ValueError(f"finite numbers above 0 were expected, not {values}")
    return numbers
