"""The book's figures: functions from plain arrays, or from an `Experiment`, to a matplotlib `Figure`.

Nothing here trains, samples or needs torch. Figures are made without pyplot's global state, so a notebook
shows each once and a script without a display can save them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Polygon, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from aae_lib.config import Code, Experiment, labels_code
from aae_lib.errors import UserError
from aae_lib.priors import Categorical, Gaussian, GaussianMixture, Prior, SwissRoll

WIDTH = 7.0
"""Inches; the book shows it about 720 pixels wide."""

PALETTE = (
    "#432894", "#0086ff", "#bcae28", "#941b00", "#6bd779",
    "#d743a1", "#6b865e", "#ffa1bc", "#6b2843", "#bcbcff",
)  # fmt: skip
"""One colour per digit. Found by search: any two are at least 26 apart (CIE 1976 ΔE, in L*a*b*) to normal, deutan,
protan and tritan eyes alike; matplotlib's default ten come as close as 4.6."""

INK, GREY = "#222222", "#8a8a8a"

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
    "axes.prop_cycle": mpl.cycler(color=["#0b62b8", "#c2410c", "#432894", "#3f7d3a"]),
    "lines.linewidth": 1.6,
    "mathtext.fontset": "dejavusans",
}


def use_style() -> None:
    """Set the book's look for every figure that this process draws from here on."""
    mpl.rcParams.update(STYLE)


