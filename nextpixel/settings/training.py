"""How to train: lengths, batches, optimiser and schedule, checked before any work starts.

Each option is one field: its name, type, default, help text (the docstring under it) and check are
here and nowhere else. Python users give the fields as keywords; `nextpixel train` turns them into
options, on the command line and in a TOML file.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args, get_type_hints

from nextpixel.arguments import is_number, plain, shown
from nextpixel.errors import UsageError

__all__ = [
    "LENGTHS",
    "MAY_CHANGE",
    "EmbeddingConfig",
    "TrainConfig",
    "highest_rate",
    "learning_rate",
    "total_steps",
    "usual_rate",
]

LENGTHS = ("steps", "epochs", "minutes")

MAY_CHANGE = (
    *LENGTHS,
    "learning_rate",
    "warmup_steps",
    "clip_norm",
    "precision",
    "recompute",
    "accumulate",
    "evaluate_every",
    "patience",
)
"""What may change when a run is resumed: its length, what rescues a run that diverged, and into how
many parts a batch is divided to fit into memory."""

_WARMUP, _WARMUP_SHARE = 100, 0.1
_MOST = 10**9
"""More updates or epochs than this are a typing error."""
_MOST_IMAGES = 10**5
"""More images per batch than this are a typing error, too."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Give one of `steps`, `epochs` and `minutes`; the default is ten minutes.

    Raises:
        UsageError: a value is out of range.
    """

    steps: int | None = None
    """Length as a number of updates."""
    epochs: int | None = None
    """Length as a number of passes over the training split."""
    minutes: float | None = None
    """Length in minutes of wall-clock time, validations included except for the last one. The
    default length is 10 minutes."""
    batch_size: int = 32
    """Images per update, over all processes."""
    accumulate: int = 1
    """Parts in which each process computes its share of a batch: less memory, the same result. Only
    the noise of dropout and of variational codes is drawn anew, and ``free_bits`` are counted in
    each part."""
    objective: Literal["probability", "density"] = "probability"
    """What to maximise: the probability of the integers, or the density of dequantised images (x
    plus uniform noise), which needs a logistic head. Validation always measures probability."""
    optimizer: Literal["muon", "adamw", "rmsprop"] = "muon"
    """muon was slightly ahead of adamw on the digits after 300 updates; rmsprop is what the papers
    use."""
    learning_rate: float | None = None
    """Highest learning rate. Default: 0.01 for muon, 0.001 for the others; but ``nextpixel train``
    takes the square root of 0.2 / updates for muon, at least 0.003 and at most 0.02, unless it
    fine-tunes a model."""
    weight_decay: float = 0.0
    """Decoupled for muon and adamw, an L2 penalty for rmsprop. Biases do not decay."""
    warmup_steps: int | None = None
    """Updates during which the learning rate rises linearly. Default: a tenth of the run, or 100 if
    these are fewer."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rate falls to zero over the run as a cosine, or stays constant."""
    clip_norm: float | None = 1.0
    """Largest norm of the gradient of the loss in bits/dim."""
    ema_decay: float = 0.999
    """Decay per step of the averaged weights, which are validated and kept; 0 for no average. It
    starts lower, so that short runs forget their initial weights."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """bf16 computes in bfloat16 where that is safe; auto does so if the hardware multiplies it
    faster than float32, except for more than 256 ordinal levels, which bfloat16 does not tell
    apart. Likelihoods are always float32."""
    recompute: bool = False
    """Recompute the feature maps of each layer of a network in the backward pass: less memory, the
    time of about one more forward pass, the same result. Encoders, deconvolutions and modules of
    your own keep theirs."""
    channels_last: bool = True
    """Store feature maps with the channels last, which is usually faster with bf16."""
    crop: int | None = None
    """Train on random windows of this side, in pixels. Default: whole images, except that
    ``nextpixel train`` takes windows of at most 64 from arrays of large images."""
    flip: bool = False
    """Mirror images left to right at random. The model is then one of the images and their mirror
    images."""
    condition_dropout: float = 0.0
    """Share of images whose condition is hidden in training, so that the model is an unconditional
    one, too. With several conditions, each is also hidden alone, equally often."""
    condition_noise: float = 0.0
    """Standard deviation of Gaussian noise that is added to vectors in training, in standard
    deviations of each entry: the model then relies less on the vectors of single training
    images."""
    value_noise: float = 0.0
    """Share of sub-pixels that are replaced in training by uniformly random values. The model then
    learns little but background statistics, for ``nextpixel score --background`` (Ren et al.,
    2019). Validation uses the images as they are."""
    seed: int = 0
    """Seed of the initial weights and of everything random in training."""
    evaluate_every: int | None = None
    """Updates between validations. Default: about twenty validations in a run."""
    patience: int | None = None
    """Stop after this many validations in a row without a new best. Default: never."""

    def __post_init__(self) -> None:
        given = [f"‹{name}={getattr(self, name)}›" for name in LENGTHS if _is_set(self, name)]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} both set the length; give only one of them")
        if not given:
            object.__setattr__(self, "minutes", 10.0)
        counts = ("steps", "epochs", "evaluate_every", "patience")
        _check_whole(self, counts, least=1)
        _check_whole(self, ("batch_size", "accumulate", "crop"), least=1, most=_MOST_IMAGES)
        _check_whole(self, ("warmup_steps",), least=0)
        _check_whole(self, ("seed",), least=0, most=2**63 - 1)
        _check_positive(self, ("minutes", "learning_rate", "clip_norm"))
        _check_shares(self, ("ema_decay", "condition_dropout", "value_noise"))
        _check_choices(self)
        _check_not_negative(self, ("weight_decay", "condition_noise"))
        if self.minutes is not None and self.minutes > _MOST:
            raise UsageError(f"‹minutes={self.minutes:g}› must be at most {_MOST:,}")
        if self.accumulate > self.batch_size:
            raise UsageError(
                f"‹accumulate={self.accumulate}› must be at most ‹batch_size={self.batch_size}›: no"
                " part may be empty"
            )


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """How an embedding of labelled images is trained, by triplets.

    Raises:
        UsageError: a value is out of range.
    """

    steps: int = 2000
    """Number of updates."""
    classes: int = 16
    """Classes in a batch."""
    each: int = 4
    """Images of each class in a batch."""
    margin: float = 0.2
    """By how much other classes should be further away, in squared distance, at most 4."""
    learning_rate: float = 1e-3
    """Highest learning rate, from which it falls to zero as a cosine."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    flip: bool = False
    """Mirror images left to right at random."""
    shift: int = 0
    """Shift images at random by up to this many pixels, repeating their border."""
    seed: int = 0
    """Seed of the held-out classes, the initial weights and everything random in training."""

    def __post_init__(self) -> None:
        _check_whole(self, ("steps",), least=1)
        _check_whole(self, ("classes", "each"), least=2, most=10_000)
        _check_whole(self, ("shift",), least=0, most=10_000)
        _check_whole(self, ("seed",), least=0, most=2**62)
        _check_positive(self, ("margin", "learning_rate"))
        if self.margin > 4:
            raise UsageError(f"‹margin={self.margin}› must be at most 4")
        _check_not_negative(self, ("weight_decay",))


