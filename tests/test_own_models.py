"""Models of other people: plain modules, subclasses, and what wraps a model."""

import copy
import types
from pathlib import Path

import pytest
import torch
from borders import data_of_splits, split_of_arrays
from cases import build, conditions, images
from test_causality import SingleStack
from torch import Tensor, nn
from torch.nn.parallel import DataParallel
from torch.optim.swa_utils import AveragedModel

from nextpixel import (
    PixelCNN,
    TrainConfig,
    bits_per_dim,
    check_causality,
    complete,
    initial_state,
    sample,
    save,
    score,
    train,
)
from nextpixel.cache import Cache
from nextpixel.layers.heads import Categorical
from nextpixel.models.core import ImageModel, Scale
from nextpixel.models.wrapping import FullPassModel, as_model, unwrap
from nextpixel.scoring import dequantised_score, entropy_map, log_prob_map
from nextpixel.training import runs
from nextpixel.turning import visiting_order
from nextpixel.walk import fronts, walk

slow_steps = pytest.mark.filterwarnings("ignore:this module keeps nothing")


class Plain(nn.Module):
    """A model of ours, without anything that tells so."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.inside = model

    def forward(self, x: Tensor, condition: Tensor | tuple[Tensor, ...] | None = None) -> object:
        return self.inside(x, condition)


class OnlyLogProb(Plain):
    """Its distributions have nothing but log_prob."""

    def forward(self, x: Tensor, condition: Tensor | tuple[Tensor, ...] | None = None) -> object:
        return types.SimpleNamespace(log_prob=super().forward(x, condition).log_prob)  # type: ignore[attr-defined]


@slow_steps
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pixel-cnn-rgb-classes", Plain),
        ("gated-logistic", OnlyLogProb),
        ("row-lstm-vector-and-map", Plain),
    ],
)
def test_a_module_is_used_as_the_model_that_it_is(name: str, kind: type[Plain]) -> None:
    """Every function gives for full passes what it gives for steps with caches."""
    own = build(name)
    model = as_model(
        kind(own), channels=own.channels, levels=own.levels, conditions=own.conditions
    ).double()
    x, given = images(own, 2, (2, 3)), conditions(own, 2, (2, 3))
    close = {"rtol": 1e-9, "atol": 1e-9}
    for function in (score, log_prob_map, entropy_map):
        torch.testing.assert_close(function(model, x, given), function(own, x, given), **close)
    seeds = [torch.Generator().manual_seed(1) for _ in range(2)]
    if kind is Plain:
        torch.testing.assert_close(
            dequantised_score(model, x, given, generator=seeds[0]),
            dequantised_score(own, x, given, generator=seeds[1]),
            **close,
        )
    law = own(x, given)
    for go in (walk, fronts):
        for at, found in go(model, x, given):
            wanted = law.log_pmf(x, at.channel)
            row, column = (at.row, at.column) if go is walk else (at.rows, at.columns)
            wanted = wanted[:, :, row, column]
            wanted = wanted if go is walk else wanted.transpose(1, 2)
            torch.testing.assert_close(found, wanted, **close)
    known = torch.rand(2, 3, generator=torch.Generator().manual_seed(2)) < 0.4
    options = {"condition": given, "draws": 2}
    drawn = [
        complete(one, x, known, generator=torch.Generator().manual_seed(3), **options)  # type: ignore[arg-type]
        for one in (model, own)
    ]
    assert torch.equal(*drawn)
    cache = Cache(2, model.colours, 2, 3)  # type: ignore[attr-defined]
    cache.move_to_rows(0, 1)
    torch.testing.assert_close(
        model(x, given, cache).log_prob(x[:, :, :1]), law.log_prob(x)[:, :, :1], **close
    )


class Logits(nn.Module):
    """Independent sub-pixels: the same logits in one of the accepted layouts."""

    def __init__(self, form: str, levels: int = 2) -> None:
        super().__init__()
        self.form, self.channels, self.levels = form, 3, levels
        self.logits = nn.Parameter(torch.randn(3, levels))

    def forward(self, x: Tensor) -> object:
        logits = self.logits[None, :, :, None, None].expand(len(x), -1, -1, *x.shape[2:])
        if self.form == "values":
            return logits.transpose(1, 2)
        if self.form == "object":
            return torch.distributions.Categorical(logits=logits.permute(0, 1, 3, 4, 2))
        if self.form == "one":
            return logits[:, :, 1] - logits[:, :, 0]
        if self.form == "density":
            return torch.distributions.Normal(x, 1.0)
        return logits.flatten(1, 2) if self.form == "blocks" else (logits, logits)


def test_all_forms_of_outputs_say_the_same() -> None:
    x = torch.randint(2, (2, 3, 2, 3))
    forms = [Logits(form) for form in ("values", "blocks", "object", "one")]
    for form in forms[1:]:
        form.load_state_dict(forms[0].state_dict())
    nats = [score(form, x) for form in forms]
    expected = (
        forms[0]
        .logits.detach()
        .log_softmax(1)[torch.arange(3)[:, None], x.transpose(0, 1).flatten(1)]
    )
    assert float(expected.sum()) == pytest.approx(float(nats[0].sum()))
    for other in nats[1:]:
        torch.testing.assert_close(other, nats[0])
    for wrong, found in (("tuple", "a tuple"), ("one", r"logits of shape \(2, 3, 2, 3\)")):
        with pytest.raises(ValueError, match=rf"{found} .*expected real logits \(B, 5, 3, H, W\)"):
            score(Logits(wrong, levels=5), x)
    with pytest.raises(ValueError, match="gave a Normal, whose log_prob is a density of reals; gi"):
        score(Logits("density"), x)


def test_what_a_module_does_not_say_is_asked_for() -> None:
    x = torch.zeros(1, 1, 2, 2).long()
    with pytest.raises(ValueError, match="Conv2d has no attribute 'channels'; give channels="):
        score(nn.Conv2d(1, 3, 3), x)
    with pytest.raises(ValueError, match="levels=1 is no number of levels"):
        as_model(nn.Conv2d(1, 3, 3), channels=1, levels=1)
    with pytest.raises(ValueError, match="unconditional"):
        score(SingleStack(), x, torch.tensor([1]))
    with pytest.warns(UserWarning, match="9 steps are as many full passes"):
        sample(SingleStack(), 1, (3, 3))
    assert torch.equal(complete(SingleStack(), x, [[True]])[:, 0], x)  # no step, and no warning
    holder = nn.ModuleDict({"loss": nn.Identity(), "model": build("gated-codes")})
    with pytest.raises(ValueError, match="ModuleDict .*; give the model that it holds, its .model"):
        score(holder, x)


class WholeImages(nn.Module):
    """A table of logits for each place, so that it takes images of one size only."""

    channels, levels = 1, 3

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(3, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2:] == (3, 3)
        return self.table.expand(len(x), -1, -1, -1, -1)


@slow_steps
def test_steps_of_a_module_are_passes_over_whole_images() -> None:
    x, known = torch.zeros(2, 1, 3, 3).long(), torch.tensor([[False], [True], [True]])
    assert complete(WholeImages(), x, known).shape == (2, 1, 1, 3, 3)


class IgnoresInLayers(PixelCNN):
    def features(self, x, condition, cache, run):  # type: ignore[no-untyped-def]
        return super().features(x, condition, None, run)


class IgnoresInForward(PixelCNN):
    def forward(self, x, condition=None, cache=None):  # type: ignore[no-untyped-def]
        return super().forward(x, condition)


class Forgets(PixelCNN):
    """Takes the cache, and looks at the past in full passes only."""

    def features(self, x, condition, cache, run):  # type: ignore[no-untyped-def]
        y, skips = super().features(x, condition, cache, run)
        if cache is None:
            y = y + torch.roll(y, 1, dims=3)
        return y, skips


class TakesNoCache(PixelCNN):
    def forward(self, x, condition=None):  # type: ignore[no-untyped-def, override]
        return super().forward(x, condition)


class TenLines(ImageModel):
    def __init__(self) -> None:
        super().__init__(channels=1, levels=3)
        self.conditions, self.net = (), SingleStack()

    def forward(self, x, condition=None, cache=None):  # type: ignore[no-untyped-def]
        return Categorical(self.net(x), 1, 3)

    def scales(self):  # type: ignore[no-untyped-def]
        yield Scale(self, 1, None)  # type: ignore[arg-type]

    def config(self):  # type: ignore[no-untyped-def]
        return {}


def _own(kind: type[nn.Module]) -> nn.Module:
    model = kind() if kind is TenLines else kind(levels=3, features=8, layers=2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


@slow_steps
@pytest.mark.parametrize("kind", [IgnoresInLayers, IgnoresInForward, Forgets])
def test_a_subclass_that_ignores_the_cache_is_refused(kind: type[PixelCNN]) -> None:
    model, x = _own(kind), torch.randint(3, (2, 1, 3, 4))
    for use in (lambda m: sample(m, 1, (3, 4)), lambda m: list(walk(m, x))):
        with pytest.raises(ValueError, match=f"{kind.__name__}.*as_model"):
            use(model)
    assert not check_causality(model, shape=(2, 3), draws=1).ok
    law = model(x)
    for site, found in walk(as_model(model), x):
        torch.testing.assert_close(found, law.log_pmf(x, site.channel)[..., site.row, site.column])


@slow_steps
@pytest.mark.parametrize("kind", [TakesNoCache, TenLines])
def test_a_subclass_without_steps_is_walked_by_full_passes(kind: type[ImageModel]) -> None:
    model, x = _own(kind), torch.randint(3, (2, 1, 3, 4))
    law = model(x)
    for site, found in walk(model, x):
        torch.testing.assert_close(found, law.log_pmf(x, site.channel)[..., site.row, site.column])
    assert sample(model, 2, (3, 4)).shape == (2, 1, 3, 4)
    assert check_causality(model, shape=(2, 3), draws=1).ok


def test_the_check_of_steps_changes_no_draw() -> None:
    class Own(PixelCNN):
        pass

    model = PixelCNN(levels=4, features=8, layers=2)
    own = Own(levels=4, features=8, layers=2)
    own.load_state_dict(model.state_dict())
    drawn = [sample(m, 3, (5, 4), generator=torch.Generator().manual_seed(1)) for m in (model, own)]
    assert torch.equal(*drawn)


def _lightning(**held: nn.Module) -> nn.Module:
    """What a LightningModule looks like from outside."""
    base = type("LightningModule", (nn.Module,), {"__module__": "lightning.pytorch.core.module"})
    module = type("Mine", (base,), {})()
    for name, part in held.items():
        setattr(module, name, part)
    return module


WRAPPERS = {
    "averaged": AveragedModel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "parallel": DataParallel,
    "lightning": lambda model: _lightning(model=model, metric=nn.Identity()),
    "both": lambda model: AveragedModel(torch.compile(model, backend="eager")),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_taken_off(wrapper: str, tmp_path: Path) -> None:
    model = build("multi-scale")
    wrapped = WRAPPERS[wrapper](copy.deepcopy(model))  # type: ignore[operator]
    assert type(unwrap(wrapped)) is type(model)
    x, given = images(model, 2, (4, 4)), conditions(model, 2, (4, 4))
    assert torch.equal(score(wrapped, x, given), score(model, x, given))
    if wrapper != "averaged":
        return
    assert check_causality(wrapped, shape=(2, 3), draws=1).ok
    assert sample(wrapped, 2, (4, 4), condition=given).shape == x.shape
    assert next(iter(walk(wrapped, x, given)))[1].shape == (2, model.levels)
    save(wrapped, tmp_path / "model.safetensors")
    state = initial_state(wrapped, TrainConfig())
    assert state.model is unwrap(wrapped)


def test_what_cannot_be_taken_off_is_said() -> None:
    model = build("gated-codes")
    with pytest.raises(ValueError, match=r"holds several models \(a, b\)"):
        score(_lightning(a=model, b=copy.deepcopy(model)), images(model, 1, (2, 2)))
    with pytest.raises(ValueError, match="Mine holds no model"):
        unwrap(_lightning())
    sharded = type("FullyShardedDataParallel", (nn.Module,), {"__module__": "torch.distributed.x"})
    with pytest.raises(ValueError, match="sharded by FSDP; collect them"):
        sample(sharded(), 1, (2, 2))
    holder = nn.Sequential(build("multi-scale"))
    with pytest.raises(ValueError, match="holds a MultiScale, which goes .* another order"):
        check_causality(holder, channels=1, levels=4)
    assert visiting_order(as_model(SingleStack()), 2, 2) == visiting_order(model, 2, 2)


def test_a_module_is_trained() -> None:
    """On images that are all alike, the loss falls to nought; the module itself is trained."""
    torch.manual_seed(0)
    net = SingleStack()
    ones = split_of_arrays(torch.ones(8, 1, 4, 4).byte().numpy())
    data = data_of_splits(ones, levels=3)
    config = TrainConfig(steps=40, batch_size=8, learning_rate=0.02, warmup_steps=1)
    before = bits_per_dim(net, torch.ones(1, 1, 4, 4).long())
    state = initial_state(net, config)
    assert isinstance(state.model, FullPassModel) and state.model.module is net
    list(train(state, data, config))
    assert bits_per_dim(net, torch.ones(1, 1, 4, 4).long()) < 0.2 * before


def test_a_run_of_a_class_that_no_file_can_name_begins_no_work(tmp_path: Path) -> None:
    data = data_of_splits(split_of_arrays(torch.ones(8, 1, 4, 4).byte().numpy()), levels=3)
    for model in (_own(Forgets), as_model(SingleStack())):
        steps = runs.run(tmp_path / "run", model, data, TrainConfig(steps=1, batch_size=8))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="cannot name the class (Forgets|SingleStack)"):
            next(steps)
        assert not (tmp_path / "run").exists()
