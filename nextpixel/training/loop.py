"""Training: maximum likelihood, as a generator that yields steps; the caller owns the loop.

::

    state = initial_state(model, config)
    for step in train(state, data, config):
        print(step.step, step.bits_per_dim)

The loss is the mean of -log2 p(sub-pixel | past), in bits/dim. Everything random, which is the
order of images, windows, mirrors, orders and dropout, is a pure function of (seed, step, rank). So
only `TrainState` has to be saved, and on the CPU a run that is stopped and resumed gives bitwise
the weights of one that never stopped. torch's own random state does not change. With several
processes (torchrun), each takes its share of every batch; DistributedDataParallel averages the
gradients, weighted so that the result is that of one process with the whole batch.
"""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nextpixel.arguments import instance_of
from nextpixel.conditions.values import Values
from nextpixel.data.splits import ImageData, Split
from nextpixel.devices import multiplies_bf16, seeded
from nextpixel.errors import UsageError
from nextpixel.layers.conditioning import ConditionEncoder
from nextpixel.layers.layout import laid_out, lay_out
from nextpixel.models.trainable import Trainable
from nextpixel.models.wrapping import trainable
from nextpixel.scoring import dequantised
from nextpixel.settings.training import TrainConfig, highest_rate, learning_rate, total_steps
from nextpixel.training.batches import dropout_seed, training_parts
from nextpixel.training.compatibility import check_fit, check_weights
from nextpixel.training.distributed import rank_and_processes
from nextpixel.training.evaluation import evaluate, validation_of
from nextpixel.training.modes import training_mode
from nextpixel.training.muon import Muon

__all__ = [
    "Step",
    "TrainConfig",
    "TrainState",
    "TrainingError",
    "initial_state",
    "train",
]

Model = TypeVar("Model", bound=Trainable)

_EVALUATIONS, _LEVELS_OF_BF16 = 20, 256  # bfloat16 has eight bits of mantissa


class TrainingError(UsageError):
    """The loss or its gradient is no longer a finite number."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One update.

    Attributes:
        step: its number, from 1.
        progress: the share of the run that is done, 0 … 1.
        bits_per_dim: the loss on its batch, before the update.
        learning_rate: that of the update.
        gradient_norm: before clipping.
        seconds: wall-clock time of the run so far, earlier parts of a resumed run included.
        valid_bits_per_dim: of the averaged weights on the validation split, if they were evaluated
            after this update; of several orders the mean.
        improved: whether the averaged weights are the best so far: they were evaluated with the
            best result, or should have been evaluated and there is no validation split.
    """

    step: int
    progress: float
    bits_per_dim: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    valid_bits_per_dim: float | None = None
    improved: bool = False


@dataclass(kw_only=True, eq=False)
class TrainState(Generic[Model]):
    """All that training changes, and all that it needs to continue as if it had never stopped.

    Attributes:
        model: the weights being trained.
        average: the model with the exponential moving average of the weights.
        optimizer: with its moments.
        step: updates done.
        seconds: wall-clock time so far.
        best_bits_per_dim: the lowest on the validation split so far.
        stale: validations since then.
        next_evaluation: seconds at which the next validation is due, if the length of the run is in
            minutes.
    """

    model: Model
    average: Model
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    best_bits_per_dim: float | None = None
    stale: int = 0
    next_evaluation: float = 0.0


@overload
def initial_state(model: Model, config: TrainConfig) -> TrainState[Model]: ...
@overload
def initial_state(model: nn.Module, config: TrainConfig) -> TrainState[Any]: ...
def initial_state(model: nn.Module, config: TrainConfig) -> TrainState[Any]:
    """The state before the first step of a model, or of a module as for `as_model`."""
    model = trainable(instance_of("model", model, nn.Module))
    instance_of("config", config, TrainConfig)
    check_weights(model)
    average = copy.deepcopy(model).requires_grad_(False).eval()
    return TrainState(model=model, average=average, optimizer=_optimizer(model, config))


def _optimizer(model: Trainable, config: TrainConfig) -> torch.optim.Optimizer:
    rate = highest_rate(config)
    if config.optimizer == "muon":
        return Muon(model, lr=rate, weight_decay=config.weight_decay)
    decayed = [p for name, p in model.named_parameters() if "bias" not in name]
    others = [p for name, p in model.named_parameters() if "bias" in name]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": config.weight_decay}]
    groups.append({"params": others})
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, fused=True)
    return torch.optim.RMSprop(groups, lr=rate)


