"""The experiments of the two papers, as recipes: one function for each kind of row in their tables.

A recipe says what is trained on what, with the published widths, batch sizes and optimiser; what
the paper leaves open is listed among `choices` as ours. `published` is the paper's figure, never
one of ours: those are in the results that `nextpixel reproduce` writes. Recipes whose names end in
"-small" finish in hours on two CPU cores; the others say what they cost.

Papers: [1] Pixel Recurrent Neural Networks, arXiv 1601.06759. [2] Conditional Image Generation with
PixelCNN Decoders, arXiv 1606.05328.
"""

from collections.abc import Callable
from typing import Any

from nextpixel.papers.recipe import Recipe

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


_MNIST: dict[str, Any] = {"levels": 2, "channels": 1}
_RGB = {"levels": 256, "channels": 3}
_CONNECTED = (
    "residual and skip connections together: the paper uses both, and does not say it of every"
    " network"
)
_EVERYWHERE = (
    (
        "gradients clipped at a norm of 1 (of the loss in bits/dim), and the learning rate rising"
        " over 100 updates"
    ),
    (
        "the weights are those that are best on the validation split; where the data set has none,"
        " 10% of the training images are one"
    ),
)


def _first_paper(
    *,
    epochs: int,
    batch_size: int = 16,
    choices: tuple[str, ...] = (),
    objective: str = "probability",
    **row: Any,
) -> Recipe:
    """A row of [1]."""
    rmsprop = {
        "optimizer": "rmsprop",
        "learning_rate": 1e-3,
        "schedule": "constant",
        "ema_decay": 0.0,
    }
    return Recipe(
        training={"epochs": epochs, "batch_size": batch_size, "objective": objective} | rmsprop,
        choices=(
            (
                "RMSProp is the paper's; its learning rate, chosen by hand there, is 0.001 here,"
                " its smoothing 0.99"
            ),
            f"{epochs} epochs: not given",
            *_EVERYWHERE,
            *choices,
        ),
        **row,
    )


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
            *_EVERYWHERE,
            *choices,
        ),
        **row,
    )


@_rows(
    ("pixel-cnn", 81.30),
    ("row-lstm", 80.54),
    ("diagonal-bilstm-1-layer", 80.75),
    ("diagonal-bilstm-7-layers", 79.20),
)
def mnist(kind: str, published: float) -> Recipe:
    """[1], table 4: binary MNIST. Published in full is only the shape of the Diagonal BiLSTMs."""
    models: dict[str, tuple[str, dict[str, Any]]] = {
        "pixel-cnn": ("PixelCNN", {"layers": 7, "features": 32}),
        "row-lstm": ("RowLSTM", {"layers": 7, "features": 16}),
        "diagonal-bilstm-1-layer": ("DiagonalBiLSTM", {"layers": 1, "features": 32}),
        "diagonal-bilstm-7-layers": ("DiagonalBiLSTM", {"layers": 7, "features": 16}),
    }
    name, keywords = models[kind]
    given = (
        () if name == "DiagonalBiLSTM" else (f"width and depth of the {name} on MNIST: not given",)
    )
    return _first_paper(
        name=f"mnist-{kind}",
        source="[1], table 4",
        data="mnist-binarised",
        size=(28, 28),
        model=(name, _MNIST | keywords | {"head_features": 32, "residual": True, "skip": True}),
        epochs=100,
        load={"ignore_labels": True},
        unit="nats",
        published=published,
        choices=(*given, _CONNECTED),
    )


_SMALL = {"batch_size": 16}
_SMALL_CHOICE = "Muon, cosine schedule, averaged weights in place of the paper's RMSProp"

_POSITIONS = (
    "every layer knows where in the image a pixel is (position_waves=3), which digits are aligned"
    " enough for"
)


