"""Batches for training and scoring: a pure function of (seed, step).

The whole batch is drawn first and divided among processes afterwards, so that it does not depend on
their number.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.conditions.kinds import ClassCondition, Condition, MapCondition, VectorCondition
from nextpixel.conditions.values import Values, forget, map_values
from nextpixel.data.maps import fraction
from nextpixel.data.splits import ImageData, Split, crop_offsets
from nextpixel.devices import full_precision
from nextpixel.errors import UsageError
from nextpixel.models.core import ImageModel
from nextpixel.models.evaluation import evaluating
from nextpixel.models.trainable import Trainable
from nextpixel.orders import Order
from nextpixel.settings.training import TrainConfig
from nextpixel.turning import turned

__all__ = [
    "batch_indices",
    "conditioned",
    "conditions_of",
    "dropout_seed",
    "tensors",
    "training_parts",
]

_ORDER, _AUGMENTATION, _DROPOUT = range(3)


def batch_indices(images: int, batch_size: int, *, seed: int, step: int) -> NDArray[np.int64]:
    """Which images make the batch of a step: each once in an epoch, in a new order every epoch.

    The last batch of an epoch is filled from the next epoch, so all batches have the same size.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // images
    return np.concatenate(
        [
            _permutation(images, seed, e)[places[epochs == e] % images]
            for e in np.unique(epochs).tolist()
        ]
    )


