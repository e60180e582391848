"""The chapters: their pairs, their execution on the smoke profile, and what happens when one fails."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from materials import remote_addresses, write_digits, write_svhn
from scipy.io import savemat

from aae_lib import book, claims, data, mat, store
from aae_lib.book import Project
from aae_lib.errors import UserError
from aae_lib.experiments import BESIDE, CHAPTERS, by_name
from aae_lib.store import REPOSITORY

NOTEBOOKS = Project().names()


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run one command in the repository and keep what it prints."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | environment
    return subprocess.run(arguments, cwd=REPOSITORY, env=env, capture_output=True, text=True)


def planned(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """What Snakemake would do, without doing it; whatever the reader's own data root holds."""
    environment = {"AAE_DATA": "/nowhere"} | environment
    snakemake = (sys.executable, "-m", "snakemake", "--snakefile", "Snakefile")
    return command(*snakemake, "--dry-run", "--cores", "2", *arguments, **environment)


# ---- the pairs


def test_there_is_a_notebook_for_each_chapter_that_runs():
    assert set(CHAPTERS) <= set(NOTEBOOKS)


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_the_pair_agrees_and_holds_no_outputs(chapter: str):
    assert book.pair_difference(Project(), chapter) is None
    path = Project().source(chapter).with_suffix(".ipynb")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert not any("injected-parameters" in cell.metadata.get("tags", []) for cell in code)


def test_a_removed_notebook_is_made_from_its_source(tmp_path: Path):
    """As `make sync` does it, to which several messages send a reader."""
    project = Project(tmp_path)
    project.source(NOTEBOOKS[0]).parent.mkdir()
    shutil.copy(Project().source(NOTEBOOKS[0]), project.source(NOTEBOOKS[0]))
    assert book.pair_difference(project, NOTEBOOKS[0]) == "there is no .ipynb"
    source = project.source(NOTEBOOKS[0]).read_bytes()
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "jupytext", "--sync", "--quiet", project.source(NOTEBOOKS[0])]
    )
    assert done.returncode == 0
    assert book.pair_difference(project, NOTEBOOKS[0]) is None
    assert project.source(NOTEBOOKS[0]).read_bytes() == source


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_every_chapter_has_the_common_parameters(chapter: str):
    path = Project().source(chapter).with_suffix(".ipynb")
    found = book.checked_parameters(path, {})
    common = {"profile": "quick", "seed": 0, "replicates": None, "device": "auto", "data": "mnist"}
    assert common.items() <= found.items()
    assert found.keys() <= (book.PARAMETERS | book.OWN_PARAMETERS).keys()  # which tell their types


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_every_figure_has_a_caption_that_begins_as_a_screen_reader_can_say_it(chapter: str):
    """Its first sentence is the picture's alternative text, where what is glued in later would stand as markup."""
    notebook = nbformat.read(Project().source(chapter).with_suffix(".ipynb"), as_version=4)
    captions = [
        cell.metadata["mystnb"]["figure"]["caption"]
        for cell in notebook.cells
        if "mystnb" in cell.metadata
    ]
    assert captions
    for caption in captions:
        first, *rest = caption.split(". ")
        assert not {"{", "$", "`"} & {*first} and len(first.split()) >= 3, caption
        assert "What to see" in ". ".join(rest), caption


# ---- the command line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", NOTEBOOKS[0], "-p", "sede", "3"], "did you mean 'seed'"),
        (["run", NOTEBOOKS[0], "--profile", "quik"], "did you mean 'quick'"),
        (["run", NOTEBOOKS[0][:-1]], f"did you mean '{NOTEBOOKS[0]}'"),
    ],
)
def test_the_command_line_tells_a_mistake_in_one_line(arguments: list[str], told: str, capsys):
    assert book.main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_chapter_goes_by_its_number_or_its_file_too():
    first = NOTEBOOKS[0]
    number = str(int(first[:2]))
    for name in (first, number, first[:2], f"notebooks/{first}.py", f"{first}.ipynb"):
        assert Project().find(name) == first


# ---- execution


