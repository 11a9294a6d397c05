"""Data that people have: what is stored comes through, and whatever is assumed is said."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextpixel.data.again import load_again
from nextpixel.data.digest import DataDigest, without_trained
from nextpixel.data.errors import ImageError
from nextpixel.data.load import DataError, ImageData, Preparation, Source, load_data
from nextpixel.data.reading import read_image
from nextpixel.data.tiff import read_bands, tiff_pages

RNG = np.random.default_rng(0)
WHOLE = Preparation(validation=0, test=0)


def whole(**options: Any) -> Preparation:
    return Preparation(validation=0, test=0, **options)


def grey(folder: Path, count: int = 20, side: int = 8, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    g = np.random.default_rng(seed)
    for k in range(count):
        Image.fromarray(g.integers(0, 256, (side, side), dtype=np.uint8)).save(folder / f"{k}.png")
    return folder


def names(data: ImageData) -> dict[str, set[str]]:
    return {name: set(getattr(data, name).names) for name in ("train", "valid", "test")}


# ---------------------------------------- F1: stored integers


@pytest.mark.parametrize(("top", "levels"), [(4095, 4096), (20, 32), (1, 2), (65535, 65536)])
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_16_bit_grey_keeps_its_integers(
    tmp_path: Path, top: int, levels: int, suffix: str, memory_bytes: int
) -> None:
    x = np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(x).save(tmp_path / f"x.{suffix}")
    cache = tmp_path / "cache"
    for _ in range(2):  # The second time from the cache.
        data = load_data(
            tmp_path / f"x.{suffix}", WHOLE, memory_bytes=memory_bytes, cache_folder=cache
        )
        np.testing.assert_array_equal(data.train.images[0][0], x)
        assert (data.levels, data.preparation.from_levels) == (levels, levels)
        assert f"up to {top}: read as {levels} levels" in data.notes[0]
    again = load_data(data.source, data.preparation)
    np.testing.assert_array_equal(again.train.images[0][0], x)
    if top > 255:
        with pytest.raises(DataError, match=f"hold the value {top}, but with 256 levels"):
            load_data(tmp_path / f"x.{suffix}", whole(from_levels=256))


def test_the_user_says_the_depth(tmp_path: Path) -> None:
    x = np.arange(64, dtype=np.uint16).reshape(8, 8) * 16
    Image.fromarray(x).save(tmp_path / "x.png")
    data = load_data(tmp_path / "x.png", whole(from_levels=4096, levels=256))
    np.testing.assert_array_equal(data.train.images[0][0], x // 16)
    assert data.notes == ()


def test_depth_is_of_the_stored_values_and_not_of_averages(tmp_path: Path) -> None:
    x = np.zeros((8, 8), np.uint16)
    x[0, 0] = 4095
    Image.fromarray(x).save(tmp_path / "x.png")
    data = load_data(tmp_path / "x.png", whole(size=4))
    assert data.levels == 4096 and data.train.images[0, 0, 0, 0] == 1024


def test_big_endian_and_32_bits(tmp_path: Path) -> None:
    x = RNG.integers(0, 4096, (8, 8)).astype(np.uint16)
    x[0, 0] = 4095
    raw = x.astype(">u2").tobytes()
    tags = [
        (256, 8),
        (257, 8),
        (258, 16),
        (259, 1),
        (262, 1),
        (273, 122),
        (277, 1),
        (278, 8),
        (279, 128),
    ]
    head = b"MM\0*" + struct.pack(">IH", 8, len(tags))
    head += b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    assert len(head) == 122
    (tmp_path / "big.tif").write_bytes(head + raw)
    Image.fromarray(x.astype(np.int32)).save(tmp_path / "wide.tif")
    for name in ("big.tif", "wide.tif"):
        np.testing.assert_array_equal(load_data(tmp_path / name, WHOLE).train.images[0, 0], x)


@pytest.mark.parametrize("maximum", [300, 4095, 65535])
def test_graymaps_keep_what_they_hold(tmp_path: Path, maximum: int) -> None:
    x = np.linspace(0, maximum, 64).astype(">u2").reshape(8, 8)
    (tmp_path / "x.pgm").write_bytes(f"P5 8 8 {maximum}\n".encode() + x.tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "x.pgm")[0], x)


def test_1_bit_pictures_have_2_levels(tmp_path: Path) -> None:
    x = RNG.random((8, 8)) < 0.5
    Image.fromarray(x).save(tmp_path / "x.png")
    data = load_data(tmp_path / "x.png", WHOLE)
    assert data.levels == 2
    np.testing.assert_array_equal(data.train.images[0][0], x)
    assert "1 bit: 2 levels" in data.notes[0]
    assert load_data(tmp_path / "x.png", whole(size=4)).levels == 256  # Averages are grey.


def test_16_bits_beside_8_bits(tmp_path: Path) -> None:
    """Full scale is reduced, and said; what is not clear is refused."""
    folder = grey(tmp_path / "mixed", 3)
    deep = RNG.integers(0, 65536, (8, 8)).astype(np.uint16)
    deep[0, 0] = 65535
    Image.fromarray(deep).save(folder / "z.png")
    data = load_data(folder, WHOLE)
    np.testing.assert_array_equal(data.train.images[3, 0], deep >> 8)
    assert data.levels == 256 and "only the upper 8 bits" in data.notes[0]
    Image.fromarray(deep >> 4).save(folder / "z.png")
    with pytest.raises(DataError, match="z.png holds 16-bit values up to 4095, beside 3 pictures"):
        load_data(folder, WHOLE)


def test_models_of_version_0_1_read_as_it_did(tmp_path: Path) -> None:
    old = Preparation.from_json({"source": "x", "from_levels": 256, "validation": 0, "test": 0})
    assert (old.reading, old.split_by) == (1, "index")
    x = np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(x).save(tmp_path / "x.png")
    images = load_data(tmp_path / "x.png", old).train.images
    np.testing.assert_array_equal(images[0, 0], x >> 8)


# ---------------------------------------- F2, F11: the same preparation


def test_a_preparation_is_repeated_in_full(tmp_path: Path) -> None:
    x = RNG.integers(0, 17, (20, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    first = load_data(tmp_path / "x.npy", whole(from_levels=17, levels=4))
    np.save(tmp_path / "dark.npy", x // 9)  # Guessed anew, it would have two levels.
    again = load_again(Source(tmp_path / "dark.npy"), first.preparation)
    np.testing.assert_array_equal(again.train.images[:, 0], x // 9 * 4 // 17)
    np.save(tmp_path / "bright.npy", np.full((4, 8, 8), 3000, np.uint16))
    with pytest.raises(DataError) as caught:
        load_again(Source(tmp_path / "bright.npy"), first.preparation)
    assert "‹" not in caught.value.sentence and "levels=" not in str(caught.value)
    assert "the model takes images of values 0 … 16, 1 channel" in str(caught.value)


def test_negative_values_are_not_a_matter_of_levels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((9, 8, 8), -1000, np.int16))
    with pytest.raises(
        DataError, match="to -1000, but levels begin at 0; give offset=1000"
    ) as caught:
        load_data(tmp_path / "x.npy")
    assert "from_levels" not in str(caught.value)


def test_a_huge_picture_is_not_to_be_repaired(tmp_path: Path) -> None:
    Image.new("1", (15000, 13000)).save(tmp_path / "big.png")
    with pytest.raises(DataError, match="that are accepted; reduce it$"):
        load_data(tmp_path / "big.png")


# ---------------------------------------- F3: a picture's split


def test_a_split_is_a_function_of_the_picture(tmp_path: Path) -> None:
    folder = grey(tmp_path / "x", 60)
    before = names(load_data(folder))
    assert all(before.values()) and sum(map(len, before.values())) == 60
    Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / "0a.png")
    after = names(load_data(folder))
    assert all(before[split] <= after[split] for split in before)
    (folder / "0a.png").unlink()
    (folder / "7.png").rename(folder / "zzz.png")
    renamed = names(load_data(folder))
    place = next(split for split in before if "7.png" in before[split])
    assert renamed[place] == before[place] - {"7.png"} | {"zzz.png"}
    other = names(load_data(folder, Preparation(size=4, levels=8)))
    assert other == renamed  # It is the stored picture that counts, however it is prepared.
    assert names(load_data(folder, Preparation(split_seed=1))) != renamed


def test_copies_are_in_one_split(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (20, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "x.npy", np.concatenate([x, x, x]))
    for options in ({}, {"test": 10, "validation": 10}, {"test": 0.3}):
        data = load_data(tmp_path / "x.npy", Preparation(**options))  # type: ignore[arg-type]
        parts = [{i.tobytes() for i in s.images} for s in (data.train, data.valid, data.test)]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert all(parts) and sum(map(len, parts)) == 20
    np.save(tmp_path / "one.npy", np.zeros((50, 4, 4), np.uint8))
    assert len(load_data(tmp_path / "one.npy").train) == 50


def test_a_picture_is_the_same_however_a_file_packs_it(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    made = {"a.png": x, "b.bmp": x, "c.png": np.stack([x] * 3, 2)}
    made["d.png"] = np.concatenate([made["c.png"], np.full((8, 8, 1), 255, np.uint8)], axis=2)
    for name, pixels in made.items():
        Image.fromarray(pixels).save(tmp_path / name)
    prints = load_data(tmp_path, WHOLE).train.fingerprints
    assert prints is not None and len(set(prints.tolist())) == 1


def test_a_digest_tells_what_changed(tmp_path: Path) -> None:
    folder = grey(tmp_path / "x", 40)
    data = load_data(folder)
    then = DataDigest.of(data)
    assert then is not None
    then = DataDigest.from_json(then.to_json())
    assert then.difference(then) is None
    images, labels = np.arange(320).reshape(20, 4, 4), np.arange(20) % 2
    old, swapped, ordered = (
        DataDigest.of(load_data(x, labels=y, classes=classes))
        for x, y, classes in (
            (images, labels, ["a", "b"]),
            (images, 1 - labels, ["a", "b"]),
            (images[::-1], labels, ["b", "a"]),
        )
    )
    assert old is not None and swapped is not None and ordered is not None
    assert DataDigest.from_json(old.to_json()).difference(swapped) == "some labels are others"
    assert old.difference(ordered) is None
    for k in range(3):
        Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"n{k}.png")
    (folder / "5.png").unlink()
    now = DataDigest.of(load_data(folder))
    assert now is not None
    assert then.difference(now) == "3 of 42 pictures are new, 1 is missing"


def test_what_was_trained_on_is_no_test(tmp_path: Path) -> None:
    root = tmp_path / "x"
    grey(root / "train", 10)
    grey(root / "test", 4, seed=9)
    then = DataDigest.of(load_data(root, WHOLE))
    assert then is not None
    (root / "train" / "3.png").rename(root / "test" / "moved.png")
    data = load_data(root, WHOLE)
    part, notes = without_trained(then.to_json(), data, data.test, "test", same=True)
    assert set(part.names) == {f"test/{k}.png" for k in range(4)}
    assert "1 picture of the test split was trained on" in notes[-1]
    assert notes[0].endswith("1 is in another split")


def test_a_large_set_has_a_sample_for_a_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nextpixel.data.digest._MOST_EXACT", 1000)
    monkeypatch.setattr("nextpixel.data.digest._SAMPLE", 500)
    x = RNG.integers(0, 256, (2400, 4, 4), dtype=np.uint8)
    digests = []
    for part in (x[:2000], x[200:2200], x[:2000]):
        np.save(tmp_path / "x.npy", part)
        found = DataDigest.of(load_data(tmp_path / "x.npy"))
        assert found is not None
        digests.append(found)
    assert digests[0].difference(digests[2]) is None
    said = digests[0].difference(digests[1])
    assert said is not None and said.startswith("about ")
    new = int(said.split()[1])
    assert 120 <= new <= 300  # 200 are; the sample is of a third of them


# ---------------------------------------- F4, F9: TIFF


def tiff(bands: np.ndarray, extra: tuple[int, ...] | None, photometric: int = 2) -> bytes:
    """An uncompressed TIFF file of (H, W, C)."""
    height, width, count = bands.shape
    bits = 8 * bands.itemsize
    size = 8 + 2 + 12 * 11 + 4
    tags = [
        (256, (width,)), (257, (height,)), (258, (bits,) * count), (259, (1,)),
        (262, (photometric,)), (273, (size + 64,)), (277, (count,)), (278, (height,)),
        (279, (bands.nbytes,)), (284, (1,)),
        (338, extra) if extra is not None else (340, (0,)),
    ]  # fmt: skip
    out, tail = b"II*\0" + struct.pack("<IH", 8, len(tags)), b""
    for tag, numbers in tags:
        packed = struct.pack(f"<{len(numbers)}H", *numbers) if tag not in (273, 279) else None
        if packed is None:
            out += struct.pack("<HHII", tag, 4, 1, numbers[0])
        elif len(packed) <= 4:
            out += struct.pack("<HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
        else:
            out += struct.pack("<HHII", tag, 3, len(numbers), size + len(tail))
            tail += packed
    return out + bytes(4) + tail.ljust(64, b"\0") + bands.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [2, 4, 5, 13])
def test_bands_are_channels(tmp_path: Path, dtype: type, count: int) -> None:
    x = RNG.integers(0, np.iinfo(dtype).max, (6, 7, count), dtype=dtype, endpoint=True)
    photometric = 2 if count > 3 else 1
    extra = (0,) * (count - (3 if photometric == 2 else 1))
    (tmp_path / "x.tif").write_bytes(tiff(x, extra, photometric))
    data = load_data(tmp_path / "x.tif", WHOLE)
    assert data.channels == count and data.levels == np.iinfo(dtype).max + 1
    np.testing.assert_array_equal(data.train.images[0], np.moveaxis(x, 2, 0))
    with pytest.raises(DataError, match=f"has {count} bands, but channels=1"):
        load_data(tmp_path / "x.tif", whole(channels=1))


def test_opacity_is_opacity_where_the_file_says_so(tmp_path: Path) -> None:
    x = RNG.integers(0, 255, (6, 7, 4), dtype=np.uint8)
    (tmp_path / "alpha.tif").write_bytes(tiff(x, (2,)))
    white = read_image(tmp_path / "alpha.tif", channels=3).astype(int)
    alpha = x[..., 3:].astype(int)
    expected = (x[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    np.testing.assert_array_equal(white, np.moveaxis(expected, 2, 0))
    (tmp_path / "band.tif").write_bytes(tiff(x, (0,)))
    np.testing.assert_array_equal(read_image(tmp_path / "band.tif"), np.moveaxis(x, 2, 0))


def test_colours_of_16_bits_in_tiff_are_kept(tmp_path: Path) -> None:
    x = RNG.integers(0, 4096, (6, 7, 3), dtype=np.uint16)
    (tmp_path / "x.tif").write_bytes(tiff(x, ()))
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), np.moveaxis(x, 2, 0))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("side", [5, 120])
def test_strips_are_unpacked(tmp_path: Path, compression: str, side: int) -> None:
    """Against Pillow's decoder, for colours, which both read."""
    x = RNG.integers(0, 9, (side, side + 3, 3), dtype=np.uint8)
    path = tmp_path / "x.tif"
    Image.fromarray(x).save(path, compression=compression)
    with path.open("rb") as file:
        (page,) = tiff_pages(file)
        np.testing.assert_array_equal(read_bands(file, page), np.moveaxis(x, 2, 0))


