"""`check_model` on networks as textbooks have them, right ones and wrong ones."""

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_causality import SingleStack
from torch import Tensor, nn
from torch.nn import functional

from nextpixel import ClassCondition, PixelCNN
from nextpixel.testing import LawError, check_model, chi_squared_z


def causal(size: int, *, own: bool) -> Tensor:
    """A k×k mask of the past, and of the centre if it is `own`."""
    mask = torch.ones(size, size)
    mask[size // 2, size // 2 + own :] = 0
    mask[size // 2 + 1 :] = 0
    return mask


class MaskedConv(nn.Conv2d):
    """The textbook's: the mask is written into the weights at every call."""

    def __init__(self, inputs: int, outputs: int, *, own: bool, mask: Tensor | None = None) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.register_buffer("mask", causal(3, own=own) if mask is None else mask)

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data *= self.mask  # type: ignore[operator]
        return super().forward(x)


class Network(nn.Module):
    """Layers between an input and what becomes of the last maps."""

    def __init__(
        self,
        *layers: nn.Module,
        levels: int = 3,
        channels: int = 1,
        before: Callable[[Tensor], Tensor] = lambda x: x.float(),
        after: Callable[[Tensor, Tensor], Any] = lambda y, x: y,
    ) -> None:
        super().__init__()
        self.channels, self.levels, self.before, self.after = channels, levels, before, after
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Any:
        return self.after(self.layers(self.before(x)), x)


def stack(first: bool = False, outputs: int = 3, *between: nn.Module) -> list[nn.Module]:
    return [
        MaskedConv(1, 8, own=first),
        nn.ELU(),
        *between,
        MaskedConv(8, 8, own=True),
        nn.ELU(),
        nn.Conv2d(8, outputs, 1),
    ]


def of_colours(*, right: bool) -> list[nn.Module]:
    """Two colours in blocks of features; the wrong one lets every colour see itself."""

    def centre(inputs: int, outputs: int, strict: bool) -> Tensor:
        reader = torch.arange(outputs) * 2 // outputs
        source = torch.arange(inputs) * 2 // inputs
        sees = source < reader[:, None] if strict else source <= reader[:, None]
        mask = causal(3, own=True).repeat(outputs, inputs, 1, 1)
        mask[:, :, 1, 1] = sees.float()
        return mask

    return [
        MaskedConv(2, 8, own=True, mask=centre(2, 8, right)),
        nn.ELU(),
        MaskedConv(8, 8, own=True, mask=centre(8, 8, False)),
        nn.ELU(),
        MaskedConv(8, 6, own=True, mask=centre(8, 6, False)),
    ]


class Gated(nn.Module):
    """Two stacks; the vertical one ends a row higher, unless it is wrong."""

    channels, levels = 1, 3

    def __init__(self, shift: int = 1) -> None:
        super().__init__()
        self.shift = shift
        self.vertical = nn.Conv2d(1, 8, (2, 3), padding=(1, 1))
        self.horizontal = nn.Conv2d(1, 8, (1, 2), padding=(0, 2))
        self.link, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.head.weight.dtype)
        v = self.vertical(x)[:, :, : x.shape[2]]  # rows r-1 and r
        v = functional.pad(v, (0, 0, self.shift, 0))[:, :, : x.shape[2]]
        h = self.horizontal(x)[..., : x.shape[3]]
        return self.head(torch.tanh(h + self.link(v)))  # type: ignore[no-any-return]


class Sequence(nn.Module):
    """Pixels as a sequence, for an LSTM or attention; shifted so that none sees itself."""

    channels, levels = 1, 3

    def __init__(self, kind: str, *, shift: bool = True) -> None:
        super().__init__()
        self.kind, self.shift = kind, shift
        self.embedding = nn.Embedding(4, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True) if kind == "lstm" else None
        self.maps, self.head = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.long().flatten(1) + 1
        if self.shift:
            sequence = functional.pad(sequence, (1, 0))[:, :-1]
        y = self.embedding(sequence)
        if self.lstm is not None:
            y = self.lstm(y)[0]
        else:
            q, k, v = self.maps(y).chunk(3, dim=2)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(y).transpose(1, 2).reshape(len(x), 3, *x.shape[2:])  # type: ignore[no-any-return]


class Made(nn.Module):
    """Masked linear layers, for images of one size; the order of its units may be wrong."""

    channels, levels, sites = 1, 2, 6

    def __init__(self, *, strict: bool = True) -> None:
        super().__init__()
        degrees = torch.arange(self.sites).repeat_interleave(3)
        self.hidden = nn.Linear(self.sites, len(degrees))
        self.out = nn.Linear(len(degrees), self.sites)
        inputs = torch.arange(self.sites)
        self.register_buffer("first", (inputs <= degrees[:, None]).float())
        last = degrees < inputs[:, None] if strict else degrees <= inputs[:, None]
        self.register_buffer("last", last.float())

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(1).to(self.out.weight.dtype)
        y = functional.linear(y, self.hidden.weight * self.first, self.hidden.bias).relu()  # type: ignore[operator]
        y = functional.linear(y, self.out.weight * self.last, self.out.bias)  # type: ignore[operator]
        return y.view(x.shape)


class ForClasses(nn.Module):
    channels, levels, conditions = 1, 3, (ClassCondition(2),)

    def __init__(self, *, used: bool) -> None:
        super().__init__()
        self.net, self.classes, self.used = SingleStack(depth=2), nn.Embedding(2, 3), used

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y + self.classes(condition)[:, :, None, None] if self.used else y


class OverFeatures(nn.LayerNorm):
    """Normalises the features of each pixel, which is right."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def mean_of_last_row(y: Tensor, x: Tensor) -> Tensor:
    last = functional.one_hot(torch.tensor(x.shape[2] - 1), x.shape[2]).view(-1, 1)
    return y + last * x.float().mean(dim=(2, 3), keepdim=True) * torch.arange(3).view(-1, 1, 1)


def squares(y: Tensor, x: Tensor) -> object:
    """A density of reals, taken for a distribution of integers."""
    return types.SimpleNamespace(log_prob=lambda v: -0.5 * (v - y[:, :1]) ** 2 - 0.92)


def categorical(y: Tensor, x: Tensor) -> object:
    return torch.distributions.Categorical(logits=y.movedim(1, -1)[:, None])


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "masks-in-weights": lambda: Network(*stack()),
    "scaled-floats": lambda: Network(*stack(), before=lambda x: x.float() / 2 - 0.5),
    "sigmoid": lambda: Network(*stack(outputs=1), levels=2),
    "embedding": lambda: SingleStack(depth=2, embed=True),
    "two-colours": lambda: Network(*of_colours(right=True), channels=2),
    "gated": Gated,
    "lstm": lambda: Sequence("lstm"),
    "transformer": lambda: Sequence("attention"),
    "made": Made,
    "classes": lambda: ForClasses(used=True),
    "layer-norm": lambda: Network(*stack(False, 3, OverFeatures(8))),
    "dropout": lambda: Network(*stack(False, 3, nn.Dropout(0.5))),
    "distribution-object": lambda: Network(*stack(), after=categorical),
}

WRONG: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "mask-b-first": (lambda: Network(*stack(first=True)), "causality"),
    "colours-see-themselves": (
        lambda: Network(*of_colours(right=False), channels=2),
        "causality",
    ),
    "batch-norm": (lambda: Network(*stack(False, 3, nn.BatchNorm2d(8))), "causality"),
    "instance-norm": (lambda: Network(*stack(False, 3, nn.InstanceNorm2d(8))), "causality"),
    "last-row": (lambda: Network(*stack(), after=mean_of_last_row), "causality"),
    "circular-padding": (
        lambda: Network(*stack(), before=lambda x: x.float() + 0.1 * x.float().roll(1, 3)),
        "causality",
    ),
    "unshifted-stack": (lambda: Gated(shift=0), "causality"),
    "unshifted-lstm": (lambda: Sequence("lstm", shift=False), "causality"),
    "unshifted-transformer": (lambda: Sequence("attention", shift=False), "causality"),
    "made-of-wrong-degrees": (lambda: Made(strict=False), "causality"),
    "columns-first": (
        lambda: Network(
            *stack(), before=lambda x: x.float().mT, after=lambda y, x: y.mT.contiguous()
        ),
        "causality",
    ),
    "noise": (lambda: Network(*stack(), after=lambda y, x: y + torch.rand(3, 1, 1)), "repeatable"),
    "mixed-batch": (lambda: Network(*stack(), after=lambda y, x: y + y.mean(0)), "batch"),
    "unnormalised": (lambda: Network(*stack(outputs=1), after=squares), "normalised"),
    "ignored-class": (lambda: ForClasses(used=False), "condition"),
    "wrong-shape": (lambda: Network(*stack(outputs=4)), "output"),
    "nan": (lambda: Network(*stack(), after=lambda y, x: y / 0), "output"),
}


def _checked(make: Callable[[], nn.Module]) -> Any:
    torch.manual_seed(0)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        return check_model(model, shape=(2, 3), draws=2)
    finally:
        assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
        assert model.training


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_network_breaks_no_law(name: str) -> None:
    report = _checked(RIGHT[name])
    assert report.ok
    assert {law.status for law in report.laws} <= {"holds", "not tested"}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_network_breaks_the_law_that_it_breaks(name: str) -> None:
    make, law = WRONG[name]
    with pytest.raises(LawError, match=rf"\b{law}\b") as caught:
        _checked(make)
    found = {law.name: law for law in caught.value.report.broken}
    assert law in found
    if law in ("causality", "repeatable", "batch", "normalised"):
        assert "nats" in found[law].found or "by" in found[law].found
        assert "(channel " in found[law].found


class IgnoresTheCache(PixelCNN):
    def features(self, x, condition, cache, run):  # type: ignore[no-untyped-def]
        return super().features(x, condition, None, run)


def test_steps_that_are_not_the_full_pass_break_a_law() -> None:
    with pytest.raises(LawError, match="steps .*BROKEN .*ignores|steps .*BROKEN .*step by step"):
        check_model(IgnoresTheCache(levels=3, features=8, layers=1), shape=(2, 3))


def test_a_blind_spot_breaks_a_law_only_if_it_is_asked_for() -> None:
    model = PixelCNN(levels=3, features=8, layers=1, first_kernel_size=3)
    laws = {law.name: law for law in check_model(model, shape=(2, 4), draws=2).laws}
    assert "never sees" in laws["past"].found
    assert {laws[name].status for name in ("steps", "file", "samples")} == {"holds"}
    with pytest.raises(LawError, match="past .*BROKEN"):
        check_model(model, shape=(2, 4), draws=1, whole_past=True)


def test_chi_squared_has_the_false_alarms_that_it_states() -> None:
    """Of 500 right samples, 1 % deviate by more than 2.33: at most 16, but for 1 in 10⁴."""
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor([0.4, 0.3, 0.2, 0.05, 0.03, 0.01, 0.005, 0.005])
    draws = torch.multinomial(p.repeat(500, 1), 2000, True, generator=generator)
    counts = torch.stack([row.bincount(minlength=8) for row in draws])
    deviates = torch.tensor([chi_squared_z(row, p * 2000) for row in counts])
    assert 1 <= int((deviates > 2.33).sum()) <= 16
    assert chi_squared_z(counts[0], p.flip(0) * 2000) > 100


def test_one_class_is_compared_with_an_unknown_one() -> None:
    """As data of a single class have it: there is no other class."""
    model = PixelCNN(levels=3, features=6, layers=1, condition=ClassCondition(1))
    (law,) = (
        one for one in check_model(model, shape=(3, 3), draws=1).laws if one.name == "condition"
    )
    assert law.status == "holds"
