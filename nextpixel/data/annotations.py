"""What accompanies images: vectors, captions and maps, to condition a model on.

They come within an `.npz` file of images, or from a file or folder of their own: in the order of
the images, or by their names. Captions become vectors by a text encoder, a function from texts to
vectors; `BagOfWords` is one that needs no download. Maps follow their images: what is done to the
size of an image is done to its map.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.arrays import DataError, RawSplit, Source
from nextpixel.data.maps import pictured_maps
from nextpixel.data.splits import Split, joined, subset

if TYPE_CHECKING:
    from nextpixel.card import ModelCard

__all__ = [
    "BagOfWords",
    "TextEncoder",
    "attach",
    "checked_vectors",
    "embedded",
    "encode_captions",
    "encoder_name",
]

TextEncoder: TypeAlias = Callable[[Sequence[str]], Any] | Callable[[str], Any]
"""Texts to vectors: a list of n strings to an array or tensor (n, size) of numbers, or one string
to (size,)."""

_NAME_COLUMNS = ("file", "file_name", "filename", "name", "image", "path")
_TEXT_COLUMNS = ("text", "caption", "captions", "description")


class BagOfWords:
    """Says which words of a vocabulary a text holds: 1 or 0 for each.

    Args:
        words: the vocabulary, in lower case.

    Example:
        >>> encoder = BagOfWords.of(["a red car", "a blue car", "the sea"], most=3)
        >>> encoder.words, encoder(["A car, and a red one"]).tolist()
        (['a', 'car', 'blue'], [[1.0, 1.0, 0.0]])
    """

    def __init__(self, words: Sequence[str]) -> None:
        if not words:
            raise DataError("a bag of words needs at least one word; give captions that hold some")
        self.words = list(words)

    @classmethod
    def of(cls, captions: Sequence[str], *, most: int = 512) -> "BagOfWords":
        """The most frequent words of some captions; of equally frequent ones, those first in the
        alphabet.
        """
        counts = Counter(word for caption in captions for word in set(_words(caption)))
        return cls(
            [
                word
                for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
            ]
        )

    def __call__(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, words)."""
        number = {word: k for k, word in enumerate(self.words)}
        vectors = np.zeros((len(captions), len(self.words)), np.float32)
        for row, caption in enumerate(captions):
            for word in _words(caption):
                if word in number:
                    vectors[row, number[word]] = 1
        return vectors


def encode_captions(encoder: TextEncoder, captions: Sequence[str]) -> NDArray[np.float32]:
    """Vectors (n, size) of captions; those of an encoder of one text are stacked.

    Raises:
        DataError: If the encoder raises, or gives something other than finite vectors of one size.
    """
    texts, where = list(captions), f"the text encoder {encoder_name(encoder)}"
    vectors, told = _tried(encoder, texts)
    if vectors is None or vectors.ndim != 2 or len(vectors) != len(texts):
        wanted = f"it must give ({len(texts)}, size), or for one text (size,)"
        if vectors is not None and len(texts) > 1 and vectors.shape == (len(texts),):
            # A number for each text: the same function would take a single text for a list of
            # letters.
            raise DataError(f"{where} {told} for {len(texts)} captions; {wanted}")
        rows: list[NDArray[Any]] = []
        for text in texts:
            row, told_of_one = _tried(encoder, text)
            if row is None or row.ndim != 1 or row.shape != (rows or [row])[0].shape:
                raise DataError(
                    f"{where} {told} for {len(texts)} captions, and {told_of_one} for one; {wanted}"
                )
            rows.append(row)
        vectors = np.stack(rows)
    if vectors.dtype.kind == "f" and not (finite := np.isfinite(vectors).all(axis=1)).all():
        text = texts[int(np.argmin(finite))]
        raise DataError(
            f"{where} gave NaN or infinity for the caption {text!r}; it must give finite numbers"
        )
    return checked_vectors(vectors, f"the vectors of {where}")


def encoder_name(encoder: TextEncoder) -> str:
    """How a text encoder can be found again; it is for the user to import it."""
    kind = encoder if hasattr(encoder, "__qualname__") else type(encoder)
    return f"{kind.__module__}:{kind.__qualname__}"


