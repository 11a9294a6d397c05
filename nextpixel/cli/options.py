"""Options that several commands share. Each is None unless given, so that defaults have one home,
the library.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nextpixel.data.preparation import Preparation
    from nextpixel.data.source import Source

__all__ = [
    "BesideOptions",
    "DataOptions",
    "ModelOptions",
    "TrainOptions",
    "flag",
    "given",
    "parse_size",
]


_OF_SOURCE = "labels", "vectors", "captions", "maps", "embedding"


@dataclass(kw_only=True)
class DataOptions:
    """How pictures become integers."""

    size: str | None = None
    """Crop every picture to this side, or to HEIGHTxWIDTH, and average areas; by default 32 where
    pictures are larger than 64 or differ in size."""
    levels: int | None = None
    """Quantise to so many levels."""
    binarise: Literal["threshold", "draw"] | None = None
    """Reduce to two levels: from half on, or drawn once with the value as probability."""
    from_levels: int | None = None
    """How many levels the stored values have, where an array's values do not tell."""
    channels: int | None = None
    """1, 3 or 4; by default what the pictures have."""
    labels: Path | None = None
    """An .npy file of labels for an .npy file of images."""
    ignore_labels: bool | None = None
    """Take no notice of labels or of sub-folders' names."""
    vectors: Path | None = None
    """A vector for each picture: an .npy file in their order, or a .csv table with a column file.
    """
    captions: Path | None = None
    """A text for each picture: a .txt file with a line each, or a .csv table with the columns file
    and text."""
    text_encoder: str | None = None
    """MODULE:FUNCTION that makes vectors of captions; by default which of the most frequent words
    they hold."""
    embedding: Path | None = None
    """A checkpoint of nextpixel embed: condition on its vectors of the pictures, and test on
    classes it never saw."""
    maps: Path | None = None
    """A map for each picture: an .npy file in their order, or a folder of pictures that are called
    the same."""
    validation: float | None = None
    """Share (below 1) or number of training images that become the validation split, if there is
    none."""
    test: float | None = None
    """The same for the test split."""
    split_seed: int | None = None
    """Which split, and which draw."""

    def keywords(self) -> dict[str, Any]:
        """The fields of `Source` and `Preparation` that were given."""
        return given(self) | ({} if self.size is None else {"size": parse_size(self.size)})

    def source(self, images: str) -> "Source":
        """Images, and what was given that belongs to them."""
        from nextpixel.data.source import Source

        return Source(images, **{name: getattr(self, name) for name in _OF_SOURCE})

    def preparation(self, **defaults: Any) -> "Preparation":
        """What was given of the preparation; defaults for what was not."""
        from nextpixel.data.preparation import Preparation

        keywords = {k: v for k, v in self.keywords().items() if k not in _OF_SOURCE}
        return Preparation(**defaults | keywords)


@dataclass(kw_only=True)
class BesideOptions:
    """What stands beside the pictures of --data, for a model that is conditioned on it."""

    vectors: Path | None = None
    """A vector for each picture of --data: an .npy file in their order, or a .csv table with a
    column file."""
    captions: Path | None = None
    """A text for each picture of --data: a .txt file with a line each, or a .csv table of file and
    text."""
    maps: Path | None = None
    """A map for each picture of --data: an .npy file in their order, or a folder of pictures called
    the same."""
    text_encoder: str | None = None
    """MODULE:FUNCTION that made vectors of the captions in training, if it was not the bag of
    words."""
    embedding: Path | None = None
    """For a model trained with --embedding: where that checkpoint is now, if it was moved."""


