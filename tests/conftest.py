"""Fixtures that several test modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aae_lib import data
from aae_lib.errors import UserError


@pytest.fixture(scope="session", autouse=True)
def _own_build_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test makes lands in the reader's build folder or run store."""
    build = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AAE_BUILD", str(build))
        patch.setenv("AAE_RUNS", str(build / "runs"))
        yield


@pytest.fixture(scope="session")
def mnist() -> data.Dataset:
    """The real MNIST, fetched if need be; without it the test is skipped, with the reason."""
    try:
        return data.load("mnist")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def digits_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image archive of easy 28 x 28 'digits' (1600 / 200 / 200), each a constellation of blobs.

    Each of the ten classes has its own four bright spots, which every image moves by up to a pixel
    and dims a little: a linear model tells them apart after a few steps.
    """
    generator = np.random.default_rng(0)
    classes, spots = 10, 4
    labels = generator.permutation(np.arange(2000) % classes)
    centres = generator.uniform(5, 23, (classes, spots, 2))[labels]
    centres += generator.uniform(-1, 1, (2000, 1, 2))
    pixel = np.arange(28)
    offsets = pixel - centres[..., None]  # (image, spot, axis, pixel)
    rows, columns = np.exp(-(offsets**2) / 4).transpose(2, 0, 1, 3)
    light = np.einsum("isy,isx->iyx", rows, columns).clip(0, 1)
    light *= generator.uniform(0.7, 1, (2000, 1, 1))
    path = tmp_path_factory.mktemp("archives") / "digits.npz"
    np.savez(
        path,
        images=(255 * light).astype(np.uint8),
        labels=labels.astype(np.uint8),
        split=np.repeat(np.arange(3, dtype=np.uint8), (1600, 200, 200)),
        note="Synthetic blobs, for tests.",
    )
    return path
