"""What a recipe is: one experiment of the papers, what it is trained on, and what it costs."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from nextpixel.layers.conditioning import ConditionBias
from nextpixel.models.core import ImageModel
from nextpixel.models.registry import build
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.training import TrainConfig

__all__ = ["DATA", "Cost", "DataSet", "Recipe", "cost"]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What recipes train on. None of it comes with nextpixel.

    Attributes:
        what: its description.
        train_images: how many there are to train on; None if the papers do not say.
        file: what `nextpixel reproduce --data FOLDER` looks for there, or None.
    """

    what: str
    train_images: int | None
    file: str | None = None


DATA = {
    "mnist-binarised": DataSet(
        what=(
            "the original static binarisation of MNIST (Salakhutdinov & Murray 2008): an .npz file"
            " with train_images, valid_images and test_images of 0 and 1"
        ),
        train_images=50_000,
        file="mnist_binarized.npz",
    ),
    "cifar10": DataSet(
        what=(
            "all of CIFAR-10, lossless: an .npz file with train_images and test_images (N, 32,"
            " 32, 3)"
        ),
        train_images=45_000,
        file="cifar10.npz",
    ),
    "imagenet32": DataSet(
        what=(
            "ImageNet down-sampled to 32×32 as in [1], images of that size; the set is no longer"
            " distributed, and figures on the newer, easier one do not compare"
        ),
        train_images=1_281_149,
    ),
    "imagenet64": DataSet(
        what=(
            "ImageNet down-sampled to 64×64 as in [1], images of that size; the set is no longer"
            " distributed, and figures on the newer, easier one do not compare"
        ),
        train_images=1_281_149,
    ),
    "imagenet32-new": DataSet(
        what=(
            "ImageNet down-sampled to 32×32 by averaging (Chrabaszcz et al., 2017), images of that"
            " size"
        ),
        train_images=1_281_167,
    ),
    "imagenet64-new": DataSet(
        what=(
            "ImageNet down-sampled to 64×64 by averaging (Chrabaszcz et al., 2017), images of that"
            " size"
        ),
        train_images=1_281_167,
    ),
    "imagenet32-classes": DataSet(
        what=(
            "ImageNet with its 1000 classes, images of 32×32; the paper does not say which"
            " down-sampling"
        ),
        train_images=1_281_167,
    ),
    "faces": DataSet(
        what=(
            "portraits as an .npz file: train_images of 32×32, and as train_vectors 128 numbers of"
            " each, a face embedding"
        ),
        train_images=None,
    ),
}
"""By the name that recipes use."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment.

    Attributes:
        name: what `nextpixel reproduce` calls it.
        source: paper and table.
        data: a key of `DATA`.
        size: (H, W) of its images.
        model: class and keywords of the model, for `models.registry.build`.
        training: keywords of `TrainConfig`.
        load: keywords of the images' `Preparation`, apart from the model's levels.
        unit: of the figures: "nats" per image, or "bits/dim".
        published: the paper's figure for the split that it reports, or None.
        published_on: that split.
        given: what the figures are conditioned on, such as "the class": they do not compare with
            unconditional ones.
        choices: what the paper leaves open, and what was chosen.
        small: whether two CPU cores finish it in hours.
    """

    name: str
    source: str
    data: str
    size: tuple[int, int]
    model: tuple[str, dict[str, Any]]
    training: dict[str, Any]
    load: dict[str, Any] = field(default_factory=dict)
    unit: str = "bits/dim"
    published: float | None = None
    published_on: str = "test"
    given: str | None = None
    choices: tuple[str, ...] = ()
    small: bool = False

    def build(self, device: str = "cpu") -> ImageModel:
        """The untrained model; on "meta" it takes no memory."""
        name, keywords = self.model
        with torch.device(device):
            model = build(name, keywords)
        assert isinstance(model, ImageModel)
        return model

    @property
    def levels(self) -> int:
        """Number of values of a sub-pixel."""
        _, keywords = self.model
        inner = keywords.get("decoder") or keywords.get("small") or keywords
        return int(inner["levels"])

    @property
    def preparation(self) -> Preparation:
        """How its images are prepared."""
        return Preparation(**{"levels": self.levels} | self.load)

    def config(self) -> TrainConfig:
        """How it is trained."""
        return TrainConfig(**self.training)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The computed cost of a recipe.

    Attributes:
        parameters: of the model.
        gigaflops_per_image: of one training step: every weight is used once per pixel of its scale,
            a multiplication and an addition, and the backward pass costs twice the forward pass.
            What is computed once per image (biases of classes and vectors, the encoder of an
            auto-encoder) is left out.
        images: seen in training; None if the recipe is given in minutes.
        exaflops: of the whole training; None likewise.
        hours: on a device that sustains 10 TFLOP/s; None likewise.
    """

    parameters: int
    gigaflops_per_image: float
    images: int | None
    exaflops: float | None
    hours: float | None


def cost(recipe: Recipe) -> Cost:
    """The cost of a recipe on its data set."""
    model = recipe.build("meta")
    parameters = sum(p.numel() for p in model.parameters())
    gigaflops = sum(
        6 * _weights_per_pixel(network) * math.prod(-(-side // step) for side in recipe.size) / 1e9
        for network, step, _ in model.scales()
    )
    config, images = recipe.config(), None
    if config.epochs is not None:
        count = DATA[recipe.data].train_images
        images = None if count is None else config.epochs * count
    elif config.steps is not None:
        images = config.steps * config.batch_size
    exaflops = None if images is None else images * gigaflops / 1e9
    return Cost(
        parameters=parameters,
        gigaflops_per_image=gigaflops,
        images=images,
        exaflops=exaflops,
        hours=None if exaflops is None else exaflops * 1e18 / 1e13 / 3600,
    )


def _weights_per_pixel(network: ImageModel) -> int:
    biases = [part for part in network.modules() if isinstance(part, ConditionBias)]
    per_image = sum(
        p.numel() for part in biases for name, p in part.named_parameters() if "maps" not in name
    )
    return sum(p.numel() for p in network.parameters()) - per_image
