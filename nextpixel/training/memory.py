"""What to do when a batch does not fit into memory: find, by trying, a part of it that does."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from nextpixel.data.splits import ImageData
from nextpixel.errors import UsageError
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.layers.vertical_conv import VerticalConv2d
from nextpixel.models.trainable import Trainable
from nextpixel.settings.training import TrainConfig
from nextpixel.training.batches import training_parts
from nextpixel.training.build import memory_bytes

__all__ = ["check_memory", "in_memory", "is_out_of_memory", "parts_that_fit"]

_SENTENCE = re.compile("out of memory|can't allocate memory|not enough memory")
_MARGIN = 2
"""The state of the optimiser and fragmented memory come on top of the trial."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, on a CPU or a GPU."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and _SENTENCE.search(str(error)) is not None
    )


@contextmanager
def in_memory(sentence: str) -> Iterator[None]:
    """Raises UsageError with a sentence if the memory is used up within a block."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        error.__traceback__ = error.__context__ = None  # They hold on to all that filled it.
    raise UsageError(sentence)


def check_memory(model: Trainable, data: ImageData, config: TrainConfig) -> None:
    """Raises UsageError if one part of a batch alone cannot fit into memory."""
    sides = (config.crop, config.crop) if config.crop else data.shape
    if sides is None or model.device.type != "cpu":
        return
    images = config.batch_size // config.accumulate
    # The layers of which it is certain that their maps are of the size of the image.
    convolutions = (p for p in model.modules() if isinstance(p, MaskedConv2d | VerticalConv2d))
    widest = max((len(part.weight) for part in convolutions), default=0)
    needed = 2.0 * images * sides[0] * sides[1] * widest
    if needed > (memory := memory_bytes()):
        raise UsageError(
            f"‹batch_size={config.batch_size}› takes at least {needed / 2**30:,.0f} GiB, but there"
            f" are {memory / 2**30:.0f} GiB of memory; make it smaller, or ‹accumulate› larger"
        )


def parts_that_fit(model: Trainable, data: ImageData, config: TrainConfig) -> int | None:
    """Into how many parts a batch must be divided to fit into memory.

    Tries the gradient of ever smaller parts, on a copy of the model, and leaves half of the memory
    of the part that fits free.

    Returns:
        A value for ``accumulate``; None if not even one image fits.
    """
    parts = config.accumulate
    while parts < config.batch_size:
        parts = min(2 * parts, config.batch_size)
        images = -(-config.batch_size // parts)
        if _fits(model, data, config, images * _MARGIN if images > 1 else 1):
            return parts
    return None


def _fits(model: Trainable, data: ImageData, config: TrainConfig, images: int) -> bool:
    trial, smaller = None, replace(config, batch_size=images, accumulate=1)
    try:
        trial = copy.deepcopy(model).train()
        given, levels = trial.given_by_data, trial.levels
        parts = training_parts(data.train, smaller, 0, 0, 1, trial.device, given, levels=levels)
        for x, values in parts:
            (-trial(x, values).log_prob(x)).sum().backward()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        del trial
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
    return True
