"""The laws of a model of images, as one call for your own test suite.

Whether a network is a distribution of images does not show in its loss: one that sees what it must
predict has the best loss of all. `check_model` asserts the laws that the models of nextpixel obey.
"""

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from nextpixel.analysis.laws import Law, chi_squared_z, laws_of
from nextpixel.analysis.probe import Probe
from nextpixel.conditions.values import ValuesLike
from nextpixel.devices import seeded
from nextpixel.errors import UsageError
from nextpixel.models.wrapping import unwrap

__all__ = ["Law", "LawError", "ModelReport", "check_model", "chi_squared_z"]


@dataclass(frozen=True)
class ModelReport:
    """What `check_model` found: the laws in the order in which they were tested."""

    model: str
    laws: tuple[Law, ...]

    @property
    def broken(self) -> tuple[Law, ...]:
        """The laws that do not hold."""
        return tuple(law for law in self.laws if law.status == "broken")

    @property
    def ok(self) -> bool:
        """Whether no law is broken."""
        return not self.broken

    def __str__(self) -> str:
        return "\n".join([self.model, *map(str, self.laws)])


class LawError(AssertionError):
    """A model breaks a law; `report` has all that was found."""

    def __init__(self, report: ModelReport) -> None:
        self.report = report
        names = ", ".join(law.name for law in report.broken)
        super().__init__(f"not a distribution of images ({names}):\n{report}")


def check_model(
    model: nn.Module,
    *,
    shape: tuple[int, int] = (4, 5),
    condition: ValuesLike = None,
    channels: int | None = None,
    levels: int | None = None,
    whole_past: bool = False,
    draws: int = 3,
    seed: int = 0,
) -> ModelReport:
    """Asserts that a model is a distribution of images, and that its steps agree with it.

    These laws are tested, each where it applies:

    - **output**: `log_prob` is finite, at most 0, and has the shape of the images;
    - **repeatable**: a second pass gives the same;
    - **normalised**: the probabilities of a sub-pixel's values sum to one, and `log_prob` is that
      of the value;
    - **causality**: no distribution depends on its own sub-pixel or on later ones; in training
      mode, too, where batch normalisation may leak;
    - **past**: how much of the past is never seen. It costs bits, but breaks nothing, unless
      `whole_past` is asked for;
    - **total**: Σ p(x) over all images of a tiny size is one;
    - **batch**: an image of a batch has the distribution that it has alone;
    - **steps**: walks by sites, by fronts and by rows give what the full pass gives;
    - **condition**: another value of each condition gives another likelihood;
    - **samples**: the frequencies of draws fit the probabilities, by a χ² test with one false alarm
      in a million;
    - **file**: what was saved and loaded gives the same.

    A copy in float64 is tested (in float32, if the module casts to that). Parameters that are all
    zero, as last layers often are at first, are random in the copy: they would hide what they
    multiply. The model itself does not change.

    Args:
        model: any model, or a module as for `nextpixel.models.wrapping.as_model`.
        shape: (H, W) of the images; take H ≠ W. The cost grows with (C·H·W)².
        condition: the condition of one image, for a module without `conditions`.
        channels, levels: as for `nextpixel.models.wrapping.as_model`.
        whole_past: whether a sub-pixel must see all that comes before it in images of this shape.
        draws: random images for each sub-pixel.
        seed: of all that is random.

    Returns:
        The report, if no law is broken.

    Raises:
        LawError: a law is broken; names the law, where, and by how much.
        UsageError: the channels or levels are unknown.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> report = check_model(GatedPixelCNN(levels=3, features=8, layers=2), shape=(3, 4))
        >>> report.ok, report.laws[3].name, report.laws[3].status
        (True, 'causality', 'holds')
    """
    if min(shape) < 1 or draws < 1:
        raise UsageError(f"‹shape={shape}› must be at least 1×1, and ‹draws={draws}› at least 1")
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "this module keeps nothing")
        probe = Probe(_without_zeros(model), channels, levels, condition, generator)
        laws = tuple(laws_of(probe, shape, draws, whole_past))
        name, size = type(probe.original).__name__, f"{shape[0]}×{shape[1]}"
        colours = f"{probe.channels} channel{'s' * (probe.channels > 1)}"
        report = ModelReport(f"{name}: {colours}, {probe.levels} levels, {size} pixels", laws)
    if not report.ok:
        raise LawError(report)
    return report


def _without_zeros(model: nn.Module) -> nn.Module:
    """A copy whose parameters are random where all of one were zero."""
    model = copy.deepcopy(unwrap(model))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.3)
    return model.eval()
