"""Reduced experiments, which finish in hours on two CPU cores; their names end in -small."""

from typing import Any

from nextpixel.papers.choices import BINARY, RGB
from nextpixel.papers.recipe import Recipe

__all__ = ["REDUCED"]


_SMALL = {"batch_size": 16}


_SMALL_CHOICE = "Muon, cosine schedule, averaged weights in place of the paper's RMSProp"


_POSITIONS = (
    "every layer knows where in the image a pixel is (position_waves=3), which digits are aligned"
    " enough for"
)


def mnist_small(kind: str) -> Recipe:
    """Binary MNIST in one to two hours of one core for each model.

    The optimisation is better than the published one, see `choices`.
    """
    two_stacks = {
        "layers": 6,
        "features": 32,
        "kernel_size": 5,
        "first_kernel_size": 7,
        "dropout": 0.1,
    }
    diagonal = {"layers": 3, "features": 32, "complete_context": True, "dropout": 0.1}
    # Epochs: about what a core with bfloat16 does in that time.
    models: dict[str, tuple[str, dict[str, Any], int, float | None]] = {
        "pixel-cnn": (
            "PixelCNN",
            {"layers": 6, "features": 32, "kernel_size": 7, "dropout": 0.1},
            18,
            81.30,
        ),
        "row-lstm": ("RowLSTM", {"layers": 4, "features": 32, "kernel_size": 5}, 6, 80.54),
        "diagonal-bilstm": ("DiagonalBiLSTM", diagonal, 9, 79.20),
        "gated-pixel-cnn": ("GatedPixelCNN", two_stacks, 10, None),
        "gated-pixel-cnn-wide": (
            "GatedPixelCNN",
            two_stacks | {"layers": 10, "features": 48},
            4,
            None,
        ),
    }
    name, keywords, epochs, published = models[kind]
    gap = (
        ("the gap in what the published construction sees is closed",)
        if "complete_context" in keywords
        else ()
    )
    return Recipe(
        name=f"mnist-{kind}-small",
        source="[1], table 4" if published else "[2], not reported there",
        data="mnist-binarised",
        size=(28, 28),
        model=(name, BINARY | {"position_waves": 3} | keywords),
        training={"epochs": epochs, "learning_rate": 0.003, "evaluate_every": 3125} | _SMALL,
        load={"ignore_labels": True},
        unit="nats",
        published=published,
        choices=(
            _SMALL_CHOICE,
            "width, depth, kernels and dropout by what trains in time",
            _POSITIONS,
            *gap,
        ),
        small=True,
    )


_CONVOLUTIONAL = {"features": 48, "layers": 8}


_TWO_STACKS = {"features": 42, "layers": 7, "kernel_size": 3, "first_kernel_size": 7}


def cifar10_small(
    kind: str, source: str, name: str, keywords: dict[str, Any], published: float | None
) -> Recipe:
    """CIFAR-10 with about equal parameters and equal time: which construction is worth its price?

    From "pixel-cnn": gates for ReLUs ("pixel-cnn-gates"); then the published two stacks in place of
    one ("gated-pixel-cnn": no blind spot, and with it other residual connections and a wider
    stack), then the output; or the connections alone. Widths follow so that parameters stay about
    the same.
    """
    training = (
        {"minutes": 20.0} | _SMALL | ({"objective": "density"} if kind == "gated-density" else {})
    )
    return Recipe(
        name=f"cifar10-{kind}-small",
        source=source,
        data="cifar10",
        size=(32, 32),
        model=(name, RGB | keywords),
        training=training,
        load={
            "ignore_labels": True,
            "validation": 500,
        },  # a larger one would take much of the minutes
        published=published,
        choices=(
            "a small part of the published widths and of their time",
            _SMALL_CHOICE,
            "500 images to validate on",
        ),
        small=True,
    )


REDUCED: tuple[Recipe, ...] = (
    mnist_small("pixel-cnn"),
    mnist_small("row-lstm"),
    mnist_small("diagonal-bilstm"),
    mnist_small("gated-pixel-cnn"),
    mnist_small("gated-pixel-cnn-wide"),
    cifar10_small("pixel-cnn", "[1], table 5", "PixelCNN", _CONVOLUTIONAL, 3.14),
    cifar10_small("gated-pixel-cnn", "[2], table 1", "GatedPixelCNN", _TWO_STACKS, 3.03),
    cifar10_small("row-lstm", "[1], table 5", "RowLSTM", {"features": 33, "layers": 6}, 3.07),
    cifar10_small(
        "diagonal-bilstm", "[1], table 5", "DiagonalBiLSTM", {"features": 30, "layers": 6}, 3.00
    ),
    cifar10_small(
        "pixel-cnn-gates", "none", "PixelCNN", {"features": 39, "layers": 8, "gated": True}, None
    ),
    cifar10_small(
        "pixel-cnn-skip-too",
        "[1], table 2",
        "PixelCNN",
        {"features": 45, "layers": 8, "skip": True},
        None,
    ),
    cifar10_small(
        "pixel-cnn-skip-only",
        "[1], table 2",
        "PixelCNN",
        {"features": 45, "layers": 8, "skip": True, "residual": False},
        None,
    ),
    cifar10_small(
        "pixel-cnn-neither", "[1], table 2", "PixelCNN", _CONVOLUTIONAL | {"residual": False}, None
    ),
    cifar10_small(
        "gated-logistic",
        "[1], section 5.3",
        "GatedPixelCNN",
        _TWO_STACKS | {"features": 45, "head": "logistic"},
        None,
    ),
    cifar10_small(
        "gated-density",
        "[1], section 5.3",
        "GatedPixelCNN",
        _TWO_STACKS | {"features": 45, "head": "logistic"},
        None,
    ),
)
