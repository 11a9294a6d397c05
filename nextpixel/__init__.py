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
    from nextpixel.codec.compress import compress, decompress
    from nextpixel.conditions.kinds import ClassCondition, MapCondition, VectorCondition
    from nextpixel.data.load import load_data
    from nextpixel.inference.completion import complete_images
    from nextpixel.inference.drawing import draw_images
    from nextpixel.inference.evaluation import evaluate_model
    from nextpixel.inference.trained import open_trained
    from nextpixel.models.gated_pixel_cnn import GatedPixelCNN
    from nextpixel.models.logits import Logits
    from nextpixel.models.multiscale import MultiScale
    from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
    from nextpixel.sampling import complete, sample
    from nextpixel.scoring import bits_per_dim, dequantised_bits_per_dim, score
    from nextpixel.settings.preparation import Preparation
    from nextpixel.settings.source import Source
    from nextpixel.settings.training import TrainConfig
    from nextpixel.training.loop import initial_state, train
    from nextpixel.training.start import resume_model, train_model

__all__ = [
    "ClassCondition",
    "DiagonalBiLSTM",
    "GatedPixelCNN",
    "Logits",
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
    "complete_images",
    "compress",
    "decompress",
    "dequantised_bits_per_dim",
    "draw_images",
    "evaluate_model",
    "initial_state",
    "load",
    "load_data",
    "open_trained",
    "resume_model",
    "sample",
    "save",
    "score",
    "train",
    "train_model",
]

_HOMES = {
    "ClassCondition": "conditions.kinds",
    "DiagonalBiLSTM": "models.pixel_rnn",
    "GatedPixelCNN": "models.gated_pixel_cnn",
    "Logits": "models.logits",
    "MapCondition": "conditions.kinds",
    "MultiScale": "models.multiscale",
    "PixelCNN": "models.pixel_rnn",
    "Preparation": "settings.preparation",
    "RowLSTM": "models.pixel_rnn",
    "Source": "settings.source",
    "TrainConfig": "settings.training",
    "VectorCondition": "conditions.kinds",
    "bits_per_dim": "scoring",
    "check_causality": "analysis.causality",
    "complete": "sampling",
    "complete_images": "inference.completion",
    "compress": "codec.compress",
    "decompress": "codec.compress",
    "dequantised_bits_per_dim": "scoring",
    "draw_images": "inference.drawing",
    "evaluate_model": "inference.evaluation",
    "initial_state": "training.loop",
    "load": "checkpoint",
    "load_data": "data.load",
    "open_trained": "inference.trained",
    "resume_model": "training.start",
    "sample": "sampling",
    "save": "checkpoint",
    "score": "scoring",
    "train": "training.loop",
    "train_model": "training.start",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nextpixel' has no attribute {name!r}")
    return getattr(import_module(f"nextpixel.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(globals() | _HOMES)
