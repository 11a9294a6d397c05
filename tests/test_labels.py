"""Labels in tables and in the names of files."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from nextpixel.data.load import DataError, ImageData, Preparation, Source, load_data
from nextpixel.data.table_files import row_of_each
from nextpixel.errors import UsageError
from nextpixel.settings.label_pattern import check_pattern, label_in, most_trials

ALL = Preparation(validation=0, test=0)
NAMES = [f"{'ab'[k % 2]}/{k:02d}.png" for k in range(6)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures in two sub-folders; picture k is black but for the value k."""
    for k, name in enumerate(NAMES):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        x = np.zeros((4, 4), np.uint8)
        x[0, 0] = k
        Image.fromarray(x).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def written(path: Path, rows: Sequence[Sequence[Any]], *, mark: str = ",") -> Path:
    path.write_text("\n".join(mark.join(map(str, row)) for row in rows), "utf-8-sig")
    return path


def labels_by_picture(data: ImageData) -> dict[int, str | None]:
    """The name of each picture's class, by the value that tells it apart."""
    assert data.train.labels is not None
    values = np.asarray(data.train.images)[:, 0, 0, 0].tolist()
    names = [None if k < 0 else data.classes[k] for k in data.train.labels]
    return dict(zip(values, names, strict=True))


@pytest.mark.parametrize(
    "cell",
    [
        lambda name: name,
        lambda name: f"/data/photos/{name}",
        lambda name: name[2:],
        lambda name: name[2:-4],
        lambda name: f'"{name[:-4]}.jpg"',
        lambda name: name.replace("/", "\\"),
    ],
    ids=["path", "longer path", "name", "stem", "another ending, quoted", "backslashes"],
)
@pytest.mark.parametrize("mark", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_rows_are_found_by_name(photos: Path, tmp_path: Path, cell: Any, mark: str) -> None:
    order = [3, 0, 5, 1, 4, 2]
    rows = [["filename", "class"], *([cell(NAMES[k]), f"c{10 - k}"] for k in order)]
    data = load_data(Source(photos, labels=written(tmp_path / "t.csv", rows, mark=mark)), ALL)
    assert labels_by_picture(data) == {k: f"c{10 - k}" for k in range(6)}
    assert data.classes == ("c5", "c6", "c7", "c8", "c9", "c10")  # in the order of the numbers


def test_what_has_no_label_is_of_an_unknown_class(photos: Path, tmp_path: Path) -> None:
    rows = [["file", "y"], [NAMES[0], 1.0], [NAMES[1], ""], [NAMES[2], 0.0], ["other.png", 1.0]]
    data = load_data(Source(photos, labels=written(tmp_path / "t.csv", rows)), ALL)
    assert data.classes == ("0", "1")
    assert labels_by_picture(data) == {0: "1", 1: None, 2: "0", 3: None, 4: None, 5: None}
    said = " ".join(data.notes)
    for words in ("4 of 6 images have no label", "3 of 6 images are not in", "1 row is of no"):
        assert words in said
    np.save(tmp_path / "x.npy", np.zeros((4, 4, 4), np.uint8))
    np.save(tmp_path / "y.npy", np.array([2, -1, 0, 2]))
    data = load_data(Source(tmp_path / "x.npy", labels=tmp_path / "y.npy"), ALL)
    assert data.classes == ("0", "2") and data.train.labels.tolist() == [1, -1, 0, 1]  # type: ignore[union-attr]
    np.save(tmp_path / "y.npy", np.array([1, -1, 1, 1]))
    with pytest.raises(DataError, match="-1 says that a label is unknown; write 0 and 1"):
        load_data(Source(tmp_path / "x.npy", labels=tmp_path / "y.npy"), ALL)


def test_several_labels_are_a_vector(photos: Path, tmp_path: Path) -> None:
    expected = {"blue": [0, 1, 0, 1, 0, 1], "red": [1, 0, 0, 1, 1, 0]}
    columns: dict[str, list[Any]] = {"file": NAMES, **expected}
    rows = list(zip(*([name, *map(str, column)] for name, column in columns.items()), strict=True))
    (tmp_path / "l").mkdir()
    lists = [[name for name in expected if expected[name][k]] for k in range(6)]
    parquet.write_table(
        pa.table({"file": NAMES, "labels": lists, **expected}), tmp_path / "t.parquet"
    )
    cells = [["file", "tags"], *([n, ";".join(own)] for n, own in zip(NAMES, lists, strict=True))]
    for table, column in (
        (written(tmp_path / "t.csv", rows), "blue,red"),
        (tmp_path / "t.parquet", "blue,red"),
        (tmp_path / "t.parquet", None),
        (written(tmp_path / "c.csv", cells), None),
    ):
        data = load_data(Source(photos, labels=table, label_column=column), ALL)
        assert data.preparation.attributes == ("blue", "red") and data.classes == ()
        vectors = np.array(list(expected.values())).T.astype(float)
        if table.name == "c.csv":
            vectors[2] = np.nan  # an empty cell
        assert np.array_equal(data.train.vectors, vectors[[0, 2, 4, 1, 3, 5]], equal_nan=True)  # type: ignore[arg-type]
    # What an entry says is recorded, and repeated where fewer labels occur.
    few = written(tmp_path / "few.csv", [["file", "tags"], *([name, "red"] for name in NAMES)])
    again = load_data(Source(photos, labels=few), data.preparation)
    assert again.train.vectors.tolist() == [[0, 1]] * 6  # type: ignore[union-attr]
    few.write_text(few.read_text().replace("red", "green"))
    with pytest.raises(DataError, match="label 'green', but the model knows only blue, red"):
        load_data(Source(photos, labels=few), data.preparation)


def test_minus_one_is_no_beside_one_and_unknown_beside_zero(photos: Path, tmp_path: Path) -> None:
    head = ["file", "a", "b"]
    rows = [head, *([name, (-1) ** k, 1] for k, name in enumerate(NAMES))]
    table = written(tmp_path / "t.csv", rows)
    data = load_data(Source(photos, labels=table, label_column="a,b"), ALL)
    assert data.train.vectors.tolist() == [[1, 1]] * 3 + [[0, 1]] * 3  # type: ignore[union-attr]
    rows[1][2] = 0
    data = load_data(Source(photos, labels=written(table, rows), label_column="a,b"), ALL)
    assert np.isnan(data.train.vectors[3:]).all()  # type: ignore[index]


def test_tables_of_arrays_are_by_order_or_number(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((2, 2)))
    x = np.arange(4, dtype=np.uint8).repeat(4).reshape(4, 2, 2)
    np.save(tmp_path / "images.npy", x)
    # It lies beside the images, and is found.
    table = written(tmp_path / "labels.csv", [["label"], *"dcba"])
    data = load_data(tmp_path / "images.npy", ALL)
    assert labels_by_picture(data) == dict(enumerate("dcba"))
    assert "labels.csv lies with the images" in " ".join(data.notes)
    assert not load_data(tmp_path / "images.npy", Preparation(reading=2)).classes
    assert not load_data(tmp_path / "images.npy", Preparation(ignore_labels=True)).classes
    for first in (0, 1):
        written(table, [["id", "label"], *([k + first, "dcba"[k]] for k in (2, 0, 3, 1))])
        assert labels_by_picture(load_data(tmp_path / "images.npy", ALL)) == dict(enumerate("dcba"))
    written(table, [["id", "label"], *([f"q{k}", "a"] for k in range(4))])
    with pytest.raises(DataError, match="images of an array are called by their numbers"):
        load_data(tmp_path / "images.npy", ALL)


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        ([["file", "a", "b"], ["x", 1, 2]], None, "has the columns file, a, b; say which holds"),
        ([["file", "label"], ["00.png", ""]], None, "all labels are unknown, says labels: column"),
        ([["file", "label"], ["x.png", 1]], None, "names none of 6 images: it holds 'x.png'"),
        ([["file", "label"], ["00.png", 1], ["a/00.png", 2]], "c", "has no column 'c'"),
        ([["file", "label"], ["00.png", 1], ["00.png", 2]], None, "several rows for 1 of 6"),
        ([["file", "label"], ["00.png", 0.5]], None, "holds fractions, such as 0.5"),
        ([["file", "a", "b"], ["00.png", 0.5, 1]], "a,b", "but a label is 0 or 1"),
        ([["label", "label"], ["00.png", 0.5]], None, "has two columns 'label'"),
        ([["label"], *"abcdef"], None, "has no column that names the images"),
    ],
)
def test_tables_that_do_not_fit(
    photos: Path, tmp_path: Path, rows: Any, column: str | None, message: str
) -> None:
    table = written(tmp_path / "t.csv", rows)
    with pytest.raises(DataError, match=message):
        load_data(Source(photos, labels=table, label_column=column), ALL)


