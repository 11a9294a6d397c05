"""What the probes report: one broken model for each figure, and fields by plain loops."""

import itertools
import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from cases import build, images
from test_causality import SingleStack
from torch import Tensor, nn

from nextpixel import GatedPixelCNN, PixelCNN, check_causality
from nextpixel.analysis.causality import CausalityReport
from nextpixel.analysis.receptive_fields import (
    effective_receptive_field,
    receptive_field,
    receptive_field_picture,
)


class Altered(nn.Module):
    """A causal model's distribution, with one thing wrong."""

    channels, levels = 1, 3

    def __init__(self, alter: Callable[..., tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = GatedPixelCNN(levels=3, features=4, layers=2, kernel_size=3)
        self.alter = alter

    def forward(self, x: Tensor) -> Any:
        law = self.model(x)
        log_pmf = lambda x, channel: law.log_pmf(x, channel)  # noqa: E731
        return _Law(*self.alter(self, x, law.log_prob, log_pmf))  # type: ignore[arg-type]


class _Law:
    def __init__(self, log_prob: Any, log_pmf: Any) -> None:
        self.log_prob, self.log_pmf = log_prob, log_pmf

    def log_density(self, y: Tensor) -> Tensor:
        raise NotImplementedError


SMALL = 1e-7  # far more than rounding in float64, far less than anything to see in a picture


def _unnormalised(_: Any, x: Tensor, log_prob: Any, log_pmf: Any) -> Any:
    return lambda x: log_prob(x) + SMALL, lambda x, c: log_pmf(x, c) + SMALL


def _inconsistent(_: Any, x: Tensor, log_prob: Any, log_pmf: Any) -> Any:
    """Each law sums to one, but log_prob is another's."""
    return lambda x: log_prob(x) + SMALL, log_pmf


def _batched(_: Any, x: Tensor, log_prob: Any, log_pmf: Any) -> Any:
    """Mixes laws with a share that tells how many images there are."""
    share = SMALL * len(x)

    def mixed(x: Tensor, c: int) -> Tensor:
        return ((1 - share) * log_pmf(x, c).exp() + share / 3).log()

    return lambda x: mixed(x, 0).gather(1, x.long())[:, :1], mixed


def _training_leak(module: nn.Module, x: Tensor, log_prob: Any, log_pmf: Any) -> Any:
    """In training each law knows the last pixel of the image."""
    if not module.training:
        return log_prob, log_pmf
    shift = x[:, :, -1:, -1:].to(torch.float64) * 0.1

    def mixed(x: Tensor, c: int) -> Tensor:
        logits = log_pmf(x, c)
        tilt = torch.arange(3).view(1, 3, 1, 1) * shift
        return torch.log_softmax(logits + tilt, dim=1)

    return lambda x: mixed(x, 0).gather(1, x.long())[:, :1], mixed


def _leak(module: nn.Module, x: Tensor, log_prob: Any, log_pmf: Any) -> Any:
    """One site alone sees one later one, a little."""
    shift = torch.zeros(x.shape, dtype=torch.float64)
    shift[:, :, 0, 0] = x[:, :, 0, -1].to(torch.float64) * 1e-6

    def mixed(x: Tensor, c: int) -> Tensor:
        return torch.log_softmax(log_pmf(x, c) + torch.arange(3).view(1, 3, 1, 1) * shift, dim=1)

    return lambda x: mixed(x, 0).gather(1, x.long())[:, :1], mixed


BROKEN = {
    "normalisation_error": _unnormalised,
    "consistency_error": _inconsistent,
    "batch_error": _batched,
    "leaks_in_training": _training_leak,
    "leaks": _leak,
}


def check(model: nn.Module) -> CausalityReport:
    return check_causality(model, shape=(2, 3), draws=1)


@pytest.mark.parametrize("name", BROKEN)
def test_each_thing_that_can_be_wrong_is_reported_and_refused(name: str) -> None:
    report = check(Altered(BROKEN[name]))
    found = getattr(report, name)
    assert found if isinstance(found, tuple) else 1e-8 < found < 1e-5
    assert not report.ok
    assert "NOT a probability model" in str(report)
    if name == "leaks":
        assert report.leaks == (((0, 0, 0), (0, 0, 2)),)
    if name == "leaks_in_training":
        assert not report.leaks
    for other in BROKEN.keys() - {name, "consistency_error"}:
        value = getattr(report, other)
        assert value == () if isinstance(value, tuple) else value < 1e-9, other


def test_a_model_with_nothing_wrong_passes() -> None:
    report = check(Altered(lambda _, x, log_prob, log_pmf: (log_prob, log_pmf)))
    assert report.ok, str(report)
    assert report.step_error is None


def test_a_walk_that_differs_from_the_full_pass_is_reported_and_refused() -> None:
    """A network that adds a little wherever it is computed with a cache."""
    model = build("gated")
    original = model.forward

    class Two(type(model)):  # type: ignore[misc]
        def forward(self, x: Tensor, condition: Any = None, cache: Any = None) -> Any:
            law = original.__func__(self, x, condition, cache)  # type: ignore[attr-defined]
            if cache is not None:
                law.logits = law.logits * (1 + 1e-6)
            return law

    model.__class__ = Two
    report = check(model)
    # The walk of a class that is not nextpixel's own is refused before it begins.
    assert report.step_error == math.inf
    assert not report.ok
    assert report.normalisation_error < 1e-9 and not report.leaks


ERRORS = ("normalisation_error", "consistency_error", "batch_error", "step_error")


def test_ok_is_true_of_rounding_and_of_nothing_else() -> None:
    good = check(build("gated"))
    assert good.ok and good.step_error is not None and good.step_error < 1e-9
    for name in ERRORS:
        assert replace(good, **{name: 1e-11}).ok
        assert not replace(good, **{name: 1e-6}).ok
    assert replace(good, step_error=None).ok
    assert replace(good, total_probability=None, enumerated=None).ok
    for total in (1 + 1e-6, 1 - 1e-6, 0.93):
        assert not replace(good, total_probability=total).ok
    assert not replace(good, leaks_in_training=((good.sites[0], good.sites[1]),)).ok
    for o, i in [(0, 0), (0, 1), (3, 5)]:
        depends = good.depends.clone()
        depends[o, i] = True
        assert not replace(good, depends=depends).ok
    blind = good.depends.clone()
    blind[:] = False
    assert replace(good, depends=blind).ok
    assert len(replace(good, depends=blind).unseen) == 6 * 5 // 2
    known = {*ERRORS, "sites", "depends", "leaks_in_training", "total_probability", "enumerated"}
    known.add("tolerance")
    assert {field.name for field in fields(CausalityReport)} == known


def test_the_largest_error_is_found_wherever_it_is() -> None:
    """Of either sign, in the last image and at the last site."""
    for sign in (-1, 1):

        def alter(_: Any, x: Tensor, log_prob: Any, log_pmf: Any, sign: int = sign) -> Any:
            bump = torch.zeros(x.shape, dtype=torch.float64)
            bump[-1:, :, -1, -1] = sign * SMALL
            return log_prob, lambda x, c: log_pmf(x, c) + bump

        report = check(Altered(alter))
        assert report.normalisation_error == pytest.approx(SMALL, rel=1e-3)
        assert report.consistency_error == pytest.approx(SMALL, rel=1e-3)
        assert not report.ok


@torch.no_grad()
def test_the_sum_over_all_images_is_taken_of_all_images() -> None:
    model = SingleStack(first="B").double().eval()
    report = check(model)
    assert report.total_probability is not None and report.enumerated is not None
    height, width = report.enumerated
    grid = torch.cartesian_prod(*[torch.arange(model.levels)] * (height * width))
    x = grid.view(-1, 1, height, width)
    log_p = torch.log_softmax(model(x).reshape(len(x), model.levels, 1, height, width), dim=1)
    total = log_p.gather(1, x[:, None])[:, 0].sum(dim=(1, 2, 3)).exp().sum()
    assert report.total_probability == pytest.approx(float(total), rel=1e-9)


@pytest.mark.parametrize("pixel", [(1, 5), (4, 2), (5, 6), (0, 3), None])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_effective_field_is_that_of_plain_loops(
    pixel: tuple[int, int] | None, channels: int
) -> None:
    torch.manual_seed(0)
    model = PixelCNN(channels=channels, levels=4, features=8, layers=2, position_waves=1)
    model = model.double().eval()
    height, width = 6, 7
    x = images(model, 3, (height, width))
    found = effective_receptive_field(model, x, pixel=pixel)
    row, column = (height - 2, width // 2) if pixel is None else pixel
    assert found.pixel == (row, column)
    real = x.double().requires_grad_()
    log_prob = model(real).log_prob(real)
    total = [[0.0] * width for _ in range(height)]
    for b in range(3):
        for c in range(channels):
            (gradient,) = torch.autograd.grad(log_prob[b, c, row, column], real, retain_graph=True)
            for d in range(channels):
                for i in range(height):
                    for j in range(width):
                        total[i][j] += abs(float(gradient[b, d, i, j]))
    whole = sum(map(sum, total))
    if not whole:
        assert not found.strength.any() and found.within == (0.0, 0.0, 0.0)
        return
    shares = [
        (math.hypot(i - row, j - column), total[i][j] / whole)
        for i in range(height)
        for j in range(width)
    ]
    torch.testing.assert_close(
        found.strength, torch.tensor(total, dtype=torch.float64) / whole, rtol=1e-9, atol=1e-12
    )
    assert found.radius == pytest.approx(sum(d * share for d, share in shares))
    for share, within in zip((0.5, 0.9, 0.99), found.within, strict=True):
        distances = sorted({d for d, _ in shares})
        reached = {d: sum(s for e, s in shares if e <= d + 1e-9) for d in distances}
        assert within == pytest.approx(next(d for d in distances if reached[d] >= share - 1e-12))
    numbers = [found.radius, *found.within]
    said = str(found)
    assert all(f"{number:.1f}" in said for number in numbers)
    assert f"half of it lies within {numbers[1]:.1f}, 90 % within {numbers[2]:.1f}" in said


@pytest.mark.parametrize("pixel", [(1, 4), (3, 0), (4, 2)])
def test_the_receptive_field_is_what_changes(pixel: tuple[int, int]) -> None:
    """By changing every sub-pixel in turn, at a row that is not its column."""
    torch.manual_seed(0)
    model = GatedPixelCNN(channels=2, levels=3, features=8, layers=2, kernel_size=3)
    model = model.double().eval()
    height, width = 5, 6
    seen = receptive_field(model, (height, width), pixel=pixel)
    x = images(model, 4, (height, width))
    with torch.no_grad():
        before = model(x)
        for d in range(2):
            for i in range(height):
                for j in range(width):
                    other = x.clone()
                    other[:, d, i, j] = (x[:, d, i, j] + 1) % 3
                    after = model(other)
                    for c in range(2):
                        change = after.log_pmf(other, c) - before.log_pmf(x, c)
                        moved = bool((change[:, :, *pixel].abs() > 1e-12).any())
                        assert bool(seen[c, d, i, j]) == moved, (c, d, i, j)


@pytest.mark.parametrize("name", ["gated-rgb", "pixel-cnn-rgb-classes"])
def test_the_picture_of_a_field_is_the_field(name: str) -> None:
    """Seen past is green, unseen past grey, the site itself black, the future white."""
    model, (height, width) = build(name), (4, 5)
    pixel = (2, 2)
    seen = receptive_field(model, (height, width), pixel=pixel)
    picture = receptive_field_picture(model, (height, width))
    channels = len(seen)
    for reader, source in itertools.product(range(channels), repeat=2):
        for row, column in itertools.product(range(height), range(width)):
            there, here = (row, column, source), (*pixel, reader)
            if there < here:
                wanted = [76, 175, 80] if seen[reader, source, row, column] else [200] * 3
            else:
                wanted = [0] * 3 if there == here else [255] * 3
            top = 1 + reader * (8 * height + 1) + 8 * row + 4
            left = 1 + source * (8 * width + 1) + 8 * column + 4
            assert picture[:, top, left].tolist() == wanted, (reader, source, row, column)


def test_a_weak_connection_is_a_connection() -> None:
    """Derivatives through many layers of small weights are far below rounding."""
    model = GatedPixelCNN(levels=3, features=4, layers=4, kernel_size=3)
    field = receptive_field(model, (6, 9))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-4)
    assert torch.equal(receptive_field(model, (6, 9)), field)