def train(state: TrainState[Any], data: ImageData, config: TrainConfig) -> Iterator[Step]:
    """Trains until the run is over; `state` is up to date whenever a step is yielded.

    Args:
        state: from `initial_state`, or one that was saved and restored. Its model decides the
            device.
        data: images of its `train` split, or windows of them, are trained on; its `valid` split
            decides which weights are best.
        config: how.

    Raises:
        ValueError: the data, the model and the configuration do not fit together.
        TrainingError: the loss or its gradient is not finite; the update is not applied.
    """
    instance_of("state", state, TrainState, "initial_state(model, config) makes one")
    rank, processes = rank_and_processes()
    check_fit(state.model, data, config, processes)
    total = total_steps(config, len(data.train))
    device = state.model.device
    for part in state.model.modules():
        if isinstance(part, Trainable):
            part.recompute = config.recompute
    for model in (state.model, state.average):
        lay_out(model, channels_last=config.channels_last)
    if state.step == 0:
        _standardise(state, data)
    network = _replicate(state) if processes > 1 else state.model
    turns = state.model if len(state.model.orders) > 1 else None
    autocast = torch.autocast(
        device.type, torch.bfloat16, enabled=_in_bf16(config.precision, state.model)
    )
    started, place = time.monotonic() - state.seconds, (rank, processes, device)
    state.next_evaluation = state.next_evaluation or _seconds_between_evaluations(config, 0.0)
    while not _finished(state, config, total):
        given, step, levels = state.model.given_by_data, state.step, state.model.levels
        parts = training_parts(data.train, config, step, *place, given, turns, levels=levels)
        rate = learning_rate(config, state.step, _progress(state, config, total), total)
        with training_mode(state.model), seeded(dropout_seed(config.seed, state.step, rank)):
            loss, norm = _gradient(network, parts, config, autocast)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            state.optimizer.zero_grad()
            raise TrainingError(
                f"step {state.step + 1}: the loss is {loss:.4g} bits/dim and the norm of its"
                f" gradient {norm:.4g}, at a learning rate of {rate:.3g}; the update was not"
                " applied: resume from the last checkpoint with a lower learning rate, such as"
                f" ‹learning_rate={highest_rate(config) / 3:.2g}›, more ‹warmup_steps›, or"
                " ‹precision='float32'›"
            )
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        with torch.inference_mode(False):  # moments outlast the caller's mode
            state.optimizer.step()
            state.optimizer.zero_grad()
            _update_average(state, config.ema_decay)
        state.step += 1
        state.seconds = _agreed(time.monotonic() - started, config, device)
        valid, improved = None, False
        if _due(state, config, total) or _finished(state, config, total):
            valid, improved = _validate(state, data.valid)
            now = _agreed(time.monotonic() - started, config, device)
            state.next_evaluation = now + _seconds_between_evaluations(config, now - state.seconds)
        yield Step(
            step=state.step,
            progress=_progress(state, config, total),
            bits_per_dim=loss,
            learning_rate=rate,
            gradient_norm=norm,
            seconds=state.seconds,
            valid_bits_per_dim=valid,
            improved=improved,
        )


def _replicate(state: TrainState[Any]) -> DistributedDataParallel:
    """The model with gradients averaged over all processes; all start from the first's weights."""
    for parameter in state.average.parameters():
        dist.broadcast(parameter, 0)
    # Masks never change, and the constants that scale conditions are the same everywhere.
    return DistributedDataParallel(state.model, forward_sync_buffers=False)


def _standardise(state: TrainState[Any], data: ImageData) -> None:
    """Standardises vectors, so that conditions may have any scale."""
    given = any(part.standardised for part in state.model.given_by_data)
    if given and data.train.vectors is not None:
        vectors = torch.from_numpy(data.train.vectors)
        for model in (state.model, state.average):
            for part in model.modules():
                if isinstance(part, ConditionEncoder):
                    part.standardise(vectors)


def _in_bf16(precision: str, model: Trainable) -> bool:
    """Whether to compute in bfloat16: "auto" if the hardware does and it tells the levels apart."""
    if precision != "auto":
        return precision == "bf16"
    told_apart = model.categorical_values or model.levels <= _LEVELS_OF_BF16
    return told_apart and multiplies_bf16(model.device)


