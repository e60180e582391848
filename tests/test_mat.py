"""SVHN and TFD: small files in the exact form of the real ones, the whole way from a download to a trained model."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from materials import Arrays, fit, md5_of, write_svhn
from scipy.io import savemat

from aae_lib import cli, data, mat, store
from aae_lib.errors import UserError
from aae_lib.experiments import by_name

SIZES = {"train": 400, "validation": 110, "test": 120}  # more than BLOCK below
TFD_SIZE = 90


@pytest.fixture
def svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """A small SVHN in `tmp_path`, in the form of the official files; images (n, 32, 32, 3) and digits by split."""
    monkeypatch.setattr(mat, "BLOCK", 100)
    return write_svhn(tmp_path / "svhn", SIZES, monkeypatch)


@pytest.fixture
def tfd(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A small TFD in `tmp_path`: its images and folds."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (TFD_SIZE, 48, 48), dtype=np.uint8)
    folds = generator.integers(0, 4, (TFD_SIZE, 5), dtype=np.uint8)
    (tmp_path / "tfd").mkdir()
    labels = np.where(folds[:, :1] == 0, -1, 3).astype(np.int16)
    content = {"images": images, "labs_ex": labels, "labs_id": labels, "folds": folds}
    savemat(tmp_path / "tfd" / mat.TFD, content, do_compression=True)
    return images, folds


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"lock"}


# ---- Conversion ----------------------------------------------------------------------------------


def test_a_tfd_file_that_crashes_its_reader_does_so_in_another_process(
    tfd: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As scipy does of some damaged files, which it reads past their end."""
    reader = tmp_path / "python"
    reader.write_text("#!/bin/sh\nkill -SEGV $$\n")
    reader.chmod(0o755)
    monkeypatch.setattr(mat.sys, "executable", str(reader))
    with pytest.raises(UserError, match=r"TFD_48x48.mat is damaged, .* ends in SIGSEGV"):
        data.load("tfd", tmp_path)
    assert entries(tmp_path / "tfd") == {mat.TFD}


def test_svhn_is_what_its_files_hold_with_ten_for_the_digit_zero(
    svhn: Arrays, tmp_path: Path
) -> None:
    loaded = data.load("svhn", tmp_path)
    for split, (images, digits) in svhn.items():
        found = getattr(loaded, split)
        assert np.array_equal(found.images, images)
        assert np.array_equal(found.labels, digits)
        assert found.images.dtype == found.labels.dtype == np.uint8
    assert (loaded.name, loaded.classes, loaded.shape, loaded.dim) == (
        "svhn",
        10,
        (32, 32, 3),
        3072,
    )


def test_images_are_mapped_and_need_the_files_no_more(svhn: Arrays, tmp_path: Path) -> None:
    data.load("svhn", tmp_path)
    for name, _ in mat.SVHN.values():
        (tmp_path / "svhn" / name).unlink()
    (tmp_path / "svhn" / "lock").unlink()
    assert mat.is_here("svhn", tmp_path)
    loaded = data.load("svhn", tmp_path)
    assert not (tmp_path / "svhn" / "lock").exists()  # nothing is written: to be read is enough
    assert all(isinstance(getattr(loaded, split).images, np.memmap) for split in data.SPLITS)
    assert np.array_equal(loaded.train.images, svhn["train"][0])


def test_what_is_written_into_mapped_images_stays_in_this_process(
    svhn: Arrays, tmp_path: Path
) -> None:
    images = data.load("svhn", tmp_path).train.images
    images[0] = 255 - images[0]
    assert np.array_equal(data.load("svhn", tmp_path).train.images, svhn["train"][0])


def test_training_on_mapped_images_is_training_on_the_same_images_in_memory(
    svhn: Arrays, tmp_path: Path, runs: Path
) -> None:
    mapped = data.load("svhn", tmp_path)
    held = replace(
        mapped,
        **{split: data.Split(*svhn[split]) for split in data.SPLITS},
        digest="0123456789ab",  # another run in the store
    )
    e = replace(by_name("mnist_100"), hidden=8)
    one, other = (fit(e, d, seed=0, epochs=2) for d in (mapped, held))
    assert one.history == other.history
    for name, weights in one.model.state_dict().items():
        assert weights.equal(other.model.state_dict()[name])
    assert len(store.checkpoints(e.on(mapped), 0)) == len(store.checkpoints(e.on(held), 0)) == 2


