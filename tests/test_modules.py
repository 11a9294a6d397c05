"""Models behave as PyTorch's modules do: transforms, compilers, hooks, parameters, files."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import build, conditions, images, over
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.utils import parametrizations, prune

from nextpixel import (
    GatedPixelCNN,
    Logits,
    MapCondition,
    MultiScale,
    PixelCNN,
    initial_state,
    load,
    sample,
    save,
    score,
    train,
)
from nextpixel.conditions.values import Values
from nextpixel.layers.layout import LaidOut, lay_out
from nextpixel.models.core import ImageModel
from nextpixel.training.muon import Muon

# Forward mode and the compiler script functions of their own.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


def _given(name: str, n: int, size: tuple[int, int]) -> tuple[ImageModel, Tensor, Values]:
    """A case, images and conditions; an auto-encoder takes its own size."""
    model = build(name)
    size = model.size or size
    return model, images(model, n, size), conditions(model, n, size)


@over()
def test_transforms_agree_with_gradients(name: str) -> None:
    """Gradients of each picture, forward mode, and derivatives of gradients."""
    model, x, values = _given(name, 2, (3, 3))
    parameters = {key: value.detach() for key, value in model.named_parameters()}

    def nats(parameters: dict[str, Tensor], x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(model, parameters, (x, values)).log_prob(x).sum()  # type: ignore[no-any-return]

    def of_one(parameters: dict[str, Tensor], x: Tensor, *values: Tensor) -> Tensor:
        return nats(parameters, x[None], *(value[None] for value in values))

    total = model(x, values).log_prob(x).sum()
    used = {key: p for key, p in model.named_parameters() if "encoder.conv" not in key}
    plain = torch.autograd.grad(total, list(used.values()), create_graph=True, allow_unused=True)
    by_name = {key: g for key, g in zip(used, plain, strict=True) if g is not None}
    each = vmap(grad(of_one), in_dims=(None, 0, *[0] * len(values)))(parameters, x, *values)
    generator = torch.Generator().manual_seed(0)
    along = {
        key: torch.randn(p.shape, dtype=p.dtype, generator=generator)
        for key, p in parameters.items()
    }
    _, (slope, second) = jvp(
        lambda p: (nats(p, x, *values), grad(nats)(p, x, *values)), (parameters,), (along,)
    )
    product = sum((g * along[key]).sum() for key, g in by_name.items())
    assert isinstance(product, Tensor) and torch.allclose(slope, product)
    twice = torch.autograd.grad(product, [used[key] for key in by_name], allow_unused=True)
    for key, again in zip(by_name, twice, strict=True):
        assert torch.allclose(each[key].sum(dim=0), by_name[key], atol=1e-10), key
        assert again is None or torch.allclose(second[key], again, atol=1e-10), key


@pytest.mark.parametrize("name", ["row-lstm", "diagonal"])
def test_scans_differentiate_in_forward_mode_and_thrice(name: str) -> None:
    model, x, _ = _given(name, 1, (2, 3))
    weight = dict(model.named_parameters())["blocks.0.layer.state_to_state"]

    def nats(value: Tensor) -> Tensor:
        called = functional_call(model, {"blocks.0.layer.state_to_state": value}, (x,))
        return called.log_prob(x).sum()  # type: ignore[no-any-return]

    along = torch.full_like(weight, 0.3)
    with forward_ad.dual_level():
        dual = nats(forward_ad.make_dual(weight.detach(), along))
        slope = forward_ad.unpack_dual(dual).tangent
    derivatives, value = [], nats(weight)
    for _ in range(3):
        value = (torch.autograd.grad(value, weight, create_graph=True)[0] * along).sum()
        derivatives.append(float(value.detach()))

    def at(t: Tensor) -> Tensor:
        return nats(weight.detach() + t * along)

    expected: Callable[[Tensor], Tensor] = at
    for derivative in derivatives:
        expected = _slope_of(expected)
        wanted = float(expected(torch.zeros((), dtype=torch.float64)).detach())
        assert derivative == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert slope is not None and float(slope.detach()) == pytest.approx(derivatives[0], rel=1e-9)


def _slope_of(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda t: jvp(function, (t,), (torch.ones_like(t),))[1]  # type: ignore[no-any-return]


_COMPILED = """
import torch
from cases import build, conditions, images
from nextpixel import Logits

