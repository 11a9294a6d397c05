"""What kind of grids images are: photographs, binary, tiles or codes.

Numbers alone do not say whether their order means something: 16 levels may be brightness or
kinds of tiles. But neighbours do. Where brightness changes, it changes by little; where a category
changes, it changes to any other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.scan import FEW
from nextpixel.data.splits import ImageData
from nextpixel.settings.choice import Kind

__all__ = ["kind_of", "order_matters"]

_LOOKED_AT = 256
_ORDERED: dict[Kind, float] = {"tiles": 0.85, "codes": 0.6}
"""Below this share of the expected step, values are ordered. Decision 0023 has
what was measured. Few levels lose little if they are taken for ordered."""


def kind_of(data: ImageData) -> tuple[Kind, str]:
    """The kind of some images, and why, in words.

    Example:
        >>> from nextpixel.data.load import load_data
        >>> kind_of(load_data("digits"))
        ('photograph', 'values are brightness')
    """
    if data.levels == 2:
        return "binary", "there are two levels"
    if not data.categorical:
        return "photograph", "values are brightness"
    few: Kind = "tiles" if data.levels <= FEW else "codes"
    if data.preparation.one_hot:
        return few, "values are one-hot"
    if data.preparation.values is not None:
        return few, "values come from a table"
    split = data.train if len(data.train) else data.test
    step = order_matters([split.images[k] for k in range(min(_LOOKED_AT, len(split)))])
    if step < _ORDERED[few]:
        return "photograph", "neighbours that differ are close in value, as in brightness"
    return few, f"neighbours that differ are not close in value ({data.levels} levels)"


def order_matters(images: list[NDArray[Any]]) -> float:
    """The mean step between unequal neighbours, as a share of that between random unequal values.

    Near 1 if values are categories, near 0 if they are a smooth function; 1 without unequal
    neighbours.

    Example:
        >>> slope = np.arange(20).reshape(1, 1, 20).repeat(5, axis=1)
        >>> round(order_matters([slope]), 2)
        0.15
    """
    steps, between = 0.0, 0
    counts = np.zeros(1, np.int64)
    for image in images:
        x = image.astype(np.int64)
        for a, b in ((x[:, 1:], x[:, :-1]), (x[:, :, 1:], x[:, :, :-1])):
            steps += float(np.abs(a - b).sum())
            between += int((a != b).sum())
        found = np.bincount(x.ravel(), minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    shares = counts / counts.sum()
    # E|a - b| of independent values is 2 * sum F (1 - F).
    below = np.cumsum(shares)
    expected = 2 * float((below * (1 - below)).sum())
    unequal = 1 - float((shares**2).sum())
    if not between or not expected:
        return 1.0
    return (steps / between) / (expected / unequal)
