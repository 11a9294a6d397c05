"""A few images of each split as they are stored and as they are prepared, to be looked at."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.splits import Example, Split

__all__ = ["examples_of"]

_EACH = 8
_MOST_PIXELS = 512


def examples_of(
    stored: Mapping[str, Split],
    prepared: Mapping[str, Split],
    rows: Mapping[str, NDArray[np.int64]],
    classes: tuple[str, ...],
) -> tuple[Example, ...]:
    """Up to eight images of each split, evenly spaced.

    Args:
        stored: The splits of the source, as they are stored.
        prepared: The splits as they are prepared.
        rows: Which stored images make up each of them.
        classes: The names of the classes.
    """
    found = []
    for name, split in prepared.items():
        origin = stored[name if name in stored else "train"]
        places = np.linspace(0, len(split) - 1, min(len(split), _EACH)).astype(np.int64)
        for place in np.unique(places).tolist():
            try:
                raw, image = origin.images[int(rows[name][place])], split.images[place]
            except DataError:  # It is said when the image is used.
                continue
            size = image.shape[1], image.shape[2]
            sizes = split.stored_sizes
            found.append(
                Example(
                    split=name,
                    stored=_thinned(raw),
                    prepared=_thinned(image),
                    stored_size=sizes[place] if sizes else (raw.shape[1], raw.shape[2]),
                    size=size,
                    name=split.names[place] if split.names else "",
                    label=_label(split, place, classes),
                    caption=split.captions[place] if split.captions else "",
                    map=None if split.maps is None else _thinned(split.maps[place]),
                    vector=0 if split.vectors is None else split.vectors.shape[1],
                )
            )
    return tuple(found)


def _label(split: Split, place: int, classes: tuple[str, ...]) -> str:
    if split.labels is None:
        return ""
    number = int(split.labels[place])
    return classes[number] if 0 <= number < len(classes) else "unknown"


def _thinned(image: Any) -> NDArray[Any]:
    step = max(1, -(-max(image.shape[1:]) // _MOST_PIXELS))
    return np.array(image[:, ::step, ::step])
