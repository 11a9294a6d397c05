"""What accompanies images: vectors, captions and maps, to condition a model on.

They come within an `.npz` file of images, or from a file or folder of their own: in the order of
the images, or by their names. Captions become vectors by a text encoder, a function from texts to
vectors; `BagOfWords` is one that needs no download. Maps follow their images: what is done to the
size of an image is done to its map.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.maps import pictured_maps
from nextpixel.data.preparation import Preparation
from nextpixel.data.source import Source
from nextpixel.data.splits import Split
from nextpixel.data.storage import Stored
from nextpixel.data.tables import caption_table, checked_vectors, read_npy, vector_table

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
    """Says which words of a vocabulary a text holds: 1 or 0 for each.

    Args:
        words: The vocabulary, in lower case.

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
        """The most frequent words of some captions; equally frequent words in alphabetical order."""
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
    if not splits["train"].captions:
        return splits, None
    recorded = preparation.text_encoder
    if encoder is None:
        if isinstance(recorded, str):
            raise DataError(
                f"the captions were encoded by {recorded}; give ‹text_encoder›, that function, if"
                " you trust it"
            )
        encoder = BagOfWords(recorded) if recorded else BagOfWords.of(splits["train"].captions)
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
        stored = _assigned(stored, "vectors", *vector_table(path), path)
    if source.captions is not None:
        path = _existing(source.captions)
        stored = _assigned(stored, "captions", *caption_table(path), path)
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
    place = {name: k for k, name in enumerate(names)}
    if len(place) < len(names):
        name, count = Counter(names).most_common(1)[0]
        raise DataError(f"{path} has {count} rows for {name}; keep one of them")
    missing = [name for name in split.names if name not in place]
    if missing:
        raise DataError(
            f"{path} has no row for {missing[0]} ({len(missing)} of {len(split)} images); names"
            " are paths below the folder of images"
        )
    return [place[name] for name in split.names]
