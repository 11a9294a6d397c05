"""Vectors, captions and maps of images: read by name or in order, and conditions of a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from PIL import Image

from nextpixel import (
    ClassCondition,
    GatedPixelCNN,
    MapCondition,
    Preparation,
    Source,
    TrainConfig,
    VectorCondition,
    load_data,
    save,
)
from nextpixel.data.annotations import BagOfWords, encode_captions
from nextpixel.data.errors import DataError
from nextpixel.data.image_files import write_image
from nextpixel.data.maps import checked_maps
from nextpixel.data.pixels import resize, subsample
from nextpixel.data.splits import Split
from nextpixel.files.card import ModelCard
from nextpixel.models.embedding import Embedding, embed
from nextpixel.training.batches import conditions_of, tensors, training_parts
from nextpixel.training.loop import initial_state, train

IMAGES = np.random.default_rng(0).integers(4, size=(20, 6, 5), dtype=np.uint8)
VECTORS = np.arange(60, dtype=np.float32).reshape(20, 3)
CPU = torch.device("cpu")


def pictures(folder: Path) -> Path:
    """Twenty pictures in two folders, each of one grey value: 10·k."""
    for k in range(20):
        (folder / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        write_image(folder / "ab"[k % 2] / f"{k:02}.png", np.full((1, 6, 5), 10 * k, np.uint8))
    return folder


def saved(path: Path, x: np.ndarray) -> Path:
    np.save(path, x)
    return path


def of_all(data: Any, field: str) -> np.ndarray:
    """What accompanies the images of all splits, in the order of the images' values at (0, 0)."""
    splits = [split for split in (data.train, data.valid, data.test) if len(split)]
    order = np.argsort(
        np.concatenate([np.asarray(split.images)[:, 0, 0, 0] for split in splits]), kind="stable"
    )
    return np.concatenate([getattr(split, field) for split in splits])[order]


def test_an_npz_file_may_hold_everything(tmp_path: Path) -> None:
    maps = np.random.default_rng(1).integers(7, size=(20, 3, 3))
    captions = np.array(["a red car"] * 10 + ["a blue sea"] * 10)
    np.savez(
        tmp_path / "x.npz",
        train_images=IMAGES,
        train_labels=np.arange(20) % 2,
        train_vectors=VECTORS,
        train_captions=captions,
        train_maps=maps,
        test_images=IMAGES[:2],
        test_labels=[0, 1],
        test_vectors=VECTORS[:2],
        test_captions=captions[:2],
        test_maps=maps[:2],
    )
    data = load_data(tmp_path / "x.npz", Preparation(validation=4))
    # a, blue, car, red, sea: 5 words beside 3 numbers; maps of half the size
    assert conditions_of(data) == (
        ClassCondition(2),
        VectorCondition(8),
        MapCondition(1, scale=2, levels=7),
    )
    assert conditions_of(data, categorical_maps=True)[2].categorical
    assert data.preparation.text_encoder == ("a", "blue", "car", "red", "sea")
    _, values = tensors(data.test, np.array([1, 0]), CPU, conditions_of(data))
    labels, vectors, found = values
    assert labels.tolist() == [1, 0]
    assert vectors.tolist() == [[3, 4, 5, 1, 0, 1, 1, 0], [0, 1, 2, 1, 0, 1, 1, 0]]
    assert found.tolist() == maps[[1, 0], None].tolist()
    again = load_data(data.source, data.preparation)
    assert conditions_of(again) == conditions_of(data)


def test_files_in_the_order_of_the_images(tmp_path: Path) -> None:
    np.save(
        tmp_path / "x.npy", np.arange(20, dtype=np.uint8)[:, None, None].repeat(6, 1).repeat(5, 2)
    )
    np.save(tmp_path / "v.npy", VECTORS)
    np.save(
        tmp_path / "m.npy", VECTORS.reshape(20, 1, 1, 3)[..., :2].repeat(3, 1)
    )  # (N, h, w, channels) is 3×1, 2
    (tmp_path / "c.txt").write_text("\n".join(f"number {k}" for k in range(20)))
    data = load_data(
        Source(tmp_path / "x.npy", vectors=tmp_path / "v.npy", captions=tmp_path / "c.txt")
    )
    vectors = of_all(data, "vectors")
    assert np.array_equal(vectors[:, :3], VECTORS)
    assert all(
        vectors[k, 3 + data.preparation.text_encoder.index(str(k))] == 1
        for k in data.train.images[:, 0, 0, 0]
    )