@_rows("pixel-cnn", "row-lstm", "diagonal-bilstm", "gated-pixel-cnn")
def mnist_small(kind: str) -> Recipe:
    """Binary MNIST in one to two hours of one core for each model: better optimised than published,
    see `choices`.
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
        model=(name, _MNIST | {"position_waves": 3} | keywords),
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


_ROUND = "128 and 1024 maps are 129 and 1023 here, multiples of three colours"
_BOTH = {"residual": True, "skip": True}
_CIFAR: dict[str, Any] = {
    "data": "cifar10",
    "size": (32, 32),
    "load": {"ignore_labels": True},
    "epochs": 100,
}


def _cifar_model(layers: int, **keywords: Any) -> dict[str, Any]:
    """Keywords of the models of [1] on CIFAR-10."""
    return _RGB | {"layers": layers, "features": 129, "head_features": 1023} | keywords


@_rows(
    ("pixel-cnn", "PixelCNN", 15, 3.14),
    ("row-lstm", "RowLSTM", 12, 3.07),
    ("diagonal-bilstm", "DiagonalBiLSTM", 12, 3.00),
)
def cifar10(kind: str, name: str, layers: int, published: float) -> Recipe:
    """[1], table 5: CIFAR-10."""
    return _first_paper(
        name=f"cifar10-{kind}",
        source="[1], table 5",
        model=(name, _cifar_model(layers, **_BOTH)),
        published=published,
        choices=(_ROUND, _CONNECTED),
        **_CIFAR,
    )


@_rows((False, False, 3.22), (False, True, 3.09), (True, False, 3.07), (True, True, 3.06))
def connections(residual: bool, skip: bool, published: float) -> Recipe:
    """[1], table 2: residual and skip connections, in a Row LSTM of 12 layers, on CIFAR-10."""
    words = {
        (False, False): "neither",
        (False, True): "skip",
        (True, False): "residual",
        (True, True): "both",
    }
    return _first_paper(
        name=f"connections-{words[residual, skip]}",
        source="[1], table 2",
        model=("RowLSTM", _cifar_model(12, residual=residual, skip=skip)),
        published=published,
        published_on="valid",
        choices=(_ROUND,),
        **_CIFAR,
    )


@_rows((1, 3.30), (2, 3.20), (3, 3.17), (6, 3.09), (9, 3.08), (12, 3.06))
def depth(layers: int, published: float) -> Recipe:
    """[1], table 3: layers of a Row LSTM, on CIFAR-10."""
    return _first_paper(
        name=f"depth-{layers}",
        source="[1], table 3",
        model=("RowLSTM", _cifar_model(layers, **_BOTH)),
        published=published,
        published_on="valid",
        choices=(_ROUND,),
        **_CIFAR,
    )


@_rows(("softmax", 3.06), ("continuous", 3.22))
def output(kind: str, published: float) -> Recipe:
    """[1], section 5.3: a softmax against a continuous density, in a Row LSTM, on CIFAR-10."""
    continuous = kind == "continuous"
    mixture = (
        ("a mixture of logistics, where the paper has one of Gaussian scale mixtures",)
        if continuous
        else ()
    )
    return _first_paper(
        name=f"output-{kind}",
        source="[1], section 5.3",
        model=(
            "RowLSTM",
            _cifar_model(12, **_BOTH, **({"head": "logistic"} if continuous else {})),
        ),
        objective="density" if continuous else "probability",
        published=published,
        published_on="valid",
        choices=(_ROUND, *mixture),
        **_CIFAR,
    )


# Its validation images are the set that the papers report on; nothing is held out besides.
_IMAGENET: dict[str, Any] = {"load": {"ignore_labels": True, "test": 0}, "published_on": "valid"}
_NEW = "the newer, easier down-sampling, on which the papers have no figure"


@_rows(
    (32, "", 12, 384, 64, 3.86),
    (64, "", 4, 513, 32, 3.63),
    (32, "-new", 12, 384, 64, None),
    (64, "-new", 4, 513, 32, None),
)
def imagenet_row_lstm(
    side: int, which: str, layers: int, features: int, batch: int, published: float | None
) -> Recipe:
    """[1], table 6: ImageNet, the old down-sampling; and the same model for the new one."""
    small = side == 32
    ours = (_CONNECTED,) if small else ("512 maps are 513 here, a multiple of three colours",)
    return _first_paper(
        name=f"imagenet{side}{which}-row-lstm",
        source="[1], table 6",
        data=f"imagenet{side}{which}",
        size=(side, side),
        model=(
            "RowLSTM",
            _RGB
            | {
                "layers": layers,
                "features": features,
                "head_features": 1023,
                "residual": small,
                "skip": small,
            },
        ),
        epochs=10,
        batch_size=batch,
        published=published,
        choices=(*ours, "1024 maps are 1023 here", *((_NEW,) if which else ())),
        **_IMAGENET,
    )


@_rows()
def imagenet_multi_scale() -> Recipe:
    """[1], section 3.6: Multi-Scale PixelRNN of 64×64 pixels from 32×32; the paper has samples of
    it, and no figure.
    """
    shared = _cifar_model(12, **_BOTH)
    small_image = {"maps": 3, "scale": 2, "levels": 256, "features": 32, "categorical": False}
    return _first_paper(
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
        epochs=10,
        batch_size=32,
        choices=(
            "the small image: every second row and column",
            "widths and depths; the upsampling network, to 32 maps",
            _ROUND,
        ),
        **_IMAGENET,
    )


_GATED = {"kernel_size": 5, "head_features": 1023, "skip": False}
_LARGE = _RGB | _GATED | {"layers": 20, "features": 384}


@_rows((32, "", 3.83), (64, "", 3.57), (32, "-new", None), (64, "-new", None))
def imagenet_gated(side: int, which: str, published: float | None) -> Recipe:
    """[2], table 2: ImageNet, the old down-sampling: 60 hours on 32 GPUs in the paper; and the same
    for the new one.
    """
    return _second_paper(
        name=f"imagenet{side}{which}-gated-pixel-cnn",
        source="[2], table 2",
        data=f"imagenet{side}{which}",
        size=(side, side),
        model=("GatedPixelCNN", _LARGE),
        published=published,
        choices=(_NEW,) if which else (),
        **_IMAGENET,
    )


@_rows()
def cifar10_gated() -> Recipe:
    """[2], table 1: Gated PixelCNN on CIFAR-10; its sizes are not in the paper."""
    return _second_paper(
        name="cifar10-gated-pixel-cnn",
        source="[2], table 1",
        data="cifar10",
        size=(32, 32),
        model=("GatedPixelCNN", _RGB | _GATED | {"layers": 15, "features": 129, "dropout": 0.5}),
        load={"ignore_labels": True},
        published=3.03,
        choices=("15 layers of 129 maps, 5×5, dropout 0.5; 200,000 updates of 128",),
    )


@_rows()
def imagenet_classes() -> Recipe:
    """[2], section 3.2: ImageNet by class; the paper reports no figure, and much better samples."""
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


@_rows(10, 100)
def autoencoder(code: int) -> Recipe:
    """[2], section 3.4: the PixelCNN auto-encoder on 32×32 patches of ImageNet; the paper shows
    pictures alone.
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
        **_IMAGENET,
    )


