"""Sources -> splits: what they hold and refuse; preparation is a function of its keywords."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loading import loaded
from PIL import Image

from nextpixel.data.image_files import read_image
from nextpixel.data.load import (
    DataError,
    ImageData,
    Preparation,
    Source,
    Split,
    crop_offsets,
    describe,
    histogram_bits_per_dim,
    load_data,
)
from nextpixel.data.pixels import binarise, resize
from nextpixel.errors import UsageError
from nextpixel.settings.preparation import automatic_size

RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (30, 6, 7, 3), dtype=np.uint8)
WHOLE: dict[str, Any] = {"validation": 0, "test": 0}


def saved(path: Path, x: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, x)
    return path


def pictured(path: Path, x: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(x).save(path, **options)
    return path


def photo(height: int = 6, width: int = 7, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def all_images(data: ImageData) -> list[np.ndarray]:
    return [
        np.asarray(split.images[k])
        for split in (data.train, data.valid, data.test)
        for k in range(len(split))
    ]


def assert_same(one: ImageData, other: ImageData) -> None:
    assert (one.levels, one.channels, one.shape, one.classes) == (
        other.levels,
        other.channels,
        other.shape,
        other.classes,
    )
    for name in ("train", "valid", "test"):
        first, second = getattr(one, name), getattr(other, name)
        assert len(first) == len(second) and first.names == second.names
        for k in range(len(first)):
            np.testing.assert_array_equal(first.images[k], second.images[k])
        np.testing.assert_array_equal(first.labels, second.labels)


# --- digits ---


def test_digits() -> None:
    data = load_data("digits")
    assert (data.levels, data.channels, data.shape, data.classes) == (
        17,
        1,
        (8, 8),
        tuple("0123456789"),
    )
    assert [len(split) for split in (data.train, data.valid, data.test)] == [1439, 179, 179]
    assert (
        np.asarray(data.train.images).dtype == np.uint8
        and np.asarray(data.train.images).max() == 16
    )
    assert data.train.labels is not None and data.train.labels.dtype == np.int64
    # Old runs on scikit-learn's copy were trained on these images in these splits.
    content = hashlib.sha256()
    for split in (data.train, data.valid, data.test):
        for array in (split.images, split.labels):
            content.update(np.asarray(array).tobytes())
    assert content.hexdigest() == "040c8fe2e69a22a88723ea3aa9880fee9702dea019fd083c287aef17d4deb5d4"
    assert histogram_bits_per_dim(data) == pytest.approx(2.4398, abs=1e-4)
    assert load_data("digits", Preparation(ignore_labels=True)).classes == ()
    small = load_data("digits", Preparation(size=4, levels=4))
    assert (small.shape, small.levels, small.preparation.from_levels) == ((4, 4), 4, 17)


def test_no_torch_and_no_extras_are_imported() -> None:
    code = (
        "import nextpixel.data.load, sys; print([m for m in ('torch', 'sklearn', 'datasets',"
        " 'scipy') if m in sys.modules])"
    )
    root = str(Path(__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert result.stdout.strip() == "[]"


# --- splits ---


@given(st.integers(1, 300), st.floats(0, 0.45), st.floats(0, 0.45), st.integers(0, 2**63 - 1))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_splits_share_out_the_images(
    tmp_path: Path, count: int, validation: float, test: float, seed: int
) -> None:
    path = saved(tmp_path / "x.npy", np.arange(count, dtype=np.int32).reshape(-1, 1, 1))
    options: dict[str, Any] = {"split_seed": seed, "levels": 1000, "split_by": "index"}
    data = load_data(path, Preparation(validation=validation, test=test, **options))
    parts = [
        np.asarray(split.images).ravel().tolist() for split in (data.train, data.valid, data.test)
    ]
    assert sorted(sum(parts, [])) == list(range(count))
    assert [len(part) for part in parts[1:]] == [int(count * validation), int(count * test)]
    assert all(part == sorted(part) for part in parts)
    again = load_data(path, Preparation(validation=0, test=test, **options))
    np.testing.assert_array_equal(again.test.images, data.test.images)


def test_the_split_never_changes(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", np.arange(20, dtype=np.int32).reshape(-1, 1, 1))
    for by, expected in (
        ("index", [[6, 9, 11, 13], [4, 8, 15, 19]]),
        ("content", [[8, 11, 15, 18], [4, 7, 10, 17]]),
    ):
        prepared = [Preparation(test=4, validation=3, split_seed=s, split_by=by) for s in (0, 1)]  # type: ignore[arg-type]
        tests = [np.asarray(load_data(path, how).test.images).ravel() for how in prepared]
        assert [test.tolist() for test in tests] == expected


def test_numbers_of_images_and_given_splits(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(
        path,
        train_images=PHOTOS,
        val_images=PHOTOS[:4],
        train_labels=np.arange(30) % 3,
        val_labels=[[0], [1], [2], [1]],
    )
    data = load_data(path, Preparation(test=7))
    assert [len(split) for split in (data.train, data.valid, data.test)] == [23, 4, 7]
    assert data.classes == ("0", "1", "2") and data.valid.labels is not None
    assert data.valid.labels.tolist() == [0, 1, 2, 1]
    np.testing.assert_array_equal(data.valid.images, np.moveaxis(PHOTOS[:4], 3, 1))


# --- arrays ---


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((9, 6, 7), None, (1, 6, 7)),
        ((9, 6, 7, 3), None, (3, 6, 7)),
        ((9, 3, 6, 7), None, (3, 6, 7)),
        ((9, 6, 7, 1), None, (1, 6, 7)),
        ((9, 6, 7, 5), None, (5, 6, 7)),
        ((9, 5, 6, 7), None, (5, 6, 7)),
        ((9, 8, 8, 13), 13, (13, 8, 8)),
        ((9, 13, 8, 8), 13, (13, 8, 8)),
        ((9, 4, 6, 4), 4, (4, 4, 6)),
        ((9, 2, 2, 5), 5, (5, 2, 2)),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_layouts(
    tmp_path: Path,
    shape: tuple[int, ...],
    channels: int | None,
    expected: tuple[int, ...],
    suffix: str,
) -> None:
    x = RNG.integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        np.save(path, x)
    else:
        np.savez_compressed(path, pictures=x)
    data = load_data(path, Preparation(channels=channels, **WHOLE))
    assert (data.channels, data.shape) == (expected[0], expected[1:])
    images = np.asarray(data.train.images)
    assert images.shape == (9, *expected) and images.flags.c_contiguous
    reordered = (
        x.reshape(9, *expected) if shape[1:] == expected or x.ndim == 3 else np.moveaxis(x, 3, 1)
    )
    np.testing.assert_array_equal(images, reordered)


def values(*numbers: int, dtype: type = np.uint8) -> np.ndarray:
    return np.resize(np.array(numbers, dtype), (4, 2, 3))


@pytest.mark.parametrize(
    ("x", "options", "levels", "result"),
    [
        (values(0, 1), {}, 2, [0, 1]),
        (values(0, 1).astype(bool), {}, 2, [0, 1]),
        (values(0, 16), {}, 2, [0, 1]),
        (values(0, 16, 7), {}, 17, [0, 16, 7]),
        (values(0, 32, 7), {}, 256, [0, 32, 7]),
        (values(0, 16, 7), {"from_levels": 256}, 256, [0, 16, 7]),
        (values(0, 16), {"levels": 17}, 17, [0, 16]),
        (values(0, 255, 31, 32), {"levels": 8}, 8, [0, 7, 0, 1]),
        (values(0, 16, 8), {"levels": 4, "from_levels": 17}, 4, [0, 3, 1]),
        (values(0, 255), {"levels": 300}, 300, [0, 255]),
        (values(0, 511, 7, dtype=np.int64), {}, 512, [0, 511, 7]),
        (values(0, 500, 7, dtype=np.int64), {"levels": 512}, 512, [0, 500, 7]),
        (values(0, 65535, 256, dtype=np.uint16), {}, 65536, [0, 65535, 256]),
        (values(0, 65535, 256, dtype=np.uint16), {"levels": 256}, 256, [0, 255, 1]),
        (
            values(0, 4095, 16, dtype=np.uint16),
            {"levels": 256, "from_levels": 4096},
            256,
            [0, 255, 1],
        ),
        (values(0, 127, 128), {"binarise": "threshold"}, 2, [0, 0, 1]),
        (values(0, 255), {"binarise": "draw"}, 2, [0, 1]),
        (values(0, 1), {"binarise": "draw", "levels": 2}, 2, [0, 1]),
    ],
)
@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_levels(
    tmp_path: Path,
    x: np.ndarray,
    options: dict[str, Any],
    levels: int,
    result: list[int],
    memory_bytes: int,
) -> None:
    path = saved(tmp_path / "x.npy", x)
    data = loaded(path, **options, **WHOLE, memory_bytes=memory_bytes)
    assert data.levels == levels
    images = np.asarray(data.train.images)
    assert images.dtype == (np.uint8 if levels <= 256 else np.uint16)
    assert images.ravel()[: len(result)].tolist() == result
    assert_same(load_data(data.source, data.preparation), data)


@given(
    st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.int64, np.uint32]),
    st.integers(2, 400),
    st.integers(1, 5),
    st.data(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_codes_of_any_type_come_through_unchanged(
    tmp_path: Path, dtype: type, levels: int, channels: int, data: st.DataObject
) -> None:
    highest = min(levels - 1, int(np.iinfo(dtype).max))
    codes = data.draw(st.lists(st.integers(0, highest), min_size=1, max_size=50))
    x = np.resize(np.array(codes, dtype), (3, 7, 6, channels))
    # Codes of a single pixel that is repeated may look one-hot.
    preparation = Preparation(levels=levels, one_hot=False, **WHOLE)
    found = load_data(saved(tmp_path / "codes.npy", x), preparation)
    assert found.levels == levels and found.channels == channels
    np.testing.assert_array_equal(found.train.images, np.moveaxis(x, 3, 1))


def test_labels_of_arrays(tmp_path: Path) -> None:
    x, labels = PHOTOS[:5], np.array([2, 0, 1, 1, 0])
    for images_name, labels_name in (("x.npy", "x_labels.npy"), ("a/images.npy", "a/labels.npy")):
        path = saved(tmp_path / images_name, x)
        saved(tmp_path / labels_name, labels)
        data = load_data(path, Preparation(**WHOLE))
        assert data.classes == ("0", "1", "2") and data.train.labels is not None
        assert data.train.labels.tolist() == labels.tolist()
        assert load_data(path, Preparation(ignore_labels=True)).train.labels is None
    other = saved(tmp_path / "other.npy", labels[::-1].astype(np.uint8))
    data = load_data(Source(path, labels=other), Preparation(**WHOLE))
    assert data.train.labels is not None and data.train.labels.tolist() == [0, 1, 1, 0, 2]
    assert_same(load_data(data.source, data.preparation), data)
    np.savez(
        tmp_path / "x.npz",
        train_images=x,
        train_labels=labels,
        label_names=["cat", "dog", "eel", "fox"],
    )
    assert load_data(tmp_path / "x.npz").classes == ("cat", "dog", "eel")


def test_arrays_are_reduced(tmp_path: Path) -> None:
    x = RNG.integers(0, 4096, (6, 9, 12, 5), dtype=np.uint16)
    for memory_bytes in (0, 2**30):
        data = load_data(
            saved(tmp_path / "x.npy", x),
            Preparation(size=3, from_levels=4096, **WHOLE),
            memory_bytes=memory_bytes,
            cache_folder=tmp_path / "cache",
        )
        assert data.shape == (3, 3) and data.channels == 5
        expected = resize(np.moveaxis(x[4], 2, 0), 3)
        np.testing.assert_array_equal(data.train.images[4], expected)


# --- folders ---


def messy(folder: Path) -> Path:
    """Make a folder of holiday photographs as people have them."""
    pictured(folder / "IMG_1.JPG", photo(40, 60), quality=95)
    pictured(folder / "IMG_2.jpeg", photo(60, 40, seed=2))
    exif = Image.Exif()
    exif[0x0112] = 6
    pictured(folder / "upright é.jpg", photo(33, 50, seed=3), exif=exif)
    pictured(folder / "screen shot.png", photo(48, 48, 4, seed=4))
    pictured(folder / "scan.tiff", photo(64, 32, 1, seed=5))
    pictured(folder / "deep.png", photo(32, 32, 1, seed=6).astype(np.uint16) * 257)
    pictured(folder / "old.bmp", photo(32, 45, seed=7))
    pictured(folder / "web.webp", photo(35, 36, seed=8))
    pictured(folder / "plain.ppm", photo(35, 36, seed=9))
    Image.fromarray(photo(50, 50, seed=10)).convert("CMYK").save(folder / "print.jpg")
    Image.fromarray(photo(50, 50, seed=11)).convert("P").save(folder / "palette.png")
    frames = [Image.fromarray(photo(40, 40, 1, seed=k)) for k in (12, 13)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    for name in (
        "notes.txt",
        "index.json",
        "Thumbs.db",
        ".hidden.jpg",
        "._IMG_1.JPG",
        "film.mov",
        "no suffix",
    ):
        (folder / name).write_bytes(b"not a picture")
    for name in ("__MACOSX", ".thumbnails", "@eaDir"):
        (folder / name).mkdir()
        (folder / name / "IMG_1.jpg").write_bytes(b"not a picture")
    return folder


def test_a_messy_folder(tmp_path: Path) -> None:
    data = load_data(messy(tmp_path / "holidays"), Preparation(size=32, **WHOLE))
    assert (data.channels, data.shape, data.levels, data.classes) == (3, (32, 32), 256, ())
    assert data.train.names == tuple(sorted(data.train.names)) and len(data.train) == 12
    assert {"IMG_1.JPG", "upright é.jpg", "moving.gif"} <= set(data.train.names)
    for name, x in zip(data.train.names, data.train.images, strict=True):
        stored = read_image(tmp_path / "holidays" / name, channels=3)
        stored = stored >> 8 if name == "deep.png" else stored
        expected = resize(stored, 32)
        np.testing.assert_array_equal(x, expected)
    wide = load_data(
        tmp_path / "holidays", Preparation(size=(20, 30), channels=1, levels=8, **WHOLE)
    )
    assert (wide.channels, wide.shape, wide.levels) == (1, (20, 30), 8)
    assert_same(load_data(wide.source, wide.preparation), wide)


def test_pictures_of_all_sizes_for_crops(tmp_path: Path) -> None:
    folder = messy(tmp_path / "holidays")
    data = load_data(folder, Preparation(ragged=True, channels=3, **WHOLE))
    assert data.shape is None and isinstance(data.train.images, list)
    place = data.train.names.index("upright é.jpg")
    assert data.train.images[place].shape == (3, 50, 33)
    assert data.train.sizes[place].tolist() == [50, 33]
    batch = data.train.batch(
        [place, 0, place], crop=32, offsets=np.array([[18, 1], [0, 0], [0, 0]])
    )
    np.testing.assert_array_equal(batch[0], data.train.images[place][:, 18:50, 1:33])
    np.testing.assert_array_equal(batch[1], data.train.images[0][:, :32, :32])
    mapped = load_data(
        folder,
        Preparation(ragged=True, channels=3, **WHOLE),
        memory_bytes=0,
        cache_folder=tmp_path / "cache",
    )
    assert not isinstance(mapped.train.images, list)
    assert_same(mapped, data)
    assert_same(load_data(data.source, data.preparation), data)
    with pytest.raises(DataError, match="different shapes .* cannot be one batch"):
        data.train.batch([0, 1])


@pytest.mark.parametrize(
    ("arrays", "channels"),
    [
        ([photo(channels=1), photo(channels=1, seed=1)], 1),
        ([photo(channels=1), photo(channels=3)], 3),
        ([photo(channels=4), photo(channels=4, seed=1)], 4),
        ([photo(channels=4), photo(channels=3)], 3),
        ([np.dstack([photo()[..., :1]] * 3)] * 2, 1),
        ([np.dstack([photo(), np.full((6, 7), 255, np.uint8)])] * 2, 3),
        ([np.dstack([photo()[..., :1]] * 3 + [np.full((6, 7), 255, np.uint8)])] * 2, 1),
    ],
    ids=[
        "grey",
        "grey and colour",
        "transparent",
        "some transparent",
        "grey as RGB",
        "opaque RGBA",
        "opaque grey RGBA",
    ],
)
def test_channels_are_found(tmp_path: Path, arrays: list[np.ndarray], channels: int) -> None:
    for k, x in enumerate(arrays):
        pictured(tmp_path / f"{k}.png", x)
    assert load_data(tmp_path).channels == channels
    for wanted in (1, 3, 4):
        data = load_data(tmp_path, Preparation(channels=wanted, **WHOLE))
        assert data.channels == wanted
        np.testing.assert_array_equal(
            data.train.images[0], read_image(tmp_path / "0.png", channels=wanted)
        )


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    for k, name in enumerate(
        ["cat/1.png", "cat/more/2.png", "dog/1.png", ".git/x.png", "empty/readme.txt"]
    ):
        if name.endswith("png"):
            pictured(tmp_path / name, photo(seed=k))
        else:
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).touch()
    data = load_data(tmp_path, Preparation(**WHOLE))
    assert data.classes == ("cat", "dog") and data.train.labels is not None
    assert dict(zip(data.train.names, data.train.labels.tolist(), strict=True)) == {
        "cat/1.png": 0,
        "cat/more/2.png": 0,
        "dog/1.png": 1,
    }
    assert load_data(tmp_path, Preparation(ignore_labels=True)).classes == ()


def test_folders_of_splits(tmp_path: Path) -> None:
    for k, name in enumerate(
        ["train/a/1.png", "train/b/2.png", "Validation/a/3.png", "test/b/4.png", "test/c/5.png"]
    ):
        pictured(tmp_path / name, photo(seed=k))
    (tmp_path / "README.md").touch()
    data = load_data(tmp_path)
    assert data.classes == ("a", "b", "c")
    found = [
        (split.names, [] if split.labels is None else split.labels.tolist())
        for split in (data.train, data.valid, data.test)
    ]
    assert found == [
        (("train/a/1.png", "train/b/2.png"), [0, 1]),
        (("Validation/a/3.png",), [0]),
        (("test/b/4.png", "test/c/5.png"), [1, 2]),
    ]


def test_the_set_does_not_depend_on_how_the_disk_lists_it(tmp_path: Path) -> None:
    names = [f"{k}.png" for k in range(20)]
    for folder, order in (("one", names), ("two", names[::-1])):
        for name in order:
            pictured(tmp_path / folder / name, photo(seed=int(name[:-4])))
    assert_same(
        load_data(tmp_path / "one", Preparation(split_seed=5)),
        load_data(tmp_path / "two", Preparation(split_seed=5)),
    )


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    pictured(tmp_path / "set" / ".store" / "1.png", photo())
    (tmp_path / "set" / "cats").symlink_to(tmp_path / "set" / ".store")
    (tmp_path / "set" / ".store" / "again").symlink_to(tmp_path / "set" / ".store")
    assert load_data(tmp_path / "set").train.names == ("cats/1.png",)
    (tmp_path / "link").symlink_to(tmp_path / "set")
    assert load_data(tmp_path / "link").train.names == ("cats/1.png",)


def test_one_picture_is_a_set(tmp_path: Path) -> None:
    data = load_data(pictured(tmp_path / "only.png", photo(20, 30)))
    assert (len(data.train), len(data.valid), len(data.test), data.shape) == (1, 0, 0, (20, 30))
    assert data.valid.batch([]).shape == (0, 3, 20, 30)


def test_progress_is_told(tmp_path: Path) -> None:
    pictured(tmp_path / "a.png", photo())
    seen: list[tuple[int, int]] = []
    load_data(tmp_path, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 1)]


# --- larger ---
# than the memory


@pytest.mark.parametrize(
    "options", [{}, {"levels": 8}, {"binarise": "threshold"}, {"binarise": "draw", "split_seed": 4}]
)
@pytest.mark.parametrize("kind", ["NHWC", "NCHW", "Fortran", "npz", "folder", "ragged"])
def test_memory_maps_equal_memory(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    options = dict(options)
    if kind == "NHWC":
        source = saved(tmp_path / "x.npy", PHOTOS)
    elif kind == "NCHW":
        source = saved(tmp_path / "x.npy", np.moveaxis(PHOTOS, 3, 1).copy())
    elif kind == "Fortran":
        source = saved(tmp_path / "x.npy", np.asfortranarray(PHOTOS))
    elif kind == "npz":
        source = tmp_path / "x.npz"
        np.savez_compressed(source, train_images=PHOTOS, test_images=PHOTOS[:7])
    else:
        source = tmp_path / "set"
        for k in range(12):
            pictured(source / f"{k}.png", photo(6 + (k % 3 if kind == "ragged" else 0), 7, seed=k))
        options["ragged"] = kind == "ragged"
    whole = loaded(source, **options)
    mapped = loaded(source, **options, memory_bytes=0, cache_folder=tmp_path / "cache")
    assert not isinstance(mapped.train.images, (np.ndarray, list))
    assert_same(mapped, whole)
    again = loaded(source, **options, memory_bytes=0, cache_folder=tmp_path / "cache")
    assert_same(again, whole)
    indices = [5, 0, 3, 5, 1]
    offsets = np.array([[0, 3], [1, 2], [2, 0], [2, 3], [0, 0]])
    first, second = (
        data.train.batch(indices, crop=(4, 4), offsets=offsets) for data in (mapped, whole)
    )
    np.testing.assert_array_equal(first, second)
    assert first.flags.c_contiguous and first.dtype == second.dtype
    if kind != "ragged":
        first, second = (data.train.batch(indices) for data in (mapped, whole))
        np.testing.assert_array_equal(first, second)
        assert first.flags.c_contiguous
        np.testing.assert_array_equal(mapped.train.images[2:20:3], whole.train.images[2:20:3])
        np.testing.assert_array_equal(
            mapped.train.images[np.array([-1, 0])], whole.train.images[np.array([-1, 0])]
        )
        np.testing.assert_array_equal(mapped.train.images, whole.train.images)
        assert histogram_bits_per_dim(mapped) == histogram_bits_per_dim(whole)
    assert describe(mapped) == describe(whole)
    with pytest.raises(IndexError):
        mapped.train.images[100]


def test_a_changed_folder_is_decoded_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"memory_bytes": 0, "cache_folder": tmp_path / "cache", **WHOLE}
    pictured(tmp_path / "set" / "a.png", photo(seed=0))
    loaded(tmp_path / "set", **options)
    pictured(tmp_path / "set" / "a.png", photo(seed=1))
    os.utime(tmp_path / "set" / "a.png", (1, 1))
    np.testing.assert_array_equal(
        loaded(tmp_path / "set", **options).train.images[0], np.moveaxis(photo(seed=1), 2, 0)
    )
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_decoded_pictures_are_kept_where_asked(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", "a.png", "b.png")
    seen: list[int] = []
    for _ in range(2):
        data = load_data(
            folder,
            Preparation(**WHOLE),
            cache_folder=tmp_path / "cache",
            progress=lambda done, count: seen.append(done),
        )
        assert isinstance(data.train.images, np.ndarray) and not isinstance(
            data.train.images, np.memmap
        )
        np.testing.assert_array_equal(data.train.images[1], np.moveaxis(photo(), 2, 0))
    assert seen == [2]


def test_a_failed_decoding_leaves_nothing_behind(tmp_path: Path) -> None:
    path = pictured(tmp_path / "set" / "a.png", photo(50, 50))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="a.png"):
        load_data(
            tmp_path / "set",
            Preparation(channels=3),
            memory_bytes=0,
            cache_folder=tmp_path / "cache",
        )
    assert list((tmp_path / "cache").iterdir()) == []


def test_drawn_binarisation_does_not_depend_on_the_split(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", PHOTOS)
    whole = np.asarray(
        load_data(path, Preparation(binarise="draw", split_seed=2, **WHOLE)).train.images
    )
    np.testing.assert_array_equal(whole, binarise(np.moveaxis(PHOTOS, 3, 1), method="draw", seed=2))


def test_what_is_drawn_for_an_image_is_the_same_in_every_split(tmp_path: Path) -> None:
    """The splits of an array are parts of the whole; given splits have draws of their own."""
    photos = RNG.integers(0, 256, (12, 6, 6), dtype=np.uint8)
    drawn = Preparation(binarise="draw", split_seed=2)
    path = saved(tmp_path / "x.npy", photos)
    whole = np.asarray(load_data(path, replace(drawn, validation=0, test=0)).train.images)
    data = load_data(path, replace(drawn, validation=4, test=3))
    parts = [np.asarray(split.images) for split in (data.train, data.valid, data.test)]
    assert [len(part) for part in parts] == [5, 4, 3]
    assert sorted(x.tobytes() for part in parts for x in part) == sorted(x.tobytes() for x in whole)
    arrays = {f"{name}_images": photos for name in ("train", "valid", "test")}
    np.savez(tmp_path / "y.npz", **arrays)
    twins = load_data(tmp_path / "y.npz", drawn)
    assert (np.asarray(twins.train.images) != np.asarray(twins.test.images)).any()
    assert (np.asarray(twins.valid.images) != np.asarray(twins.test.images)).any()


# --- batches ---


def test_batches() -> None:
    images = RNG.integers(0, 256, (10, 2, 5, 6), dtype=np.uint8)
    split = Split(images=images)
    np.testing.assert_array_equal(split.batch([3, 1, 3]), images[[3, 1, 3]])
    np.testing.assert_array_equal(split.batch(np.array([4]), crop=3), images[[4], :, 1:4, 1:4])
    np.testing.assert_array_equal(
        split.batch([4, 9], crop=(2, 6), offsets=np.array([[3, 0], [0, 0]])),
        np.stack([images[4, :, 3:5], images[9, :, :2]]),
    )
    assert split.batch([], crop=2).shape == (0, 2, 2, 2)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_offsets_are_drawn_from_all_windows_that_fit(height: int, width: int, seed: int) -> None:
    split = Split(images=[np.zeros((1, h, w), np.uint8) for h, w in ((6, 6), (8, 6), (6, 9))])
    indices = np.arange(300) % 3
    offsets = crop_offsets(
        split, indices, crop=(height, width), generator=np.random.default_rng(seed)
    )
    again = crop_offsets(
        split, indices, crop=(height, width), generator=np.random.default_rng(seed)
    )
    np.testing.assert_array_equal(offsets, again)
    for k, (h, w) in enumerate(split.sizes):
        rows, columns = offsets[indices == k].T
        # Each of at most nine values is missed by all 100 draws with probability below 1e-5.
        assert set(rows) <= set(range(h - height + 1)) and set(columns) <= set(range(w - width + 1))
    assert split.batch(indices, crop=(height, width), offsets=offsets).shape == (
        300,
        1,
        height,
        width,
    )


def test_offsets_reach_both_ends() -> None:
    split = Split(images=np.zeros((1, 1, 6, 4), np.uint8))
    offsets = crop_offsets(split, [0] * 400, crop=3, generator=np.random.default_rng(0))
    assert set(offsets[:, 0]) == {0, 1, 2, 3} and set(offsets[:, 1]) == {0, 1}


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda s: s.batch([4]), "indices range from 4 to 4, but there are 4 images"),
        (lambda s: s.batch([-1]), "indices range from -1"),
        (lambda s: s.batch(np.array([[0]])), "must be a list of integers"),
        (lambda s: s.batch([0], crop=6), "crop=6x6 is larger than image 0 of 5x7 pixels"),
        (lambda s: s.batch([0], crop=0), "at least 1 pixel"),
        (lambda s: s.batch([0], offsets=np.array([[0, 0]])), "offsets are of windows"),
        (
            lambda s: s.batch([0, 1], crop=2, offsets=np.array([[0, 0]])),
            "offsets must be integers of shape",
        ),
        (
            lambda s: s.batch([0, 2], crop=2, offsets=np.array([[0, 0], [4, 0]])),
            "for image 2 at .4, 0., but it",
        ),
        (
            lambda s: crop_offsets(s, [3], crop=9, generator=np.random.default_rng()),
            "is larger than image 3",
        ),
    ],
)
def test_batch_errors(take: Callable[[Split], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        take(Split(images=np.zeros((4, 1, 5, 7), np.uint8)))


# --- figures ---


def test_histogram_is_its_formula(tmp_path: Path) -> None:
    x = RNG.integers(0, 4, (40, 2, 3, 2), dtype=np.int16)
    data = load_data(saved(tmp_path / "x.npy", x), Preparation(channels=2, test=6, validation=5))
    train, test = np.asarray(data.train.images), np.asarray(data.test.images)
    bits = [
        -np.log2((np.sum(train[(slice(None), *site)] == value) + 1) / (len(train) + 4))
        for image in test
        for site, value in np.ndenumerate(image)
    ]
    assert histogram_bits_per_dim(data) == pytest.approx(np.mean(bits))


def test_description(tmp_path: Path) -> None:
    for k in range(10):
        pictured(
            tmp_path / ("light" if k % 5 else "dark") / f"{k}.png",
            np.full((4, 4), 255 if k % 5 else 0, np.uint8),
        )
    text = describe(load_data(tmp_path, Preparation(validation=0, test=2, split_by="index")))
    assert json.loads(json.dumps(text)) == text
    train = text["splits"]["train"]
    assert (text["channels"], text["levels"], text["shape"], text["classes"]) == (
        1,
        256,
        [4, 4],
        ["dark", "light"],
    )
    assert train["images"] == train["looked_at"] == 8 and train["smallest"] == [4, 4]
    assert sum(train["classes"].values()) == 8 and text["splits"]["valid"]["images"] == 0
    dark = train["classes"]["dark"] / 8
    expected = -(dark * np.log2(dark) + (1 - dark) * np.log2(1 - dark)) if 0 < dark else 0
    assert (
        text["entropy_bits_per_dim"] == pytest.approx(expected)
        and text["uniform_bits_per_dim"] == 8
    )
    assert text["test_seen_in_train"] >= 1


# --- hugging face ---


@pytest.fixture
def quiet_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    datasets.disable_progress_bars()
    return datasets


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_data_sets(tmp_path: Path, quiet_datasets: Any) -> None:
    pictures = [Image.fromarray(photo(seed=k)) for k in range(6)]
    features = quiet_datasets.Features(
        {"picture": quiet_datasets.Image(), "kind": quiet_datasets.ClassLabel(names=["cat", "dog"])}
    )
    table = quiet_datasets.Dataset.from_dict(
        {"picture": pictures, "kind": [0, 1, 1, 0, 1, 0]}, features=features
    )
    quiet_datasets.DatasetDict({"train": table, "validation": table.select([0, 1])}).save_to_disk(
        tmp_path / "saved"
    )
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    table.to_parquet(tmp_path / "parquet" / "data" / "train-00000-of-00001.parquet")
    for source in (
        f"hf:{tmp_path / 'saved'}",
        str(tmp_path / "saved"),
        f"hf:{tmp_path / 'parquet'}",
    ):
        data = load_data(source, Preparation(test=0, validation=2))
        assert (
            data.classes == ("cat", "dog") and data.channels == 3 and data.train.labels is not None
        )
        assert len(data.valid) == 2
        if "saved" in source:
            assert data.train.labels.tolist() == [0, 1, 1, 0, 1, 0]
            np.testing.assert_array_equal(data.train.images[3], np.moveaxis(photo(seed=3), 2, 0))
        assert_same(load_data(data.source, data.preparation), data)
    assert (
        load_data(f"hf:{tmp_path / 'saved'}", Preparation(ignore_labels=True, size=3)).classes == ()
    )
    broken = table.cast_column("picture", quiet_datasets.Image(decode=False))
    rows = [
        {**row, "picture": {"bytes": b"broken", "path": None}} if k == 2 else row
        for k, row in enumerate(broken)
    ]
    quiet_datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "broken")
    with pytest.raises(DataError, match="train picture 2: cannot be read as a picture"):
        load_data(tmp_path / "broken")
    files = [{"bytes": row["picture"]["bytes"]} for row in broken]
    for name, column in (("structs", files), ("bytes", [row["bytes"] for row in files])):
        plain = quiet_datasets.Dataset.from_dict({"image": column, "label": list("abbaba")})
        (tmp_path / name).mkdir()
        plain.to_parquet(tmp_path / name / "train.parquet")  # as other programs write them
        assert len(load_data(tmp_path / name, Preparation(test=0, validation=0)).train) == 6
    quiet_datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "text")
    with pytest.raises(DataError, match="has the columns text, but none holds pictures"):
        load_data(tmp_path / "text")
    with pytest.raises(DataError, match="'nobody/nothing' cannot be loaded .* HF_HUB_OFFLINE=1"):
        load_data("hf:nobody/nothing")


def test_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "datasets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DataError, match=r"needs datasets; install it with: pip install 'nextpixel\[data\]'"
    ):
        load_data("hf:mnist")


# --- errors ---


def npz(folder: Path, **arrays: Any) -> Path:
    path = folder / "x.npz"
    np.savez(path, **arrays)
    return path


def cut_short(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def broken_folder(folder: Path, *names: str) -> Path:
    pictured(folder / "sound.png", photo())
    for name in names:
        cut_short(pictured(folder / name, photo(60, 60)))
    return folder


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"?")
    return path


def folder_of(folder: Path, *names: str, **options: Any) -> Path:
    for name in names:
        pictured(folder / name, photo(**options))
    return folder


def two_sizes(folder: Path) -> Path:
    pictured(folder / "a.png", photo(6, 7))
    pictured(folder / "b.png", photo(8, 7))
    return folder


TEN = PHOTOS[:10]
WRONG: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "broken picture": (
        lambda p: broken_folder(p, "bad.png"),
        {"size": 4},
        r"bad\.png: cannot be read as a picture",
    ),
    "broken pictures": (
        lambda p: broken_folder(p, "b1.jpg", "b2.bmp"),
        {"size": 4},
        r"2 of 3 pictures cannot .*: .*b1.jpg.*b2.bmp",
    ),
    "many broken": (
        lambda p: broken_folder(p, *[f"b{k}.png" for k in range(8)]),
        {"size": 4},
        r"8 of 9 .*b0\.png.*b7\.png.*; or skip them with",
    ),
    "text as picture": (
        lambda p: touched(folder_of(p, "a.png") / "b.png").parent,
        {},
        r"b\.png: cannot be read",
    ),
    "broken one picture": (lambda p: touched(p / "b.png"), {}, r"b\.png: cannot be read"),
    "phone pictures": (
        lambda p: touched(folder_of(p, "a.png") / "b.HEIC").parent,
        {},
        r"b\.HEIC.*convert it to PNG",
    ),
    "dangling link": (
        lambda p: ((folder_of(p, "a.png") / "b.png").symlink_to(p / "gone.png"), p)[1],
        {},
        r"b\.png is a link that leads nowhere",
    ),
    "mixed sizes": (two_sizes, {}, r"a\.png has 6x7 pixels, .*b\.png 8x7; give size= .*at most 6"),
    "too small": (
        two_sizes,
        {"size": 7},
        r"1 of 2 pictures are smaller than size 7x7, the first .*a\.png \(6x7\)",
    ),
    "empty folder": (lambda p: p, {}, "holds no pictures"),
    "nothing but text": (lambda p: touched(p / "notes.txt").parent, {}, "holds no pictures"),
    "empty train": (
        lambda p: ((p / "train").mkdir(), folder_of(p, "test/a.png"))[1],
        {},
        "train holds no pictures",
    ),
    "stray beside train": (
        lambda p: folder_of(p, "train/a.png", "b.png"),
        {},
        r"b\.png lies beside",
    ),
    "folder beside train": (
        lambda p: folder_of(p, "train/a.png", "extra/b.png"),
        {},
        "extra lies beside",
    ),
    "loose and classes": (
        lambda p: folder_of(p, "a.png", "cat/b.png"),
        {},
        r"both pictures \(a.png\) and sub-",
    ),
    "labels in some splits": (
        lambda p: folder_of(p, "train/cat/a.png", "test/b.png"),
        {},
        "no labels for its test images .* ignore_labels=True",
    ),
    "labels of a folder": (
        lambda p: folder_of(p, "a.png"),
        {"labels": "x.npy"},
        "labels=x.npy is for an .npy or .npz",
    ),
    "no such channels": (lambda p: folder_of(p, "a.png"), {"channels": 2}, "channels=2 must be 1"),
    "unknown word": (
        lambda p: "mnits",
        {},
        r"'mnits' does not exist; accepted are a folder, .zip",
    ),
    "unknown file": (lambda p: touched(p / "x.csv"), {}, "is not an image source; accepted are"),
    "broken npz": (
        lambda p: cut_short(npz(p, train_images=TEN)),
        {},
        r"x\.npz: cannot be read as an \.npz file",
    ),
    "broken npy": (
        lambda p: cut_short(saved(p / "x.npy", TEN)),
        {},
        r"x\.npy: cannot be read as a \.npy file",
    ),
    "empty npy": (lambda p: cut_short(saved(p / "x.npy", TEN), 0), {}, r"x\.npy: cannot be read"),
    "objects": (
        lambda p: saved(p / "x.npy", np.array([{}, []], object)),
        {},
        r"x\.npy: cannot be read",
    ),
    "objects in npz": (
        lambda p: npz(p, train_images=np.array([{}], object)),
        {},
        r"x\.npz: cannot be read",
    ),
    "no train images": (
        lambda p: npz(p, a=TEN, b=TEN),
        {},
        r"holds the arrays a \(10, 6.*, b \(10.*not clear which are the images",
    ),
    "floats": (
        lambda p: saved(p / "x.npy", TEN / 255),
        {},
        "the values are floats from 0 to 1, but levels are integers; .* range=0 1 and levels=256",
    ),
    "words": (lambda p: saved(p / "x.npy", np.array(["a"])), {}, "the values are <U1"),
    "two axes": (
        lambda p: saved(p / "x.npy", TEN[:, :, 0, 0]),
        {},
        r"the shape is \(10, 6\), but \(N, H, W\)",
    ),
    "five axes": (
        lambda p: npz(p, train_images=TEN[None]),
        {},
        r"train_images of .*x\.npz: the shape is",
    ),
    "no images": (lambda p: saved(p / "x.npy", TEN[:0]), {}, "contains no image"),
    "axes in doubt": (
        lambda p: saved(p / "x.npy", TEN[:, :3, :, :3]),
        {},
        "axis 1 or 3 may be channels; give",
    ),
    "other channels": (
        lambda p: saved(p / "x.npy", TEN),
        {"channels": 4},
        "channels is 3; leave out channels=4",
    ),
    "splits differ": (
        lambda p: npz(p, train_images=TEN, test_images=TEN[:, :5]),
        {},
        r"\(3, 6, 7\), but test images",
    ),
    "negative": (
        lambda p: saved(p / "x.npy", TEN.astype(np.int16) - 200),
        {},
        "levels begin at 0; give offset=200",
    ),
    "beyond levels": (
        lambda p: saved(p / "x.npy", values(0, 511, dtype=np.int64)),
        {"levels": 256},
        "up to 511, .*give from_levels=",
    ),
    "beyond from_levels": (
        lambda p: saved(p / "x.npy", TEN),
        {"from_levels": 17},
        "images of .* value 2.*from_levels",
    ),
    "beyond 16 bits": (
        lambda p: saved(p / "x.npy", values(70000, dtype=np.int64)),
        {},
        "up to 70000, .*divide them by 2 first",
    ),
    "12 bits to 8": (
        lambda p: saved(p / "x.npy", values(4095, dtype=np.uint16)),
        {"levels": 256},
        "from_levels=",
    ),
    "more levels than there are": (
        lambda p: "digits",
        {"levels": 18},
        "levels=18 must be at most the 17",
    ),
    "more levels than pictures": (
        lambda p: folder_of(p, "a.png"),
        {"levels": 512},
        "at most the 256",
    ),
    "enlarged array": (lambda p: saved(p / "x.npy", TEN), {"size": 8}, "smaller than size 8x8"),
    "too few labels": (
        lambda p: npz(p, train_images=TEN, train_labels=[0] * 9),
        {},
        r"shape \(9,\), but there are 10",
    ),
    "negative labels": (
        lambda p: npz(p, train_images=TEN, train_labels=[-1] * 10),
        {},
        "all labels of .* are unknown",
    ),
    "labels below -1": (
        lambda p: npz(p, train_images=TEN, train_labels=[-2] * 10),
        {},
        "range from -2 to -2, but labels are 0 and above, or -1 where unknown",
    ),
    "labels beyond names": (
        lambda p: npz(p, train_images=TEN, train_labels=[2] * 10, label_names=["a", "b"]),
        {},
        "names 2 classes",
    ),
    "labels are floats": (
        lambda p: npz(p, train_images=TEN, train_labels=[0.0] * 10),
        {},
        "labels of .* hold float64",
    ),
    "labels in npz": (
        lambda p: npz(p, train_images=TEN, train_labels=np.arange(10)),
        {"labels": "y.npy"},
        "holds its own; leave them out",
    ),
    "test labels missing": (
        lambda p: npz(p, train_images=TEN, train_labels=[0] * 10, test_images=TEN),
        {},
        "no labels for its test images",
    ),
    "nothing left to train": (
        lambda p: saved(p / "x.npy", TEN),
        {"validation": 5, "test": 5},
        "leave none of the 10",
    ),
    "half an image": (
        lambda p: saved(p / "x.npy", TEN),
        {"validation": 2.5},
        "validation=2.5 must be",
    ),
    "negative test": (
        lambda p: saved(p / "x.npy", TEN),
        {"test": -0.1},
        "test=-0.1 must be a fraction",
    ),
    "no size": (lambda p: "digits", {"size": 0}, "size=0 must be"),
    "one level": (
        lambda p: "digits",
        {"levels": 1},
        "levels=1 must be a whole number from 2 to 65536",
    ),
    "binary and more": (
        lambda p: "digits",
        {"levels": 4, "binarise": "draw"},
        "binarise=draw gives 2 levels",
    ),
    "negative seed": (lambda p: "digits", {"split_seed": -1}, "split_seed=-1"),
    "negative memory": (lambda p: "digits", {"memory_bytes": -1}, "memory_bytes"),
    "no channels": (lambda p: "digits", {"channels": 0}, "channels=0"),
    "colours of digits": (
        lambda p: "digits",
        {"channels": 3},
        r"digits: the number of channels is 1; leave out channels=3",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(tmp_path: Path, name: str) -> None:
    make, options, message = WRONG[name]
    with pytest.raises(UsageError, match=message) as caught:
        loaded(make(tmp_path), **options)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    for source in (tmp_path / "x.npz", str(tmp_path / "nowhere"), "pictures/", "x.npy", "./digits"):
        with pytest.raises(
            FileNotFoundError, match="there is no such file or folder; a source is a folder"
        ):
            load_data(source)
    with pytest.raises(FileNotFoundError, match="no such file of labels"):
        load_data(Source(saved(tmp_path / "x.npy", TEN), labels=tmp_path / "y.npy"))


def test_late_errors_of_a_memory_map_name_it(tmp_path: Path) -> None:
    x = values(0, 9)
    data = load_data(
        saved(tmp_path / "x.npy", x), Preparation(from_levels=8, **WHOLE), memory_bytes=0
    )
    with pytest.raises(DataError, match=r"train images of .*x\.npy: images hold the value 9"):
        data.train.batch([0])


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "set", "a.png")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(DataError, match=r"cache has 0\.0 GB free; reduce size="):
        load_data(folder, memory_bytes=0, cache_folder=tmp_path / "cache")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["npy", "npz"]), st.data())
def test_damaged_arrays_give_data_or_our_error(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    file = io.BytesIO()
    if suffix == "npy":
        np.save(file, PHOTOS[:2])
    else:
        np.savez(file, train_images=PHOTOS[:2])
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert len(load_data(path).train) > 0
    except DataError as error:
        assert str(path) in str(error)


def test_automatic_size_leaves_small_equal_images_and_makes_others_squares(tmp_path: Path) -> None:
    assert load_data("digits", Preparation(size="auto")).shape == (8, 8)
    for k, (height, width) in enumerate([(40, 90), (50, 50), (100, 36)] * 5):
        Image.fromarray(np.full((height, width, 3), k, np.uint8)).save(tmp_path / f"{k}.png")
    data = load_data(tmp_path, Preparation(size="auto"))
    assert data.shape == (32, 32)
    assert data.preparation.size == (32, 32)
    Image.fromarray(np.zeros((20, 25, 3), np.uint8)).save(tmp_path / "small.png")
    assert load_data(tmp_path, Preparation(size="auto")).shape == (20, 20)
    with pytest.raises(UsageError, match="give one of the two"):
        load_data(tmp_path, Preparation(size="auto", ragged=True))


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ([(64, 64)] * 2, None),
        ([(3, 64)] * 2, None),
        ([(64, 65)] * 2, (32, 32)),
        ([(65, 64)] * 2, (32, 32)),
        ([(31, 65)] * 2, (31, 31)),
        ([(64, 64), (64, 63)], (32, 32)),
        ([(40, 33), (50, 20)], (20, 20)),
    ],
)
def test_automatic_sizes_at_their_borders(
    sizes: list[tuple[int, int]], wanted: tuple[int, int] | None
) -> None:
    assert automatic_size(sizes) == wanted


def test_automatic_size_never_averages_codes(tmp_path: Path) -> None:
    """Integers wider than a byte may be categories; brightness is resized if a size is given."""
    codes = RNG.integers(0, 512, (6, 80, 70))
    for dtype in (np.int64, np.uint16, np.int16):
        data = load_data(
            saved(tmp_path / "codes.npy", codes.astype(dtype)),
            Preparation(size="auto", levels=512, **WHOLE),
        )
        np.testing.assert_array_equal(data.train.images[:, 0], codes)
        assert_same(load_data(data.source, data.preparation), data)
    assert load_data(tmp_path / "codes.npy", Preparation(size=20, from_levels=512)).shape == (
        20,
        20,
    )


def test_pictures_have_one_three_or_four_channels(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"^channels=2 must be 1, 3 or 4 for pictures, or left out$"
    ):
        load_data(tmp_path, Preparation(channels=2))


def test_all_broken_pictures_are_named_at_once_whatever_is_broken(tmp_path: Path) -> None:
    for name in ("sound", "truncated"):
        Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        ).save(tmp_path / f"{name}.png")
    (tmp_path / "truncated.png").write_bytes((tmp_path / "truncated.png").read_bytes()[:3000])
    (tmp_path / "fake.png").write_text("no picture")
    with pytest.raises(DataError, match="^2 of 3 pictures cannot be read") as caught:
        load_data(tmp_path)
    assert "fake.png" in str(caught.value)
    assert "truncated.png" in str(caught.value)
