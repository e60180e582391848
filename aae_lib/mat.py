"""SVHN and the Toronto Face Dataset: their authors' MATLAB files, converted once to arrays mapped into memory.

    <data root>/svhn/extra_32x32.mat …                    as downloaded
    <data root>/svhn/arrays-<digest>/train.images.npy …   made from them, all complete or none there

A mapped array is read from the disk where it is looked at: half a million images cost the memory of one mini-batch.
Nothing here unpickles or needs torch.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from aae_lib.data import SPLITS, TIMEOUTS, Dataset, Split, digest_of, make_writable
from aae_lib.errors import UserError
from aae_lib.store import TEMPORARY, locked

SVHN_URL = "http://ufldl.stanford.edu/housenumbers"
SVHN = {
    "train": ("extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7"),
    "validation": ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
    "test": ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
}
"""Split of ours -> the official file that it is, and the file's md5.

"About 530K training points" (Paper: A.2.2) are the 531 131 images of the extra set; settings are chosen on the official
training set, which is free then.
"""
TFD = "TFD_48x48.mat"
SIZES = {
    "mnist": (28 * 28, 50_000),
    "svhn": (32 * 32 * 3, 531_131),
    "tfd": (48 * 48, 101_000),
}  # pixels, and training images (TFD: about)
FOLDS = {"tfd": 0, **{f"tfd:{fold + 1}": fold for fold in range(5)}}  # a column of `folds`
SOURCES = ("svhn", *FOLDS)
"""What `data.load` knows by name, beside MNIST; "tfd" is the first fold."""
BLOCK = 4096  # images that are copied at once
REMEDY = "set AAE_DATA elsewhere"


def load(source: str, root: Path) -> Dataset:
    """SVHN, or one fold of the Toronto Face Dataset, below the data root `root`. The images are mapped, not read.

    The first call converts the files, which takes as much memory as the largest of them, unpacked (SVHN: 1.6 GB).
    Raises UserError where one is missing, damaged or of another form, and where the disk refuses.
    """
    with _searchable():
        return _svhn(root / "svhn") if source == "svhn" else _tfd(root / "tfd", source)


def is_here(source: str, root: Path) -> bool:
    """Whether `source` can be loaded from `root`, as far as names of files tell."""
    try:
        if source != "svhn":
            return (root / "tfd" / TFD).is_file()
        return _arrays(root / "svhn", svhn_digest()).exists() or not _missing(root / "svhn")
    except PermissionError:
        return False


@contextmanager
def _searchable() -> Iterator[None]:
    """A folder that may not be looked into is a user's mistake."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}.") from None


# ---- SVHN ----------------------------------------------------------------------------------------


def fetch_svhn(root: Path, quiet: bool = False) -> list[Path]:
    """SVHN's three files of cropped digits, each verified by its md5; what is missing or corrupt is fetched.

    A download that broke off goes on where it was. Raises UserError if a file cannot be had.
    """
    folder = root / "svhn"
    files = {folder / name: md5 for name, md5 in SVHN.values()}
    with _searchable():
        complete = all(_intact(path, md5) for path, md5 in files.items())
    if not complete:
        make_writable(folder)
        with locked(folder, REMEDY):
            for path, md5 in files.items():
                if not _intact(path, md5):  # no other process fetched it while this one waited
                    _fetch(path, md5, quiet)
    return list(files)


def _intact(path: Path, md5: str) -> bool:
    return path.exists() and _hash(path, "md5") == md5


def _fetch(path: Path, md5: str, quiet: bool) -> None:
    if path.exists():
        print(f"{path} is corrupt: it has not the md5 {md5}; fetching replaces it", file=sys.stderr)
    url, part = f"{SVHN_URL}/{path.name}", path.with_name(path.name + TEMPORARY)
    _download(url, part, quiet)
    if (found := _hash(part, "md5")) != md5:
        part.unlink()
        raise UserError(
            f"{url} sent another file: md5 {found}, not {md5}. Run 'aae fetch svhn' again."
        )
    part.replace(path)


