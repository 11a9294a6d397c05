"""Whether a model, data and a configuration fit together, checked before any work starts."""

import numpy as np
import torch

from nextpixel.conditions import ClassCondition, MapCondition, condition_shape, parts_of
from nextpixel.data.splits import ImageData, crop_offsets
from nextpixel.errors import UsageError
from nextpixel.models.core import AutoregressiveModel
from nextpixel.models.trainable import Trainable
from nextpixel.training.batches import conditions_of
from nextpixel.training.config import TrainConfig

__all__ = ["check_fit"]


def check_fit(model: Trainable, data: ImageData, config: TrainConfig, processes: int) -> None:
    """Raises UsageError unless model, data and configuration fit together."""
    for name in ("channels", "levels"):
        if getattr(model, name) != getattr(data, name):
            raise UsageError(
                f"the model has {name}={getattr(model, name)} but the data"
                f" {name}={getattr(data, name)}; make them equal"
            )
    if model.dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"the weights are {model.dtype}, in which small updates are lost; train model.float(),"
            " and compute in half precision with ‹precision='bf16'›"
        )
    _check_condition(model, data, config)
    networks = [part for part in model.modules() if isinstance(part, AutoregressiveModel)]
    heads = {network.settings.head for network in networks}
    if config.objective == "density" and heads != {"logistic"}:
        other = (
            f", but this one has ‹head={min(map(str, heads))!r}›, whose density is its probability"
            if heads
            else ""
        )
        raise UsageError(
            f"‹objective='density'› is for models with ‹head='logistic'›{other}; use"
            " ‹objective='probability'›"
        )
    if config.crop is not None:
        if any(network.settings.position_waves for network in networks):
            raise UsageError(
                "‹position_waves› tell where in a whole image a pixel is, which ‹crop› hides; give"
                " only one of them"
            )
        # Asks for a window of every image, so that one that is too small is found now.
        every = np.arange(len(data.train))
        crop_offsets(data.train, every, crop=config.crop, generator=np.random.default_rng(0))
    elif len(np.unique(data.train.sizes, axis=0)) > 1:
        raise UsageError(
            "the training images differ in size; give ‹crop› to train on windows of one size"
        )
    if config.batch_size < processes * config.accumulate:
        raise UsageError(
            f"‹batch_size={config.batch_size}› must be at least processes × accumulate, {processes}"
            f" × {config.accumulate}: no part may be empty"
        )
    if config.patience is not None and not len(data.valid):
        raise UsageError(
            f"‹patience={config.patience}› needs a validation split, but the data has none; leave"
            " it out"
        )


def _check_condition(model: Trainable, data: ImageData, config: TrainConfig) -> None:
    offered = {type(part): part for part in parts_of(conditions_of(data, categorical_maps=True))}
    kinds = [type(part).__name__ for part in parts_of(model.given_by_data)]
    if twice := [kind for kind in kinds if kinds.count(kind) > 1]:
        raise UsageError(
            f"the model has {len(twice)} conditions of the kind {twice[0]}, but data gives one of"
            " each kind; make them one"
        )
    for part in parts_of(model.given_by_data):
        other = offered.get(type(part))
        if (
            isinstance(part, MapCondition)
            and data.train.maps is not None
            and data.shape is not None
        ):
            shape = condition_shape(part, len(data.train), data.shape)
            same = data.train.maps.shape == shape and part.levels == data.map_levels
            if same and config.crop is not None and part.scale > 1:
                raise UsageError("‹crop› needs maps of the same size as the images; leave it out")
        else:
            same = part == other
        if not same:
            if isinstance(part, ClassCondition):
                raise UsageError(
                    f"the model is conditioned on {part.classes} classes but the data has"
                    f" {len(data.classes)}; give the model ‹condition={other}›"
                )
            raise UsageError(
                f"the model is conditioned on {part}, but the data gives {other}; make them equal"
            )
    if config.condition_dropout and model.condition is None:
        raise UsageError(
            f"‹condition_dropout={config.condition_dropout}› needs a model with a condition; leave"
            " it out"
        )
    if config.condition_dropout and model.figure.kind == "bound":
        raise UsageError(
            f"‹condition_dropout={config.condition_dropout}› is not for variational auto-encoders,"
            " which bound log p(x) themselves; leave it out"
        )
    if model.size is not None:
        _check_size(model.size, data, config)


def _check_size(size: tuple[int, int], data: ImageData, config: TrainConfig) -> None:
    """Raises unless an auto-encoder takes images of the size that it is to see."""
    trained = data.train.sizes if config.crop is None else np.array([[config.crop, config.crop]])
    others = [
        seen for seen in np.concatenate([trained, data.valid.sizes]).tolist() if tuple(seen) != size
    ]
    if not others:
        return
    words = f"{size[0]}×{size[1]} pixels"
    if config.crop is not None:
        raise UsageError(
            f"‹crop={config.crop}› does not go with this auto-encoder, which takes whole images of"
            f" {words}; leave it out, and give ‹size={size[0]}x{size[1]}› when loading the data"
        )
    raise UsageError(
        f"this auto-encoder takes images of {words}, but the data has one of"
        f" {others[0][0]}×{others[0][1]}; give ‹size={size[0]}x{size[1]}› when loading it"
    )