def codes(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    priors: Sequence[np.ndarray | float | None] | None = None,
    limit: float | None = None,
    columns: int = 2,
) -> Figure:
    """Scatter 2-D codes by digit, a panel for each (title, codes (n, 2), labels (n,) in 0..9). Paper: Fig 2a–d, 4a, 4c.

    All panels share one scale, from −`limit` to `limit`; without one, it holds 99.8 % of the codes of every panel.
    `priors`, one per panel, is drawn in grey behind: samples (m, 2), or the standard deviation of a spherical
    Gaussian, as circles at 1, 2 and 3 of it. Each digit is printed where it outnumbers the others most.

    Raises UserError for codes that are not finite or do not fit their labels.
    """
    if not panels:
        raise UserError("figures.codes got no panel to draw; pass at least one (title, codes, labels).")
    checked = [(title, *_check_codes(title, z, label)) for title, z, label in panels]
    priors = [None] * len(checked) if priors is None else priors
    if len(priors) != len(checked):
        raise UserError(f"figures.codes got {len(checked)} panels and {len(priors)} priors; give one each.")
    limit = limit or 1.08 * max(np.quantile(np.abs(z), 0.998) for _, z, _ in checked)

    columns = min(columns, len(checked))
    rows = math.ceil(len(checked) / columns)
    width = WIDTH if columns > 1 else 0.65 * WIDTH
    figure = Figure(figsize=(width, rows * (width / columns + 0.1) + 0.35), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (title, z, label), prior in zip(grid.flat, checked, priors, strict=False):
        _draw_prior(axes, prior)
        order = np.random.default_rng(0).permutation(len(z))  # so that no digit covers the others
        colours = np.array(PALETTE)[label[order]]
        size = float(np.clip(30_000 / max(len(z), 1), 2, 12))
        axes.scatter(*z[order].T, s=size, c=colours, alpha=0.75, linewidths=0, rasterized=True)
        for digit, (x, y) in _label_places(z, label, limit).items():
            axes.text(x, y, str(digit), color=PALETTE[digit], size=13, weight="bold", ha="center",
                      va="center", path_effects=[withStroke(linewidth=3, foreground="white")])  # fmt: skip
        axes.set(title=title, aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=limit > 2))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=limit > 2))
    for axes in grid.flat[len(checked) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("z₂")
    for axes in grid[-1]:
        axes.set_xlabel("z₁")

    seen = np.unique(np.concatenate([label for _, _, label in checked]))
    dots = [
        Line2D([], [], ls="", marker="o", ms=5, mew=0, color=PALETTE[d], label=str(d)) for d in seen
    ]
    figure.legend(handles=dots, loc="outside lower center", ncols=len(dots), handletextpad=0.0, columnspacing=1.0)
    return figure


def sheet(
    images: np.ndarray,
    rows: int,
    columns: int,
    *,
    title: str | None = None,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    framed_columns: Sequence[int] = (),
    width: float | None = None,
) -> Figure:
    """Images (rows·columns, h, w) grey or (…, h, w, 3) colour, row by row, edge to edge. Paper: Fig 2e, 4b, 5, 7, 9.

    Values are uint8, or floats in [0, 1] (a linear decoder's are clipped). A coloured frame goes around each of
    `framed_columns` (counted from 0; −1 is the last): the nearest neighbours of Fig 5, the cluster heads of Fig 9.
    `width` in inches; at most, and by default for wide sheets, the page's.

    Raises UserError where the number of images, labels or columns does not fit the grid, or a pixel is not finite.
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or len(images) != rows * columns or (images.ndim == 4 and images.shape[3] != 3):
        raise UserError(
            f"a sheet of {rows} × {columns} needs images of shape ({rows * columns}, h, w) or "
            f"({rows * columns}, h, w, 3), not {images.shape}."
        )
    for name, labels, count in ("row", row_labels, rows), ("column", column_labels, columns):
        if labels is not None and len(labels) != count:
            raise UserError(f"a sheet with {count} {name}s got {len(labels)} {name} labels.")
    if any(not -columns <= column < columns for column in framed_columns):
        raise UserError(f"framed_columns {list(framed_columns)} lie outside a sheet of {columns} columns.")
    if images.dtype == np.uint8:
        images = images / 255
    if not np.isfinite(images).all():
        raise UserError("a sheet got images with pixels that are not finite; did the run diverge?")

    h, w = images.shape[1:3]
    tiled = images.reshape(rows, columns, *images.shape[1:]).swapaxes(1, 2)
    tiled = np.clip(tiled.reshape(rows * h, columns * w, *images.shape[3:]), 0, 1)
    width = width or min(WIDTH, 0.42 * columns)
    figure = Figure(figsize=(width, width * rows * h / (columns * w)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(tiled, cmap="gray", vmin=0, vmax=1, extent=(0, columns, rows, 0), aspect=h / w)
    axes.set_xticks(np.arange(columns) + 0.5, column_labels or [""] * columns)
    axes.set_yticks(np.arange(rows) + 0.5, row_labels or [""] * rows)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelcolor=INK)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title)
    for column in framed_columns:
        axes.add_patch(
            Rectangle((column % columns, 0), 1, rows, fill=False, ec="#ffb000", lw=2, clip_on=False, zorder=3)
        )
    return figure


def error_along_training(
    series: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    reference: Mapping[str, Mapping[int, float]] | None = None,
    *,
    quantity: str = "test_error",
) -> Figure:
    """Test error in % against epochs, both logarithmic. Paper: A.2.1, the error after 1, 50, 500 and 5000 epochs.

    `series[setting][seed]` holds equally long lists "epoch" (from 1) and `quantity` in %, as a chapter's results file
    does: a thin line per seed, and their mean ± one standard deviation where there are several. `reference[setting]`
    maps epochs to the paper's value, drawn as open markers in the setting's colour with the number beside them.

    Raises UserError for lists of unequal length, no points, or values that are not positive and finite.
    """
    figure = Figure(figsize=(WIDTH, 0.58 * WIDTH), layout="constrained")
    axes = figure.subplots()
    reference = reference or {}
    settings = list(dict.fromkeys([*series, *reference]))
    colours = [c["color"] for c in STYLE["axes.prop_cycle"]]
    dashes, markers = ("-", (0, (5, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1.2))), "osD^"
    handles = []
    for i, setting in enumerate(settings):
        look = {"color": colours[i % 4], "ls": dashes[i % 4]}
        curves = [
            _check_curve(f"{setting}, {seed}", run["epoch"], run[quantity])
            for seed, run in series.get(setting, {}).items()
        ]
        for curve in curves:
            epoch, error = np.array(list(curve)), np.array(list(curve.values()))
            alone = {"lw": 1.8} if len(curves) == 1 else {"lw": 0.7, "alpha": 0.55}
            axes.plot(epoch, error, **look, **alone, marker="." if len(epoch) < 12 else None)
        name = setting
        if len(curves) > 1:
            epoch = np.array(sorted(set.intersection(*map(set, curves))))
            errors = np.array([[curve[e] for e in epoch] for curve in curves])  # (seeds, epochs)
            mean, std = errors.mean(0), errors.std(0, ddof=1)
            axes.plot(epoch, mean, **look, lw=2.2)
            axes.fill_between(epoch, np.maximum(mean - std, 0.1 * mean), mean + std, color=look["color"], alpha=0.16, lw=0)
            name = f"{setting}: mean ± std of {len(curves)} seeds"
        if curves:
            handles.append(Line2D([], [], **look, lw=2, label=name))
        if points := _check_curve(f"{setting}, paper", *zip(*reference.get(setting, {}).items(), strict=True)
                                  ) if reference.get(setting) else {}:  # fmt: skip
            open_marker = {"ls": "", "marker": markers[i % 4], "mfc": "white", "mec": look["color"], "mew": 1.6, "ms": 7}
            axes.plot(list(points), list(points.values()), **open_marker, zorder=4)
            handles.append(Line2D([], [], **open_marker, label=f"{setting}: paper"))
            for epoch, value in points.items():
                axes.annotate(f"{value:.2f}".removesuffix("0"), (epoch, value), (6, 6), textcoords="offset points",
                              color=look["color"], size=9, zorder=5,
                              path_effects=[withStroke(linewidth=2.5, foreground="white")])  # fmt: skip
    if not handles:
        raise UserError("figures.error_along_training got nothing to draw: no run and no reference.")
    axes.set(xscale="log", yscale="log", xlabel="epochs", ylabel="test error (%)")
    axes.set_xlim(0.9, axes.get_xlim()[1] * 1.15)
    for axis in axes.xaxis, axes.yaxis:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25, lw=0.6)
    axes.legend(handles=handles)
    return figure


def losses(history: Mapping[str, Sequence[float]]) -> Figure:
    """Mean cost of each epoch, a panel per phase and a line per code. Paper: §2, the two phases of training.

    `history` has "epoch" and, equally long, costs named as training names them: "reconstruction", "discriminator z",
    "generator z", "supervised" …. Dashed: what the adversaries' costs are when the discriminator cannot tell codes
    from the prior, 2 ln 2 for the discriminator and ln 2 for the generator, in nats (Paper: §1.1).

    Raises UserError where a cost is not finite or not as long as "epoch".
    """
    phases: dict[str, list[str]] = {}
    for name in history:
        if name != "epoch":
            phases.setdefault(name.split()[0], []).append(name)
    if not phases or "epoch" not in history:
        raise UserError("figures.losses needs 'epoch' and at least one cost beside it.")
    epoch = np.asarray(history["epoch"])
    columns = len(phases) if len(phases) <= 3 else 2
    rows = math.ceil(len(phases) / columns)
    figure = Figure(figsize=(WIDTH, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    units = {"reconstruction": "½‖x̂ − x‖² per image"}
    balance = {"discriminator": (2 * math.log(2), "2 ln 2 = 1.386"), "generator": (math.log(2), "ln 2 = 0.693")}
    for axes, (phase, names) in zip(grid.flat, phases.items(), strict=False):
        for name, dash in zip(names, ("-", (0, (4, 1.2)), ":") * len(names), strict=False):
            cost = np.asarray(history[name], float)
            if cost.shape != epoch.shape or not np.isfinite(cost).all():
                raise UserError(f"the cost '{name}' needs {len(epoch)} finite values, one per epoch.")
            axes.plot(epoch, cost, ls=dash, marker="." if len(epoch) < 12 else None, label=name.removeprefix(phase).strip())
        if phase in balance:
            value, text = balance[phase]
            axes.axhline(value, color=GREY, ls="--", lw=1)
            axes.annotate(text, (1, value), (-2, 3), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                          size=8, ha="right", color="#555555")  # fmt: skip
            axes.margins(y=0.15)
        if len(names) > 1 or names[0] != phase:
            axes.legend(title="code", title_fontsize=8)
        axes.set(title=phase.capitalize(), ylabel=units.get(phase, "nats"), xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.label_outer()
        axes.set_ylabel(units.get(phase, "nats"))
    for axes in grid.flat[len(phases) :]:
        axes.remove()
    return figure


def architecture(experiment: Experiment, *, pixels: int = 784, classes: int = 10) -> Figure:
    """Draw the model that `experiment` configures: its networks, codes, priors and costs. Paper: Fig 1, 3, 6, 8, 10.

    `pixels` is the size of an image and `classes` the number of labels, as `AdversarialAutoencoder` is given them;
    the layer sizes in the picture are those of its affine maps. Raises UserError for more than two codes.
    """
    e = experiment
    # A categorical code stands above, as in the paper; a lone code has its adversary below it.
    stacked = sorted(e.codes, key=lambda code: not isinstance(code.prior, Categorical))
    if len(stacked) > 2:
        raise UserError(f"figures.architecture draws one or two codes; '{e.name}' has {len(stacked)}.")
    two = len(stacked) == 2
    heights = {code.name: y for code, y in zip(stacked, (0.62, -0.62) if two else (0.0,), strict=True)}
    repelled = two and e.combine == "sum" and e.head_distance is not None
    joined = e.reconstruction and (two or e.decoder_label)
    code_x, join_x, decoder_x, output_x = 3.2 if joined else 3.72, 4.22, 5.65, 7.0
    d = _Diagram()

    # x → encoder → codes
    universal = e.posterior == "universal"
    x = d.box("x", 0.4, 0.32 if universal else 0, 0.56, 0.54, "$x$", str(pixels), kind="data")
    outputs = {c.name: _head_outputs(e, c) for c in stacked}
    inner, outer = (_chain(pixels + e.noise_dim * universal, e), " → " + ", ".join(outputs.values()))
    names = ", ".join(code.name for code in reversed(stacked))
    encoder = d.box("encoder", 1.72, 0, 1.66, 1.16, "Encoder", f"$q({names}\\,|\\,x)$",
                    *((inner, outer.strip()) if two else (inner + outer,)), kind="encoder")  # fmt: skip
    d.arrow(x, encoder, x.right, (encoder.left[0], x.y))
    if universal:
        eta = d.box("noise", 0.4, -0.32, 0.56, 0.54, "$\\eta$", str(e.noise_dim), kind="prior")
        d.arrow(eta, encoder, eta.right, (encoder.left[0], eta.y))
    corruption = {"noise": e.input_noise, "dropout": e.input_dropout}
    for i, text in enumerate(f"{name} {value:g}" for name, value in corruption.items() if value):
        d.text(x.x, x.top[1] + 0.12 + 0.17 * i, text)
    boxes = {}
    for code in stacked:
        y = heights[code.name]
        box = d.box(f"code {code.name}", code_x, y, 0.76, 0.56, f"${code.name}$", _head_name(e, code), kind="code")
        boxes[code.name] = box
        d.arrow(encoder, box, (encoder.right[0], 0.45 * y), box.left)

    # codes → combine → decoder → x̂
    if e.reconstruction:
        dims = [code.prior.dim for code in stacked]
        inputs = (dims[-1] if e.combine == "sum" else sum(dims)) + classes * e.decoder_label
        given = names + (", y" if e.decoder_label else "")
        decoder = d.box("decoder", decoder_x, 0, 1.6, 1.1, "Decoder", f"$p(x\\,|\\,{given})$",
                        f"{_chain(inputs, e)} → {pixels}", kind="decoder")  # fmt: skip
        output = d.box("reconstruction", output_x, 0, 0.56, 0.54, r"$\hat{x}$", str(pixels), kind="data")
        cost = d.box("reconstruction cost", 6.58, -1.02, 1.42, 0.46, "Reconstruction cost",
                     r"$\frac{1}{2}\,\Vert\hat{x} - x\Vert^2$" if e.likelihood == "gaussian" else "$-\\log p(x|z)$",
                     kind="cost")  # fmt: skip
        d.arrow(decoder, output, decoder.right, output.left)
        d.arrow(output, cost, output.bottom, (output.x, cost.top[1]))
        if not joined:
            d.arrow(boxes[names], decoder, boxes[names].right, decoder.left)
        elif e.combine == "sum":
            top, bottom = (boxes[code.name] for code in stacked)
            scale = "" if e.head_scale is None else f"$= {e.head_scale:g}\\,I$"
            heads = d.box("cluster heads", join_x, top.y, 0.68, 0.56, "$W_C$",
                          scale or f"{dims[0]} × {dims[1]}", kind="decoder")  # fmt: skip
            plus = d.box("combine", join_x, 0, 0.34, 0.34, "+", kind="circle")
            d.arrow(top, heads, top.right, heads.left)
            d.arrow(heads, plus, heads.bottom, plus.top)
            d.arrow(bottom, plus, bottom.right, (join_x, bottom.y), plus.bottom)
            d.arrow(plus, decoder, plus.right, decoder.left)
            if repelled:
                cost = d.box("repulsion cost", decoder_x, 0.84, 1.5, 0.3, f"Heads repel below {e.head_distance:g}", kind="cost")
                d.arrow(heads, cost, (heads.right[0], cost.y), cost.left)
        else:
            bar = d.box("combine", join_x, 0, 0.28, 1.8 if two else 1.0, "concatenate", kind="bar")
            for box in boxes.values():
                d.arrow(box, bar, box.right, (bar.left[0], box.y))
            d.arrow(bar, decoder, bar.right, decoder.left)
            if e.decoder_label:
                label = d.box("label", join_x, 1.2 if not two else 1.5, 1.3, 0.46, "One-hot label $y$", f"{classes} classes", kind="label")
                d.arrow(label, bar, label.bottom, bar.top)

    # the supervised cost of the label code
    supervised_y = 1.42 if repelled else 1.12
    if e.supervised and (name := labels_code(e)):
        code = boxes[name]
        if e.reconstruction:
            cost = d.box("supervised cost", 5.3, supervised_y, 1.4, 0.3, "Cross-entropy cost", kind="cost")
            d.arrow(code, cost, (code.x + 0.25, code.top[1]), (code.x + 0.25, cost.y), cost.left)
        else:
            cost = d.box("supervised cost", 5.3, code.y, 1.4, 0.3, "Cross-entropy cost", kind="cost")
            d.arrow(code, cost, code.right, cost.left)
        images = "all images" if e.labels is None else f"{e.labels:,} images".replace(",", "\u2009")
        known = d.box("known labels", 6.78, cost.y, 0.98, 0.46, "Labels of", images, kind="label")
        d.arrow(known, cost, known.left, cost.right)

    # one adversary for each code: above the upper of two, else below
    for code in stacked:
        box = boxes[code.name]
        if e.method == "aae" and not e.adversarial:
            continue
        above = two and code is stacked[0]
        away = 1 if above else -1
        y = 1.68 * away - 0.22 * (e.discriminator_label and not above)
        if above and e.supervised:
            y = supervised_y + 0.72
        prior = d.box(f"prior {code.name}", 1.08, y + 0.3 * e.discriminator_label, 1.76, 0.48,
                      f"Draw samples from $p({code.name})$", _prior_name(code.prior), kind="prior")  # fmt: skip
        start, facing = (box.top, "bottom") if above else (box.bottom, "top")
        if e.method == "vae":
            cost = d.box(f"KL cost {code.name}", code_x, y, 1.8, 0.48, "Kullback–Leibler cost",
                         f"$KL(q({code.name}|x)\\;\\Vert\\;p({code.name}))$", kind="cost")  # fmt: skip
            d.arrow(prior, cost, prior.right, cost.left)
            d.arrow(box, cost, start, getattr(cost, facing))
            continue
        inputs = code.prior.dim + (classes + 1) * e.discriminator_label
        critic = d.box(f"discriminator {code.name}", code_x, y, 1.72, 1.08 if e.discriminator_label else 0.5,
                       f"Discriminator $D_{code.name}$" if two else "Discriminator $D$",
                       f"{_chain(inputs, e)} → 1", kind="discriminator")  # fmt: skip
        d.arrow(prior, critic, prior.right, (critic.left[0], prior.y), sign="+")
        d.arrow(box, critic, start, getattr(critic, facing), sign="−")
        cost = d.box(f"adversarial cost {code.name}", decoder_x, y, 1.6, 0.48, "Adversarial cost",
                     "prior (+) or code (−)?", kind="cost")  # fmt: skip
        d.arrow(critic, cost, critic.right, cost.left)
        if e.discriminator_label:
            label = d.box(f"label {code.name}", 1.08, y - 0.3, 1.76, 0.48, f"One-hot label, {classes + 1} wide",
                          f"the {classes + 1}th: unlabelled", kind="label")  # fmt: skip
            d.arrow(label, critic, label.right, (critic.left[0], label.y))
    return d.finish()


def _chain(inputs: int, e: Experiment) -> str:
    """Layer sizes up to the last hidden layer, "784 → 1000 → 1000"."""
    hidden = " → ".join([str(e.hidden)] * e.layers) if e.layers <= 2 else f"{e.layers} × {e.hidden}"
    return f"{inputs} → {hidden}"


def _head_outputs(e: Experiment, code: Code) -> str:
    dim = code.prior.dim
    return f"{dim} + {dim}" if _head_name(e, code) == "$\\mu + \\sigma\\epsilon$" else str(dim)


def _head_name(e: Experiment, code: Code) -> str:
    """How the encoder's last layer becomes the code."""
    if isinstance(code.prior, Categorical):
        return "softmax"
    return {"gaussian": "$\\mu + \\sigma\\epsilon$", "universal": "$f(x, \\eta)$"}.get(e.posterior, "linear")


def _prior_name(prior: Prior) -> str:
    match prior:
        case Gaussian(dim, std):
            return f"{dim}-D Gaussian, std {std:g}"
        case GaussianMixture():
            return f"mixture of {prior.parts} 2-D Gaussians"
        case SwissRoll():
            return "2-D swiss roll"
        case Categorical(dim):
            return f"one of {dim} categories"


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


@dataclass
class _Diagram:
    """Boxes, texts and arrows in inches, on a page that closes around them. Artists are named by `gid`."""

    boxes: list[_Box] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figure = Figure()
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()

    def box(self, name: str, x: float, y: float, w: float, h: float, *lines: str, kind: str) -> _Box:
        box = _Box(name, x, y, w, h)
        self.boxes.append(box)
        self.axes.add_patch(_shape(box, kind))
        if kind == "bar":
            self.text(x, y, lines[0], name=name, rotation=90)
        else:
            pitch = 0.19
            for i, line in enumerate(lines):
                self.text(x, y + pitch * ((len(lines) - 1) / 2 - i), line, name=name, size=10 if i == 0 and len(lines[0]) < 14 else 8.5)
        return box

    def text(self, x: float, y: float, text: str, *, name: str = "", size: float = 8.5, rotation: float = 0) -> None:
        self.axes.text(x, y, text, size=size, ha="center", va="center_baseline" if not rotation else "center", rotation=rotation, gid=f"text {name}")

    def arrow(self, source: _Box, target: _Box, *points: tuple[float, float], sign: str = "") -> None:
        """An arrow along `points`; `sign` is printed beside its middle."""
        path = mpl.path.Path(points)
        self.axes.add_patch(
            FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, lw=1.1, color=INK, shrinkA=0, shrinkB=0,
                            joinstyle="miter", gid=f"arrow {source.name} > {target.name}")  # fmt: skip
        )
        if sign:
            (x0, y0), (x1, y1) = points[0], points[-1]
            across = (0, 0.12) if y0 == y1 else (0.13, 0)
            self.text((x0 + x1) / 2 + across[0], (y0 + y1) / 2 + across[1], sign, name="sign", size=11)

    def finish(self) -> Figure:
        left, right = 0.06, 7.34
        bottom = min(b.bottom[1] for b in self.boxes) - 0.1
        top = max(b.top[1] for b in self.boxes) + 0.1
        self.figure.set_size_inches(right - left, top - bottom)
        self.axes.set(xlim=(left, right), ylim=(bottom, top))
        return self.figure


