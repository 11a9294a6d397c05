"""The family: every class that a checkpoint may name."""

from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.models.multiscale import DISTRIBUTIONS

__all__ = ["MODELS"]

MODELS: dict[str, type[ImageModel]] = DISTRIBUTIONS | {
    "ConvolutionalAutoencoder": ConvolutionalAutoencoder,
    "PixelCNNAutoencoder": PixelCNNAutoencoder,
}
