"""Muon: what it makes of matrices, which parameters it takes, and that it agrees with torch."""

import copy
import pickle
from typing import Any

import pytest
import torch
from cases import CASES, over
from torch import nn

from nextpixel.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 6), (5, 40), (40, 5), (2, 8, 24), (3, 1, 7)])
def test_orthogonal_keeps_directions_and_evens_out_singular_values(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    matrix = u @ torch.diag_embed(s.clamp(min=0.1)) @ v
    made = orthogonal(1e-3 * matrix)
    assert made.shape == matrix.shape
    assert torch.allclose(
        made, orthogonal(50 * matrix), atol=1e-3
    )  # the scale of a gradient does not count
    kept = u.mT @ made @ v.mT
    values = kept.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(kept, torch.diag_embed(values), atol=1e-9)
    assert 0.6 < float(values.min()) and float(values.max()) < 1.3


def test_orthogonal_of_nothing_is_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has its own Muon from 2.9 on")
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_matrices_move_as_under_torchs_own_muon(weight_decay: float) -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(24, 16, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizers = [
        Muon(ours, lr=0.02, weight_decay=weight_decay),
        torch.optim.Muon(
            theirs.parameters(), lr=0.02, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
    ]
    for _ in range(10):
        x = torch.randn(8, 24)
        for network, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    moved = (ours.weight - theirs.weight).detach()
    assert float(moved.norm() / ours.weight.detach().norm()) < 0.01  # theirs multiplies in bfloat16


@over()
def test_every_parameter_is_updated_once(name: str) -> None:
    model = CASES[name]()
    optimizer = Muon(model, lr=0.1)
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()} and len(grouped) == len(
        set(grouped)
    )
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_biases_conditions_and_the_last_layer_are_adamws() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head_out = nn.Conv2d(4, 8, 3), nn.Conv2d(8, 2, 1)
            self.condition_bias = nn.Linear(3, 8)
            self.state_to_state = nn.Parameter(torch.randn(2, 2, 4, 16))
            self.initial_h = nn.Parameter(torch.randn(2, 4))

    model = Layer()
    kernels, recurrent, others, biases = Muon(model, lr=0.1, weight_decay=0.5).param_groups
    assert [p.shape for p in kernels["params"]] == [(8, 4, 3, 3)] and kernels["flatten"] == (1, -1)
    assert [p.shape for p in recurrent["params"]] == [(2, 2, 4, 16)] and recurrent["flatten"] == (
        -3,
        -2,
    )
    assert {id(p) for p in others["params"]} == {id(model.head_out.weight), id(model.initial_h)}
    assert biases["weight_decay"] == 0 and len(biases["params"]) == 4
    assert {group["weight_decay"] for group in (kernels, recurrent, others)} == {0.5}


def test_state_to_state_matrices_of_all_taps_are_one() -> None:
    model = nn.Module()
    model.state_to_state = nn.Parameter(torch.randn(2, 3, 4, 16))
    optimizer = Muon(model, lr=0.1)
    gradient = torch.randn(2, 3, 4, 16)
    model.state_to_state.grad = gradient
    before = model.state_to_state.detach().clone()
    optimizer.step()
    update: Any = (before - model.state_to_state.detach()) / (0.1 * 0.2 * 16**0.5)
    assert torch.allclose(update.view(2, 12, 16), orthogonal(gradient.view(2, 12, 16)), atol=1e-4)


def _after_steps(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int) -> Any:
    for step in range(steps):
        model.zero_grad()
        model(torch.ones(2, 6) * (step + 1)).square().sum().backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def _layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_goes_on_like_the_original(how: Any) -> None:
    model = _layers()
    optimizer = Muon(model, lr=0.1)
    _after_steps(optimizer, model, 2)
    model_too, optimizer_too = how((model, optimizer))
    assert torch.equal(_after_steps(optimizer, model, 2), _after_steps(optimizer_too, model_too, 2))


def test_it_is_used_like_any_optimizer_of_torch() -> None:
    """A closure gives the loss, groups can be added, and autocast changes nothing."""
    model, other = _layers(), _layers()
    new = nn.Parameter(torch.ones(6))
    optimizer, plain = Muon(model, lr=0.1), Muon(other, lr=0.1)
    optimizer.add_param_group({"params": [new]})

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = model(torch.ones(2, 6)).square().sum() + new.square().sum()
        loss.backward()
        return loss

    other(torch.ones(2, 6)).square().sum().backward()
    plain.step()
    with torch.autocast("cpu", torch.bfloat16):
        first = optimizer.step(closure=lambda: _without_autocast(closure))
    assert float(first.detach()) > 6 and not torch.equal(new, torch.ones(6))
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def _without_autocast(closure: Any) -> Any:
    with torch.autocast("cpu", enabled=False):
        return closure()