def tags_of(*tags: tuple[int, int, int], body: bytes = b"") -> bytes:
    """A TIFF file of tags (number, count, value or place) of 32 bits; the body begins at 8."""
    entries = b"".join(struct.pack("<HHII", tag, 4, *rest) for tag, *rest in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(body))
    return head + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_small_tiff_file_is_little_work(tmp_path: Path) -> None:
    """Values, strips and the padding of tiles do not add up to more than the file can hold."""
    zeros, count = bytes(2**16), 2**14
    shape = (256, 1, 1), (257, 1, count), (258, 1, 8), (262, 1, 1), (277, 1, 3)
    many = struct.pack("<I", 8) * count + struct.pack("<I", 2**17) * count
    strips = (278, 1, 1), (273, count, 8), (279, count, 8 + 4 * count)
    tiles = (322, 1, 2**14), (323, 1, 2**12), (324, count, 8), (325, count, 8 + 4 * count)
    files = {
        "share": tags_of(*((273, 2**14, 8) for _ in range(9)), body=zeros),
        "overlap": tags_of(*shape, *strips, body=many),
        "much larger than the picture": tags_of(*shape, *tiles, body=many),
    }
    for message, content in files.items():
        (tmp_path / "x.tif").write_bytes(content)
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / "x.tif")