@pytest.fixture(scope="module")
def digits_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The easy digits, with as few to train on as an experiment with 1000 labels takes."""
    return write_digits(tmp_path_factory.mktemp("archives") / "digits.npz", train=1000)


@pytest.fixture(scope="module")
def smoke_book(tmp_path_factory: pytest.TempPathFactory, digits_archive: Path) -> dict:
    """`make book` on the smoke profile with synthetic images: runs, chapters, pages."""
    root = tmp_path_factory.mktemp("smoke")
    home, build = root / "home", root / "build"
    home.mkdir()
    before = command("git", "status", "--porcelain").stdout
    done = command(
        "make",
        "book",
        *("-o", f"{sys.prefix}/.aae-installed", f"VENV={sys.prefix}"),  # this environment as it is
        *("PROFILE=smoke", f"DATA={digits_archive}"),
        HOME=str(home),
        AAE_BUILD=str(build),
        AAE_RUNS=str(build / "runs"),
        AAE_DATA=str(build / "data"),  # whatever the reader's own data root holds
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {"done": done, "build": build, "home": home, "status": before}


def test_make_book_says_where_the_book_and_the_scorecard_are(smoke_book: dict):
    end = smoke_book["done"].stdout.strip().splitlines()[-3:]
    for line, page in zip(end, ("index.html", "scorecard.html"), strict=False):
        assert Path(re.search("file://(.*)", line).group(1)) == smoke_book["build"] / "html" / page
        assert (smoke_book["build"] / "html" / page).exists()
    assert end[2].startswith("Total time:")


def test_make_book_writes_nothing_outside_the_build_folder(smoke_book: dict):
    assert command("git", "status", "--porcelain").stdout == smoke_book["status"]
    assert [str(path) for path in smoke_book["home"].rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_runs_on_the_smoke_profile(chapter: str, smoke_book: dict, monkeypatch):
    monkeypatch.setenv("AAE_BUILD", str(smoke_book["build"]))
    project = Project()
    path = project.chapters / f"{chapter}.ipynb"
    assert book.check_executed(project, path)["parameters"]["profile"] == "smoke"
    assert not project.results("smoke", chapter).exists()  # that would be MNIST's
    assert list(project.results("smoke", chapter).parent.glob(f"{chapter}.digits@*.json"))
    page = smoke_book["build"] / "html" / "chapters" / f"{chapter}.html"
    assert "Traceback" not in page.read_text()
    assert "&lt;Figure size" not in page.read_text()  # a figure that was not drawn
    assert remote_addresses(page) == []
    with pytest.raises(UserError, match="ran with data"):
        book.publish(project, [chapter])


def write_tfd(root: Path) -> None:
    """Write a small file in TFD's exact form into the data root `root`."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (1500, 48, 48), dtype=np.uint8)
    folds = np.repeat(np.arange(4, dtype=np.uint8), [600, 600, 150, 150])[:, None].repeat(5, 1)
    content = {"images": images, "folds": folds, "labs_ex": folds[:, :1], "labs_id": folds[:, :1]}
    (root / "tfd").mkdir(parents=True)
    savemat(root / "tfd" / "TFD_48x48.mat", content)


