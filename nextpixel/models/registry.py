"""Every class that a checkpoint or a recipe may name, and how a model is built from its name."""

from collections.abc import Mapping
from typing import Any

from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.embedding import Embedding
from nextpixel.models.gated_pixel_cnn import GatedPixelCNN
from nextpixel.models.multiscale import MultiScale
from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
from nextpixel.models.trainable import Trainable

__all__ = ["MODELS", "build"]

MODELS: dict[str, type[Trainable] | type[Embedding]] = {
    # distributions
    "DiagonalBiLSTM": DiagonalBiLSTM,
    "GatedPixelCNN": GatedPixelCNN,
    "MultiScale": MultiScale,
    "PixelCNN": PixelCNN,
    "PixelCNNAutoencoder": PixelCNNAutoencoder,
    "RowLSTM": RowLSTM,
    # others
    "ConvolutionalAutoencoder": ConvolutionalAutoencoder,
    "Embedding": Embedding,
}


def build(name: str, config: Mapping[str, Any]) -> Trainable | Embedding:
    """Makes a model from the name of its class and its `config()`.

    A model inside another one, such as the decoder of an auto-encoder, is a configuration with the
    name of its class as "model".

    Raises:
        UsageError: there is no such class, or a keyword is out of range.
        TypeError: the class does not take these keywords.

    Example:
        >>> model = build("PixelCNN", {"levels": 4, "features": 8, "layers": 2})
        >>> build("PixelCNN", model.config()).config() == model.config()
        True
    """
    if name not in MODELS:
        raise UsageError(f"‹model› must be one of {', '.join(MODELS)}, not {name!r}")
    return MODELS[name](**{key: _built(value) for key, value in config.items()})


def _built(value: Any) -> Any:
    """A part of a model in the place of its configuration; any other value as it is."""
    if isinstance(value, Mapping) and "model" in value:
        keywords = dict(value)
        return build(keywords.pop("model"), keywords)
    return value