def test_pages_are_pictures_and_frames_are_told(tmp_path: Path) -> None:
    pages = [Image.new("L", (8, 8), 8 * k) for k in range(30)]
    pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:])
    data = load_data(tmp_path / "s.tif", WHOLE)
    assert data.train.images[:, 0, 0, 0].tolist() == [8 * k for k in range(30)]
    assert data.train.names[:2] == ("s.tif#1", "s.tif#2")
    assert "each of 30 pages is a picture" in data.notes[0]
    assert len(load_data(tmp_path / "s.tif", whole(reading=1)).train) == 1
    (tmp_path / "g").mkdir()
    pages[0].save(tmp_path / "g" / "m.gif", save_all=True, append_images=pages[1:5])
    moving = load_data(tmp_path / "g", WHOLE)
    assert len(moving.train) == 1 and "4 others are skipped" in moving.notes[0]


# ---------------------------------------- F6, F12: odd and broken pictures


def test_one_thin_picture_does_not_decide_the_size(tmp_path: Path) -> None:
    folder = grey(tmp_path / "x", 20)
    Image.new("L", (2, 90)).save(folder / "thin.png")
    data = load_data(folder, whole(size="auto"))
    assert data.shape == (8, 8) and len(data.train) == 20
    assert "thin.png (90x2)" in data.notes[0] and "skipped" in data.notes[0]
    again = load_data(folder, data.preparation)
    np.testing.assert_array_equal(again.train.images, data.train.images)
    with pytest.raises(DataError, match=r"smaller than size 8x8, the first .*thin.png"):
        load_data(folder, whole(size=8))


