"""nextpixel: exact, tractable probability models of images, one sub-pixel after another.

The public names below are imported when first used, so that the command line can answer without
loading torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from nextpixel.version import __version__ as __version__

if TYPE_CHECKING:
    from nextpixel.analysis.causality import check_causality
    from nextpixel.checkpoint import load, save
    from nextpixel.conditions.kinds import ClassCondition, MapCondition, VectorCondition
    from nextpixel.data.load import load_data
    from nextpixel.data.preparation import Preparation
    from nextpixel.data.source import Source
    from nextpixel.models.gated_pixel_cnn import GatedPixelCNN
    from nextpixel.models.multiscale import MultiScale
    from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
    from nextpixel.sampling import complete, sample
    from nextpixel.scoring import bits_per_dim, dequantised_bits_per_dim, score
    from nextpixel.training.config import TrainConfig
    from nextpixel.training.loop import initial_state, train

__all__ = [
    "ClassCondition",
    "DiagonalBiLSTM",
    "GatedPixelCNN",
    "MapCondition",
    "MultiScale",
    "PixelCNN",
    "Preparation",
    "RowLSTM",
    "Source",
    "TrainConfig",
    "VectorCondition",
    "bits_per_dim",
    "check_causality",
    "complete",
    "dequantised_bits_per_dim",
    "initial_state",
    "load",
    "load_data",
    "sample",
    "save",
    "score",
    "train",
]

_HOMES = {
    "ClassCondition": "conditions.kinds",
    "DiagonalBiLSTM": "models.pixel_rnn",
    "GatedPixelCNN": "models.gated_pixel_cnn",
    "MapCondition": "conditions.kinds",
    "MultiScale": "models.multiscale",
    "PixelCNN": "models.pixel_rnn",
    "Preparation": "data.preparation",
    "RowLSTM": "models.pixel_rnn",
    "Source": "data.source",
    "TrainConfig": "training.config",
    "VectorCondition": "conditions.kinds",
    "bits_per_dim": "scoring",
    "check_causality": "analysis.causality",
    "complete": "sampling",
    "dequantised_bits_per_dim": "scoring",
    "initial_state": "training.loop",
    "load": "checkpoint",
    "load_data": "data.load",
    "sample": "sampling",
    "save": "checkpoint",
    "score": "scoring",
    "train": "training.loop",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nextpixel' has no attribute {name!r}")
    return getattr(import_module(f"nextpixel.{_HOMES[name]}"), name)
