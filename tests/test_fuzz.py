"""Whatever a user hands over: an answer or one clear message, nothing written outside the roots, nothing run from data.

Each test tries a few cases; AAE_FUZZ=3000 tries as many of each, the same ones every time. AAE_FUZZ_COUNTS names a
JSON file for the numbers of cases that were really tried, by test: `make faults` asks for it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from materials import DETAILS, idx
from scipy.io import savemat

from aae_lib import bench, book, claims, cli, config, data, mat, pages, store, training, verify
from aae_lib.errors import UserError
from aae_lib.experiments import CHAPTERS
from aae_lib.notebook import Chapter
from aae_lib.store import REPOSITORY

CASES = int(os.environ.get("AAE_FUZZ", 40))


def cases(share: float = 1) -> settings:
    """The settings of a test that tries a share of the cases, for one that takes longer than the others."""
    return settings(
        max_examples=max(5, round(CASES * share)),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


fuzz = cases()


# ---- The watch: what Python itself says of files that are opened and of what is run ----------------

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MOVES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.rmtree",
)
RUNS = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
)
watch = SimpleNamespace(root=None, seen=[], cases=Counter())


def _audit(event: str, arguments: tuple) -> None:
    if watch.root is None:
        return
    if event in RUNS and not (event == "subprocess.Popen" and arguments[0] == sys.executable):
        watch.seen.append((event, str(arguments)[:200]))
    elif (event == "open" and arguments[2] & WRITES) or event in MOVES:
        # shutil.rmtree names what it removes from the folder that it holds open, whose name Linux tells.
        within = arguments[1] if event in ("os.remove", "os.rmdir") else -1
        if within >= 0 and sys.platform != "linux":
            return
        folder = os.readlink(f"/proc/self/fd/{within}") if within >= 0 else ""
        for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
            if isinstance(path, (str, bytes, os.PathLike)):
                place = Path(os.path.realpath(os.path.join(folder, os.fsdecode(path))))
                if not place.is_relative_to(watch.root) and place != Path(os.devnull):
                    watch.seen.append((event, str(place)))


sys.addaudithook(_audit)


@contextmanager
def watched(root: Path) -> Iterator[None]:
    """Fail if anything is written outside `root`, or a program, a connection or an object is made from data."""
    watch.root, watch.seen = root.resolve(), []
    watch.cases[os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].removesuffix(" (call)")] += 1
    try:
        yield
    finally:
        watch.root = None
    assert watch.seen == []


@pytest.fixture(scope="module", autouse=True)
def counts() -> Iterator[None]:
    yield
    if path := os.environ.get("AAE_FUZZ_COUNTS"):
        watch.cases.pop(test_the_watch_sees_what_it_is_for.__name__, None)
        Path(path).write_text(json.dumps(watch.cases))


def answers(root: Path, function: Callable[[], Any]) -> Any:
    """What `function` returns, None if it refuses with one message; anything else is a failure."""
    with watched(root):
        try:
            return function()
        except UserError as error:
            assert str(error).strip()
            return None


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with watched(tmp_path / "in"):
        (tmp_path / "in" / "file").write_text("")
        (tmp_path / "in" / "file").read_text()
        (tmp_path / "in" / "folder" / "within").mkdir(parents=True)
        shutil.rmtree(tmp_path / "in" / "folder")
    for offence in (  # none of this is done anywhere: the watch has to see it where it is
        lambda: (tmp_path / "out").write_text(""),
        lambda: (tmp_path / "in" / "file").rename(tmp_path / "out"),
        lambda: (tmp_path / "in" / ".." / "folder").mkdir(),
        lambda: shutil.rmtree(tmp_path / "folder"),
        lambda: np.load(io.BytesIO(_pickled()), allow_pickle=True),
        lambda: os.system("true"),
    ):
        with pytest.raises(AssertionError), watched(tmp_path / "in"):
            offence()


def _pickled() -> bytes:
    """An .npy file whose object makes numpy look for a class."""
    file = io.BytesIO()
    np.save(file, np.array([Path("x")], dtype=object))
    return file.getvalue()


# ---- Files of every kind, damaged ------------------------------------------------------------------


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """`content` cut short, overwritten in places, with bytes put in or in front; or other bytes altogether."""
    place = st.integers(0, len(content))

    def overwritten(edits: list[tuple[int, bytes]]) -> bytes:
        changed = bytearray(content)
        for at, new in edits:
            changed[at : at + len(new)] = new
        return bytes(changed)

    return st.one_of(
        st.builds(lambda end: content[:end], place),
        st.builds(overwritten, st.lists(st.tuples(place, st.binary(min_size=1, max_size=8)), min_size=1, max_size=6)),
        st.builds(lambda at, new: content[:at] + new + content[at:], place, st.binary(min_size=1, max_size=64)),
        st.binary(max_size=256),
    )  # fmt: skip


def _archive(folder: Path) -> Path:
    path = folder / "faces.npz"
    images = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    labels, split = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 0, 1, 1, 2, 2], np.uint8)
    np.savez(path, images=images, labels=labels, split=split, note="<b>six</b>")
    return path


def _idx(folder: Path) -> Path:
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(10, dtype=np.uint8)))
    return folder / "t10k-labels-idx1-ubyte"


def _tfd(folder: Path) -> Path:
    (folder / "tfd").mkdir()
    path = folder / "tfd" / mat.TFD
    folds = np.repeat(np.arange(4, dtype=np.uint8), 2)[:, None].repeat(5, 1)
    images = np.zeros((8, 48, 48), np.uint8)
    savemat(path, {"images": images, "folds": folds}, do_compression=True)
    return path


def _svhn(folder: Path) -> Path:
    """Three files in the form of the official ones, which only those with the official hashes are."""
    (folder / "svhn").mkdir()
    for name, _ in mat.SVHN.values():
        content = {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.array([[1], [10], [2], [3]])}
        savemat(folder / "svhn" / name, content)
    return folder / "svhn" / name


def _checkpoint(folder: Path) -> Path:
    store.save(folder / "checkpoint-000001.safetensors", {"w": torch.arange(6.0)}, {"epoch": 1})
    return folder / "checkpoint-000001.safetensors"


def _copy_of(path: Path) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copy(path, folder / path.name))


def _notebook(folder: Path) -> Path:
    """A small executed chapter in a project of its own."""
    project = book.Project(folder)
    (folder / "notebooks").mkdir()
    project.source("01_tiny").write_text("1\n")
    cell = nbformat.v4.new_code_cell("1", execution_count=1, id="tiny")
    about = {"source_sha256": book.source_sha256(project, "01_tiny"), "parameters": {}}
    path = folder / "01_tiny.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={book.METADATA: about}), path)
    return path


def _pair(folder: Path) -> Path:
    """The notebook of a chapter's pair, in a project of its own."""
    source = book.Project(folder).source("01_tiny")
    source.parent.mkdir()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cell = nbformat.v4.new_code_cell("rate = 0.5", id="tiny", metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    jupytext.write(notebook, source, fmt="py:percent")
    return source.with_suffix(".ipynb")


def _opened(path: Path, folder: Path) -> dict[str, Any]:
    """What a chapter is asked before it runs."""
    book._refuse_torn_pair(book.Project(folder), path.stem)
    return book.checked_parameters(path, {})


def _gzipped(folder: Path) -> Path:
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.arange(10, dtype=np.uint8))))
    return path