_FILLS = {  # face, edge
    "data": ("#f2f2f2", "#6b6b6b"),
    "encoder": ("#dceafd", "#1d4f9e"),
    "decoder": ("#dceafd", "#1d4f9e"),
    "code": ("#fff4c2", "#8f6a00"),
    "prior": ("#e3f3e6", "#2f7d3a"),
    "discriminator": ("#ffe6cf", "#b4470b"),
    "label": ("#efe3fa", "#6f3aa6"),
    "cost": ("white", "#b3152a"),
    "circle": ("white", INK),
    "bar": ("white", INK),
}


def _shape(box: _Box, kind: str) -> Patch:
    """The outline of a box: encoder and decoder narrow towards the codes, costs are dashed pills."""
    face, edge = _FILLS[kind]
    look = {"fc": face, "ec": edge, "lw": 1.2, "gid": f"box {box.name}"}
    (x0, _), (x1, _) = box.left, box.right
    h = box.h / 2
    if kind == "circle":
        return Circle((box.x, box.y), h, **look)
    if box.name in ("encoder", "decoder"):
        left, right = (h, 0.74 * h) if kind == "encoder" else (0.74 * h, h)
        corners = ((x0, box.y - left), (x0, box.y + left), (x1, box.y + right), (x1, box.y - right))
        return Polygon(corners, joinstyle="round", **look)
    rounding = h if kind == "cost" and box.h < 0.4 else 0.12 if kind == "cost" else 0.06
    style = f"round,pad=0,rounding_size={rounding}"
    return FancyBboxPatch((x0, box.y - h), box.w, box.h, boxstyle=style, ls="--" if kind == "cost" else "-", **look)


