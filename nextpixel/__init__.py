"""nextpixel: exact, tractable probability models of images, one sub-pixel after another.

The public names below are imported when first used, so that the command line can answer without
loading torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from nextpixel.version import __version__ as __version__

if TYPE_CHECKING:
    from nextpixel.analysis.anomaly import (
        AnomalyMap,
        SurpriseMap,
        anomaly_map,
        anomaly_score,
        surprise_map,
    )
    from nextpixel.analysis.calibration import Calibration, calibrate
    from nextpixel.analysis.causality import check_causality
    from nextpixel.analysis.components import (
        PrincipalComponents,
        fit_components,
        load_components,
        save_components,
    )
    from nextpixel.analysis.condition_worth import class_log_probabilities, condition_worth
    from nextpixel.analysis.receptive_fields import effective_receptive_field, receptive_field
    from nextpixel.analysis.typicality import (
        Typicality,
        fit_typicality,
        hidden_statistics,
        load_typicality,
        save_typicality,
    )
    from nextpixel.autoencoding import reconstruct
    from nextpixel.checkpoint import load, save
    from nextpixel.codec.compress import compress, decompress
    from nextpixel.completing import complete_with_evidence
    from nextpixel.conditions.kinds import ClassCondition, MapCondition, VectorCondition
    from nextpixel.data.annotations import BagOfWords
    from nextpixel.data.load import load_data
    from nextpixel.data.statistics import histogram_bits_per_dim
    from nextpixel.data.values import stored_values
    from nextpixel.inference.completion import complete_images
    from nextpixel.inference.drawing import draw_images
    from nextpixel.inference.evaluation import evaluate_model
    from nextpixel.inference.interpolation import between, interpolate
    from nextpixel.inference.trained import open_trained
    from nextpixel.layers.distributions import Distribution
    from nextpixel.models.autoencoder import PixelCNNAutoencoder
    from nextpixel.models.core import ImageModel
    from nextpixel.models.gated_pixel_cnn import GatedPixelCNN
    from nextpixel.models.logits import Logits
    from nextpixel.models.multiscale import MultiScale
    from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
    from nextpixel.models.wrapping import as_model
    from nextpixel.orders import Order
    from nextpixel.sampling import complete, sample
    from nextpixel.scoring import (
        bits_per_dim,
        dequantised_bits_per_dim,
        dequantised_score,
        entropy_map,
        log_prob_map,
        scale_scores,
        score,
    )
    from nextpixel.settings.choice import ModelChoice
    from nextpixel.settings.preparation import Preparation
    from nextpixel.settings.source import Source
    from nextpixel.settings.training import TrainConfig
    from nextpixel.training.loop import initial_state, train
    from nextpixel.training.start import resume_model, train_model
    from nextpixel.walk import fronts, walk

__all__ = [
    "AnomalyMap",
    "BagOfWords",
    "Calibration",
    "ClassCondition",
    "DiagonalBiLSTM",
    "Distribution",
    "GatedPixelCNN",
    "ImageModel",
    "Logits",
    "MapCondition",
    "ModelChoice",
    "MultiScale",
    "Order",
    "PixelCNN",
    "PixelCNNAutoencoder",
    "Preparation",
    "PrincipalComponents",
    "RowLSTM",
    "Source",
    "SurpriseMap",
    "TrainConfig",
    "Typicality",
    "VectorCondition",
    "anomaly_map",
    "anomaly_score",
    "as_model",
    "between",
    "bits_per_dim",
    "calibrate",
    "check_causality",
    "class_log_probabilities",
    "complete",
    "complete_images",
    "complete_with_evidence",
    "compress",
    "condition_worth",
    "decompress",
    "dequantised_bits_per_dim",
    "dequantised_score",
    "draw_images",
    "effective_receptive_field",
    "entropy_map",
    "evaluate_model",
    "fit_components",
    "fit_typicality",
    "fronts",
    "hidden_statistics",
    "histogram_bits_per_dim",
    "initial_state",
    "interpolate",
    "load",
    "load_components",
    "load_data",
    "load_typicality",
    "log_prob_map",
    "open_trained",
    "receptive_field",
    "reconstruct",
    "resume_model",
    "sample",
    "save",
    "save_components",
    "save_typicality",
    "scale_scores",
    "score",
    "stored_values",
    "surprise_map",
    "train",
    "train_model",
    "walk",
]

_HOMES = {
    "AnomalyMap": "analysis.anomaly",
    "BagOfWords": "data.annotations",
    "Calibration": "analysis.calibration",
    "ClassCondition": "conditions.kinds",
    "DiagonalBiLSTM": "models.pixel_rnn",
    "Distribution": "layers.distributions",
    "GatedPixelCNN": "models.gated_pixel_cnn",
    "ImageModel": "models.core",
    "Logits": "models.logits",
    "MapCondition": "conditions.kinds",
    "ModelChoice": "settings.choice",
    "MultiScale": "models.multiscale",
    "Order": "orders",
    "PixelCNN": "models.pixel_rnn",
    "PixelCNNAutoencoder": "models.autoencoder",
    "Preparation": "settings.preparation",
    "PrincipalComponents": "analysis.components",
    "RowLSTM": "models.pixel_rnn",
    "Source": "settings.source",
    "SurpriseMap": "analysis.anomaly",
    "TrainConfig": "settings.training",
    "Typicality": "analysis.typicality",
    "VectorCondition": "conditions.kinds",
    "anomaly_map": "analysis.anomaly",
    "anomaly_score": "analysis.anomaly",
    "as_model": "models.wrapping",
    "between": "inference.interpolation",
    "bits_per_dim": "scoring",
    "calibrate": "analysis.calibration",
    "check_causality": "analysis.causality",
    "class_log_probabilities": "analysis.condition_worth",
    "complete": "sampling",
    "complete_images": "inference.completion",
    "complete_with_evidence": "completing",
    "condition_worth": "analysis.condition_worth",
    "compress": "codec.compress",
    "decompress": "codec.compress",
    "dequantised_bits_per_dim": "scoring",
    "dequantised_score": "scoring",
    "draw_images": "inference.drawing",
    "effective_receptive_field": "analysis.receptive_fields",
    "entropy_map": "scoring",
    "evaluate_model": "inference.evaluation",
    "fit_components": "analysis.components",
    "fit_typicality": "analysis.typicality",
    "fronts": "walk",
    "hidden_statistics": "analysis.typicality",
    "histogram_bits_per_dim": "data.statistics",
    "initial_state": "training.loop",
    "interpolate": "inference.interpolation",
    "load": "checkpoint",
    "load_components": "analysis.components",
    "load_data": "data.load",
    "load_typicality": "analysis.typicality",
    "log_prob_map": "scoring",
    "open_trained": "inference.trained",
    "receptive_field": "analysis.receptive_fields",
    "reconstruct": "autoencoding",
    "resume_model": "training.start",
    "sample": "sampling",
    "save": "checkpoint",
    "save_components": "analysis.components",
    "save_typicality": "analysis.typicality",
    "scale_scores": "scoring",
    "score": "scoring",
    "stored_values": "data.values",
    "surprise_map": "analysis.anomaly",
    "train": "training.loop",
    "train_model": "training.start",
    "walk": "walk",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nextpixel' has no attribute {name!r}")
    return getattr(import_module(f"nextpixel.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(globals() | _HOMES)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # Whoever imports the module `nextpixel.walk` must not hide the function `nextpixel.walk`.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
