"""The experiments of the two papers, as recipes: one function for each kind of row in their tables.

A recipe says what is trained on what, with the published widths, batch sizes and optimiser; what the paper leaves open
is listed among `choices` as ours. `published` is the paper's figure, never one of ours: those are in the results that
`nextpixel reproduce` writes. Recipes whose names end in "-small" finish in hours on two CPU cores; the others say what
they cost.

Papers: [1] Pixel Recurrent Neural Networks, arXiv 1601.06759. [2] Conditional Image Generation with PixelCNN Decoders,
arXiv 1606.05328.
"""

from collections.abc import Callable
from typing import Any

from nextpixel.recipe import Recipe

__all__ = ["RECIPES"]

RECIPES: dict[str, Recipe] = {}
"""All recipes by name."""


def _rows(*arguments: Any) -> Callable[[Callable[..., Recipe]], Callable[..., Recipe]]:
    """Lists the recipe that a function makes of each argument."""

    def listed(function: Callable[..., Recipe]) -> Callable[..., Recipe]:
        for argument in arguments or ((),):
            made = function(*argument) if isinstance(argument, tuple) else function(argument)
            assert made.name not in RECIPES
            RECIPES[made.name] = made
        return function

    return listed


_RMSPROP = {"optimizer": "rmsprop", "learning_rate": 1e-3, "schedule": "constant", "ema_decay": 0.0}
_OPEN = (
    "RMSProp is the paper's; its learning rate, chosen by hand there, is 0.001 here",
    "length of training: not given",
)
_MNIST = {"levels": 2, "channels": 1}
_RGB = {"levels": 256, "channels": 3}


@_rows(
    ("pixel-cnn", 81.30), ("row-lstm", 80.54), ("diagonal-bilstm-1-layer", 80.75), ("diagonal-bilstm-7-layers", 79.20)
)
def mnist(kind: str, published: float) -> Recipe:
    """[1], table 4: binary MNIST. Published in full is only the shape of the Diagonal BiLSTMs."""
    models: dict[str, tuple[str, dict[str, Any]]] = {
        "pixel-cnn": ("PixelCNN", {"layers": 7, "features": 32, "head_features": 32}),
        "row-lstm": ("RowLSTM", {"layers": 7, "features": 16, "head_features": 32}),
        "diagonal-bilstm-1-layer": ("DiagonalBiLSTM", {"layers": 1, "features": 32, "head_features": 32}),
        "diagonal-bilstm-7-layers": ("DiagonalBiLSTM", {"layers": 7, "features": 16, "head_features": 32}),
    }
    name, keywords = models[kind]
    given = () if name == "DiagonalBiLSTM" else (f"width and depth of the {name} on MNIST: not given",)
    return Recipe(
        name=f"mnist-{kind}",
        source="[1], table 4",
        data="mnist-binarised",
        size=(28, 28),
        model=(name, _MNIST | keywords),
        training={"epochs": 100, "batch_size": 16} | _RMSPROP,
        load={"labels": False},
        unit="nats",
        published=published,
        choices=(*_OPEN, *given),
    )


_SMALL = {"batch_size": 16}


@_rows("pixel-cnn", "row-lstm", "diagonal-bilstm", "gated-pixel-cnn")
def mnist_small(kind: str) -> Recipe:
    """Binary MNIST within two machine-hours for each model: better optimised than published, see `choices`."""
    models: dict[str, tuple[str, dict[str, Any], float | None]] = {
        "pixel-cnn": ("PixelCNN", {"layers": 8, "features": 32}, 81.30),
        "row-lstm": ("RowLSTM", {"layers": 7, "features": 20}, 80.54),
        "diagonal-bilstm": ("DiagonalBiLSTM", {"layers": 6, "features": 18, "complete_context": True}, 79.20),
        "gated-pixel-cnn": (
            "GatedPixelCNN",
            {"layers": 7, "features": 28, "kernel_size": 3, "first_kernel_size": 7},
            None,
        ),
    }
    name, keywords, published = models[kind]
    return Recipe(
        name=f"mnist-{kind}-small",
        source="[1], table 4" if published else "[2], not reported there",
        data="mnist-binarised",
        size=(28, 28),
        model=(name, _MNIST | keywords),
        training={"epochs": 3} | _SMALL,
        load={"labels": False},
        unit="nats",
        published=published,
        choices=(
            "Muon, cosine schedule, averaged weights in place of the paper's RMSProp",
            "width and depth by what trains in time",
        ),
        small=True,
    )