def _gradient(
    network: nn.Module,
    parts: Iterator[tuple[Tensor, Values]],
    config: TrainConfig,
    autocast: torch.autocast,
) -> tuple[float, float]:
    """Computes the gradient of the mean loss over the whole batch.

    It needs one transfer from the device per step, because a gradient that is not finite must be
    noticed before it is applied.

    Returns:
        The loss in bits/dim, and the norm of the gradient.
    """
    replicated = isinstance(network, DistributedDataParallel)
    processes = dist.get_world_size() if replicated else 1
    losses: list[Tensor] = []
    for number, (x, condition) in enumerate(parts, start=1):
        wait: AbstractContextManager[Any] = nullcontext()
        if isinstance(network, DistributedDataParallel) and number < config.accumulate:
            wait = network.no_sync()
        with wait:
            with autocast:
                distribution = network(x, condition)
                nats = (
                    -distribution.log_prob(x)
                    if config.objective == "probability"
                    else -distribution.log_density(dequantised(x))
                )
            torch.clear_autocast_cache()  # in a caller's autocast, it would keep old weights
            loss = nats.sum() / (config.batch_size * nats[0].numel() * math.log(2))
            # The processes' gradients are averaged, but their losses add up.
            (loss * processes).backward()
        losses.append(loss.detach())
    total = torch.stack(losses).sum()
    if replicated:
        dist.all_reduce(total)
    parameters = list(network.parameters())
    # Summed in the order of passes, in which earlier versions kept the kernels.
    ordered = [laid_out(p.grad, config.channels_last) for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(ordered)
    nn.utils.clip_grads_with_norm_(parameters, config.clip_norm or math.inf, norm)
    loss_value, norm_value = torch.stack([total, norm.to(total.dtype)]).tolist()
    return loss_value, norm_value


def _update_average(state: TrainState[Any], ema_decay: float) -> None:
    decay = min(ema_decay, (1 + state.step) / (10 + state.step))
    averages = list(state.average.parameters())
    weights = [p.detach() for p in state.model.parameters()]
    get_ema_multi_avg_fn(decay)(averages, weights, 0)  # type: ignore[no-untyped-call]
    now = dict(state.model.named_buffers())
    for name, buffer in state.average.named_buffers():
        buffer.copy_(now[name])


def _validate(state: TrainState[Any], valid: Split) -> tuple[float | None, bool]:
    """Evaluates the averaged weights; returns bits/dim, and whether they are the best so far."""
    if not len(valid):
        return None, True
    bits = evaluate(state.average, valid, nats_of=validation_of(state.average))
    if not math.isfinite(bits):
        raise TrainingError(
            f"step {state.step}: the averaged weights have {bits} bits/dim on the validation split;"
            " resume from the last checkpoint with a lower ‹learning_rate›"
        )
    improved = state.best_bits_per_dim is None or bits < state.best_bits_per_dim
    state.stale = 0 if improved else state.stale + 1
    if improved:
        state.best_bits_per_dim = bits
    return bits, improved


def _progress(state: TrainState[Any], config: TrainConfig, total: int | None) -> float:
    """The share of the run that is done."""
    if total is not None:
        return min(1.0, state.step / total)
    return min(1.0, state.seconds / (60 * (config.minutes or math.inf)))


def _finished(state: TrainState[Any], config: TrainConfig, total: int | None) -> bool:
    tired = config.patience is not None and state.stale >= config.patience
    return tired or _progress(state, config, total) >= 1


def _due(state: TrainState[Any], config: TrainConfig, total: int | None) -> bool:
    """Whether it is time for a validation."""
    if config.evaluate_every is not None:
        return state.step % config.evaluate_every == 0
    if total is not None:
        return state.step * _EVALUATIONS // total > (state.step - 1) * _EVALUATIONS // total
    return state.seconds >= state.next_evaluation


def _seconds_between_evaluations(config: TrainConfig, last: float) -> float:
    return max(60 * (config.minutes or 0.0) / _EVALUATIONS, 4 * last)


def _agreed(seconds: float, config: TrainConfig, device: torch.device) -> float:
    """The first process's clock, if decisions depend on it."""
    if config.minutes is None or rank_and_processes()[1] == 1:
        return seconds
    first = torch.tensor(seconds, dtype=torch.float64, device=device)
    dist.broadcast(first, 0)
    return float(first)
