"""How typical an image is as a whole, by the maps that a model computes before its head.

Local surprise does not see what is wrong with an image as a whole. The maps of a model's last
hidden layer do: of every map the mean, the deviation and the means of the four quarters are taken,
and an image is compared with normal images by the Mahalanobis distance of these numbers (Lee et
al., *A Simple Unified Framework for Detecting Out-of-Distribution Samples*, 2018, for classifiers).

The covariance is that of the standardised numbers, shrunk to the identity by the oracle
approximating rule (Chen et al., *Shrinkage Algorithms for MMSE Covariance Estimation*, 2010, eq.
23), so that a few hundred images suffice for a thousand numbers.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nextpixel.arguments import instance_of, path_of, shown
from nextpixel.border import Admitted, ConditionGiven, Images, admit, batches_of, model_of
from nextpixel.conditions.values import index
from nextpixel.errors import UsageError
from nextpixel.files.fields import CheckpointError
from nextpixel.files.tensors import read_tensors, write_tensors
from nextpixel.layers.distributions import Distribution, nats_of
from nextpixel.models.core import ImageModel
from nextpixel.models.evaluation import evaluating
from nextpixel.scoring import passes

__all__ = [
    "Typicality",
    "fit_typicality",
    "hidden_statistics",
    "load_typicality",
    "save_typicality",
]


_LEAST = 1e-2
_ROUNDING = 1e-5
"""Of the size of hidden statistics, above what float32 makes of one image in different batches."""
_AT_ONCE = 256
_TENSORS = "mean", "deviation", "correlation"
_NUMBERS = {"images": int, "shrinkage": float, "model": str}


@dataclass(frozen=True, kw_only=True, eq=False)
class Typicality:
    """What the hidden statistics of normal images are: their means and their covariance.

    Attributes:
        mean: of each of D numbers.
        deviation: of each number; at least a hundredth of the root mean square of all. Where images
            differ by rounding only, the root mean square of the means.
        correlation: their shrunk correlation matrix.
        images: how many it was fitted on.
        shrinkage: the share of the identity in `correlation`, 0 … 1.
        model: a fingerprint of the model's weights, which `distance` compares.
    """

    mean: Float[Tensor, " D"]
    deviation: Float[Tensor, " D"]
    correlation: Float[Tensor, "D D"]
    images: int
    shrinkage: float
    model: str

    def distance(
        self, model: nn.Module, x: Images, condition: ConditionGiven = None
    ) -> Float[Tensor, " *B"]:
        """The Mahalanobis distance of each image from the normal ones, float64, on the CPU.

        Arguments are those of `bits_per_dim`.

        Raises:
            UsageError: it was fitted with another model.
        """
        given = admit(model, x, condition)
        if _fingerprint(given.model) != self.model:
            raise UsageError(
                "this ‹typicality› was fitted with another model, or before further training; fit"
                " it again with fit_typicality"
            )
        found = _statistics(given)
        if found.shape[1] != len(self.mean):
            raise UsageError(
                f"this ‹typicality› is of {len(self.mean)} numbers, but the model has"
                f" {found.shape[1]}; fit it again with fit_typicality"
            )
        standard = (found - self.mean) / self.deviation
        triangle = torch.linalg.cholesky(self.correlation)
        white = torch.linalg.solve_triangular(triangle, standard.T, upper=False)
        return given.result(white.norm(dim=0))


def hidden_statistics(
    model: nn.Module, x: Images, condition: ConditionGiven = None
) -> Float[Tensor, "*B D"]:
    """Mean, deviation and quarter means of every map before the head, float64, on the CPU.

    The maps are the input of the last layer that has weights of its own; a `MultiScale` has those
    of each scale, one after another. D is 6 times their number. Arguments are those of
    `bits_per_dim`; large images are taken a few rows at a time.

    Raises:
        UsageError: as `bits_per_dim`; or no layer of a user's own module has maps (B, F, H, W).
    """
    given = admit(model, x, condition)
    return given.result(_statistics(given))


def fit_typicality(
    model: nn.Module,
    images: Images | Iterable[Images | tuple[Images, ConditionGiven]],
    condition: ConditionGiven = None,
) -> Typicality:
    """What is typical of normal images, in one pass over them and in bounded memory.

    Args:
        model: any model, as for `bits_per_dim`.
        images: normal images that the model takes, as a batch (see `nextpixel.border`); or an
            iterator or a DataLoader of batches, which may have different sizes, or of pairs
            (batch, condition).
        condition: a value for each image of one batch, or one for all images; not beside pairs.

    Raises:
        UsageError: as `bits_per_dim`; or there are fewer than two images.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for given in _batches(model, images, condition):
        found = _statistics(given)
        if not len(found):
            continue
        # Chan, Golub and LeVeque: the mean and the scatter of what two batches hold together.
        own = found.mean(dim=0)
        away, total = own - mean, count + len(found)
        spread = found - own
        squares = (
            squares + spread.T @ spread + torch.outer(away, away) * (count * len(found) / total)
        )
        mean, count = mean + away * (len(found) / total), total
    if count < 2:
        raise UsageError(f"‹images› has {count} images; give at least two, better some hundreds")
    deviation = (squares.diagonal() / count).clamp(min=0).sqrt()
    varied, level = (float(part.square().mean().sqrt()) for part in (deviation, mean))
    rounding = level * _ROUNDING
    least = max(varied * _LEAST, rounding) if varied > rounding else level or 1.0
    deviation = deviation.clamp(min=least)
    correlation = squares / count / torch.outer(deviation, deviation)
    shrinkage = _oracle_shrinkage(correlation, count)
    return Typicality(
        mean=mean,
        deviation=deviation,
        correlation=correlation * (1 - shrinkage) + torch.eye(len(mean)).double() * shrinkage,
        images=count,
        shrinkage=shrinkage,
        model=_fingerprint(model_of(model)),
    )


