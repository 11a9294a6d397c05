"""The figures of a trained model on the images of a split, as `nextpixel evaluate` prints them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from nextpixel.analysis.condition_worth import ConditionWorth

__all__ = ["Evaluation", "MeasuredWorth", "ReconstructionError", "ScaleShare"]


@dataclass(frozen=True, kw_only=True)
class ScaleShare:
    """What one scale of a multi-scale model costs.

    Attributes:
        step: one in so many rows and columns of the image belongs to it.
        nats_per_image: its share of the negative log-likelihood.
    """

    step: int
    nats_per_image: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The likelihood of the images of a split, in float32.

    Attributes:
        source: the name of the source of the images.
        split: "train", "valid", "test", or "all" of it.
        images: the number of images.
        kind: an exact likelihood, or a bound: the negative log-likelihood is at most this.
        given: what it is conditional on, such as "the class"; "" for nothing.
        bits_per_dim, nats_per_image: the mean of -log2 p over sub-pixels, of -log p over images.
        standard_error: of nats_per_image, over images or clusters of them; it covers neither the
            seed nor the recipe of the model. None for a single image or cluster.
        clusters: how many groups of images that belong together, if the request named them.
        uniform_bits_per_dim: that of uniform values, to compare with.
        one_histogram_bits_per_dim: that of one histogram of all values, fitted to the training
            images; of other data, to these images themselves.
        histogram_bits_per_dim: that of a histogram for each pixel, fitted to the training images;
            None for other splits and for images of several sizes.
        dequantised_bits_per_dim: that of the density of dequantised images, which compares with
            continuous models; None unless the head is a mixture of logistics.
        code_nats_per_image: the share of the code; None unless it is a bound.
        importance_weighted_bits_per_dim: a tighter bound, if it was asked for.
        members_bits_per_dim: the mean over the orders of a model of several, if the other figures
            are those of their mixture; otherwise None.
        scales: the shares of the scales of a multi-scale model in one order; otherwise ().
    """

    source: str
    split: str
    images: int
    kind: Literal["likelihood", "bound"]
    given: str
    bits_per_dim: float
    nats_per_image: float
    uniform_bits_per_dim: float
    standard_error: float | None = None
    clusters: int | None = None
    one_histogram_bits_per_dim: float | None = None
    histogram_bits_per_dim: float | None = None
    dequantised_bits_per_dim: float | None = None
    code_nats_per_image: float | None = None
    importance_weighted_bits_per_dim: float | None = None
    members_bits_per_dim: float | None = None
    scales: tuple[ScaleShare, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures that there are, by name."""
        figures = {k: v for k, v in asdict(self).items() if v is not None and v != ()}
        del figures["kind"], figures["given"]
        return figures | {"conditional": bool(self.given)}


@dataclass(frozen=True, kw_only=True)
class ReconstructionError:
    """How well a model without a likelihood reconstructs the images of a split.

    Attributes:
        source, split, images: as in `Evaluation`.
        name: of the figure, such as "mean_squared_error".
        value: the figure.
        unit: of the value.
        scaled: the figure for values that are scaled to [-1, 1].
    """

    source: str
    split: str
    images: int
    name: str
    value: float
    unit: str
    scaled: float

    def to_json(self) -> dict[str, Any]:
        """The figure, under its name."""
        of_what = {"source": self.source, "split": self.split, "images": self.images}
        return of_what | {self.name: self.value}


@dataclass(frozen=True, kw_only=True)
class MeasuredWorth:
    """How many bits the condition saves on the images of a split.

    Attributes:
        source, split: as in `Evaluation`.
        given: the condition in words, such as "the class".
        worth: the figures.
    """

    source: str
    split: str
    given: str
    worth: ConditionWorth

    def to_json(self) -> dict[str, Any]:
        """The figures, with the source and the split."""
        return {"source": self.source, "split": self.split} | asdict(self.worth)
