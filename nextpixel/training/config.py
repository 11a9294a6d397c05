"""How to train: lengths, batches, optimiser and schedule, checked before any work starts."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["LENGTHS", "MAY_CHANGE", "TrainConfig", "learning_rate", "total_steps"]

LENGTHS = ("steps", "epochs", "minutes")

MAY_CHANGE = (
    *LENGTHS,
    "learning_rate",
    "warmup_steps",
    "clip_norm",
    "precision",
    "recompute",
    "evaluate_every",
    "patience",
)
"""What may be another when a run is resumed: its length, and what mends a run that diverged."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Give one of `steps`, `epochs` and `minutes`; none of them means ten minutes.

    Args:
        steps: length as a number of updates.
        epochs: length as a number of passes over the training split.
        minutes: length in wall-clock time, evaluations included except for the last one.
        batch_size: images per update, over all processes.
        accumulate: parts in which each process computes its share of a batch, to save memory; the
            result is the same.
        objective: "probability" of the integers, or "density" of dequantised images, x + uniform
            noise, for a head that has a density of its own ("logistic"): the papers' continuous
                alternative. Validations are of the former,
            for which such a model's draws are rounded.
        optimizer: "muon", which learns most from an image (see `nextpixel.training.muon`), "adamw",
            or "rmsprop" as in the papers.
        learning_rate: its highest value; None for 0.01 with Muon, 0.001 with the others. For more
            than a few thousand updates with Muon take 0.003: see experiments/LOG.md.
        weight_decay: decoupled for Muon and AdamW, an L2 penalty for RMSProp; not on biases, those
            of conditions included.
        warmup_steps: updates in which the learning rate rises linearly; None for a tenth of the
            run, at most 100.
        schedule: "cosine" falls to zero over the run (over its minutes, if that is its length);
            "constant" stays.
        clip_norm: greatest norm of the gradient, which is that of the loss in bits/dim; None for no
            limit.
        ema_decay: decay per step of the averaged weights, which are validated and saved as the
            best; 0 for no average. It rises as min(ema_decay, (1 + t) / (10 + t)), so that short
            runs forget their initial weights.
        precision: "bf16" computes in bfloat16 where that is safe (autocast); "auto" does so where
            there is hardware for it. Log-probabilities are always float32.
        recompute: compute each layer's maps again in the backward pass instead of keeping them: two
            to seven times less memory, about a quarter more time, the same gradients.
        channels_last: memory layout of the feature maps, which makes convolutions faster on most
            hardware.
        crop: side of the random windows to train on, in pixels; None for whole images.
        flip: mirror images left to right at random. The likelihood is then that of the mirrored
            data, too.
        condition_dropout: share of images whose conditions are unknown to the model in a step, so
            that it is the unconditional model, too; of several conditions, each of the others is
            with the same probability. For an auto-encoder, whose code is.
        seed: of all that is random in training; not of the model's initial weights.
        evaluate_every: updates between validations; None for about twenty in a run, fewer where
            they would take more than a fifth of the `minutes`.
        patience: stop after so many validations in a row without a new best; None to go on.

    Raises:
        ValueError: a value is out of range.
    """

    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    accumulate: int = 1
    objective: Literal["probability", "density"] = "probability"
    optimizer: Literal["muon", "adamw", "rmsprop"] = "muon"
    learning_rate: float | None = None
    weight_decay: float = 0.0
    warmup_steps: int | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float | None = 1.0
    ema_decay: float = 0.999
    precision: Literal["auto", "float32", "bf16"] = "auto"
    recompute: bool = False
    channels_last: bool = True
    crop: int | None = None
    flip: bool = False
    condition_dropout: float = 0.0
    seed: int = 0
    evaluate_every: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in LENGTHS}
        given = {name: value for name, value in lengths.items() if value is not None}
        if len(given) > 1:
            received = " and ".join(f"{name}={value}" for name, value in given.items())
            raise ValueError(f"give only one of steps, epochs and minutes; received {received}")
        if not given:
            object.__setattr__(self, "minutes", 10.0)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", 1e-2 if self.optimizer == "muon" else 1e-3)
        for name in (
            "steps",
            "epochs",
            "batch_size",
            "accumulate",
            "crop",
            "evaluate_every",
            "patience",
        ):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} (={value}) must be a whole number of at least 1")
        for name in ("minutes", "learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} (={value}) must be more than 0")
        for name in ("warmup_steps", "weight_decay", "seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**63:
                raise ValueError(f"{name} (={value}) must not be negative")
        for name in ("ema_decay", "condition_dropout"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} (={value}) must be at least 0 and less than 1")
        choices = {
            "objective": ("probability", "density"),
            "optimizer": ("muon", "adamw", "rmsprop"),
            "schedule": ("cosine", "constant"),
            "precision": ("auto", "float32", "bf16"),
        }
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} (={value!r}) must be {' or '.join(map(repr, allowed))}")
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate (={self.accumulate}) must be at most batch_size (={self.batch_size}):"
                " no part may be empty"
            )


def total_steps(config: TrainConfig, images: int) -> int | None:
    """Updates in the whole run; None if its length is in minutes."""
    if config.epochs is not None:
        return -(-config.epochs * images // config.batch_size)
    return config.steps


def learning_rate(config: TrainConfig, step: int, progress: float, total: int | None) -> float:
    """That of the update after `step` updates, when the share `progress` of the run is done."""
    warmup = (
        config.warmup_steps
        if config.warmup_steps is not None
        else 100
        if total is None
        else min(100, total // 10)
    )
    assert config.learning_rate is not None  # it has become a number
    rate = config.learning_rate * min(1.0, (step + 1) / (warmup + 1))
    return rate * 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else rate