def attach(
    source: Source,
    *,
    vectors: str | Path | None = None,
    captions: str | Path | None = None,
    maps: str | Path | None = None,
) -> Source:
    """Add what files hold to the images of a source.

    Args:
        source: Images, with or without names.
        vectors: An ``.npy`` file (N, size) in the order of the images, or a ``.csv`` table whose
            columns are numbers; a column ``file`` names the images, otherwise rows are in their
            order.
        captions: A ``.txt`` file with a line for each image in their order, or a ``.csv`` table
            with a column ``text``, perhaps also ``file``.
        maps: An ``.npy`` file in the order of the images, or a folder of pictures that are called
            as the images are, and have the size of their files, or a fraction 1/2, 1/3 ... of it.
            They are cropped and averaged as the images are, unless all have a fraction of the
            images' final size. Pictures with a palette are names, the numbers of their colours, and
            are never averaged.

    Raises:
        FileNotFoundError: If a file does not exist.
        DataError: If it does not fit the images.
    """
    if vectors is not None:
        names, table = _vector_table(_existing(vectors))
        source = _assigned(source, "vectors", names, table, Path(vectors))
    if captions is not None:
        names, texts = _caption_table(_existing(captions))
        source = _assigned(source, "captions", names, texts, Path(captions))
    if maps is not None:
        path = _existing(maps)
        if path.is_dir():
            splits = {
                key: replace(split, maps=pictured_maps(split, path))
                for key, split in source.splits.items()
            }
            source = replace(source, splits=splits)
        else:
            source = _assigned(source, "maps", None, _loaded(path), path)
    return source


def embedded(
    splits: dict[str, Split], path: Path, place: str, classes: tuple[str, ...]
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The splits with vectors by an embedding instead of labels; its held-out classes in the test
    split alone.

    The embedding's classes are known by the source's name, and, where a folder was moved or copied,
    by theirs.

    Args:
        splits: Of images of the embedding's size.
        path: The embedding's checkpoint.
        place: The source.
        classes: Names of the labels; () without.

    Returns:
        The splits, and the names of the classes that are held out.

    Raises:
        DataError: If the embedding was trained on this source, and what it held out cannot be told.
    """
    import torch

    from nextpixel.checkpoint import load_embedding, read_card
    from nextpixel.models.embedding import embed

    network, card = load_embedding(path), read_card(path)
    held_out = _held_out(card, path, place, classes)
    if held_out:
        numbers = [classes.index(name) for name in held_out]
        labelled = [split for split in splits.values() if split.labels is not None and len(split)]
        parts = [
            subset(split, np.flatnonzero(np.isin(_labels(split), numbers))) for split in labelled
        ]
        splits = {
            name: (
                split
                if split.labels is None
                else subset(split, np.flatnonzero(~np.isin(_labels(split), numbers)))
            )
            for name, split in splits.items()
        }
        splits["test"] = joined(parts)
    done = {}
    for name, split in splits.items():
        rows = np.arange(len(split))
        vectors = [
            embed(network, torch.from_numpy(split.batch(part).astype(np.int64))).numpy()
            for part in np.array_split(rows, max(1, len(rows) // 256))
            if len(part)
        ]
        columns = [] if split.vectors is None else [split.vectors]
        columns += (
            [np.concatenate(vectors)] if vectors else [np.zeros((0, network.outputs), np.float32)]
        )
        done[name] = replace(split, vectors=np.concatenate(columns, axis=1), labels=None)
    return done, held_out


def _held_out(
    card: "ModelCard", path: Path, place: str, classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Which of these classes the embedding never saw; () if they are not those that it was trained
    on.
    """
    from nextpixel.card import place_name

    unseen, known = card.held_out, card.classes
    trained_on = (card.data or {}).get("source")
    # A checkpoint names its data without their folder.
    is_source = trained_on is not None and place_name(trained_on) == place_name(place)
    if not unseen or not (is_source or (classes and set(classes) == set(known))):
        return ()
    found = tuple(name for name in unseen if name in classes)
    if not classes:
        raise DataError(
            f"the embedding {path} never saw {len(unseen)} classes of {place}, but without labels"
            " it is not known which images to keep out of training; leave out labels=False"
        )
    if not found:
        raise DataError(
            f"the embedding {path} never saw the classes {', '.join(unseen)} of {place}, but none"
            " of its classes is called so now; train the embedding anew"
        )
    return found


def _labels(split: Split) -> NDArray[np.int64]:
    assert split.labels is not None
    return split.labels


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _tried(encoder: Callable[[Any], Any], texts: Any) -> tuple[NDArray[Any] | None, str]:
    """What an encoder gives, None if it fails, and that in words."""
    try:
        given = encoder(texts)
        if isinstance(given, list | tuple) and any(hasattr(row, "detach") for row in given):
            array = np.stack([_numpy(row) for row in given])
        else:
            array = _numpy(given)
    except Exception as error:  # It is anyone's function, and may raise anything.
        return None, f"raised {type(error).__name__} ({' '.join(str(error).split())})"
    return array, f"gave an array of shape {array.shape}"


def _numpy(values: Any) -> NDArray[Any]:
    """An array of what may be a tensor, on any device, with or without a graph, of types that numpy
    lacks.
    """
    return np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values)


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    return path


