"""A model as a function from tensors to a tensor, for programs that know no distributions.

`torch.export`, ONNX and other runtimes take modules whose results are tensors.
"""

import torch
from torch import Tensor, nn

from nextpixel.conditions.values import ValuesLike
from nextpixel.models.core import ImageModel

__all__ = ["Logits"]


class Logits(nn.Module):
    """The normalised logits of every sub-pixel given its past, by one full pass of a model.

    Args:
        model: the distribution, whatever its head.

    Attributes:
        model: as given; its weights are shared.

    Example:
        >>> from nextpixel import PixelCNN
        >>> model = PixelCNN(channels=3, levels=4, features=9, layers=2)
        >>> x = torch.randint(4, (2, 3, 5, 7))
        >>> logits = Logits(model)(x)
        >>> logits.shape
        torch.Size([2, 4, 3, 5, 7])
        >>> nats = -torch.nn.functional.cross_entropy(logits, x, reduction="none")
        >>> torch.allclose(nats, model(x).log_prob(x), atol=1e-5)
        True
    """

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, condition: ValuesLike = None) -> Tensor:
        """The log-probabilities of all values, (B, levels, C, H, W), in nats.

        Args:
            x: integers (B, C, H, W).
            condition: as for the model.
        """
        distribution = self.model(x, condition)
        return torch.stack(
            [distribution.log_pmf(x, channel) for channel in range(self.model.channels)], dim=2
        )
