"""Pages that are made: the appendix shows every field, machines every run, deviations come from the chapters."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from html import unescape
from pathlib import Path

import jupytext
import nbformat
import pytest
import torch
from markdown_it import MarkdownIt
from materials import run
from torch import nn

from aae_lib import claims, pages
from aae_lib.book import Project
from aae_lib.config import Experiment, Rates
from aae_lib.experiments import CHAPTERS, EXPERIMENTS, by_name
from aae_lib.model import AdversarialAutoencoder
from aae_lib.networks import Output
from aae_lib.store import REPOSITORY


def test_pages_need_no_torch():
    program = (
        "import sys; from aae_lib import pages; pages.appendix(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_landing_page_shows_the_paper_s_own_model_and_counts_what_is_run():
    values = {"dbn": 138.0, "gan": 225.0, "aae": 340.0}
    ledger = {claim.id: claim for claim in claims.load()}
    found = {
        f"table1.mnist-10k.{model}": claims.Evidence(
            {0: value}, 50, 50, "standard", "05_likelihood"
        )
        for model, value in values.items()
    }
    page = pages.summary(claims.judge([ledger[name] for name in found], found))
    assert re.findall('<td id="([^"]+)"', page) == ["table1.mnist-10k.aae"]
    assert "<b>2</b> reproduced" in page and "<b>0</b> not run" in page
    assert "Of the 2 reproduced, the paper prints a number for 2 (1 of its own model)" in page


def test_the_landing_page_shows_no_number_of_other_images_beside_the_paper_s():
    ledger = {claim.id: claim for claim in claims.load()}
    found = {
        "table1.tfd-10k.aae": claims.Evidence({0: 920.0}, 50, 50, "standard", "", "fer2013"),
        "table2.mnist-100.aae": claims.Evidence({0: 3.8}, 50, 5000, "standard", ""),
    }
    page = pages.summary(claims.judge([ledger[name] for name in found], found))
    assert re.findall('<td id="([^"]+)"', page) == ["table2.mnist-100.aae"]


# ---- appendix


def rows_of(page: str, title: str) -> dict[str, list[str]]:
    """The cells of one table of the appendix, by hyper-parameter, without markup."""
    section = page.split(f"## {title}")[1].split("\n## ")[0]
    found = {}
    for row in re.findall(r"<tr>(<td>.*?)</tr>", section):
        name, *cells = [
            unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall(r"<td>(.*?)</td>", row)
        ]
        found[name] = cells
    return found


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_field_that_is_not_at_its_default_is_in_the_appendix(experiment: Experiment):
    page = pages.appendix()
    (section,) = [s for s in page.split("## ") if f"<code>{experiment.name}</code> (" in s]
    shown = rows_of(page, section.split("\n")[0])
    for f in fields(Experiment):
        value = getattr(experiment, f.name)
        hashed = f.metadata.get("hashed", True)  # others are no part of the model
        if hashed and f.name not in ("name", "data") and value != f.default:
            name = pages.NAMES.get(f.name, f.name.replace("_", " "))
            assert pages.worded(f.name, value) in shown[name][1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("adversarial", Rates(0.0002, 0.5, "adam"), "Adam, rate 0.0002, β₁ 0.5"),
        ("adversarial", Rates(0.1, 0.1), "rate 0.1, momentum 0.1"),
        ("codes", by_name("table1_aae").codes, "z: Gaussian (dim 8, std 5)"),
        ("milestones", (50, 1000), "50, 1000"),
        ("milestones", (), "none"),
        ("init_std", None, "√(2/inputs)"),
        ("standardise", True, "yes"),
    ],
)
def test_values_in_words(name: str, value: object, words: str):
    assert pages.worded(name, value) == words


def test_what_a_2_1_prints_is_said_to_be_as_printed():
    shown = rows_of(pages.appendix([by_name("mnist_100")]), "A.2.1: semi-supervised, MNIST")
    rates = ("reconstruction", "adversarial", "supervised", "milestones", "decay")
    for name in (*rates, "labels", "input_noise"):
        assert shown[pages.NAMES.get(name, name)][2] == "as printed"


def test_nothing_differs_from_what_the_paper_prints():
    sections = re.findall("^## (.+)$", pages.appendix(), re.M)
    verdicts = {
        f"{title}: {name}": cells[-1]
        for title in sections
        for name, cells in rows_of(pages.appendix(), title).items()
    }
    assert sum("as printed" in verdict for verdict in verdicts.values()) > 50
    assert {name for name, verdict in verdicts.items() if "differs" in verdict} == set()


def test_a_changed_field_shows_and_differs():
    usual = by_name("clusters_16")
    title, name = "A.3: clustering", pages.NAMES["hidden"]
    assert rows_of(pages.appendix([usual]), title)[name] == ["3000 A.3", "3000", "as printed"]
    changed = replace(usual, hidden=77)
    assert rows_of(pages.appendix([changed]), title)[name] == ["3000 A.3", "77", "differs"]
    both = rows_of(pages.appendix([usual, replace(changed, name="clusters_30")]), title)[name]
    assert both[1:] == [
        "3000 clusters_1677 clusters_30",
        "as printed clusters_16differs clusters_30",
    ]


def test_where_the_paper_is_silent_the_value_is_our_choice():
    one = replace(by_name("table1_aae"), adversarial=Rates(0.3, 0.25), code_dim=33)
    shown = rows_of(pages.appendix([one]), "A.1: likelihood")
    told = ["silent", "rate 0.3, momentum 0.25", "our choice"]
    assert shown[pages.NAMES["adversarial"]] == told
    assert shown["code dim"] == ["silent", "33", "our choice"]  # has no words yet


def test_what_is_taken_over_from_another_place_of_the_paper_is_our_choice():
    shown = rows_of(pages.appendix([by_name("fig7_svhn")]), "Figure 7: style and label")
    for name in ("reconstruction", "adversarial", "batch_norm", "input_dropout", "codes"):
        assert shown[pages.NAMES[name]][2] == "our choice"
    assert shown[pages.NAMES["decoder_label"]][2] == "as printed"


def test_what_is_not_configured_is_said_and_what_no_section_describes_is_shown():
    page = pages.appendix([replace(by_name("mnist_100"), paper="nowhere", name="stray")])
    assert page.count("not configured yet") == len(pages.PAPER)
    assert "100" in rows_of(page, "Further experiments")[pages.NAMES["labels"]]


def test_what_the_paper_says_is_said_of_fields_that_exist():
    known = {f.name for f in fields(Experiment)} | set(pages.FIXED)
    for section in pages.PAPER:
        assert set(section.said) <= known
        for said in section.said.values():
            if isinstance(said.value, dict):
                assert set(said.value) <= set(EXPERIMENTS)


def test_what_is_fixed_for_all_experiments_is_what_the_library_does():
    model = AdversarialAutoencoder(by_name("mnist_100"), 784, 10, torch.Generator())
    activations = {type(m) for m in model.encoder if not isinstance(m, nn.Linear)}
    assert activations == {nn.ReLU}
    assert [type(m) for head in model.heads.values() for m in head] == [Output, Output]
    assert {head[0].in_features for head in model.heads.values()} == {
        1000
    }  # of the last shared layer
    codes = model.encode(torch.rand(3, 784))
    torch.testing.assert_close(codes["y"].sum(1), torch.ones(3))
    assert codes["z"].min() < 0


# ---- deviations


CHAPTER = """\
# %% [markdown]
# # A chapter
#
# Text, and 1. no deviation.