def save_typicality(typicality: Typicality, path: str | Path) -> None:
    """Writes it to a safetensors file, with digests: arrays and plain numbers, never code."""
    instance_of("typicality", typicality, Typicality, "fit_typicality makes one")
    tensors = {name: getattr(typicality, name) for name in _TENSORS}
    numbers = {name: getattr(typicality, name) for name in _NUMBERS}
    write_tensors(path_of("path", path), tensors, {"typicality": numbers})


def load_typicality(path: str | Path) -> Typicality:
    """Reads what `save_typicality` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
    """
    tensors, header = read_tensors(path_of("path", path))
    numbers = header.metadata.get("typicality")
    if not isinstance(numbers, dict) or set(numbers) != {*_NUMBERS} or set(tensors) != {*_TENSORS}:
        raise CheckpointError(f"{path} is a file of nextpixel, but no typicality")
    size = len(tensors["mean"].flatten())
    shapes = {"mean": (size,), "deviation": (size,), "correlation": (size, size)}
    for name, kind in _NUMBERS.items():
        if type(numbers[name]) is not kind:
            raise CheckpointError(f"{path} is damaged: {name} is {shown(numbers[name])}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape or tensors[name].dtype != torch.float64:
            raise CheckpointError(f"{path} is damaged: {name} has another shape or type")
    finite = size > 0 and all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    definite = finite and int(torch.linalg.cholesky_ex(tensors["correlation"]).info) == 0
    if not definite or float(tensors["deviation"].min()) <= 0:
        raise CheckpointError(f"{path} is damaged: its numbers are no means and covariance")
    return Typicality(**tensors, **numbers)  # type: ignore[arg-type]


class _Hidden:
    """The input of the last layer with weights, in a pass through a view of a model."""

    def __init__(self, model: ImageModel) -> None:
        self.view, self._last = evaluating(model), None
        for part in self.view.modules():
            weights = [one for one in part.parameters(recurse=False) if one.ndim > 1]
            if weights and not isinstance(part, torch.jit.ScriptModule):
                # A view shares its hooks with the model, which must stay as it is.
                vars(part)["_forward_pre_hooks"] = OrderedDict(part._forward_pre_hooks)
                part.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._last = arguments[0] if arguments else None

    def __call__(self, distribution: Distribution, values: Tensor) -> Tensor:
        """The maps at the sites of a pass, (B, F, rows, W), or at all if it was a full one."""
        if self._last is None:
            nats_of(distribution, values)  # a module of a user's own runs when it is first asked
        maps: Any = self._last
        if not (isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[3] == values.shape[3]):
            found = tuple(maps.shape) if isinstance(maps, Tensor) else shown(maps)
            raise UsageError(
                f"the last layer of the model has as its input {found}, not maps (B, F, H, W) of"
                " the size of the images; hidden statistics need such a layer"
            )
        return maps.clone()


def _statistics(given: Admitted) -> Tensor:
    """Mean, deviation and quarter means of every map of every scale, (B, D)."""
    hidden, found = _Hidden(given.model), {}
    height, width = given.x.shape[2:]
    seen = given._replace(model=hidden.view)
    for images, rows, _, answer in passes(seen, None, ask=hidden):
        first, behind = rows.start // rows.step, rows.stop // rows.step
        if answer.shape[2] != behind - first:
            answer = answer[:, :, first:behind]
        high, wide = -(-height // rows.step), -(-width // rows.step)
        if rows.step not in found:
            found[rows.step] = torch.zeros(len(given.x), 6, answer.shape[1], dtype=torch.float64)
        sums, place = found[rows.step][images], torch.arange(first, behind)
        sums[:, 0] += answer.sum(dim=(2, 3)) / (high * wide)
        sums[:, 1] += answer.square().sum(dim=(2, 3)) / (high * wide)
        # The middle row or column of an odd number belongs to both halves.
        halves = place < (high + 1) // 2, place >= high // 2
        for quarter in range(4):
            part = answer[:, :, halves[quarter // 2]]
            side = slice((wide + 1) // 2) if quarter % 2 == 0 else slice(wide // 2, None)
            size = ((high + 1) // 2) * ((wide + 1) // 2)
            sums[:, 2 + quarter] += part[..., side].sum(dim=(2, 3)) / size
    for sums in found.values():
        sums[:, 1] = (sums[:, 1] - sums[:, 0].square()).clamp(min=0).sqrt()
    return torch.cat([sums.flatten(1) for sums in found.values()], dim=1)


def _batches(model: nn.Module, images: Any, condition: Any) -> Iterator[Admitted]:
    """What a model takes, some images at a time."""
    for batch, values in batches_of(images, condition):
        given = admit(model, batch, values)
        for start in range(0, len(given.x), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            yield given._replace(x=given.x[some], values=index(given.values, some))


def _oracle_shrinkage(correlation: Tensor, images: int) -> float:
    """The share of the identity by equation 23 of Chen et al., for a trace of D."""
    size = len(correlation)
    alpha = float(correlation.square().mean())
    excess = (images + 1) * (alpha - 1 / size)
    return 1.0 if excess <= 0 else min(1.0, (alpha + 1) / excess)


def _fingerprint(model: ImageModel) -> str:
    """The SHA-256 of some thousand values of every tensor, whatever their precision."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().flatten()
        few = flat[:: max(1, len(flat) // 4096)].float().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + few.numpy().tobytes())
    return digest.hexdigest()