def _unpacked(path: Path, folder: Path) -> bytes:
    """A file of MNIST; what is damaged is reported, and asked for again."""
    if found := data.present(folder, path.stem):
        return found[1]
    raise UserError("it is reported, and fetched anew")


def _faults(folder: Path) -> Path:
    row = {"fault": "a small disk", "tried": 3, "survived": 3, "lost": 0}
    (folder / "faults_details.json").write_text(json.dumps(DETAILS))
    (folder / "faults.json").write_text(json.dumps([row, row]))
    return folder / "faults.json"


def _results(folder: Path) -> Path:
    """Results of two claims and one run: a file that a change is likely to hit where it matters."""
    content = json.loads(
        (book.Project().published_results / "04_label_information.json").read_bytes()
    )
    few = dict([*content["claims"].items()][:2])
    content |= {"claims": few, "runs": content["runs"][:1], "series": {}}
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    return path


def _ledger(folder: Path) -> Path:
    """The ledger's first claims: a file that a change is likely to hit where it matters."""
    path = folder / "claims.toml"
    path.write_text(
        "[[claim]]" + "[[claim]]".join(claims.LEDGER.read_text().split("[[claim]]")[1:4])
    )
    return path


FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path, Path], Any]]] = {
    "image archive": (_archive, lambda path, _: data.load(path)),
    "idx": (_idx, lambda path, _: data.read_idx(path.read_bytes(), path.name)),
    "gzipped idx": (_gzipped, _unpacked),
    "TFD's mat": (_tfd, lambda _, root: mat.load("tfd", root)),
    "SVHN's mat": (_svhn, lambda _, root: mat.load("svhn", root)),
    "checkpoint": (_checkpoint, lambda path, _: store.load(path)),
    "ledger": (_ledger, lambda path, _: claims.load(path)),
    "results": (_results, lambda path, _: claims.evidence(path)),
    "executed chapter": (_notebook, lambda path, root: book.check_executed(book.Project(root), path)),
    "notebook": (_pair, _opened),
    "bench": (_copy_of(book.Project().published_bench / bench.FILES[0]), lambda _, root: bench.load(root)),
    "table of contents": (_copy_of(REPOSITORY / "book" / "_toc.yml"), lambda path, _: book.contents_of(path, CHAPTERS)),
    "table of faults": (_faults, lambda path, _: pages.faults(path, "")),
}  # fmt: skip
"""Kind of file -> (writes a good one in a folder, reads it: (path, folder))."""


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_read_or_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write, read = FILES[kind]

    @cases(0.05 if kind == "TFD's mat" else 1)  # which another process has to survive first
    @given(st.data())
    def tried(draw: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = write(folder)
            if kind == "bench":
                shutil.copy(book.Project().published_bench / bench.FILES[1], folder)
            path.write_bytes(draw.draw(damaged(path.read_bytes())))
            answers(folder, lambda: read(path, folder))

    tried()


@fuzz
@given(st.data())
def test_an_archive_of_any_arrays_is_read_or_refused(draw: st.DataObject) -> None:
    shape = arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
    kinds = st.one_of(
        arrays_of.integer_dtypes(), arrays_of.unsigned_integer_dtypes(), arrays_of.floating_dtypes(),
        arrays_of.boolean_dtypes(), arrays_of.unicode_string_dtypes(), arrays_of.byte_string_dtypes(),
        st.just(np.dtype(np.uint8)), arrays_of.array_dtypes(), st.just(np.dtype(object)),
    )  # fmt: skip
    name = st.one_of(
        st.sampled_from(["images", "labels", "split", "name", "note"]),
        st.text(min_size=1, max_size=8),
        st.sampled_from(["../escaped", "/tmp/escaped", "a/../../escaped"]),
    )
    members = st.dictionaries(name, st.tuples(kinds, shape), max_size=6)
    content = {
        key: draw.draw(arrays_of.arrays(dtype, size)) if dtype.kind != "O" else np.array([Path("x")], object)
        for key, (dtype, size) in draw.draw(members).items()
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "archive.npz")
        try:
            np.savez(path, **{key.replace("\0", "_"): value for key, value in content.items()})
        except (
            ValueError,
            TypeError,
            UserWarning,
        ):  # what numpy itself will not write, or not gladly
            return
        dataset = answers(Path(folder), lambda: data.load(path))
        assert dataset is None or not any("escaped" in key for key in content)


def _arrays(good: np.ndarray) -> st.SearchStrategy[np.ndarray]:
    """An array like `good`, one of its shape with other numbers, or any other that a mat file can hold."""
    shapes = arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
    kinds = st.one_of(
        arrays_of.integer_dtypes(endianness="="), arrays_of.unsigned_integer_dtypes(endianness="="),
        arrays_of.floating_dtypes(endianness="=", sizes=(32, 64)), arrays_of.complex_number_dtypes(endianness="="),
        st.just(np.dtype(np.uint8)), arrays_of.unicode_string_dtypes(endianness="="),
    )  # fmt: skip
    return st.one_of(
        st.just(good),
        st.integers(-3, 300).map(lambda number: np.full_like(good, number % 256)),
        st.tuples(kinds, shapes).flatmap(lambda form: arrays_of.arrays(*form)),
    )


def test_a_mat_file_of_any_arrays_is_read_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # These are whole files: none makes scipy crash, and what stands before a damaged one is tested with those.
    monkeypatch.setattr(mat, "_survive", lambda *_: None)
    monkeypatch.setattr(mat, "_hash", lambda *_: "0" * 64)
    monkeypatch.setattr(
        mat, "SVHN", {split: (name, "0" * 64) for split, (name, _) in mat.SVHN.items()}
    )
    folds = np.repeat(np.arange(4, dtype=np.uint8), 2)[:, None].repeat(5, 1)
    good = {
        "svhn": {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.array([[1], [10], [2], [3]])},
        "tfd": {"images": np.zeros((8, 48, 48), np.uint8), "folds": folds},
    }
    files = {"svhn": [name for name, _ in mat.SVHN.values()], "tfd": [mat.TFD]}

    @fuzz
    @given(st.sampled_from(list(good)), st.data())
    def tried(source: str, draw: st.DataObject) -> None:
        content = {k: draw.draw(_arrays(array)) for k, array in good[source].items()}
        for key in draw.draw(st.lists(st.sampled_from(list(content)), max_size=1)):
            del content[key]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / source).mkdir()
            for file in files[source]:
                savemat(folder / source / file, content)
            dataset = answers(folder, lambda: mat.load(source, folder))
            if dataset is None:
                assert not list((folder / source).glob("arrays-*"))
            else:
                assert len(dataset.train) and dataset.train.images.dtype == np.uint8

    tried()