# %%
1 + 1

# %% [markdown]
# ### Deviations
#
# 1. **The first: the paper is silent.** Over
#    two lines, with $\\beta_1 = 0.9$.
# 2. **Another.** As equation {eq}`eq-there` and {numref}`fig-there` show: {glue:text}`share` %.

# %% [markdown]
# ## Exercises
#
# 1. not a deviation
"""


def test_deviations_come_from_the_chapters(tmp_path: Path):
    (tmp_path / "03_one.py").write_text(CHAPTER)
    (tmp_path / "04_none.py").write_text("# %% [markdown]\n# # Nothing to tell\n")
    record = {"application/papermill.record/text/plain": "'12.5'"}
    metadata = {"scrapbook": {"name": "share"}}
    output = nbformat.v4.new_output("display_data", record, metadata=metadata)
    cells = [nbformat.v4.new_code_cell("glue()", outputs=[output])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "03_one.ipynb")
    found = pages.deviations(tmp_path, executed=[tmp_path / "nowhere", tmp_path])
    assert list(found) == ["03_one"]
    title, items = found["03_one"]
    assert title == "A chapter"
    assert items[0] == "**The first: the paper is silent.** Over two lines, with $\\beta_1 = 0.9$."
    shown = "**Another.** As the equation there and the figure there show: 12.5 %."
    assert items[1] == shown
    _, items = pages.deviations(tmp_path)["03_one"]  # not executed yet
    assert items[1] == shown.replace("12.5", "(see there)")


def test_every_chapter_with_claims_has_the_sections_that_others_link_to():
    tested = {claim.chapter for claim in claims.load() if claim.run}
    deviating = pages.deviations(REPOSITORY / "notebooks")
    for chapter in Project().names():
        notebook = jupytext.read(Project().source(chapter))
        lines = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown").split("\n")
        if chapter in tested:
            assert "## Against the paper" in lines
        if any(section.chapter == chapter for section in pages.PAPER):
            assert "### Deviations" in lines
            assert chapter in deviating


# ---- links


def test_links_to_chapters_that_are_not_in_the_book_become_words():
    page = "<a href='02_aae.html#cell.fig2.x-y'>chapter 2</a>, <a href='../scorecard.html#x'>y</a>"
    assert pages.without_dead_links(page, ["02_aae"]) == page
    assert pages.without_dead_links(page, []) == "chapter 2, <a href='../scorecard.html#x'>y</a>"
    written = json.dumps({"text/html": page})  # as it stands in a notebook
    assert json.loads(pages.without_dead_links(written, [])) == {
        "text/html": pages.without_dead_links(page, [])
    }


def test_each_claim_links_to_where_its_chapter_measures_it():
    rows = claims.scorecard([])
    tables = pages.scorecard({"Published": rows}, "chapters/")
    assert list(tables)[:3] == ["Figure 2", "Section 2", "Figure 4"] and "Appendix A.2" in tables
    text = "\n".join(tables.values())
    assert re.findall('<td id="([^"]+)"', text) == [row.id for row in rows]
    links = re.findall(r"href='chapters/(\w+)\.html#cell\.([^']+)'", text)
    assert links == [(row.claim.chapter, row.id) for row in rows if row.claim.run]


def test_every_claim_has_one_cell_that_records_it():
    tested = [claim for claim in claims.load() if claim.run]
    sources = {
        chapter: [cell.source for cell in jupytext.read(Project().source(chapter)).cells]
        for chapter in {claim.chapter for claim in tested}
    }
    for claim in tested:
        at = pages.recording_cell(claim.id, sources[claim.chapter])
        assert at is not None and "record(" in sources[claim.chapter][at], claim.id


def test_of_cells_that_could_record_a_claim_the_one_that_names_its_parts_does():
    sources = [
        "prose, about fig1.a",
        "for d in ('x', 'y'):\n    chapter.record(f'fig1.{d}.{model}', values)",
        "chapter.record(f'fig1.{d}.{model}', {'z': 1})",
        "names = ['fig1.x.a']",
    ]
    assert pages.recording_cell("fig1.x.a", sources) == 1
    assert pages.recording_cell("fig1.z.a", sources) == 2
    assert pages.recording_cell("fig2.z.a", sources) is None


def test_a_chapter_s_page_shows_the_verdicts_of_today_its_parameters_and_texts_for_pictures():
    caption = "Digits of the test set. What to see: all ten."
    table, picture = (
        nbformat.v4.new_output("display_data", {"text/html": "<p>old</p>", "text/plain": "old"}),
        nbformat.v4.new_output("display_data", {"image/png": "AAAA"}),
    )
    cells = [
        nbformat.v4.new_code_cell('profile = "quick"'),
        nbformat.v4.new_code_cell('# Parameters\nprofile = "standard"\nseed = 3\n'),
        nbformat.v4.new_code_cell('chapter.against_the_paper("table3.", "fig4.")', outputs=[table]),
        nbformat.v4.new_code_cell("figures.sheet(x)", outputs=[picture]),
    ]
    cells[1].metadata["tags"] = ["injected-parameters", "remove-cell"]
    cells[3].metadata["mystnb"] = {"figure": {"caption": caption, "name": "fig-x"}}
    notebook = nbformat.v4.new_notebook(cells=cells)
    pages.staged(notebook, "01_introduction", {"Published": claims.scorecard([])})
    assert notebook.cells[2].source == '*Executed with* `profile = "standard"`, `seed = 3`.'
    (shown,) = notebook.cells[3].outputs
    ids = re.findall('<td id="([^"]+)"', shown.data["text/html"])
    assert ids == [c.id for c in claims.load() if c.run and c.id.startswith(("table3.", "fig4."))]
    assert "text/plain" not in shown.data
    assert notebook.cells[4].metadata["mystnb"]["image"] == {"alt": "Digits of the test set"}
    assert notebook.cells[4].outputs == [picture]
    nbformat.validate(notebook)


@pytest.mark.parametrize(
    "source",
    [
        'table = chapter.against_the_paper("fig2.")\ndisplay(table)',
        '%%time\nchapter.against_the_paper("fig2.")',
        "chapter.against_the_paper(places)",
    ],
)
def test_a_reader_s_own_cell_with_the_table_is_shown(source: str) -> None:
    table = nbformat.v4.new_output("display_data", {"text/html": "<p>old</p>"})
    cell = nbformat.v4.new_code_cell(source, outputs=[table])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    pages.staged(notebook, "01_introduction", {"Published": claims.scorecard([])})
    shown = notebook.cells[0].outputs[0].data["text/html"]
    assert (shown == "<p>old</p>") is not source.startswith("table")


# ---- machines


def results(chapter: str, *runs: dict) -> dict:
    return {
        "chapter": chapter,
        "title": f"Title {chapter[3:]}",
        "profile": "quick",
        "runs": list(runs),
    }


def test_machines_have_a_row_for_each_run_and_sums_that_count_each_once():
    shared = run("mnist_all", wall_seconds=7200.0, peak_memory_gib=0.75)
    page = pages.machines([
        results("01_nothing"),
        results("02_one", run("fig2_gaussian"), run("mnist_all", epochs=4, wall_seconds=100.0)),
        results("07_two", shared, run("mnist_all", seed=1)),
    ])  # fmt: skip
    assert "**All of it.** 3 runs, 4.0 h of training, at most 0.75 GiB of memory." in page
    assert "**Hardware.** A processor, 2 cores." in page
    assert "**Software.** python 3.11 · torch 2.0." in page
    assert re.findall("^## (.*)", page, re.MULTILINE) == [
        "2 · Title one",
        "7 · Title two",
    ]
    assert page.count("<tr><td>") == 4
    cells = re.findall("<td>(.*?)</td>", page)
    assert cells[:7] == [
        *("<code>fig2_gaussian</code>", "0", "50", "1.0&nbsp;h", "0.50&nbsp;GiB"),
        *("cpu,&nbsp;2&nbsp;threads", "c0ffee"),
    ]


def test_a_seed_that_was_trained_anew_is_another_run_and_one_that_went_on_is_not():
    first, went_on = run("a", started="1", epochs=4), run("a", started="1", epochs=50)
    anew = run("a", started="2", epochs=50)
    assert pages.distinct([first, went_on, anew, went_on]) == [went_on, anew]
    page = pages.machines([results("02_one", first, went_on, anew)])
    assert "**All of it.** 2 runs" in page and page.count("<tr><td>") == 2
    assert "Profile quick: 2 runs, 2.0 h of training" in page
    told = results("02_one", first, went_on, anew) | {"claims": {"x": {}}}
    cells = re.findall("<td>(.*?)</td>", pages.cost([told]))
    assert cells == ["2 · Title one", "quick", "1", "2", "0.0", "0.0", "2.0"]


def test_machines_say_where_runs_disagree():
    gpu = {"processor": "Another", "cores": 16, "accelerator": "A GPU"}
    later = run("x", commit="decade", versions={"python": "3.12"}, hardware=gpu)
    page = pages.machines([results("02_one", run("a"), run("b"), run("c", continued=[later]))])
    assert "A processor, 2 cores (3×); A GPU (Another, 16 cores) (1×)" in page
    assert "python 3.11 · torch 2.0 (3×); python 3.12 (1×)" in page
    assert "c0ffee, decade" in page


def test_a_run_that_went_on_elsewhere_is_told_of_both_places():
    gpu = {"processor": "Another", "cores": 16, "accelerator": "A GPU"}
    later = run("x", device="cuda", threads=4, hardware=gpu, after_seconds=600.0)
    told = results("02_one", run("a", wall_seconds=7800.0, continued=[later])) | {
        "claims": {"x": {}}
    }
    assert "cpu,&nbsp;2&nbsp;threads,&nbsp;then&nbsp;cuda,&nbsp;4&nbsp;threads" in pages.machines(
        [told]
    )
    cells = re.findall("<td>(.*?)</td>", pages.cost([told]))
    assert cells[-3:] == ["2.0", "2.0", "0.2"]
    unknown = {key: value for key, value in later.items() if key != "after_seconds"}
    parts = {"continued": [unknown, later, unknown], "wall_seconds": 7800.0}
    assert pages.seconds_by_stage(run("a", **parts)) == [600.0, 0.0, 7200.0, 0.0]


def test_without_runs_the_page_says_so():
    assert "make book" in pages.machines([])
    assert "make book" in pages.machines([results("01_nothing")])
    assert "<table" not in pages.cost([results("01_nothing")])


def test_machines_say_where_a_chapter_itself_ran():
    told = results("02_one", run("a")) | {"executed": run("", commit="decade")}
    assert "The chapter itself ran on A processor, 2 cores, commit decade." in pages.machines(
        [told]
    )


def test_a_claim_costs_its_share_of_its_chapters_hours():
    gpu = {"processor": "Another", "cores": 16, "accelerator": "A GPU"}
    runs = run("a", hardware=gpu, wall_seconds=7200.0), run("b", wall_seconds=5400.0)
    told = results("02_one", *runs) | {"claims": {"x": {}, "y": {}, "z": {}, "w": {}}}
    cells = re.findall("<td>(.*?)</td>", pages.cost([told]))
    assert cells == ["2 · Title one", "quick", "4", "2", "2.0", "0.5", "1.5"]


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "**x** `y` $z$ {eq}`w` [a](b)", "a\n\n# b", "a\n```\n# *b*\n```"],
)
def test_text_of_results_is_shown_as_it_is(hostile: str):
    machine = {"processor": hostile, "cores": 2, "accelerator": hostile}
    spoilt = run(hostile, seed=hostile, commit=hostile, device=hostile, hardware=machine)
    told = results("02_one", spoilt | {"versions": {hostile: hostile}})
    told |= {"title": hostile, "profile": hostile, "chapter": hostile, "claims": {"x": {}}}
    for page in pages.machines([told | {"executed": spoilt}]), pages.cost([told]):
        shown = MarkdownIt("commonmark").render(page)
        raw = re.findall(r"^(```+)\{raw\} html\n(.*?)\n\1$", page, re.DOTALL | re.MULTILINE)
        assert not any("<script" in text for text in (shown, *(body for _, body in raw)))
        assert shown.count("<strong>") == page.count(".** ")  # the page's own
        assert not any(mark in shown for mark in ("<h1", "<em>", "<a ", "<code>y"))


# ---- the last chapter


def test_the_conclusion_is_the_last_chapter_and_asks_for_no_run_beforehand():
    assert list(CHAPTERS)[-1] == "10_conclusion"
    assert CHAPTERS["10_conclusion"] == ()
