"""From a configuration in a file to a model, if the tensors of the file are that model's.

A file may claim anything, so what is done before it is refused must cost no more than it holds. The
layers between the first and the last of a network are alike: the tensors of a deep network follow
from those of three layers. Those are made on the meta device, where tensors have no memory, and the
whole model only when every name and every shape agrees.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nextpixel.devices import seeded
from nextpixel.files.fields import CheckpointError, checked_keywords
from nextpixel.files.tensors import TensorHeader
from nextpixel.models.embedding import Embedding
from nextpixel.models.registry import MODELS
from nextpixel.models.trainable import Trainable

__all__ = ["DTYPES", "build", "check_fits", "check_tensors", "meant", "shapes_of"]

DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The types that the weights of a file may have, as safetensors spells them."""

_LARGEST = 65536
"""The largest value of numbers that no tensor bounds, such as levels and scales."""
_OF_A_LAYER = 5
"""Tensors that a layer of any network has at least."""
_BLOCKS = "blocks."
"""What the names of a layer's tensors begin with in its network, before its number."""

_ABSENT: Mapping[str, Mapping[str, Any]] = dict.fromkeys(
    ("PixelCNNAutoencoder", "ConvolutionalAutoencoder", "Embedding"), {"negative_slope": 0.0}
)
"""What a configuration means that lacks a keyword, where the default has changed since."""

Shapes = Mapping[str, tuple[int, ...]]


def meant(name: object, config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the keywords that its version of the class did not have yet."""
    return {**_ABSENT.get(str(name), {}), **config}


def build(
    name: str,
    config: Mapping[str, Any],
    path: Path,
    header: TensorHeader,
    *,
    part: str = "",
    device: str = "cpu",
) -> Trainable | Embedding:
    """Makes a model from its class's name and its `config()`, if the tensors of a file fit it.

    Args:
        name: of the class.
        config: the keywords.
        path: the file that states both, for errors.
        header: of the file with the tensors.
        part: what the tensors' names begin with in that file.
        device: where to put the model, whose weights are not those of the file yet.

    Raises:
        CheckpointError: as `check_fits`.
    """
    check_fits(name, config, path, header, part=part)
    # The initial weights are overwritten; the caller's random numbers stay what they were.
    with seeded(0), torch.device(device):
        return _made(name, config, path)


def check_fits(
    name: str, config: Mapping[str, Any], path: Path, header: TensorHeader, *, part: str = ""
) -> None:
    """Raises unless a file has the tensors of a model, which is not made for it.

    Args:
        name, config, path, header, part: as for `build`.

    Raises:
        CheckpointError: the class is unknown, its constructor refuses the keywords, or it has other
            tensors than the file.
    """
    _check_sizes(config, header, path)
    _check_shapes(shapes_of(name, config, path, most=len(header.shapes)), header, path, part)


def check_tensors(model: nn.Module, header: TensorHeader, path: Path, part: str = "") -> None:
    """Raises CheckpointError unless the tensors of a file, or a part of them, are a model's.

    Their names, shapes and types are compared; the types must be one floating type for all.
    """
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    _check_shapes(own, header, path, part)


def shapes_of(
    name: str, config: Mapping[str, Any], path: Path, *, most: int | None = None
) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's tensors, by their names, found with three layers of each network.

    Args:
        name: of the class.
        config: the keywords.
        path: the file that states both, for errors.
        most: how many tensors the parts of the model may have.

    Raises:
        CheckpointError: the class is unknown, its constructor refuses the keywords, or a part has
            more tensors.
    """
    depths: dict[str, int] = {}
    with torch.device("meta"):
        model = _made(name, _shallow(config, depths), path, most=most)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for network, depth in depths.items():
        shapes = dict(_deep(shapes, f"{network}{_BLOCKS}", depth))
    return shapes


_SHALLOW = 3
"""The first layer, one like all between, and the last."""


def _shallow(
    config: Mapping[str, Any], depths: dict[str, int], place: str = ""
) -> Mapping[str, Any]:
    """A configuration without most of its layers, whose numbers are added to `depths`."""
    found = dict(config)
    for key, value in config.items():
        if isinstance(value, Mapping):
            found[key] = _shallow(value, depths, f"{place}{key}.")
        elif key == "layers" and type(value) is int and value > _SHALLOW:
            depths[place], found[key] = value, _SHALLOW
    return found


def _deep(shapes: Shapes, blocks: str, depth: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes of a network of so many layers, from those of a shallow one."""
    places = {"0": (0,), "1": range(1, depth - 1), "2": (depth - 1,)}
    for key, shape in shapes.items():
        if not key.startswith(blocks):
            yield key, shape
            continue
        number, _, rest = key.removeprefix(blocks).partition(".")
        for place in places[number]:
            yield f"{blocks}{place}.{rest}", shape


def _check_shapes(own: Shapes, header: TensorHeader, path: Path, part: str) -> None:
    own = {part + key: shape for key, shape in own.items()}
    there = {key: shape for key, shape in header.shapes.items() if key.startswith(part)}
    for key in sorted(own.keys() | there.keys()):
        if own.get(key) != there.get(key):
            raise CheckpointError(
                f"{path} does not fit its own configuration: {key} is {there.get(key, 'absent')} in"
                f" the file and {own.get(key, 'absent')} in the model; the file is damaged or was"
                " edited"
            )
    dtypes = {header.dtypes[key] for key in there}
    if len(dtypes) > 1 or not dtypes <= DTYPES.keys():
        raise CheckpointError(
            f"{path} is damaged: its weights are of the types {', '.join(sorted(dtypes))}, but must"
            f" be of one of {', '.join(DTYPES)}"
        )


def _made(
    name: object, config: Mapping[str, Any], path: Path, *, most: int | None = None
) -> Trainable | Embedding:
    """A model and those inside it, whose configurations have the name of their class as "model"."""
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(
            f"{path} holds a model of the class {name!r:.40}, but this version of nextpixel knows"
            f" {', '.join(MODELS)}; use the version that wrote it"
        )
    kind: Callable[..., Trainable | Embedding] = MODELS[name]
    keywords = meant(name, config)
    for key, value in config.items():
        if isinstance(value, Mapping) and "model" in value:
            inner = {k: v for k, v in value.items() if k != "model"}
            keywords[key] = part = _made(value["model"], inner, path, most=most)
            if most is not None and (there := len(part.state_dict())) > most:
                raise CheckpointError(
                    f"{path} is damaged: its configuration has a part ‹{key}› of at least {there}"
                    f" tensors, but the file holds only {most}"
                )
    return checked_keywords(kind, keywords, f"{path} cannot rebuild its {name}: the configuration")


def _check_sizes(config: Mapping[str, Any], header: TensorHeader, path: Path) -> None:
    """Raises CheckpointError if a model would be larger than its file can be.

    Every layer has several tensors, and every width, kernel size and number of classes has at least
    as many weights.
    """
    elements = sum(math.prod(shape) for shape in header.shapes.values())
    layers = 0.0
    for name, value in _numbers(config):
        layers += value if name == "layers" else 0
        if value > max(elements, _LARGEST) or layers * _OF_A_LAYER > len(header.shapes):
            raise CheckpointError(
                f"{path} is damaged: its configuration has {name}={value}, but the file holds only"
                f" {len(header.shapes)} tensors with {elements} numbers"
            )


def _numbers(config: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers in a configuration, each with the name of its field."""
    if isinstance(config, int | float):
        yield name, config
    elif isinstance(config, Mapping):
        for key, value in config.items():
            yield from _numbers(value, str(key))
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _numbers(value, name)
