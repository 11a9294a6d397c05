"""Vectors made by an embedding, and the classes that it never saw."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.splits import Split, joined, subset
from nextpixel.settings.source import Source

if TYPE_CHECKING:
    from nextpixel.files.card import ModelCard

__all__ = ["embedded"]


def embedded(
    splits: dict[str, Split], source: Source, classes: tuple[str, ...]
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Splits with vectors by the source's embedding instead of labels.

    Classes that the embedding never saw are in the test split alone. They are known if the
    embedding was trained on this source, or, where a folder was moved or copied, on classes of the
    same names.

    Args:
        splits: Of images of the embedding's size.
        source: The images, and the checkpoint of the embedding.
        classes: Names of the labels; () without.

    Returns:
        The splits, and the names of the classes that the embedding never saw.

    Raises:
        DataError: If the embedding was trained on this source, and the images of classes that it
            never saw cannot be told apart.
    """
    import torch

    from nextpixel.checkpoint import load_embedding, read_card
    from nextpixel.models.embedding import embed

    path = Path(source.embedding or "").expanduser()
    network, card = load_embedding(path), read_card(path)
    held_out = _held_out(card, path, source, classes)
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
    card: "ModelCard", path: Path, source: Source, classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Which of these classes the embedding never saw; () if it was trained on other classes."""
    from nextpixel.files.card import place_name

    unseen, known = card.held_out, card.classes
    # A checkpoint names its source without the folders above it.
    is_source = card.source is not None and str(card.source) == place_name(str(source))
    if not unseen or not (is_source or (classes and set(classes) == set(known))):
        return ()
    found = tuple(name for name in unseen if name in classes)
    if not classes:
        raise DataError(
            f"the embedding {path} never saw {len(unseen)} classes of {source}, but without labels"
            " it is not known which images to keep out of training; leave out ‹ignore_labels=True›"
        )
    if not found:
        raise DataError(
            f"the embedding {path} never saw the classes {', '.join(unseen)} of {source}, but none"
            " of its classes is called so now; train the embedding anew"
        )
    return found


def _labels(split: Split) -> NDArray[np.int64]:
    assert split.labels is not None
    return split.labels
