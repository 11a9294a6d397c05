"""Hugging Face data sets: by name, or the folder of one."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextpixel.data.classes import LABEL_COLUMNS
from nextpixel.data.errors import DataError
from nextpixel.data.hub import load_from_hub
from nextpixel.data.label_cells import labels_of_cells
from nextpixel.data.labels import assigned_labels
from nextpixel.data.picture import Picture
from nextpixel.data.picture_arrays import decoded
from nextpixel.data.storage import SPLIT_NAMES, Storage, Stored, optional_package, split_of
from nextpixel.data.tables import (
    ParquetRows,
    SavedRows,
    check_saved,
    hub_caches,
    parquet_files,
    parquet_splits,
    picture_file,
)
from nextpixel.settings.preparation import Preparation

__all__ = ["read_dataset"]


def read_dataset(
    name: str, preparation: Preparation, storage: Storage, label_column: str | None = None
) -> Stored:
    """Read a Hugging Face data set: ``NAME``, ``NAME:CONFIGURATION``, or the folder of one.

    Of a folder, only files within it are read, and nothing is fetched, whatever its README.md says.
    """
    datasets = optional_package("datasets", extra="data")
    path = Path(name).expanduser()
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is not a folder; give that of a data set")
    if files := parquet_files(path) if path.is_dir() else []:
        return _read_tables(
            name, path, parquet_splits(path, files), preparation, storage, label_column
        )
    try:
        if path.is_dir():
            check_saved(path)
            loaded = datasets.load_from_disk(str(path))
        else:
            loaded = load_from_hub(name)
    except DataError:
        raise
    except Exception as error:  # The network, the hub, the cache and the formats raise many kinds.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the Hugging Face data set {name!r} cannot be loaded ({reason}); check its name, and"
            " without a network set HF_HUB_OFFLINE=1 to use only what was downloaded before"
        ) from error
    if not isinstance(loaded, dict):
        loaded = {"train": loaded}
    tables = {split: table for key, table in loaded.items() if (split := split_of(str(key)))}
    if len(loaded) == 1:
        tables = {"train": next(iter(loaded.values()))}
    return _read_tables(name, path, tables, preparation, storage, label_column)


def _read_tables(
    name: str,
    path: Path,
    tables: Mapping[str, Any],
    preparation: Preparation,
    storage: Storage,
    asked: str | None,
) -> Stored:
    datasets = optional_package("datasets", extra="data")
    if "train" not in tables:
        if len(tables) != 1:
            raise DataError(
                f"the data set {name!r} has the splits {', '.join(tables) or '(none)'}, but none is"
                " 'train'"
            )
        tables = {"train": next(iter(tables.values()))}
    features = tables["train"].features
    columns = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    columns = columns or [key for key, feature in features.items() if _holds_files(feature)]
    if not columns:
        raise DataError(
            f"the data set {name!r} has the columns {', '.join(features)}, but none holds pictures"
        )
    label_column, names = None, None
    if not preparation.ignore_labels:
        label_column, names = _label_column(features, preparation.reading, asked)
    several = label_column is not None and _is_list(features[label_column])
    cells: dict[str, list[Any]] = {}
    roots = [path.resolve()] if path.is_dir() else hub_caches()
    parts = {}
    for split in SPLIT_NAMES:
        if split in tables and len(tables[split]):
            rows = tables[split]
            if not isinstance(rows, ParquetRows):
                rows = SavedRows(rows.cast_column(columns[0], datasets.Image(decode=False)))
            where, own = f"{name} {split}", None if several else label_column
            part = _table_pictures(rows, columns[0], own, where, roots)
            if several and label_column is not None:
                cells[split] = _lists(rows.column(label_column), names)
            if names is None:  # The values of the column are the names.
                part = [p if p.label is None else replace(p, label=str(p.label)) for p in part]
            parts[split] = part
    if "train" not in parts:
        raise DataError(f"the data set {name!r} holds no pictures to train on")
    classes = names if label_column and not several else ()
    stored = decoded(parts, classes, preparation, storage)
    stored = replace(stored, in_order="test" in parts)
    notes = []
    if len(columns) > 1:
        passed = ", ".join(columns[1:])
        notes.append(f"the pictures are those of the column {columns[0]}; skipped: {passed}")
    if several:
        rows_of = (
            cells[split][int(picture.partition("#")[0])]
            for split, part in stored.splits.items()
            for picture in part.names
        )
        where = f"column {label_column!r} of {name}"
        found = labels_of_cells(list(rows_of), where, several=True)
        return assigned_labels(stored, found, [*notes, f"labels: {where}"], preparation)
    if label_column:
        notes.append(f"the classes are the values of the column {label_column}")
    return replace(stored, notes=(*notes, *stored.notes))


def _holds_files(feature: Any) -> bool:
    """Whether the cells of a column hold bytes, as of pictures that other programs wrote."""
    held = feature.get("bytes") if isinstance(feature, dict) else feature
    return str(getattr(held, "dtype", "")) in ("binary", "large_binary")


def _is_list(feature: Any) -> bool:
    """Whether the cells of a column hold several labels."""
    datasets = optional_package("datasets", extra="data")
    return isinstance(feature, datasets.List | datasets.LargeList)


def _lists(cells: list[Any], names: tuple[str, ...] | None) -> list[Any]:
    """The labels of each cell, by the names that the data set gives them."""
    if names is None:
        return cells
    return [cell if cell is None else [names[k] for k in cell] for cell in cells]


def _label_column(
    features: Mapping[str, Any], reading: int, asked: str | None
) -> tuple[str | None, tuple[str, ...] | None]:
    """The column of classes, and their names if the data set gives them.

    It is the one asked for, or the first of the type ClassLabel, else a column of texts, integers
    or truth values that is called label, class or the like.
    """
    datasets = optional_package("datasets", extra="data")
    if asked is not None:
        if asked not in features:
            raise DataError(
                f"there is no column {asked!r}, which ‹label_column› names, but"
                f" {', '.join(features)}"
            )
        features, reading = {"label": features[asked]}, max(reading, 2)
        column, names = _label_column(features, reading, None)
        if column is None:
            raise DataError(
                f"the column {asked!r} holds {features['label']}, but labels are texts or integers"
            )
        return asked, names
    single = {
        key: feature.feature if reading > 1 and _is_list(feature) else feature
        for key, feature in features.items()
    }
    for key, feature in single.items():
        if isinstance(feature, datasets.ClassLabel):
            return key, tuple(feature.names)
    for name in LABEL_COLUMNS if reading > 1 else ():
        for key, feature in single.items():
            kind = getattr(feature, "dtype", "")
            if key.lower() == name and kind.startswith(
                ("int", "uint", "bool", "string", "large_s")
            ):
                return key, None
    return None, None


def _table_pictures(
    rows: ParquetRows | SavedRows,
    column: str,
    label_column: str | None,
    where: str,
    roots: Sequence[Path],
) -> list[Picture]:
    labels = rows.column(label_column) if label_column else [None] * len(rows)

    def opener(k: int) -> Callable[[], Path | io.BytesIO]:
        return lambda: picture_file(rows.cell(k, column), roots, f"{where} picture {k}")

    return [
        Picture(
            name=f"{k}",
            where=f"{where} picture {k}",
            open=opener(k),
            stamp=f"{rows.stamp} {k}",
            label=labels[k],
        )
        for k in range(len(rows))
    ]