@dataclass(kw_only=True)
class ModelOptions:
    """What is trained."""

    model: (
        Literal[
            "gated-pixel-cnn",
            "pixel-cnn",
            "row-lstm",
            "diagonal-bilstm",
            "pixel-cnn-autoencoder",
            "convolutional-autoencoder",
        ]
        | None
    ) = None
    """The kind of model; by default gated-pixel-cnn, which is also the decoder of
    pixel-cnn-autoencoder."""
    code_size: int | None = None
    """For auto-encoders: length of the code; by default 10, as in the paper, which also has 100."""
    encoder_features: int | None = None
    """For auto-encoders: feature maps of the encoder's first convolution; by default 32, doubled
    with each stride."""
    variational: bool | None = None
    """For pixel-cnn-autoencoder: make the code a latent variable with a prior, to draw new pictures
    without any."""
    free_bits: float | None = None
    """For --variational: bits of each entry of the code that cost nothing in training; by default
    0."""
    scale: int | None = None
    """Multi-scale: draw every SCALE-th row and column first, by a model of the same kind, then the
    rest given those."""
    features: int | None = None
    """Feature maps: per stack of gated-pixel-cnn, h of the others; a multiple of the colours."""
    layers: int | None = None
    """Layers."""
    kernel_size: int | None = None
    """Side of the kernels, odd."""
    first_kernel_size: int | None = None
    """Side of the first layer's kernel, odd; by default kernel_size for gated-pixel-cnn, 7 for the
    others."""
    head_features: int | None = None
    """Width of the head; by default features for gated-pixel-cnn, twice that for the others."""
    position_waves: int | None = None
    """Tell every layer where in the picture a pixel is, by so many cosine waves along each side:
    for aligned pictures, such as digits or faces; by default 0, not at all, as published."""
    value_features: int | None = None
    """For values that are names, such as codes, and not amounts: how many learned features each
    becomes."""
    residual: bool | None = None
    """Whether layers add their input to their output; not for gated-pixel-cnn, where it is fixed.
    """
    skip: bool | None = None
    """Connect every layer to the head."""
    dropout: float | None = None
    """Share of features dropped in training."""
    gated: bool | None = None
    """For pixel-cnn: gates in place of ReLUs."""
    complete_context: bool | None = None
    """For diagonal-bilstm: close the gap that leaves the last pixel of the row above unseen."""
    head: Literal["softmax", "bernoulli", "logistic"] | None = None
    """Output distribution; by default bernoulli for two levels, otherwise softmax; logistic is a
    mixture of ten."""


@dataclass(kw_only=True)
class TrainOptions:
    """How it is trained: the fields of `TrainConfig`."""

    steps: int | None = None
    """Length as a number of updates."""
    epochs: int | None = None
    """Length as a number of passes over the training split."""
    minutes: float | None = None
    """Length in wall-clock time; 10 if no length is given."""
    batch_size: int | None = None
    """Images per update, over all processes; by default 32."""
    accumulate: int | None = None
    """Parts in which a batch is computed, to save memory; the result is the same."""
    objective: Literal["probability", "density"] | None = None
    """By default probability, of the integers; density is that of dequantised images, for --head
    logistic."""
    optimizer: Literal["muon", "adamw", "rmsprop"] | None = None
    """By default muon, which learns most from an image; the papers used rmsprop."""
    learning_rate: float | None = None
    """Its highest value; by default 0.01 for muon (better 0.003 for many thousands of updates),
    otherwise 0.001."""
    weight_decay: float | None = None
    """Decoupled for muon and adamw, an L2 penalty for rmsprop, not on biases; by default 0."""
    warmup_steps: int | None = None
    """Updates in which the learning rate rises; by default a tenth of the run, at most 100."""
    schedule: Literal["cosine", "constant"] | None = None
    """By default cosine: the learning rate falls to zero over the run."""
    clip_norm: float | None = None
    """Greatest norm of the gradient; by default 1."""
    ema_decay: float | None = None
    """Decay per step of the averaged weights, which are validated and kept; by default 0.999, 0 for
    no average."""
    precision: Literal["auto", "float32", "bf16"] | None = None
    """By default auto: bf16 where there is hardware for it; likelihoods are always float32."""
    recompute: bool | None = None
    """Compute each layer's maps again in the backward pass: less memory, a quarter more time, the
    same result."""
    channels_last: bool | None = None
    """Memory layout of the feature maps; by default channels last, usually the faster one."""
    crop: int | None = None
    """Train on random windows of this side, of pictures of any sizes."""
    flip: bool | None = None
    """Mirror images left to right at random; the likelihood is then that of the mirrored data, too.
    """
    condition_dropout: float | None = None
    """Share of pictures whose condition is kept from the model, so that it is the unconditional
    model, too."""
    seed: int | None = None
    """Of the initial weights and of all that is random in training; by default 0."""
    evaluate_every: int | None = None
    """Updates between validations; by default about twenty in a run."""
    patience: int | None = None
    """Stop after so many validations in a row without a new best."""


def parse_size(text: str) -> tuple[int, int]:
    """A side such as 32, or 48x64 for height and width."""
    sides = text.lower().replace("×", "x").split("x")
    if not (len(sides) in (1, 2) and all(side.isdecimal() and int(side) > 0 for side in sides)):
        raise ValueError(
            f"--size {text} is no size; use one side such as 32, or height and width such as 48x64"
        )
    return int(sides[0]), int(sides[-1])


def flag(name: str) -> str:
    """The option of that field on the command line."""
    return f"--{name.replace('_', '-')}"


def given(options: object) -> dict[str, Any]:
    """The fields of a dataclass that are not None."""
    return {name: value for name, value in asdict(options).items() if value is not None}  # type: ignore[call-overload]
