"""state.safetensors: a whole training state, to continue as if the run had never stopped."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextpixel.files.fields import CheckpointError, read_record
from nextpixel.files.tensors import TensorHeader, read_header, read_tensors, write_tensors
from nextpixel.models.rebuilding import check_tensors
from nextpixel.training.loop import TrainState
from nextpixel.training.muon import Muon
from nextpixel.version import __version__

__all__ = ["STATE", "load_state", "save_state"]

STATE = "state.safetensors"

_ADAM = {"step", "exp_avg", "exp_avg_sq"}


@dataclass(frozen=True, kw_only=True)
class _Scalars:
    """The fields of `TrainState` that are numbers."""

    step: int
    seconds: float
    best_bits_per_dim: float | None
    stale: int
    next_evaluation: float

    def __post_init__(self) -> None:
        if min(self.step, self.seconds, self.stale, self.next_evaluation) < 0:
            raise ValueError("a number is negative")


def save_state(state: TrainState[Any], path: str | Path) -> None:
    """Writes a training state to one safetensors file, atomically."""
    tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in state.average.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        tensors |= {
            f"optimizer/{name}/{key}": value
            for key, value in state.optimizer.state[parameter].items()
        }
    scalars = _Scalars(**{name: getattr(state, name) for name in _Scalars.__dataclass_fields__})
    optimizer = type(state.optimizer).__name__
    metadata = {"version": __version__, "optimizer": optimizer, "state": asdict(scalars)}
    write_tensors(path, tensors, metadata)


def load_state(state: TrainState[Any], path: str | Path) -> None:
    """Brings a state from `initial_state` to where the saved one was.

    Raises:
        CheckpointError: the file is missing, damaged, foreign, or of another model or optimizer.
    """
    path = Path(path)
    header = read_header(path)
    own_class = type(state.optimizer).__name__
    if "state" not in header.metadata or header.metadata.get("optimizer") != own_class:
        raise CheckpointError(
            f"{path} is not the state of a training with {own_class}; give that of the same run"
        )
    scalars = read_record(_Scalars, header.metadata["state"], f"{path} is damaged: its field state")
    for part, model in (("model/", state.model), ("average/", state.average)):
        check_tensors(model, header, path, part)
    _check_moments(state, header, path)
    tensors, _ = read_tensors(path)
    for part, model in (("model/", state.model), ("average/", state.average)):
        model.load_state_dict(_part(tensors, part))
    saved = _part(tensors, "optimizer/")
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    number_of = {parameter: number for number, parameter in enumerate(parameters)}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, parameter in state.model.named_parameters():
        if own := _part(saved, f"{name}/"):
            # Moments lie in memory as their parameters do, which fused updates rely on.
            moments[number_of[parameter]] = {
                key: torch.empty_like(parameter).copy_(t) if t.shape == parameter.shape else t
                for key, t in own.items()
            }
    state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": moments})
    for name, value in asdict(scalars).items():
        setattr(state, name, value)


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, which is removed."""
    return {
        name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)
    }


def _check_moments(state: TrainState[Any], header: TensorHeader, path: Path) -> None:
    """Raises CheckpointError unless the moments in the file fit the optimizer's parameters."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    left = {key for key in header.shapes if not key.startswith(("model/", "average/"))}
    for group in state.optimizer.param_groups:
        for parameter in group["params"]:
            part = f"optimizer/{names[parameter]}/"
            keys = {key for key in left if key.startswith(part)}
            wanted = {f"{part}{key}" for key in _moments(state.optimizer, group)}
            right = keys == wanted and all(
                header.shapes[key] == (() if key == f"{part}step" else tuple(parameter.shape))
                and header.dtypes[key] in ("F32", "F64")
                for key in keys
            )
            if keys and not right:  # a parameter that no loss depended on has none
                raise CheckpointError(
                    f"{path} is damaged: the moments of {names[parameter]} are not those of"
                    f" {type(state.optimizer).__name__}"
                )
            left -= keys
    if left:
        raise CheckpointError(f"{path} is damaged: it has the unknown tensor {min(left)!r:.60}")


def _moments(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> set[str]:
    """What an optimizer keeps of each parameter of a group."""
    if isinstance(optimizer, Muon) and group["flatten"] is not None:
        return {"momentum"}
    return {"step", "square_avg"} if isinstance(optimizer, torch.optim.RMSprop) else _ADAM
