"""Hugging Face data sets: by name, or the folder of one."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.pictures import Picture, decoded
from nextpixel.data.preparation import Preparation
from nextpixel.data.storage import SPLIT_NAMES, Storage, Stored, optional_package, split_of

__all__ = ["is_saved_dataset", "read_dataset"]


def read_dataset(name: str, preparation: Preparation, storage: Storage) -> Stored:
    """Read a Hugging Face data set: ``NAME``, ``NAME:CONFIGURATION``, or the folder of one."""
    datasets = optional_package("datasets", extra="data")
    path = Path(name).expanduser()
    try:
        if is_saved_dataset(path) and not any(path.glob("**/*.parquet")):
            loaded = datasets.load_from_disk(str(path))
        elif path.exists():
            loaded = datasets.load_dataset(str(path))
        else:
            repository, _, configuration = name.partition(":")
            loaded = datasets.load_dataset(repository, configuration or None)
    except Exception as error:  # The network, the hub, the cache and the formats raise many kinds.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the Hugging Face data set {name!r} cannot be loaded ({reason}); check its name, and"
            " without a network set HF_HUB_OFFLINE=1 to use only what was downloaded before"
        ) from error
    if not isinstance(loaded, dict):
        loaded = {"train": loaded}
    tables = {split: table for key, table in loaded.items() if (split := split_of(str(key)))}
    if "train" not in tables:
        if len(loaded) != 1:
            raise DataError(
                f"the data set {name!r} has the splits {', '.join(map(str, loaded))}, but none is"
                " 'train'"
            )
        tables = {"train": next(iter(loaded.values()))}
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
    parts = {}
    for split in SPLIT_NAMES:
        if split in tables and len(tables[split]):
            table = tables[split].cast_column(columns[0], datasets.Image(decode=False))
            parts[split] = _table_pictures(table, columns[0], label_column, f"{name} {split}")
    if "train" not in parts:
        raise DataError(f"the data set {name!r} holds no pictures to train on")
    classes = tuple(features[label_column].names) if label_column else ()
    return decoded(parts, classes, preparation, storage)


def is_saved_dataset(path: Path) -> bool:
    """Tell whether a folder is a Hugging Face data set."""
    saved = ("dataset_dict.json", "state.json")
    return path.is_dir() and (
        any((path / file).exists() for file in saved) or any(path.glob("**/*.parquet"))
    )


def _table_pictures(table: Any, column: str, label_column: str | None, where: str) -> list[Picture]:
    labels = table[label_column][:] if label_column else [None] * len(table)
    only = table.select_columns([column])

    def opener(k: int) -> Callable[[], Path | io.BytesIO]:
        def open_it() -> Path | io.BytesIO:
            cell = only[k][column]
            if cell is None:
                raise ImageError(f"{where} picture {k} is missing; remove its row")
            return io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"])

        return open_it

    stamp = table._fingerprint
    return [
        Picture(
            name=f"{k}",
            where=f"{where} picture {k}",
            open=opener(k),
            stamp=f"{stamp} {k}",
            label=labels[k],
        )
        for k in range(len(table))
    ]
