"""Hugging Face data sets: by name, or the folder of one."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nextpixel.data.errors import DataError
from nextpixel.data.hub import load_from_hub
from nextpixel.data.pictures import Picture, decoded
from nextpixel.data.preparation import Preparation
from nextpixel.data.storage import SPLIT_NAMES, Storage, Stored, optional_package, split_of
from nextpixel.data.tables import (
    ParquetRows,
    SavedRows,
    check_saved,
    hub_caches,
    is_saved,
    parquet_files,
    parquet_splits,
    picture_file,
)

__all__ = ["is_saved_dataset", "read_dataset"]


def read_dataset(name: str, preparation: Preparation, storage: Storage) -> Stored:
    """Read a Hugging Face data set: ``NAME``, ``NAME:CONFIGURATION``, or the folder of one.

    Of a folder, only files within it are read, and nothing is fetched, whatever its README.md says.
    """
    datasets = optional_package("datasets", extra="data")
    path = Path(name).expanduser()
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is not a folder; give that of a data set")
    if files := parquet_files(path) if path.is_dir() else []:
        return _read_tables(name, path, parquet_splits(path, files), preparation, storage)
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
    return _read_tables(name, path, tables, preparation, storage)


def _read_tables(
    name: str, path: Path, tables: Mapping[str, Any], preparation: Preparation, storage: Storage
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
    if not columns:
        raise DataError(
            f"the data set {name!r} has the columns {', '.join(features)}, but none holds pictures"
        )
    label_columns = [
        key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)
    ]
    label_column = None if preparation.ignore_labels or not label_columns else label_columns[0]
    roots = [path.resolve()] if path.is_dir() else hub_caches()
    parts = {}
    for split in SPLIT_NAMES:
        if split in tables and len(tables[split]):
            rows = tables[split]
            if not isinstance(rows, ParquetRows):
                rows = SavedRows(rows.cast_column(columns[0], datasets.Image(decode=False)))
            parts[split] = _table_pictures(rows, columns[0], label_column, f"{name} {split}", roots)
    if "train" not in parts:
        raise DataError(f"the data set {name!r} holds no pictures to train on")
    classes = tuple(features[label_column].names) if label_column else ()
    return decoded(parts, classes, preparation, storage)


def is_saved_dataset(path: Path) -> bool:
    """Tell whether a folder is a Hugging Face data set."""
    return path.is_dir() and (is_saved(path) or bool(parquet_files(path)))


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
