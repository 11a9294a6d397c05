"""An embedding: images become points on a sphere, close together if they show the same class.

The portraits of Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016,
section 3.3) are conditioned on one. `nextpixel.training.embedding` trains it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from nextpixel.arguments import instance_of, plain, whole_number
from nextpixel.devices import full_precision
from nextpixel.errors import UsageError
from nextpixel.layers.image_encoder import NEGATIVE_SLOPE, ImageEncoder, check_encoder
from nextpixel.layers.integers import check_images, check_range
from nextpixel.models.evaluation import evaluating

__all__ = ["Embedding", "embed"]


class Embedding(nn.Module):
    """Turns images (B, C, H, W) into vectors of length 1, (B, outputs).

    The distance between two vectors says how different the images are.

    Args:
        channels, levels: of the images.
        size: (H, W) of the images.
        outputs: length of the vectors.
        features: of the encoder's first convolution; see `ImageEncoder`.
        dropout: share of the inputs of the encoder's last layer that are dropped in training.
        negative_slope: of the encoder's leaky ReLUs; files of version 0.1.0 mean 0.

    Raises:
        UsageError: a value is out of range.

    Example:
        >>> model = Embedding(levels=4, size=(8, 8), outputs=3)
        >>> model(torch.randint(4, (2, 1, 8, 8))).norm(dim=1).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        levels: int = 256,
        size: Sequence[int],
        outputs: int = 64,
        features: int = 32,
        dropout: float = 0.0,
        negative_slope: float = NEGATIVE_SLOPE,
    ) -> None:
        super().__init__()
        images: dict[str, Any] = {"channels": channels, "levels": levels, "size": size}
        images["negative_slope"] = negative_slope
        check_encoder(**images, outputs=outputs, features=features)
        if not 0 <= dropout < 1:
            raise UsageError(f"‹dropout› must be at least 0 and less than 1, not {dropout}")
        self.channels, self.levels = plain(channels), plain(levels)
        self.size = plain(size[0]), plain(size[1])
        self.outputs, self.features = plain(outputs), plain(features)
        self.dropout, self.negative_slope = plain(dropout), plain(negative_slope)
        self.encoder = ImageEncoder(**images, outputs=outputs, features=features)
        self.encoder.out = nn.Sequential(nn.Dropout(dropout), self.encoder.out)

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"outputs={self.outputs}, features={self.features}"

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild the model."""
        own = ("channels", "levels", "outputs", "features", "dropout", "negative_slope")
        return {name: getattr(self, name) for name in own} | {"size": list(self.size)}

    def forward(self, x: Tensor) -> Tensor:
        """Integers (B, C, H, W) to vectors of length 1."""
        return nn.functional.normalize(self.encoder(x), dim=1)


@torch.no_grad()
def embed(
    model: Embedding, x: Shaped[Tensor, "B C H W"], *, batch_size: int = 256
) -> Float[Tensor, "B outputs"]:
    """The vectors of images, with dropout off: float32, on the CPU."""
    instance_of("model", model, Embedding)
    check_images(x, model.channels, model.levels)
    check_range(x, model.levels)
    batch_size = whole_number("batch_size", batch_size, 1)
    device, view = next(model.parameters()).device, evaluating(model)
    with full_precision(device):
        batches = (
            x[start : start + batch_size].to(device) for start in range(0, len(x), batch_size)
        )
        parts = [view(batch).float().cpu() for batch in batches]
    return torch.cat(parts) if parts else torch.zeros(0, model.outputs, dtype=torch.float32)