def _check_codes(title: str, z: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, label = np.asarray(z, float), np.asarray(label)
    if z.ndim != 2 or z.shape[1] != 2 or label.shape != z.shape[:1] or not len(z):
        raise UserError(f"panel '{title}' needs codes (n, 2) and labels (n,), not {z.shape} and {label.shape}.")
    if bad := int((~np.isfinite(z).all(1)).sum()):
        raise UserError(f"panel '{title}' has {bad} of {len(z)} codes that are not finite; did the run diverge?")
    if not np.isin(label, range(len(PALETTE))).all():
        raise UserError(f"panel '{title}' has labels outside 0..{len(PALETTE) - 1}: {np.unique(label)}.")
    return z, label.astype(int)


def _check_curve(name: str, epoch: Sequence[float], error: Sequence[float]) -> dict[float, float]:
    """Points as {epoch: error}, in order of epoch."""
    if len(epoch) != len(error) or not len(epoch):
        raise UserError(f"the curve '{name}' has {len(epoch)} epochs and {len(error)} errors.")
    points = np.array([epoch, error], float)
    if not (np.isfinite(points).all() and (points > 0).all()):
        raise UserError(f"the curve '{name}' needs finite positive epochs and errors (axes are logarithmic).")
    return dict(sorted(zip(*points.tolist(), strict=True)))


def _draw_prior(axes: Axes, prior: np.ndarray | float | None) -> None:
    if prior is None:
        return
    if np.ndim(prior) == 0:
        for i in 1, 2, 3:
            axes.add_patch(Circle((0, 0), i * prior, fill=False, ec="#9a9a9a", lw=0.8, ls=(0, (4, 3)), zorder=0.5))
    else:
        axes.scatter(*np.asarray(prior).T, s=3, c="#cfcfcf", linewidths=0, zorder=0.5, rasterized=True)


def _label_places(z: np.ndarray, label: np.ndarray, limit: float, bins: int = 20) -> dict[int, tuple[float, float]]:
    """For each digit the place where it outnumbers the others most, on a grid of bins, apart from other digits' places."""
    edges = np.linspace(-limit, limit, bins + 1)
    cell = np.clip(np.digitize(z, edges) - 1, 0, bins - 1)  # (n, 2)
    counts = np.zeros((len(PALETTE), bins, bins))
    np.add.at(counts, (label, *cell.T), 1)
    lead = 2 * counts - counts.sum(0)
    free = np.ones((bins, bins), bool)
    places = {}
    for digit in np.unique(label):
        score = np.where(free & (counts[digit] > 0), lead[digit], -np.inf)
        best = np.unravel_index(score.argmax(), score.shape)
        here = (label == digit) & (cell == best).all(1)
        places[int(digit)] = tuple(z[here].mean(0)) if here.any() else tuple(np.median(z[label == digit], 0))
        i, j = best
        free[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] = False
    return places
