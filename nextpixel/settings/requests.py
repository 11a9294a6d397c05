"""What a user asks of a trained model: which images, how to draw them, and what to make of them.

Each field is an option of the command line and its only home: name, type, default, help (the
docstring under it) and check. Reading this module does not load torch.
"""

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Literal

from nextpixel.arguments import drawing_factor, shown, whole_number
from nextpixel.errors import UsageError
from nextpixel.orders import Order
from nextpixel.settings.preparation import checked_size
from nextpixel.settings.source import Annotations

__all__ = [
    "CompletionRequest",
    "DataRequest",
    "InspectionRequest",
    "InterpolationRequest",
    "ReconstructionRequest",
    "SampleConfig",
    "SampleRequest",
    "check_at_least",
]


_USUAL_COUNT = 64


def check_at_least(least: int, **values: int | None) -> None:
    """Raise UsageError if one of these values is smaller; None is not checked."""
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise UsageError(f"‹{name}={shown(value)}› must be an integer")
        if value < least:
            raise UsageError(f"‹{name}={value}› must be at least {least}")


@dataclass(frozen=True, kw_only=True)
class DataRequest(Annotations):
    """Which images: those of a split of the training data, or others prepared in the same way."""

    data: str | Path | None = None
    """Other images than the training data: any source that ``nextpixel train`` takes, also a single
    picture. They are prepared as the training data were. By default the training data."""

    split: Literal["train", "valid", "test"] = "test"
    """The split to use. Other images that have no splits are all used."""

    embedding: str | Path | None = None
    """Where the checkpoint of the embedding is now, if it has moved since the model was trained
    with it."""

    text_encoder: str | None = None
    """The function that encoded the captions in training, MODULE:FUNCTION. By default the bag of
    words that the checkpoint holds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split not in ("train", "valid", "test"):
            raise UsageError(f"‹split={self.split!r}› must be 'train', 'valid' or 'test'")


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How images are drawn from a distribution."""

    temperature: float = 1.0
    """1 draws from the model; lower values draw likelier images, and 0 takes the most probable
    value of every sub-pixel."""

    guidance: float = 1.0
    """How much the condition counts: 1 draws from the model, higher values exaggerate the
    condition, 0 ignores it. Values other than 1 need a model trained with ``--condition-dropout``,
    and take twice the time."""

    order: str | None = None
    """The order in which pixels are drawn, for a model trained with ``--orders``: the corner where
    it begins, such as ``top-left`` or ``bottom-right``, with ``-columns`` for column by column. For
    one trained with ``--colour-orders`` the colours may follow, such as ``top-left:2-0-1``. By
    default a random one for each sample, and for a completion the one in which most of the known
    part comes first."""

    seed: int = 0
    """The seed of all random numbers. The same seed gives the same images."""

    batch_size: int = 256
    """The number of images drawn at once."""

    def __post_init__(self) -> None:
        for name, value in (("temperature", self.temperature), ("guidance", self.guidance)):
            drawing_factor(name, value)
        if not (isinstance(self.seed, Integral) and 0 <= int(self.seed) < 2**63):
            raise UsageError(f"‹seed={shown(self.seed)}› must be from 0 to 2^63 - 1")
        if self.order is not None:
            Order.named(self.order)
        check_at_least(1, batch_size=self.batch_size)


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """Which images to draw."""

    n: int | None = None
    """The number of images in all, by default 64, divided evenly among the classes. If there are
    fewer vectors or maps than images, they repeat in turn: with three vectors, ``--n 60`` draws
    twenty images of each."""

    per_class: int | None = None
    """The number of images of each class, instead of --n."""

    size: int | tuple[int, int] | None = None
    """One side, or HEIGHTxWIDTH. By default the size of the training images."""

    class_: str | None = None
    """For a class-conditional model: the name or number of a class, ``all``, or ``none`` (unknown).
    By default all classes, a row for each. For a model of images with several labels: the
    labels that the images should have, such as ``red;round``."""

    caption: str | None = None
    """What the images should show, for a model conditioned on captions."""

    columns: int | None = None
    """The number of images in a row of the grid. By default the grid is square, or has a row for
    each class."""

    def __post_init__(self) -> None:
        check_at_least(1, n=self.n, per_class=self.per_class, columns=self.columns)
        if self.n is not None and self.per_class is not None:
            raise UsageError(
                f"‹n={self.n}› and ‹per_class={self.per_class}› both say how many images to draw;"
                " give one of them"
            )
        if self.n is None:
            object.__setattr__(self, "n", _USUAL_COUNT)
        object.__setattr__(self, "size", checked_size(self.size))

    @property
    def shape(self) -> tuple[int, int] | None:
        """The height and width, if given."""
        return self.size if isinstance(self.size, tuple) else None


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """Which images to complete, and which part of them is hidden."""

    n: int = 8
    """The number of images, taken from the start of the split."""

    hide: Literal["bottom", "top", "left", "right", "centre", "scratches", "between", "all"] = (
        "bottom"
    )
    """What to hide: a half, the central quarter, three thin lines (``scratches``), all pixels
    beside every second one of every second row (``between``), or ``all``."""

    mask: str | Path | None = None
    """A picture that is black, or transparent, where pixels are hidden; or a folder of one for each
    image, of the same name. It has the size of the images as they are stored, and is cropped and
    reduced with them, or the size at which the model sees them. It replaces --hide."""

    known: int | tuple[int, ...] = ()
    """The number of a channel that is known where pixels are hidden, too, from 0; or several, such
    as ``0,2``. With ``--hide all`` only these are known: ``--known 1`` colours pictures whose green
    is given."""

    class_: str | None = None
    """For a class-conditional model and images without labels: the name or number of their class,
    or ``none`` (unknown)."""

    draws: int = 4
    """The number of completions of each image."""

    particles: int = 32
    """The number of walkers of each completion; known pixels that come after a hidden one choose
    among them. Where there are such pixels, the time grows with the number. With
    1, they do not affect the draws."""

    only_result: bool = False
    """Save only the finished images, without the original and what the model was given."""

    def __post_init__(self) -> None:
        check_at_least(1, n=self.n, draws=self.draws, particles=self.particles)
        channels = tuple(self.known) if isinstance(self.known, list | tuple) else (self.known,)
        object.__setattr__(self, "known", tuple(whole_number("known", k, 0) for k in channels))
        if self.class_ == "all":
            raise UsageError(
                "‹class_=all› is for samples; give the one class of the images to complete"
            )


