"""Options that several commands share. Each is None unless given, so that defaults have one home, the library."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["DataOptions", "ModelOptions", "given", "parse_size"]


@dataclass(kw_only=True)
class DataOptions:
    """How pictures become integers."""

    size: str | None = None
    """Crop every picture to this side, or to HEIGHTxWIDTH, and average areas; by default 32 where pictures are larger
    than 64 or differ in size."""
    levels: int | None = None
    """Quantise to so many levels."""
    binarise: Literal["threshold", "draw"] | None = None
    """Reduce to two levels: from half on, or drawn once with the value as probability."""
    channels: int | None = None
    """1, 3 or 4; by default what the pictures have."""
    labels: Path | None = None
    """An .npy file of labels for an .npy file of images."""
    validation: float | None = None
    """Share (below 1) or number of training images that become the validation split, if there is none."""
    test: float | None = None
    """The same for the test split."""
    split_seed: int | None = None
    """Which split, and which draw."""

    def keywords(self) -> dict[str, Any]:
        """The keywords of `load_data` that were given."""
        keywords = given(self)
        if self.size is not None:
            keywords["size"] = parse_size(self.size)
        if "split_seed" in keywords:
            keywords["seed"] = keywords.pop("split_seed")
        for name in ("validation", "test"):
            if keywords.get(name, 0) >= 1:
                keywords[name] = int(keywords[name])
        return keywords


@dataclass(kw_only=True)
class ModelOptions:
    """What is trained: a Gated PixelCNN."""

    features: int | None = None
    """Feature maps per stack, a multiple of the colours."""
    layers: int | None = None
    """Gated layers."""
    kernel_size: int | None = None
    """Side of the kernels, odd."""
    first_kernel_size: int | None = None
    """Side of the first layer's kernel, odd; by default kernel_size."""
    head_features: int | None = None
    """Width of the head; by default features."""
    skip: bool | None = None
    """Connect every layer to the head."""
    dropout: float | None = None
    """Share of gated features dropped in training."""
    head: Literal["softmax", "bernoulli"] | None = None
    """Output distribution; by default bernoulli for two levels."""


def parse_size(text: str) -> tuple[int, int]:
    """A side such as 32, or 48x64 for height and width."""
    sides = text.lower().replace("×", "x").split("x")
    if not (len(sides) in (1, 2) and all(side.isdecimal() and int(side) > 0 for side in sides)):
        raise ValueError(f"--size {text} is no size; use one side such as 32, or height and width such as 48x64")
    return int(sides[0]), int(sides[-1])


def given(options: object) -> dict[str, Any]:
    """The fields of a dataclass that are not None."""
    return {name: value for name, value in asdict(options).items() if value is not None}  # type: ignore[call-overload]
