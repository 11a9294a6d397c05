"""nextpixel export: a copy of a checkpoint to publish."""

from pathlib import Path
from typing import Annotated

from nextpixel.cli.readers import SHORT_OUT, Model
from nextpixel.errors import UsageError

__all__ = ["export"]


def export(
    model: Model,
    *,
    out: Annotated[Path, SHORT_OUT],
    keep_classes: bool = False,
    keep_words: bool = False,
) -> None:
    """Write a copy of a checkpoint without names of files, folders, classes and people.

    What is dropped and what stays is printed. The weights are the same, and can still remember
    images that they were trained on.

    Parameters
    ----------
    out
        The copy, a .safetensors file.
    keep_classes
        Keep the names of the classes; otherwise they are numbered.
    keep_words
        Keep the words that captions are made of, or the name of their encoder; otherwise the copy
        takes no captions.
    """
    from nextpixel.inference.publishing import publish

    if out.suffix != ".safetensors":
        raise UsageError(f"‹out={out}› must end in .safetensors")
    published = publish(model, out, keep_classes=keep_classes, keep_words=keep_words)
    for word, parts in (("dropped", published.dropped), ("kept", published.kept)):
        for part in parts:
            print(f"{word}: {part}")
    print(f"written: {out}")
