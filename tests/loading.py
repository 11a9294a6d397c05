"""`load_data` with all options as keywords, for tables of options."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from nextpixel import Preparation, Source, load_data
from nextpixel.data.splits import ImageData


def loaded(images: str | Path, **options: Any) -> ImageData:
    """Load with the options of `Source`, `Preparation` and `load_data` together."""
    own = {
        kind: {
            field.name: options.pop(field.name) for field in fields(kind) if field.name in options
        }
        for kind in (Source, Preparation)
    }
    return load_data(Source(images, **own[Source]), Preparation(**own[Preparation]), **options)