def test_tables_by_name_and_maps_by_folder(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    names = [f"{'ab'[k % 2]}/{k:02}.png" for k in range(20)]
    rows = [f"{name},{k},{k / 2}" for k, name in enumerate(names)]
    (tmp_path / "v.csv").write_text("\n".join(["file,age,height", *reversed(rows)]) + "\n")
    (tmp_path / "c.csv").write_text(
        "\n".join(["text,file", *(f"grey {k},{name}" for k, name in enumerate(names))])
    )
    maps = tmp_path / "maps"
    for k, name in enumerate(names):
        (maps / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(maps / name, np.full((3, 6, 5), 10 * k + 1, np.uint8))
    data = load_data(
        Source(folder, vectors=tmp_path / "v.csv", captions=tmp_path / "c.csv", maps=maps)
    )
    assert np.array_equal(
        of_all(data, "vectors")[:, :2], np.stack([np.arange(20), np.arange(20) / 2], axis=1)
    )
    assert np.array_equal(
        of_all(data, "maps")[:, :, 0, 0], (10 * np.arange(20) + 1)[:, None].repeat(3, 1)
    )
    assert of_all(data, "captions").tolist() == [f"grey {k}" for k in range(20)]
    assert conditions_of(data)[2] == MapCondition(3, scale=1, levels=256)


def length_of_text(captions: list[str]) -> np.ndarray:
    return np.array([[len(caption)] for caption in captions], float)


def test_any_function_encodes_texts(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "x.npz", train_images=IMAGES, train_captions=[f"{'x' * k}" for k in range(20)]
    )
    data = load_data(tmp_path / "x.npz", text_encoder=length_of_text)
    assert data.train.vectors is not None and set(data.train.vectors[:, 0].tolist()) <= set(
        range(20)
    )
    assert data.preparation.text_encoder == f"{__name__}:length_of_text"
    with pytest.raises(DataError, match="give text_encoder=, that function, if you trust it"):
        load_data(data.source, data.preparation)
    by_tensor = load_data(
        tmp_path / "x.npz", text_encoder=lambda texts: torch.tensor(length_of_text(texts))
    )
    assert np.array_equal(by_tensor.train.vectors, data.train.vectors)


@pytest.mark.parametrize(
    "encoder",
    [
        lambda texts: torch.tensor([[len(text), 1.0] for text in texts], requires_grad=True),
        lambda texts: torch.tensor([[len(text), 1.0] for text in texts]).bfloat16(),
        lambda texts: [torch.tensor([len(text), 1.0], requires_grad=True) for text in texts],
        lambda texts: [[len(text), 1] for text in texts],
        lambda text: [len(text.lower()), 1],  # A list has no such method.
        lambda text: torch.tensor(
            [text.count("x") + text.count("y"), 1.0]
        ),  # A list has that method.
    ],
    ids=["graph", "bfloat16", "list of tensors", "lists", "one text", "one text, deceptively"],
)
def test_encoders_give_arrays_or_tensors_of_texts_or_of_one(encoder: Any) -> None:
    for captions in (["xy", "xyxy", "y"], ["xxx"]):
        vectors = encode_captions(encoder, captions)
        assert vectors.dtype == np.float32
        assert vectors.tolist() == [[len(caption), 1] for caption in captions]


def raises(texts: Any) -> Any:
    raise KeyError("no\nsuch word")


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            raises,
            (
                r":raises raised KeyError \(.*such word.*\) for 3 captions, and raised KeyError .*"
                r" must give \(3, size\)"
            ),
        ),
        (
            lambda texts: np.zeros((2, 2)),
            r"gave an array of shape \(2, 2\) for 3 captions, and gave .* for one",
        ),
        (
            lambda texts: np.array([len(text) for text in texts]),
            r"of shape \(3,\) for 3 captions; it must give",
        ),
        (lambda text: np.zeros(len(text.lower())), r"gave an array of shape \(4,\) for one"),
        (
            lambda texts: np.full((len(texts), 2), np.nan),
            "gave NaN or infinity for the caption 'xy'",
        ),
        (
            lambda texts: np.array([[1, 2], [1, np.nan], [1, 2]]),
            "gave NaN or infinity for the caption 'xyxy'",
        ),
        (
            lambda texts: np.full((len(texts), 2), np.inf),
            "gave NaN or infinity for the caption 'xy'",
        ),
        (
            lambda texts: np.array([[text] for text in texts]),
            "the vectors of the text encoder .*: the values are <U4",
        ),
        (lambda texts: np.zeros((len(texts), 0)), r"of shape \(3, 0\), but numbers"),
    ],
)
def test_encoders_that_fail_are_named(encoder: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        encode_captions(encoder, ["xy", "xyxy", "y"])
    assert "the text encoder" in str(caught.value) and "\n" not in str(caught.value)


def test_a_bag_of_words() -> None:
    encoder = BagOfWords.of(["The cat; the CAT, the dog", "a cat", "Ünïcode 7"], most=3)
    assert encoder.words == ["cat", "7", "a"]
    assert encoder(["cat cat 7!", "nothing"]).tolist() == [[1, 1, 0], [0, 0, 0]]
    with pytest.raises(DataError, match="needs at least one word"):
        BagOfWords.of(["!!!"])


def test_missing_vectors_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text(
        "x,y\n" + "".join(f"{k},{'' if k == 3 else k}\n" for k in range(20))
    )
    np.save(tmp_path / "x.npy", IMAGES)
    data = load_data(
        Source(tmp_path / "x.npy", vectors=tmp_path / "v.csv"),
        Preparation(levels=4, validation=0, test=0),
    )
    assert data.train.vectors is not None and np.isnan(data.train.vectors).all(axis=1).nonzero()[
        0
    ].tolist() == [3]
    model = GatedPixelCNN(levels=4, features=8, layers=1, condition=VectorCondition(2))
    config = TrainConfig(steps=2, batch_size=20, precision="float32")
    assert all(
        np.isfinite(step.bits_per_dim) for step in train(initial_state(model, config), data, config)
    )


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {"vectors": "no.npy"}, "there is no such file"),
        ({"v.npy": VECTORS[:5]}, {"vectors": "v.npy"}, "has 5 rows, but there are 20 images"),
        ({"v.npy": VECTORS[:, 0]}, {"vectors": "v.npy"}, r"\(images, size\) are expected"),
        ({"v.npy": np.full((20, 2), np.inf)}, {"vectors": "v.npy"}, "column 0 .* infinite"),
        ({"v.csv": "a,b\n1\n"}, {"vectors": "v.csv"}, "row 2: 1 cells, but the head has 2"),
        ({"v.csv": "a,b\n"}, {"vectors": "v.csv"}, "no rows below its head"),
        ({"v.csv": "a\nred\n"}, {"vectors": "v.csv"}, "something that is not a number"),
        (
            {"v.csv": "file,a\nx.png,1\n"},
            {"vectors": "v.csv"},
            "have no names; leave that column out",
        ),
        ({"v.txt": "1"}, {"vectors": "v.txt"}, "from an .npy, .csv, .tsv or .parquet file"),
        ({"c.txt": "one\ntwo"}, {"captions": "c.txt"}, "has 2 rows"),
        ({"c.txt": b"\xff\xfe no"}, {"captions": "c.txt"}, r"c\.txt: cannot be read as UTF-8 text"),
        ({"c.txt": ""}, {"captions": "c.txt"}, "has 0 rows"),
        (
            {"c.csv": b"text\n\xff\xfe\n"},
            {"captions": "c.csv"},
            r"c\.csv: cannot be read as a table of UTF-8 text",
        ),
        ({"c.csv": "words\nx\n"}, {"captions": "c.csv"}, "one of them must be called text"),
        ({"m.npy": IMAGES[:, 0]}, {"maps": "m.npy"}, r"\(images, height, width\) is expected"),
        ({"m.npy": IMAGES[:, :, :0]}, {"maps": "m.npy"}, r"of shape \(16, 6, 0\), but"),
        (
            {"m.npy": np.where(IMAGES == 3, np.inf, 0)},
            {"maps": "m.npy"},
            r"maps of .*x\.npy hold infinite numbers",
        ),
        ({"m.npy": IMAGES.astype(int) - 5}, {"maps": "m.npy"}, "integers are 0 and above"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, files: dict[str, Any], options: dict[str, str], message: str
) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    for name, content in files.items():
        if isinstance(content, str | bytes):
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            np.save(tmp_path / name, content)
    with pytest.raises((DataError, FileNotFoundError), match=message):
        loaded(tmp_path / "x.npy", **{key: tmp_path / name for key, name in options.items()})


