"""What a chapter asks of the library: parameters refused, runs trained, results written."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest

from aae_lib import book, claims, data, engine, notebook, phases, store
from aae_lib.errors import UserError
from aae_lib.experiments import by_name
from aae_lib.notebook import Chapter, changed, choices, source

NAME = "07_semi_supervised"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory) -> Path:
    """A run store that the tests share: what is tested here is what a chapter makes of a run."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def parameters(digits_archive, tmp_path, trained_once, monkeypatch) -> dict:
    monkeypatch.setenv("AAE_BUILD", str(tmp_path))
    monkeypatch.setenv("AAE_RUNS", str(trained_once))
    return {
        "profile": "smoke",
        "seed": 0,
        "replicates": None,
        "device": "cpu",
        "data": str(digits_archive),
        "allow_cpu": False,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profle": "quick"}, "unknown parameter 'profle'; did you mean 'profile'"),
        ({"profile": "standart"}, "unknown profile 'standart'; did you mean 'standard'"),
        ({"seed": "3"}, "parameter seed must be int, not '3'"),
        ({"seed": True}, "parameter seed must be int"),
        ({"seed": -1}, "seed at least 0"),
        ({"replicates": 0}, "replicates must be from 1"),
        ({"replicates": 10**12}, "to fewer than 10,000"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        ({"profile": "paper"}, "allow_cpu"),
        ({"data": "nowhere.npz"}, "nowhere.npz"),
        ({"train": "no"}, "parameter train must be bool, not 'no'"),
        ({"first_seed_epochs": "abc"}, "first_seed_epochs must be int or float or None"),
        ({"house_number_epochs": "abc"}, "house_number_epochs must be int or float or None"),
        ({"house_number_epochs": 0}, "house_number_epochs is 0; epochs are a whole number from 1"),
        ({"house_number_epochs": 1e6}, "to fewer than 1,000,000"),
        ({"house_number_epochs": True}, "house_number_epochs must be int or float or None"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_message(parameters, changes, message) -> None:
    own = [name for name in changes if name in book.OWN_PARAMETERS]
    with pytest.raises(UserError, match=message) as caught:
        Chapter.open(NAME, "A chapter", parameters | changes, also=own)
    assert len(caught.value._render_traceback_()) == 1


@pytest.mark.parametrize("what", ["train", "finish"])
def test_a_parameter_that_is_changed_below_its_cell_is_refused(parameters, what) -> None:
    """As a reader does in a notebook that is open: the results would be said to be of what they are not of."""
    chapter = Chapter.open(NAME, "A chapter", parameters)
    parameters["own"] = 3  # a variable of the chapter's
    chapter.train("nn_100", epochs=1)
    parameters["data"] = data.load(parameters["data"]).train.images  # a name that one may well take
    with pytest.raises(
        UserError, match=r"data was '.*' when the chapter was opened.*back \(data = '"
    ):
        chapter.train("nn_100", epochs=1) if what == "train" else chapter.finish()


def test_prose_gets_no_value_where_the_book_s_packages_are_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    notebook.glue("epochs", 50)


def test_a_variant_of_an_experiment_by_name() -> None:
    variant = notebook.changed("nn_100", "mine", hidden=20)
    assert variant == notebook.changed(by_name("nn_100"), "mine", hidden=20)


def test_images_in_mnist_s_place_are_named_with_their_note(parameters, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr(notebook, "display", shown.append)
    Chapter.open(NAME, "A chapter", parameters)
    (line,) = shown
    assert "Images of digits (Synthetic blobs, for tests) in the place of MNIST's" in line.data


def test_a_parameter_that_was_deleted_is_named(parameters) -> None:
    del parameters["device"]
    with pytest.raises(UserError, match="there is no parameter 'device'"):
        Chapter.open(NAME, "A chapter", parameters)


def test_a_rerun_by_hand_may_have_variables_of_its_own(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    Chapter.open(NAME, "A chapter", parameters | {"chapter": chapter, "count": 3})


def test_a_parameter_of_one_chapter(parameters) -> None:
    own = parameters | {"label_counts": "100"}
    assert Chapter.open(NAME, "A chapter", own, also=["label_counts"])
    with pytest.raises(UserError, match="unknown parameter 'label_counts'"):
        Chapter.open(NAME, "A chapter", own)


@pytest.mark.parametrize(
    ("profile", "most", "epochs"),
    [("smoke", 4, 2), ("quick", 4, 0.1), ("standard", 4, 4), ("paper", 4, 4)],
)
def test_an_ablation_is_shorter_than_the_profile(parameters, profile, most, epochs) -> None:
    own = parameters | {"profile": profile, "allow_cpu": True}
    assert Chapter.open(NAME, "A chapter", own).short(most) == epochs


def test_choices_of_a_text_parameter() -> None:
    assert choices("label_counts", "100, all", ["100", "1000", "all"]) == ["100", "all"]
    for text in ("", " , ", "10"):
        with pytest.raises(UserError, match="label_counts"):
            choices("label_counts", text, ["100", "1000", "all"])


def test_a_data_set_beside_the_chapter_s_own(parameters, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AAE_DATA", str(tmp_path))
    chapter = Chapter.open(NAME, "A chapter", parameters)
    assert chapter.beside("tfd", "tfd") is None  # it is not public
    with pytest.raises(UserError, match="no data set 'tfb'"):
        chapter.beside("tfd", "tfb")
    other = chapter.beside("tfd", parameters["data"])
    assert other.identity == chapter.dataset.identity
    few = data.subset(other, 300, 50, 50)
    (run,) = chapter.train("nn_100", dataset=few)
    assert run.experiment.data == few.identity != chapter.dataset.identity
    chapter.record("table2.mnist-100.nn-baseline", {0: 1.0}, epochs=2, of_epochs=2)
    chapter.record("table2.mnist-1000.nn-baseline", {0: 1.0}, epochs=2, of_epochs=2, dataset=few)
    found = claims.evidence(chapter.finish())
    assert found["table2.mnist-100.nn-baseline"].data == chapter.dataset.identity
    assert found["table2.mnist-1000.nn-baseline"].data == few.identity


def test_results_say_what_was_run_and_what_came_out(parameters, tmp_path) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters | {"replicates": 2, "seed": 1})
    runs = chapter.train("nn_100")
    assert [run.seed for run in runs] == [1, 2]
    errors = {run.seed: run.history["test error"][-1] for run in runs}
    chapter.record("table2.mnist-100.nn-baseline", errors, epochs=2, of_epochs=5000)
    path = chapter.finish()
    own = chapter.dataset.identity  # no other data takes the place of MNIST's results
    assert path == tmp_path / "results" / "smoke" / f"{NAME}.{own}.seed-1.json"
    written = json.loads(path.read_text())
    assert written["claims"]["table2.mnist-100.nn-baseline"]["values"] == {
        "1": errors[1],
        "2": errors[2],
    }
    assert {run["hash"] for run in written["runs"]} == {runs[0].experiment.hash}
    assert written["data"]["name"] == "digits"
    assert len(written["source_sha256"]) == 64
    found = claims.evidence(path)["table2.mnist-100.nn-baseline"]
    assert (found.epochs, found.of_epochs) == (2, 5000)
    (row,) = [r for r in claims.scorecard(path) if r.id == "table2.mnist-100.nn-baseline"]
    assert row.verdict == "not run"  # other data: no verdict
    assert row.obtained == pytest.approx(sum(errors.values()) / 2)


def test_an_ablation_leaves_the_whole_curve_of_a_run(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    for epochs in (1, 2, 1):
        chapter.train("nn_100", epochs=epochs)
    assert chapter.series["nn_100"]["seed-0"]["epoch"] == [1, 2]


def test_a_reader_s_exercise_is_no_evidence(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    (run,) = chapter.train(changed(by_name("nn_100"), "exercise_20_labels", labels=20))
    assert run.epochs == 2
    assert (chapter.runs, chapter.series, chapter.wall_time()) == ([], {}, "0 s")


def test_the_time_of_a_run_counts_once(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    for epochs in (1, 2):
        chapter.train("nn_100", epochs=epochs)
    for run, seconds in zip(chapter.runs, (40.0, 100.0), strict=True):
        run["wall_seconds"] = seconds
    assert chapter.wall_time() == "1.7 min"
    chapter.runs[1]["wall_seconds"] = 7200.0
    assert chapter.wall_time() == "2.0 h"


def test_a_chapter_names_the_machine_that_trained_its_runs(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    chapter.train("nn_100", epochs=1)
    for run in chapter.runs:
        run["hardware"] |= {"accelerator": "A GPU"}
    assert chapter.machine() == "A GPU"


def test_a_chapter_asks_the_store_before_it_trains(parameters, monkeypatch) -> None:
    first = Chapter.open(NAME, "A chapter", parameters).train("nn_100")[0]

    def forbidden(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(engine.Program, "advance", forbidden)
    again = Chapter.open(NAME, "A chapter", parameters).train("nn_100")[0]
    assert again.history == first.history


def test_a_setting_that_was_changed_in_place_has_its_own_curve(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    (first,) = chapter.train("nn_100", epochs=2)
    changed_cell = changed(by_name("nn_100"), "nn_100", init_std=0.5)
    (run,) = chapter.train(changed_cell, epochs=1.0)
    assert run.epochs == 1
    curves = chapter.series["nn_100"]
    for title, of in (("seed-0", first), (f"seed-0-{run.experiment.hash}", run)):
        assert curves[title]["test error"] == pytest.approx(of.history["test error"], abs=1e-5)
    for epochs in ("abc", [1], 0, True):
        with pytest.raises(UserError, match=re.escape(f"epochs is {epochs!r}; epochs are a whole")):
            chapter.train("nn_100", epochs=epochs)
    with pytest.raises(UserError, match=r"seeds must be a list, \[3\]"):
        chapter.train("nn_100", seeds=3)
    with pytest.raises(UserError, match="there is no seed to train"):
        chapter.train("nn_100", seeds=[])
    with pytest.raises(UserError, match="no field 'lables'; did you mean 'labels'"):
        changed(by_name("nn_100"), "nn_20", lables=20)


def test_published_runs_take_the_place_of_training(parameters, tmp_path, monkeypatch) -> None:
    parameters["replicates"] = 2
    trained = Chapter.open(NAME, "A chapter", parameters)
    classifier = by_name("nn_100")
    runs = trained.train(classifier)
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    again = Chapter.open(NAME, "A chapter", parameters)
    shows = {"seeds": [0, 1], "dataset": trained.dataset}
    with pytest.raises(UserError, match="cannot read"):
        again.published(classifier, epochs=2, **shows)
    path = store.PUBLISHED / f"{NAME}.json"
    store.write_atomically(path, trained.finish().read_bytes())
    shown = again.published(classifier, epochs=2, **shows)
    for run, theirs in zip(shown, runs, strict=True):
        assert (run.seed, run.epochs, run.provenance) == (theirs.seed, 2, theirs.provenance)
        assert run.history["test error"] == pytest.approx(theirs.history["test error"], abs=1e-5)
    assert (again.runs, again.series) == (trained.runs, trained.series)
    for wrong in (
        {"epochs": 1},
        {"seeds": [7]},
        {"experiment": changed(classifier, "nn_100", init_std=0.5)},
    ):
        with pytest.raises(UserError, match="holds no run of nn_100"):
            again.published(**{"experiment": classifier, "epochs": 2} | shows | wrong)
    path.write_text('{"runs": [1]}')
    with pytest.raises(UserError, match="cannot read"):
        again.published(classifier, epochs=2, **shows)


def test_a_chapter_that_trains_nothing_asks_the_store_and_then_the_published_results(
    parameters, tmp_path, monkeypatch
) -> None:
    trained = Chapter.open(NAME, "A chapter", parameters)
    trained.train("nn_100", epochs=1)
    (run,) = trained.train("nn_100", epochs=2)
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    store.write_atomically(store.PUBLISHED / f"{NAME}.json", trained.finish().read_bytes())
    parameters["train"] = False
    chapter = Chapter.open(NAME, "A chapter", parameters, also=["train"])
    assert chapter.train("nn_100", epochs=2)[0].model is not None  # from the store
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "no runs"))
    for epochs in (1, 2):  # the curve of one that went on, as far as it had come
        (shown,) = chapter.train("nn_100", epochs=epochs)
        assert isinstance(shown, notebook.PublishedRun)
        expected = pytest.approx(run.history["test error"][:epochs], abs=1e-5)
        assert shown.history["test error"] == expected
    with pytest.raises(UserError, match="holds no run of nn_1000"):
        chapter.train("nn_1000", epochs=2)
    assert not (tmp_path / "no runs").exists()


def test_what_a_chapter_measured_of_a_run_is_published_with_it(
    parameters, tmp_path, monkeypatch
) -> None:
    trained = Chapter.open(NAME, "A chapter", parameters)
    early, late = (trained.train("nn_100", epochs=epochs)[0] for epochs in (1, 2))
    for run, expected in ((early, 1.0), (late, 2.0)):
        assert trained.measure(run, "epochs", lambda run: run.epochs) == expected
    assert trained.measure(late, "seed", lambda run: run.seed) == 0
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    store.write_atomically(store.PUBLISHED / f"{NAME}.json", trained.finish().read_bytes())
    monkeypatch.setenv("AAE_RUNS", str(tmp_path / "no runs"))
    again = Chapter.open(NAME, "A chapter", parameters | {"train": False}, also=["train"])
    for epochs in (1, 2):
        (shown,) = again.train("nn_100", epochs=epochs)
        assert again.measure(shown, "epochs", lambda run: run.model) == epochs
    assert again.runs == trained.runs
    with pytest.raises(UserError, match="hold no accuracy of nn_100 with seed 0; train it here"):
        again.measure(shown, "accuracy", lambda run: run.model)
    with pytest.raises(UserError, match="hold no model of nn_100; train it here"):
        shown.model.encode(None)


def test_what_is_measured_of_an_exercise_is_no_evidence_and_what_is_not_finite_is_refused(
    parameters,
) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    (exercise,) = chapter.train(changed(by_name("nn_100"), "exercise_nn", labels=20), epochs=1)
    assert chapter.measure(exercise, "a number", lambda _: 3.5) == 3.5
    assert chapter.runs == []
    (run,) = chapter.train("nn_100", epochs=1)
    chapter.measure(run, "a number", lambda _: float("inf"))
    with pytest.raises(UserError, match="a result is not finite"):
        chapter.finish()


def test_a_chapter_that_trains_nothing_trains_no_seed_that_the_store_lacks(
    parameters, tmp_path, monkeypatch
) -> None:
    parameters["replicates"] = 2
    trained = Chapter.open(NAME, "A chapter", parameters)
    trained.train("nn_100")
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    store.write_atomically(store.PUBLISHED / f"{NAME}.json", trained.finish().read_bytes())
    gone = store.run_folder(by_name("nn_100").on(trained.dataset), 1)
    shutil.rmtree(gone)
    chapter = Chapter.open(NAME, "A chapter", parameters | {"train": False}, also=["train"])
    assert all(isinstance(run, notebook.PublishedRun) for run in chapter.train("nn_100"))
    assert not gone.exists()


def test_a_seed_trained_anew_has_a_curve_beside_the_first(
    parameters, tmp_path, monkeypatch
) -> None:
    """A seed of one machine for one epoch and of another for two: no curve takes another's place.

    Nor does that of a variant under the same name.
    """
    chapter = Chapter.open(NAME, "A chapter", parameters)
    (run,) = chapter.train("nn_100", epochs=1)
    curve = {"epoch": [1, 2], "test error": [30.0, 20.0]}
    anew = run.provenance | {"started": "2026-01-01T00:00:00+00:00"}
    chapter._note(notebook.PublishedRun(run.experiment, run.seed, 2, curve, anew))
    chapter._note(notebook.PublishedRun(run.experiment, run.seed, 1, curve, anew))
    (variant,) = chapter.train(changed(by_name("nn_100"), "nn_100", init_std=0.5), epochs=1)
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    store.write_atomically(store.PUBLISHED / f"{NAME}.json", chapter.finish().read_bytes())
    again = Chapter.open(NAME, "A chapter", parameters)
    expected = {1: pytest.approx(run.history["test error"], abs=1e-5), 2: [30.0, 20.0]}
    for epochs, errors in expected.items():
        told = {"epochs": epochs, "seeds": [0], "dataset": chapter.dataset}
        (shown,) = again.published(run.experiment, **told)
        assert shown.history["test error"] == errors
    told["epochs"] = 1
    (shown,) = again.published(variant.experiment, **told)
    assert shown.history["test error"] == pytest.approx(variant.history["test error"], abs=1e-5)


def test_a_claim_of_other_seeds_than_the_chapter_s_lacks_none(parameters) -> None:
    """One seed that was trained for longer is one seed, and not the others' failure; a seed that is missing is."""
    parameters["replicates"] = 3
    chapter = Chapter.open(NAME, "A chapter", parameters)
    at = {"epochs": 500, "of_epochs": 5000}
    chapter.record("a2.mnist-100.epoch-500", {3: 2.2}, seeds=[3], **at)
    chapter.record("a2.mnist-100.epoch-50", {0: 3.4}, **at)
    found = claims.evidence(chapter.finish())
    assert found["a2.mnist-100.epoch-500"].values == {3: 2.2}
    assert found["a2.mnist-100.epoch-50"].values == {0: 3.4, 1: None, 2: None}


def test_an_unknown_claim_or_a_value_that_is_not_finite_is_not_written(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    with pytest.raises(UserError, match=r"did you mean 'table2\.mnist-100\.aae'"):
        chapter.record("table2.mnist-10.aae", {0: 1.0}, epochs=1, of_epochs=1)
    chapter.record("table2.mnist-100.aae", {0: math.nan}, epochs=1, of_epochs=1)
    with pytest.raises(UserError, match="not finite"):
        chapter.finish()


def test_the_table_against_the_paper_has_this_chapter_s_claims(parameters) -> None:
    chapter = Chapter.open(NAME, "A chapter", parameters)
    table = chapter.against_the_paper("table2.mnist-", "a2.").data
    places = ("table2.mnist-", "a2.")
    ours = [c.id for c in claims.load() if c.run and c.id.startswith(places)]
    assert re.findall('<td id="([^"]+)"', table) == ours
    assert "This run" in table and "Published" in table


def test_this_run_s_numbers_stand_under_this_run(parameters, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "nothing published")
    chapter = Chapter.open(NAME, "A chapter", parameters)
    chapter.record("table2.mnist-100.nn-baseline", {0: 21.0}, epochs=2, of_epochs=5000)
    table = chapter.against_the_paper("table2.mnist-100.nn").data
    (row,) = [line for line in table.splitlines() if "<td id=" in line]
    _, paper, here, published = row.split("<td>")
    assert "25.80" in paper and "21.00" in here and "21.00" not in published


def test_source_is_the_library_s_own_without_its_docstring() -> None:
    text = source(phases.generator_loss).data
    assert "softplus(-fake).mean()" in text
    assert '"""' not in text
    assert notebook.source(phases.step).data.count("lower(") == 5  # its definition and four phases


def test_seeds_that_began_at_other_times_have_plain_names(parameters):
    chapter = Chapter.open(NAME, "A chapter", parameters)
    (run,) = chapter.train("nn_100", epochs=1)
    later = run.provenance | {"started": "2026-01-01T00:00:00+00:00"}
    chapter._note(notebook.PublishedRun(run.experiment, 1, 1, run.history, later))
    assert list(chapter.series["nn_100"]) == ["seed-0", "seed-1"]


def test_a_published_share_of_an_epoch_has_its_curve(parameters, tmp_path: Path, monkeypatch):
    chapter = Chapter.open(NAME, "A chapter", parameters)
    chapter.train("nn_100", epochs=0.2)
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "published")
    store.write_atomically(store.PUBLISHED / f"{NAME}.json", chapter.finish().read_bytes())
    (shown,) = chapter.published(by_name("nn_100"), epochs=0.2, seeds=[0], dataset=chapter.dataset)
    assert shown.history["epoch"] == [0.2]
