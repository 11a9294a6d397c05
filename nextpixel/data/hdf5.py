"""Arrays of HDF5 files, read in slices.

A stranger's file may lead elsewhere: by an external link, a virtual data set, or raw data that lie
in another file. None of these is followed, nor are soft links; what is reached by hard links lies
in the file. A small file may claim a large array; what it claims is compared with what it stores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.layouts import NamedArrays
from nextpixel.data.storage import Storage, optional_package, stamp

__all__ = ["opened_hdf5"]

_BLOCK_BYTES = 2**24
_MOST_CHUNK_BYTES = 2**30
_MOST_NODES = 2**16
_SLACK_BYTES = 2**20
# What deflate reaches at most; runs of equal values compress further only where nothing is stored.
_MOST_RATIO = 1100


@contextmanager
def opened_hdf5(path: Path, name: str | None, storage: Storage) -> Iterator[NamedArrays]:
    """The arrays of an HDF5 file by their paths, such as ``train/images``.

    Args:
        path: The file.
        name: The path of one data set, or of a group whose data sets are meant; None for all.
        storage: Where arrays go that are larger than the memory limit.

    Raises:
        DataError: If the file is damaged, or has nothing of that name.
    """
    h5py = optional_package("h5py", extra="hdf5")
    with _reported(path):
        file = h5py.File(path, "r", locking=False)
    with file:
        with _reported(path):
            start = _found(h5py, file, path, name)
            if isinstance(start, h5py.Dataset):
                sets = {str(name).strip("/").rpartition("/")[2]: start}
            else:
                sets = dict(_datasets(h5py, start))
            shapes = {key: tuple(node.shape or ()) for key, node in sets.items()}
        if not sets:
            raise DataError(f"{path} holds no data sets of its own{f' in {name}' if name else ''}")

        def read(key: str) -> NDArray[Any]:
            where = f"{key} of {path}"
            with _reported(where):
                return _read(h5py, sets[key], where, [stamp(path), name, key], storage)

        yield NamedArrays(shapes=shapes, read=read, stamp=[stamp(path), name])


def _found(h5py: Any, file: Any, path: Path, name: str | None) -> Any:
    """The data set or group of a path, reached by hard links alone."""
    node = file
    for part in [part for part in (name or "").split("/") if part not in ("", ".")]:
        held = _hard(h5py, node) if isinstance(node, h5py.Group) else []
        if part not in held:
            there = ", ".join(held[:20]) or "nothing"
            raise DataError(f"{path} has no {name}; {node.name} holds {there}")
        node = node[part]
    return node


def _hard(h5py: Any, group: Any) -> list[str]:
    """What a group holds itself, without links that may lead elsewhere."""
    return [key for key in group if isinstance(group.get(key, getlink=True), h5py.HardLink)]


def _datasets(h5py: Any, start: Any) -> Iterator[tuple[str, Any]]:
    """The data sets below a group. A group that holds itself is visited once."""
    seen: set[Any] = set()
    pending = [("", start)]
    while pending:
        prefix, group = pending.pop()
        key = h5py.h5o.get_info(group.id).addr
        if key in seen:
            continue
        seen.add(key)
        for name in _hard(h5py, group):
            node = group[name]
            if isinstance(node, h5py.Group):
                pending.append((f"{prefix}{name}/", node))
            elif isinstance(node, h5py.Dataset):
                seen.add((prefix, name))
                yield f"{prefix}{name}", node
            if len(seen) > _MOST_NODES:
                raise DataError(
                    f"{start.file.filename} holds more than {_MOST_NODES:,} data sets and groups;"
                    " name the one that holds the images"
                )


def _read(h5py: Any, node: Any, where: str, key: object, storage: Storage) -> NDArray[Any]:
    if node.is_virtual or node.external:
        raise DataError(f"{where} lies in other files, which are not opened; copy it into one file")
    if h5py.check_string_dtype(node.dtype) is not None and node.shape is not None:
        _require_stored(node, len(node) if node.shape else 1, where)
        return np.asarray(node.asstr()[()], dtype=str)
    if node.dtype.hasobject or node.dtype.kind not in "biuf" or not node.shape:
        raise DataError(f"{where} holds {node.dtype}; give an array of numbers")
    dtype, shape = node.dtype.newbyteorder("="), node.shape
    size = int(np.prod(shape, dtype=object))
    _require_stored(node, size * dtype.itemsize, where)

    def fill(flat: NDArray[Any]) -> None:
        array = flat.reshape(shape)
        step = max(1, _BLOCK_BYTES * len(array) // max(1, array.nbytes))
        if node.chunks:
            step = -(-step // node.chunks[0]) * node.chunks[0]
        for begin in range(0, len(array), step):
            array[begin : begin + step] = node[begin : begin + step]

    return storage.build(size, dtype, key, fill).reshape(shape)


def _require_stored(node: Any, needed: int, where: str) -> None:
    """Raise `DataError` if an array claims much more than the file holds of it."""
    chunk = int(np.prod(node.chunks or (1,), dtype=object)) * node.dtype.itemsize
    if chunk > _MOST_CHUNK_BYTES:
        raise DataError(f"{where} has chunks of {chunk / 1e9:.1f} GB; save it in smaller ones")
    if needed > _SLACK_BYTES + _MOST_RATIO * node.id.get_storage_size():
        raise DataError(
            f"{where} claims {needed / 1e9:.1f} GB, but the file stores almost nothing of it;"
            " save what is there"
        )


@contextmanager
def _reported(where: str | Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # Of damaged files h5py raises many kinds.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: cannot be read as HDF5 ({reason}); repair it") from error
