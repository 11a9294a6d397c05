"""Checkpoints: one safetensors file with the weights of a model and its card.

Nothing that is read is executed. Tensors are numbers, the rest is JSON, and the class of a model is
looked up in `MODELS`. The card is compared with the names, shapes and types of the tensors before
any memory of the size that it states is allocated, so that a small file costs little.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nextpixel.arguments import path_of
from nextpixel.errors import UsageError
from nextpixel.files.card import ModelCard, Training, card_of
from nextpixel.files.fields import CheckpointError
from nextpixel.files.hub import HUB, WEIGHTS, downloaded
from nextpixel.files.regular import kind_of
from nextpixel.files.tensors import FORMAT, read_header, read_tensors, write_tensors
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import Embedding
from nextpixel.models.rebuilding import DTYPES, build, check_fits
from nextpixel.models.registry import MODELS, check_rebuilt
from nextpixel.models.trainable import Trainable
from nextpixel.models.wrapping import FullPassModel, unwrap
from nextpixel.version import __version__

__all__ = [
    "BEST",
    "CheckpointError",
    "ModelCard",
    "Training",
    "load",
    "load_embedding",
    "load_trainable",
    "named",
    "open_checkpoint",
    "pretrained",
    "read_card",
    "save",
]

BEST = "best.safetensors"
"""The file in a run folder that commands take when they are given the folder."""

_BUNDLED = "nextpixel:"
"""What the name of a model that comes with nextpixel may begin with."""


def save(model: nn.Module, path: str | Path, *, card: ModelCard | None = None) -> None:
    """Writes a model to one file, atomically.

    Args:
        model: an instance of a class in `models.registry.MODELS`; wrappers are taken off, see
            `models.wrapping.unwrap`.
        path: the file, usually `*.safetensors`; its folder must exist.
        card: what to say about the model. Its class, configuration and version are filled in.

    Raises:
        UsageError: `load` could not read the file: a class is not in `MODELS`, a module or a tensor
            is not of the model's configuration, such as that of a pruned or parametrised layer, or
            tensors have several precisions or no values.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tempfile
        >>> from nextpixel import GatedPixelCNN
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> model = GatedPixelCNN(levels=4, features=8, layers=2)
        >>> save(model, path, card=ModelCard(classes=("zero", "one")))
        >>> load(path).config()["levels"], read_card(path).classes
        (4, ('zero', 'one'))
    """
    model, path = named(model), path_of("path", path)
    check_rebuilt(model)
    own: dict[str, Any] = {"model": type(model).__name__, "config": model.config()}
    card = replace(card or ModelCard(), format=FORMAT, version=__version__, **own)
    write_tensors(path, model.state_dict(), card.to_json())


def named(model: nn.Module) -> Trainable | Embedding:
    """The model, without wrappers, if a checkpoint can name its class.

    Raises:
        UsageError: the class is not in `models.registry.MODELS`.
    """
    model = unwrap(model)
    name = type(model).__name__
    if isinstance(model, FullPassModel):
        name = f"{type(model.module).__name__} of a module of yours"
    if MODELS.get(name) is not type(model) or not isinstance(model, Trainable | Embedding):
        raise UsageError(
            f"a checkpoint cannot name the class {name}, only {_known()}; keep this model's"
            " state_dict() in a file of your own, or put its class into"
            " nextpixel.models.registry.MODELS wherever it is saved and loaded"
        )
    return model


def load(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> ImageModel:
    """Reads a model from a checkpoint, in evaluation mode.

    Args:
        path_or_name: a checkpoint; the folder of a run, whose best weights it takes; or a
            pretrained model, such as "nextpixel:mnist", see `pretrained`. "mnist" is the same model
            where no file or folder is called so; where one is, it is refused. "hf:OWNER/NAME", also
            with "@REVISION", is `model.safetensors` of that repository of the Hugging Face Hub.
        device: where to put the model.

    Raises:
        CheckpointError: the file is missing, damaged, foreign, of a newer version, or contradicts
            itself.
    """
    model = load_trainable(path_or_name, device=device)
    if not isinstance(model, ImageModel):
        raise CheckpointError(
            f"{path_or_name} holds a {type(model).__name__}, which has no likelihood and draws no"
            " images; give a distribution of images"
        )
    return model


def load_trainable(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> Trainable:
    """Like `load`, but reads whatever `training.loop.train` trains."""
    model, _ = open_checkpoint(path_or_name)
    if not isinstance(model, Trainable):
        raise CheckpointError(
            f"{path_or_name} holds an embedding, which draws and scores nothing; give a model of"
            " images"
        )
    return model.to(device)


def load_embedding(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> Embedding:
    """Like `load`, but reads an embedding."""
    model, _ = open_checkpoint(path_or_name)
    if not isinstance(model, Embedding):
        raise CheckpointError(
            f"{path_or_name} holds a {type(model).__name__}, not an embedding; train one with embed"
        )
    return model.to(device)


def read_card(path_or_name: str | Path) -> ModelCard:
    """Reads what a checkpoint says about itself, without its weights.

    Raises:
        CheckpointError: as for `load`; names the file and the field.
    """
    path = _resolve(path_or_name)
    return card_of(read_header(path), path)


def open_checkpoint(path_or_name: str | Path) -> tuple[Trainable | Embedding, ModelCard]:
    """Like `load`, but reads a model of any kind, and its card."""
    path = _resolve(path_or_name)
    header = read_header(path)
    card = card_of(header, path)
    check_fits(card.model, card.config, path, header)  # refuses before the weights are read
    tensors, header = read_tensors(path)
    model = build(card.model, card.config, path, header)
    model.to(next((DTYPES[dtype] for dtype in header.dtypes.values()), torch.float32))
    model.load_state_dict(tensors)
    return model.eval(), card


def pretrained() -> dict[str, Path]:
    """The models that come with nextpixel, by name without "nextpixel:"."""
    folder = Path(__file__).parent / "pretrained"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _resolve(path_or_name: str | Path) -> Path:
    advice = "functions such as nextpixel.score take a model itself"
    path_or_name = path_of("path_or_name", path_or_name, advice)
    try:
        path = Path(path_or_name).expanduser()
    except RuntimeError:
        raise CheckpointError(
            f"{path_or_name} begins with the home folder of a user who does not exist; give a"
            " checkpoint or the folder of a run"
        ) from None
    if isinstance(path_or_name, str):
        if path_or_name.startswith(HUB):
            return downloaded(path_or_name)
        if path_or_name.startswith(_BUNDLED):
            return _bundled(path_or_name.removeprefix(_BUNDLED))
        if path_or_name in pretrained():
            if os.path.lexists(path):
                # The folder may be somebody else's, and take the place of the model unnoticed.
                raise CheckpointError(
                    f"{path_or_name} is both something in this folder and a model that comes with"
                    f" nextpixel; give ./{path_or_name} or {_BUNDLED}{path_or_name}"
                )
            return _bundled(path_or_name)
    if path.is_dir():
        if not (path / BEST).exists():
            found = f"; give {path / WEIGHTS}" if (path / WEIGHTS).is_file() else ""
            run = "; give the folder of a run that has saved its first weights, or a checkpoint"
            raise CheckpointError(f"{path} holds no {BEST}{found or run}")
        return path / BEST
    if (kind := kind_of(path)) is not None:
        raise CheckpointError(
            f"{path} is {kind}, not a regular file; give a checkpoint or the folder of a run"
        )
    if not path.is_file():
        known = f", or one of {', '.join(names)}" if (names := pretrained()) else ""
        raise CheckpointError(
            f"{path} does not exist; give a checkpoint or the folder of a run{known}"
        )
    return path


def _bundled(name: str) -> Path:
    if name not in pretrained():
        raise CheckpointError(
            f"{_BUNDLED}{name:.40} is not a model that comes with nextpixel; those are"
            f" {', '.join(pretrained())}"
        )
    return pretrained()[name]


def _known() -> str:
    return ", ".join(MODELS)
