"""The bench divides what it says, fairly; the book reads what it wrote, and draws it legibly."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from torch.utils.flop_counter import FlopCounterMode

from aae_lib import bench, store
from aae_lib.config import Experiment
from aae_lib.errors import UserError
from aae_lib.experiments import by_name

sys.path.insert(0, str(Path(__file__).parent / "bench"))
import measure
import parzen
import training
from measure import Contender, Figure, interleaved

TARGETS = {
    "step_vs_literal": "≤ 0.78",
    "products_vs_step": "≥ 0.80",
    "limit_vs_step": "≥ 0.92",
    "replicates_together": "≤ 1.05",
    "images_vs_pythae": "≥ 1.15",
    "parzen_products": "≥ 0.75",
    "parzen_grid": "≥ 0.5",
    "parzen_vs_numpy": "≤ 0.05",
    "parzen_vs_sklearn": "≤ 0.02",
    "parzen_10m_peak_gib": "≤ 1.5",
}
"""As they were written down before anything was measured."""


# ---- measuring


@pytest.mark.parametrize(
    ("value", "target", "ok"),
    [
        (0.77, "≤ 0.78", True),
        (0.78, "≤ 0.78", True),
        (0.79, "≤ 0.78", False),
        (0.81, "≥ 0.80", True),
        (0.80, "≥ 0.80", True),
        (0.79, "≥ 0.80", False),
        (math.nan, "≤ 0.78", False),
        (math.nan, "≥ 0.80", False),
        (math.inf, "≥ 0.80", False),
        (-math.inf, "≤ 0.78", False),
    ],
)
def test_a_figure_is_ok_only_if_it_is_finite_and_keeps_its_target(value, target, ok):
    assert Figure("a", value, target, "").ok is ok


def test_work_takes_turns_and_its_median_time_is_of_one_call(monkeypatch):
    now, called = 0.0, []
    slow = {"a": iter([9, 1, 1, 2, 2, 100, 100]), "b": iter([9, 3, 3, 3, 3, 3, 3])}

    def work(name: str) -> None:
        nonlocal now
        called.append(name)
        now += next(slow[name])

    clock = SimpleNamespace(perf_counter=lambda: now, sleep=lambda seconds: None)
    monkeypatch.setattr(measure, "time", clock)
    monkeypatch.setattr(measure, "PAUSE", 0)
    seconds = interleaved({name: partial(work, name) for name in "ab"}, rounds=3, calls=2)
    assert "".join(called) == "ab" + 3 * "aabb"  # the first call of each is not timed
    assert seconds == {"a": 2, "b": 3}


def test_a_contender_works_in_a_process_of_its_own(tmp_path: Path):
    here = Path.cwd()
    move = Contender(partial(partial, os.chdir, str(tmp_path)))
    move()
    move()
    assert Path.cwd() == here
    move.close()
    assert move.process.exitcode == 0


def test_what_goes_wrong_in_a_contender_is_raised_here(tmp_path: Path):
    make = Contender(partial(partial, os.mkdir, str(tmp_path / "new")))
    make()
    assert (tmp_path / "new").is_dir()
    with pytest.raises(FileExistsError, match="new"):
        make()
    make.close()
    with pytest.raises(ZeroDivisionError):
        Contender(partial(divmod, 1, 0))


# ---- what is measured


def plain(hidden: int, batch: int) -> tuple[Experiment, int]:
    """The unlabelled model, and by hand the multiplications of its matrix products for one image."""
    e = replace(by_name("fig2_gaussian"), hidden=hidden, batch_size=batch)
    first, head = 784 * hidden, 2 * hidden
    encoder = first + hidden**2 + head
    decoder = 2 * hidden + hidden**2 + hidden * 784
    discriminator = 2 * hidden + hidden**2 + hidden
    count = 3 * (encoder + decoder) - first  # forward, weights, inputs; none for the image itself
    count += encoder  # codes for both adversarial phases
    count += 2 * (3 * discriminator - 2 * hidden)  # prior and codes, which get no gradient
    count += 2 * discriminator  # forward and inputs; its weights stand still
    count += 2 * encoder - first  # the generator's way back
    return e, count


def semi_supervised(hidden: int, batch: int) -> tuple[Experiment, int]:
    """The same for labels and style of ten numbers each, and a labelled mini-batch."""
    e = replace(by_name("mnist_100"), hidden=hidden, batch_size=batch)
    first, body, head = 784 * hidden, 784 * hidden + hidden**2, 10 * hidden
    encoder = body + 2 * head
    decoder = 20 * hidden + hidden**2 + hidden * 784
    discriminators = 2 * (10 * hidden + hidden**2 + hidden)
    count = 3 * (encoder + decoder) - first + encoder
    count += 2 * (3 * discriminators - 2 * head) + 2 * discriminators + 2 * encoder - first
    return e, count + 3 * (body + head) - first


@pytest.mark.parametrize("counted", [plain, semi_supervised])
@pytest.mark.parametrize(("hidden", "batch"), [(3, 2), (7, 5)])
def test_the_bare_products_are_those_that_the_mathematics_needs(
    counted: Callable, hidden: int, batch: int
):
    experiment, count = counted(hidden, batch)
    bare = training.Products(experiment)
    assert bare.flop == 2 * batch * count
    with FlopCounterMode(display=False) as counter:
        bare.multiply()
    assert counter.get_total_flops() == bare.flop


@pytest.mark.parametrize("name", ["fig2_gaussian", "mnist_100"])
def test_our_iteration_makes_these_products_and_no_other(name: str):
    experiment = replace(by_name(name), hidden=5, batch_size=4)
    ours = training.program(experiment, [0], images=200)
    with FlopCounterMode(display=False) as counter:
        ours.advance()
    assert counter.get_total_flops() == training.Products(experiment).flop


def test_figures_and_targets_are_those_written_down_before(bench_files: Mapping[str, bytes]):
    rows = json.loads(bench_files["bench.json"])
    assert [(row["name"], row["target"]) for row in rows] == list(TARGETS.items())
    assert list(bench.QUANTITIES) == list(TARGETS)


def test_each_figure_divides_what_it_says(bench_files: Mapping[str, bytes]):
    """By the times of `conftest.SECONDS`: 2 of ours, 4 of the literal one, …"""
    values = {row["name"]: row["value"] for row in json.loads(bench_files["bench.json"])}
    assert math.isnan(values.pop("parzen_vs_sklearn"))
    # A turn of ours holds twenty estimates.
    assert values.pop("parzen_vs_numpy") == pytest.approx(2 / 20 / 8)
    assert values == {
        "step_vs_literal": 2 / 4,
        "products_vs_step": 1 / 2,
        "limit_vs_step": 1.5 / 2,
        "replicates_together": 3 / 4,
        "images_vs_pythae": 5 / 2,
        "parzen_products": 1 / 2,
        "parzen_grid": 1 / 4,
        "parzen_10m_peak_gib": 1,
    }


def test_our_epoch_is_of_as_many_images_as_its_rate_divides(monkeypatch):
    seen = []
    monkeypatch.setattr(training.Program, "advance", lambda _: seen.append(100))
    training.our_epoch()()
    assert sum(seen) == training.IMAGES


# ---- what the book shows of it


@pytest.fixture
def folder(tmp_path: Path, bench_files: Mapping[str, bytes]) -> Path:
    for name, content in bench_files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def change(path: Path, edit: Callable) -> None:
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content))


def test_a_folder_without_a_bench_has_none(tmp_path: Path):
    assert bench.load(tmp_path) is None


def test_the_table_shows_every_figure_with_its_verdict(folder: Path):
    change(folder / "bench.json", lambda rows: rows[0].update(name="new & <b>", value=0.5))
    change(folder / "bench_details.json", lambda d: d["how"].update({"new & <b>": "a < b"}))
    lines = bench.table(bench.load(folder)).splitlines()
    rows = {name: line for line in lines for name in re.findall('<td id="([^"]+)"', line)}
    assert list(rows) == ["new &amp; &lt;b&gt;", *list(TARGETS)[1:]]
    assert "a &lt; b" in rows["new &amp; &lt;b&gt;"] and ">met<" in rows["new &amp; &lt;b&gt;"]
    assert "<td>0.250</td>" in rows["parzen_grid"] and ">missed<" in rows["parzen_grid"]
    assert (
        "<td>—</td>" in rows["parzen_vs_sklearn"] and ">not measured<" in rows["parzen_vs_sklearn"]
    )


def test_pictures_have_captions_whose_numbers_are_measured(folder: Path):
    pictures = {picture.name: picture for picture in bench.pictures(bench.load(folder))}
    assert list(pictures) == ["roofline", "iteration", "parzen"]
    for picture in pictures.values():
        assert picture.png.startswith(b"\x89PNG") and picture.alt
    assert "75% at 2,000" in pictures["iteration"].caption
    assert "take 0.75 of the time" in pictures["iteration"].caption

    def faster(details: dict) -> None:
        details["curves"]["units"][-1]["ours"] = 1.6

    change(folder / "bench_details.json", faster)
    caption = bench.pictures(bench.load(folder))[1].caption
    assert "94% at 2,000" in caption


def test_the_roofline_is_of_what_the_machine_did_in_a_second(bench_files, folder: Path):
    curves = bench.load(folder).curves  # a second for each piece, by `conftest`'s clock
    assert (curves.peak, curves.bandwidth) == pytest.approx((2 * 3**3, 0.4))
    pieces = [  # roofs of 200 GFLOP/s and 10 GB/s, an iteration of 25 GFLOP/s under the slanted one, at 5 FLOP/byte
        bench.Piece("peak", 2e11, 4e8, 1.0),
        bench.Piece("memory", 1e9, 1e10, 1.0),
        bench.Piece(bench.ITERATION, 5e9, 1e9, 0.2),
    ]
    assert "reaches 50% of the line" in bench.roofline(replace(curves, pieces=pieces))[2]


def test_the_caption_of_the_parzen_estimate_is_of_its_numbers(folder: Path):
    count = np.array([1.0, 2, 5, 10, 20])
    curves = replace(
        bench.load(folder).curves,
        samples={
            "samples": np.array([10.0]),
            "products": np.array([1.0]),
            "one sigma": np.array([1.25]),
            "ten sigmas": np.array([2.0]),
        },
        sigmas={"sigmas": count, "seconds": 2 + 0.2 * count, "products": np.full(5, 2.0)},
    )
    caption = bench.parzen(curves)[2]
    assert "take 80% of our time for one σ, and 50% for ten" in caption
    assert "each further σ costs 10% of the products" in caption


def test_names_in_the_roofline_cover_nothing(folder: Path):
    # All pieces but the roofs crowd around one spot under the bend, two of them on the very same.
    curves = bench.load(folder).curves
    pieces = [
        bench.Piece(f"{bench.ARITHMETIC} of products", 2e11, 4e8, 1.0),
        bench.Piece(f"{bench.MEMORY}, a copy", 1e9, 1e10, 1.0),
    ]
    for i, name in enumerate(["an update", "a layer", "another layer", bench.ITERATION]):
        pieces.append(bench.Piece(name, (20 + i // 2) * 1e9, 1e9, 0.2))
    figure, _, _ = bench.roofline(replace(curves, pieces=pieces))
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    assert (curves.bandwidth, curves.peak) != (10, 200)
    texts = [Text.get_window_extent(text) for text in axes.texts]
    points = [
        axes.transData.transform(line.get_xydata())
        for line in axes.lines
        if len(line.get_xydata()) == 1
    ]
    assert len(texts) == len(points) == 4
    covered = [axes.get_legend().get_window_extent()]
    for extent in texts:
        assert figure.bbox.contains(*extent.min) and figure.bbox.contains(*extent.max)
        assert not extent.count_overlaps(covered)
        assert not any(extent.count_contains(point) for point in points)
        covered.append(extent)


def truncated(folder: Path) -> None:
    path = folder / "bench_details.json"
    path.write_bytes(path.read_bytes()[:-30])


def no_details(folder: Path) -> None:
    (folder / "bench_details.json").unlink()


def no_table(folder: Path) -> None:
    (folder / "bench.json").unlink()


def table(edit: Callable) -> Callable[[Path], None]:
    return lambda folder: change(folder / "bench.json", edit)


def details(edit: Callable) -> Callable[[Path], None]:
    return lambda folder: change(folder / "bench_details.json", edit)


def curves(edit: Callable) -> Callable[[Path], None]:
    return details(lambda content: edit(content["curves"]))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncated, "bench_details.json: "),
        (no_details, "bench_details.json: it is missing"),
        (no_table, "bench.json: it is missing"),
        (table(lambda rows: rows.clear()), "bench.json: it holds no figure"),
        (table(lambda rows: rows.append(3)), "bench.json: "),
        (table(lambda rows: rows[0].pop("value")), "bench.json: there is no 'value'"),
        (table(lambda rows: rows[0].update(value="fast")), "bench.json: .*'fast'"),
        (table(lambda rows: rows[0].update(target="< 1")), "bench.json: target '< 1'"),
        (table(lambda rows: rows[0].update(ok=1)), "bench.json: .*ok 1"),
        (details(lambda d: d["how"].pop("parzen_grid")), "there is no 'parzen_grid'"),
        (details(lambda d: d["provenance"].pop("commit")), "there is no 'commit'"),
        (details(lambda d: d.update(provenance=None)), "bench_details.json: "),
        (details(lambda d: d.update(finished="today")), "bench_details.json: .*'today'"),
        (curves(lambda c: c.pop("parzen_samples")), "there is no 'parzen_samples'"),
        (curves(lambda c: c["units"].clear()), "finite numbers above 0"),
        (curves(lambda c: c["parzen_samples"].update(points=math.inf)), "bench_details.json: "),
        (curves(lambda c: c["units"][1].pop("ours")), "there is no 'ours'"),
        (curves(lambda c: c["units"][1].update(ours=-1)), "finite numbers above 0"),
        (curves(lambda c: c["units"][1].update(ours=math.nan)), "finite numbers above 0"),
        (curves(lambda c: c["parzen_sigmas"]["seconds"].pop()), "differ in length"),
        (curves(lambda c: c["roofline"].pop(0)), "there is no 'peak'"),
        (curves(lambda c: c["roofline"][0].update(bytes=0)), "finite numbers above 0"),
    ],
)
def test_damage_gives_one_message_that_names_the_file(folder: Path, damage: Callable, told: str):
    damage(folder)
    with pytest.raises(UserError, match=told) as caught:
        bench.load(folder)
    message = str(caught.value)
    assert message.startswith(f"cannot read the bench's {folder}/bench")
    assert "Run 'make bench' again" in message and "\n" not in message


def test_the_page_needs_no_torch():
    code = "import sys; from aae_lib import bench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_is_published_can_be_shown():
    measured = bench.load(store.REPOSITORY / "data" / "bench")
    if measured is None:
        pytest.skip("no bench has been published yet")
    assert [figure.name for figure in measured.figures] == list(TARGETS)
    assert len(bench.pictures(measured)) == 3


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="there is a GPU here, and it would be measured"
)
def test_without_a_gpu_its_bench_says_so_and_leaves_with_2():
    command = [sys.executable, str(store.REPOSITORY / "tests" / "bench" / "gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "there is no GPU here\n"


def test_the_estimate_of_ten_million_samples_is_kept_and_gone_on_with(
    tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr(parzen, "POINTS", 20)
    monkeypatch.setattr(parzen, "BLOCK", 50)
    monkeypatch.setattr(parzen, "interleaved", lambda work, rounds: dict.fromkeys(work, 1.0))
    said = []
    for _ in range(2):
        parzen.whole(100, tmp_path / "state.safetensors")
        said.append(capsys.readouterr().out.splitlines())
    first, second = said
    assert re.fullmatch(r"-?[0-9.]+ ± [0-9.]+ nats at sigma 0\.\d+, 100 samples", first[0])
    assert second[0] == first[0]
    assert any("samples now" in line for line in first)
    assert not any("samples now" in line for line in second)