def test_a_row_belongs_to_one_image() -> None:
    images = ["a/1.png", "b/1.png", "b/s.tif#1", "b/s.tif#2"]
    places, left = row_of_each(images, ["b/1", "s.tif#2", "x/s.tif#1", "a/1.png", "2"], "t")
    assert places.tolist() == [3, 0, -1, 1] and left == 2
    assert row_of_each(images, ["s"], "t")[0].tolist() == [-1, -1, 0, 0]  # the pages of a file
    with pytest.raises(DataError, match=r"a row of t may be of a/1.png and of b/1.png \(1 such"):
        row_of_each(images, ["1.png"], "t")
    assert row_of_each(["a/1.png"], ["b/1.png"], "t")[0].tolist() == [-1]


def test_sub_folders_come_before_a_table_that_was_not_asked_for(photos: Path) -> None:
    table = written(photos / "labels.csv", [["file", "label"], *([name, "c"] for name in NAMES)])
    data = load_data(photos, ALL)
    assert data.classes == ("a", "b") and "labels.csv is not used" in " ".join(data.notes)
    assert load_data(Source(photos, labels=table), ALL).classes == ("c",)


def test_labels_are_in_the_names_of_files(photos: Path) -> None:
    data = load_data(Source(photos, label_pattern=r"^\d([0-9])"), ALL)
    assert labels_by_picture(data) == {k: str(k) for k in range(6)}
    data = load_data(Source(photos, label_pattern="^(a)/"), ALL)
    assert [labels_by_picture(data)[k] for k in range(2)] == ["a", None]
    with pytest.raises(DataError, match="is in none of 6 names, such as a/00.png"):
        load_data(Source(photos, label_pattern="(cat)"), ALL)
    with pytest.raises(UsageError, match="both say where the labels are"):
        Source(photos, label_pattern="(.)", labels="t.csv")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(a+)+b", "repeats a group"),
        ("((?:a|a)*)b", "repeats a group"),
        ("(a", "is not a regular expression"),
        ("a+", "has 0 groups"),
        ("(?=a)(b)", "looks around"),
        ("(" + "a" * 300 + ")", "at most 200"),
    ],
)
def test_patterns_that_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_pattern(pattern)


