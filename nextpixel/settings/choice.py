"""Which model to build for a data set, as one value, for callers who do not call a constructor.

The options of the four networks are the fields of their settings (`nextpixel.settings.networks`).
The options of what surrounds a network, several scales or an encoder, are here. This module does
not load torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from nextpixel.errors import UsageError
from nextpixel.settings.networks import (
    DiagonalBiLSTMSettings,
    GatedPixelCNNSettings,
    NetworkSettings,
    PixelCNNSettings,
    RowLSTMSettings,
)

__all__ = ["DECIDED_BY_DATA", "KINDS", "NETWORKS", "Kind", "ModelChoice"]

Kind: TypeAlias = Literal["codes", "tiles", "binary", "photograph"]

NETWORKS: dict[str, type[NetworkSettings]] = {
    "gated-pixel-cnn": GatedPixelCNNSettings,
    "pixel-cnn": PixelCNNSettings,
    "row-lstm": RowLSTMSettings,
    "diagonal-bilstm": DiagonalBiLSTMSettings,
}
DECIDED_BY_DATA = ("channels", "levels", "condition")
"""Keywords of a network that follow from the data."""

KINDS: dict[Kind, dict[str, int]] = {
    "codes": {"value_features": 32},
    "tiles": {"value_features": 16},
    "binary": {},
    "photograph": {},
}
"""The defaults that a kind of grids sets in the network."""

_AROUND = {
    **dict.fromkeys(NETWORKS, frozenset({"scale"})),
    "pixel-cnn-autoencoder": frozenset(
        {"code_size", "encoder_features", "variational", "free_bits"}
    ),
    "convolutional-autoencoder": frozenset({"code_size", "encoder_features"}),
}
"""Which options around a network apply to which model."""


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The model to build. What it leaves open is chosen to suit the data.

    Raises:
        UsageError: a value is out of range, or does not apply to the model.

    Example:
        >>> ModelChoice(model="row-lstm", network={"gated": True})
        Traceback (most recent call last):
        nextpixel.errors.UsageError: gated= does not apply to model='row-lstm'; leave it out
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
    kind: Literal["auto", "codes", "tiles", "binary", "photograph"] = "auto"
    """The kind of grids, which sets defaults of the network: ``tiles`` and ``codes`` have
    categorical values (value_features=16, and 32 for codes); values of ``binary`` grids and
    ``photograph`` are ordinal. ``auto`` finds out."""
    scale: int | None = None
    """Multi-scale: model every SCALE-th row and column first, then the other pixels given those,
    both with the same kind of model. Default: a single scale."""
    code_size: int = 10
    """For auto-encoders: length of the code. The paper uses 10 and 100."""
    encoder_features: int = 32
    """For auto-encoders: feature maps of the encoder's first convolution, doubled with each
    stride."""
    variational: bool = False
    """For pixel-cnn-autoencoder: make the code a latent variable with a prior, to draw new images
    without encoding any."""
    free_bits: float = 0.0
    """For a variational auto-encoder: bits of each entry of the code that cost nothing in
    training."""
    network: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model not in _AROUND:
            kinds = ", ".join(map(repr, _AROUND))
            raise UsageError(f"‹model={self.model!r}› must be one of {kinds}")
        if self.kind not in ("auto", *KINDS):
            kinds = ", ".join(map(repr, ("auto", *KINDS)))
            raise UsageError(f"‹kind={self.kind!r}› must be one of {kinds}")
        apart = ("model", "kind", "network")
        around = {f.name: f.default for f in fields(self) if f.name not in apart}
        changed = [name for name, default in around.items() if getattr(self, name) != default]
        for name in (*changed, *self.network):
            if name not in _AROUND[self.model] | self._network_options():
                raise UsageError(f"‹{name}› does not apply to ‹model={self.model!r}›; leave it out")
        for name, least, most in (("code_size", 1, 2**14), ("encoder_features", 1, 2**14)):
            if not least <= getattr(self, name) <= most:
                raise UsageError(
                    f"‹{name}={getattr(self, name)}› must be between {least} and {most:,}"
                )
        if self.scale is not None and self.scale < 2:
            raise UsageError(
                f"‹scale={self.scale}› must be at least 2; leave it out for a single scale"
            )
        if not 0 <= self.free_bits < math.inf or (self.free_bits and not self.variational):
            raise UsageError(
                f"‹free_bits={self.free_bits}› must not be negative, and needs ‹variational=True›"
            )

    @property
    def network_class(self) -> str:
        """What the network is: the model, or its decoder."""
        return "gated-pixel-cnn" if self.model == "pixel-cnn-autoencoder" else self.model

    def _network_options(self) -> frozenset[str]:
        if self.network_class not in NETWORKS:
            return frozenset()
        return frozenset(f.name for f in fields(NETWORKS[self.network_class])) - {*DECIDED_BY_DATA}
