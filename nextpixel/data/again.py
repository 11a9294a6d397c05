"""Data prepared as a model's training data were: the recorded preparation, repeated in full."""

from typing import Any

from nextpixel.data import load
from nextpixel.data.annotations import TextEncoder
from nextpixel.data.errors import DataError
from nextpixel.data.splits import ImageData
from nextpixel.data.storage import Progress
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.stored_values import shown_values

__all__ = ["load_again", "settled"]


def load_again(
    source: Any,
    preparation: Preparation,
    *,
    text_encoder: TextEncoder | str | None = None,
    hold: bool = True,
    progress: Progress | None = None,
) -> ImageData:
    """`load_data` for a model that is already trained: nothing about its preparation is open.

    Raises:
        FileNotFoundError: If the source does not exist.
        DataError: If it cannot be prepared so. The message advises no parameter of a preparation,
            as the model has settled them all.
    """
    try:
        return load.load_data(
            source, preparation, text_encoder=text_encoder, hold=hold, progress=progress
        )
    except DataError as error:
        raise DataError(settled(error.sentence, preparation)) from error


def settled(sentence: str, preparation: Preparation) -> str:
    """A sentence in which advice to change the preparation is replaced by what the model takes."""
    if "‹text_encoder›" in sentence or "‹" not in sentence:
        return sentence
    facts = [part for part in sentence.split("; ") if "‹" not in part]
    if not facts:
        facts = [sentence.split("; ")[0].replace("‹", "").replace("›", "")]
    return f"{'; '.join(facts)}; the model takes {_wanted(preparation)}"


def _wanted(preparation: Preparation) -> str:
    words = []
    if preparation.one_hot:
        words.append(f"{preparation.from_levels} one-hot channels")
    elif isinstance(preparation.values, tuple):
        words.append(f"the values {shown_values(preparation.values)}")
    elif preparation.range is not None:
        words.append("floats from {:g} to {:g}".format(*preparation.range))
    elif preparation.from_levels is not None and preparation.offset is not None:
        low = -preparation.offset
        words.append(f"values {low} … {low + preparation.from_levels - 1}")
    elif preparation.from_levels is not None:
        words.append(f"values 0 … {preparation.from_levels - 1}")
    if preparation.missing is not None:
        words.append(f"{preparation.missing} where values are missing")
    if preparation.channels is not None and not preparation.one_hot:
        words.append(f"{preparation.channels} channel{'s' * (preparation.channels != 1)}")
    if isinstance(preparation.size, tuple):
        words.append("at least {}×{} pixels".format(*preparation.size))
    return f"images of {', '.join(words)}" if words else "images like those it was trained on"
