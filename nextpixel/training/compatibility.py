"""Whether a model, data and a training configuration fit together, checked before any work."""

import numpy as np
import torch

from nextpixel.arguments import instance_of
from nextpixel.conditions.kinds import MapCondition, check_mirrored, of_kind
from nextpixel.data.splits import ImageData, crop_offsets
from nextpixel.errors import UsageError
from nextpixel.models.core import AutoregressiveModel
from nextpixel.models.trainable import Trainable, check_filled
from nextpixel.settings.training import TrainConfig
from nextpixel.training.batches import conditions_of

__all__ = ["check_fit", "check_weights"]


def check_fit(model: Trainable, data: ImageData, config: TrainConfig, processes: int) -> None:
    """Raises UsageError unless model, data and configuration fit together."""
    instance_of("data", data, ImageData, "load_data(…) reads one")
    instance_of("config", config, TrainConfig)
    for name in ("channels", "levels"):
        if getattr(model, name) != getattr(data, name):
            has, found = getattr(model, name), getattr(data, name)
            more = has < found and name == "levels"
            advice = f"load the data with ‹levels={has}›" if more else "make them equal"
            raise UsageError(f"the model has {name}={has} but the data {name}={found}; {advice}")
    check_weights(model)
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
                "‹position_waves› encode the position of a pixel in the whole image, which ‹crop›"
                " hides; leave out one"
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
            f"‹batch_size={config.batch_size}› must be at least processes × accumulate,"
            f" {processes} × {config.accumulate}: no part may be empty"
        )
    if config.patience is not None and not len(data.valid):
        raise UsageError(
            f"‹patience={config.patience}› needs a validation split, but the data has none; leave"
            " it out"
        )


def check_weights(model: Trainable) -> None:
    """Raises UsageError unless a model has weights that can be trained."""
    weights = list(model.parameters())
    if not any(weight.requires_grad for weight in weights):
        frozen = "all weights are frozen; call model.requires_grad_()"
        raise UsageError(frozen if weights else "the model has no weights to train")
    check_filled(model)
    if any(weight.is_inference() for weight in weights):
        raise UsageError(
            "the weights were made in torch.inference_mode(), which no gradient can reach; make the"
            " model outside of it"
        )
    if model.dtype not in (torch.float32, torch.float64):
        raise UsageError(
            f"the weights are {model.dtype}, in which small updates are lost; train model.float(),"
            " and compute in half precision with ‹precision='bf16'›"
        )


def _check_condition(model: Trainable, data: ImageData, config: TrainConfig) -> None:
    offered = {part.annotation: part for part in conditions_of(data)}
    kinds = [part.annotation for part in model.given_by_data]
    if twice := [kind for kind in kinds if kinds.count(kind) > 1]:
        raise UsageError(
            f"the model has {len(twice)} conditions on {twice[0]}, but data has one of each kind;"
            " make them one"
        )
    for part in model.given_by_data:
        other = offered.get(part.annotation)
        # Only the shape of maps depends on the size, and images of several sizes have no maps.
        if not part.accepts(other, data.shape or (1, 1)):
            has = "none" if other is None else other.describe()
            raise UsageError(
                f"the model is conditioned on {part.describe()}, but the data has {has}; make them"
                " equal"
            )
    maps = of_kind(model.given_by_data, MapCondition).values()
    if config.crop is not None and any(part.scale > 1 for part in maps):
        raise UsageError("‹crop› is only for maps of the images' own size; leave it out")
    if config.flip and data.shape is not None:
        check_mirrored(model.given_by_data, data.shape[1], "flip")
    if config.condition_dropout and not model.conditions:
        raise UsageError(
            f"‹condition_dropout={config.condition_dropout}› needs a conditional model; leave it"
            " out"
        )
    if config.condition_dropout and model.figure.kind == "bound":
        raise UsageError(
            f"‹condition_dropout={config.condition_dropout}› is not for variational auto-encoders,"
            " which bound log p(x) themselves; leave it out"
        )
    if config.condition_noise and not any(part.standardised for part in model.given_by_data):
        raise UsageError(
            f"‹condition_noise={config.condition_noise}› needs a model that is conditioned on"
            " vectors of the data; leave it out"
        )
    if model.size is not None:
        _check_size(model.size, data, config)


def _check_size(size: tuple[int, int], data: ImageData, config: TrainConfig) -> None:
    """Raises unless all images, or windows of them, have the size that an auto-encoder takes."""
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