batch = torch.export.Dim("batch", min=1, max=16)
for name in ("gated-all-conditions", "row-lstm-positions", "diagonal"):
    model = build(name)
    x, values = images(model, 2, (2, 3)), conditions(model, 2, (2, 3))
    whole = torch.compile(lambda: model(x, values).log_prob(x), fullgraph=True, backend="eager")
    found, plain = whole(), model(x, values).log_prob(x)
    assert torch.allclose(found, plain, atol=1e-12), name
    for one, other in zip(
        *(torch.autograd.grad(nats.sum(), list(model.parameters())) for nats in (found, plain))
    ):
        assert torch.allclose(one, other, atol=1e-12), name
    shapes = {"x": {0: batch}, "condition": tuple({0: batch} for _ in values)}
    program = torch.export.export(Logits(model), (x, values), dynamic_shapes=shapes)
    x, values = images(model, 3, (2, 3)), conditions(model, 3, (2, 3))
    exported = program.module()(x, values)
    assert torch.allclose(exported, Logits(model)(x, values), atol=1e-12), name
"""


@pytest.mark.slow
def test_passes_are_compiled_and_exported_as_one_graph() -> None:
    """In a process of its own, without the types that the tests check, which no compiler takes."""
    tests = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", _COMPILED], cwd=tests, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", ["gated-rgb", "multi-scale", "gated-logistic"])
def test_logits_are_the_models(name: str) -> None:
    model, x, values = _given(name, 2, (3, 4))
    nats = -nn.functional.cross_entropy(Logits(model)(x, values), x, reduction="none")
    assert torch.allclose(nats, model(x, values).log_prob(x), atol=1e-12)


def _gradients(model: nn.Module, nats: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(nats.sum(), list(model.parameters()), materialize_grads=True)


@over()
def test_hooks_fire_and_every_module_says_its_sizes(name: str) -> None:
    model, x, values = _given(name, 1, (4, 4))
    fired: set[str] = set()
    for path, part in model.named_modules():
        if not isinstance(part, nn.ModuleList):  # only a list
            part.register_forward_hook(lambda *_, path=path: fired.add(path))
        if type(part).__module__.startswith("nextpixel."):
            assert any(sign.isdigit() for sign in part.extra_repr()), path
    model(x, () if model.size else values)
    expected = {path for path, part in model.named_modules() if not isinstance(part, nn.ModuleList)}
    assert fired == expected


def test_hooks_fire_at_every_step_of_a_walk() -> None:
    model, calls = build("gated"), []
    plain = sample(model, 1, (3, 4), generator=torch.Generator().manual_seed(0))
    model.get_submodule("blocks.1.out").register_forward_hook(lambda *_: calls.append(1))
    hooked = sample(model, 1, (3, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain, hooked) and len(calls) >= 4 + 2 * 2  # a front has a site of each row


@over()
def test_parameters_are_contiguous_and_passes_channels_last(name: str, tmp_path: Path) -> None:
    model, x, values = _given(name, 1, (3, 3))
    save_model(model, str(tmp_path / "model.safetensors"))
    before = model(x, values).log_prob(x)
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector, model.parameters())
    assert torch.equal(model(x, values).log_prob(x), before)
    strides: list[bool] = []
    for part in model.modules():
        if isinstance(part, LaidOut):
            part.register_forward_hook(  # type: ignore[attr-defined]
                lambda *given: strides.append(given[2].is_contiguous())
            )
    kernels = [p for p in model.parameters() if p.ndim == 4]
    assert kernels and all(p.is_contiguous() for p in kernels)
    wide = images(model, 2, model.size or (5, 4)), conditions(model, 2, model.size or (5, 4))
    model(*wide)
    assert not all(strides)
    lay_out(model, channels_last=False)
    assert torch.allclose(model(x, values).log_prob(x), before, atol=1e-12)


def test_training_leaves_parameters_contiguous() -> None:
    from nextpixel import TrainConfig, load_data

    data = load_data("digits")
    model = PixelCNN(levels=data.levels, features=8, layers=1)
    config = TrainConfig(steps=1, batch_size=4, optimizer="muon", evaluate_every=2)
    state = initial_state(model, config)
    next(train(state, data, config))
    nn.utils.parameters_to_vector(state.model.parameters())
    nn.utils.parameters_to_vector(state.average.parameters())


def test_pruned_and_parametrised_layers_are_trained_scored_and_drawn() -> None:
    for change in (_prune, _normalise):
        model, x, values = _given("row-lstm-rgb-classes", 2, (3, 4))
        for part in list(model.modules()):
            if isinstance(part, LaidOut):
                change(part)
        for _ in range(2):
            model(x, values).log_prob(x).mean().backward()
        nats = model(x, values).log_prob(x).sum(dim=(1, 2, 3))
        assert torch.allclose(score(model, x, values), nats)
        assert sample(model, 1, (2, 2), condition=torch.tensor([0])).shape == (1, 3, 2, 2)


def _prune(part: nn.Module) -> None:
    prune.l1_unstructured(part, "weight", amount=0.3)  # type: ignore[no-untyped-call]


def _normalise(part: nn.Module) -> None:
    parametrizations.weight_norm(part)


@pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="torch 2.6 cannot shard on the CPU"
)
def test_sharded_parameters_give_the_same_gradients(tmp_path: Path) -> None:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        for name in ("gated-classes", "row-lstm"):
            model, x, values = _given(name, 2, (3, 4))
            expected = _gradients(model, model(x, values).log_prob(x))
            for block in model.get_submodule("blocks").children():
                fully_shard(block, mesh=mesh)
            fully_shard(model, mesh=mesh)
            model(x, values).log_prob(x).sum().backward()
            for parameter, wanted in zip(model.parameters(), expected, strict=True):
                sharded: Any = parameter.grad
                assert torch.allclose(sharded.full_tensor(), wanted)
    finally:
        distributed.destroy_process_group()


class _Own(PixelCNN):
    pass


def _tied(model: Any) -> None:
    model.blocks[1].up.weight = model.blocks[0].up.weight


def _exchanged(model: Any) -> None:
    model.blocks[1].layer = nn.Identity()


UNREADABLE: dict[str, tuple[Callable[[Any], object], str]] = {
    "pruned": (lambda m: _prune(m.head_out), r"head_out\.weight_orig.*prune.remove first"),
    "parametrised": (lambda m: _normalise(m.head_out), r"head_out.*remove_parametrizations first"),
    "mixed": (lambda m: m.head_out.half(), "float32 and ‹model.head_out.weight› is torch.float16"),
    "meta": (lambda m: m.to("meta"), "on the meta device and has no values"),
    "added": (lambda m: m.add_module("own", nn.Linear(1, 1)), "‹model.own› is Linear, but absent"),
    "buffer": (lambda m: m.register_buffer("own", torch.ones(2)), "‹model.own› is a tensor"),
    "tied": (_tied, "blocks.0.up.weight› and ‹model.blocks.1.up.weight› are one parameter"),
    "exchanged": (_exchanged, "blocks.1.layer› is Identity, but ConvolutionalLayer"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_loaded_is_not_saved(kind: str, tmp_path: Path) -> None:
    change, message = UNREADABLE[kind]
    model = PixelCNN(levels=4, features=8, layers=2)
    change(model)
    with pytest.raises(ValueError, match=message):
        save(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_subclasses_are_found_inside_other_models(tmp_path: Path) -> None:
    large = PixelCNN(levels=4, features=8, layers=1, condition=MapCondition(1, levels=4))
    model = MultiScale(small=_Own(levels=4, features=8, layers=1), large=large)
    with pytest.raises(ValueError, match=r"the class _Own of ‹model.small›, only"):
        save(model, tmp_path / "model.safetensors")
    state = torch.get_rng_state()
    save(large, tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert load(tmp_path / "model.safetensors").config() == large.config()


def test_muon_takes_schedulers_and_scaled_gradients() -> None:
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=4, features=8, layers=2)
    x = torch.randint(4, (2, 1, 4, 4))
    plain, scaled = model, copy.deepcopy(model)
    weights = []
    for network, scaler in ((plain, None), (scaled, torch.amp.GradScaler("cpu", init_scale=1024))):
        optimizer = Muon(network, lr=0.1)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.1, total_steps=4, cycle_momentum=False
        )
        for _ in range(3):
            optimizer.zero_grad()
            loss = -network(x).log_prob(x).mean()
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimizer)
                scaler.update()
            scheduler.step()
        assert {group["lr"] for group in optimizer.param_groups} == set(scheduler.get_last_lr())
        weights.append(nn.utils.parameters_to_vector(network.parameters()).detach())
    assert torch.allclose(*weights, atol=1e-4)
