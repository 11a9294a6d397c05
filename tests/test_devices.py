"""What must hold on every device, as far as a CPU can tell."""

import warnings

import numpy as np
import pytest
import torch
from cases import build, conditions, images

from nextpixel import GatedPixelCNN, TrainConfig, devices, initial_state, sample, score, train
from nextpixel.data.splits import ImageData, Split
from nextpixel.devices import full_precision, multiplies_bf16, seeded
from nextpixel.layers import constants
from nextpixel.layers.scan import diagonal_fronts, row_fronts
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.walk import walk


@pytest.mark.parametrize("chosen", ["tf32", "ieee"])
def test_full_precision_is_restored(chosen: str) -> None:
    """TF32 is off inside, for products and convolutions, and restored afterwards."""
    cuda, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(torch.backends, "fp32_precision"):
        name, chosen_value, exact = "fp32_precision", chosen, "ieee"
        backends = convolutions.conv, cuda
    else:  # before torch 2.9
        name, chosen_value, exact = "allow_tf32", chosen == "tf32", False
        backends = convolutions, cuda
    before = [getattr(backend, name) for backend in backends]
    try:
        for backend in backends:
            setattr(backend, name, chosen_value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # autocast says that there is no CUDA
            with pytest.raises(KeyError), full_precision(torch.device("cuda")):
                assert [getattr(backend, name) for backend in backends] == [exact, exact]
                raise KeyError
        assert [getattr(backend, name) for backend in backends] == [chosen_value, chosen_value]
    finally:
        for backend, precision in zip(backends, before, strict=True):
            setattr(backend, name, precision)


def test_a_seed_is_for_a_while() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with seeded(7):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(KeyError), seeded(7):
        assert torch.equal(torch.rand(3), first)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_bf16_is_chosen_where_it_is_faster(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_seconds", {torch.bfloat16: seconds, torch.float32: 1.0}.get)
    assert multiplies_bf16(torch.device("cpu")) == (seconds < 1)
    assert not multiplies_bf16(torch.device("meta"))


@pytest.mark.parametrize("end", ["the last site", "broken off", "an error"])
def test_a_walk_gives_the_threads_back(end: str) -> None:
    """One thread within a step, and between steps as many as the caller has."""
    model = build("gated")
    x, within = images(model, 2, (3, 3)), []
    model.head_hidden.register_forward_hook(lambda *_: within.append(torch.get_num_threads()))
    torch.set_num_threads(3)  # a fixture sets one thread before every test
    sites, others = walk(model, x), walk(model, x)
    next(sites), next(others)
    assert torch.get_num_threads() == 3 and set(within) == {1}
    if end == "the last site":
        list(sites)
    elif end == "broken off":
        sites.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(KeyError):
            sites.throw(KeyError)  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("name", ["row-lstm", "diagonal", "gated-positions"])
def test_what_is_kept_between_calls_suits_every_caller(name: str) -> None:
    """A model made under another default device or in inference mode works afterwards."""
    constants._KEPT.clear()
    model = build(name)
    x = images(model, 2, (5, 6))
    with torch.device("meta"):
        row_fronts(5, 6, 3)
        diagonal_fronts(5, 6)
    with torch.inference_mode():
        model(x)
    model(x).log_prob(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "name", ["gated-logistic", "diagonal-logistic", "pixel-cnn-codes-logistic"]
)
def test_mixtures_are_in_full_precision_where_the_rest_is_not(name: str) -> None:
    model = build(name).float()
    x, condition = images(model, 2, (4, 4)), conditions(model, 2, (4, 4))
    outputs: list[torch.Tensor] = []
    model.head_out.register_forward_hook(lambda _module, _inputs, y: outputs.append(y))
    with torch.autocast("cpu", torch.bfloat16):
        model(x, condition).log_prob(x).sum().backward()
    assert outputs[0].dtype == torch.float32


def test_half_precision_weights_are_not_trained() -> None:
    """They would lose small updates; but they score and draw."""
    model = GatedPixelCNN(levels=4, features=8, layers=2).to(torch.bfloat16)
    few = Split(images=np.zeros((4, 1, 4, 4), np.uint8))
    data = ImageData(
        source=Source("zeros"),
        levels=4,
        channels=1,
        shape=(4, 4),
        classes=(),
        train=few,
        valid=few,
        test=few,
        preparation=Preparation(),
    )
    config = TrainConfig(steps=1, batch_size=2)
    with pytest.raises(ValueError, match=r"train model.float\(\)"):
        next(train(initial_state(model, config), data, config))
    assert score(model, sample(model, 2, (4, 4))).isfinite().all()


@pytest.mark.parametrize("name", ["gated", "gated-codes", "multi-scale"])
def test_damaged_weights_are_told(name: str) -> None:
    model = build(name)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    with pytest.raises(ValueError, match="its weights are damaged"):
        sample(model, 1, (4, 4))
