"""The model for some data: what the settings leave open is chosen to suit the images."""

import os
from typing import Any

import torch

from nextpixel.conditions import Condition, MapCondition, VectorCondition, parts_of
from nextpixel.data.splits import ImageData
from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.models.gated_pixel_cnn import GatedPixelCNN
from nextpixel.models.multiscale import MultiScale
from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
from nextpixel.models.settings import ModelSettings
from nextpixel.training.batches import conditions_of

__all__ = ["build_model"]

_NETWORKS = {
    "gated-pixel-cnn": GatedPixelCNN,
    "pixel-cnn": PixelCNN,
    "row-lstm": RowLSTM,
    "diagonal-bilstm": DiagonalBiLSTM,
}
_CODE_SIZE = 10
_OF_ENCODER = ("code_size", "encoder_features", "variational", "free_bits")
_COPIES = 4
"""Weights, their gradients and averages, and a moment of the optimiser."""


def build_model(
    data: ImageData,
    settings: ModelSettings | None = None,
    *,
    conditional: bool | None = None,
    categorical_maps: bool = False,
    crop: int | None = None,
) -> ImageModel:
    """An untrained model of these images, with weights from torch's random state.

    Args:
        data: what it is to be trained on.
        settings: which model; None for the default one.
        conditional: whether to condition it on what the data gives (classes, vectors, captions,
            maps); None does so if there is any.
        categorical_maps: whether the integers of maps are categories, such as those of segments.
        crop: side of the windows to train on, or None for whole images.

    Raises:
        UsageError: the settings do not suit the data, or the model does not fit into memory.
    """
    settings = settings or ModelSettings()
    conditions = _conditions(data, settings, conditional, categorical_maps)
    shape = data.shape or (crop and (crop, crop)) or None
    _check_sides(settings, shape)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in _built(data, settings, conditions, shape).parameters())
    if parameters * 4 * _COPIES > (memory := _memory_bytes()):
        raise UsageError(
            f"the model would have {parameters:,} parameters, too many to train in the"
            f" {memory / 2**30:.0f} GiB of memory here; make ‹features› or ‹layers› smaller"
        )
    return _built(data, settings, conditions, shape)


def _conditions(
    data: ImageData, settings: ModelSettings, conditional: bool | None, categorical_maps: bool
) -> tuple[Condition, ...]:
    """What the model is conditioned on by the data."""
    if settings.model.endswith("autoencoder"):
        if conditional:
            raise UsageError(
                f"‹conditional› does not apply to ‹model={settings.model!r}›, whose condition is"
                " its own code; leave it out"
            )
        return ()
    if conditional is False:
        return ()
    found = parts_of(conditions_of(data, categorical_maps=categorical_maps))
    if conditional and not found:
        raise UsageError(
            f"‹conditional› was given, but {data.source} has no classes, vectors, captions or maps;"
            " leave it out"
        )
    if settings.scale is not None and any(isinstance(part, MapCondition) for part in found):
        raise UsageError(
            "‹scale› does not go with maps as conditions; give only one of them, or build a"
            " MultiScale in Python"
        )
    return found


def _check_sides(settings: ModelSettings, shape: tuple[int, int] | None) -> None:
    if settings.model.endswith("autoencoder") and shape is None:
        raise UsageError("auto-encoders need images of one size; give ‹size› or ‹crop›")
    if shape is not None and settings.scale is not None and settings.scale > min(shape):
        raise UsageError(
            f"‹scale={settings.scale}› must be at most the shorter side of the images, {min(shape)}"
        )


def _built(
    data: ImageData,
    settings: ModelSettings,
    conditions: tuple[Condition, ...],
    shape: tuple[int, int] | None,
) -> ImageModel:
    images: dict[str, Any] = {"channels": data.channels, "levels": data.levels}
    keywords = settings.keywords()
    code = {name: keywords.pop(name) for name in _OF_ENCODER if name in keywords}
    if settings.model == "convolutional-autoencoder":
        assert shape is not None  # checked
        return ConvolutionalAutoencoder(size=shape, **{"code_size": _CODE_SIZE} | code, **images)
    wide = settings.model in ("gated-pixel-cnn", "pixel-cnn-autoencoder")
    keywords.setdefault("features", -(-(48 if wide else 32) // data.channels) * data.channels)
    if settings.model == "pixel-cnn-autoencoder":
        code_size = VectorCondition(code.pop("code_size", _CODE_SIZE))
        assert shape is not None  # checked
        decoder = GatedPixelCNN(condition=code_size, **keywords, **images)
        return PixelCNNAutoencoder(decoder=decoder, size=shape, **code)

    def network(*given: Condition) -> Any:
        return _NETWORKS[settings.model](
            condition=given[0] if len(given) == 1 else given or None, **keywords, **images
        )

    if settings.scale is None:
        return network(*conditions)  # type: ignore[no-any-return]
    small_image = MapCondition(
        data.channels,
        scale=settings.scale,
        levels=data.levels,
        categorical=settings.value_features is not None,
    )
    return MultiScale(small=network(*conditions), large=network(small_image, *conditions))


def _memory_bytes() -> float:
    """The memory of this machine; unlimited where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