@_rows()
def portraits() -> Recipe:
    """[2], section 3.3: portraits given a face embedding; the paper shows pictures alone."""
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


_CONVOLUTIONAL = {"features": 48, "layers": 8}
_TWO_STACKS = {"features": 42, "layers": 7, "kernel_size": 3, "first_kernel_size": 7}


@_rows(
    ("pixel-cnn", "[1], table 5", "PixelCNN", _CONVOLUTIONAL, 3.14),
    ("gated-pixel-cnn", "[2], table 1", "GatedPixelCNN", _TWO_STACKS, 3.03),
    ("row-lstm", "[1], table 5", "RowLSTM", {"features": 33, "layers": 6}, 3.07),
    ("diagonal-bilstm", "[1], table 5", "DiagonalBiLSTM", {"features": 30, "layers": 6}, 3.00),
    ("pixel-cnn-gates", "none", "PixelCNN", {"features": 39, "layers": 8, "gated": True}, None),
    (
        "pixel-cnn-skip-too",
        "[1], table 2",
        "PixelCNN",
        {"features": 45, "layers": 8, "skip": True},
        None,
    ),
    (
        "pixel-cnn-skip-only",
        "[1], table 2",
        "PixelCNN",
        {"features": 45, "layers": 8, "skip": True, "residual": False},
        None,
    ),
    ("pixel-cnn-neither", "[1], table 2", "PixelCNN", _CONVOLUTIONAL | {"residual": False}, None),
    (
        "gated-logistic",
        "[1], section 5.3",
        "GatedPixelCNN",
        _TWO_STACKS | {"features": 45, "head": "logistic"},
        None,
    ),
    (
        "gated-density",
        "[1], section 5.3",
        "GatedPixelCNN",
        _TWO_STACKS | {"features": 45, "head": "logistic"},
        None,
    ),
)
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
        model=(name, _RGB | keywords),
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
