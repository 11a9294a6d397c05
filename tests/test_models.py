"""How models are put together: keywords, sizes, names of weights, and what is no distribution."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

import pytest
import torch
from cases import CASES, over
from test_bad_input import unchecked_types

from nextpixel import (
    ClassCondition,
    DiagonalBiLSTM,
    GatedPixelCNN,
    MapCondition,
    PixelCNN,
    RowLSTM,
    VectorCondition,
    load,
    save,
)
from nextpixel.autoencoding import likelihood_of
from nextpixel.checkpoint import CheckpointError
from nextpixel.errors import UsageError
from nextpixel.layers.heads import HEADS
from nextpixel.layers.inputs import CategoricalInput, OrdinalInput
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import Embedding
from nextpixel.models.registry import MODELS, build
from nextpixel.settings.networks import (
    DiagonalBiLSTMSettings,
    GatedPixelCNNSettings,
    HeadName,
    PixelCNNSettings,
    RowLSTMSettings,
)

NETWORKS = {
    GatedPixelCNN: GatedPixelCNNSettings,
    PixelCNN: PixelCNNSettings,
    RowLSTM: RowLSTMSettings,
    DiagonalBiLSTM: DiagonalBiLSTMSettings,
}

every_network = pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)


@every_network
def test_the_signature_spells_out_every_keyword(kind: Callable[..., Any]) -> None:
    parameters = inspect.signature(kind).parameters
    assert list(parameters) == [field.name for field in fields(NETWORKS[kind])]
    for field in fields(NETWORKS[kind]):
        assert parameters[field.name].default == field.default
        assert parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY
    with pytest.raises(TypeError, match="has no option 'feature'"):
        kind(feature=8)


@every_network
def test_the_configuration_is_the_keywords_resolved(kind: Callable[..., Any]) -> None:
    config = kind(levels=2, features=6, layers=1).config()
    assert list(config) == [field.name for field in fields(NETWORKS[kind])]
    width, side = (6, 5) if kind is GatedPixelCNN else (12, 7)
    expected = {"head": "bernoulli", "head_features": width, "first_kernel_size": side}
    assert expected.items() <= config.items() and config["condition"] is None
    assert kind(**config).config() == config


def test_the_heads_that_settings_offer_are_those_that_exist() -> None:
    assert get_args(HeadName) == tuple(HEADS)


def test_settings_do_not_load_torch() -> None:
    code = "import sys, nextpixel.settings.networks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@every_network
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("skip", "yes", "True or False"),
        ("layers", "2", "a whole number"),
        ("features", 8.0, "a whole number"),
        ("layers", True, "a whole number"),
        ("levels", None, "a whole number"),
        ("dropout", "0.5", "a number"),
        ("head", 3, "the name of a distribution"),
    ],
)
def test_keywords_of_a_wrong_type_are_refused(
    kind: Callable[..., Any], name: str, value: object, words: str
) -> None:
    refused = pytest.raises(UsageError, match=f"{name}= must be {words}, not {value!r}")
    with unchecked_types(), refused:
        kind(**{name: value})


HUGE = 999_999_999
TOO_LARGE: dict[str, Callable[[], object]] = {
    **{
        f"{kind.__name__} {name}": lambda kind=kind, name=name, value=value: kind(**{name: value})  # type: ignore[misc]
        for kind in NETWORKS
        for name, value in {
            "channels": HUGE,
            "levels": HUGE,
            "features": HUGE,
            "layers": 10**9,
            "head_features": HUGE,
            "position_waves": HUGE,
            "value_features": HUGE,
            "first_kernel_size": HUGE,
        }.items()
    },
    "GatedPixelCNN kernel_size": lambda: GatedPixelCNN(kernel_size=10**9 + 1),
    "PixelCNN kernel_size": lambda: PixelCNN(kernel_size=10**9 + 1),
    "RowLSTM kernel_size": lambda: RowLSTM(kernel_size=10**9 + 1),
    "PixelCNN levels of many channels": lambda: PixelCNN(channels=1000, levels=100_000),
    "GatedPixelCNN classes": lambda: GatedPixelCNN(condition=ClassCondition(HUGE)),
    "GatedPixelCNN size": lambda: GatedPixelCNN(condition=VectorCondition(HUGE)),
    "GatedPixelCNN scale": lambda: GatedPixelCNN(condition=MapCondition(1, scale=2**61 - 1)),
    "GatedPixelCNN maps": lambda: GatedPixelCNN(condition=MapCondition(HUGE)),
    "Embedding features": lambda: Embedding(size=(8, 8), features=HUGE),
    "Embedding outputs": lambda: Embedding(size=(8, 8), outputs=HUGE),
    "ConvolutionalAutoencoder size": lambda: ConvolutionalAutoencoder(
        size=(HUGE, HUGE), code_size=3
    ),
    "ConvolutionalAutoencoder code_size": lambda: ConvolutionalAutoencoder(
        size=(8, 8), code_size=HUGE
    ),
    "PixelCNNAutoencoder encoder_features": lambda: PixelCNNAutoencoder(
        decoder=GatedPixelCNN(features=2, layers=1, condition=VectorCondition(1)),
        size=(8, 8),
        encoder_features=HUGE,
    ),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_absurd_sizes_are_refused_before_memory_is_taken(case: str) -> None:
    # Not conditions' own checks alone: whichever comes first, it is one sentence.
    with pytest.raises((UsageError, ValueError), match=r"at most|more than"):
        TOO_LARGE[case]()


@over()
def test_every_model_can_be_built_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        model = CASES[name]()
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model.device.type == "meta"
    here = CASES[name]().state_dict()
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in here.items()
    }


def test_other_models_can_be_built_on_the_meta_device() -> None:
    with torch.device("meta"):
        models = ConvolutionalAutoencoder(size=(28, 28), code_size=3), Embedding(size=(28, 28))
    assert all(p.device.type == "meta" for model in models for p in model.parameters())


def test_weights_keep_the_names_that_checkpoints_know() -> None:
    gated = GatedPixelCNN(levels=3, features=4, layers=1, value_features=2, position_waves=1)
    names = [name for name, _ in gated.named_parameters()]
    assert names[0] == "values.weight" and names[-4:] == [
        "head_hidden.weight",
        "head_hidden.bias",
        "head_out.weight",
        "head_out.bias",
    ]
    assert {name.split(".")[0] for name in gated.state_dict()} == {
        "values",
        "encoder",
        "blocks",
        "head_hidden",
        "head_out",
    }
    rows = RowLSTM(levels=3, features=4, layers=1).state_dict()
    assert {name.split(".")[0] for name in rows} == {"first", "blocks", "head_hidden", "head_out"}


def test_inputs_read_values_as_what_they_are() -> None:
    x = torch.tensor([[[[0, 1, 2]]]])
    ordinal = OrdinalInput(channels=1, levels=3, colours=1)
    assert ordinal(x).tolist() == [[[[-1, 0, 1]]]] and ordinal.double()(x).dtype == torch.float64
    categorical = CategoricalInput(channels=2, levels=3, features=4, colours=2)
    both = x.expand(1, 2, 1, 3)
    read = categorical(both)
    assert read.shape == (1, 8, 1, 3) == (1, categorical.maps, 1, 3)
    for feature in range(4):
        for colour in range(2):
            table = categorical.weight[3 * colour : 3 * colour + 3, feature]
            assert torch.equal(read[0, 2 * feature + colour, 0], table)
    assert torch.equal(categorical(both[:, 1:], 1)[:, 0], read[:, 1])
    with pytest.raises(TypeError, match="values are categorical; give integers"):
        categorical(x.float())


def test_a_convolutional_autoencoder_is_not_a_distribution(tmp_path: Any) -> None:
    model = ConvolutionalAutoencoder(levels=5, size=(4, 4), code_size=2, encoder_features=2)
    assert not isinstance(model, ImageModel)
    assert (model.figure.kind, model.figure.name) == ("error", "mean_squared_error")
    x = torch.randint(5, (3, 1, 4, 4))
    nats = likelihood_of(model)(model, x, ())
    bits = -float(nats.sum()) / (x.numel() * torch.log(torch.tensor(2.0)).item())
    error = (((model.decode(model.encode(x)) + 1) * 2 - x) ** 2).mean().item()
    assert model.figure.value(bits) == pytest.approx(error, rel=1e-5)
    save(model, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="has no likelihood and draws no images"):
        load(tmp_path / "a.safetensors")


def test_the_registry_names_classes_and_builds_parts_in_parts() -> None:
    assert all(name == kind.__name__ for name, kind in MODELS.items())
    for name in ("multi-scale-nested", "autoencoder-variational"):
        model = CASES[name]()
        again = build(type(model).__name__, model.config())
        assert type(again) is type(model) and again.config() == model.config()
    with pytest.raises(UsageError, match="model= must be one of .*, not 'Pixel'"):
        build("Pixel", {})
