"""Which weights may stay: mask types A and B, with colours.

Pixel Recurrent Neural Networks (van den Oord et al., 2016), section 3.4. Every feature channel
belongs to one colour; the paper does not say which. Here they interleave: **channel k belongs to
colour k mod C**, and every width is a multiple of C. Splitting a convolution's output into 2 gates
or 4 LSTM gates then keeps colours apart, which blocks of channels per colour do not: a gate's slice
would hold the wrong colours, and the model would leak. Only the head's outputs, which are not split
again, come in blocks.

Only the centre tap of a kernel needs a mask. Rows above and pixels to the left are past for every
colour, so layers hold weights for those alone instead of masking the rest away.
"""

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpixel.settings.sizes import check_width

__all__ = ["MaskType", "colour_mask"]

MaskType = Literal["A", "B"]


def colour_mask(
    outputs: int,
    inputs: int,
    channels: int,
    mask_type: MaskType,
    *,
    output_blocks: bool = False,
    device: torch.device | None = None,
) -> Bool[Tensor, "outputs inputs"]:
    """Tells which output channel may read which input channel of the same pixel.

    Type "A" (the first layer) lets a colour read the earlier colours only; type "B" (all later
    layers) also itself.

    Args:
        outputs: output channels, a multiple of `channels`.
        inputs: input channels, a multiple of `channels`.
        channels: number of colours C; channel k belongs to colour k mod C.
        mask_type: "A" or "B".
        output_blocks: whether the outputs come in consecutive blocks, one per colour, instead of
            interleaved. For the last layer, whose outputs are not split again and are read colour
            by colour.
        device: where the mask is made; None for torch's default.

    Example:
        >>> colour_mask(3, 3, 3, "A").int().tolist()
        [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
        >>> colour_mask(6, 3, 3, "B").int().tolist()
        [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    check_width("outputs", outputs, channels)
    check_width("inputs", inputs, channels)
    order = torch.arange(outputs, device=device)[:, None]
    reader = order // (outputs // channels) if output_blocks else order % channels
    source = torch.arange(inputs, device=device)[None, :] % channels
    return source < reader if mask_type == "A" else source <= reader