def test_names_that_are_missing(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    (tmp_path / "v.csv").write_text("file,a\na/00.png,1\n")
    with pytest.raises(DataError, match=r"no row for a/02.png \(19 of 20 images\)"):
        load_data(Source(folder, vectors=tmp_path / "v.csv"))
    (tmp_path / "maps").mkdir()
    with pytest.raises(DataError, match="holds no map for a/00.png"):
        load_data(Source(folder, maps=tmp_path / "maps"))


def test_names_that_are_there_twice(tmp_path: Path) -> None:
    rows = [f"{'ab'[k % 2]}/{k:02}.png,{k}" for k in range(20)]
    (tmp_path / "v.csv").write_text("\n".join(["file,a", *rows, rows[7]]))
    with pytest.raises(DataError, match=r"v\.csv has several rows for 1 of 20 images, the first"):
        load_data(Source(pictures(tmp_path / "photos"), vectors=tmp_path / "v.csv"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_only_ends_of_lines_part_captions(tmp_path: Path, end: str, last: bool) -> None:
    """Not what Python calls a line, too; and a caption may be empty."""
    captions = ["a\u2028b", "c\x0bd\x85e", *map(str, range(17)), ""]
    (tmp_path / "c.txt").write_bytes((end.join(captions) + end * last).encode())
    np.save(tmp_path / "x.npy", IMAGES)
    if not last:  # The end of the last caption but one ends the file.
        captions = captions[:-1]
        np.save(tmp_path / "x.npy", IMAGES[:-1])
    data = load_data(
        Source(tmp_path / "x.npy", captions=tmp_path / "c.txt"), Preparation(validation=0, test=0)
    )
    assert list(data.train.captions) == captions


def test_maps_of_an_empty_split(tmp_path: Path) -> None:
    maps = IMAGES.astype(np.int16)
    np.savez(
        tmp_path / "x.npz", train_images=IMAGES, train_maps=maps, test_images=IMAGES, test_maps=maps
    )
    data = load_data(tmp_path / "x.npz", Preparation(validation=0))
    assert len(data.valid) == 0 and data.map_levels == 4


def test_maps_have_levels_of_all_splits(tmp_path: Path) -> None:
    """As images: those that occur, but 2 if they are binary, and 256 for bytes of many levels."""
    np.save(tmp_path / "x.npy", IMAGES)
    rare = load_data(
        Source(tmp_path / "x.npy", vectors=saved(tmp_path / "rows.npy", np.arange(20)[:, None]))
    ).test.vectors
    assert rare is not None
    for highest, dtype, levels in (
        (1, np.uint8, 2),
        (9, np.uint8, 10),
        (32, np.uint8, 256),
        (9, np.int16, 10),
        (200, np.int64, 201),
    ):
        maps = (IMAGES % 2).astype(dtype)
        maps[int(rare[0, 0]), 2, 3] = highest
        data = load_data(Source(tmp_path / "x.npy", maps=saved(tmp_path / "m.npy", maps)))
        assert data.train.maps is not None and data.train.maps.max() == 1
        assert data.map_levels == levels
    np.savez(
        tmp_path / "x.npz",
        train_images=IMAGES,
        train_maps=maps,
        test_images=IMAGES,
        test_maps=maps / 2,
    )
    with pytest.raises(DataError, match="floats in some splits and integers in others"):
        load_data(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((4, 20, 8, 8), (8, 8), (4, 20, 8, 8)),
        ((4, 8, 8, 20), (8, 8), (4, 20, 8, 8)),
        ((4, 8, 8, 3), (8, 8), (4, 3, 8, 8)),
        ((4, 3, 2, 2), (4, 4), (4, 3, 2, 2)),
        ((4, 3, 4, 9), (6, 8), (4, 9, 3, 4)),
        ((4, 9, 3, 4), (5, 7), (4, 9, 3, 4)),
        ((4, 8, 8, 8), (8, 8), (4, 8, 8, 8)),
        (
            (4, 8, 4, 2),
            (8, 4),
            (4, 2, 8, 4),
        ),  # Both fit, the first at half the size: the shorter axis decides.
        ((4, 20, 8, 8), None, (4, 8, 20, 8)),
        ((4, 7, 8), (7, 8), (4, 1, 7, 8)),
    ],
)
def test_the_size_of_images_tells_channels_from_rows(
    shape: tuple[int, ...], size: tuple[int, int] | None, expected: tuple[int, ...]
) -> None:
    assert checked_maps(np.zeros(shape), "maps", size).shape == expected


def pairs(
    folder: Path,
    sizes: list[tuple[int, int]],
    map_sizes: list[tuple[int, int]],
    palette: bool = False,
) -> None:
    """Grey pictures in photos and maps; maps of a palette hold five numbers."""
    draw = np.random.default_rng(2)
    for name, shapes in (("photos", sizes), ("maps", map_sizes)):
        (folder / name).mkdir()
        for k, shape in enumerate(shapes):
            numbered = palette and name == "maps"
            picture = Image.fromarray(
                draw.integers(5 if numbered else 256, size=shape, dtype=np.uint8)
            )
            if numbered:
                picture = picture.convert("P")
                picture.putpalette([200, 0, 0, 0, 200, 0, 9, 9, 9, 0, 0, 200, 255, 255, 255])
            picture.save(folder / name / f"{k:02}.png")


SIZES = [(40 + k, 60 - k) for k in range(12)]


@pytest.mark.parametrize(
    ("sizes", "map_sizes", "size", "shape"),
    [
        (SIZES, SIZES, "auto", (32, 32)),
        (SIZES, SIZES, (20, 10), (20, 10)),
        (SIZES, [SIZES[0]] + [(-(-h // 2), -(-w // 2)) for h, w in SIZES[1:]], (10, 10), (10, 10)),
        ([(70, 90)] * 12, [(35, 45)] * 12, "auto", (32, 32)),
        ([(70, 90)] * 12, [(140, 180)] * 12, "auto", (32, 32)),
        (SIZES, [(32, 32)] * 12, "auto", (32, 32)),
        (SIZES, [(16, 16)] * 12, "auto", (16, 16)),
        ([(12, 9)] * 12, [(6, 5)] * 12, None, (6, 5)),
        ([(12, 9)] * 12, [(4, 3)] * 12, "auto", (4, 3)),
    ],
)
@pytest.mark.parametrize("palette", [False, True])
def test_maps_of_a_folder_follow_their_images(
    tmp_path: Path, sizes: Any, map_sizes: Any, size: Any, shape: tuple[int, int], palette: bool
) -> None:
    """Their size is the images', or a fraction of it; the numbers of a palette are never mixed."""
    pairs(tmp_path, sizes, map_sizes, palette)
    data = load_data(
        Source(tmp_path / "photos", maps=tmp_path / "maps"),
        Preparation(size=size, validation=3, test=0),
    )
    scale = -(-data.train.images.shape[2] // shape[0])
    assert conditions_of(data, categorical_maps=palette) == (
        MapCondition(1, scale=scale, levels=5 if palette else 256, categorical=palette),
    )
    reduce = subsample if palette else resize
    for split in (data.train, data.valid):
        assert split.maps is not None
        for name, found in zip(split.names, split.maps, strict=True):
            with Image.open(tmp_path / "maps" / name) as stored:
                original = np.asarray(stored)[None]
            assert np.array_equal(found, reduce(original, shape))
    assert conditions_of(load_data(data.source, data.preparation)) == conditions_of(data)


def test_maps_of_a_folder_that_do_not_fit(tmp_path: Path) -> None:
    pairs(tmp_path, [(12, 8)] * 10, [(12, 8)] * 9 + [(12, 9)])
    folder, maps = tmp_path / "photos", tmp_path / "maps"
    with pytest.raises(
        DataError,
        match=r"09\.png is a map of 12x9 pixels, but its image of 12x8, prepared 12x8; give",
    ):
        load_data(Source(folder, maps=maps))
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(maps / "09.png")
    with pytest.raises(
        DataError, match=r"09\.png is a map of 6x4 pixels"
    ):  # A fraction, but only one of them.
        load_data(Source(folder, maps=maps))
    Image.fromarray(np.zeros((12, 8, 3), np.uint8)).save(maps / "09.png")
    with pytest.raises(
        DataError, match=r"is a map of 3 channels, but the first in .* is one of 1 channel; convert"
    ):
        load_data(Source(folder, maps=maps))
    Image.fromarray(np.zeros((12, 8), np.uint8)).convert("P").save(maps / "09.png")
    with pytest.raises(
        DataError, match="is a map of numbered colours, but the first in .* is one of 1 channel"
    ):
        load_data(Source(folder, maps=maps))
    (maps / "09.png").write_text("no picture")
    with pytest.raises(DataError, match=r"^\S*09\.png: cannot be read as a picture"):
        load_data(Source(folder, maps=maps))


def test_conditions_are_dropped_by_chance_alone() -> None:
    """The share is as requested, equal for any number of processes, and changes nothing else."""
    split = Split(
        images=np.zeros((400, 1, 2, 2), np.uint8),
        labels=np.zeros(400, int),
        vectors=np.ones((400, 2), np.float32),
    )
    conditions = (ClassCondition(2), VectorCondition(2))
    config = TrainConfig(steps=1, batch_size=400, condition_dropout=0.3)

    def unknown(rank: int, processes: int) -> torch.Tensor:
        ((_, values),) = training_parts(split, config, 0, rank, processes, CPU, conditions)
        return torch.stack([values[0] == -1, values[1].isnan().all(dim=1)], dim=1)

    whole = unknown(0, 1)
    assert torch.equal(whole[0::2], unknown(0, 2)) and torch.equal(whole[1::2], unknown(1, 2))
    both = 0.3 + 0.7 * 0.3**2
    assert abs(float(whole.all(dim=1).double().mean()) - both) < 0.08
    assert abs(float(whole.double().mean()) - (0.3 + 0.7 * 0.3)) < 0.08
    ((_, values),) = training_parts(split, config, 0, 0, 1, CPU, conditions[:1])
    assert abs(float((values[0] == -1).double().mean()) - 0.3) < 0.08


def test_maps_are_mirrored_and_cut_with_their_images() -> None:
    x = np.random.default_rng(0).integers(9, size=(30, 1, 6, 7)).astype(np.uint8)
    split = Split(images=x, maps=x.astype(np.int64) + 1)
    config = TrainConfig(steps=1, batch_size=30, crop=4, flip=True)
    ((images, (maps,)),) = training_parts(
        split, config, 0, 0, 1, CPU, (MapCondition(1, scale=1, levels=10),)
    )
    assert torch.equal(images + 1, maps)


def test_the_scale_of_vectors_does_not_matter() -> None:
    """Training standardises vectors: in other units, weights and losses are the same."""
    losses = []
    for unit in (1.0, 1e6):
        torch.manual_seed(0)
        vectors = (np.random.default_rng(0).random((40, 2)) * unit + 3 * unit).astype(np.float32)
        images = (
            (vectors[:, :1, None, None] / unit - 3 > 0.5).repeat(4, 2).repeat(4, 3).astype(np.uint8)
        )
        split = Split(images=images, vectors=vectors)
        data = replace(
            load_data("digits"),
            levels=2,
            shape=(4, 4),
            classes=(),
            train=split,
            valid=split,
            test=split,
        )
        model = GatedPixelCNN(
            levels=2, features=8, layers=2, kernel_size=3, condition=VectorCondition(2)
        )
        config = TrainConfig(
            steps=30, batch_size=40, precision="float32", learning_rate=1e-2, optimizer="adamw"
        )
        losses.append(
            [step.bits_per_dim for step in train(initial_state(model, config), data, config)]
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and losses[0][-1] < 0.5 * losses[0][0]


def test_an_embedding_gives_vectors_and_holds_its_classes_out(tmp_path: Path) -> None:
    network = Embedding(levels=17, size=(8, 8), outputs=3, features=2)
    whole = load_data("digits")
    card = ModelCard(source=whole.source, held_out=("3", "7"))
    save(network, tmp_path / "e", card=card)
    data = load_data(Source("digits", embedding=tmp_path / "e"))
    assert data.held_out == ("3", "7")
    assert (
        data.classes == ()
        and data.train.labels is None
        and conditions_of(data) == (VectorCondition(3),)
    )
    assert len(data.test) == sum(
        np.isin(split.labels, (3, 7)).sum() for split in (whole.train, whole.valid, whole.test)
    )
    assert len(data.train) == len(whole.train) - np.isin(whole.train.labels, (3, 7)).sum()
    x = torch.from_numpy(np.asarray(data.test.images)).long()
    assert np.array_equal(data.test.vectors, embed(network, x).numpy())
    save(network, tmp_path / "e", card=replace(card, source=Source("elsewhere")))
    elsewhere = load_data(Source("digits", embedding=tmp_path / "e"))
    assert len(elsewhere.test) == len(whole.test) and elsewhere.held_out == ()


def test_an_embedding_knows_its_classes_wherever_they_lie(tmp_path: Path) -> None:
    """Classes that it has not seen are in the test split only, also in a copy of the source."""
    for place in ("here", "there"):
        for k in range(20):
            folder = tmp_path / place / "abcd"[k % 4]
            folder.mkdir(parents=True, exist_ok=True)
            write_image(folder / f"{k:02}.png", np.full((1, 8, 8), 10 * k, np.uint8))
    whole = load_data(tmp_path / "here")
    network = Embedding(size=(8, 8), outputs=3, features=2)
    card = ModelCard(source=whole.source, classes=whole.classes, held_out=("b", "d"))
    save(network, tmp_path / "e", card=card)
    for place in ("here", "there"):
        data = load_data(Source(tmp_path / place, embedding=tmp_path / "e"))
        assert data.held_out == ("b", "d")
        assert {name[0] for name in data.test.names} == {"b", "d"} and len(data.test) == 10
        assert {name[0] for name in (*data.train.names, *data.valid.names)} == {"a", "c"}
    assert (
        load_data(
            Source(tmp_path / "there", embedding=tmp_path / "e"), Preparation(ignore_labels=True)
        ).held_out
        == ()
    )
    with pytest.raises(
        DataError,
        match="never saw 2 classes of .*here, but without labels .* leave out ignore_labels=True",
    ):
        load_data(
            Source(tmp_path / "here", embedding=tmp_path / "e"), Preparation(ignore_labels=True)
        )
    (tmp_path / "there" / "a").rename(tmp_path / "there" / "e")
    assert (
        load_data(Source(tmp_path / "there", embedding=tmp_path / "e")).held_out == ()
    )  # Other classes.
    save(network, tmp_path / "e", card=replace(card, held_out=()))
    assert (
        load_data(
            Source(tmp_path / "here", embedding=tmp_path / "e"), Preparation(ignore_labels=True)
        ).held_out
        == ()
    )
    save(network, tmp_path / "e", card=replace(card, held_out=("x", "y")))
    with pytest.raises(
        DataError,
        match="never saw the classes x, y of .*here, but none of its classes is called so",
    ):
        load_data(Source(tmp_path / "here", embedding=tmp_path / "e"))
