"""Every class that a checkpoint or a recipe may name, and how a model is built from its name.

`check_rebuilt` tells whether a model is what its name, its configuration and its tensors say: a
file holds nothing else.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized

from nextpixel.errors import UsageError
from nextpixel.models.autoencoder import ConvolutionalAutoencoder, PixelCNNAutoencoder
from nextpixel.models.embedding import Embedding
from nextpixel.models.gated_pixel_cnn import GatedPixelCNN
from nextpixel.models.multiscale import MultiScale
from nextpixel.models.pixel_rnn import DiagonalBiLSTM, PixelCNN, RowLSTM
from nextpixel.models.trainable import Trainable

__all__ = ["MODELS", "build", "check_rebuilt"]

MODELS: dict[str, type[Trainable] | type[Embedding]] = {
    # distributions
    "DiagonalBiLSTM": DiagonalBiLSTM,
    "GatedPixelCNN": GatedPixelCNN,
    "MultiScale": MultiScale,
    "PixelCNN": PixelCNN,
    "PixelCNNAutoencoder": PixelCNNAutoencoder,
    "RowLSTM": RowLSTM,
    # others
    "ConvolutionalAutoencoder": ConvolutionalAutoencoder,
    "Embedding": Embedding,
}


def build(name: str, config: Mapping[str, Any]) -> Trainable | Embedding:
    """Makes a model from the name of its class and its `config()`.

    A model inside another one, such as the decoder of an auto-encoder, is a configuration with the
    name of its class as "model".

    Raises:
        UsageError: there is no such class, or a keyword is out of range.
        TypeError: the class does not take these keywords.

    Example:
        >>> model = build("PixelCNN", {"levels": 4, "features": 8, "layers": 2})
        >>> build("PixelCNN", model.config()).config() == model.config()
        True
    """
    if name not in MODELS:
        raise UsageError(f"‹model› must be one of {', '.join(MODELS)}, not {name!r}")
    return MODELS[name](**{key: _built(value) for key, value in config.items()})


def _built(value: Any) -> Any:
    """A part of a model in the place of its configuration; any other value as it is."""
    if isinstance(value, Mapping) and "model" in value:
        keywords = dict(value)
        return build(keywords.pop("model"), keywords)
    return value


_OTHERWISE = "; keep this model's state_dict() in a file of your own"


def check_rebuilt(model: Trainable | Embedding) -> None:
    """Raises UsageError unless a file with its configuration and tensors gives this model again.

    The model is compared with a new one of the same configuration, which has no memory for weights:
    their modules and tensors must agree. All tensors must have values, in one precision, and be
    parameters of one place only.
    """
    for path, part in model.named_modules():
        where = f" of ‹model.{path}›" if path else ""
        if is_parametrized(part):
            raise UsageError(
                f"the weights{where} are computed by a parametrisation, of which a checkpoint knows"
                " nothing; call torch.nn.utils.parametrize.remove_parametrizations first"
            )
        named = isinstance(part, Trainable | Embedding)
        if named and MODELS.get(type(part).__name__) is not type(part):
            raise UsageError(
                f"a checkpoint cannot name the class {type(part).__name__}{where}, only"
                f" {', '.join(MODELS)}{_OTHERWISE}"
            )
    with torch.device("meta"):
        twin = build(type(model).__name__, model.config())
    _check_same(
        {name: type(part).__name__ for name, part in model.named_modules(remove_duplicate=False)},
        {name: type(part).__name__ for name, part in twin.named_modules(remove_duplicate=False)},
    )
    tensors = model.state_dict()
    _check_same(
        {name: f"a tensor {tuple(tensor.shape)}" for name, tensor in tensors.items()},
        {name: f"a tensor {tuple(tensor.shape)}" for name, tensor in twin.state_dict().items()},
    )
    precisions: dict[torch.dtype, str] = {}
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise UsageError(f"‹model.{name}› is on the meta device and has no values; load some")
        precisions.setdefault(tensor.dtype, name)
    if len(precisions) > 1:
        found = " and ".join(f"‹model.{name}› is {dtype}" for dtype, name in precisions.items())
        raise UsageError(f"{found}, but a checkpoint has one precision; call model.float() first")
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if (other := names.setdefault(id(parameter), name)) != name:
            raise UsageError(
                f"‹model.{other}› and ‹model.{name}› are one parameter; a checkpoint would give two"
                f" back{_OTHERWISE}"
            )


def _check_same(own: dict[str, str], rebuilt: dict[str, str]) -> None:
    """Raises UsageError unless a model's parts are those of its configuration."""
    for name in [*own, *rebuilt]:
        found, wanted = own.get(name, "absent"), rebuilt.get(name, "absent")
        if found != wanted:
            pruned = name.endswith("_orig")
            raise UsageError(
                f"‹model.{name}› is {found}, but {wanted} in the model that a checkpoint gives back"
                + ("; call torch.nn.utils.prune.remove first" if pruned else _OTHERWISE)
            )