def total_steps(config: TrainConfig, images: int) -> int | None:
    """Updates in the whole run; None if its length is in minutes."""
    if config.epochs is not None:
        return -(-config.epochs * images // config.batch_size)
    return config.steps


def usual_rate(optimizer: str, updates: int | None = None) -> float:
    """The default of the highest learning rate, where it is known for a run of so many updates.

    The longer a run, the more the weights of hidden matrices grow under Muon, and the worse it
    bears a high rate: docs/decisions/0013.
    """
    if optimizer != "muon":
        return 1e-3
    return 1e-2 if updates is None else min(0.02, max(0.003, math.sqrt(0.2 / updates)))


def highest_rate(config: TrainConfig) -> float:
    """The highest learning rate of a configuration, or the usual one."""
    return config.learning_rate or usual_rate(config.optimizer)


def learning_rate(config: TrainConfig, step: int, progress: float, total: int | None) -> float:
    """The learning rate after `step` updates, when a share `progress` of the run is done."""
    warmup = config.warmup_steps
    if warmup is None:
        warmup = _WARMUP if total is None else min(_WARMUP, int(_WARMUP_SHARE * total))
    risen = (step + 1) / (warmup + 1)
    if config.warmup_steps is None and total is None:
        risen = max(risen, progress / _WARMUP_SHARE)
    rate = highest_rate(config) * min(1.0, risen)
    return rate * 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else rate


def _is_set(config: Any, name: str) -> bool:
    return getattr(config, name) is not None


def _plain(config: Any, name: str) -> Any:
    """The value of a field, in whose place a number of Python comes if it is one of numpy."""
    value = plain(getattr(config, name))
    object.__setattr__(config, name, value)
    return value


def _check_whole(config: Any, names: Iterable[str], *, least: int, most: int = _MOST) -> None:
    """Raises unless the fields that are set hold integers of that range."""
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        if not (isinstance(value, Integral) and is_number(value)) or int(value) < least:
            raise UsageError(f"‹{name}={shown(value)}› must be a whole number of at least {least}")
        object.__setattr__(config, name, int(value))  # an integer of numpy is not JSON
        if value > most:
            raise UsageError(f"‹{name}={value}› must be at most {most:,}")


def _check_positive(config: Any, names: Iterable[str]) -> None:
    for name in names:
        if not _is_set(config, name):
            continue
        if not (is_number(value := _plain(config, name)) and 0 < value < math.inf):
            raise UsageError(f"‹{name}={shown(value)}› must be more than 0 and finite")


def _check_not_negative(config: Any, names: Iterable[str]) -> None:
    for name in names:
        if not (is_number(value := _plain(config, name)) and 0 <= value < math.inf):
            raise UsageError(f"‹{name}={shown(value)}› must not be negative")


def _check_shares(config: Any, names: Iterable[str]) -> None:
    for name in names:
        if not (is_number(value := _plain(config, name)) and 0 <= value < 1):
            raise UsageError(f"‹{name}={shown(value)}› must be at least 0 and less than 1")


def _check_choices(config: Any) -> None:
    """Raises unless every field of a Literal type holds one of its values."""
    for name, kind in get_type_hints(type(config)).items():
        choices = get_args(kind)
        if choices and isinstance(choices[0], str) and getattr(config, name) not in choices:
            words = " or ".join(map(repr, choices))
            raise UsageError(f"‹{name}={getattr(config, name)!r}› must be {words}")
