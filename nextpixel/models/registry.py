"""The family: every class that a checkpoint may name."""

from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import Embedding
from nextpixel.models.multiscale import DISTRIBUTIONS

__all__ = ["MODELS"]

MODELS: dict[str, type[ImageModel] | type[Embedding]] = {
    **DISTRIBUTIONS,
    "ConvolutionalAutoencoder": ConvolutionalAutoencoder,
    "Embedding": Embedding,
    "PixelCNNAutoencoder": PixelCNNAutoencoder,
}
