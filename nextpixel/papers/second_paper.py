"""The experiments of Conditional Image Generation with PixelCNN Decoders, [2], arXiv 1606.05328.

There is one function for each kind of row in its tables.
"""

from typing import Any

from nextpixel.papers.choices import CLIPPED_AND_VALIDATED, IMAGENET, NEW, RGB
from nextpixel.papers.recipe import Recipe

__all__ = ["SECOND_PAPER"]


def _second_paper(*, choices: tuple[str, ...] = (), **row: Any) -> Recipe:
    """A row of [2]: the ImageNet model's 200,000 updates of 128."""
    adamw = {"optimizer": "adamw", "learning_rate": 3e-4, "ema_decay": 0.9999}
    return Recipe(
        training={"steps": 200_000, "batch_size": 128} | adamw,
        choices=(
            (
                "optimiser: not given; AdamW at 0.0003 with a cosine schedule and averaged weights"
                " (0.9999)"
            ),
            "the head is that of [1], 1023 maps wide, a multiple of three colours",
            *CLIPPED_AND_VALIDATED,
            *choices,
        ),
        **row,
    )


_GATED = {"kernel_size": 5, "head_features": 1023, "skip": False}


_LARGE = RGB | _GATED | {"layers": 20, "features": 384}


def imagenet_gated(side: int, which: str, published: float | None) -> Recipe:
    """[2], table 2: ImageNet with the old down-sampling, and the same model for the new one.

    The paper trained for 60 hours on 32 GPUs.
    """
    return _second_paper(
        name=f"imagenet{side}{which}-gated-pixel-cnn",
        source="[2], table 2",
        data=f"imagenet{side}{which}",
        size=(side, side),
        model=("GatedPixelCNN", _LARGE),
        published=published,
        choices=(NEW,) if which else (),
        **IMAGENET,
    )


def cifar10_gated() -> Recipe:
    """[2], table 1: Gated PixelCNN on CIFAR-10; its sizes are not in the paper."""
    return _second_paper(
        name="cifar10-gated-pixel-cnn",
        source="[2], table 1",
        data="cifar10",
        size=(32, 32),
        model=("GatedPixelCNN", RGB | _GATED | {"layers": 15, "features": 129, "dropout": 0.5}),
        load={"ignore_labels": True},
        published=3.03,
        choices=("15 layers of 129 maps, 5×5, dropout 0.5; 200,000 updates of 128",),
    )


def imagenet_classes() -> Recipe:
    """[2], section 3.2: ImageNet by class; the paper shows better samples, and gives no figure."""
    return _second_paper(
        name="imagenet32-classes",
        source="[2], section 3.2",
        data="imagenet32-classes",
        size=(32, 32),
        model=("GatedPixelCNN", _LARGE | {"condition": {"classes": 1000}}),
        load={"test": 0},
        published_on="valid",
        given="the class",
        choices=("conditions enter both stacks",),
    )


def autoencoder(code: int) -> Recipe:
    """[2], section 3.4: the PixelCNN auto-encoder on 32×32 patches of ImageNet.

    The paper shows only pictures.
    """
    decoder = {"model": "GatedPixelCNN", **_LARGE, "condition": {"size": code}}
    return _second_paper(
        name=f"autoencoder-{code}",
        source="[2], section 3.4",
        data="imagenet32",
        size=(32, 32),
        model=(
            "PixelCNNAutoencoder",
            {"decoder": decoder, "size": [32, 32], "encoder_features": 64},
        ),
        given="its code",
        choices=(
            "the encoder: not given; convolutions from 64 maps on",
            "sizes of the decoder: those of the ImageNet model; the code enters both stacks",
            (
                "the auto-encoder for the squared error that the paper compares with is in"
                " experiments/autoencoder.py"
            ),
        ),
        **IMAGENET,
    )


def portraits() -> Recipe:
    """[2], section 3.3: portraits given a face embedding; the paper shows only pictures."""
    return _second_paper(
        name="portraits",
        source="[2], section 3.3",
        data="faces",
        size=(32, 32),
        model=("GatedPixelCNN", _LARGE | {"condition": {"size": 128}}),
        load={"ignore_labels": True},
        given="the embedding",
        choices=(
            "sizes of images, embedding and networks: not given",
            (
                "the embedding network is no part of it: experiments/portraits.py trains one by"
                " triplets, too"
            ),
        ),
    )


SECOND_PAPER: tuple[Recipe, ...] = (
    imagenet_gated(32, "", 3.83),
    imagenet_gated(64, "", 3.57),
    imagenet_gated(32, "-new", None),
    imagenet_gated(64, "-new", None),
    cifar10_gated(),
    imagenet_classes(),
    autoencoder(10),
    autoencoder(100),
    portraits(),
)