@_rows(
    ("pixel-cnn", "PixelCNN", 15, 3.14),
    ("row-lstm", "RowLSTM", 12, 3.07),
    ("diagonal-bilstm", "DiagonalBiLSTM", 12, 3.00),
)
def cifar10(kind: str, name: str, layers: int, published: float) -> Recipe:
    """[1], table 5: CIFAR-10."""
    features = 129  # the paper's 128 is no multiple of three colours
    return Recipe(
        name=f"cifar10-{kind}",
        source="[1], table 5",
        data="cifar10",
        size=(32, 32),
        model=(name, _RGB | {"layers": layers, "features": features, "head_features": 1023}),
        training={"epochs": 100, "batch_size": 16} | _RMSPROP,
        load={"labels": False},
        published=published,
        choices=(*_OPEN, "128 and 1024 maps are 129 and 1023 here, multiples of three colours"),
    )


@_rows((False, False, 3.22), (False, True, 3.09), (True, False, 3.07), (True, True, 3.06))
def connections(residual: bool, skip: bool, published: float) -> Recipe:
    """[1], table 2: residual and skip connections, in a Row LSTM of 12 layers, on CIFAR-10."""
    words = {(False, False): "neither", (False, True): "skip", (True, False): "residual", (True, True): "both"}
    keywords = {"layers": 12, "features": 129, "head_features": 1023, "residual": residual, "skip": skip}
    return Recipe(
        name=f"connections-{words[residual, skip]}",
        source="[1], table 2",
        data="cifar10",
        size=(32, 32),
        model=("RowLSTM", _RGB | keywords),
        training={"epochs": 100, "batch_size": 16} | _RMSPROP,
        load={"labels": False},
        published=published,
        published_on="valid",
        choices=_OPEN,
    )


@_rows((1, 3.30), (2, 3.20), (3, 3.17), (6, 3.09), (9, 3.08), (12, 3.06))
def depth(layers: int, published: float) -> Recipe:
    """[1], table 3: layers of a Row LSTM, on CIFAR-10."""
    keywords = {"layers": layers, "features": 129, "head_features": 1023, "residual": True, "skip": True}
    return Recipe(
        name=f"depth-{layers}",
        source="[1], table 3",
        data="cifar10",
        size=(32, 32),
        model=("RowLSTM", _RGB | keywords),
        training={"epochs": 100, "batch_size": 16} | _RMSPROP,
        load={"labels": False},
        published=published,
        published_on="valid",
        choices=_OPEN,
    )


@_rows(("softmax", 3.06), ("continuous", 3.22))
def output(kind: str, published: float) -> Recipe:
    """[1], section 5.3: a softmax against a continuous density, in a Row LSTM, on CIFAR-10."""
    keywords = {"layers": 12, "features": 129, "head_features": 1023, "residual": True, "skip": True}
    continuous = kind == "continuous"
    return Recipe(
        name=f"output-{kind}",
        source="[1], section 5.3",
        data="cifar10",
        size=(32, 32),
        model=("RowLSTM", _RGB | keywords | ({"head": "logistic"} if continuous else {})),
        training={"epochs": 100, "batch_size": 16, "objective": "density" if continuous else "probability"} | _RMSPROP,
        load={"labels": False},
        published=published,
        published_on="valid",
        choices=(*_OPEN, "a mixture of logistics, where the paper has one of Gaussian scale mixtures")
        if continuous
        else _OPEN,
    )


