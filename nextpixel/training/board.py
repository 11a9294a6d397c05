"""What a run writes for TensorBoard, if it is requested and installed."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nextpixel.data.image_files import grid
from nextpixel.data.splits import ImageData
from nextpixel.models.core import ImageModel
from nextpixel.sampling import sample
from nextpixel.settings.training import TrainConfig
from nextpixel.training.batches import tensors
from nextpixel.training.loop import TrainState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["show_samples", "summary_writer"]


def summary_writer() -> "type[SummaryWriter]":
    """The writer class of TensorBoard; raises ModuleNotFoundError if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "TensorBoard is not installed; install nextpixel[tensorboard], or leave tensorboard out"
        ) from error
    return SummaryWriter


def show_samples(
    board: "SummaryWriter", state: TrainState[Any], data: ImageData, config: TrainConfig
) -> None:
    """Draws sixteen images from the averaged weights, conditioned as the first training images."""
    if not isinstance(state.average, ImageModel):
        return  # such a model draws no images
    shape = (config.crop, config.crop) if config.crop else data.shape or (32, 32)
    rows = np.arange(16) % len(data.train)
    x, given = tensors(
        data.train, rows, state.average.device, state.average.given_by_data, config.crop
    )
    condition = state.average.infer(x, given)
    drawn = sample(
        state.average,
        16,
        shape,
        condition=condition,
        generator=torch.Generator().manual_seed(config.seed),
    )
    board.add_image("samples", grid(drawn.cpu().numpy(), levels=data.levels), state.step)