@pytest.mark.parametrize("fold", [1, 2, 5])
def test_tfd_honours_its_folds(tfd, tmp_path: Path, fold: int) -> None:
    images, folds = tfd
    loaded = data.load("tfd" if fold == 1 else f"tfd:{fold}", tmp_path)
    members = {"train": [0, 1], "validation": [2], "test": [3]}
    for split, kinds in members.items():
        chosen = np.isin(folds[:, fold - 1], kinds)
        assert np.array_equal(getattr(loaded, split).images, images[chosen])
    assert loaded.note == ("" if fold == 1 else f"Fold {fold} of 5.")


def test_folds_of_tfd_are_data_sets_of_their_own(tfd, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mat, "_survive", lambda *_: None)  # a process for each reading of the file
    found = {data.load(source, tmp_path).identity for source in mat.FOLDS}
    assert len(found) == 5  # "tfd" is "tfd:1"


def test_another_file_of_tfd_is_another_data_set(tfd, tmp_path: Path) -> None:
    images, folds = tfd
    first = data.load("tfd", tmp_path)
    savemat(tmp_path / "tfd" / mat.TFD, {"images": 255 - images, "folds": folds})
    second = data.load("tfd", tmp_path)
    assert first.identity != second.identity
    assert np.array_equal(second.test.images, (255 - images)[folds[:, 0] == 3])


def test_an_experiment_that_learns_from_labels_refuses_tfd(tfd, tmp_path: Path, runs: Path) -> None:
    with pytest.raises(UserError, match="mnist_100 learns from labels; tfd has a single class"):
        fit(by_name("mnist_100"), data.load("tfd", tmp_path), seed=0, epochs=1)


# ---- What may be wrong ---------------------------------------------------------------------------


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def with_arrays(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda path: savemat(path, arrays)


def uint8(*shape: int) -> np.ndarray:
    return np.ones(shape, np.uint8)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "no MATLAB file up to version 7, or a damaged one"),
        (lambda path: path.write_bytes(b"<html>Not found</html>"), "no MATLAB file"),
        (lambda path: path.write_bytes(b""), "no MATLAB file"),
        (with_arrays(y=uint8(5, 1)), r"'X' must be uint8 \(32, 32, 3, n\); found no such key"),
        (with_arrays(X=uint8(32, 32, 3, 5)), "'y' must be integers .*; found no such key"),
        (with_arrays(X=uint8(32, 32, 5), y=uint8(5, 1)), r"'X' must be .*; found uint8 \(32, 32, 5\)"),
        (with_arrays(X=np.ones((32, 32, 3, 5)), y=uint8(5, 1)), "'X' must be uint8 .*; found float64"),
        (with_arrays(X=uint8(32, 32, 3, 5), y=uint8(4, 1)), r"'y' must be integers \(5, 1\)"),
        (with_arrays(X=uint8(32, 32, 3, 5), y=0 * uint8(5, 1)), "'y' must be from 1 to 10; found 0 … 0"),
    ],
)  # fmt: skip
def test_a_file_of_svhn_in_another_form_is_named_and_leaves_nothing(
    svhn: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage, message: str
) -> None:
    name, _ = mat.SVHN["validation"]
    path = tmp_path / "svhn" / name
    damage(path)
    monkeypatch.setitem(mat.SVHN, "validation", (name, md5_of(path)))  # its hash is right
    before = entries(path.parent)
    with pytest.raises(UserError, match=message) as caught:
        data.load("svhn", tmp_path)
    assert str(caught.value).startswith(str(path))
    assert entries(path.parent) == before


def test_a_file_of_svhn_with_another_hash_is_refused(svhn: Arrays, tmp_path: Path) -> None:
    path = tmp_path / "svhn" / mat.SVHN["test"][0]
    truncated(path)
    with pytest.raises(
        UserError, match=f"corrupt: md5 {md5_of(path)}, not {mat.SVHN['test'][1]}.*fetch svhn"
    ):
        data.load("svhn", tmp_path)
    assert not list(path.parent.glob("arrays-*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, r"'images' must be uint8 \(n, 48, 48\); found no such key"),
        ({"folds": None}, r"'folds' must be integers \(n, 5\); found no such key"),
        ({"images": uint8(5, 48)}, r"found uint8 \(5, 48\)"),
        ({"images": np.ones((5, 48, 48))}, "found float64"),
        ({"folds": uint8(5, 4)}, r"'folds' must be integers \(5, 5\)"),
        ({"folds": uint8(5, 5)}, "'folds' must be 2 in column 1; found none"),
    ],
)
def test_a_tfd_in_another_form_is_named(tmp_path: Path, changes, message: str) -> None:
    content = {"images": uint8(5, 48, 48), "folds": np.arange(25, dtype=np.uint8).reshape(5, 5) % 4}
    content = {key: array for key, array in (content | changes).items() if array is not None}
    (tmp_path / "tfd").mkdir()
    savemat(tmp_path / "tfd" / mat.TFD, content)
    with pytest.raises(UserError, match=message):
        data.load("tfd", tmp_path)
    assert entries(tmp_path / "tfd") == {mat.TFD}