def test_tfd_goes_the_whole_way(smoke_book: dict, digits_archive: Path, tmp_path, monkeypatch):
    """Chapter 5 finds a small file in TFD's exact form in the data root, as it would the real one."""
    write_tfd(tmp_path / "data")
    monkeypatch.setenv("AAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("AAE_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("AAE_RUNS", str(smoke_book["build"] / "runs"))
    arguments = ["--profile", "smoke", "-p", "data", str(digits_archive)]
    assert book.main(["run", "05_likelihood", *arguments]) == 0
    found = claims.evidence(tmp_path / "build" / "results")
    columns = [f"table1.tfd-10k.{model}" for model in ("aae", "gan", "gmmn-ae")]
    assert [found[claim].data for claim in columns] == ["tfd"] * 3
    assert all(math.isfinite(found[claim].values[0]) for claim in columns)
    notebook = nbformat.read(Project().chapters / "05_likelihood.ipynb", as_version=4)
    assert shown(notebook).count("not run: TFD is not public") == 0
    assert shown(notebook).count("data:image/gif;base64") == 2  # of digits and of faces


def test_other_faces_are_named_and_without_tfd_its_rows_say_so(
    smoke_book: dict, digits_archive: Path, tmp_path, monkeypatch
):
    monkeypatch.setenv("AAE_BUILD", str(smoke_book["build"]))
    notebook = nbformat.read(Project().chapters / "05_likelihood.ipynb", as_version=4)
    # three models with 10K samples, one of them with more, and the film
    assert shown(notebook).count("not run: TFD is not public") == 5
    assert shown(notebook).count("data:image/gif;base64") == 1
    monkeypatch.setenv("AAE_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("AAE_RUNS", str(smoke_book["build"] / "runs"))
    arguments = ["-p", "data", str(digits_archive), "-p", "faces", str(digits_archive)]
    assert book.main(["run", "05_likelihood", "--profile", "smoke", *arguments]) == 0
    notebook = nbformat.read(Project().chapters / "05_likelihood.ipynb", as_version=4)
    for named in ("this run on digits, 10K", "Faces of digits (Synthetic blobs, for tests.)"):
        assert named in shown(notebook)
    rows = claims.scorecard(tmp_path / "build" / "results")
    (row,) = [row for row in rows if row.id == "table1.tfd-10k.aae"]
    assert row.verdict == "not run" and "measured on digits@" in row.reason


@pytest.fixture(scope="module")
def with_svhn(smoke_book: dict, digits_archive: Path, tmp_path_factory) -> Path:
    """Chapters 6 and 7 executed where small files in SVHN's exact form are in the data root; the build folder."""
    folder = tmp_path_factory.mktemp("svhn")
    official = mat.svhn_digest()
    with pytest.MonkeyPatch.context() as patch:
        write_svhn(folder / "svhn", {"train": 1200, "validation": 150, "test": 150}, patch)
        data.load("svhn", folder)
        # The kernels know the official files alone: what was converted stands where theirs would.
        (arrays,) = folder.glob("svhn/arrays-*")
        arrays.rename(folder / "svhn" / f"arrays-{official}")
        patch.setenv("AAE_DATA", str(folder))
        patch.setenv("AAE_BUILD", str(folder / "build"))
        patch.setenv("AAE_RUNS", str(smoke_book["build"] / "runs"))
        given = ["--profile", "smoke", "-p", "data", str(digits_archive)]
        assert book.main(["run", "06_supervised", *given]) == 0
        longer = ["-p", "house_number_epochs", "3", "-p", "first_seed_epochs", "2"]
        assert book.main(["run", "07_semi_supervised", *given, *longer]) == 0
    return folder / "build"


def test_svhn_goes_the_whole_way(with_svhn: Path):
    found = claims.evidence(with_svhn / "results")
    models = [f"table2.svhn-1000.{model}" for model in ("aae", "nn-baseline")]
    of_svhn = ["fig7.svhn.agreement", *models]
    assert [found[claim].data.partition("@")[0] for claim in of_svhn] == ["svhn"] * 3
    # So little trained, the model explains nothing at the edges, of which another label could keep a share.
    assert "fig7.svhn.neighbours" not in found
    assert math.isfinite(found["fig7.svhn.agreement"].values[0])
    for claim in models:  # of the seed that was trained for longer
        ((seed, error),) = found[claim].values.items()
        assert (seed, found[claim].epochs, math.isfinite(error)) == (1, 3, True)
    for chapter in ("06_supervised", "07_semi_supervised"):
        notebook = nbformat.read(with_svhn / "chapters" / f"{chapter}.ipynb", as_version=4)
        assert "not run: SVHN" not in shown(notebook)
        assert "House numbers of SVHN." in str(notebook)
    # Rows of chapter 7's tables, and its longer runs.
    assert "adversarial autoencoder, SVHN" in shown(notebook)
    assert "3 epochs" in shown(notebook) and "no longer training" not in shown(notebook)
    assert "One seed with 100 labels, trained to epoch 2: its test error is" in str(notebook)


def test_without_svhn_its_figures_and_rows_say_so(smoke_book: dict):
    said = {}
    for chapter in ("06_supervised", "07_semi_supervised"):
        notebook = nbformat.read(smoke_book["build"] / "chapters" / f"{chapter}.ipynb", 4)
        said[chapter] = shown(notebook).count("not run: SVHN is not here")
    assert said == {"06_supervised": 3, "07_semi_supervised": 3}
    rows = [row for row in claims.scorecard(smoke_book["build"] / "results") if ".svhn" in row.id]
    assert {row.verdict for row in rows} == {"not run"}


def shown(notebook: nbformat.NotebookNode) -> str:
    """What the cells of a notebook put out."""
    return str([cell.get("outputs") for cell in notebook.cells])


class Targets(HTMLParser):
    """The links of a page, and what links can lead to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if (tag, name) == ("a", "href") and value]
        self.ids |= {value for name, value in attrs if name == "id" and value}


@cache
def targets(page: Path) -> Targets:
    """Those of a page, which is read once."""
    return Targets(page)


@pytest.mark.parametrize("page", ["chapters/10_conclusion", "scorecard", "appendix", "machines"])
def test_links_to_chapters_lead_to_a_section_of_them(page: str, smoke_book: dict):
    path = smoke_book["build"] / "html" / f"{page}.html"
    links = [re.fullmatch(r"([^:#]*\.html)#(.+)", link) for link in targets(path).links]
    links = {(path.parent / link[1], link[2]) for link in links if link}
    dead = [link for link in links if link[1] not in targets(link[0].resolve()).ids]
    assert dead == []
    if page != "machines":
        assert any(anchor == "deviations" or anchor.startswith("cell.") for _, anchor in links)


def test_the_conclusion_judges_what_the_other_chapters_left(smoke_book: dict, monkeypatch):
    monkeypatch.setenv("AAE_BUILD", str(smoke_book["build"]))
    found = claims.evidence(smoke_book["build"] / "results" / "smoke")
    notebook = nbformat.read(Project().chapters / "10_conclusion.ipynb", as_version=4)
    data = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    (table,) = [d["text/html"] for d in data if "#cell." in d.get("text/html", "")]
    rows = re.findall('<td id="([^"]+)">.*?</td><td>.*?</td><td>(.*?)</td>', table)
    assert [name for name, _ in rows] == [claim.id for claim in claims.load() if claim.run]
    assert {name for name, here in rows if "smoke" in here} == set(found) != set()


def test_a_second_make_book_trains_and_executes_nothing(smoke_book: dict, digits_archive: Path):
    settings = {"profile": "smoke", "seed": 0, "replicates": "", "data": digits_archive}
    done = planned(
        *("--directory", str(smoke_book["build"] / "snakemake"), "--rerun-incomplete"),
        *("--config", *(f"{key}={value}" for key, value in settings.items())),
        AAE_BUILD=str(smoke_book["build"]),
        AAE_RUNS=str(smoke_book["build"] / "runs"),
    )
    assert done.returncode == 0, done.stderr
    assert re.findall("^rule (.*):$", done.stdout + done.stderr, flags=re.MULTILINE) == ["book"]


def test_files_of_the_future_are_taken_to_be_of_now(tmp_path: Path):
    """Snakemake ends where what it made is older than what it was made of."""
    verified = tmp_path / "build" / "data-verified"
    verified.parent.mkdir()
    verified.touch()
    os.utime(verified, (time.time() + 1e6,) * 2)
    done = planned(
        *("--directory", str(tmp_path), "--config", "profile=smoke"),
        AAE_BUILD=str(tmp_path / "build"),
    )
    assert done.returncode == 0, done.stderr
    assert verified.stat().st_mtime <= time.time()


@pytest.mark.parametrize(
    "setting", ["seed=x", "seed=-1", "replicates=0", "replicates=1000000", "threads=1.5"]
)
def test_the_workflow_refuses_what_is_no_number(setting: str, tmp_path: Path):
    done = planned("--directory", str(tmp_path), "--config", "profile=smoke", setting)
    assert done.returncode
    assert f"snakemake: {setting} must be a whole number" in done.stderr
    assert "Traceback" not in done.stderr


def test_seeds_from_another_one_on(tmp_path: Path):
    done = planned(
        *("--directory", str(tmp_path), "--printshellcmds"),
        *("--config", "profile=standard", "seed=5", "replicates=2"),
        AAE_BUILD=str(tmp_path / "build"),
        AAE_RUNS=str(tmp_path / "runs"),
    )
    said = done.stdout + done.stderr
    trained = re.findall(r"^rule train_fig2_gaussian_(.*):$", said, re.MULTILINE)
    assert sorted(trained) == ["5", "6"]  # in which order, the scheduler decides
    chapters = [line for line in done.stdout.splitlines() if "aae_lib.book run " in line]
    assert len(chapters) == 10
    assert all("--seed 5 -p replicates 2" in line for line in chapters)


def test_a_job_that_fails_leaves_the_checkpoint_that_is_there(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "runs"))
    kept = store.checkpoint_path(by_name("nn_100"), 0, 5000)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weeks of work")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "data-verified").touch()
    # Of two seeds one is there; a processor is refused at once, and the job has failed.
    done = command(
        *(sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--cores", "1"),
        *("--directory", str(tmp_path), "train_nn_100_0_to_1"),
        *("--config", "profile=paper", "replicates=2", "together=1"),
        AAE_BUILD=str(tmp_path / "build"),
        AAE_DATA=str(tmp_path),
        CUDA_VISIBLE_DEVICES="",
    )
    assert done.returncode and "--allow-cpu" in done.stdout + done.stderr
    assert "a job failed; what it said stands above" in done.stderr
    assert kept.read_bytes() == b"weeks of work"


def test_who_insists_gets_the_paper_profile_without_a_gpu(tmp_path: Path):
    options = "--printshellcmds", "--config", "profile=paper", "replicates=1", "allow_cpu=1"
    done = planned("--directory", str(tmp_path), *options, AAE_BUILD=str(tmp_path / "build"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    trains, chapters = (
        [x for x in lines if f"aae_lib.{part} " in x] for part in ("cli train", "book run")
    )
    assert trains and all("--allow-cpu" in line for line in trains)
    assert len(chapters) == 10 and all("-p allow_cpu True" in line for line in chapters)


def test_the_workflow_has_one_job_for_each_run(tmp_path: Path):
    done = planned(
        *("--directory", str(tmp_path / "state"), "--config", "profile=standard"),
        AAE_BUILD=str(tmp_path / "build"),
        AAE_RUNS=str(tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr
    jobs = re.findall("^rule (.*):$", done.stdout + done.stderr, flags=re.MULTILINE)
    experiments = {name for names in CHAPTERS.values() for name in names}
    runs = [f"train_{name}_{seed}" for name in experiments for seed in range(3)]
    assert sorted(jobs) == sorted([*runs, *["chapter"] * len(CHAPTERS), "data", "book"])


def test_what_is_in_the_data_root_beside_mnist_is_trained_for_its_chapter(tmp_path: Path):
    write_tfd(tmp_path / "data")
    arguments = (
        "--directory",
        str(tmp_path / "state"),
        str(tmp_path / "build/chapters/05_likelihood.ipynb"),
    )
    places = {f"AAE_{name}": str(tmp_path / name.lower()) for name in ("DATA", "BUILD", "RUNS")}
    done = planned(*arguments, "--printshellcmds", **places)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    jobs = set(re.findall("^rule train_(.*)_0:$", text, flags=re.MULTILINE))
    assert jobs == {*CHAPTERS["05_likelihood"], *BESIDE["05_likelihood"]}
    assert len(re.findall("train table1_tfd_.* --data tfd$", text, re.M)) == 3


def test_the_workflow_takes_an_archive_as_seen_from_the_repository(tmp_path: Path):
    place = f"{os.path.relpath(tmp_path, REPOSITORY)}/o'neil's digits.npz"
    write_digits(REPOSITORY / place)
    done = planned(
        *("--directory", str(tmp_path / "state"), "--printshellcmds"),
        *("--config", "profile=smoke", f"data={place}"),
        AAE_BUILD=str(tmp_path / "build"),
        AAE_RUNS=str(tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr
    (command,) = set(re.findall("aae_lib.cli train fig2_gaussian .*", done.stdout + done.stderr))
    assert shlex.split(command)[-1] == str(REPOSITORY / place)


def test_a_chapter_names_what_it_shows_of_its_own_data():
    for chapter, names in BESIDE.items():
        text = Project().source(chapter).read_text()
        assert all(f'"{name}"' in text for name in names)
        assert {by_name(name).source for name in names} in ({"tfd"}, {"svhn"})


def test_the_conclusion_runs_after_all_other_chapters(tmp_path: Path):
    build = tmp_path / "build"
    done = planned(
        *("--directory", str(tmp_path / "state"), str(build / "chapters" / "10_conclusion.ipynb")),
        AAE_BUILD=str(build),
        AAE_RUNS=str(tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr
    jobs = re.findall("^rule chapter:.*?^ +output: (.*?)$", done.stdout + done.stderr, re.M | re.S)
    assert [Path(job.split()[0]).stem for job in jobs][-1] == "10_conclusion"
    assert sorted(Path(job.split()[0]).stem for job in jobs) == sorted(CHAPTERS)


def test_the_book_s_profile_for_a_cluster_plans_the_sweep_that_it_names(tmp_path: Path):
    page = (REPOSITORY / "book" / "how_to_rerun.md").read_text()
    profile = yaml.safe_load(re.search("```yaml\n(.*?)```", page, flags=re.DOTALL)[1])
    # Without these the same command does not go on where Snakemake itself was killed.
    assert profile["rerun-incomplete"] and profile["nolock"]
    for name in "executor", "slurm-requeue":  # of its plugin, which only `make tools` adds
        del profile[name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(profile))
    target = re.search(r"--profile cluster --dry-run (\S+)", page)[1]
    done = planned(
        *("--directory", str(tmp_path / "state"), "--profile", str(tmp_path), target),
        AAE_BUILD=str(tmp_path / "build"),
        AAE_RUNS=str(tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr
    assert f"rule {target}:" in done.stdout + done.stderr


def test_on_a_gpu_all_seeds_of_an_experiment_are_one_job(tmp_path: Path):
    done = planned(
        *("--directory", str(tmp_path / "state")),
        *("--config", "profile=standard", "together=1", "--printshellcmds"),
        AAE_BUILD=str(tmp_path / "build"),
        AAE_RUNS=str(tmp_path / "runs"),
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    jobs = re.findall("^rule train_(.*):$", text, flags=re.MULTILINE)
    assert sorted(jobs) == sorted({f"{n}_0_to_2" for ns in CHAPTERS.values() for n in ns})
    assert text.count("--seeds 0,1,2") == len(jobs)


@pytest.mark.parametrize("place", ["data=~nobody-here/x.npz", "AAE_BUILD=~nobody-here/b"])
def test_the_workflow_tells_in_one_line_that_there_is_no_such_home(place: str, tmp_path: Path):
    name, _, folder = place.partition("=")
    setting, places = ([place], {}) if name == "data" else ([], {name: folder})
    done = planned("--directory", str(tmp_path), "--config", "profile=smoke", *setting, **places)
    assert done.returncode
    assert "snakemake: ~nobody-here" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_workflow_refuses_an_unknown_profile(tmp_path: Path):
    done = planned(
        *("--directory", str(tmp_path), "--config", "profile=quik"),
    )
    assert done.returncode != 0
    assert "did you mean 'quick'" in done.stderr
    assert "Traceback" not in done.stderr


def test_papermill_alone_is_refused_an_unknown_parameter(tmp_path: Path, digits_archive: Path):
    chapter, output = f"notebooks/{NOTEBOOKS[0]}.ipynb", tmp_path / "out.ipynb"
    done = command(
        *(sys.executable, "-m", "papermill", chapter, str(output)),
        *("-p", "profile", "smoke", "-p", "data", str(digits_archive), "-p", "sede", "3"),
    )
    assert done.returncode != 0
    assert "did you mean 'seed'" in done.stderr