def _assigned(source: Source, field: str, names: list[str] | None, rows: Any, path: Path) -> Source:
    """Give every split its rows: by name, or in their order if the source has no splits of its own."""
    splits: dict[str, RawSplit] = {}
    for key, split in source.splits.items():
        count = len(split.images)
        if names is not None:
            if not split.names:
                raise DataError(
                    f"{path} names images, but those of the source have no names; leave that"
                    " column out"
                )
            place = {name: k for k, name in enumerate(names)}
            if len(place) < len(names):
                name, count = Counter(names).most_common(1)[0]
                raise DataError(f"{path} has {count} rows for {name}; keep one of them")
            missing = [name for name in split.names if name not in place]
            if missing:
                raise DataError(
                    f"{path} has no row for {missing[0]} ({len(missing)} of {count} images); names"
                    " are paths below the folder of images"
                )
            order = [place[name] for name in split.names]
        elif len(source.splits) > 1:
            raise DataError(
                f"{path} has no names, but the source has splits of its own; use a table with a"
                " column file"
            )
        elif len(rows) != count:
            raise DataError(
                f"{path} has {len(rows)} rows, but there are {count} images; give one for each, in"
                " order"
            )
        else:
            order = list(range(count))
        chosen = (
            rows[np.array(order)] if isinstance(rows, np.ndarray) else tuple(rows[k] for k in order)
        )
        splits[key] = replace(split, **{field: chosen})  # type: ignore[arg-type]
    return replace(source, splits=splits)


def _loaded(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    except Exception as error:  # numpy raises many kinds on damaged files.
        raise DataError(
            f"{path}: cannot be read as a .npy file ({' '.join(str(error).split())})"
        ) from error


def _vector_table(path: Path) -> tuple[list[str] | None, NDArray[np.float32]]:
    if path.suffix == ".npy":
        return None, checked_vectors(_loaded(path), str(path))
    if path.suffix != ".csv":
        raise DataError(f"{path}: vectors come from an .npy or a .csv file")
    columns, names = _columns(path)
    try:
        numbers = [
            [float(cell) if cell.strip() else np.nan for cell in cells]
            for cells in columns.values()
        ]
    except ValueError as error:
        raise DataError(
            f"{path} holds something that is no number ({error}); leave that column out"
        ) from error
    if not numbers:
        raise DataError(f"{path} has no columns of numbers")
    return names, checked_vectors(np.array(numbers, np.float32).T, str(path))


def _caption_table(path: Path) -> tuple[list[str] | None, tuple[str, ...]]:
    if path.suffix == ".txt":
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: cannot be read as UTF-8 text ({error}); save it as such"
            ) from error
        lines = text.replace("\r\n", "\n").removesuffix("\n")
        return None, tuple(lines.split("\n")) if lines else ()
    if path.suffix != ".csv":
        raise DataError(f"{path}: captions come from a .txt or a .csv file")
    columns, names = _columns(path)
    named = [column for column in columns if column.lower() in _TEXT_COLUMNS]
    if len(named) != 1:
        raise DataError(
            f"{path} has the columns {', '.join(columns)}; one of them must be called text"
        )
    return names, tuple(columns[named[0]])


def _columns(path: Path) -> tuple[dict[str, list[str]], list[str] | None]:
    """The columns of a table by their names, and apart from them the names of the images."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table of UTF-8 text ({error})") from error
    if len(rows) < 2:
        raise DataError(f"{path} holds no rows below its head")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{path}, row {number}: {len(row)} cells, but the head has {len(rows[0])}"
            )
    columns = {head: [row[k] for row in rows[1:]] for k, head in enumerate(rows[0])}
    named = [head for head in columns if head.lower() in _NAME_COLUMNS]
    return columns, columns.pop(named[0]) if named else None


def checked_vectors(vectors: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Vectors (N, size) of float32; a row that holds NaN is unknown as a whole."""
    if vectors.dtype.kind not in "fiub" or vectors.ndim != 2 or not vectors.shape[1]:
        raise DataError(
            f"{where} hold {vectors.dtype} of shape {vectors.shape}, but numbers (images, size) are"
            " expected"
        )
    result = vectors.astype(np.float32)
    if np.isinf(result).any():
        raise DataError(
            f"{where} hold infinite numbers; give finite ones, or NaN where nothing is known"
        )
    result[np.isnan(result).any(axis=1)] = np.nan
    return result
