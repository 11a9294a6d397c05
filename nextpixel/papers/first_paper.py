"""The experiments of Pixel Recurrent Neural Networks, [1], arXiv 1601.06759.

There is one function for each kind of row in its tables.
"""

from typing import Any

from nextpixel.papers.choices import BINARY, CLIPPED_AND_VALIDATED, IMAGENET, NEW, RGB
from nextpixel.papers.recipe import Recipe

__all__ = ["FIRST_PAPER"]


_CONNECTED = (
    "residual and skip connections together: the paper uses both, and does not say it of every"
    " network"
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
            *CLIPPED_AND_VALIDATED,
            *choices,
        ),
        **row,
    )


def mnist(kind: str, published: float) -> Recipe:
    """[1], table 4: binary MNIST. Only the sizes of the Diagonal BiLSTMs are published in full."""
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
        model=(name, BINARY | keywords | {"head_features": 32, "residual": True, "skip": True}),
        epochs=100,
        load={"ignore_labels": True},
        unit="nats",
        published=published,
        choices=(*given, _CONNECTED),
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
    return RGB | {"layers": layers, "features": 129, "head_features": 1023} | keywords


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
            RGB
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
        choices=(*ours, "1024 maps are 1023 here", *((NEW,) if which else ())),
        **IMAGENET,
    )


def imagenet_multi_scale() -> Recipe:
    """[1], section 3.6: Multi-Scale PixelRNN, 64×64 pixels from 32×32.

    The paper shows samples and gives no figure.
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
        **IMAGENET,
    )


FIRST_PAPER: tuple[Recipe, ...] = (
    mnist("pixel-cnn", 81.30),
    mnist("row-lstm", 80.54),
    mnist("diagonal-bilstm-1-layer", 80.75),
    mnist("diagonal-bilstm-7-layers", 79.20),
    cifar10("pixel-cnn", "PixelCNN", 15, 3.14),
    cifar10("row-lstm", "RowLSTM", 12, 3.07),
    cifar10("diagonal-bilstm", "DiagonalBiLSTM", 12, 3.00),
    connections(False, False, 3.22),
    connections(False, True, 3.09),
    connections(True, False, 3.07),
    connections(True, True, 3.06),
    depth(1, 3.30),
    depth(2, 3.20),
    depth(3, 3.17),
    depth(6, 3.09),
    depth(9, 3.08),
    depth(12, 3.06),
    output("softmax", 3.06),
    output("continuous", 3.22),
    imagenet_row_lstm(32, "", 12, 384, 64, 3.86),
    imagenet_row_lstm(64, "", 4, 513, 32, 3.63),
    imagenet_row_lstm(32, "-new", 12, 384, 64, None),
    imagenet_row_lstm(64, "-new", 4, 513, 32, None),
    imagenet_multi_scale(),
)
