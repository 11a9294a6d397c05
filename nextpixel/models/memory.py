"""How much of a picture a pass may compute at once."""

from nextpixel.conditions.kinds import MapCondition, of_kind
from nextpixel.models.core import AutoregressiveModel

__all__ = ["rows_per_pass"]

_BYTES_PER_PASS = 1 << 29
"""What a pass may hold at once. Smaller passes are slower only below a tenth of it."""


def rows_per_pass(model: AutoregressiveModel, batch: int, width: int) -> int:
    """How many rows of a batch can be computed at once in half a gigabyte; at least one.

    Counted are the widest maps of the network, all that biases its layers, and three copies of the
    outputs.
    """
    settings, maps = model.settings, of_kind(model.conditions, MapCondition).values()
    one_hot = sum(3 * part.maps * (part.levels or 0) // part.scale**2 for part in maps)
    widths = model.encoder.widths if model.encoder is not None else None
    biases = 0 if widths is None else 3 * (widths.maps + widths.positions) + 2 * settings.maps
    outputs = model.head_out.weight.shape[0]
    floats = max(settings.maps_at_once + one_hot + biases, settings.maps + 3 * outputs)
    return max(1, _BYTES_PER_PASS // (batch * width * floats * model.dtype.itemsize))
