"""Every choice of a model reaches the model that is built, through scales and encoders too."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from test_training import dataset

from nextpixel import ClassCondition, MapCondition, MultiScale
from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.settings.choice import DECIDED_BY_DATA, NETWORKS, ModelChoice
from nextpixel.training.build import build_model

OTHER: dict[str, Any] = {
    "features": 24,
    "layers": 2,
    "kernel_size": 7,
    "first_kernel_size": 9,
    "head_features": 30,
    "skip": True,
    "residual": False,
    "gated": True,
    "complete_context": True,
    "dropout": 0.25,
    "head": "logistic",
    "position_waves": 2,
    "value_features": 2,
    "orders": 2,
    "colour_orders": 3,
    "linear_prediction": True,
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("scale", [None, 3])
@pytest.mark.parametrize("categorical", [False, True])
def test_every_option_reaches_every_network(
    kind: Any, scale: int | None, categorical: bool
) -> None:
    names = {field.name for field in fields(NETWORKS[kind])} - {*DECIDED_BY_DATA}
    if kind == "diagonal-bilstm":
        names -= {"kernel_size"}  # another name of the first kernel's
    names -= {"linear_prediction" if categorical else "value_features"}
    wanted = {name: OTHER[name] for name in names}
    choice = ModelChoice(model=kind, network=wanted, scale=scale)
    with torch.device("meta"):
        model: Any = build_model(dataset(shape=(3, 6, 6), classes=2), choice)
    for network in [model] if scale is None else [model.small, model.large]:
        found = network.config()
        assert {name: found[name] for name in names} == wanted
        assert (found["channels"], found["levels"]) == (3, 4)
        assert network.conditions[-1] == ClassCondition(2)
    if scale is not None:
        assert isinstance(model, MultiScale)
        # What is a category in the large image is one in the small image.
        small_image = MapCondition(3, scale=3, levels=4, categorical=categorical)
        assert model.large.conditions[0] == small_image


@pytest.mark.parametrize(
    ("option", "value"),
    [("code_size", 5), ("encoder_features", 3), ("variational", True), ("free_bits", 0.5)],
)
@pytest.mark.parametrize("kind", ["pixel-cnn-autoencoder", "convolutional-autoencoder"])
def test_every_option_reaches_an_autoencoder(kind: Any, option: str, value: Any) -> None:
    beside = {"variational": True} if option == "free_bits" else {}
    if kind == "convolutional-autoencoder" and option in ("variational", "free_bits"):
        with pytest.raises(UsageError, match="does not apply"):
            ModelChoice(model=kind, **beside | {option: value})
        return
    choice = ModelChoice(model=kind, **beside | {option: value})
    with torch.device("meta"):
        model: Any = build_model(dataset(), choice)
    assert isinstance(model, PixelCNNAutoencoder | ConvolutionalAutoencoder)
    assert getattr(model, option) == value and model.size == (6, 5)


@pytest.mark.parametrize("scale", [-1, 0, 1])
def test_scales_begin_at_two(scale: int) -> None:
    with pytest.raises(UsageError, match="must be at least 2"):
        ModelChoice(scale=scale)
    ModelChoice(scale=2)
