"""Figures draw all of the data they are given, and refuse what they cannot draw."""

import base64
import io
import math
import re
import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.transforms import Bbox
from PIL import Image

from aae_lib import claims, figures
from aae_lib.config import Code, Rates
from aae_lib.errors import UserError
from aae_lib.experiments import EXPERIMENTS
from aae_lib.priors import Categorical, Gaussian, SwissRoll


@pytest.fixture(autouse=True, scope="module")
def style():
    figures.use_style()


def test_figures_need_no_torch():
    check = "import sys, aae_lib.figures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# Palette

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def nearest_pair(colours, vision: str) -> float:
    """Smallest CIE 1976 distance of two of the colours as `vision` sees them."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.transpose(VISION[vision])).clip(0, 1)
    to_xyz = np.array(
        [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
    )
    f = (linear @ to_xyz.T) / to_xyz.sum(1)
    f = np.where(f > 216 / 24389, np.cbrt(f), (24389 / 27 * f + 16) / 116)
    lab = np.stack((116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])), 1)
    distance = np.linalg.norm(lab[:, None] - lab, axis=2)
    return distance[np.triu_indices(len(lab), 1)].min()


@pytest.mark.parametrize("vision", VISION)
def test_any_two_digits_differ_in_colour_to_every_eye(vision):
    assert len(figures.PALETTE) == 10
    assert nearest_pair(figures.PALETTE, vision) > 25


def test_the_measure_of_colours_refuses_a_palette_that_is_not_colour_blind_safe():
    ten = matplotlib.colormaps["tab10"].colors
    assert nearest_pair(ten, "normal") > 25
    assert nearest_pair(ten, "protan") < 10


# Codes


def blobs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ten well separated clusters on a circle."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 10
    angle = 2 * np.pi * label / 10
    centre = np.stack((np.cos(angle), np.sin(angle)), 1)
    return 2 * centre + 0.1 * rng.standard_normal((n, 2)), label


def test_codes_draws_every_code_of_every_panel_on_equal_axes():
    panels = [(title, *blobs(n)) for title, n in (("a", 40), ("b", 50), ("c", 60))]
    figure = figures.codes(panels)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    assert [len(axes.collections[0].get_offsets()) for axes in figure.axes] == [40, 50, 60]
    assert {axes.get_aspect() for axes in figure.axes} == {1.0}
    assert len({axes.get_xlim() + axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[2].get_xlabel() == "z₁"
    assert figure.axes[2].get_ylabel() == "z₂"


def test_the_shared_scale_holds_every_panel():
    z, label = blobs(500)
    for axes in figures.codes([("near", z, label), ("far", 4 * z - 30, label)]).axes:
        inside = np.abs(axes.collections[0].get_offsets()) < axes.get_xlim()[1]
        assert inside.mean() > 0.99


def test_an_own_scale_holds_its_codes_and_heads_on_every_side():
    z, label = blobs(200)
    heads = np.array([[9.0, 100.0], [0.0, 107.0]])
    panels = [("a", z + np.array([0, 100]), label)]
    (axes,) = figures.codes(panels, heads=[(heads, ["7", "1"])], own_scale=True).axes
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left < -2 and right > 9 and low < 98 and high > 107


def test_each_digit_has_its_colour_and_is_printed_on_its_own_codes():
    z, label = blobs(500)
    (axes,) = figures.codes([("codes", z, label)]).axes
    (dots,) = axes.collections
    for point, colour in zip(dots.get_offsets(), dots.get_facecolors(), strict=True):
        digit = label[np.abs(z - point).sum(1).argmin()]
        assert colour[:3] == pytest.approx(to_rgb(figures.PALETTE[digit]))
    assert sorted(text.get_text() for text in axes.texts) == list("0123456789")
    for text in axes.texts:
        nearest = np.linalg.norm(z - text.get_position(), axis=1).argmin()
        assert label[nearest] == int(text.get_text())


@pytest.mark.parametrize("what", ["priors", "heads"])
def test_codes_takes_a_prior_and_heads_for_each_panel(what):
    panel = ("AAE", np.zeros((3, 2)), np.array([0, 1, 2]))
    with pytest.raises(UserError, match=f"got 2 panels and 1 {what}; give one each"):
        figures.codes([panel, panel], **{what: [None]})


def test_priors_are_drawn_as_samples_behind_or_as_circles_in_front():
    panel = ("codes", *blobs(30))
    first, second = figures.codes([panel, panel], priors=[1.5, np.zeros((7, 2))]).axes
    assert [c.radius for c in first.patches if isinstance(c, Circle)] == [1.5, 3.0, 4.5]
    prior, dots = second.collections
    assert len(prior.get_offsets()) == 7
    assert prior.get_zorder() < dots.get_zorder()


def test_heads_are_printed_in_place_of_labels_and_own_scales_hold_them():
    z, label = blobs(200)
    heads = np.array([[2.0, 0.0], [-5.0, 1.0]])
    figure = figures.codes(
        [("a", z, label), ("b", 10 * z + 100, label)],
        heads=[(heads, ["7", "1"]), None],
        own_scale=True,
        axis_names=("left", "up"),
    )
    first, second = figure.axes
    printed = {text.get_text(): text.get_position() for text in first.texts}
    assert printed == {"7": (2.0, 0.0), "1": (-5.0, 1.0)}
    assert first.get_xlim()[0] < -5
    assert len(second.texts) == 10
    assert second.get_xlim()[0] > 70
    for text in second.texts:
        nearest = np.linalg.norm(10 * z + 100 - text.get_position(), axis=1).argmin()
        assert label[nearest] == int(text.get_text())
    assert (second.get_xlabel(), first.get_ylabel()) == ("left", "up")


def test_more_classes_than_colours_can_be_drawn():
    z, label = blobs(60)
    (axes,) = figures.codes([("codes", z, label + 10 * (np.arange(60) % 2))]).axes
    assert {text.get_text() for text in axes.texts} == {
        str(k) for k in range(0, 20) if k % 2 == k // 10
    }


def test_a_digit_that_leads_nowhere_is_not_printed():
    """99 sevens and a nine at one place, sixes at another: the nine is left to the legend."""
    z = np.concatenate([np.full((100, 2), 1.0), np.full((50, 2), -1.0)])
    label = np.array([7] * 99 + [9] + [6] * 50)
    (axes,) = figures.codes([("codes", z, label)], limit=2.0).axes
    assert sorted(text.get_text() for text in axes.texts) == ["6", "7"]
    assert [t.get_text() for t in axes.figure.legends[0].get_texts()] == ["6", "7", "9"]


def test_codes_of_one_point_can_be_drawn():
    FigureCanvasAgg(figures.codes([("zero", np.zeros((1, 2)), np.array([3]))])).draw()


@pytest.mark.parametrize(
    ("z", "label", "message"),
    [
        (np.array([[0.0, np.nan], [0, 0]]), [1, 2], "1 of 2 codes that are not finite"),
        (np.zeros((2, 3)), [1, 2], r"needs codes \(n, 2\)"),
        (np.zeros((2, 2)), [1], r"needs codes \(n, 2\)"),
        (np.zeros((0, 2)), [], r"needs codes \(n, 2\)"),
        (np.zeros((2, 2)), [1, -1], "labels below 0"),
    ],
)
def test_codes_says_what_it_cannot_draw(z, label, message):
    with pytest.raises(UserError, match=f"'panel'.*{message}"):
        figures.codes([("panel", z, np.array(label))])
    with pytest.raises(UserError, match="no panel"):
        figures.codes([])


# Sheets


@pytest.mark.parametrize("colour", [(), (3,)])
def test_sheet_shows_the_images_row_by_row_edge_to_edge(colour):
    images = np.random.default_rng(0).random((6, 4, 5, *colour))
    (axes,) = figures.sheet(images, 2, 3).axes
    shown = axes.images[0].get_array()
    assert shown.shape == (8, 15, *colour)
    np.testing.assert_array_equal(shown[4:8, 5:10], images[4])
    box = axes.get_window_extent()
    assert box.height / box.width == pytest.approx(8 / 15)  # pixels are squares
    assert axes.images[0].get_clim() == (0, 1) and axes.images[0].get_cmap().name == "gray"


def test_percentile_maps_show_the_last_row_lowest_and_numbers_on_one_scale():
    small, large = np.array([[0.0, 1.0], [2.0, 3.0]]), np.full((2, 2), -5.0)
    panels = {"a": small, "b": large}
    figure = figures.percentile_maps(panels, axes=("right", "up"), quantity="slant", columns=1)
    first, second, bar = figure.axes
    assert [first.get_title(), second.get_title(), bar.get_ylabel()] == ["a", "b", "slant"]
    (shown,), (other,) = first.images, second.images
    assert np.array_equal(shown.get_array(), small)
    assert shown.get_extent() == [0, 100, 0, 100]
    assert shown.origin == "upper"  # row 0 at percentile 100
    assert shown.get_clim() == other.get_clim() == (-5, 5)
    directions = figure.get_supxlabel(), figure.get_supylabel()
    assert directions == ("percentile right", "percentile up")
    tiled = figures.tile(np.zeros((4, 3, 5, 3)), 2, 2)
    (axes,) = figures.percentile_maps({"": tiled}, axes=("right", "up")).axes
    assert axes.images[0].get_array().shape == (6, 10, 3)
    for bad in ({}, {"a": np.array([[np.nan]])}):
        with pytest.raises(UserError, match="finite numbers"):
            figures.percentile_maps(bad, axes=("right", "up"), quantity="slant")


def test_sheet_takes_bytes_and_clips_what_a_linear_decoder_gives():
    shown = figures.sheet(np.full((1, 2, 2), 255, np.uint8), 1, 1).axes[0].images[0].get_array()
    assert shown.max() == 1
    shown = figures.sheet(np.array([[[-1.0, 2.0]]]), 1, 1).axes[0].images[0].get_array()
    assert shown.tolist() == [[0, 1]]


def test_sheet_labels_rows_and_columns_and_frames_a_column():
    figure = figures.sheet(
        np.zeros((6, 4, 4)), 2, 3, row_labels="ab", column_labels="xyz", framed_columns=[-1]
    )
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["x", "y", "z"]
    (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (frame.get_x(), frame.get_width(), frame.get_height()) == (2, 1, 2)
    assert axes.images[0].get_extent() == [0, 3, 2, 0] and axes.images[0].origin == "upper"
    tops = [axes.transData.transform((0, y))[1] for y in axes.get_yticks()]
    assert tops[0] > tops[1]  # "a" stands beside the first row


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((5, 4, 4)), {}, r"2 × 3 needs images of shape \(6, h, w\)"),
        (np.zeros((6, 16)), {}, "needs images of shape"),
        (np.full((6, 4, 4), np.nan), {}, "not finite"),
        (np.zeros((6, 4, 4)), {"row_labels": ["one"]}, "2 rows got 1 row labels"),
        (np.zeros((6, 4, 4)), {"framed_columns": [3]}, "outside a sheet of 3 columns"),
    ],
)
def test_sheet_says_what_does_not_fit(images, options, message):
    with pytest.raises(UserError, match=message):
        figures.sheet(images, 2, 3, **options)


@pytest.mark.parametrize("colour", [(), (3,)])
def test_a_film_has_its_frames_a_poster_and_a_caption(colour):
    generator = np.random.default_rng(0)
    frames = generator.random((7, 2, 3, 8, 8, *colour))
    text = figures.film(frames, "Walks <through> codes", seconds=1.4)
    assert "<figcaption>Walks &lt;through&gt; codes</figcaption>" in text
    still, moving = (
        Image.open(io.BytesIO(base64.b64decode(found)))
        for found in re.findall('base64,([^"]*)"', text)
    )
    assert (moving.n_frames, moving.size, moving.info["duration"]) == (7, (24, 16), 200)
    assert moving.info["loop"] == 0  # without end
    first = (255 * figures.tile(frames[0].reshape(6, 8, 8, *colour), 2, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(still), first)


@pytest.mark.parametrize(
    ("share", "most", "count"), [(1.0, 256, 8), (0.9, 64, 8), (0.3, 16, 4), (0.0, 16, 2)]
)
def test_a_film_that_is_too_heavy_has_fewer_colours_and_then_fewer_frames(
    share: float, most: int, count: int, monkeypatch
):
    frames = np.random.default_rng(0).random((8, 2, 3, 16, 16))
    sheets = [
        Image.fromarray((255 * figures.tile(f.reshape(6, 16, 16), 2, 3)).astype(np.uint8))
        for f in frames
    ]
    whole = figures.gif_of(sheets, 1500, 256)
    monkeypatch.setattr(figures, "FILM_BYTES", int(share * len(whole)))
    text = figures.film(frames, "Noise")
    moving = Image.open(io.BytesIO(base64.b64decode(re.findall('base64,([^"]*)"', text)[1])))
    assert 2 < len(set(np.asarray(moving.convert("L")).ravel())) <= most
    assert (moving.n_frames, moving.info["duration"]) == (count, 12_000 / count)


def test_explained_variance_is_drawn_in_per_cent_over_columns():
    curves = {"its own label": np.array([0.5, 0.2]), "another label": np.array([0.5, 0.0])}
    (axes,) = figures.explained_by_column(curves).axes
    assert [line.get_label() for line in axes.lines] == list(curves)
    assert [list(line.get_ydata()) for line in axes.lines] == [[50, 20], [50, 0]]
    assert list(axes.lines[0].get_xdata()) == [0, 1]
    many = {f"label {i}": np.array([0.5, 0.2]) for i in range(6)}
    assert len(figures.explained_by_column(many).axes[0].lines) == 6


def test_what_was_not_run_says_why():
    (axes,) = figures.notice("not run: TFD is not public").axes
    (text,) = axes.texts
    assert text.get_text() == "not run: TFD is not public"


# Curves


def test_error_along_training_draws_seeds_their_mean_and_the_papers_points():
    runs = {
        "seed-0": {"epoch": [1, 2, 3], "test error": [20.0, 10.0, 6.0]},
        "seed-1": {"epoch": [1, 2], "test error": [24.0, 14.0]},
        "seed-2": {"epoch": [1, 2], "test error": [22.0, 15.0]},
    }
    alone = {"seed-0": {"epoch": [1], "test error": [8.0]}}
    paper = {"100 labels": {1: 16.5, 50: 3.4}}
    (axes,) = figures.error_along_training({"100 labels": runs, "1000 labels": alone}, paper).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn == [
        ([1, 2, 3], [20, 10, 6]),
        ([1, 2], [24, 14]),
        ([1, 2], [22, 15]),
        ([1, 2], [22, 13]),  # the mean, where all seeds are
        ([1, 50], [16.5, 3.4]),
        ([1], [8]),
    ]
    assert [text.get_text() for text in axes.texts] == ["16.50", "3.40"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["100 labels: mean ± std of 3 seeds", "1000 labels"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    (band,) = axes.collections  # the mean ± std of three seeds: 20, 24, 22, then 10, 14, 15
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((13 - 7**0.5, 22 + 2))


def test_error_along_training_draws_no_band_around_two_seeds():
    runs = {
        "seed-0": {"epoch": [1, 2], "test error": [20.0, 10.0]},
        "seed-1": {"epoch": [1, 2], "test error": [24.0, 14.0]},
    }
    (axes,) = figures.error_along_training({"all labels": runs}).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[20, 10], [24, 14], [22, 12]]
    assert not axes.collections
    (name,) = axes.get_legend().get_texts()
    assert name.get_text() == "all labels: mean of 2 seeds"


@pytest.mark.parametrize(
    ("errors", "labels"),
    [
        ([60.0, 4.0], {"5", "10", "20", "50"}),
        ([30.0, 5.0], {"5", "7", "10", "20", "30"}),
        ([65.0, 40.0], {"40", "45", "50", "55", "60"}),
        ([32.0, 23.0], {"24", "26", "28", "30"}),
        ([5.0, 0.0], {"0", "1", "2", "3", "4", "5"}),  # which has no place on a logarithmic axis
        ([0.0, 0.0], {"0"}),
    ],
)
def test_error_along_training_labels_its_axis_whatever_its_range(errors, labels):
    runs = {"mine": {"seed-0": {"epoch": [1, 2], "test error": errors}}}
    figure = figures.error_along_training(runs)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    shown = {
        label.get_text() for label in axes.get_yticklabels() if low < label.get_position()[1] < high
    }
    assert labels <= shown


def test_error_along_training_explains_markers_only_where_there_are_some():
    runs = {"mine": {"seed-0": {"epoch": [1, 2], "test error": [20.0, 10.0]}}}
    for paper, title in (({"mine": {}}, ""), ({"mine": {1: 16.5}}, "open markers: the paper")):
        (axes,) = figures.error_along_training(runs, paper).axes
        assert axes.get_legend().get_title().get_text().endswith(title)
        assert bool(axes.get_legend().get_title().get_text()) == bool(title)


@pytest.mark.parametrize(
    ("epoch", "error"), [([1, 2], [3.0]), ([], []), ([1], [math.nan]), ([0], [3.0]), ([1], [-1.0])]
)
def test_error_along_training_names_a_broken_curve(epoch, error):
    with pytest.raises(UserError, match="the curve 'all, seed-3'"):
        figures.error_along_training({"all": {"seed-3": {"epoch": epoch, "test error": error}}})


def test_losses_has_a_panel_per_phase_a_line_per_code_and_the_line_of_balance():
    history = {
        "epoch": [1, 2],
        "reconstruction": [30.0, 20.0],
        "discriminator y": [1.2, 1.3],
        "discriminator z": [1.1, 1.2],
        "generator y": [0.8, 0.7],
        "generator z": [0.9, 0.8],
        "supervised": [1.0, 0.5],
    }
    figure = figures.losses(history)
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["Reconstruction", "Discriminator", "Generator", "Supervised"]
    y, z, balance = (list(line.get_ydata()) for line in panels["Discriminator"].lines)
    assert (y, z) == ([1.2, 1.3], [1.1, 1.2])
    assert balance == pytest.approx([2 * math.log(2)] * 2)
    assert [text.get_text() for text in panels["Discriminator"].texts] == ["2 ln 2 = 1.386"]
    assert panels["Generator"].lines[2].get_ydata() == pytest.approx([math.log(2)] * 2)
    assert [text.get_text() for text in panels["Generator"].texts] == ["ln 2 = 0.693"]
    (rebuilt,) = panels["Reconstruction"].lines
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["of code y", "of code z"]
    looks = [
        [(line.get_color(), line.get_linestyle()) for line in panels[phase].lines[:2]]
        for phase in ("Discriminator", "Generator")
    ]
    assert looks[0] == looks[1] and len(set(looks[0])) == 2
    assert rebuilt.get_color() not in dict(looks[0])  # it is of no code
    assert panels["Reconstruction"].get_ylabel() == "½‖x̂ − x‖² per image"
    vae = {"epoch": [1, 2], "reconstruction": [150.0, 120.0], "kl": [5.0, 8.0]}
    assert figures.losses(vae).axes[0].get_ylabel() == "nats per image"
    assert not figures.losses({"epoch": [1, 2], "generator z": [0.9, 0.8]}).legends
    with_errors = figures.losses(history | {"validation error": [9.0, 8.0]})
    assert len(with_errors.axes) == len(panels)
    assert len(with_errors.legends[0].get_texts()) == 2


def test_costs_draws_each_curve_from_its_own_first_epoch():
    panels = [
        figures.CostPanel("D", "nats", {"GAN": ([1, 2], [0.5, 0.7]), "AAE": ([1], [1.3])}, (1.4, "tie")),
        figures.CostPanel("MMD", "MMD", {"GMMN": ([3, 4, 5], [0.3, 0.2, 0.1])}),
    ]  # fmt: skip
    first, second = figures.costs(panels).axes
    assert [line.get_label() for line in first.lines[:2]] == ["GAN", "AAE"]
    assert first.lines[2].get_ydata()[0] == 1.4 < first.get_ylim()[1]
    assert first.get_ylim()[0] == 0
    assert list(second.lines[0].get_xdata()) == [3, 4, 5]
    assert first.get_legend() and not second.get_legend()


@pytest.mark.parametrize(
    "panels",
    [
        [],
        [figures.CostPanel("D", "nats", {})],
        [figures.CostPanel("D", "nats", {"GAN": ([1, 2], [0.5])})],
        [figures.CostPanel("D", "nats", {"GAN": ([1], [math.nan])})],
    ],
)
def test_costs_refuses_what_cannot_be_drawn(panels):
    with pytest.raises(UserError, match=r"figures.costs needs|needs \d finite values"):
        figures.costs(panels)


def test_costs_of_variants_sets_two_costs_of_each_side_by_side():
    history = {"epoch": [1, 2], "reconstruction": [30.0, 20.0], "discriminator z": [0.9, 1.2]}
    told = {"epoch": [1], "reconstruction": [28.0], "discriminator z": [0.8], "generator z": [1.0]}
    reconstruction, discriminator = figures.costs_of_variants({"own": history, "told": told}).axes
    assert [list(line.get_ydata()) for line in reconstruction.lines] == [[30, 20], [28]]
    own, other, tie = discriminator.lines
    assert [list(own.get_ydata()), list(other.get_ydata())] == [[0.9, 1.2], [0.8]]
    assert tie.get_ydata()[0] == pytest.approx(2 * math.log(2))
    with pytest.raises(UserError, match="needs at least one panel"):
        figures.costs_of_variants({})


def test_losses_names_a_broken_cost():
    with pytest.raises(UserError, match="'generator z' needs 2 finite values"):
        figures.losses({"epoch": [1, 2], "generator z": [1.0, math.nan]})
    with pytest.raises(UserError, match="at least one cost"):
        figures.losses({"epoch": [1]})


def test_likelihood_over_sigma_marks_what_is_chosen_and_shows_the_maxima():
    curves = {"AAE": [-500.0, 300.0, 250.0], "GAN": [-900.0, 100.0, 200.0]}
    chosen = {"AAE": 0.2, "GAN": 0.3}
    (axes,) = figures.likelihood_over_sigma([0.1, 0.2, 0.3], curves, chosen, depth=150).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    sigmas = [0.1, 0.2, 0.3]
    assert drawn == [
        (sigmas, curves["AAE"]),
        ([0.2], [300]),
        (sigmas, curves["GAN"]),
        ([0.3], [200]),
    ]
    colours = [line.get_color() for line in axes.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert axes.get_ylim() == (50, 315)
    for curve in [1.0, 2.0], [1.0, 2.0, math.nan]:
        with pytest.raises(UserError, match="'GAN' needs 3 finite values"):
            figures.likelihood_over_sigma(sigmas, {"GAN": curve}, chosen)


def test_likelihood_over_samples_draws_both_ways_and_the_papers_points():
    series, kept = {"AAE": {1000: 250.0, 10_000: 310.0}}, {"AAE": {1000: 240.0, 10_000: 310.0}}
    (axes,) = figures.likelihood_over_samples(series, kept, {"AAE": {10_000: 340}}).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn == [([1000, 10_000], [250, 310]), ([1000, 10_000], [240, 310]), ([10_000], [340])]
    assert len({line.get_color() for line in axes.lines}) == 1
    assert [line.get_linestyle() for line in axes.lines[:2]] == ["-", "--"]
    assert [text.get_text() for text in axes.texts] == ["340"]
    with pytest.raises(UserError, match="'AAE' has values that are not finite"):
        figures.likelihood_over_samples({"AAE": {1000: math.inf}}, {}, {})


# Architecture: every experiment of the book, and the paper's other figures

_FIG1, _FIG8 = EXPERIMENTS["fig2_gaussian"], EXPERIMENTS["mnist_100"]
_FIG10 = replace(
    _FIG8,
    codes=(Code("y", Categorical(20)), Code("z", Gaussian(2))),
    combine="sum",
    head_distance=3.0,
)
MODELS = EXPERIMENTS | {
    "universal": replace(_FIG1, posterior="universal", input_dropout=0.2),
    "gaussian, wide": replace(_FIG1, posterior="gaussian", codes=(Code("z", Gaussian(15, 10.0)),)),
    "fig9": replace(
        _FIG8,
        codes=(Code("y", Categorical(30)), Code("z", Gaussian(5))),
        supervised=None,
        hidden=3000,
    ),
    "fig10": _FIG10,
    "fig10, no labels": replace(_FIG10, supervised=None),
    "fig11d": replace(
        _FIG10, codes=_FIG8.codes, head_distance=None, head_scale=10.0, supervised=Rates(0.1, 0.9)
    ),
    "three layers": replace(_FIG8, layers=3),
    "no adversary": replace(_FIG8, adversarial=None),
    "both labels": replace(
        _FIG1, codes=(Code("z", SwissRoll()),), decoder_label=True, discriminator_label=True
    ),
    "both labels, one Gaussian": replace(_FIG1, decoder_label=True, discriminator_label=True),
    "fig10, label": replace(_FIG10, decoder_label=True),
    "everything normalised": replace(_FIG8, batch_norm="autoencoder", posterior="gaussian"),
    "a share of labels": replace(_FIG8, labels=0.25),
}
MODELS = {name: e for name, e in MODELS.items() if e.method in ("aae", "vae")}
every_model = pytest.mark.parametrize("experiment", MODELS.values(), ids=MODELS)


def names(figure, kind: str) -> list[str]:
    """Names of the artists of one kind ("box", "text", "arrow"), in drawing order."""
    (axes,) = figure.axes
    gids = [artist.get_gid() or "" for artist in [*axes.patches, *axes.texts]]
    return [gid.removeprefix(f"{kind} ") for gid in gids if gid.startswith(f"{kind} ")]


@every_model
def test_architecture_has_the_adversaries_labels_and_costs_of_its_configuration(experiment):
    e = experiment
    figure = figures.architecture(e)
    boxes, arrows = names(figure, "box"), names(figure, "arrow")
    adversarial = [code.name for code in e.codes] if e.adversarial else []
    assert [b.split()[1] for b in boxes if b.startswith("discriminator ")] == adversarial
    for code in adversarial:
        assert {
            f"prior {code} > discriminator {code}",
            f"code {code} > discriminator {code}",
            f"discriminator {code} > adversarial cost {code}",
        } <= set(arrows)
    labelled = [a for a in arrows if a.startswith("label ")]
    expected = ["label > decoder"] * e.decoder_label
    for code in adversarial if e.discriminator_label else []:
        expected.append(f"label {code} > discriminator {code}")
        if not isinstance(e.code(code).prior, Gaussian):  # which is the same for every label
            expected.append(f"label {code} > prior {code}")
    assert labelled == expected
    assert ("known labels > supervised cost" in arrows) == (e.supervised is not None)
    assert ("decoder" in boxes) == (e.reconstruction is not None)
    assert ("cluster heads > repulsion cost" in arrows) == (e.head_distance is not None)
    assert ("prior z > KL cost z" in arrows) == (e.method == "vae")


@every_model
@pytest.mark.parametrize("classes", [10, 5])
def test_architecture_prints_the_layer_sizes_of_the_model_that_is_trained(experiment, classes):
    torch = pytest.importorskip("torch")
    from aae_lib.model import AdversarialAutoencoder

    e = replace(experiment, hidden=8, layers=2)
    model = AdversarialAutoencoder(e.with_classes(classes), 784, classes, torch.Generator())
    figure = figures.architecture(e, classes=classes)

    def printed(box: str) -> list[int]:
        lines = [line for line in lines_of(figure, box) if "→" in line]
        return [int(n) for line in lines for n in re.findall(r"\d+", line)]

    def sizes(*networks) -> list[int]:
        layers = [m for net in networks for m in net.modules() if isinstance(m, torch.nn.Linear)]
        return [layers[0].in_features, *(layer.out_features for layer in layers)]

    encoder = printed("encoder")
    assert encoder[:3] == sizes(model.encoder)
    assert sum(encoder[3:]) == sum(head[0].out_features for head in model.heads.values())
    if e.reconstruction:
        assert printed("decoder") == sizes(model.decoder, model.output)
    for name, network in model.discriminators.items():
        assert printed(f"discriminator {name}") == sizes(network)


@every_model
def test_no_text_of_an_architecture_overlaps_a_text_a_box_or_an_arrow(experiment):
    figure = figures.architecture(experiment)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    texts = [
        (t.get_gid().removeprefix("text "), t.get_text(), t.get_window_extent()) for t in axes.texts
    ]
    boxes = {
        p.get_gid().removeprefix("box "): p.get_window_extent()
        for p in axes.patches
        if p.get_gid().startswith("box ")
    }
    for i, (_, text, extent) in enumerate(texts):
        assert extent.y0 >= 0 and extent.y1 <= figure.bbox.height, f"'{text}' leaves the page"
        for _, other, other_extent in texts[i + 1 :]:
            # Lines of one box stand close: their boxes hold the space above and below the letters.
            assert not overlap(extent, other_extent, slack=3), f"'{text}' and '{other}' overlap"
        for arrow in (p for p in axes.patches if isinstance(p, FancyArrowPatch)):
            points = axes.transData.transform(arrow.get_path().interpolated(50).vertices)
            assert not extent.padded(1).count_contains(points), f"an arrow crosses '{text}'"
    for owner, text, extent in texts:
        for name, box in boxes.items():
            inside = box.x0 + 2 < extent.x0 and extent.x1 < box.x1 - 2
            if name == owner:
                assert inside, f"'{text}' is wider than its box"
            else:
                assert not overlap(extent, box), f"'{text}' and the box '{name}' overlap"
    areas = list(boxes.items())
    for i, (name, box) in enumerate(areas):
        for other, other_box in areas[i + 1 :]:
            assert not overlap(box, other_box), f"the boxes '{name}' and '{other}' overlap"


def overlap(a: Bbox, b: Bbox, slack: float = 0) -> bool:
    """Whether two extents share more than `slack` pixels in both directions."""
    common = Bbox.intersection(a, b)
    return common is not None and min(common.width, common.height) > slack


@pytest.mark.parametrize(
    ("labels", "printed"),
    [
        (100, "100 images"),
        (1000, "1\u2009000 images"),
        (0.25, "25 % of images"),
        ("all", "all images"),
    ],
)
def test_architecture_says_how_many_images_are_labelled(labels, printed):
    assert printed in lines_of(figures.architecture(replace(_FIG8, labels=labels)), "known labels")


def test_architecture_says_what_is_normalised_and_what_is_added():
    clusters, normalised = EXPERIMENTS["clusters_16"], MODELS["everything normalised"]
    for experiment, boxes in (
        (_FIG8, []),
        (clusters, ["encoder"]),
        (normalised, ["encoder", "decoder"]),
    ):
        figure = figures.architecture(experiment)
        found = [b for b in ("encoder", "decoder") if "batch norm" in lines_of(figure, b)]
        assert found == boxes
    assert "dropout 0.5" in lines_of(figures.architecture(EXPERIMENTS["nn_100"]), "encoder")
    for experiment, formula in ((_FIG8, []), (_FIG10, ["$y\\,W_C + z$"])):
        assert lines_of(figures.architecture(experiment), "combine formula") == formula


def lines_of(figure, box: str) -> list[str]:
    """The lines of text in or beside a box."""
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts if text.get_gid() == f"text {box}"]


def test_architecture_refuses_a_model_that_it_would_draw_wrongly():
    with pytest.raises(UserError, match="'table1_gan' is a GAN"):
        figures.architecture(EXPERIMENTS["table1_gan"])


def test_architecture_refuses_more_codes_than_it_has_room_for():
    codes = (*_FIG8.codes, Code("w", Gaussian(2)))
    with pytest.raises(UserError, match="one or two codes; 'mnist_100' has 3"):
        figures.architecture(replace(_FIG8, codes=codes))


def test_variants_stand_below_the_one_that_they_vary():
    series = {
        "as it is": {"epoch": [1, 2, 3], "validation error": [60.0, 40.0, 30.0]},
        "changed": {"epoch": [1, 2, 3], "validation error": [70.0, 50.0, 20.5]},
        "not far": {"epoch": [0.1], "validation error": [80.0]},
    }
    (axes,) = figures.error_of_variants(series, quantity="validation error").axes
    assert [text.get_text() for text in axes.get_yticklabels()] == list(series)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [text.get_text() for text in axes.texts] == ["30.0", "20.5", "80.0"]
    reference, *lines = axes.lines
    assert reference.get_xdata() == [30, 30]
    assert [list(line.get_xdata()) for line in lines] == [
        run["validation error"] for run in series.values()
    ]
    with pytest.raises(UserError, match="no variant"):
        figures.error_of_variants({}, quantity="validation error")
    series["changed"]["validation error"][1] = math.nan
    with pytest.raises(UserError, match="finite"):
        figures.error_of_variants(series, quantity="validation error")


def test_a_share_of_an_epoch_is_on_the_axis_of_the_error():
    run = {"epoch": [0.1], "test error": [60.0]}
    (axes,) = figures.error_along_training({"a": {"seed 0": run}}, {"a": {1500: 9.55}}).axes
    assert axes.get_xlim()[0] < 0.1


# Scorecard


def judged(**values: float) -> list[claims.Row]:
    """Claims with what was obtained for them."""
    rows = []
    for claim in claims.load():
        name = claim.id.replace(".", "_").replace("-", "_")
        if name in values:
            evidence = claims.Evidence({0: values[name]}, claim.epochs or 50, 50, "standard", "")
            rows.append(claims.Row(claim=claim, **vars(claims.check(claim, evidence))))
    return rows


def test_the_scorecard_puts_the_paper_at_0_and_what_is_plainly_wrong_at_1():
    paper = judged(a2_mnist_100_epoch_50=3.4, fig2_gaussian_energy_distance=0.0)
    wrong = judged(
        a2_mnist_100_epoch_50=paper[1].claim.wrong,
        fig2_gaussian_energy_distance=paper[0].claim.wrong,
    )
    far = judged(a2_mnist_100_epoch_50=90.0, fig2_gaussian_energy_distance=0.9)
    figure = figures.scorecard({"This run": paper, "Published": wrong, "Far": far})
    points = figure.axes[0].collections
    assert [tuple(p.get_offsets()[0]) for p in points[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    blue, yellow, red = (
        figures.VERDICT_LOOKS[v]["color"] for v in ("reproduced", "partly", "not reproduced")
    )
    edges = [tuple(p.get_edgecolor()[0][:3]) for p in points]
    assert edges == [to_rgb(c) for c in (blue, blue, red, red, yellow, red)]
    assert [len(p.get_facecolor()) for p in points] == [1, 1, 0, 0, 0, 0]  # filled, then open
    assert points[5].get_offsets()[0][0] > 1.5  # beyond the bars, an arrow
    drawn = {len(p.get_paths()[0]) for p in (points[0], points[2], points[4])}
    assert len(drawn) == 3  # each verdict has a shape of its own
    bands = sorted((b.get_x(), b.get_width()) for b in figure.axes[0].patches)
    assert (0.0, 0.8) in [(round(x, 9), round(w, 9)) for x, w in bands]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Fig 2a, 2c · energy distance", "A.2.1, MNIST 100 · epoch 50"]


def test_a_scorecard_without_any_result_still_draws_the_bands():
    rows = [row for row in claims.scorecard([]) if row.claim.run]
    figure = figures.scorecard({"This run": rows})
    assert len(figure.axes[0].collections) == 0
    assert len(figure.axes[0].patches) >= len(rows)


@pytest.mark.parametrize(
    ("name", "aim"),
    [
        ("a2.mnist-100.epoch-50", 3.4),  # the paper's number
        ("fig4.mixture.accuracy", 99.0),  # the better end of the band
        ("fig5.mnist.copy", 1.0),  # of a band near a value, its middle
    ],
)
def test_the_scorecard_puts_what_a_claim_aims_at_at_0(name: str, aim: float):
    (claim,) = [claim for claim in claims.load() if claim.id == name]
    assert claim.aim == aim
    assert figures._distance(claim, aim) == 0
    assert figures._distance(claim, claim.wrong) == 1
