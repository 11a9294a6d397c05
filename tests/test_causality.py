"""The probe on models that are wrong on purpose: it finds each defect, and passes correct ones."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel import ClassCondition, GatedPixelCNN, check_causality
from nextpixel.analysis.receptive_fields import receptive_field, receptive_field_picture


class SingleStack(nn.Module):
    """Masked 3×3 convolutions on top of each other, with what a test wants to be different."""

    channels, levels = 1, 3

    def __init__(
        self,
        *,
        depth: int = 4,
        first: str = "A",
        embed: bool = False,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 6) if embed else None
        widths = [6 if embed else 1, *[12] * (depth - 1), 3]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.masks = [
            torch.tensor([[1, 1, 1], [1, float(i > 0 or first == "B"), 0], [0, 0, 0]])
            for i in range(depth)
        ]
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        if self.embedding is not None:
            y = self.embedding(x)[:, 0].permute(0, 3, 1, 2)
        else:
            y = x.to(self.convs[0].weight.dtype)  # type: ignore[arg-type]
        for i, (conv, mask) in enumerate(zip(self.convs, self.masks, strict=True)):
            y = functional.conv2d(torch.tanh(y), conv.weight * mask, conv.bias, padding=1)  # type: ignore[operator, arg-type]
            if i == 0 and self.norm is not None:
                y = self.norm(y)
        return y


@pytest.mark.parametrize("embed", [False, True])
def test_a_causal_model_of_ones_own_passes_and_its_blind_spot_shows(embed: bool) -> None:
    report = check_causality(SingleStack(embed=embed), shape=(4, 5))
    assert report.ok, str(report)
    # The wedge: d rows up, what lies more than d to the right is out of sight at any depth.
    assert all(past.column > site.column + site.row - past.row for site, past in report.unseen)
    assert report.unseen
    assert report.step_error is None
    assert "causal and normalised" in str(report)


@pytest.mark.parametrize("embed", [False, True])
def test_mask_b_in_the_first_layer_is_seen(embed: bool) -> None:
    report = check_causality(SingleStack(first="B", embed=embed))
    assert not report.ok
    assert ((0, 1, 2), (0, 1, 2)) in report.leaks
    assert report.total_probability != pytest.approx(1, abs=1e-3)
    assert "NOT a probability model" in str(report)


@pytest.mark.parametrize("embed", [False, True])
def test_batch_normalisation_is_seen_in_training_mode_only(embed: bool) -> None:
    report = check_causality(SingleStack(norm=nn.BatchNorm2d(12), embed=embed))
    assert not report.leaks
    assert report.leaks_in_training
    assert not report.ok


def test_normalisation_over_space_is_seen_in_both_modes() -> None:
    report = check_causality(SingleStack(norm=nn.GroupNorm(1, 12)))
    assert report.leaks
    assert not report.ok


def test_a_leak_between_images_is_seen() -> None:
    class Mixed(SingleStack):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y + y.mean(dim=0, keepdim=True) * 0.1

    assert check_causality(Mixed()).batch_error > 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_receptive_field_is_the_rectangle_that_the_docstring_says(channels: int) -> None:
    model = GatedPixelCNN(channels=channels, levels=3, features=24, layers=3, kernel_size=3)
    seen = receptive_field(model, (9, 11), pixel=(7, 5))
    expected = torch.zeros(9, 11, dtype=torch.bool)
    expected[7 - 4 : 7, 5 - 3 : 5 + 4] = True
    expected[7, 5 - 3 : 5] = True
    for reader in range(channels):
        for source in range(channels):
            own = expected.clone()
            own[7, 5] = source < reader
            assert torch.equal(seen[reader, source], own), (reader, source)
    assert receptive_field_picture(model, (9, 11)).shape[0] == 3


def test_receptive_field_of_a_model_that_takes_integers_only() -> None:
    assert torch.equal(
        receptive_field(SingleStack(embed=True), (5, 6)),
        receptive_field(SingleStack(embed=False), (5, 6)),
    )


def test_a_models_own_error_is_not_swallowed() -> None:
    class Broken(SingleStack):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        check_causality(Broken())
    with pytest.raises(RuntimeError, match="of its own"):
        receptive_field(Broken(), (3, 3))


def test_what_is_missing_is_asked_for() -> None:
    with pytest.raises(ValueError, match="no attribute 'channels'; give channels="):
        check_causality(nn.Conv2d(1, 3, 3))
    with pytest.raises(
        ValueError, match=r"logits of shape .* expected real logits \(B, 5, 1, H, W\)"
    ):
        check_causality(SingleStack(), levels=5)


def test_a_leak_under_one_class_alone_is_found() -> None:
    class Treacherous(SingleStack):
        conditions = (ClassCondition(4),)

        def forward(self, x: Tensor, condition: Tensor) -> Tensor:
            return super().forward(x) + (condition == 2).view(-1, 1, 1, 1) * x

    assert check_causality(Treacherous()).leaks
    assert not check_causality(Treacherous(), condition=torch.tensor([1])).leaks