def _download(url: str, part: Path, quiet: bool) -> None:
    """Append to `part` what is missing of `url`. Raises UserError, and keeps what came, if not all of it comes."""
    import requests
    from tqdm import tqdm

    done = part.stat().st_size if part.exists() else 0
    ask = {"Accept-Encoding": "identity"}  # bytes as they are: a range counts those
    if done:
        ask["Range"] = f"bytes={done}-"
    try:
        with requests.get(url, headers=ask, stream=True, timeout=TIMEOUTS) as reply:
            if reply.status_code == 416:  # nothing after these bytes
                return
            reply.raise_for_status()
            length = reply.headers.get("content-length")
            goes_on = reply.headers.get("content-range", "").startswith(f"bytes {done}-")
            if not goes_on:  # a server that does not send parts begins again
                if length is not None and int(length) < done:
                    raise requests.ConnectionError("something shorter than what is here was sent")
                done = 0
            size = None if length is None else done + int(length)
            bar = {"total": size, "initial": done, "desc": part.stem, "unit": "B"}
            with (
                part.open("ab" if done else "wb") as file,
                tqdm(**bar, unit_scale=True, disable=quiet) as progress,
            ):
                for block in reply.iter_content(1 << 16):
                    file.write(block)
                    progress.update(len(block))
            if size is not None and part.stat().st_size < size:
                raise requests.ConnectionError(f"{part.stat().st_size} of {size} bytes came")
    except requests.RequestException as error:
        raise UserError(
            f"{url} cannot be had ({type(error).__name__}: {error}). Run 'aae fetch svhn' again to go on, "
            f"or put {part.stem} into {part.parent}."
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot write {part}: {error.strerror}. Free some space or {REMEDY}."
        ) from None


def _svhn(folder: Path) -> Dataset:
    if not _arrays(folder, svhn_digest()).exists() and (missing := _missing(folder)):
        raise UserError(
            f"SVHN is not complete in {folder}: no {', '.join(missing)}. Run 'aae fetch svhn' (1.6 GB)."
        )

    def splits() -> Iterator[tuple[str, Split]]:
        for split, (name, md5) in SVHN.items():
            if (found := _hash(folder / name, "md5")) != md5:
                raise UserError(
                    f"{folder / name} is corrupt: md5 {found}, not {md5}. Run 'aae fetch svhn' to replace it."
                )
            yield split, _svhn_split(folder / name)

    arrays = _converted(folder, svhn_digest(), splits)
    return Dataset("svhn", svhn_digest(), "", **arrays, classes=10)


def svhn_digest() -> str:
    """The digest of the official SVHN."""
    return digest_of(" ".join(md5 for _, md5 in SVHN.values()))


def _missing(folder: Path) -> list[str]:
    return [name for name, _ in SVHN.values() if not (folder / name).is_file()]


def _svhn_split(path: Path) -> Split:
    arrays = _read(path, {"X": "uint8 (32, 32, 3, n)", "y": "integers (n, 1)"})
    images, labels = arrays["X"], arrays["y"].ravel()
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise _other(path, "X", "uint8 (32, 32, 3, n)", images)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[3:]:
        raise _other(path, "y", f"integers ({images.shape[3]}, 1)", arrays["y"])
    if labels.min() < 1 or labels.max() > 10:
        raise _other(path, "y", "from 1 to 10", f"{labels.min()} … {labels.max()}")
    return Split(np.moveaxis(images, 3, 0), (labels % 10).astype(np.uint8))  # 10 labels the digit 0


# ---- The Toronto Face Dataset --------------------------------------------------------------------


def _tfd(folder: Path, source: str) -> Dataset:
    path, fold = folder / TFD, FOLDS[source]
    if not path.is_file():
        raise UserError(
            f"TFD is not public, and there is no {path}. Whoever has the file from its authors puts it there."
        )
    digest = digest_of(f"{_hash(path, 'sha256')} fold {fold}")

    def splits() -> Iterator[tuple[str, Split]]:
        form = {"images": "uint8 (n, 48, 48)", "folds": "integers (n, 5)"}
        _survive(path, form)
        arrays = _read(path, form)
        images, folds = arrays["images"], arrays["folds"]
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (48, 48):
            raise _other(path, "images", form["images"], images)
        if folds.dtype.kind not in "iu" or folds.shape != (len(images), 5):
            raise _other(path, "folds", f"integers ({len(images)}, 5)", folds)
        # 1 is for training, 2 for validation, 3 for test; 0, an image of unknown expression, for training too.
        for split, members in zip(SPLITS, ((0, 1), (2,), (3,)), strict=True):
            rows = np.flatnonzero(np.isin(folds[:, fold], members))
            if not len(rows):
                raise _other(path, "folds", f"{members[-1]} in column {fold + 1}", "none")
            yield split, Split(images[rows], np.zeros(len(rows), np.uint8))

    name, note = ("tfd", "") if fold == 0 else (source, f"Fold {fold + 1} of 5.")
    # Nothing in the paper uses the labels of TFD, which most of its images lack: one class.
    return Dataset(name, digest, note, **_converted(folder, digest, splits), classes=1)