# ---- The command line and a chapter's parameters ---------------------------------------------------

WORDS = [
    *[
        "fetch",
        "train",
        "claims",
        "doctor",
        "verify",
        "mnist",
        "svhn",
        "tfd",
        "tfd:9",
        "fig2_gaussian",
        "mnist_100",
    ],
    *[
        "--profile",
        "--seeds",
        "--device",
        "--data",
        "--quiet",
        "--json",
        "--together",
        "--no-together",
        "--allow-cpu",
    ],
    *["--help", "--version", "smoke", "quick", "standard", "paper", "cpu", "cuda", "cuda:7"],
    *["0", "0-3", "3-0", "-1", "1e9", "../x.npz", "/etc/passwd"],
]


@pytest.fixture
def idle(digits: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that costs minutes or a network is put to rest; the one folder that may be written to."""
    for name in ("AAE_DATA", "AAE_RUNS", "AAE_BUILD"):
        monkeypatch.setenv(name, str(tmp_path / name))
    load = data.load
    monkeypatch.setattr(
        config, "load", lambda source: digits if str(source) == "mnist" else load(source)
    )
    monkeypatch.setattr(training, "fit_replicates", lambda *_, **__: [])
    monkeypatch.setattr(training, "seconds_per_epoch", lambda *_: 1.0)
    monkeypatch.setattr(cli, "FETCHED", {"mnist": lambda *_: [], "svhn": lambda *_: []})
    monkeypatch.setattr(store, "commit", lambda: "0123456789ab")
    monkeypatch.setattr(verify, "problems", lambda _: [])
    return tmp_path


def test_any_command_line_is_obeyed_or_refused_in_one_line(idle: Path, capsys) -> None:
    words = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), st.text(max_size=12))

    @fuzz
    @given(st.lists(words, max_size=7))
    def tried(arguments: list[str]) -> None:
        with watched(idle):
            try:
                code = cli.main(arguments)
            except SystemExit as left:  # argparse: --help, or a usage error
                code = left.code
        told = capsys.readouterr()
        assert code in (0, 2)
        assert "Traceback" not in told.err
        if code:
            assert told.err.startswith("aae") and len(told.err.strip().splitlines()) <= 2

    tried()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["quick", "smoke", "standard", "paper", "cpu", "cuda:3", "auto", "mnist", "tfd", "../x.npz"]),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def test_any_parameters_open_a_chapter_or_are_refused(idle: Path) -> None:
    defaults = {
        "profile": "smoke",
        "seed": 0,
        "replicates": None,
        "device": "cpu",
        "data": "mnist",
        "allow_cpu": False,
    }
    assert defaults.keys() == book.PARAMETERS.keys()
    names = st.one_of(st.sampled_from(list(defaults)), st.text("abcdefgh", min_size=1, max_size=6))

    @fuzz
    @given(st.dictionaries(names, VALUES, max_size=4))
    def tried(given_values: dict[str, Any]) -> None:
        namespace = defaults | given_values
        opened = answers(idle, lambda: Chapter.open("07_semi_supervised", "A chapter", namespace))
        if opened:
            assert set(namespace) == set(defaults)  # a name that no chapter has is refused

    tried()


NOTEBOOK = book.Project().source("08_clustering").with_suffix(".ipynb")


def test_any_parameters_on_the_command_line_are_checked_before_anything_runs(
    idle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import papermill

    found = papermill.inspect_notebook(NOTEBOOK)  # once: it is the same each time
    monkeypatch.setattr(papermill, "inspect_notebook", lambda _: found)
    names = st.one_of(st.sampled_from(list(found)), st.text(max_size=8))
    texts = st.one_of(
        st.text(max_size=20),
        st.sampled_from(["None", "True", "1", "-1", "1e400", "[]", "{}", "quick", "__import__('os').system('x')"]),
    )  # fmt: skip

    @fuzz
    @given(st.lists(st.tuples(names, texts), max_size=4))
    def tried(pairs: list[tuple[str, str]]) -> None:
        checked = answers(
            idle,
            lambda: book.checked_parameters(
                NOTEBOOK, {name: book._value(text) for name, text in pairs}
            ),
        )
        assert checked is None or set(checked) == set(found)

    tried()


@fuzz
@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,20}-[0-9]{1,20}", fullmatch=True))
def test_any_text_of_seeds_is_a_list_of_whole_numbers_or_refused(text: str) -> None:
    seeds = answers(Path.cwd(), lambda: cli.parse_seeds(text))
    assert seeds is None or (seeds and all(isinstance(seed, int) and seed >= 0 for seed in seeds))


def test_results_that_hold_markup_are_shown_as_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"

    @fuzz
    @given(st.text(max_size=20), st.sampled_from(["chapter", "profile", "data.name"]))
    def tried(text: str, place: str) -> None:
        path = _results(tmp_path)
        content = json.loads(path.read_bytes())
        if place == "data.name":
            content["data"] = {
                "name": f"{text}{hostile}",
                "digest": "0123456789ab",
                "note": hostile,
            }
        else:
            content[place] = f"{text}{hostile}"
        path.write_text(json.dumps(content))
        rows = answers(tmp_path, lambda: claims.scorecard(path))
        if rows is not None:
            assert any(row.obtained is not None for row in rows)
            table = claims.html_table({"This run": rows})
            assert hostile not in table and "<script" not in table

    tried()
