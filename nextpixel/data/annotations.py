"""Annotations of images: vectors, captions and maps, for conditioning a model.

They are in an `.npz` file together with the images, or in a file or folder of their own, in the
order of the images or under their names. A text encoder, a function from texts to vectors, turns
captions into vectors; `BagOfWords` is one that needs no download. Maps are cropped and resized with
their images.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.annotation_files import caption_table, checked_vectors, read_npy, vector_table
from nextpixel.data.errors import DataError
from nextpixel.data.folders import require_file
from nextpixel.data.maps import pictured_maps
from nextpixel.data.splits import Split
from nextpixel.data.storage import Stored
from nextpixel.data.table_files import row_of_each
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source

__all__ = [
    "BagOfWords",
    "TextEncoder",
    "annotated",
    "captions_encoded",
    "encode_captions",
    "encoder_name",
]

TextEncoder: TypeAlias = Callable[[Sequence[str]], Any] | Callable[[str], Any]
"""Texts to vectors: a list of n strings to an array or tensor (n, size) of numbers, or one string
to (size,)."""


class BagOfWords:
    """A text encoder: 1 for each word of a vocabulary that a text contains, else 0.

    Args:
        words: The vocabulary, in lower case.

    Example:
        >>> encoder = BagOfWords.of(["a red car", "a blue car", "the sea"], most=3)
        >>> encoder.words, encoder(["A car, and a red one"]).tolist()
        (['a', 'car', 'blue'], [[1.0, 1.0, 0.0]])
    """

    def __init__(self, words: Sequence[str]) -> None:
        if not words:
            raise DataError("a bag of words needs at least one word, but the captions contain none")
        self.words = list(words)

    @classmethod
    def of(cls, captions: Sequence[str], *, most: int = 512) -> "BagOfWords":
        """Encode by the most frequent words of some captions; ties are in alphabetical order."""
        counts = Counter(word for caption in captions for word in set(_words(caption)))
        frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([word for word, _ in frequent[:most]])

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
    """Encode captions as vectors (n, size), all at once or, if the encoder takes one text, singly.

    Raises:
        DataError: If the encoder fails, or does not return finite vectors of one size.
    """
    texts, where = list(captions), f"the text encoder {encoder_name(encoder)}"
    vectors, told = _tried(encoder, texts)
    if vectors is None or vectors.ndim != 2 or len(vectors) != len(texts):
        wanted = f"it must give ({len(texts)}, size), or for one text (size,)"
        if vectors is not None and len(texts) > 1 and vectors.shape == (len(texts),):
            # One number for each text: given a single text, this function would encode its letters.
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


def captions_encoded(
    splits: dict[str, Split], encoder: TextEncoder | None, preparation: Preparation
) -> tuple[dict[str, Split], str | tuple[str, ...] | None]:
    """Give splits the vectors of their captions, beside those that they have.

    Args:
        splits: Unchanged if they have no captions.
        encoder: The function that makes vectors; None for a bag of words.
        preparation: Names the words; if it does not, they are those of the training captions.

    Returns:
        The splits, and what to record: the words, or the name of the function.

    Raises:
        DataError: If the preparation names a function, but `encoder` is None.
    """
    captions = next((split.captions for split in splits.values() if split.captions), ())
    if not captions:
        return splits, None
    recorded = preparation.text_encoder
    if encoder is None:
        if isinstance(recorded, str):
            raise DataError(
                f"the captions were encoded by {recorded}; give ‹text_encoder›, that function, if"
                " you trust it"
            )
        encoder = (
            BagOfWords(recorded)
            if recorded
            else BagOfWords.of(splits["train"].captions or captions)
        )
    done = {}
    for name, split in splits.items():
        parts = [] if split.vectors is None else [split.vectors]
        if split.captions:
            parts.append(encode_captions(encoder, split.captions))
        done[name] = replace(split, vectors=np.concatenate(parts, axis=1)) if parts else split
    return done, (
        tuple(encoder.words) if isinstance(encoder, BagOfWords) else encoder_name(encoder)
    )


def encoder_name(encoder: TextEncoder) -> str:
    """The name of a text encoder, MODULE:FUNCTION. It is for the user to import it."""
    kind = encoder if hasattr(encoder, "__qualname__") else type(encoder)
    return f"{kind.__module__}:{kind.__qualname__}"


def annotated(stored: Stored, source: Source) -> Stored:
    """Add the vectors, captions and maps that files hold to the images of a source.

    Maps in a folder have the size of their pictures' files, or 1/2, 1/3 ... of it. They are cropped
    and averaged as the images are, unless all of them have the images' final size or a fraction of
    it. Pictures with a palette are categorical, numbers of colours, and are never averaged.

    Raises:
        FileNotFoundError: If a file does not exist.
        DataError: If it does not fit the images.
    """
    if source.vectors is not None:
        path = _existing(source.vectors)
        stored = _assigned(stored, "vectors", *vector_table(path, source.file_column), path)
    if source.captions is not None:
        path = _existing(source.captions)
        stored = _assigned(stored, "captions", *caption_table(path, source.file_column), path)
    if source.maps is not None:
        path = _existing(source.maps)
        if not path.is_dir():
            return _assigned(stored, "maps", None, read_npy(path), path)
        splits = {
            name: replace(split, maps=pictured_maps(split, path))
            for name, split in stored.splits.items()
        }
        stored = replace(stored, splits=splits)
    return stored


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _tried(encoder: Callable[[Any], Any], texts: Any) -> tuple[NDArray[Any] | None, str]:
    """The result of an encoder, or None if it fails, and a description of it for errors."""
    try:
        given = encoder(texts)
        if isinstance(given, list | tuple) and any(hasattr(row, "detach") for row in given):
            array = np.stack([_numpy(row) for row in given])
        else:
            array = _numpy(given)
    except Exception as error:  # Users write encoders, and they may raise anything.
        return None, f"raised {type(error).__name__} ({' '.join(str(error).split())})"
    return array, f"gave an array of shape {array.shape}"


def _numpy(values: Any) -> NDArray[Any]:
    """Convert to an array, also tensors on a device, in a graph, or of types unknown to numpy."""
    return np.asarray(values.detach().float().cpu() if hasattr(values, "detach") else values)


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        require_file(path)
    return path


def _assigned(stored: Stored, field: str, names: list[str] | None, rows: Any, path: Path) -> Stored:
    """Give every split its rows: by name, or in their order if the source has one split."""
    if names is None and len(stored.splits) > 1:
        raise DataError(
            f"{path} has no names, but the source has splits of its own; use a table with a"
            " column file"
        )
    splits: dict[str, Split] = {}
    for key, split in stored.splits.items():
        if names is not None:
            order = _places(split, names, path)
        elif len(rows) != len(split):
            raise DataError(
                f"{path} has {len(rows)} rows, but there are {len(split)} images; give one for"
                " each, in order"
            )
        else:
            order = list(range(len(split)))
        chosen: Any = (
            rows[np.array(order)] if isinstance(rows, np.ndarray) else tuple(rows[k] for k in order)
        )
        splits[key] = replace(split, **{field: chosen})
    return replace(stored, splits=splits)


def _places(split: Split, names: list[str], path: Path) -> list[int]:
    """The row of each image of a split in a table of names."""
    if not split.names:
        raise DataError(
            f"{path} names images, but those of the source have no names; leave that column out"
        )
    places, _ = row_of_each(split.names, names, str(path))
    if missing := [name for name, place in zip(split.names, places, strict=True) if place < 0]:
        raise DataError(
            f"{path} has no row for {missing[0]} ({len(missing)} of {len(split)} images); names"
            " are paths below the folder of images"
        )
    rows: list[int] = places.tolist()
    return rows