def test_a_pattern_takes_a_bounded_time() -> None:
    begin = time.perf_counter()
    for pattern in ("(.*).*.*x", "(a*)a*a*a*a*b", "(.+?)_+[^_]*_b"):
        check_pattern(pattern)
        for length in range(10, 256, 35):
            name = "a" * length
            if most_trials(pattern, length) < 2 * 10**7:
                assert label_in(pattern, name) is None
            else:
                with pytest.raises(UsageError, match="has too many repetitions"):
                    label_in(pattern, name)
    assert time.perf_counter() - begin < 5
    assert re.search("(.+)_[0-9]+", "x") is None and label_in("(.+)_[0-9]+", "d/a_b_1.png") == "a_b"


def test_splits_of_few_images_are_said(tmp_path: Path) -> None:
    x = np.random.default_rng(3).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    data = load_data(tmp_path / "x.npy", Preparation())
    sizes = [len(split) for split in (data.train, data.valid, data.test)]
    assert sizes == [27, 1, 2]
    shown = " / ".join(map(str, sizes))
    assert f"30 images are divided into {shown}" in data.notes[0]
    assert "split_by=index" in data.notes[0] and "fewer than 30 is uncertain" in data.notes[1]
    exact = load_data(tmp_path / "x.npy", Preparation(split_by="index"))
    assert len(exact.valid) == len(exact.test) == 3 and len(exact.notes) == 1
    assert load_data(tmp_path / "x.npy", ALL).notes == ()
