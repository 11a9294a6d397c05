"""Options about images: how they become integers, and what accompanies them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["DataOptions", "load_keywords"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How images become integers, and what accompanies them."""

    size: str | None = None
    """Centre-crop every image to this side, or HEIGHTxWIDTH, and downsample. Default: 32 if images
    are larger than 64 or differ in size."""
    levels: int | None = None
    """Quantise to this number of levels. Default: all levels."""
    binarise: Literal["threshold", "draw"] | None = None
    """Reduce to two levels: 1 from half of the levels on, or with the value as probability."""
    from_levels: int | None = None
    """Number of levels of the stored values, where an array's values do not tell."""
    channels: int | None = None
    """1, 3 or 4. Default: what the images have."""
    labels: Path | None = None
    """An .npy file of labels for an .npy file of images."""
    ignore_labels: bool = False
    """Ignore labels and sub-folder names."""
    vectors: Path | None = None
    """A vector for each image: an .npy file in their order, or a .csv table with a column file."""
    captions: Path | None = None
    """A text for each image: a .txt file with a line each, or a .csv table with the columns file
    and text."""
    text_encoder: str | None = None
    """MODULE:FUNCTION that makes vectors of captions. Default: which of the most frequent words
    they hold."""
    embedding: Path | None = None
    """A checkpoint of nextpixel embed: condition on its vectors of the images, and test on classes
    that it never saw."""
    maps: Path | None = None
    """A map for each image: an .npy file in their order, or a folder of images with the same
    names."""
    validation: float = 0.1
    """Share (below 1) or number of training images for the validation split, if there is none."""
    test: float = 0.1
    """Share (below 1) or number of training images for the test split, if there is none."""
    split_seed: int = 0
    """Seed for splitting and for --binarise draw."""


def load_keywords(values: dict[str, Any]) -> dict[str, Any]:
    """The keywords of `load_data` for options that were given."""
    from nextpixel.cli.opening import import_encoder

    keywords = dict(values)
    if keywords.pop("ignore_labels", False):
        keywords["labels"] = False
    if "split_seed" in keywords:
        keywords["seed"] = keywords.pop("split_seed")
    if "text_encoder" in keywords:
        keywords["text_encoder"] = import_encoder(keywords["text_encoder"])
    return keywords