@dataclass(frozen=True, kw_only=True)
class ReconstructionRequest:
    """Which images to reconstruct."""

    beside: str | Path | None = None
    """A convolutional auto-encoder, to show its reconstructions too: a run folder or a
    checkpoint."""

    n: int = 8
    """The number of images, taken from the start of the split."""

    draws: int = 4
    """The number of draws for each image."""

    spread: bool = False
    """Take images that are evenly spread over the split instead of the first ones."""

    def __post_init__(self) -> None:
        check_at_least(1, n=self.n, draws=self.draws)


@dataclass(frozen=True, kw_only=True)
class InterpolationRequest:
    """Between which images to interpolate."""

    between: tuple[int, int] | None = None
    """The numbers of two images of the split, from 0. By default pairs of images that are far apart
    in the split."""

    rows: int = 4
    """The number of pairs, if --between does not name one."""

    steps: int = 8
    """The number of draws from one image to the other, both ends included."""

    keep_length: bool | None = None
    """Keep the length of the vectors on the way, for vectors on a sphere. By default for
    embeddings."""

    def __post_init__(self) -> None:
        check_at_least(1, rows=self.rows)
        check_at_least(2, steps=self.steps)


@dataclass(frozen=True, kw_only=True)
class InspectionRequest:
    """Which predictions to show, and of which pixel the effective receptive field."""

    image: int = 0
    """The number of the image in the split, from 0."""

    pixels: tuple[tuple[int, int], ...] | None = None
    """ROWxCOLUMN; repeat the option for several pixels. By default six pixels, from the one that
    the model predicts best to the one that it predicts worst."""

    images: int = 32
    """The number of images over which the effective receptive field is averaged."""

    field_pixel: tuple[int, int] | None = None
    """ROWxCOLUMN of the pixel whose effective receptive field is drawn. By default the middle of
    the last row but one."""

    order: str | None = None
    """The order in which the model goes through the image, for a model trained with ``--orders`` or
    ``--colour-orders``: see ``nextpixel sample --help``. By default ``top-left``, row by row."""

    def __post_init__(self) -> None:
        check_at_least(0, image=self.image)
        check_at_least(1, images=self.images)
        if self.order is not None:
            Order.named(self.order)