def test_broken_pictures_are_all_named_or_passed_over(tmp_path: Path) -> None:
    folder = grey(tmp_path / "x", 12)
    sound = (folder / "0.png").read_bytes()
    for k in range(9):  # Some have a broken head, some only broken pixels.
        (folder / f"bad{k}.png").write_bytes(b"" if k % 2 else sound[:-30])
    with pytest.raises(DataError, match="9 of 21 pictures cannot be read") as caught:
        load_data(folder)
    assert all(f"bad{k}.png" in str(caught.value) for k in range(9))
    data = load_data(folder, whole(skip_broken=True))
    assert set(data.train.names) == {f"{k}.png" for k in range(12)}
    assert data.notes[0].startswith("9 of 21 pictures are unreadable, and skipped")
    assert all(f"bad{k}.png" in data.notes[0] for k in range(9))


# ---------------------------------------- F7: split names


@pytest.mark.parametrize(
    ("folder", "split"),
    [(name, "valid") for name in ("dev", "val", "eval", "valid", "validation")]
    + [(name, "test") for name in ("test", "testing", "Test")],
)
def test_usual_names_of_splits(tmp_path: Path, folder: str, split: str) -> None:
    grey(tmp_path / "train" / "cat", 5)
    grey(tmp_path / folder / "cat", 3, seed=1)
    data = load_data(tmp_path, Preparation(validation=0, test=0))
    assert data.classes == ("cat",) and len(data.train) == 5
    assert len(getattr(data, split)) == 3


