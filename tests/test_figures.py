"""Figures draw all of the data they are given, and refuse what they cannot draw."""

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

from aae_lib import figures
from aae_lib.config import Code, Rates
from aae_lib.errors import UserError
from aae_lib.experiments import EXPERIMENTS
from aae_lib.priors import Categorical, Gaussian, GaussianMixture, SwissRoll


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


def test_priors_are_drawn_behind_as_samples_or_circles():
    panel = ("codes", *blobs(30))
    first, second = figures.codes([panel, panel], priors=[1.5, np.zeros((7, 2))]).axes
    assert [c.radius for c in first.patches if isinstance(c, Circle)] == [1.5, 3.0, 4.5]
    prior, dots = second.collections
    assert len(prior.get_offsets()) == 7
    assert prior.get_zorder() < dots.get_zorder()


def test_codes_of_one_point_and_of_an_untrained_network_can_be_drawn():
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


# Curves


def test_error_along_training_draws_seeds_their_mean_and_the_papers_points():
    runs = {
        "seed-0": {"epoch": [1, 2, 3], "test_error": [20.0, 10.0, 6.0]},
        "seed-1": {"epoch": [1, 2], "test_error": [24.0, 14.0]},
    }
    alone = {"seed-0": {"epoch": [1], "test_error": [8.0]}}
    paper = {"100 labels": {1: 16.5, 50: 3.4}}
    (axes,) = figures.error_along_training({"100 labels": runs, "1000 labels": alone}, paper).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn == [
        ([1, 2, 3], [20, 10, 6]),
        ([1, 2], [24, 14]),
        ([1, 2], [22, 12]),  # the mean, where both seeds are
        ([1, 50], [16.5, 3.4]),
        ([1], [8]),
    ]
    assert [text.get_text() for text in axes.texts] == ["16.50", "3.40"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["100 labels: mean ± std of 2 seeds", "1000 labels"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_error_along_training_can_draw_a_run_without_an_error():
    runs = {"own images": {"seed-0": {"epoch": [1, 2], "test_error": [5.0, 0.0]}}}
    FigureCanvasAgg(figures.error_along_training(runs)).draw()


@pytest.mark.parametrize(
    ("epoch", "error"), [([1, 2], [3.0]), ([], []), ([1], [math.nan]), ([0], [3.0]), ([1], [-1.0])]
)
def test_error_along_training_names_a_broken_curve(epoch, error):
    with pytest.raises(UserError, match="the curve 'all, seed-3'"):
        figures.error_along_training({"all": {"seed-3": {"epoch": epoch, "test_error": error}}})


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
    assert len(panels["Reconstruction"].lines) == 1


def test_losses_names_a_broken_cost():
    with pytest.raises(UserError, match="'generator z' needs 2 finite values"):
        figures.losses({"epoch": [1, 2], "generator z": [1.0, math.nan]})
    with pytest.raises(UserError, match="at least one cost"):
        figures.losses({"epoch": [1]})


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
    "fig3": replace(_FIG1, codes=(Code("z", GaussianMixture()),), discriminator_label=True),
    "fig3 roll": replace(
        _FIG1, codes=(Code("z", SwissRoll()),), discriminator_label=True, labels=9
    ),
    "fig6": replace(_FIG1, codes=(Code("z", Gaussian(15)),), decoder_label=True),
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
    "fig10, label": replace(_FIG10, decoder_label=True),
}
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
    expected += [f"label {c} > discriminator {c}" for c in adversarial if e.discriminator_label]
    assert labelled == expected
    assert ("known labels > supervised cost" in arrows) == (e.supervised is not None)
    assert ("decoder" in boxes) == (e.reconstruction is not None)
    assert ("cluster heads > repulsion cost" in arrows) == (e.head_distance is not None)
    assert ("prior z > KL cost z" in arrows) == (e.method == "vae")


@every_model
def test_architecture_prints_the_layer_sizes_of_the_model_that_is_trained(experiment):
    torch = pytest.importorskip("torch")
    from aae_lib.model import AdversarialAutoencoder

    e = replace(experiment, hidden=8, layers=2)
    model = AdversarialAutoencoder(e, 784, 10, torch.Generator().manual_seed(0))
    (axes,) = figures.architecture(e).axes

    def printed(box: str) -> list[int]:
        lines = [t.get_text() for t in axes.texts if t.get_gid() == f"text {box}"]
        return [int(n) for line in lines if "→" in line for n in re.findall(r"\d+", line)]

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


def test_architecture_refuses_more_codes_than_it_has_room_for():
    codes = (*_FIG8.codes, Code("w", Gaussian(2)))
    with pytest.raises(UserError, match="one or two codes; 'mnist_100' has 3"):
        figures.architecture(replace(_FIG8, codes=codes))
