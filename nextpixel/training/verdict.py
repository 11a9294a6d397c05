"""What a finished run is worth, said honestly: is it trained at all, and is its test one?"""

import numpy as np
import torch

from nextpixel.data.splits import ImageData
from nextpixel.data.statistics import one_histogram_bits_per_dim
from nextpixel.data.storage import SPLIT_WORDS
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.trainable import Trainable
from nextpixel.training.batches import conditioned
from nextpixel.training.pace import FEW_UPDATES

__all__ = ["verdict"]

_FEW_IMAGES = 30
_ENCODED = 64
"""Images whose codes are compared."""


def verdict(
    model: Trainable, data: ImageData, split: str | None, bits: float | None, updates: int
) -> tuple[tuple[str, ...], bool]:
    """Warnings about a run, and whether its model is worth using.

    Args:
        model: the trained model.
        data: what it was trained on.
        split: the name of the split on which it was evaluated.
        bits: what came out, in bits/dim.
        updates: how many there were, those of the ancestors included.
    """
    said, usable = [], True
    if bits is not None and split is not None and model.figure.kind != "error":
        scored = getattr(data, split)
        baseline = one_histogram_bits_per_dim(data.train, scored, data.levels)
        if bits > baseline:
            usable = False
            said.append(
                f"the model has {bits:.2f} bits/dim, more than the {baseline:.2f} of one histogram"
                " of all values: its samples are still noise"
            )
    if updates < FEW_UPDATES:
        usable = False
        said.append(
            f"the run had only {updates:,} update{'s' * (updates != 1)}; train longer with ‹resume›"
            " and ‹minutes›, or start again with smaller images or a smaller model"
        )
    elif not usable:
        said[-1] += "; train longer with ‹resume› and ‹minutes›, or with a lower ‹learning_rate›"
    if _one_code(model, data):
        usable = False
        said.append(
            "the encoder gives all images the same code, which therefore says nothing; train again"
            " with a lower ‹learning_rate›"
        )
    if split is not None and 0 < (images := len(getattr(data, split))) < _FEW_IMAGES:
        said.append(
            f"the {SPLIT_WORDS[split]} split has only {images} image{'s' * (images > 1)}: another"
            " split could give a quite different figure"
        )
    return tuple(said), usable


@torch.no_grad()
def _one_code(model: Trainable, data: ImageData) -> bool:
    """Whether different images have one code, as after the ReLUs of an encoder have died."""
    count = min(_ENCODED, len(data.train))
    if not isinstance(model, PixelCNNAutoencoder | ConvolutionalAutoencoder) or count < 2:
        return False
    x, _ = conditioned(model, data.train, np.arange(count))
    if bool((x == x[0]).all()):
        return False
    codes = model.encode(x)
    return bool((codes - codes[0]).abs().max() <= 1e-6 * codes.abs().max())