@_rows((32, 12, 384, 64, 3.86), (64, 4, 513, 32, 3.63))
def imagenet_row_lstm(side: int, layers: int, features: int, batch: int, published: float) -> Recipe:
    """[1], table 6: ImageNet, the old down-sampling."""
    keywords = {"layers": layers, "features": features, "head_features": 1023, "residual": side == 32}
    return Recipe(
        name=f"imagenet{side}-row-lstm",
        source="[1], table 6",
        data=f"imagenet{side}",
        size=(side, side),
        model=("RowLSTM", _RGB | keywords),
        training={"epochs": 10, "batch_size": batch} | _RMSPROP,
        published=published,
        published_on="valid",
        choices=(*_OPEN, "512 maps are 513 here, a multiple of three colours") if side == 64 else _OPEN,
    )


@_rows()
def imagenet_multi_scale() -> Recipe:
    """[1], section 3.6 and figure 9: Multi-Scale PixelRNN of 64×64 pixels from 32×32; the paper shows samples alone."""
    shared = _RGB | {"layers": 12, "features": 129, "head_features": 1023}
    small_image = {"maps": 3, "scale": 2, "levels": 256, "features": 32, "categorical": False}
    return Recipe(
        name="imagenet64-multi-scale",
        source="[1], section 3.6",
        data="imagenet64",
        size=(64, 64),
        model=(
            "MultiScale",
            {
                "small": {"model": "RowLSTM", **shared},
                "large": {"model": "RowLSTM", **shared, "condition": small_image},
            },
        ),
        training={"epochs": 10, "batch_size": 32} | _RMSPROP,
        choices=(*_OPEN, "widths, depths and the upsampling network: not given"),
    )


_GATED = {"kernel_size": 5, "head_features": 1023, "skip": False}
_GATED_OPEN = (
    "optimiser and learning rate: not given; AdamW, 0.0003",
    "the head is that of [1]",
    "conditions enter both stacks",
)
_GATED_TRAINING = {
    "steps": 200_000,
    "batch_size": 128,
    "optimizer": "adamw",
    "learning_rate": 3e-4,
    "ema_decay": 0.9999,
}


@_rows((32, 3.83), (64, 3.57))
def imagenet_gated(side: int, published: float) -> Recipe:
    """[2], table 2: Gated PixelCNN on ImageNet, the old down-sampling: 60 hours on 32 GPUs in the paper."""
    return Recipe(
        name=f"imagenet{side}-gated-pixel-cnn",
        source="[2], table 2",
        data=f"imagenet{side}",
        size=(side, side),
        model=("GatedPixelCNN", _RGB | _GATED | {"layers": 20, "features": 384}),
        training=_GATED_TRAINING,
        published=published,
        published_on="valid",
        choices=_GATED_OPEN,
    )


@_rows()
def cifar10_gated() -> Recipe:
    """[2], table 1: Gated PixelCNN on CIFAR-10; its sizes are not in the paper."""
    return Recipe(
        name="cifar10-gated-pixel-cnn",
        source="[2], table 1",
        data="cifar10",
        size=(32, 32),
        model=("GatedPixelCNN", _RGB | _GATED | {"layers": 15, "features": 129, "dropout": 0.5}),
        training=_GATED_TRAINING,
        load={"labels": False},
        published=3.03,
        choices=(*_GATED_OPEN, "15 layers of 129 maps, dropout 0.5, 200,000 steps"),
    )


@_rows()
def imagenet_classes() -> Recipe:
    """[2], section 3.2: ImageNet by class; the paper reports no figure, and much better samples."""
    keywords = {"layers": 20, "features": 384, "condition": {"classes": 1000}}
    return Recipe(
        name="imagenet32-classes",
        source="[2], section 3.2",
        data="imagenet32-classes",
        size=(32, 32),
        model=("GatedPixelCNN", _RGB | _GATED | keywords),
        training=_GATED_TRAINING,
        choices=_GATED_OPEN,
    )