# ---- Conversion ----------------------------------------------------------------------------------


def _converted(
    folder: Path, digest: str, splits: Callable[[], Iterator[tuple[str, Split]]]
) -> dict[str, Split]:
    """The arrays `digest` of `folder`, images mapped; made from `splits()` where they are not there."""
    arrays = _arrays(folder, digest)
    if not arrays.exists():
        with locked(folder, REMEDY):
            if not arrays.exists():  # no other process made them while this one waited
                _write(arrays, splits())
    try:
        found = {
            # "c" is private to this process: torch warns of arrays that cannot be written to
            split: Split(
                np.load(arrays / f"{split}.images.npy", mmap_mode="c"),
                np.load(arrays / f"{split}.labels.npy"),
            )
            for split in SPLITS
        }
        if any(len(split.images) != len(split.labels) for split in found.values()):
            raise ValueError("images and labels differ in number")
        return found
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{arrays} is damaged ({error}). Delete it: it is made again.") from None


def _arrays(folder: Path, digest: str) -> Path:
    return folder / f"arrays-{digest}"


def _write(arrays: Path, splits: Iterator[tuple[str, Split]]) -> None:
    """Write all `splits` beside `arrays`, then move them there at once."""
    from tqdm import tqdm

    part = arrays.with_name(arrays.name + TEMPORARY)
    try:
        shutil.rmtree(part, ignore_errors=True)  # what a killed process left
        part.mkdir()
        for split, content in splits:
            with (part / f"{split}.labels.npy").open("wb") as file:
                np.save(file, content.labels)
                _to_disk(file)
            with (
                (part / f"{split}.images.npy").open("wb") as file,
                tqdm(total=len(content), desc=f"converting {split}", unit="image") as progress,
            ):
                # Not by a mapped file: a full disk would kill the process there.
                header = {"descr": "|u1", "fortran_order": False, "shape": content.images.shape}
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, len(content), BLOCK):
                    block = np.ascontiguousarray(content.images[start : start + BLOCK])
                    file.write(block.data)
                    progress.update(len(block))
                _to_disk(file)
            del content  # before the next file is read
        part.rename(arrays)
    except OSError as error:
        raise UserError(
            f"cannot write {part}: {error.strerror or error}. Free some space or {REMEDY}."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _read(path: Path, form: dict[str, str]) -> dict[str, np.ndarray]:
    """The arrays of a MATLAB file that `form` describes. Raises UserError if it is none or lacks one."""
    from scipy.io import loadmat

    print(f"reading {path}", file=sys.stderr)
    try:
        arrays = loadmat(path, variable_names=list(form))
    except MemoryError:
        raise UserError(f"{path} does not fit into memory, which it has to once.") from None
    except Exception as error:  # a damaged file makes scipy raise a dozen kinds
        raise UserError(
            f"{path} is no MATLAB file up to version 7, or a damaged one ({type(error).__name__}: {error})."
        ) from None
    for key, expected in form.items():
        if key not in arrays:
            raise _other(path, key, expected, "no such key")
    return {key: arrays[key] for key in form}


def _survive(path: Path, form: dict[str, str]) -> None:
    """Read a file that no published hash vouches for in another process first, which scipy may crash if it is damaged.

    Raises UserError if it does; any other fault of the file is left to `_read`.
    """
    code = "import sys; from scipy.io import loadmat; loadmat(sys.argv[1], variable_names=sys.argv[2:])"
    done = subprocess.run([sys.executable, "-c", code, path, *form], capture_output=True)
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
        raise UserError(
            f"{path} is damaged, or does not fit into memory: reading it ends in {how}."
        )


def _other(path: Path, key: str, expected: str, found: np.ndarray | str) -> UserError:
    text = found if isinstance(found, str) else f"{found.dtype} {found.shape}"
    return UserError(f"{path}: '{key}' must be {expected}; found {text}.")


def _hash(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None
