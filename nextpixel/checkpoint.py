"""Checkpoints: one safetensors file with the weights, and in its metadata as JSON what rebuilds the
model.

Nothing that is read is executed: tensors are numbers, the rest is JSON, and a model's class is
looked up in `MODELS`. A file is replaced in one move and only after its bytes are on the disk, so
whatever happens, power failures included, a path holds either the previous checkpoint or the new
one.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nextpixel import __version__
from nextpixel.models import registry
from nextpixel.models.core import ImageModel
from nextpixel.models.embedding import Embedding
from nextpixel.models.registry import MODELS
from nextpixel.models.trainable import Trainable

__all__ = [
    "BEST",
    "CheckpointError",
    "load",
    "load_embedding",
    "load_trainable",
    "pretrained",
    "read_metadata",
    "read_tensors",
    "replace_file",
    "save",
    "write_tensors",
]

BEST = "best.safetensors"
"""The file in a run folder that commands take when they are given the folder."""

_FORMAT = 1
_KEY = "nextpixel"


class CheckpointError(ValueError):
    """A file is missing, damaged, not a checkpoint of nextpixel, or of a newer version of it."""


def save(
    model: Trainable | Embedding, path: str | Path, *, extra: Mapping[str, Any] | None = None
) -> None:
    """Writes a model to one file, atomically.

    Args:
        model: an instance of a class in `models.registry.MODELS`.
        path: the file, by custom `*.safetensors`; its folder must exist.
        extra: further JSON for `read_metadata`. `runs.run` stores "data" (how to prepare the same
            data again), "classes" (their names) and "training" (figures).

    Raises:
        ValueError: the class is not in `MODELS`, or `extra` uses a name of the checkpoint's own.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tempfile
        >>> from nextpixel import GatedPixelCNN
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> save(GatedPixelCNN(levels=4, features=8, layers=2), path, extra={"classes": ["zero", "one"]})
        >>> load(path).config()["levels"], read_metadata(path)["classes"]
        (4, ['zero', 'one'])
    """
    name = type(model).__name__
    if MODELS.get(name) is not type(model):
        raise ValueError(
            f"a checkpoint cannot name the class {name}, only {_known()}; keep this model's"
            " state_dict() in a file of your own"
        )
    own = {"format": _FORMAT, "version": __version__, "model": name, "config": model.config()}
    if taken := sorted(own.keys() & (extra or {}).keys()):
        raise ValueError(
            f"extra uses the name {taken[0]!r}, which the checkpoint itself needs; use another name"
        )
    write_tensors(path, model.state_dict(), own | dict(extra or {}))


def load(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> ImageModel:
    """Reads a model from a checkpoint, in evaluation mode.

    Args:
        path_or_name: a checkpoint, or the folder of a run, of which it takes the best weights; or
            the name of a model that comes with nextpixel, see `pretrained`.
        device: where to put the model.

    Raises:
        CheckpointError: the file is missing, damaged, foreign, of a newer version, or contradicts
            itself.
    """
    path = _resolve(path_or_name)
    model = load_trainable(path)
    if not isinstance(model, ImageModel):
        raise CheckpointError(
            f"{path} holds a {type(model).__name__}, which has no likelihood and draws no images;"
            " give a distribution of images"
        )
    return model.to(device).eval()


def load_trainable(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> Trainable:
    """Reads whatever `training.train` trains, in evaluation mode; as `load`."""
    path = _resolve(path_or_name)
    model = _loaded(path)
    if not isinstance(model, Trainable):
        raise CheckpointError(
            f"{path} holds an embedding, which draws and scores nothing; give a model of images"
        )
    return model.to(device).eval()


def load_embedding(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> Embedding:
    """Reads an embedding from a checkpoint, in evaluation mode; as `load`."""
    path = _resolve(path_or_name)
    model = _loaded(path)
    if not isinstance(model, Embedding):
        raise CheckpointError(
            f"{path} holds a {type(model).__name__}, which is no embedding; train one with embed"
        )
    return model.to(device).eval()


def _loaded(path: Path) -> Trainable | Embedding:
    tensors, metadata = read_tensors(path)
    if "state" in metadata:
        raise CheckpointError(
            f"{path} is the state of a training run, to go on from; give the run's folder"
        )
    model = build(metadata.get("model"), metadata.get("config"), path)
    if floating := [t.dtype for t in tensors.values() if t.is_floating_point()]:
        model.to(floating[0])
    load_weights(model, tensors, path)
    return model


def read_metadata(path_or_name: str | Path) -> dict[str, Any]:
    """Reads what a checkpoint says about itself, without its weights.

    Returns:
        "format", "version" (of nextpixel), "model" (its class), "config" (its keywords), and the
        `extra` of `save`.

    Raises:
        CheckpointError: as for `load`.
    """
    with _opened(_resolve(path_or_name)) as (_, metadata):
        return metadata


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Writes tensors and JSON to one file, atomically. `metadata` needs a "format" if others are to
    read it.
    """
    # safetensors refuses channels-last tensors.
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    text = json.dumps(metadata, allow_nan=False)
    with replace_file(path) as temporary:
        save_file(plain, temporary, {_KEY: text})


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or of a newer version.
    """
    with _opened(Path(path)) as (file, metadata):
        return {name: file.get_tensor(name) for name in file.keys()}, metadata


def build(name: object, config: object, path: Path) -> Trainable | Embedding:
    """Makes a model from its class name and its `config()`, or raises CheckpointError naming the
    file.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(
            f"{path} holds a model of the class {name!r}, but this version of nextpixel knows"
            f" {_known()}; use the version that wrote it"
        )
    try:
        if not isinstance(config, dict):
            raise TypeError("its configuration is no JSON object")
        return registry.build(name, config)
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} cannot rebuild its {name} ({reason}); it is damaged or of another version"
        ) from error


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copies weights into a model, or raises CheckpointError naming the file and the first that
    does not fit.
    """
    own = model.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        here, there = (
            tuple(where[name].shape) if name in where else "absent" for where in (own, tensors)
        )
        if here != there:
            raise CheckpointError(
                f"{path} does not fit its own configuration: {name} is {there} in the file and"
                f" {here} in the model; the file is damaged or was edited"
            )
    model.load_state_dict(dict(tensors))


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Gives a temporary file to write; it takes the place of `path` when all is on the disk, or
    disappears.

    It lies in a hidden folder `.NAME.PROCESS.tmp`, so that what a killed process leaves behind,
    writers' own temporary files included, is found by that name.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {path.parent} of {path.name} does not exist; make it first"
        )
    workplace = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    workplace.mkdir(exist_ok=True)
    try:
        yield workplace / path.name
        _flush(workplace / path.name)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(
            workplace / path.name, 0o666 & ~mask
        )  # some writers make files that nobody else may read
        os.replace(workplace / path.name, path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    # The move itself is on the disk only when the folder is.
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pretrained() -> dict[str, Path]:
    """The models that come with nextpixel, by name."""
    return {
        path.stem: path
        for path in sorted((Path(__file__).parent / "pretrained").glob("*.safetensors"))
    }


def _resolve(path_or_name: str | Path) -> Path:
    path = Path(path_or_name).expanduser()
    if not path.exists() and isinstance(path_or_name, str) and path_or_name in pretrained():
        return pretrained()[path_or_name]
    if path.is_dir():
        if not (path / BEST).exists():
            raise CheckpointError(
                f"{path} holds no {BEST}; give the folder of a run that has been evaluated once, or"
                " a checkpoint"
            )
        return path / BEST
    return path


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The open file and its JSON."""
    if not path.is_file():
        known = f", or one of {', '.join(names)}" if (names := pretrained()) else ""
        raise CheckpointError(
            f"{path} does not exist; give a checkpoint or the folder of a run{known}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = _parse(path, (file.metadata() or {}).get(_KEY))
            yield file, metadata
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is truncated, damaged, or no safetensors file at all ({error})"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        raise CheckpointError(
            f"{path} is a safetensors file, but not of nextpixel: it has no '{_KEY}' metadata"
        )
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its metadata is not JSON ({error})") from error
    if not isinstance(metadata, dict) or type(metadata.get("format")) is not int:
        raise CheckpointError(f"{path} is damaged: its metadata has no format number")
    if metadata["format"] > _FORMAT:
        raise CheckpointError(
            f"{path} has format {metadata['format']}, written by nextpixel"
            f" {metadata.get('version')}, but this version ({__version__}) reads up to {_FORMAT};"
            " install a newer nextpixel"
        )
    return metadata


def _known() -> str:
    return ", ".join(MODELS)
