"""What a source is, by its name and what lies there, and who reads it."""

from pathlib import Path

from nextpixel.data.archives import is_archive, opened_archive
from nextpixel.data.arrays import read_arrays, read_digits, read_named
from nextpixel.data.errors import DataError
from nextpixel.data.folders import require_file
from nextpixel.data.hdf5 import opened_hdf5
from nextpixel.data.huggingface import read_dataset
from nextpixel.data.labels import has_own_labels
from nextpixel.data.pictures import FolderTree, read_pictures, read_tree
from nextpixel.data.storage import Storage, Stored
from nextpixel.data.tables import is_saved_dataset
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import IN_MEMORY, Source, file_and_dataset

__all__ = ["read_source"]

_ACCEPTED = (
    "a folder, .zip or .tar of pictures, one picture, an .npz, .npy or .h5 file, 'hf:NAME' for a"
    " Hugging Face data set, or 'digits'"
)
_ARRAYS = (".npy", ".npz", ".h5", ".hdf5", ".hdf", ".he5")


def read_source(source: Source, preparation: Preparation, storage: Storage) -> Stored:
    """Find out what the source is, and read it.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        DataError: If it cannot be used.
    """
    name = str(source)
    if name == IN_MEMORY:
        raise DataError(
            "the images were given in memory, so that no name leads to them; give the same images"
            " again in Python, or save them as an .npy file and give that"
        )
    file, dataset = file_and_dataset(name)
    if name == "digits":
        return read_digits(preparation, storage)
    if name.startswith("hf:"):
        return read_dataset(name[3:], preparation, storage, source.label_column)
    path = Path(file).expanduser()
    if not path.exists():
        if path.suffix or name != path.name:
            raise FileNotFoundError(
                f"{name}: there is no such file or folder; a source is {_ACCEPTED}"
            )
        raise DataError(f"{name!r} does not exist; accepted are {_ACCEPTED}")
    if path.is_dir():
        if is_saved_dataset(path):
            return read_dataset(str(path), preparation, storage, source.label_column)
        return read_tree(FolderTree(path, preparation.reading > 2), preparation, storage)
    require_file(path)
    given = source.labels is not None and not has_own_labels(source)
    labels = Path(str(source.labels)).expanduser() if given else None
    if path.suffix.lower() in (".npz", ".npy"):
        return read_arrays(path, labels, preparation, storage)
    if path.suffix.lower() in _ARRAYS:
        with opened_hdf5(path, dataset, storage) as arrays:
            return read_named(arrays, name, labels, preparation, storage)
    if is_archive(path):
        with opened_archive(path, storage) as tree:
            return read_tree(tree, preparation, storage)
    folder = FolderTree(path.parent)
    if folder.is_wanted(path):
        return read_pictures(folder, path, preparation, storage)
    raise DataError(f"{name!r} is not an image source; accepted are {_ACCEPTED}")