def test_a_test_split_alone(tmp_path: Path) -> None:
    grey(tmp_path / "f" / "test" / "a", 4)
    grey(tmp_path / "f" / "test" / "b", 4, seed=1)
    data = load_data(tmp_path / "f")
    assert data.classes == ("a", "b")
    assert [len(split) for split in (data.train, data.valid, data.test)] == [0, 0, 8]
    np.savez(tmp_path / "x.npz", test_images=RNG.integers(0, 9, (5, 4, 4), dtype=np.uint8))
    assert len(load_data(tmp_path / "x.npz").test) == 5


# ---------------------------------------- F8, F10: classes


def test_only_classes_that_occur(tmp_path: Path) -> None:
    x = RNG.integers(0, 9, (40, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.where(np.arange(40) % 2, 7, 100))
    source = Source(tmp_path / "x.npy", labels=tmp_path / "y.npy")
    data = load_data(source, WHOLE)
    assert data.classes == ("7", "100") and data.train.labels is not None
    np.testing.assert_array_equal(data.train.labels, np.where(np.arange(40) % 2, 0, 1))
    assert len(load_data(source, whole(reading=1)).classes) == 101
    np.save(tmp_path / "y.npy", np.where(np.arange(40) % 2, "dog", "cat"))
    data = load_data(source, WHOLE)
    assert data.classes == ("cat", "dog") and data.train.labels is not None
    assert data.train.labels[:3].tolist() == [0, 1, 0]


def test_class_folders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for k in (0, 1, 2, 10, 11):
        grey(tmp_path / str(k), 2, seed=k)
    (tmp_path / "3").mkdir()
    data = load_data(tmp_path, WHOLE)
    assert data.classes == ("0", "1", "2", "10", "11")
    assert data.notes == ("no pictures in the folder 3",)
    old = load_data(tmp_path, whole(reading=1))
    assert old.classes == ("0", "1", "10", "11", "2")


def test_a_class_without_training_images_is_told(tmp_path: Path) -> None:
    grey(tmp_path / "train" / "a", 3)
    grey(tmp_path / "test" / "a", 3, seed=1)
    grey(tmp_path / "test" / "b", 3, seed=2)
    data = load_data(tmp_path, WHOLE)
    assert data.classes == ("a", "b")
    assert data.notes[-1] == "no training images of the class b"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["cat", "dog"] * 4, ("cat", "dog")),
        ([100, 7] * 4, ("7", "100")),
        ([True, False] * 4, ("False", "True")),
    ],
)
def test_labels_of_tables_of_any_type(
    tmp_path: Path, labels: list[Any], classes: tuple[str, ...]
) -> None:
    datasets = pytest.importorskip("datasets")
    grey(tmp_path / "p", 8)
    pictures = [
        {"bytes": (tmp_path / "p" / f"{k}.png").read_bytes(), "path": None} for k in range(8)
    ]
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict({"image": pictures, "label": labels})
    table.cast_column("image", datasets.Image()).to_parquet(tmp_path / "t" / "a.parquet")
    data = load_data(tmp_path / "t", WHOLE)
    assert data.classes == classes and data.train.labels is not None
    assert [data.classes[k] for k in data.train.labels] == [str(label) for label in labels]
    assert "values of the column label" in data.notes[0]