@_rows(10, 100)
def autoencoder(code: int) -> Recipe:
    """[2], section 3.4: the PixelCNN auto-encoder on 32×32 patches of ImageNet; the paper shows pictures alone."""
    decoder = {"model": "GatedPixelCNN", **_RGB, **_GATED, "layers": 20, "features": 384, "condition": {"size": code}}
    return Recipe(
        name=f"autoencoder-{code}",
        source="[2], section 3.4",
        data="imagenet32",
        size=(32, 32),
        model=("PixelCNNAutoencoder", {"decoder": decoder, "size": [32, 32], "encoder_features": 64}),
        training=_GATED_TRAINING,
        load={"labels": False},
        choices=(*_GATED_OPEN, "the encoder: not given", "sizes of the decoder: those of the ImageNet model"),
    )


@_rows()
def portraits() -> Recipe:
    """[2], section 3.3: portraits given a face embedding; the paper shows pictures alone."""
    keywords = {"layers": 20, "features": 384, "condition": {"size": 128}}
    return Recipe(
        name="portraits",
        source="[2], section 3.3",
        data="faces",
        size=(32, 32),
        model=("GatedPixelCNN", _RGB | _GATED | keywords),
        training=_GATED_TRAINING,
        choices=(*_GATED_OPEN, "sizes of images, embedding and networks: not given"),
    )


_CONVOLUTIONAL = {"features": 48, "layers": 8}
_TWO_STACKS = {"features": 42, "layers": 7, "kernel_size": 3, "first_kernel_size": 7}


@_rows(
    ("pixel-cnn", "PixelCNN", _CONVOLUTIONAL, 3.14),
    ("gated-pixel-cnn", "GatedPixelCNN", _TWO_STACKS, 3.03),
    ("row-lstm", "RowLSTM", {"features": 33, "layers": 6}, 3.07),
    ("diagonal-bilstm", "DiagonalBiLSTM", {"features": 30, "layers": 6}, 3.00),
    ("pixel-cnn-gates", "PixelCNN", {"features": 39, "layers": 8, "gated": True}, None),
    ("pixel-cnn-skip-too", "PixelCNN", {"features": 45, "layers": 8, "skip": True}, None),
    ("pixel-cnn-skip-only", "PixelCNN", {"features": 45, "layers": 8, "skip": True, "residual": False}, None),
    ("pixel-cnn-neither", "PixelCNN", _CONVOLUTIONAL | {"residual": False}, None),
    ("gated-logistic", "GatedPixelCNN", _TWO_STACKS | {"features": 45, "head": "logistic"}, None),
    ("gated-density", "GatedPixelCNN", _TWO_STACKS | {"features": 45, "head": "logistic"}, None),
)
def cifar10_small(kind: str, name: str, keywords: dict[str, Any], published: float | None) -> Recipe:
    """CIFAR-10 with about equal parameters and equal time: which construction is worth its price?

    From "pixel-cnn" one thing is changed at a time: gates for ReLUs ("pixel-cnn-gates"), then a second stack for the
    blind spot ("gated-pixel-cnn"), then the output; or the connections.
    """
    training = {"minutes": 20.0} | _SMALL | ({"objective": "density"} if kind == "gated-density" else {})
    return Recipe(
        name=f"cifar10-{kind}-small",
        source="[1], table 5, and [2], table 1" if published else "[1], tables 2 and 5",
        data="cifar10",
        size=(32, 32),
        model=(name, _RGB | keywords),
        training=training,
        load={"labels": False, "validation": 500},  # a larger one would take much of the minutes
        published=published,
        choices=("a small part of the published widths and of their time",),
        small=True,
    )
