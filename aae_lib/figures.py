"""The book's figures: from plain arrays, or from an `Experiment`, to a matplotlib `Figure`.

Nothing here trains, samples or needs torch. Figures are made without pyplot's global state, so a
notebook shows each once and a script without a display can save them.
"""

from __future__ import annotations

import base64
import html
import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from aae_lib.config import Code, Experiment, labels_code
from aae_lib.errors import UserError
from aae_lib.priors import Categorical, Gaussian, GaussianMixture, Prior, SwissRoll, Uniform

if TYPE_CHECKING:
    from aae_lib.claims import Claim, Row

WIDTH = 7.0
"""Inches; the book shows it about 720 pixels wide."""

PALETTE = (
    "#432894", "#0086ff", "#bcae28", "#941b00", "#6bd779",
    "#d743a1", "#6b865e", "#ffa1bc", "#6b2843", "#bcbcff",
)  # fmt: skip
"""One colour per digit, found by search: to normal, deutan, protan and tritan eyes alike, any two
are at least 26 apart (CIE 1976, L*a*b*); matplotlib's default ten come as close as 4.6."""

COLOURS = ["#0b62b8", "#c2410c", "#432894", "#3f7d3a"]
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1.2)))
MARKERS = "osD^"
"""Of lines, in the order in which they are drawn."""

INK, GREY = "#222222", "#8a8a8a"
VERDICT_LOOKS = {
    "reproduced": {"color": "#0b62b8", "marker": "o"},
    "partly": {"color": "#c98a00", "marker": "D"},
    "not reproduced": {"color": "#b3261e", "marker": "X"},
    "not run": {"color": GREY, "marker": "s"},
}
"""A colour and, where a page is printed in grey, a shape for each verdict."""
HALO = (withStroke(linewidth=3, foreground="white"),)

STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "lines.linewidth": 1.6,
    "mathtext.fontset": "dejavusans",
}


def use_style() -> None:
    """Set the book's look for every figure that this process draws from here on.

    In a notebook it also lets a `Figure` that ends a cell show as a picture.
    """
    mpl.rcParams.update(STYLE)
    if (ipython := sys.modules.get("IPython")) and (shell := ipython.get_ipython()):
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})


