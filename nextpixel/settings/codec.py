"""What a user asks of the lossless codec.

Each field is an option of the command line and its only home: name, type, default, help (the
docstring under it) and check. Reading this module does not load torch.
"""

from dataclasses import dataclass

from nextpixel.errors import UsageError
from nextpixel.settings.requests import check_at_least

__all__ = ["MOST_TOGETHER", "CompressConfig", "DecompressConfig"]

MOST_TOGETHER = 1024


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """How pictures are put into an archive."""

    together: int | None = None
    """The number of equally sized pictures that are coded as one block. A block costs about 25
    bytes beside its pictures, and is damaged and decoded as a whole. By default up to 64 small
    pictures, and large ones by themselves."""

    class_: str | None = None
    """For a class-conditional model: the name or number of the class of all pictures. By default it
    is unknown, which needs a model trained with ``--condition-dropout``."""

    include_model: bool = False
    """Put the model into the archive, so that nothing else is needed to restore the pictures. Its
    weights take about 8 to 12 bits each."""

    overwrite: bool = False
    """Replace the archive if it exists."""

    def __post_init__(self) -> None:
        check_at_least(1, together=self.together)
        if self.together is not None and self.together > MOST_TOGETHER:
            raise UsageError(f"‹together={self.together}› must be at most {MOST_TOGETHER}")


@dataclass(frozen=True, kw_only=True)
class DecompressConfig:
    """What is restored of an archive."""

    only: tuple[str, ...] | None = None
    """The name of a picture to restore; repeat the option for several. By default all."""

    overwrite: bool = False
    """Replace files that exist."""
