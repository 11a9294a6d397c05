"""Labels that do not lie with the images: in a table, or in the names of files.

An image with one label is of a class. Images with several labels each, in several columns or in one
cell, are described by a vector of zeros and ones. Whatever has no label is of an unknown class, -1,
or has an unknown vector, NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.classes import LABEL_COLUMNS, MOST_CLASSES
from nextpixel.data.errors import DataError
from nextpixel.data.folders import require_file
from nextpixel.data.label_cells import (
    Labels,
    labels_of_cells,
    labels_of_columns,
    one_label_each,
)
from nextpixel.data.splits import Split
from nextpixel.data.storage import Stored
from nextpixel.data.table_files import (
    FILE_COLUMNS,
    TABLES,
    named_column,
    read_table,
    row_of_each,
)
from nextpixel.data.tables import is_saved_dataset
from nextpixel.settings.label_pattern import label_in
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source

__all__ = ["assigned_labels", "has_own_labels", "labelled"]


def has_own_labels(source: Source) -> bool:
    """Whether a source has labels that take the place of those that lie with the images."""
    table = source.labels is not None and _is_table(Path(source.labels))
    return table or source.label_pattern is not None


def labelled(stored: Stored, source: Source, preparation: Preparation) -> Stored:
    """Give images the labels that a table or the names of their files hold.

    A table that is not given is found: ``labels.csv`` in a folder of pictures without classes, or,
    as for arrays, ``NAME_labels.csv`` beside NAME. It may be a .tsv or .parquet file, too.

    Raises:
        FileNotFoundError: If the table does not exist.
        DataError: If it does not fit the images.
    """
    if preparation.ignore_labels:
        return stored
    if source.label_pattern is not None:
        return assigned_labels(stored, *_of_names(stored, source.label_pattern), preparation)
    table, found = source.labels, False
    if table is None and preparation.reading > 2:
        table = _beside(Path(source.images).expanduser())
        found = table is not None
        if found and len(stored.classes) > 1:
            note = f"{table} is not used, as the images have classes; to use it, give ‹labels›"
            return replace(stored, notes=(*stored.notes, note))
    if table is None and source.label_column is not None and not _has_columns(source):
        raise DataError(
            f"‹label_column={source.label_column}› was given, but {source} has no table of labels;"
            " give ‹labels›, or leave it out"
        )
    if table is None or not _is_table(Path(table)):
        if table is not None and not all(split.has("labels") for split in stored.splits.values()):
            raise DataError(
                f"‹labels={table}› is for an .npy or .npz file of images; for {source} give a"
                f" table ({', '.join(TABLES)}) that names files"
            )
        return stored
    path = Path(table).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such table of labels")
    require_file(path)
    labels, notes = _of_table(stored, path, source, preparation)
    if found:
        notes.insert(
            0, f"{path} lies with the images: its labels are used, unless ‹ignore_labels=True›"
        )
    return assigned_labels(stored, labels, notes, preparation)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES


def _has_columns(source: Source) -> bool:
    """Whether a source is itself a table, with labels in a column."""
    return str(source).startswith("hf:") or is_saved_dataset(Path(source.images).expanduser())


def _beside(path: Path) -> Path | None:
    """The table of labels that lies in a folder of images, or beside images."""
    names = [f"{path.stem if path.is_file() else path.name}_labels"]
    if names[0].endswith("images_labels"):
        names.append(names[0].removesuffix("images_labels") + "labels")
    candidates = [path.with_name(name + ending) for name in names for ending in TABLES]
    if path.is_dir():
        home = path.resolve()
        inside = [path / f"labels{ending}" for ending in TABLES]
        # A folder may be a stranger's: what lies in it must not lead out of it.
        candidates = [*(c for c in inside if c.resolve().is_relative_to(home)), *candidates]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _names(stored: Stored) -> list[str] | None:
    """What all images are called; None if they have no names."""
    parts = list(stored.splits.values())
    return [n for part in parts for n in part.names] if all(p.names for p in parts) else None


def _of_names(stored: Stored, pattern: str) -> tuple[Labels, list[str]]:
    if (names := _names(stored)) is None:
        raise DataError("the images are in an array, and have no names; leave out ‹label_pattern›")
    cells = [label_in(pattern, name) for name in names]
    if not any(cells):
        raise DataError(
            f"‹label_pattern={pattern!r}› is in none of {len(names)} names, such as {names[0]}"
        )
    without = [name for name, cell in zip(names, cells, strict=True) if cell is None]
    said = f"‹label_pattern={pattern!r}›"
    notes = [f"labels: {said} in the names of the pictures"]
    if without:
        notes.append(
            f"{len(without)} of {len(names)} names do not contain it, such as {without[0]}"
        )
    return one_label_each(cells, said), notes


def _of_table(
    stored: Stored, path: Path, source: Source, preparation: Preparation
) -> tuple[Labels, list[str]]:
    columns = read_table(path)
    chosen = _label_columns(columns, path, source, preparation)
    rows, how, left = _rows(stored, columns, chosen, path, source)
    notes = [f"labels: column{'s' * (len(chosen) > 1)} {', '.join(chosen)} of {path}, {how}"]
    if missing := int((rows < 0).sum()):
        notes.append(f"{missing} of {len(rows)} images are not in {path}")
    if left:
        notes.append(f"{left} row{'s are' if left > 1 else ' is'} of no image in {path}")
    if missing == len(rows):
        raise DataError(f"{path} has no row for any of the {len(rows)} images: {how}")
    cells = {name: [columns[name][k] if k >= 0 else None for k in rows] for name in chosen}
    if len(chosen) > 1:
        return labels_of_columns(cells, str(path)), notes
    where = f"column {chosen[0]!r} of {path}"
    several = bool(preparation.attributes)
    return labels_of_cells(cells[chosen[0]], where, several=several), notes


def _label_columns(
    columns: Mapping[str, Any], path: Path, source: Source, preparation: Preparation
) -> list[str]:
    """The columns that hold labels."""
    asked, recorded = source.label_column, preparation.attributes
    if asked is not None:
        chosen = [asked] if asked in columns else [name.strip() for name in asked.split(",")]
        for name in chosen:
            if name not in columns:
                raise DataError(
                    f"{path} has no column {name!r}, which ‹label_column› names, but"
                    f" {', '.join(columns)}"
                )
        return list(dict.fromkeys(chosen))
    if recorded and len(recorded) > 1 and all(name in columns for name in recorded):
        return list(recorded)
    usual = named_column(list(columns), LABEL_COLUMNS)
    file = source.file_column or named_column(list(columns), FILE_COLUMNS)
    rest = [name for name in columns if name != file]
    if usual is None and len(rest) != 1:
        raise DataError(
            f"{path} has the columns {', '.join(columns)}; say which holds the labels:"
            " ‹label_column›"
        )
    return [usual or rest[0]]


def _rows(
    stored: Stored,
    columns: Mapping[str, list[Any]],
    chosen: Sequence[str],
    path: Path,
    source: Source,
) -> tuple[NDArray[np.int64], str, int]:
    """The row of each image, how it was found, and how many rows are of no image."""
    names, count = _names(stored), sum(map(len, stored.splits.values()))
    others = [name for name in columns if name not in chosen]
    file = source.file_column or named_column(others, FILE_COLUMNS)
    if file is not None and file not in columns:
        raise DataError(
            f"{path} has no column {file!r}, which ‹file_column› names, but {', '.join(columns)}"
        )
    if file is not None and names is not None:
        rows, left = row_of_each(names, columns[file], str(path))
        if (rows < 0).all():
            raise DataError(
                f"column {file!r} of {path} names none of {count} images: it holds"
                f" {str(columns[file][0])!r:.80}, and images are called {names[0]!r:.80}; give"
                " ‹file_column› if another column names them"
            )
        return rows, f"by column {file}", left
    if len(stored.splits) > 1:
        raise DataError(
            f"{path} does not name images, but the source has splits of its own; give images names"
        )
    if names is not None and not all(name.isdecimal() for name in names):
        raise DataError(
            f"{path} has no column that names the images, but {', '.join(columns)}; give"
            " ‹file_column›"
        )
    lines = len(columns[chosen[0]])
    if file is not None:
        return _by_number(columns[file], count, f"column {file!r} of {path}"), f"by {file}", 0
    if lines != count:
        raise DataError(
            f"{path} has {lines} rows, but there are {count} images; give one for each, in order,"
            " or a column of their numbers, from 0, as ‹file_column›"
        )
    return np.arange(count), "in the order of the images", 0


def _by_number(cells: Sequence[Any], count: int, where: str) -> NDArray[np.int64]:
    """The row of each image of an array, by a column of their numbers from 0, or all from 1."""
    texts = [str(cell).strip() for cell in cells]
    if not all(text.isascii() and text.isdecimal() and len(text) < 16 for text in texts):
        raise DataError(
            f"{where} holds {next(t for t in texts if not t.isdecimal())!r:.60}, but images of an"
            " array are called by their numbers, from 0; give ‹file_column›, or remove it if rows"
            " are in the order of the images"
        )
    numbers = np.array([int(text) for text in texts], np.int64)
    if len(numbers) == count and numbers.min() == 1 and numbers.max() == count:
        numbers = numbers - 1
    if len(np.unique(numbers)) < len(numbers) or numbers.max() >= count:
        raise DataError(
            f"{where} has numbers twice or beyond the {count} images; number images from 0, each"
            " once"
        )
    rows = np.full(count, -1, np.int64)
    rows[numbers] = np.arange(len(numbers))
    return rows


def assigned_labels(
    stored: Stored, labels: Labels, notes: list[str], preparation: Preparation
) -> Stored:
    """Give every split its part of the labels."""
    names = labels.names
    if not (names or preparation.attributes):
        raise DataError(f"all labels are unknown, says {notes[0]}; give ‹ignore_labels=True›")
    if labels.several:
        names = preparation.attributes or names
        if beyond := [name for name in labels.names if name not in names]:
            raise DataError(
                f"an image has the label {beyond[0]!r}, but the model knows only {', '.join(names)}"
            )
        if len(names) > MOST_CLASSES:
            raise DataError(f"{len(names):,} labels are more than {MOST_CLASSES:,}")
        notes.append(f"an image has several labels: a vector of {len(names)} zeros and ones")
        if unknown := sum(own is None for own in labels.sets):
            notes.append(f"{unknown:,} of {len(labels.sets):,} images have no labels: unknown")
    place = {name: k for k, name in enumerate(names)}
    splits: dict[str, Split] = {}
    begin = 0
    for key, split in stored.splits.items():
        own = labels.sets[begin : begin + len(split)]
        begin += len(split)
        if labels.several:
            vectors = np.zeros((len(own), len(names)), np.float32)
            for row, part in enumerate(own):
                vectors[row, [place[name] for name in part or ()]] = 1
                if part is None:
                    vectors[row] = np.nan
            if split.vectors is not None:
                raise DataError(
                    "several labels of an image become its vector, but the images have vectors of"
                    " their own; leave out ‹labels› or ‹vectors›"
                )
            splits[key] = replace(split, labels=None, vectors=vectors)
        else:
            numbers = [-1 if part is None else place[next(iter(part))] for part in own]
            splits[key] = replace(split, labels=np.array(numbers, np.int64))
    return replace(
        stored,
        splits=splits,
        classes=() if labels.several else names,
        attributes=names if labels.several else (),
        notes=(*stored.notes, *notes),
    )
