"""Batches for training and scoring. What is random in them is a pure function of (seed, step).

The whole batch is drawn first and divided among processes afterwards, so that it does not depend on their number.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.splits import Split, crop_offsets
from nextpixel.train_config import TrainConfig

__all__ = ["batch_indices", "dropout_seed", "tensors", "training_parts"]

_ORDER, _AUGMENTATION, _DROPOUT = range(3)


def batch_indices(images: int, batch_size: int, *, seed: int, step: int) -> NDArray[np.int64]:
    """Which images make the batch of a step: every image once in each epoch, then all in a new order.

    A batch that an epoch does not fill goes on with the next one, so all batches have the same size.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // images
    return np.concatenate(
        [_permutation(images, seed, e)[places[epochs == e] % images] for e in np.unique(epochs).tolist()]
    )


@lru_cache(maxsize=2)
def _permutation(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, _ORDER, epoch)).permutation(images)


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """The seed of torch's generator for one step of one process."""
    words = np.random.SeedSequence((seed, _DROPOUT, step, rank)).generate_state(1, np.uint64)
    return int(words[0]) >> 1


def training_parts(
    split: Split, config: TrainConfig, step: int, rank: int, processes: int, device: torch.device, labelled: bool
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """This process's share of a batch, in `config.accumulate` parts."""
    rows = batch_indices(len(split), config.batch_size, seed=config.seed, step=step)
    generator = np.random.default_rng((config.seed, _AUGMENTATION, step))
    crop = config.crop
    offsets = crop_offsets(split, rows, crop=crop, generator=generator) if crop is not None else None
    mirrored = generator.random(len(rows)) < 0.5 if config.flip else None
    for part in np.array_split(np.arange(len(rows))[rank::processes], config.accumulate):
        x, condition = tensors(split, rows[part], device, labelled, crop, None if offsets is None else offsets[part])
        if mirrored is not None:
            flips = torch.from_numpy(mirrored[part]).to(device)[:, None, None, None]
            x = torch.where(flips, x.flip(3), x)
        yield (x.to(memory_format=torch.channels_last) if config.channels_last else x), condition


def tensors(
    split: Split,
    rows: NDArray[np.int64],
    device: torch.device,
    labelled: bool,
    crop: int | None = None,
    offsets: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Some images of a split, and their labels if the model wants them, on the device."""
    images = split.batch(rows, crop=crop, offsets=offsets)
    # torch does little with uint16.
    x = torch.from_numpy(images if images.dtype == np.uint8 else images.astype(np.int32))
    condition = torch.from_numpy(split.labels[rows]) if labelled and split.labels is not None else None
    if device.type == "cuda":
        x, condition = x.pin_memory(), None if condition is None else condition.pin_memory()
    # One byte a sub-pixel travels; on the device they become the integers that models take.
    return x.to(device, non_blocking=True).long(), None if condition is None else condition.to(
        device, non_blocking=True
    )
