"""An embedding: images to points on a sphere, near each other if they show the same class.

What conditions the portraits of Conditional Image Generation with PixelCNN Decoders (van den Oord
et al., 2016, section 3.3). Trained by `nextpixel.training.embedding`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from nextpixel.models.autoencoder import ImageEncoder

__all__ = ["Embedding", "embed"]


class Embedding(nn.Module):
    """Images (B, C, H, W) to vectors of length 1, (B, outputs); the distance says how different two
    images are.

    Args:
        channels, levels: of the images.
        size: (H, W) of the images.
        outputs: length of the vectors.
        features: of the encoder's first convolution; see `ImageEncoder`.
        dropout: share of the encoder's outputs, before the last layer, that are dropped in
            training.

    Example:
        >>> Embedding(levels=4, size=(8, 8), outputs=3)(torch.randint(4, (2, 1, 8, 8))).norm(dim=1).tolist()
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
    ) -> None:
        super().__init__()
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size (={tuple(size)}) must be the height and width of the images")
        for name, value in (("channels", channels), ("outputs", outputs), ("features", features)):
            if value < 1:
                raise ValueError(f"{name} (={value}) must be at least 1")
        if levels < 2:
            raise ValueError(f"levels (={levels}) must be at least 2")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout (={dropout}) must be at least 0 and less than 1")
        self.channels, self.levels, self.size = channels, levels, (size[0], size[1])
        self.outputs, self.features, self.dropout = outputs, features, dropout
        self.encoder = ImageEncoder(
            channels=channels, levels=levels, size=size, outputs=outputs, features=features
        )
        self.encoder.out = nn.Sequential(nn.Dropout(dropout), self.encoder.out)

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild the model."""
        own = ("channels", "levels", "outputs", "features", "dropout")
        return {name: getattr(self, name) for name in own} | {"size": list(self.size)}

    def forward(self, x: Tensor) -> Tensor:
        """Integers (B, C, H, W) to vectors of length 1."""
        if x.ndim != 4 or x.shape[1:] != (self.channels, *self.size):
            wanted = f"(B, {self.channels}, {self.size[0]}, {self.size[1]})"
            raise ValueError(f"x has shape {tuple(x.shape)}; this embedding takes {wanted}")
        return nn.functional.normalize(self.encoder(x), dim=1)


@torch.no_grad()
def embed(
    model: Embedding, x: Shaped[Tensor, "B C H W"], *, batch_size: int = 256
) -> Float[Tensor, "B outputs"]:
    """The vectors of images, with dropout off: float32, on the CPU."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        batches = (
            x[start : start + batch_size].to(device) for start in range(0, len(x), batch_size)
        )
        parts = [model(batch).float().cpu() for batch in batches]
    finally:
        model.train(was_training)
    return torch.cat(parts) if parts else torch.zeros(0, model.outputs)
