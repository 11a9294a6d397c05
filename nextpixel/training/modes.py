"""What an update needs of its surroundings, whatever the caller's are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["training_mode"]


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Training mode within a block, with gradients and without the caller's autocast.

    A model that is in training mode is left as it is: some of its parts, such as a frozen encoder,
    may be in evaluation mode on purpose. Afterwards all modes are as before.
    """
    modes = [(part, part.training) for part in model.modules()]
    if not model.training:
        model.train()
    device = next(model.parameters()).device.type
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device, enabled=False),
        ):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