@lru_cache(maxsize=2)
def _permutation(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(images)


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """The seed of torch's generator for one step of one process."""
    words = np.random.SeedSequence((seed, _DROPOUT, step, rank)).generate_state(1, np.uint64)
    return int(words[0]) >> 1


def conditions_of(data: ImageData, *, categorical_maps: bool = False) -> tuple[Condition, ...]:
    """The conditions that a data set offers: its classes, vectors and maps, in this order.

    Args:
        data: what a model is to be trained on.
        categorical_maps: whether the integers of maps are categories, such as those of segments.

    Raises:
        UsageError: the maps do not have the images' size or 1/2, 1/3 … of it.
    """
    parts: list[Condition] = [ClassCondition(len(data.classes))] if data.classes else []
    if (vectors := data.train.vectors) is not None:
        if len(vectors) and np.isnan(vectors).any(axis=1).all():
            raise UsageError(
                f"all vectors of {data.source} are unknown, because each has a number that is"
                " missing; leave out the column that is empty"
            )
        parts.append(VectorCondition(vectors.shape[1]))
    if data.train.maps is not None:
        _, maps, *size = data.train.maps.shape
        scale = None if data.shape is None else fraction(data.shape, tuple(size))
        if scale is None:
            raise UsageError(
                f"the maps are {size[0]}×{size[1]}, but the images {data.shape}; maps must have"
                " their size, or 1/2, 1/3 … of it"
            )
        levels = data.map_levels
        categorical = categorical_maps and levels is not None
        parts.append(MapCondition(maps, scale=scale, levels=levels, categorical=categorical))
    return tuple(parts)


def training_parts(
    split: Split,
    config: TrainConfig,
    step: int,
    rank: int,
    processes: int,
    device: torch.device,
    conditions: tuple[Condition, ...],
    turns: ImageModel | None = None,
    *,
    levels: int = 256,
) -> Iterator[tuple[Tensor, Values]]:
    """This process's share of a batch, in `config.accumulate` parts.

    If the data give no conditions, but some are to be dropped, booleans say which: see
    `PixelCNNAutoencoder.infer`. For a model of several orders, `turns`, every image is turned to an
    order by chance. Whether orders go by columns is drawn for the batch, so that its images keep
    one size. `levels` are those of values that replace others.
    """
    rows = batch_indices(len(split), config.batch_size, seed=config.seed, step=step)
    generator = np.random.default_rng((config.seed, _AUGMENTATION, step))
    crop = config.crop
    offsets = (
        crop_offsets(split, rows, crop=crop, generator=generator) if crop is not None else None
    )
    mirrored = generator.random(len(rows)) < 0.5 if config.flip else None
    forgotten = _forgotten(len(conditions) or 1, len(rows), config.condition_dropout, generator)
    orders = [] if turns is None else _drawn_orders(turns.orders, len(rows), generator)
    noise = _noise(split, len(rows), config.condition_noise, generator)
    replaced: NDArray[np.int64] | None = None
    for part in np.array_split(np.arange(len(rows))[rank::processes], config.accumulate):
        x, values = tensors(
            split, rows[part], device, conditions, crop, None if offsets is None else offsets[part]
        )
        if mirrored is not None:
            flips = _sent(mirrored[part], device)[:, None, None, None]
            x = torch.where(flips, x.flip(3), x)
            values = map_values(partial(_mirrored_maps, flips), values)
        if config.value_noise:
            if replaced is None:  # all images of a batch have one size
                shape = (len(rows), *x.shape[1:])
                replaced = _replaced(shape, config.value_noise, levels, generator)
            new = _sent(replaced[part], device)
            x = torch.where(new < 0, x, new)
        if noise is not None:
            values = tuple(
                value + _sent(noise[part], device) if kind.standardised else value
                for kind, value in zip(conditions, values, strict=True)
            )
        if forgotten is not None:
            dropped = _sent(forgotten[part], device)
            values = forget(values, dropped) if values else (dropped[:, 0],)
        if turns is not None:
            x, values = turned(turns, [orders[k] for k in part], x, values)
        yield (x.to(memory_format=torch.channels_last) if config.channels_last else x), values


def _drawn_orders(
    orders: tuple[Order, ...], images: int, generator: np.random.Generator
) -> list[Order]:
    by_columns = [order for order in orders if order.transpose]
    by_rows = [order for order in orders if not order.transpose]
    numbers = generator.integers(len(by_rows), size=images)
    chosen = by_columns if by_columns and generator.integers(2) else by_rows
    return [chosen[number] for number in numbers]


def _mirrored_maps(flips: Tensor, value: Tensor) -> Tensor:
    return torch.where(flips, value.flip(3), value) if value.ndim == 4 else value


def _forgotten(
    conditions: int, images: int, share: float, generator: np.random.Generator
) -> NDArray[np.bool_] | None:
    """Which conditions of which images are dropped: all of an image, or each, by chance."""
    if not share:
        return None
    chances = generator.random((images, conditions + 1))
    return (chances[:, 1:] < (share if conditions > 1 else 0)) | (chances[:, :1] < share)


def _noise(
    split: Split, images: int, share: float, generator: np.random.Generator
) -> NDArray[np.float32] | None:
    """What is added to the vectors of images, in so many of their deviations."""
    if not share:
        return None
    deviations = split.vector_deviations
    normal = generator.standard_normal((images, len(deviations)), dtype=np.float32)
    return normal * (share * deviations)


def _replaced(
    shape: tuple[int, ...], share: float, levels: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Values for a share of all sub-pixels, and -1 for the others."""
    chosen = generator.random(shape, dtype=np.float32) < share
    return np.where(chosen, generator.integers(levels, size=shape), -1)


def tensors(
    split: Split,
    rows: NDArray[np.int64],
    device: torch.device,
    conditions: tuple[Condition, ...],
    crop: int | None = None,
    offsets: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Values]:
    """Some images of a split and the values of some conditions, on the device."""
    images = split.batch(rows, crop=crop, offsets=offsets)
    # torch supports few operations on uint16.
    x = _sent(images if images.dtype == np.uint8 else images.astype(np.int32), device)
    values = tuple(_sent(_values(split, rows, part, crop, offsets), device) for part in conditions)
    # One byte per sub-pixel is sent; on the device they become the integers that models take.
    return x.long(), values


def conditioned(model: Trainable, split: Split, rows: NDArray[np.int64]) -> tuple[Tensor, Values]:
    """Some images of a split and the values of the model's conditions, on its device."""
    x, given = tensors(split, rows, model.device, model.given_by_data)
    with torch.no_grad(), full_precision(model.device):
        return x, evaluating(model).infer(x, given)


def _sent(values: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def _values(
    split: Split,
    rows: NDArray[np.int64],
    part: Condition,
    crop: int | None,
    offsets: NDArray[np.int64] | None,
) -> NDArray[Any]:
    """The values of one condition for some images; raises UsageError if the data has none."""
    annotations = {"labels": split.labels, "vectors": split.vectors, "maps": split.maps}
    given = annotations[part.annotation]
    if given is None:
        raise UsageError(f"the model is conditioned on {part.annotation}, but the data has none")
    values: NDArray[Any] = given[rows]
    if part.per_pixel:
        if crop is not None:
            windows = Split(images=values)
            values = windows.batch(np.arange(len(rows)), crop=crop, offsets=offsets)
        return values if values.dtype.kind == "f" else values.astype(np.int64)
    return values
