"""Pictures in files <-> arrays of levels, on real files of every kind."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from nextpixel.data.errors import ImageError
from nextpixel.data.image_files import (
    grid,
    image_shape,
    read_image,
    read_indices,
    to_uint8,
    write_gif,
    write_image,
)
from nextpixel.data.pixels import binarise, quantise, resize, subsample

HEIGHT, WIDTH = 12, 17
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
RGBA = np.dstack([RGB, RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)])


def chw(x: np.ndarray) -> np.ndarray:
    return x[None] if x.ndim == 2 else np.moveaxis(x, 2, 0)


def tinted(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def transparent_palette() -> Image.Image:
    picture = Image.fromarray(GREY % 4).convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    picture.info["transparency"] = 2
    return picture


# --- reading ---


@pytest.mark.parametrize(
    ("suffix", "array"),
    [(suffix, array) for suffix in ("png", "tiff", "webp", "jp2") for array in (GREY, RGB, RGBA)]
    + [(suffix, array) for suffix in ("ppm", "bmp") for array in (GREY, RGB)]
    + [("gif", GREY)],
)
def test_lossless_formats_give_the_exact_pixels(
    tmp_path: Path, suffix: str, array: np.ndarray
) -> None:
    path = tmp_path / f"picture.{suffix}"
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(array).save(path, **options)
    expected = chw(array)
    if suffix == "webp" and array is GREY:  # The format has no grey.
        expected = np.repeat(expected, 3, axis=0)
    x = read_image(path)
    assert x.dtype == np.uint8 and x.flags.c_contiguous
    np.testing.assert_array_equal(x, expected)
    assert image_shape(path) == expected.shape


@pytest.mark.parametrize(
    ("picture", "suffix", "expected"),
    [
        (
            Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE),
            "png",
            chw(np.where(GREY >= 128, 255, 0)),
        ),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "png", chw(GREY.astype(np.uint16) * 257)),
        (
            Image.fromarray(GREY.astype(np.uint16) * 256 + 255),
            "tiff",
            chw(GREY.astype(np.uint16) * 256 + 255),
        ),
        (Image.fromarray(GREY.astype(np.int32) * 256), "tiff", chw(GREY.astype(np.uint16) * 256)),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "pgm", chw(GREY.astype(np.uint16) * 257)),
        (
            Image.fromarray(RGB).convert("P"),
            "png",
            chw(np.asarray(Image.fromarray(RGB).convert("P").convert("RGB"))),
        ),
        (Image.fromarray(np.dstack([GREY, GREY])), "png", np.stack([GREY] * 4)),
        (transparent_palette(), "png", chw(np.asarray(transparent_palette().convert("RGBA")))),
    ],
    ids=[
        "1-bit",
        "16-bit png",
        "16-bit tiff",
        "32-bit tiff",
        "16-bit pgm",
        "palette",
        "grey + opacity",
        "keyed palette",
    ],
)
def test_odd_modes(tmp_path: Path, picture: Image.Image, suffix: str, expected: np.ndarray) -> None:
    path = tmp_path / f"picture.{suffix}"
    picture.save(path)
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_shape(path) == expected.shape


@pytest.mark.parametrize("colours", [2, 16, 200])
def test_palettes_are_read_as_the_numbers_of_their_colours(tmp_path: Path, colours: int) -> None:
    """Whatever the colours are, also two of the same, and however few bits a number has."""
    numbers = RNG.integers(0, colours, (HEIGHT, WIDTH), dtype=np.uint8)
    picture = Image.fromarray(numbers).convert("P")
    picture.putpalette([int(value) for value in RNG.integers(0, 9, 3 * colours)])
    for name in ("x.png", "x.gif", "x.bmp"):
        picture.save(tmp_path / name, optimize=False)
    assert np.array_equal(read_indices(tmp_path / "x.png"), numbers[None])
    assert np.array_equal(read_indices(tmp_path / "x.bmp"), numbers[None])
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    assert read_indices(tmp_path / "grey.png") is None
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"broken\.png: cannot be read as a picture"):
        read_indices(tmp_path / "broken.png")


def test_cmyk_and_jpeg(tmp_path: Path) -> None:
    smooth = np.dstack(
        [np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8) + k for k in (0, 60, 120)]
    )
    for mode, channels in (("RGB", 3), ("CMYK", 3), ("L", 1)):
        path = tmp_path / f"{mode}.jpg"
        Image.fromarray(smooth).convert(mode).save(path, quality=100)
        x = read_image(path, channels=channels)
        assert image_shape(path) == (channels, 40, 50) == x.shape
        expected = chw(np.asarray(Image.fromarray(smooth).convert("L" if channels == 1 else "RGB")))
        assert np.abs(x.astype(int) - expected).max() <= 4


def test_first_frame_of_animations_and_stacks(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (10, 200)]
    for suffix in ("gif", "tiff", "png"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert (read_image(path, channels=1) == 10).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpg"])
def test_photographs_are_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(RGB).save(
        path, exif=tinted(orientation), **({"lossless": True} if suffix == "webp" else {})
    )
    with Image.open(path) as picture:
        expected = chw(np.asarray(ImageOps.exif_transpose(picture)))
    x = read_image(path)
    np.testing.assert_array_equal(x, expected)
    assert image_shape(path) == x.shape
    if orientation == 6 and suffix != "jpg":
        np.testing.assert_array_equal(x, chw(np.rot90(RGB, -1)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_metadata_does_not_spoil_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path, exif=b"Exif\x00\x00MM\x00*garbage without end")
    np.testing.assert_array_equal(read_image(path), chw(RGB))


def test_conversion_of_channels(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(RGBA).save(path)
    white = Image.new("RGBA", (WIDTH, HEIGHT), "white")
    white.alpha_composite(Image.fromarray(RGBA))
    on_white = white.convert("RGB")
    assert np.abs(read_image(path, channels=3).astype(int) - chw(np.asarray(on_white))).max() <= 1
    Image.fromarray(RGB).save(path)
    np.testing.assert_array_equal(
        read_image(path, channels=1), chw(np.asarray(Image.fromarray(RGB).convert("L")))
    )
    np.testing.assert_array_equal(read_image(path, channels=4)[3], 255)
    Image.fromarray(GREY).save(path)
    np.testing.assert_array_equal(read_image(path, channels=3), np.stack([GREY] * 3))
    np.testing.assert_array_equal(
        read_image(path, channels=4), np.stack([GREY] * 3 + [np.full_like(GREY, 255)])
    )
    with pytest.raises(ImageError, match="channels=2 must be 1"):
        read_image(path, channels=2)


def test_every_colour_of_every_opacity_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    """On white: v·a/255 + 255 - a, for all 65,536 pairs; and luma of all greys is the grey."""
    value, alpha = np.mgrid[:256, :256].astype(np.uint8)
    picture = Image.fromarray(np.dstack([value, value, value, alpha]))
    picture.save(tmp_path / "all.png")
    wanted = np.rint(
        value.astype(float) * alpha / 255 + 255 - alpha
    )  # 255 is odd: there are no ties
    for channels in (1, 3):
        found = read_image(tmp_path / "all.png", channels=channels)
        np.testing.assert_array_equal(found, np.stack([wanted] * channels))


def test_transparent_pixels_become_white_where_opacity_is_not_wanted(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (3, 2), (10, 20, 30, 0)).save(path)
    assert (read_image(path, channels=1) == 255).all() and (read_image(path)[3] == 0).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff", "ppm", "webp", "gif", "jp2"])
def test_truncated_pictures_are_errors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"holiday.{suffix}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 80, 3), dtype=np.uint8)).save(
        path
    )
    content = path.read_bytes()
    for share in (0.0, 0.02, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ImageError, match=rf"holiday\.{suffix}: cannot be read as a picture"):
            read_image(path)


def test_what_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    for read in (read_image, image_shape):
        with pytest.raises(
            ImageError,
            match=r"notes\.png: cannot be read as a picture \(unknown or damaged format\)",
        ):
            read(path)
        with pytest.raises(FileNotFoundError, match=r"missing\.png: there is no such picture"):
            read(tmp_path / "missing.png")
        with pytest.raises(ImageError, match="not a regular file"):
            read(tmp_path)
    with pytest.raises(ImageError, match="picture 7: cannot be read"):
        read_image(io.BytesIO(b"abc"), name="picture 7")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 4), np.float32), "floating-point samples"),
        (np.full((3, 4), 70000, np.int32), "beyond 16 bits"),
    ],
)
def test_samples_of_unknown_range_are_errors(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    path = tmp_path / "depth.tiff"
    Image.fromarray(array).save(path)
    with pytest.raises(ImageError, match=rf"depth\.tiff.*{message}"):
        read_image(path)


def encoded(suffix: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, suffix, **({"exif": tinted(6)} if suffix == "jpeg" else {}))
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150)
@given(st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"]), st.data())
def test_damage_gives_a_picture_or_our_error(suffix: str, data: st.DataObject) -> None:
    content = bytearray(encoded(suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    # Headers that now claim a huge picture would only test the memory of the machine.
    try:
        shape = image_shape(io.BytesIO(content), name="damaged")
        if shape[1] * shape[2] < 10**6:
            assert read_image(io.BytesIO(content), name="damaged").shape == shape
    except ImageError as error:
        assert "damaged" in str(error)


# --- resizing ---


@given(
    st.integers(1, 5),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from([np.uint8, np.uint16, np.int64]),
    st.integers(0, 2**32),
)
def test_areas_are_averaged_exactly(
    c: int, size: tuple[int, int], more: tuple[int, int], dtype: type, seed: int
) -> None:
    (h, w), (old_h, old_w) = size, (size[0] + more[0], size[1] + more[1])
    x = (
        np.random.default_rng(seed)
        .integers(0, 256 if dtype is np.uint8 else 65536, (c, old_h, old_w))
        .astype(dtype)
    )
    if old_w * h > old_h * w:
        crop = old_h * w // h
        middle = x[:, :, (old_w - crop) // 2 :][:, :, :crop]
    else:
        crop = old_w * h // w
        middle = x[:, (old_h - crop) // 2 :][:, :crop]
    # Every pixel as h x w small ones, so that no edge divides one.
    fine = middle.astype(np.int64).repeat(h, axis=1).repeat(w, axis=2)
    blocks = fine.reshape(c, h, middle.shape[1], w, middle.shape[2])
    result = resize(x, size)
    assert result.dtype == dtype and result.flags.c_contiguous
    np.testing.assert_array_equal(result, np.floor(blocks.mean(axis=(2, 4)) + 0.5))


def test_the_longer_way_is_cropped_in_the_middle() -> None:
    x = np.arange(3 * 7, dtype=np.uint8).reshape(1, 3, 7)
    np.testing.assert_array_equal(resize(x, 3), x[:, :, 2:5])
    np.testing.assert_array_equal(resize(x.swapaxes(1, 2), 3), x.swapaxes(1, 2)[:, 2:5])
    np.testing.assert_array_equal(resize(x, (1, 7)), x[:, 1:2])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 20), st.integers(0, 20))
def test_subsampled_pixels_lie_in_the_areas_that_are_averaged(
    height: int, width: int, down: int, right: int
) -> None:
    rows, columns = np.indices((height + down, width + right))
    x = np.stack([rows, columns]) * 1000  # What is averaged and what is taken tell where they lie.
    taken, mean = subsample(x, (height, width)), resize(x, (height, width))
    assert taken.shape == mean.shape and np.isin(taken, x).all()
    assert (np.abs(taken - mean) <= 1000).all()
    with pytest.raises(ImageError, match="is smaller than size"):
        subsample(x, (height + down + 1, width))


def test_opacity_weighs_colours() -> None:
    x = np.zeros((4, 2, 2), np.uint8)
    x[:, 0, 0] = 200, 100, 50, 255  # One opaque pixel beside three transparent black ones.
    assert resize(x, 1, alpha=True)[:, 0, 0].tolist() == [200, 100, 50, 64]
    assert resize(np.zeros_like(x), 1, alpha=True).max() == 0
    assert resize(x, 1)[:, 0, 0].tolist() == [50, 25, 13, 64]


@pytest.mark.parametrize(
    ("size", "message"), [(5, "never enlarged"), ((4, 9), "never enlarged"), (0, "at least 1")]
)
def test_resize_errors(size: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        resize(np.zeros((1, 4, 8), np.uint8), size)


# --- levels ---


@given(st.integers(2, 65536), st.data())
def test_quantise_is_its_formula(from_levels: int, data: st.DataObject) -> None:
    levels = data.draw(st.integers(2, from_levels))
    values = data.draw(st.lists(st.integers(0, from_levels - 1), min_size=1, max_size=20)) + [
        0,
        from_levels - 1,
    ]
    for dtype in (np.uint8, np.uint16, np.int32, np.int64):
        if from_levels - 1 <= np.iinfo(dtype).max:
            result = quantise(np.array(values, dtype), levels, from_levels=from_levels)
            assert result.dtype == (np.uint8 if levels <= 256 else np.uint16)
            assert result.tolist() == [value * levels // from_levels for value in values]
            assert result[-2] == 0 and result[-1] == levels - 1


@given(st.integers(2, 256))
def test_quantise_meets_every_level(levels: int) -> None:
    result = quantise(np.arange(256, dtype=np.uint8), levels)
    counts = np.bincount(result, minlength=levels)
    assert (np.diff(result.astype(int)) >= 0).all() and counts.min() >= 1 and np.ptp(counts) <= 1


@pytest.mark.parametrize(
    ("x", "levels", "from_levels", "error", "message"),
    [
        ([17], 4, 17, ImageError, "hold the value 17, but with 17 levels the largest is 16"),
        ([-1], 4, 17, ImageError, "hold the value -1, but levels begin at 0"),
        ([3], 1, 17, ImageError, r"levels=1 must lie between"),
        ([3], 18, 17, ImageError, r"levels=18 must lie between"),
        ([0.5], 4, 17, TypeError, "f64"),
    ],
)
def test_quantise_errors(
    x: list[Any], levels: int, from_levels: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        quantise(np.array(x), levels, from_levels=from_levels)


def test_threshold_is_at_half() -> None:
    assert binarise(np.array([[0, 127, 128, 255]]), method="threshold").tolist() == [[0, 0, 1, 1]]
    assert binarise(np.array([[0, 8, 9, 16]]), method="threshold", from_levels=17).tolist() == [
        [0, 0, 1, 1]
    ]
    assert binarise(np.array([[0, 1]]), method="threshold", from_levels=2).tolist() == [[0, 1]]


def test_draw_is_a_function_of_seed_and_number() -> None:
    x = RNG.integers(0, 256, (9, 2, 5, 4), dtype=np.uint8)
    whole = binarise(x, method="draw", seed=3)
    some = np.array([7, 0, 4])
    np.testing.assert_array_equal(
        binarise(x[some], method="draw", seed=3, numbers=some), whole[some]
    )
    assert (binarise(x, method="draw", seed=4) != whole).any()
    same = np.repeat(x[:1], 2, axis=0)
    drawn = binarise(same, method="draw", seed=3)
    assert (drawn[0] != drawn[1]).any()


def test_draw_never_changes() -> None:
    x = np.full((2, 1, 1, 8), 128, np.uint8)
    expected = [[1, 0, 1, 1, 0, 1, 0, 1], [1, 0, 0, 0, 0, 0, 1, 0]]
    assert binarise(x, method="draw", seed=1).reshape(2, 8).tolist() == expected


def test_draw_has_the_probability() -> None:
    # Of 40,000 draws, five standard deviations: false alarm 6e-7 each.
    for value in (0, 60, 128, 255):
        mean = binarise(np.full((4, 1, 100, 100), value, np.uint8), method="draw").mean()
        p = value / 255
        assert abs(mean - p) <= 5 * np.sqrt(p * (1 - p) / 40000)


def test_binarise_errors() -> None:
    with pytest.raises(ImageError, match="seed=-1"):
        binarise(np.zeros((1, 1), np.uint8), method="draw", seed=-1)
    with pytest.raises(ImageError, match="hold the value 2"):
        binarise(np.full((1, 1), 2, np.uint8), method="threshold", from_levels=2)


# --- showing ---


@given(st.integers(2, 600))
def test_showing_spans_black_to_white(levels: int) -> None:
    x = to_uint8(np.arange(levels), levels).astype(int)
    assert x[0] == 0 and x[-1] == 255 and (np.diff(x) >= 0).all()


@pytest.mark.parametrize("levels", [2, 3, 8, 16, 17, 32, 64, 128, 256])
def test_written_levels_are_read_back(tmp_path: Path, levels: int) -> None:
    x = np.arange(levels, dtype=np.uint8)[None, None]
    write_image(tmp_path / "x.png", x, levels=levels)
    np.testing.assert_array_equal(quantise(read_image(tmp_path / "x.png"), levels), x)


@pytest.mark.parametrize("array", [GREY, RGB, RGBA], ids=["grey", "rgb", "rgba"])
def test_write_then_read(tmp_path: Path, array: np.ndarray) -> None:
    write_image(tmp_path / "x.png", chw(array))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), chw(array))


def test_tensors_and_flat_images_are_written(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", torch.tensor([[0, 1], [1, 0]]), levels=2)
    assert read_image(tmp_path / "x.png").tolist() == [[[0, 255], [255, 0]]]


def test_other_channels_are_shown_side_by_side(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", np.zeros((5, 3, 4), np.uint8))
    assert read_image(tmp_path / "x.png").shape == (1, 3 + 2, 5 * (4 + 1) + 1)


def test_grid_layout() -> None:
    images = np.arange(1, 4, dtype=np.uint8).reshape(3, 1, 1, 1)
    assert grid(images, columns=2, background=9)[0].tolist() == [
        [9, 9, 9, 9, 9],
        [9, 1, 9, 2, 9],
        [9, 9, 9, 9, 9],
        [9, 3, 9, 9, 9],
        [9, 9, 9, 9, 9],
    ]
    assert grid(list(images), padding=0, scale=2).shape == (1, 4, 4)
    assert grid(torch.zeros(10, 3, 2, 2, dtype=torch.int64), levels=5, columns=20).shape == (
        3,
        4,
        31,
    )


def test_gif(tmp_path: Path) -> None:
    path = tmp_path / "x.gif"
    frames = np.array([0, 1, 2], dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones(
        (3, 1, 4, 5), np.uint8
    )
    write_gif(path, frames, levels=3, scale=2, seconds=0.05)
    with Image.open(path) as picture:
        assert (picture.size, picture.n_frames, picture.info["duration"], picture.info["loop"]) == (
            (10, 8),
            3,
            50,
            0,
        )
    assert (read_image(path, channels=1) == 0).all()
    write_gif(path, [chw(RGB), chw(RGBA)[:3]])


@pytest.mark.parametrize(
    ("x", "name", "error", "message"),
    [
        (
            np.zeros((1, 2, 2), np.uint8),
            "x.hologram",
            ImageError,
            r"x\.hologram: cannot be written",
        ),
        (np.zeros((4, 2, 2), np.uint8), "x.jpg", ImageError, r"x\.jpg: cannot be written"),
        (np.zeros((2, 2, 2, 2), np.uint8), "x.png", ImageError, r"an image must be \(C, H, W\)"),
        (np.zeros((0, 2), np.uint8), "x.png", ImageError, "not empty"),
        (np.full((2, 2), 300), "x.png", ImageError, "hold the value 300"),
        (np.zeros((2, 2)), "x.png", TypeError, "f64"),
        (np.zeros((2, 2), np.uint8), "no/x.png", FileNotFoundError, "no/x.png"),
    ],
)
def test_write_errors(
    tmp_path: Path, x: np.ndarray, name: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_image(tmp_path / name, x)


def test_grid_and_gif_errors(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="frames is empty"):
        write_gif(tmp_path / "x.gif", [])
    with pytest.raises(ImageError, match=r"images must be \(N, C, H, W\)"):
        grid(np.zeros((1, 2, 2), np.uint8))
