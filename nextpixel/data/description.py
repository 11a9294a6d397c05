"""A source of images, described in one call, as `nextpixel data` prints it."""

from pathlib import Path
from typing import Any

from nextpixel.data.annotations import TextEncoder
from nextpixel.data.load import load_data
from nextpixel.data.preview import write_preview
from nextpixel.data.statistics import describe, histogram_bits_per_dim
from nextpixel.data.storage import Progress
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source

__all__ = ["describe_source"]


def describe_source(
    source: str | Path | Source,
    preparation: Preparation = Preparation(ragged=True),  # noqa: B008  # It is frozen.
    *,
    text_encoder: TextEncoder | str | None = None,
    preview: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Read a source of images and summarise it as JSON.

    Arguments are those of `nextpixel.data.load.load_data`, and `preview`, a file for a picture of
    some images as they are stored and as they are prepared.

    Returns:
        What `nextpixel.data.statistics.describe` returns, and ``histogram_bits_per_dim`` if all
        images have one size.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        DataError: If it cannot be used.

    Example:
        >>> found = describe_source("digits")
        >>> found["shape"], found["levels"], found["splits"]["test"]["images"]
        ([8, 8], 17, 179)
    """
    data = load_data(source, preparation, text_encoder=text_encoder, progress=progress)
    if preview is not None:
        write_preview(data, preview)
    if data.shape is None:
        return describe(data)
    return describe(data) | {"histogram_bits_per_dim": histogram_bits_per_dim(data)}
