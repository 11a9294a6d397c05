"""Builds the model for a data set: what the choice leaves open is chosen to suit the images."""

import os
from dataclasses import fields, replace
from typing import Any

import torch

from nextpixel.conditions.kinds import Condition, MapCondition, VectorCondition, of_kind
from nextpixel.data.splits import ImageData
from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.gated_pixel_cnn import GatedPixelCNN
from nextpixel.models.multiscale import MultiScale
from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
from nextpixel.models.trainable import Trainable
from nextpixel.settings.choice import NETWORKS, ModelChoice
from nextpixel.training.batches import conditions_of
from nextpixel.training.defaults import with_kind

__all__ = ["build_model", "memory_bytes"]

_CLASSES = {
    "gated-pixel-cnn": GatedPixelCNN,
    "pixel-cnn": PixelCNN,
    "row-lstm": RowLSTM,
    "diagonal-bilstm": DiagonalBiLSTM,
}
_COPIES = 4
"""Weights, their gradients and averages, and a moment of the optimiser."""


def build_model(
    data: ImageData,
    choice: ModelChoice | None = None,
    *,
    conditional: bool | None = None,
    categorical_maps: bool = False,
    crop: int | None = None,
) -> Trainable:
    """An untrained model of these images, with weights from torch's random state.

    Args:
        data: what it is to be trained on.
        choice: which model; None for the default one.
        conditional: whether to condition it on what the data gives (classes, vectors, captions,
            maps); None does so if there is any.
        categorical_maps: whether the integers of maps are categories, such as those of segments.
        crop: side of the windows to train on, or None for whole images.

    Raises:
        UsageError: the choice does not suit the data, or the model does not fit into memory.
    """
    choice, _ = with_kind(choice or ModelChoice(), data)
    conditions = _conditions(data, choice, conditional, categorical_maps)
    size = (crop, crop) if data.shape is None and crop is not None else data.shape
    if choice.scale is not None and size is not None and choice.scale > min(size):
        raise UsageError(
            f"‹scale={choice.scale}› must be at most the shorter side of the images, {min(size)}"
        )
    parameters = _parameters(data, choice, conditions, size)
    if parameters * 4 * _COPIES > (memory := memory_bytes()):
        raise UsageError(
            f"the model would have {parameters:,} parameters, too many to train in the"
            f" {memory / 2**30:.0f} GiB of memory here; make ‹features› or ‹layers› smaller"
        )
    return _built(data, choice, conditions, size)


def _conditions(
    data: ImageData, choice: ModelChoice, conditional: bool | None, categorical_maps: bool
) -> tuple[Condition, ...]:
    """What the model is conditioned on by the data."""
    if choice.model.endswith("autoencoder"):
        if conditional:
            raise UsageError(
                f"‹conditional› does not apply to ‹model={choice.model!r}›, whose condition is its"
                " own code; leave it out"
            )
        return ()
    if conditional is False:
        return ()
    if categorical_maps and data.map_levels is None:
        raise UsageError(
            f"‹categorical_maps› was given, but {data.source} has no maps of integers; leave it out"
        )
    found = conditions_of(data, categorical_maps=categorical_maps)
    if conditional and not found:
        raise UsageError(
            f"‹conditional› was given, but {data.source} has no classes, vectors, captions or maps;"
            " leave it out"
        )
    if choice.scale is not None and of_kind(found, MapCondition):
        raise UsageError(
            "‹scale› does not go with maps as conditions; give only one of them, or build a"
            " MultiScale in Python"
        )
    return found


def _built(
    data: ImageData,
    choice: ModelChoice,
    conditions: tuple[Condition, ...],
    size: tuple[int, int] | None,
) -> Trainable:
    images: dict[str, Any] = {"channels": data.channels, "levels": data.levels}
    if choice.model.endswith("autoencoder") and size is None:
        raise UsageError("auto-encoders need images of one size; give ‹size› or ‹crop›")
    if choice.model == "convolutional-autoencoder":
        code = {"code_size": choice.code_size, "encoder_features": choice.encoder_features}
        return ConvolutionalAutoencoder(size=size or (), **code, **images)

    def network(*given: Condition) -> Any:
        keywords = {"features": _default_features(choice.network_class, data.channels)} | {
            **choice.network
        }
        return _CLASSES[choice.network_class](condition=given, **keywords, **images)

    if choice.model == "pixel-cnn-autoencoder":
        return PixelCNNAutoencoder(
            decoder=network(VectorCondition(choice.code_size)),
            size=size or (),
            encoder_features=choice.encoder_features,
            variational=choice.variational,
            free_bits=choice.free_bits,
        )
    if choice.scale is None:
        return network(*conditions)  # type: ignore[no-any-return]
    small_image = MapCondition(
        data.channels,
        scale=choice.scale,
        levels=data.levels,
        categorical=choice.network.get("value_features") is not None,
    )
    return MultiScale(small=network(*conditions), large=network(small_image, *conditions))


def _parameters(
    data: ImageData,
    choice: ModelChoice,
    conditions: tuple[Condition, ...],
    size: tuple[int, int] | None,
) -> int:
    """The number of parameters, from two shallow models: every further layer adds the same."""
    if "layers" not in choice.network:
        return _size_of(_on_meta(data, choice, conditions, size))
    layers, few = int(choice.network["layers"]), []
    for depth in (min(layers, 2), min(layers, 3)):
        shallow = replace(choice, network={**choice.network, "layers": depth})
        few.append(_size_of(_on_meta(data, shallow, conditions, size)))
    return few[-1] + max(layers - 3, 0) * (few[1] - few[0])


def _on_meta(
    data: ImageData,
    choice: ModelChoice,
    conditions: tuple[Condition, ...],
    size: tuple[int, int] | None,
) -> Trainable:
    """The model without its weights, which takes no memory."""
    with torch.device("meta"):
        return _built(data, choice, conditions, size)


def _size_of(model: Trainable) -> int:
    return sum(p.numel() for p in model.parameters())


def _default_features(kind: str, channels: int) -> int:
    """The default width of a network, rounded up to a multiple of the colours."""
    default = next(int(f.default) for f in fields(NETWORKS[kind]) if f.name == "features")  # type: ignore[arg-type]
    return -(-default // channels) * channels


def memory_bytes() -> float:
    """The memory of this machine; infinite if the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
