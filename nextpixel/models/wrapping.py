"""Anybody's module as a model: what wraps it is taken off, and full passes serve as steps.

A module that knows nothing of caches is walked all the same: every step is a full pass, of which
one site is looked at. That is the cache's contract by recomputation, so that whatever takes a model
takes the module.
"""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from nextpixel.cache import Cache
from nextpixel.conditions.kinds import Condition
from nextpixel.conditions.notation import ConditionLike, as_conditions
from nextpixel.conditions.values import Values, ValuesLike, as_values
from nextpixel.errors import UsageError
from nextpixel.front.place import Front
from nextpixel.front.skew import Reach
from nextpixel.layers.distributions import Distribution
from nextpixel.models.core import ImageModel, RasterModel
from nextpixel.models.outputs import distribution_of
from nextpixel.models.trainable import Trainable

__all__ = ["FullPassModel", "as_model", "is_ours", "model_of", "replays_of", "trainable", "unwrap"]

# By the names of their classes: to import some of these takes seconds.
_WRAPPERS = {
    "AveragedModel": "module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
_SHARDED = {"FSDPModule", "FullyShardedDataParallel"}
_LIGHTNING = "LightningModule"


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside wrappers: the model that was compiled, averaged, or spread over devices.

    Taken off, in any order, are ``DistributedDataParallel``, ``DataParallel``, ``AveragedModel``,
    what ``torch.compile`` returns, and a ``LightningModule`` that holds exactly one model and is
    none itself. Anything else is returned as it is.

    Raises:
        UsageError: a LightningModule holds several models, or FSDP shards the weights.

    Example:
        >>> from torch.optim.swa_utils import AveragedModel
        >>> from nextpixel import PixelCNN
        >>> model = PixelCNN(levels=4, features=8, layers=2)
        >>> average = AveragedModel(model)
        >>> unwrap(average) is average.module, unwrap(model) is model
        (True, True)
    """
    while (inside := _inside(model)) is not None:
        model = inside
    return model


def as_model(
    module: nn.Module,
    *,
    channels: int | None = None,
    levels: int | None = None,
    conditions: ConditionLike = None,
) -> ImageModel:
    """A module as a model of images, which is scored, walked, trained and checked as any other.

    Scores and training cost what the module costs. Every step of a walk is a full pass over all
    images of the batch: to draw images takes H·W·C of them, while the models of nextpixel keep what
    they computed and take about one. A warning says so.

    Args:
        module: called as ``module(x)``, or ``module(x, condition)`` if it has conditions, with x
            (B, C, H, W) int64; a single condition is a tensor, several are a tuple. It returns what
            `nextpixel.models.outputs.distribution_of` takes: logits or a distribution. The
            distribution of a sub-pixel may depend only on those before it in raster order:
            `nextpixel.testing.check_model` tests that. Wrappers are taken off, see `unwrap`.
        channels: colours C; None takes ``module.channels``.
        levels: values of a sub-pixel, 0 … levels-1; None takes ``module.levels``.
        conditions: what the module is conditioned on; None takes ``module.conditions``, if it has
            any.

    Returns:
        A model without further weights whose `module` is the one given. A model of nextpixel itself
        is returned as it is. A subclass of one becomes a module of full passes, whether or not its
        own steps are right.

    Raises:
        UsageError: the channels or levels are neither given nor attributes, or it is a model of
            several scales.

    Example:
        >>> import torch
        >>> from nextpixel import bits_per_dim
        >>> class Uniform(nn.Module):
        ...     def forward(self, x):
        ...         return torch.zeros(len(x), 4, *x.shape[2:])
        >>> bits_per_dim(as_model(Uniform(), channels=1, levels=4), torch.zeros(2, 1, 3, 3).long())
        2.0
    """
    module = unwrap(module)
    if isinstance(module, ImageModel):
        if isinstance(module, FullPassModel) or is_ours(module):
            return module
        if len(list(module.scales())) > 1:
            raise UsageError(
                f"{type(module).__name__} has several scales, which full passes in raster order are"
                " not; mend the steps of its networks, or wrap each of them before you combine them"
            )
    for part in module.modules():
        if part is not module and isinstance(part, ImageModel) and len(list(part.scales())) > 1:
            raise UsageError(
                f"{type(module).__name__} holds a {type(part).__name__}, which goes through the"
                " pixels in another order than row by row; give that model itself"
            )
    stated = getattr(module, "conditions", ()) if conditions is None else conditions
    if not isinstance(stated, Condition | tuple | list):
        stated = ()  # an attribute of that name with another meaning
    return FullPassModel(
        module,
        channels=_described(module, "channels", channels),
        levels=_described(module, "levels", levels),
        conditions=as_conditions(stated),
    )


def model_of(model: nn.Module) -> ImageModel:
    """The model in what a caller gives: public functions begin with it.

    Wrappers are taken off. A model stays what it is, unless its class has no steps of its own.
    """
    model = unwrap(model)
    if isinstance(model, ImageModel) and all(_has_steps(s.network) for s in model.scales()):
        return model
    return as_model(model)


def trainable(model: nn.Module) -> Trainable:
    """What `training.loop.train` trains: a model without its wrappers, or a module as a model."""
    model = unwrap(model)
    return model if isinstance(model, Trainable) else as_model(model)


def is_ours(model: nn.Module) -> bool:
    """Whether no code of a user's own takes part in a model."""
    return all(
        type(part).__module__.startswith(("nextpixel.", "torch.")) and "forward" not in vars(part)
        for part in model.modules()
    )


def replays_of(model: RasterModel) -> bool:
    """Whether no code of a user's own takes part, which a replay of our operations would miss."""
    hooks = (part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    return is_ours(model) and not any(hooks)


class FullPassModel(RasterModel):
    """A module of which every step is a full pass: see `as_model`.

    Args:
        module: maps integers (B, C, H, W), and its condition if it has one, to what
            `distribution_of` takes.
        channels, levels, conditions: of the images and of the module.
    """

    steps_are_passes = True

    def __init__(
        self, module: nn.Module, *, channels: int, levels: int, conditions: tuple[Condition, ...]
    ) -> None:
        super().__init__(channels=channels, levels=levels)
        self.module, self.conditions, self.training = module, conditions, module.training
        self.colours, self.encoder = channels, None

    @property
    def reach(self) -> Reach:
        """Everything before a site, one site after another."""
        return Reach(None, 0, 0, None)

    @property
    def floats_per_pixel(self) -> int:
        """An estimate: the outputs three times, and some maps of the widest layer."""
        widest = max((p.shape[0] for p in self.parameters() if p.ndim > 1), default=1)
        return 3 * self.channels * self.levels + 8 * widest

    def config(self) -> dict[str, Any]:
        """Refused: a file names no class of a user's own.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"nothing can name the class {type(self.module).__name__} so as to build it again; keep"
            " model.module.state_dict() in a file of your own"
        )

    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel of x given its past: arguments as for any model."""
        values = as_values(condition)
        if cache is None:
            self.check(x, condition)
            return self.full_pass(x, values)
        if cache.front is not None:
            return _OfOneSite(self.full_pass(x, values), cache.front)
        whole = cache.state(self, lambda: _Once(lambda: self.full_pass(x, values)))
        return _OfRows(whole, x, cache.rows)

    def full_pass(self, x: Tensor, values: Values) -> Distribution:
        """The distribution by one call of the module, without a check of what it is given."""
        several = len(values) != 1 or isinstance(self.module, Trainable)
        given: tuple[Any, ...] = () if not values else (values,) if several else values
        return distribution_of(self.module(x, *given), x, self.channels, self.levels)


class _Once:
    """What is computed when it is first asked for: known rows of a walk never are."""

    def __init__(self, compute: Callable[[], Distribution]) -> None:
        self._compute = compute
        self._result: Distribution | None = None

    def __call__(self) -> Distribution:
        if self._result is None:
            self._result = self._compute()
        return self._result


class _OfRows:
    """Some rows of a full pass."""

    def __init__(self, whole: _Once, x: Tensor, rows: range) -> None:
        self._whole, self._x, self._rows = whole, x, slice(rows.start, rows.stop)

    def _placed(self, values: Tensor) -> Tensor:
        every = self._x.to(values.dtype)
        every = every.clone() if every is self._x else every
        every[:, :, self._rows] = values
        return every

    def log_prob(self, x: Tensor) -> Tensor:
        return self._whole().log_prob(self._placed(x))[:, :, self._rows]

    def log_pmf(self, x: Tensor, channel: int) -> Tensor:
        return self._whole().log_pmf(self._placed(x), channel)[:, :, self._rows]

    def log_density(self, y: Tensor) -> Tensor:
        return self._whole().log_density(self._placed(y))[:, :, self._rows]


class _OfOneSite:
    """A full pass at the site where a walk is; asked with whole images."""

    def __init__(self, whole: Distribution, front: Front) -> None:
        self._whole, self._site = whole, (front.row, front.phase)

    def _here(self, maps: Tensor) -> Tensor:
        row, column = self._site
        return maps[..., row, column, None, None]

    def log_prob(self, x: Tensor) -> Tensor:
        return self._here(self._whole.log_prob(x))

    def log_pmf(self, x: Tensor, channel: int) -> Tensor:
        return self._here(self._whole.log_pmf(x, channel))

    def log_density(self, y: Tensor) -> Tensor:
        return self._here(self._whole.log_density(y))


def _inside(model: nn.Module) -> nn.Module | None:
    """The module inside the outermost wrapper; None if there is no wrapper."""
    names = {kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("torch.")}
    if names & _SHARDED:
        raise UsageError(
            "the weights of this model are sharded by FSDP; collect them with"
            " torch.distributed.checkpoint.state_dict.get_model_state_dict(…, full_state_dict=True)"
            " and load them into a model of the same class"
        )
    if wrapper := names & _WRAPPERS.keys():
        return model.get_submodule(_WRAPPERS[wrapper.pop()])
    if any(kind.__name__ == _LIGHTNING for kind in type(model).__mro__):
        return _inside_lightning(model)
    return None


def _inside_lightning(module: nn.Module) -> nn.Module | None:
    """The one model that a LightningModule holds; None if it is a model itself."""
    if isinstance(module, ImageModel) or all(hasattr(module, n) for n in ("channels", "levels")):
        return None
    children = module.named_children()
    held = {name: part for name, part in children if next(part.parameters(), None) is not None}
    models = {name: part for name, part in held.items() if _is_model(part)} or held
    if len(models) != 1:
        found = f"holds several models ({', '.join(models)})" if models else "holds no model"
        raise UsageError(f"{type(module).__name__} {found}; give the one that you mean")
    return next(iter(models.values()))


def _is_model(module: nn.Module) -> bool:
    return isinstance(unwrap(module), Trainable)


def _has_steps(network: nn.Module) -> bool:
    """Whether a network's class says how to go through an image by steps."""
    if not isinstance(network, RasterModel):
        return False
    return "cache" in inspect.signature(type(network).forward).parameters


def _described(module: nn.Module, name: str, given: int | None) -> int:
    value = getattr(module, name, None) if given is None else given
    if type(value) is int and value >= (1 if name == "channels" else 2):
        return value
    if given is not None:
        raise UsageError(f"‹{name}={given!r}› is no number of {name} of an image")
    held = [f"its .{part}" for part, inner in module.named_children() if _is_model(inner)]
    advice = f"give ‹{name}› to as_model, and its result to this function"
    if held:
        advice = f"give the model that it holds, {' or '.join(held)}"
    raise UsageError(f"{type(module).__name__} has no attribute {name!r}; {advice}")
