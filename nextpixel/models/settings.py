"""Which model to build: the options of every family in one value, for those who do not call a constructor.

Each option is one field with its type, help text (the docstring under it) and check; the command
line makes its options of them. What is None is chosen to suit the data when the model is built.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from nextpixel.errors import UsageError

__all__ = ["ModelSettings"]

_LAYERS = frozenset(
    {
        "features",
        "layers",
        "kernel_size",
        "first_kernel_size",
        "head_features",
        "position_waves",
        "value_features",
        "skip",
        "dropout",
        "head",
    }
)
_CODE = frozenset({"code_size", "encoder_features"})
_APPLY = {
    "gated-pixel-cnn": _LAYERS | {"scale"},
    "pixel-cnn": _LAYERS | {"scale", "residual", "gated"},
    "row-lstm": _LAYERS | {"scale", "residual"},
    "diagonal-bilstm": _LAYERS | {"scale", "residual", "complete_context"},
    "pixel-cnn-autoencoder": _LAYERS | _CODE | {"variational", "free_bits"},
    "convolutional-autoencoder": _CODE,
}
"""Which fields mean something to which model."""

_LARGEST = {"layers": 1_000, "position_waves": 1_000, "scale": 1_000}
_LARGEST |= {"kernel_size": 999, "first_kernel_size": 999}
_WIDEST = 100_000


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model to build.

    Raises:
        UsageError: a value is out of range, or means nothing to the model.
    """

    model: Literal[
        "gated-pixel-cnn",
        "pixel-cnn",
        "row-lstm",
        "diagonal-bilstm",
        "pixel-cnn-autoencoder",
        "convolutional-autoencoder",
    ] = "gated-pixel-cnn"
    """The kind of model. The decoder of pixel-cnn-autoencoder is a gated-pixel-cnn."""
    scale: int | None = None
    """Multi-scale: model every SCALE-th row and column first, then the other pixels given those,
    both with the same kind of model. Default: a single scale."""
    features: int | None = None
    """Feature maps per stack or layer, a multiple of the channels. Default: 48 for gated-pixel-cnn,
    32 for the others, rounded up."""
    layers: int | None = None
    """Number of layers. Default: 8 for gated-pixel-cnn, 7 for the others."""
    kernel_size: int | None = None
    """Side of the kernels, odd. Default: 5 for gated-pixel-cnn, 3 for the others. A diagonal-bilstm
    has only the first one."""
    first_kernel_size: int | None = None
    """Side of the first layer's kernel, odd. Default: the kernel size for gated-pixel-cnn, 7 for
    the others."""
    head_features: int | None = None
    """Width of the head. Default: the features for gated-pixel-cnn, twice as many for the others."""
    head: Literal["softmax", "bernoulli", "logistic"] | None = None
    """Output distribution; logistic is a discretised mixture of ten. Default: bernoulli for two
    levels, softmax otherwise."""
    dropout: float = 0.0
    """Share of features dropped in training."""
    position_waves: int = 0
    """Tell every layer where in the image a pixel is, by this many cosine waves along each side.
    Helps with aligned images, such as digits or faces; the papers have none."""
    value_features: int | None = None
    """For categorical values, such as codes: the number of learned features of each value. Default:
    values are ordinal, such as brightness."""
    residual: bool | None = None
    """Whether layers add their input to their output. Default: yes; fixed for gated-pixel-cnn."""
    skip: bool = False
    """Connect every layer to the head."""
    gated: bool = False
    """For pixel-cnn: gated activations instead of ReLUs."""
    complete_context: bool = False
    """For diagonal-bilstm: let it see the last pixel of the row above, which the published
    construction misses."""
    code_size: int | None = None
    """For auto-encoders: length of the code. Default: 10, as in the paper, which also has 100."""
    encoder_features: int | None = None
    """For auto-encoders: feature maps of the encoder's first convolution, doubled with each stride.
    Default: 32."""
    variational: bool = False
    """For pixel-cnn-autoencoder: make the code a latent variable with a prior, to draw new images
    without encoding any."""
    free_bits: float = 0.0
    """For a variational auto-encoder: bits of each entry of the code that cost nothing in
    training."""

    def __post_init__(self) -> None:
        if self.model not in _APPLY:
            raise UsageError(
                f"‹model={self.model!r}› must be one of {', '.join(map(repr, _APPLY))}"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "model" or value == field.default:
                continue
            if field.name not in _APPLY[self.model]:
                raise UsageError(
                    f"‹{field.name}› does not apply to ‹model={self.model!r}›; leave it out"
                )
            if isinstance(value, int) and not isinstance(value, bool):
                _check_number(field.name, value)
        if not 0 <= self.dropout < 1:
            raise UsageError(f"‹dropout={self.dropout}› must be at least 0 and less than 1")
        if not 0 <= self.free_bits < math.inf or (self.free_bits and not self.variational):
            raise UsageError(
                f"‹free_bits={self.free_bits}› must not be negative, and goes with ‹variational=True›"
            )

    def keywords(self) -> dict[str, Any]:
        """The keywords of the model's constructor that are not its defaults."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if name not in ("model", "scale") and value != defaults[name]
        }


def _check_number(name: str, value: int) -> None:
    least = 2 if name == "scale" else 1
    if value < least:
        more = "; leave it out for a single scale" if name == "scale" else ""
        raise UsageError(f"‹{name}={value}› must be at least {least}{more}")
    if value > (most := _LARGEST.get(name, _WIDEST)):
        raise UsageError(f"‹{name}={value}› must be at most {most:,}")
    if "kernel_size" in name and (value < 3 or value % 2 == 0):
        raise UsageError(f"‹{name}={value}› must be an odd number of at least 3")