def codes(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    priors: Sequence[np.ndarray | float | None] | None = None,
    heads: Sequence[tuple[np.ndarray, Sequence[str]] | None] | None = None,
    limit: float | None = None,
    own_scale: bool = False,
    axis_names: tuple[str, str] = ("z₁", "z₂"),
    columns: int = 2,
) -> Figure:
    """2-D codes coloured by digit, one panel per (title, codes (n, 2), labels (n,), from 0).

    Paper: Fig 2a–d, 4a, 4c, 11. All panels share one scale, from −`limit` to `limit`; without one, it
    holds 99.8 % of every panel's coordinates. With `own_scale` each panel's square holds as much of
    its own, wherever they lie. `priors`, one per panel, are drawn in grey behind: samples (m, 2); or,
    of a spherical Gaussian, its standard deviation: circles at 1, 2 and 3 of it, in front. `heads`, one per
    panel, are cluster heads (m, 2) with a name for each, printed in a white disc. In a panel without
    them each label is printed where it leads most over the next, if anywhere; from the eleventh on, colours repeat.

    Raises UserError for codes that are not finite or do not fit their labels, and for more or fewer `priors` or `heads`
    than panels.
    """
    if not panels:
        raise UserError(
            "figures.codes got no panel to draw; pass at least one (title, codes, labels)."
        )
    checked = [(title, *_check_codes(title, z, label)) for title, z, label in panels]
    priors = [None] * len(checked) if priors is None else priors
    heads = [None] * len(checked) if heads is None else heads
    for name, given in ("priors", priors), ("heads", heads):
        if len(given) != len(checked):
            raise UserError(
                f"figures.codes got {len(checked)} panels and {len(given)} {name}; give one each."
            )
    limit = limit or 1.08 * max(np.quantile(np.abs(z), 0.998) for _, z, _ in checked) or 1.0
    squares = [(np.zeros(2), limit)] * len(checked)  # centre and half the side
    if own_scale:
        squares = [_square_around(z, head) for (_, z, _), head in zip(checked, heads, strict=True)]

    columns = min(columns, len(checked))
    rows = math.ceil(len(checked) / columns)
    width = {1: 0.65 * WIDTH, 2: WIDTH}.get(columns, 2.5 * columns)
    figure = Figure(figsize=(width, rows * (width / columns + 0.1) + 0.35), layout="constrained")
    shared = {"sharex": not own_scale, "sharey": not own_scale}
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    drawn = zip(grid.flat, checked, priors, heads, squares, strict=False)
    for axes, (title, z, label), prior, head, (centre, half) in drawn:
        _draw_prior(axes, prior)
        order = np.random.default_rng(0).permutation(len(z))  # so that no digit covers the others
        colours = np.array(PALETTE)[label[order] % len(PALETTE)]
        size = float(np.clip(30_000 / max(len(z), 1), 2, 12))
        axes.scatter(*z[order].T, s=size, c=colours, alpha=0.75, linewidths=0, rasterized=True)
        look = {"weight": "bold", "ha": "center", "va": "center"}
        if head is None:
            for digit, place in _label_places(z - centre, label, half).items():
                axes.text(*(place + centre), str(digit), size=12, path_effects=HALO, **look)
        else:
            disc = {"boxstyle": "circle,pad=0.2", "fc": "white", "ec": INK, "lw": 0.9}
            for place, name in zip(*head, strict=True):
                axes.text(*place, name, size=8, bbox=disc, **look)
        axes.set(title=title, aspect="equal")
        axes.set_xlim(centre[0] - half, centre[0] + half)
        axes.set_ylim(centre[1] - half, centre[1] + half)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=half > 2))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=half > 2))
    for axes in grid.flat[len(checked) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(axis_names[1])
    for axes in grid[-1]:
        axes.set_xlabel(axis_names[0])

    seen = np.unique(np.concatenate([label for _, _, label in checked]))
    dots = [
        Line2D([], [], ls="", marker="o", color=PALETTE[k % len(PALETTE)], label=k) for k in seen
    ]
    spacing = {"handletextpad": 0.0, "columnspacing": 1.0}
    per_row = 10 if columns > 1 else 5
    figure.legend(handles=dots, loc="outside lower center", ncols=per_row, **spacing)
    return figure


def sheet(
    images: np.ndarray,
    rows: int,
    columns: int,
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    framed_columns: Sequence[int] = (),
    width: float | None = None,
) -> Figure:
    """Images (rows·columns, h, w), or (…, h, w, 3) in colour, row by row and edge to edge.

    Paper: Fig 2e, 4b, 4d, 5, 7, 9. Values are uint8, or floats in [0, 1] (a linear decoder's are
    clipped). A frame goes around each of `framed_columns` (from 0; −1 is the last): the nearest
    neighbours of Fig 5, the cluster heads of Fig 9. `width` of the figure in inches; by default
    it grows with the columns up to the page's.

    Raises UserError where images, labels or framed columns do not fit the grid, or a pixel is not
    finite.
    """
    tiled = tile(images, rows, columns)
    for name, labels, count in ("row", row_labels, rows), ("column", column_labels, columns):
        if labels is not None and len(labels) != count:
            raise UserError(f"a sheet with {count} {name}s got {len(labels)} {name} labels.")
    if any(not -columns <= column < columns for column in framed_columns):
        raise UserError(
            f"framed_columns {list(framed_columns)} lie outside a sheet of {columns} columns."
        )
    # The page closes around the images: margins in inches for the labels, no space besides.
    slanted = column_labels is not None and max(map(len, column_labels)) > 3
    left = 0.07 * max(map(len, row_labels)) + 0.1 if row_labels else 0.03
    top = 0.03 + (0.42 if slanted else 0.25 if column_labels else 0)
    right, bottom = 0.4 if slanted else 0.03, 0.03
    width = width or min(WIDTH, 0.42 * columns + left + right)
    inner = width - left - right
    height = inner * tiled.shape[0] / tiled.shape[1]
    total = height + top + bottom
    figure = Figure(figsize=(width, total))
    axes = figure.add_axes((left / width, bottom / total, inner / width, height / total))
    axes.imshow(tiled, cmap="gray", vmin=0, vmax=1, extent=(0, columns, rows, 0), aspect="auto")
    axes.set_xticks(np.arange(columns) + 0.5, column_labels or [""] * columns)
    axes.set_yticks(np.arange(rows) + 0.5, row_labels or [""] * rows)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=INK)
    if slanted:
        for text in axes.get_xticklabels():
            text.set(rotation=40, ha="left", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    for column in framed_columns:
        frame = {"fill": False, "ec": "#ffb000", "lw": 2, "clip_on": False}
        axes.add_patch(Rectangle((column % columns, 0), 1, rows, **frame))
    return figure


def tile(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Images (rows·columns, h, w[, 3]) edge to edge as one, (rows·h, columns·w[, 3]), with values in [0, 1].

    Raises UserError where they do not fit the grid or a pixel is not finite.
    """
    images = np.asarray(images)
    in_colour = images.ndim == 4 and images.shape[3] == 3
    if len(images) != rows * columns or not (images.ndim == 3 or in_colour):
        raise UserError(
            f"a sheet of {rows} × {columns} needs images of shape ({rows * columns}, h, w) or "
            f"({rows * columns}, h, w, 3), not {images.shape}."
        )
    if images.dtype == np.uint8:
        images = images / 255
    if not np.isfinite(images).all():
        raise UserError("a sheet got images with pixels that are not finite; did the run diverge?")
    h, w = images.shape[1:3]
    tiled = images.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    return np.clip(tiled.reshape(rows * h, columns * w, *images.shape[3:]), 0, 1)


FILM_BYTES = 2_000_000
"""What a film may weigh: a page has to be loaded with it."""


def film(frames: np.ndarray, text: str, seconds: float = 12.0) -> str:
    """HTML of a film that repeats without end: frames (t, rows, columns, h, w[, 3]), each a sheet edge to edge.

    Paper: §3, §4, the films of learned manifolds. A GIF inside the page, as wide as the text, with as many colours as
    keep it under `FILM_BYTES`, but no fewer than 16, and then with each second or fourth frame alone; who has asked
    the browser for less motion sees the first frame, its poster. `text` is the caption. Raises UserError as `tile`.
    """
    sheets = [
        Image.fromarray((255 * tile(f.reshape(-1, *f.shape[2:]), *f.shape[:2])).astype(np.uint8))
        for f in np.asarray(frames)
    ]
    poster = io.BytesIO()
    sheets[0].save(poster, "png")
    pause = round(1000 * seconds / len(sheets))
    for colours, each in ((256, 1), (64, 1), (16, 1), (16, 2), (16, 4)):
        moving = gif_of(sheets[::each], each * pause, colours)
        if len(moving) <= FILM_BYTES:
            break
    still, gif = (
        f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        for kind, content in (("png", poster.getvalue()), ("gif", moving))
    )
    text = html.escape(text)
    return (
        f'<figure><picture><source media="(prefers-reduced-motion: reduce), print" srcset="{still}">'
        f'<img src="{gif}" alt="{text}" style="width: 100%"></picture><figcaption>{text}</figcaption></figure>'
    )


def gif_of(sheets: Sequence[Image.Image], pause: int, colours: int) -> bytes:
    """A GIF that shows each of `sheets` for `pause` milliseconds, in at most so many `colours`, and begins again."""
    if colours < 256:
        sheets = [sheet.quantize(colours, dither=Image.Dither.NONE) for sheet in sheets]
    moving = io.BytesIO()
    sheets[0].save(moving, "gif", save_all=True, append_images=sheets[1:], duration=pause, loop=0)
    return moving.getvalue()


def notice(text: str) -> Figure:
    """A line of text in the place of a figure that could not be made."""
    figure = Figure(figsize=(WIDTH, 0.6))
    axes = figure.add_axes((0, 0, 1, 1))  # a notebook draws no figure without
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure


def percentile_maps(
    panels: Mapping[str, np.ndarray],
    *,
    axes: tuple[str, str],
    quantity: str | None = None,
    columns: int = 3,
) -> Figure:
    """What lies at the percentiles of two directions of a prior, a panel for each title. Paper: Fig 4b.

    A panel is an array whose columns go through the percentiles of the first of the `axes`, left to right, and its
    rows through those of the second, bottom to top, so that the last row is the lowest. It holds light in [0, 1], as
    images that `tile` has put together; or, with a `quantity` to name it, numbers (rows, columns), on one scale for
    all panels that is white at 0.

    Raises UserError for no panel, or numbers that are not finite.
    """
    if not panels or not all(np.isfinite(panel).all() for panel in panels.values()):
        raise UserError("figures.percentile_maps needs panels, and finite numbers in them.")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    largest = max(np.abs(panel).max() for panel in panels.values()) or 1.0
    look = {"cmap": "gray", "vmin": 0, "vmax": 1}
    if quantity is not None:
        look = {"cmap": "PuOr_r", "vmin": -largest, "vmax": largest}
    h, w = next(iter(panels.values())).shape[:2]
    panel_height = h / w * WIDTH / columns
    figure = Figure(figsize=(WIDTH, rows * (panel_height + 0.15) + 0.2), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, (title, panel) in zip(grid.flat, panels.items(), strict=False):
        picture = place.imshow(panel, extent=(0, 100, 0, 100), aspect="auto", **look)
        place.set(title=title, box_aspect=h / w, xticks=(0, 50, 100), yticks=(0, 50, 100))
    for place in grid.flat[len(panels) :]:
        place.remove()
    figure.supxlabel(f"percentile {axes[0]}", size=9)
    figure.supylabel(f"percentile {axes[1]}", size=9)
    if quantity is not None:
        figure.colorbar(picture, ax=grid, label=quantity, shrink=0.8)
    return figure


def error_along_training(
    series: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    reference: Mapping[str, Mapping[int, float]] | None = None,
    *,
    quantity: str = "test error",
) -> Figure:
    """An error in % against epochs, both logarithmic. Paper: A.2.1, its last paragraph.

    `series[setting][seed]` holds equally long lists "epoch" (above 0) and `quantity` (in %), as a
    chapter's results file does: a thin line per seed, and the mean of several, with a band of ± one standard deviation
    from three on: of two it would lie around values that neither has.
    `reference[setting]` maps epochs to the paper's values, drawn as open markers in the setting's
    colour with the number beside them. Both axes are logarithmic, but for the values' where one of them is 0.

    Raises UserError for lists of unequal length, no points, or values that are negative or not
    finite.
    """
    import seaborn  # takes a second

    reference = {setting: points for setting, points in (reference or {}).items() if points}
    settings = list(dict.fromkeys([*series, *reference]))
    if not settings:
        raise UserError("figures.error_along_training got neither a run nor a reference to draw.")
    figure = Figure(figsize=(WIDTH, 0.58 * WIDTH), layout="constrained")
    axes = figure.subplots()
    legend = []
    for i, setting in enumerate(settings):
        colour, dash = COLOURS[i % 4], DASHES[i % 4]
        open_marker = {"marker": MARKERS[i % 4], "mfc": "white", "mec": colour, "mew": 1.6, "ms": 7}
        curves = [
            _check_curve(f"{setting}, {seed}", run["epoch"], run[quantity])
            for seed, run in series.get(setting, {}).items()
        ]
        for curve in curves:
            # Hundreds of epochs jump so often that thick lines would cover each other.
            weight = {"lw": 1.8 if len(curve) <= 100 else 0.9}
            if len(curves) > 1:
                weight = {"lw": 0.7, "alpha": 0.55}
            dots = {"marker": "o", "ms": 4} if len(curve) < 8 else {}
            axes.plot(list(curve), list(curve.values()), color=colour, ls=dash, **weight, **dots)
        name = setting
        shared = set.intersection(*map(set, curves)) if len(curves) > 1 else set()
        if shared:
            points = [point for curve in curves for point in curve.items() if point[0] in shared]
            epoch, error = zip(*points, strict=True)
            look = {"color": colour, "ls": dash, "lw": 2.2, "err_kws": {"alpha": 0.16, "lw": 0}}
            band, told = ("sd", "mean ± std") if len(curves) > 2 else (None, "mean")
            seaborn.lineplot(x=epoch, y=error, errorbar=band, ax=axes, **look)
            name = f"{setting}: {told} of {len(curves)} seeds"
        if points := reference.get(setting):
            points = _check_curve(f"{setting}, paper", list(points), list(points.values()))
            axes.plot(list(points), list(points.values()), ls="", **open_marker, zorder=4)
            for epoch, value in points.items():
                side = -1 if epoch <= 1 else 1  # nothing is drawn left of the first epoch
                look = {"ha": "right" if side < 0 else "left", "va": "center", "color": colour}
                offset = {"xytext": (8 * side, 0), "textcoords": "offset points"}
                axes.annotate(
                    f"{value:.2f}", (epoch, value), **offset, **look, zorder=5, path_effects=HALO
                )
        marker = open_marker if points else {}
        line = {"color": colour, "ls": dash if curves else "", "lw": 1.8}
        legend.append(Line2D([], [], label=name, **line, **marker))
    zero = any(0 in run[quantity] for runs in series.values() for run in runs.values())
    yscale = "linear" if zero else "log"
    axes.set(xscale="log", yscale=yscale, xlabel="epochs", ylabel=f"{quantity} (%)")
    first = min((run["epoch"][0] for runs in series.values() for run in runs.values()), default=1)
    named = any(epoch <= 1 for points in reference.values() for epoch in points)  # on its left
    axes.set_xlim((0.45 if named else 0.8) * min(1, first), axes.get_xlim()[1] * 1.3)
    for axis in axes.xaxis, axes.yaxis:
        low, high = axis.get_view_interval()
        subs = (1, 2, 5) if high > 15 * low else (1, 2, 3, 4, 5, 7)
        axis.set_major_locator(LogLocator(subs=subs, numticks=20))
        if axis is axes.yaxis and (zero or high < 3 * low):
            axis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25, lw=0.6)
    title = "lines: here · open markers: the paper" if reference else None
    axes.legend(handles=legend, title=title, title_fontsize=8.5, handlelength=3)
    return figure


def error_of_variants(
    series: Mapping[str, Mapping[str, Sequence[float]]], *, quantity: str
) -> Figure:
    """`quantity`, in %, along the training of variants of one model: a row each, the first the one that they vary.

    `series[variant]` holds equally long lists "epoch" and `quantity`. Small open dots are the earlier epochs, larger
    towards the last one, which is filled and has its value beside it. Raises UserError as `error_along_training`.
    """
    if not series:
        raise UserError("figures.error_of_variants got no variant to draw.")
    figure = Figure(figsize=(WIDTH, 0.27 * len(series) + 0.8), layout="constrained")
    axes = figure.subplots()
    curves = [_check_curve(name, run["epoch"], run[quantity]) for name, run in series.items()]
    base = list(curves[0].values())[-1]
    axes.axvline(base, color=GREY, ls="--", lw=1, zorder=0.5)
    for row, curve in enumerate(curves):
        *earlier, last = curve.values()
        colour = COLOURS[min(row, 1)]
        axes.plot([*earlier, last], [row] * len(curve), color=colour, lw=0.8, alpha=0.5, zorder=1)
        sizes = np.linspace(10, 45, len(curve))
        open_dots = {"facecolors": "white", "edgecolors": colour, "linewidths": 1.2}
        axes.scatter(earlier, [row] * len(earlier), s=sizes[:-1], **open_dots, zorder=2)
        axes.scatter([last], [row], s=50, color=colour, zorder=3)
        place = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "size": 7.5}
        axes.annotate(f"{last:.1f}", (last, row), **place, color=colour, path_effects=HALO)
    axes.set_yticks(range(len(series)), list(series))
    axes.set(ylim=(len(series) - 0.4, -0.8), xlabel=f"{quantity} (%)")
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="x", alpha=0.25, lw=0.6)
    axes.spines["left"].set_visible(False)
    return figure


def likelihood_over_sigma(
    sigmas: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    chosen: Mapping[str, float],
    *,
    depth: float = 200,
) -> Figure:
    """Mean log-likelihood of validation images in nats over the width σ of a Parzen window. Paper: §3.

    A line per model with a dot at each of `sigmas`, and an open marker at its `chosen` σ. The axis of nats begins
    `depth` below the lowest of the models' maxima. Raises UserError unless a curve has a finite value for each σ.
    """
    figure = Figure(figsize=(WIDTH, 0.5 * WIDTH), layout="constrained")
    axes = figure.subplots()
    for (name, curve), marker in zip(curves.items(), MARKERS * len(curves), strict=False):
        values = np.asarray(curve, float)
        if values.shape != (len(sigmas),) or not np.isfinite(values).all():
            raise UserError(f"the curve '{name}' needs {len(sigmas)} finite values, one per sigma.")
        (line,) = axes.plot(
            sigmas, values, marker=marker, ms=4, label=f"{name}: σ = {chosen[name]:.3g}"
        )
        best = list(sigmas).index(chosen[name])
        ring = {"mfc": "white", "mew": 2, "ms": 9, "zorder": 4, "color": line.get_color()}
        axes.plot([sigmas[best]], [values[best]], ls="", marker=marker, **ring)
    maxima = [max(curve) for curve in curves.values()]
    axes.set_ylim(min(maxima) - depth, max(maxima) + 0.1 * depth)
    axes.set(xscale="log", xlabel="σ", ylabel="validation log-likelihood (nats)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25, lw=0.6)
    axes.legend(title="open markers: chosen", title_fontsize=8.5)
    return figure


def likelihood_over_samples(
    series: Mapping[str, Mapping[int, float]],
    kept: Mapping[str, Mapping[int, float]],
    reference: Mapping[str, Mapping[int, float]],
) -> Figure:
    """Test log-likelihood in nats over the number of samples, which is logarithmic. Paper: Table 1, 10K and 10M.

    Each maps a model to {number of samples: nats}: `series`, solid, with σ chosen anew for each number; `kept`, dashed,
    with one σ for all; `reference`, open markers with the number beside them. Raises UserError for values not finite.
    """
    figure = Figure(figsize=(WIDTH, 0.55 * WIDTH), layout="constrained")
    axes = figure.subplots()
    legend = []
    for i, (name, points) in enumerate(series.items()):
        colour, marker = COLOURS[i % 4], MARKERS[i % 4]
        for curve, dash in (points, "-"), (kept.get(name, {}), (0, (4, 1.5))):
            if not np.isfinite(list(curve.values())).all():
                raise UserError(f"the curve '{name}' has values that are not finite.")
            dots = {"marker": marker, "ms": 4} if dash == "-" else {"lw": 1.1}
            axes.plot(list(curve), list(curve.values()), color=colour, ls=dash, **dots)
        open_marker = {"marker": marker, "mfc": "white", "mec": colour, "mew": 1.6, "ms": 8}
        for count, value in reference.get(name, {}).items():
            axes.plot([count], [value], ls="", **open_marker, zorder=4)
            look = {"xytext": (-8, 0), "textcoords": "offset points", "ha": "right", "va": "center"}
            axes.annotate(f"{value:g}", (count, value), **look, color=colour, path_effects=HALO)
        legend.append(Line2D([], [], color=colour, label=name, marker=marker, ms=4))
    legend.append(Line2D([], [], color=GREY, ls=(0, (4, 1.5)), lw=1.1, label="one σ for all"))
    axes.set(xscale="log", xlabel="samples", ylabel="test log-likelihood (nats)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.25, lw=0.6)
    axes.legend(handles=legend, title="open markers: the paper", title_fontsize=8.5)
    return figure


def explained_by_column(curves: Mapping[str, np.ndarray]) -> Figure:
    """`statistics.explained_by_column` against the column of pixels, a line for each title. Paper: §4, Fig 7b."""
    figure = Figure(figsize=(WIDTH, 0.42 * WIDTH), layout="constrained")
    axes = figure.subplots()
    for (title, curve), dash in zip(curves.items(), DASHES * len(curves), strict=False):
        axes.plot(np.arange(len(curve)), 100 * np.asarray(curve), ls=dash, lw=1.8, label=title)
    axes.set(xlabel="column of pixels, from the left", ylabel="variance explained, %")
    axes.margins(x=0)
    axes.legend()
    return figure


def losses(history: Mapping[str, Sequence[float]]) -> Figure:
    """Mean cost of each epoch, a panel per phase and a line per code. Paper: §2, §5, the phases.

    `history` has "epoch" and, equally long, costs named as training names them: "reconstruction", "discriminator z",
    "generator z", "supervised" …; errors in it are left out. Dashed: the adversaries' costs in nats where the
    discriminator cannot tell codes from the prior, 2 ln 2 for it and ln 2 for the generator.
    Paper: §1.1. Costs are in nats, but for an adversarial autoencoder's reconstruction and the repulsion of cluster
    heads (§7), a distance.

    Raises UserError where a cost is not finite or not as long as "epoch".
    """
    phases: dict[str, list[str]] = {}
    named = [name for name in history if name != "epoch" and not name.endswith("error")]
    for name in named:
        phases.setdefault(name.split()[0], []).append(name)
    if not phases or "epoch" not in history:
        raise UserError("figures.losses needs 'epoch' and at least one cost beside it.")
    epoch = np.asarray(history["epoch"])
    columns = len(phases) if len(phases) <= 3 else 2
    rows = math.ceil(len(phases) / columns)
    figure = Figure(figsize=(WIDTH, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    units = {
        # the VAE's pixels are Bernoulli
        "reconstruction": "nats per image" if "kl" in phases else "½‖x̂ − x‖² per image",
        "repulsion": "Σ max(0, η − distance)",
    }
    balance = {
        "discriminator": (2 * math.log(2), "2 ln 2 = 1.386"),
        "generator": (math.log(2), "ln 2 = 0.693"),
    }
    codes = list(dict.fromkeys(name.partition(" ")[2] for name in named if " " in name))
    looks = {code: {"color": COLOURS[i % 4], "ls": DASHES[i % 4]} for i, code in enumerate(codes)}
    of_no_code = {"color": INK if len(codes) > 1 else COLOURS[0]}
    for axes, (phase, names) in zip(grid.flat, phases.items(), strict=False):
        for name in names:
            cost = np.asarray(history[name], float)
            if cost.shape != epoch.shape or not np.isfinite(cost).all():
                raise UserError(
                    f"the cost '{name}' needs {len(epoch)} finite values, one per epoch."
                )
            marker = "o" if len(epoch) < 8 else ""
            look = looks.get(name.partition(" ")[2], of_no_code)
            axes.plot(epoch, cost, marker=marker, ms=4, **look)
        if phase in balance:
            # A generator's curve comes from above, a discriminator's from below.
            _level(axes, *balance[phase], below=phase == "generator")
            axes.margins(y=0.15)
        axes.set(title=phase.capitalize(), ylabel=units.get(phase, "nats"))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        if len(epoch) == 1:  # perhaps a share of the first
            axes.set_xticks(epoch)
        axes.ticklabel_format(axis="y", useOffset=False)
    for axes in grid.flat[len(phases) :]:
        axes.remove()
    for axes in grid.flat[: len(phases)][-columns:]:  # the lowest of each column
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    if len(codes) > 1:
        lines = [Line2D([], [], label=f"of code {code}", **look) for code, look in looks.items()]
        figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    return figure


@dataclass(frozen=True)
class CostPanel:
    """A panel of `costs`: what it shows, in which unit, and curves as (epochs, values), equally long."""

    title: str
    unit: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    reference: tuple[float, str] | None = None  # a positive value to draw dashed, and its name


def costs(panels: Sequence[CostPanel]) -> Figure:
    """Costs of several models side by side, each from the epoch at which it begins. Paper: §2.2.

    Raises UserError where there is nothing to draw, or a curve is not finite or not as long as its epochs.
    """
    if not panels or not all(panel.curves for panel in panels):
        raise UserError("figures.costs needs at least one panel, with at least one curve each.")
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for (name, (epoch, cost)), dash in zip(
            panel.curves.items(), DASHES * len(panel.curves), strict=False
        ):
            if len(cost) != len(epoch) or not np.isfinite(cost).all():
                raise UserError(f"the curve '{name}' needs {len(epoch)} finite values.")
            marker = "o" if len(epoch) < 8 else ""
            axes.plot(epoch, cost, ls=dash, marker=marker, ms=4, label=name)
        if panel.reference:
            _level(axes, *panel.reference)
            axes.set_ylim(0, 1.15 * max(panel.reference[0], axes.dataLim.ymax))
        if len(panel.curves) > 1:
            axes.legend()
        axes.set(title=panel.title, xlabel="epoch", ylabel=panel.unit)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.ticklabel_format(axis="y", useOffset=False)
    return figure


def costs_of_variants(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Cost of the reconstruction and of the discriminator of z along the training of variants of one model.

    `histories[variant]` is a run's history; dashed is the discriminator's cost where it cannot tell codes from the
    prior. Paper: §2. Raises UserError as `costs`.
    """

    def panel(title: str, unit: str, cost: str, *reference: tuple[float, str]) -> CostPanel:
        curves = {name: (run["epoch"], run[cost]) for name, run in histories.items()}
        return CostPanel(title, unit, curves, *reference)

    nobody_wins = 2 * math.log(2), "2 ln 2 = 1.386"
    reconstruction = panel("Reconstruction", "½‖x̂ − x‖² per image", "reconstruction")
    return costs([reconstruction, panel("Discriminator", "nats", "discriminator z", nobody_wins)])


def _level(axes: Axes, value: float, text: str, *, below: bool = False) -> None:
    """A dashed line across the axes at `value`, and what it is, on the side where no curve is."""
    axes.axhline(value, color=GREY, ls="--", lw=1)
    place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
    side = {"xytext": (-2, -3), "va": "top"} if below else {"xytext": (-2, 3)}
    axes.annotate(text, (1, value), **side, **place, size=8, ha="right", color="#555555")


def scorecard(columns: Mapping[str, Sequence[Row]]) -> Figure:
    """Every claim on one axis: 0 is what the paper reports, 1 the value that is plainly wrong.

    `columns` holds the same claims, all with a band, judged on different results: the first is drawn with filled
    markers, the others with open ones, in the colour and shape of the verdict. Bars are the bands of "reproduced" and
    "partly".
    """
    rows = next(iter(columns.values()))
    low, high, beyond = -0.75, 1.5, 0.1  # arrows stand off the bars, which end at `low` and `high`
    figure = Figure(figsize=(WIDTH, 0.19 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(low - 1.5 * beyond, high + 1.5 * beyond), ylim=(len(rows) - 0.4, -0.6))
    for y, row in enumerate(rows):
        claim = row.claim
        for band, colour in ((claim.partial, "#f8e3ad"), (claim.band, "#bcd7f2")):
            if band:
                ends = np.clip([_distance(claim, value) for value in band], low, high)
                axes.barh(y, np.ptp(ends), left=ends.min(), height=0.72, color=colour)
    for i, judged in enumerate(columns.values()):
        for y, row in enumerate(judged):
            if row.obtained is not None:
                x = _distance(row.claim, row.obtained)
                colour, marker = VERDICT_LOOKS[row.verdict].values()
                marker = "<" if x < low else ">" if x > high else marker
                face = colour if i == 0 else "none"
                look = {"marker": marker, "s": 34 + 40 * i, "facecolor": face, "linewidths": 1.4}
                place = low - beyond if x < low else high + beyond if x > high else x
                axes.scatter(place, y, edgecolor=colour, **look, clip_on=False, zorder=3)
    for x in (0, 1):
        axes.axvline(x, color=INK, lw=1, ls="-" if x == 0 else (0, (4, 2)), zorder=2)
    axes.set_xticks(
        [-0.5, 0, 0.5, 1, 1.5], ["−0.5", "0\nthe paper", "0.5", "1\nplainly wrong", "1.5"]
    )
    axes.set_xlabel("d, the distance from the paper's number", size=9)
    axes.set_yticks(range(len(rows)), map(_in_short, rows), fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.spines[["top", "left", "bottom"]].set_visible(False)
    dots = [
        Line2D([], [], ls="", **look, label=verdict.replace("not run", "no verdict"))
        for verdict, look in VERDICT_LOOKS.items()
    ]
    faces = [
        Line2D([], [], ls="", marker="o", mec=INK, mfc=INK if i == 0 else "none", label=name)
        for i, name in enumerate(columns)
    ]
    figure.legend(
        handles=dots + faces,
        loc="outside lower center",
        ncols=6,
        handletextpad=0.1,
        columnspacing=1.2,
    )
    return figure


def _in_short(row: Row) -> str:
    """Where a claim stands in the paper, and what it is about: "Table 1, MNIST 10K · GAN", "Fig 4c · accuracy"."""
    _, *parts = row.id.split(".")
    about = row.model.split(" (")[0] if row.id.startswith("table") else parts[-1]
    return f"{row.place} · {about.replace('-', ' ')}" if len(parts) > 1 else row.place


def _distance(claim: Claim, value: float) -> float:
    """How far `value` is on the way from what the claim aims at (0) to the plainly wrong value (1)."""
    return (value - claim.aim) / (claim.wrong - claim.aim)


def architecture(experiment: Experiment, *, pixels: int = 784, classes: int = 10) -> Figure:
    """Draw the model that `experiment` configures. Paper: Fig 1, 3, 6, 8, 10.

    `pixels` is the size of an image and `classes` the number of labels, as `AdversarialAutoencoder`
    is given them; the layer sizes in the picture are those of its affine maps.
    Raises UserError for more than two codes, and for a model that is no AAE or VAE.
    """
    if experiment.method not in ("aae", "vae"):
        raise UserError(
            f"figures.architecture draws adversarial and variational autoencoders; "
            f"'{experiment.name}' is a {experiment.method.upper()}."
        )
    if len(experiment.codes) > 2:
        raise UserError(
            f"figures.architecture draws one or two codes; '{experiment.name}' has "
            f"{len(experiment.codes)}."
        )
    experiment = experiment.with_classes(classes)
    diagram = _Diagram()
    codes = _draw_encoder(diagram, experiment, pixels)
    if experiment.reconstruction:
        _draw_decoder(diagram, experiment, codes, pixels, classes)
    if experiment.supervised:
        _draw_supervision(diagram, experiment, codes)
    if experiment.adversarial or experiment.method == "vae":
        for code in experiment.codes:
            _draw_regularisation(diagram, experiment, code, codes[code.name], classes)
    return diagram.finish()


# Centres of the diagram's columns and rows, in inches; the autoencoder runs along y = 0.
_INPUT, _ENCODER, _CODE, _JOIN, _DECODER, _OUTPUT = 0.4, 1.72, 3.2, 4.22, 5.65, 7.0
_TOP_CODE, _ADVERSARY, _SUPERVISED = 0.62, 1.68, 1.12


def _draw_encoder(d: _Diagram, e: Experiment, pixels: int) -> dict[str, _Box]:
    """x → encoder → codes; returns the codes' boxes by name, the uppermost first."""
    universal = e.posterior == "universal"
    x = d.box("x", (_INPUT, 0.32 * universal), "data", "$x$", str(pixels))
    # A categorical code stands above, as in the paper.
    stacked = sorted(e.codes, key=lambda code: not isinstance(code.prior, Categorical))
    inner = _chain(pixels + e.noise_dim * universal, e)
    outputs = ", ".join(_head_outputs(e, code) for code in stacked)
    short = len(outputs) <= 3
    sizes = (f"{inner} → {outputs}",) if short else (inner, f"→ {outputs}")
    extras = ["batch norm"] if e.batch_norm != "none" else []
    extras += [f"dropout {e.hidden_dropout:g}"] if e.hidden_dropout else []
    q = f"$q({_names(e)}\\,|\\,x)$"
    lines = ("Encoder", q, *sizes, *extras)
    height = max(1.16, 0.27 * len(lines))
    encoder = d.box("encoder", (_ENCODER, 0), "encoder", *lines, h=height)
    d.arrow(x, encoder, x.right, (encoder.left[0], x.y))
    if universal:
        eta = d.box("noise", (_INPUT, -0.32), "data", "$\\eta$", str(e.noise_dim))
        d.arrow(eta, encoder, eta.right, (encoder.left[0], eta.y))
    corruption = {"noise": e.input_noise, "dropout": e.input_dropout}
    lines = [line for name, size in corruption.items() if size for line in (name, f"{size:g}")]
    for i, line in enumerate(reversed(lines)):
        d.text(x.x, x.top[1] + 0.12 + 0.17 * i, line)

    boxes = {}
    rows = (_TOP_CODE, -_TOP_CODE) if len(stacked) == 2 else (0,)
    column = _CODE if _is_joined(e) else (_CODE + _JOIN) / 2
    for code, y in zip(stacked, rows, strict=True):
        box = d.box(f"code {code.name}", (column, y), "code", f"${code.name}$", _head_name(e, code))
        d.arrow(encoder, box, (encoder.right[0], 0.45 * y), box.left)
        boxes[code.name] = box
    return boxes


def _draw_decoder(
    d: _Diagram, e: Experiment, codes: dict[str, _Box], pixels: int, classes: int
) -> None:
    """codes → combine → decoder → x̂, with the reconstruction's cost."""
    dims = {code.name: code.prior.dim for code in e.codes}
    inputs = dims["z"] if e.combine == "sum" else sum(dims.values())
    sizes = f"{_chain(inputs + classes * e.decoder_label, e)} → {pixels}"
    label = ", y" if e.decoder_label and "y" not in codes else ""
    p = f"$p(x\\,|\\,{_names(e)}{label})$"
    extras = ["batch norm"] if e.batch_norm == "autoencoder" else []
    decoder = d.box("decoder", (_DECODER, 0), "decoder", "Decoder", p, sizes, *extras)
    output = d.box("reconstruction", (_OUTPUT, 0), "data", r"$\hat{x}$", str(pixels))
    squares = r"$½\,\Vert\hat{x} - x\Vert^2$"
    formula = squares if e.likelihood == "gaussian" else f"$-\\log$ {p}"
    cost = d.box("reconstruction cost", (6.53, -1.02), "cost", "Reconstruction cost", formula)
    d.arrow(decoder, output, decoder.right, output.left)
    d.arrow(output, cost, output.bottom, (output.x, cost.top[1]))

    if not _is_joined(e):
        (code,) = codes.values()
        d.arrow(code, decoder, code.right, decoder.left)
    elif e.combine == "sum":
        y, z = codes["y"], codes["z"]
        fixed = e.head_scale is not None
        size = f"$= {e.head_scale:g}\\,I$" if fixed else f"{dims['y']} × {dims['z']}"
        heads = d.box("cluster heads", (_JOIN, y.y), "matrix", "$W_C$", size)
        plus = d.box("combine", (_JOIN, 0), "circle", "+")
        d.text(plus.left[0] - 0.4, 0, "$y\\,W_C + z$", name="combine formula")
        d.arrow(y, heads, y.right, heads.left)
        d.arrow(heads, plus, heads.bottom, plus.top)
        d.arrow(z, plus, z.right, (_JOIN, z.y), plus.bottom)
        d.arrow(plus, decoder, plus.right, decoder.left)
        if e.head_distance is not None:
            text = f"Heads repel below {e.head_distance:g}"
            cost = d.box("repulsion cost", (_DECODER, 0.84), "cost", text)
            d.arrow(heads, cost, (heads.right[0], cost.y), cost.left)
    else:
        bar = d.box("combine", (_JOIN, 0), "bar", "concatenate")
        for code in codes.values():
            d.arrow(code, bar, code.right, (bar.left[0], code.y))
        d.arrow(bar, decoder, bar.right, decoder.left)

    if e.decoder_label:
        label = d.box("label", (5.04, -1.02), "label", "One-hot label", f"{classes} classes", w=1.2)
        corner, entry = 4.6, -0.26
        bend = (corner, label.top[1]), (corner, entry), (decoder.left[0], entry)
        d.arrow(label, decoder, *bend)


def _draw_supervision(d: _Diagram, e: Experiment, codes: dict[str, _Box]) -> None:
    """The cross-entropy of the label code against known labels. Paper: §5."""
    code = codes[labels_code(e)]
    y = _supervised_row(e) if e.reconstruction else code.y
    cost = d.box("supervised cost", (5.28, y), "cost", "Cross-entropy cost")
    if e.reconstruction:
        corner = code.x + 0.25
        d.arrow(code, cost, (corner, code.top[1]), (corner, y), cost.left)
    else:
        d.arrow(code, cost, code.right, cost.left)
    known = d.box("known labels", (6.77, y), "label", "Labels of", _labelled(e), w=1.0)
    d.arrow(known, cost, known.left, cost.right)


def _draw_regularisation(d: _Diagram, e: Experiment, code: Code, box: _Box, classes: int) -> None:
    """What draws one code to its prior: a discriminator, or a VAE's divergence. Paper: §2, §2.1."""
    above = box.y > 0  # the upper of two codes has its adversary above it
    y = _ADVERSARY if above else -_ADVERSARY
    if above and e.supervised:
        y = _supervised_row(e) + 0.72
    start = box.top if above else box.bottom
    labelled = e.discriminator_label
    prior = _prior_name(code.prior)

    if e.method == "vae":
        p = d.box(f"prior {code.name}", (1.0, y), "prior", f"Density of $p({code.name})$", prior)
        divergence = f"$\\mathrm{{KL}}(\\,q({code.name}|x)\\,\\Vert\\,p({code.name})\\,)$"
        cost = d.box(f"KL cost {code.name}", (box.x, y), "cost", "KL divergence", divergence)
        d.arrow(p, cost, p.right, cost.left)
        d.arrow(box, cost, start, cost.bottom if above else cost.top)
        return

    y -= 0.3 * labelled * (1 if y < 0 else -1)
    source = (1.0, y + 0.4 * labelled)
    draw = f"Draw samples from $p({code.name})$"
    p = d.box(f"prior {code.name}", source, "prior", draw, prior)
    critic = d.box(
        f"discriminator {code.name}",
        (box.x, y),
        "discriminator",
        f"Discriminator $D_{code.name}$",
        f"{_chain(code.prior.dim + (classes + 1) * labelled, e)} → 1",
        h=1.28 if labelled else 0.5,
    )
    question = "prior (+) or code (−)?"
    cost = d.box(
        f"adversarial cost {code.name}", (_DECODER, y), "cost", "Adversarial cost", question
    )
    d.arrow(p, critic, p.right, (critic.left[0], p.y), sign="+")
    d.arrow(box, critic, start, critic.bottom if above else critic.top, sign="−")
    d.arrow(critic, cost, critic.right, cost.left)
    if labelled:
        size, extra = f"One-hot label, {classes + 1} wide", "the last: unlabelled"
        label = d.box(f"label {code.name}", (1.0, y - 0.4), "label", size, extra)
        d.arrow(label, critic, label.right, (critic.left[0], label.y))
        # It picks the part of the prior that is drawn from; a single Gaussian has none.
        if not isinstance(code.prior, Gaussian):
            d.arrow(label, p, label.top, p.bottom)


def _is_joined(e: Experiment) -> bool:
    """Whether something stands between the codes and the decoder."""
    return e.reconstruction is not None and len(e.codes) == 2


def _supervised_row(e: Experiment) -> float:
    return _SUPERVISED + 0.3 * (e.combine == "sum" and e.head_distance is not None)


def _labelled(e: Experiment) -> str:
    """Which training images have a known label."""
    if isinstance(e.labels, float):
        return f"{100 * e.labels:g} % of images"
    return (
        f"{e.labels} images" if e.labels == "all" else f"{e.labels:,} images".replace(",", "\u2009")
    )


def _names(e: Experiment) -> str:
    """The codes as the paper writes them, "z, y"."""
    return ", ".join(sorted((code.name for code in e.codes), reverse=True))


def _chain(inputs: int, e: Experiment) -> str:
    """Layer sizes up to the last hidden layer, "784 → 1000 → 1000"."""
    hidden = " → ".join([str(e.hidden)] * e.layers) if e.layers <= 2 else f"{e.layers} × {e.hidden}"
    return f"{inputs} → {hidden}"


def _head_name(e: Experiment, code: Code) -> str:
    """How the encoder's last layer becomes the code."""
    if isinstance(code.prior, Categorical):
        return "softmax"
    drawn = {"gaussian": "$\\mu + \\sigma\\epsilon$", "universal": "$f(x, \\eta)$"}
    return drawn.get(e.posterior, "linear")


def _head_outputs(e: Experiment, code: Code) -> str:
    """Numbers that the encoder gives for a code: a Gaussian posterior's means and log-variances."""
    double = e.posterior == "gaussian" and not isinstance(code.prior, Categorical)
    return f"{code.prior.dim} + {code.prior.dim}" if double else f"{code.prior.dim}"


def _prior_name(prior: Prior) -> str:
    match prior:
        case Gaussian(dim, std):
            return f"{dim}-D Gaussian, std {std:g}"
        case Uniform(dim):
            return f"{dim}-D uniform"
        case GaussianMixture(parts):
            return f"{parts} Gaussians in 2-D"
        case SwissRoll():
            return "2-D swiss roll"
        case Categorical(dim):
            return f"one-hot, {dim} categories"


@dataclass(frozen=True)
class _Kind:
    """How a kind of box looks: colours and size in inches."""

    face: str
    edge: str
    w: float
    h: float
    text: float = 8.5  # points, of the first line


_KINDS = {
    "data": _Kind("#f2f2f2", "#6b6b6b", 0.56, 0.54, 10),
    "encoder": _Kind("#dceafd", "#1d4f9e", 1.66, 1.16, 10),
    "decoder": _Kind("#dceafd", "#1d4f9e", 1.6, 1.1, 10),
    "matrix": _Kind("#dceafd", "#1d4f9e", 0.68, 0.56, 10),
    "code": _Kind("#fff4c2", "#8f6a00", 0.76, 0.56, 10),
    "prior": _Kind("#e3f3e6", "#2f7d3a", 1.76, 0.48),
    "discriminator": _Kind("#ffe6cf", "#b4470b", 1.72, 0.5),
    "label": _Kind("#efe3fa", "#6f3aa6", 1.76, 0.48),
    "cost": _Kind("white", "#b3152a", 1.5, 0.48),
    "circle": _Kind("white", INK, 0.34, 0.34),
    "bar": _Kind("white", INK, 0.28, 1.8),
}


@dataclass(frozen=True)
class _Box:
    """A box of the diagram: centre and size in inches, and the middles of its sides."""

    name: str
    x: float
    y: float
    w: float
    h: float

    @property
    def left(self) -> tuple[float, float]:
        return self.x - self.w / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        return self.x + self.w / 2, self.y

    @property
    def top(self) -> tuple[float, float]:
        return self.x, self.y + self.h / 2

    @property
    def bottom(self) -> tuple[float, float]:
        return self.x, self.y - self.h / 2


class _Diagram:
    """Boxes, texts and arrows in inches; `gid` names each artist, e.g. "box encoder"."""

    def __init__(self) -> None:
        self.figure = Figure()
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.boxes: list[_Box] = []

    def box(
        self,
        name: str,
        centre: tuple[float, float],
        kind: str,
        *lines: str,
        w: float | None = None,
        h: float | None = None,
    ) -> _Box:
        """A box with its lines of text inside; of its kind's size unless told."""
        look = _KINDS[kind]
        height = 0.3 if kind == "cost" and len(lines) == 1 else look.h
        box = _Box(name, *centre, w or look.w, h or height)
        self.boxes.append(box)
        self.axes.add_patch(_outline(box, kind))
        for i, line in enumerate(lines):
            self.text(
                box.x,
                box.y + 0.19 * ((len(lines) - 1) / 2 - i),
                line,
                name=name,
                size=look.text if i == 0 else 8.5,
                upright=kind == "bar",
            )
        return box

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        name: str = "",
        size: float = 8.5,
        upright: bool = False,
    ) -> None:
        look = {"rotation": 90, "va": "center"} if upright else {"va": "center_baseline"}
        self.axes.text(x, y, text, size=size, ha="center", gid=f"text {name}", **look)

    def arrow(
        self, source: _Box, target: _Box, *points: tuple[float, float], sign: str = ""
    ) -> None:
        """An arrow along `points`; `sign` is printed beside its middle."""
        patch = FancyArrowPatch(
            path=Path(points), arrowstyle="-|>", mutation_scale=9, lw=1.1, fc=INK
        )
        patch.set(edgecolor=INK, joinstyle="miter", gid=f"arrow {source.name} > {target.name}")
        self.axes.add_patch(patch)
        if sign:
            (x0, y0), (x1, y1) = points[0], points[-1]
            across, up = (0, 0.12) if y0 == y1 else (-0.13, 0)
            self.text((x0 + x1) / 2 + across, (y0 + y1) / 2 + up, sign, name="sign", size=11)

    def finish(self) -> Figure:
        """The figure, its page closed around what was drawn: one data unit is one inch."""
        left, right = 0.06, 7.34
        written = [text.get_position()[1] for text in self.axes.texts]
        bottom = min(box.bottom[1] for box in self.boxes) - 0.1
        top = max([box.top[1] for box in self.boxes] + written) + 0.1
        self.figure.set_size_inches(right - left, top - bottom)
        self.axes.set(xlim=(left, right), ylim=(bottom, top))
        return self.figure


def _outline(box: _Box, kind: str) -> Patch:
    """Encoder and decoder narrow towards the codes; costs are dashed."""
    look = {"fc": _KINDS[kind].face, "ec": _KINDS[kind].edge, "lw": 1.2, "gid": f"box {box.name}"}
    x0, x1, h = box.left[0], box.right[0], box.h / 2
    if kind == "circle":
        return Circle((box.x, box.y), h, **look)
    if kind in ("encoder", "decoder"):
        left, right = (h, 0.74 * h) if kind == "encoder" else (0.74 * h, h)
        heights = (x0, -left), (x0, left), (x1, right), (x1, -right)
        return Polygon([(x, box.y + dy) for x, dy in heights], joinstyle="round", **look)
    rounding = 0.14 if kind == "cost" else 0.06
    style = f"round,pad=0,rounding_size={rounding}"
    look["ls"] = "--" if kind == "cost" else "-"
    return FancyBboxPatch((x0, box.y - h), box.w, box.h, boxstyle=style, **look)


def _check_codes(title: str, z: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, label = np.asarray(z, float), np.asarray(label)
    if z.ndim != 2 or z.shape[1] != 2 or label.shape != z.shape[:1] or not len(z):
        raise UserError(
            f"panel '{title}' needs codes (n, 2) and labels (n,), not {z.shape} and {label.shape}."
        )
    if bad := int((~np.isfinite(z).all(1)).sum()):
        raise UserError(
            f"panel '{title}' has {bad} of {len(z)} codes that are not finite; did the run diverge?"
        )
    if (label < 0).any():
        raise UserError(f"panel '{title}' has labels below 0: {np.unique(label)}.")
    return z, label.astype(int)


def _check_curve(name: str, epoch: Sequence[float], error: Sequence[float]) -> dict[float, float]:
    """Points as {epoch: error}, in order of epoch."""
    if len(epoch) != len(error) or not len(epoch):
        raise UserError(f"the curve '{name}' has {len(epoch)} epochs and {len(error)} errors.")
    points = np.array([epoch, error], float)
    if not (np.isfinite(points).all() and (points[0] > 0).all() and (points[1] >= 0).all()):
        raise UserError(
            f"the curve '{name}' needs epochs above 0 and finite errors in % of at least 0."
        )
    return dict(sorted(zip(*points.tolist(), strict=True)))


def _square_around(
    z: np.ndarray, heads: tuple[np.ndarray, Sequence[str]] | None
) -> tuple[np.ndarray, float]:
    """Centre (2,) and half the side of a square that holds all heads and 99.8 % of each coordinate."""
    low, high = np.quantile(z, (0.001, 0.999), axis=0)
    if heads is not None:
        low, high = np.minimum(low, heads[0].min(0)), np.maximum(high, heads[0].max(0))
    return (low + high) / 2, 0.54 * (high - low).max() or 1.0


def _draw_prior(axes: Axes, prior: np.ndarray | float | None) -> None:
    if prior is None:
        return
    if np.ndim(prior) == 0:
        ring = {"fill": False, "ec": INK, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 2.5}
        for i in 1, 2, 3:
            axes.add_patch(Circle((0, 0), i * prior, **ring))
    else:
        dots = {"s": 3, "c": "#cfcfcf", "linewidths": 0, "zorder": 0.5, "rasterized": True}
        axes.scatter(*np.asarray(prior).T, **dots)


def _label_places(z: np.ndarray, label: np.ndarray, limit: float) -> dict[int, tuple[float, float]]:
    """Where, on a grid of bins, each digit leads most over the next most frequent, apart from other digits'.

    None for a digit that nowhere leads by 1 % of its own codes: it is left to the legend.
    """
    bins = 20
    edges = np.linspace(-limit, limit, bins + 1)
    cell = np.clip(np.digitize(z, edges) - 1, 0, bins - 1)  # (n, 2)
    counts = np.zeros((label.max() + 1, bins, bins))
    np.add.at(counts, (label, *cell.T), 1)
    padded = np.concatenate((counts, np.zeros_like(counts[:1])))  # one digit alone leads over none
    second, first = np.sort(padded, axis=0)[-2:]
    lead = counts - np.where(counts == first, second, first)
    free = np.ones((bins, bins), bool)
    places = {}
    for digit in np.unique(label):
        score = np.where(free, lead[digit], -np.inf)
        best = np.unravel_index(score.argmax(), score.shape)
        if score[best] < max(1, 0.01 * counts[digit].sum()):
            continue
        place = z[(label == digit) & (cell == best).all(1)].mean(0)
        places[int(digit)] = tuple(np.clip(place, -0.95 * limit, 0.95 * limit))
        i, j = best
        free[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = False
    return places