def test_what_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no extra_32x32\.mat.*aae fetch svhn"):
        data.load("svhn", tmp_path)
    with pytest.raises(UserError, match="TFD is not public"):
        data.load("tfd", tmp_path)
    with pytest.raises(UserError, match="did you mean 'svhn'"):
        data.load("svnh", tmp_path)


def test_a_full_disk_leaves_no_arrays_and_the_next_call_makes_them(
    svhn: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "svhn"
    before = entries(folder)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for owner, step in (
        (np, "save"),
        (np.lib.format, "write_array_header_1_0"),
        (np, "ascontiguousarray"),
        (os, "fsync"),
        (Path, "rename"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, full)
            with pytest.raises(UserError, match=r"No space left on device.*set AAE_DATA elsewhere"):
                data.load("svhn", tmp_path)
        assert entries(folder) == before
    assert np.array_equal(data.load("svhn", tmp_path).test.images, svhn["test"][0])


def test_what_a_killed_conversion_left_is_replaced(svhn: Arrays, tmp_path: Path) -> None:
    made = tmp_path / "svhn" / f"arrays-{data.load('svhn', tmp_path).digest}"
    made.rename(made.with_name(made.name + store.TEMPORARY))
    truncated(made.with_name(made.name + store.TEMPORARY) / "train.images.npy")
    assert np.array_equal(data.load("svhn", tmp_path).train.images, svhn["train"][0])
    assert entries(made.parent) == {made.name, *(name for name, _ in mat.SVHN.values())}


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None])
def test_damaged_arrays_are_named(svhn: Arrays, tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "svhn" / f"arrays-{data.load('svhn', tmp_path).digest}"
    if content is None:  # sound in itself, but of other images
        (folder / "train.labels.npy").write_bytes((folder / "test.labels.npy").read_bytes())
    else:
        (folder / "train.images.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged .*Delete it: it is made again"):
        data.load("svhn", tmp_path)
    shutil.rmtree(folder)
    assert np.array_equal(data.load("svhn", tmp_path).train.images, svhn["train"][0])


def test_two_that_convert_at_once_make_it_once(
    svhn: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, write, gate = [], mat._write, threading.Barrier(2)

    def counted(*arguments: object) -> None:
        made.append(arguments)
        write(*arguments)

    def load(_: int) -> data.Dataset:
        gate.wait()
        return data.load("svhn", tmp_path)

    monkeypatch.setattr(mat, "_write", counted)
    with ThreadPoolExecutor(2) as pool:
        for loaded in pool.map(load, range(2)):
            assert np.array_equal(loaded.train.images, svhn["train"][0])
    assert len(made) == 1


# ---- Fetching ------------------------------------------------------------------------------------


class Server:
    """Serves `contents`; sends parts if `parts`, and breaks off each reply after `limit` bytes."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents, self.parts, self.limit = contents, True, None
        self.asked: list[tuple[str, str | None]] = []


@pytest.fixture
def server(svhn: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the small SVHN, which is not in `tmp_path` any more."""
    contents = {}
    for name, _ in mat.SVHN.values():
        contents[name] = (tmp_path / "svhn" / name).read_bytes()
        (tmp_path / "svhn" / name).unlink()
    state = Server(contents)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, asked = self.path.strip("/"), self.headers["Range"]
            state.asked.append((name, asked))
            content = state.contents[name]
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.parts else 0
            code = 416 if start >= len(content) else 206 if start else 200
            self.send_response(code)
            body = content[start:] if code != 416 else b""
            if code == 206:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.limit])

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(mat, "SVHN_URL", f"http://127.0.0.1:{http.server_port}")
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def test_svhn_is_fetched_by_the_command_line_with_a_progress_bar(
    server: Server, svhn: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setenv("AAE_DATA", str(tmp_path))
    assert not mat.is_here("svhn", tmp_path)
    assert cli.main(["fetch", "svhn"]) == 0
    out, bars = capfd.readouterr()
    for name, content in server.contents.items():
        assert (tmp_path / "svhn" / name).read_bytes() == content
        assert str(tmp_path / "svhn" / name) in out
        assert f"{name}: 100%" in bars
    assert mat.is_here("svhn", tmp_path)
    assert np.array_equal(data.load("svhn").test.images, svhn["test"][0])
    assert cli.main(["fetch", "svhn"]) == 0
    assert len(server.asked) == 3  # nothing is asked for twice


@pytest.mark.parametrize("parts", [True, False])
def test_a_download_that_broke_off_goes_on_where_it_was(
    server: Server, tmp_path: Path, parts: bool
) -> None:
    server.parts, server.limit = parts, 200_000
    with pytest.raises(UserError, match=r"extra_32x32\.mat cannot be had .*again to go on"):
        mat.fetch_svhn(tmp_path, quiet=True)
    assert entries(tmp_path / "svhn") == {"extra_32x32.mat.part"}
    done = (tmp_path / "svhn" / "extra_32x32.mat.part").stat().st_size
    assert 100_000 < done <= 200_000
    server.limit = None
    mat.fetch_svhn(tmp_path, quiet=True)
    assert server.asked[1] == ("extra_32x32.mat", f"bytes={done}-")
    for name, content in server.contents.items():
        assert (tmp_path / "svhn" / name).read_bytes() == content
    assert entries(tmp_path / "svhn") == set(server.contents)


def test_what_came_is_kept_where_something_else_is_sent(server: Server, tmp_path: Path) -> None:
    name, part = "extra_32x32.mat", tmp_path / "svhn" / "extra_32x32.mat.part"
    part.write_bytes(server.contents[name][:100_000])
    whole, server.parts = server.contents[name], False
    server.contents[name] = b"<html>Please log in</html>"
    with pytest.raises(UserError, match="something shorter than what is here"):
        mat.fetch_svhn(tmp_path, quiet=True)
    assert part.stat().st_size == 100_000
    server.contents[name], server.parts = whole, True
    mat.fetch_svhn(tmp_path, quiet=True)
    assert (tmp_path / "svhn" / name).read_bytes() == whole


def test_a_folder_that_cannot_be_searched_is_one_message(tmp_path, monkeypatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_file", refused)  # for root nothing is forbidden
    assert not mat.is_here("tfd", tmp_path)
    with pytest.raises(UserError, match=r"cannot read .*TFD_48x48\.mat: Permission denied"):
        data.load("tfd", tmp_path)
    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(UserError, match=r"cannot read .*extra_32x32\.mat: Permission denied"):
        mat.fetch_svhn(tmp_path)


def test_a_complete_svhn_is_only_verified(server: Server, tmp_path: Path, monkeypatch) -> None:
    mat.fetch_svhn(tmp_path, quiet=True)
    monkeypatch.setattr(mat, "make_writable", None)  # not asked for
    assert [path.name for path in mat.fetch_svhn(tmp_path)] == list(server.contents)
    assert len(server.asked) == 3


def test_a_download_that_was_complete_is_only_verified(server: Server, tmp_path: Path) -> None:
    name = "extra_32x32.mat"
    (tmp_path / "svhn" / f"{name}.part").write_bytes(server.contents[name])
    mat.fetch_svhn(tmp_path, quiet=True)
    assert (tmp_path / "svhn" / name).read_bytes() == server.contents[name]


def test_a_corrupt_file_is_replaced_and_another_file_refused(
    server: Server, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "svhn" / "extra_32x32.mat"
    path.write_bytes(b"old")
    mat.fetch_svhn(tmp_path, quiet=True)
    assert "is corrupt" in capsys.readouterr().err
    assert path.read_bytes() == server.contents[path.name]
    path.unlink()
    server.contents[path.name] = b"<html>Sorry</html>"
    with pytest.raises(UserError, match="sent another file"):
        mat.fetch_svhn(tmp_path, quiet=True)
    assert path.name not in entries(path.parent)
    assert f"{path.name}.part" not in entries(path.parent)


def test_no_server_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat, "SVHN_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError, match=r"cannot be had .*put extra_32x32\.mat into"):
        mat.fetch_svhn(tmp_path, quiet=True)
