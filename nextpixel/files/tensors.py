"""Files of tensors that say what they are.

A file of tensors is a safetensors file with one JSON object in its metadata. The object holds the
format's number and two SHA-256 digests, of the tensors and of the rest of the object, so that a
changed bit is found. Files of format 1, written by version 0.1.0, have no digests.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nextpixel.files.fields import CheckpointError, parsed
from nextpixel.files.regular import kind_of
from nextpixel.files.replacing import replace_file
from nextpixel.version import __version__

__all__ = [
    "FORMAT",
    "TensorHeader",
    "json_digest",
    "read_header",
    "read_tensors",
    "write_tensors",
]

FORMAT = 2
"""What this version writes. It reads formats 1 and 2."""

_KEY = "nextpixel"
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
"""How safetensors reports that the disk is full, and the like."""


@dataclass(frozen=True, kw_only=True)
class TensorHeader:
    """What a file of tensors says apart from its tensors.

    Attributes:
        metadata: the JSON object, without the digests.
        shapes: of each tensor by its name.
        dtypes: of each tensor, as safetensors spells them: "F32".
        sha256: the digest of the tensors that the file states; None in format 1.
    """

    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    sha256: str | None


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Writes tensors and a JSON object to one file, atomically; adds "format" and the digests.

    Raises:
        OSError: the disk is full, or the like; `path` is as it was.
    """
    # safetensors refuses channels-last tensors.
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    stated = {"format": FORMAT, **metadata}
    weights = _tensor_digest(plain)
    digests = {"weights": weights, "metadata": json_digest(stated | {"weights": weights})}
    text = json.dumps(stated | {"sha256": digests}, allow_nan=False)
    with replace_file(path) as temporary:
        try:
            save_file(plain, temporary, {_KEY: text})
        except SafetensorError as error:
            if (number := _SYSTEM_ERROR.search(str(error))) is None:
                raise
            code = int(number[1])
            raise OSError(code, os.strerror(code), str(path)) from error


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], TensorHeader]:
    """Reads what `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or of a newer version.
    """
    path = Path(path)
    with _opened(path) as file:
        header = _header(path, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if header.sha256 is not None and _tensor_digest(tensors) != header.sha256:
        raise CheckpointError(
            f"{path} is damaged: its tensors are not those that were written (their SHA-256"
            " differs); restore the file from a copy"
        )
    return tensors, header


def read_header(path: str | Path) -> TensorHeader:
    """Like `read_tensors`, but reads only what a file says, without its tensors."""
    path = Path(path)
    with _opened(path) as file:
        return _header(path, file)


def json_digest(value: Any) -> str:
    """The SHA-256 of JSON, whatever its spacing and the order of its fields."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 over names, shapes, types and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode() + b"\n")
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        if (kind := kind_of(path)) is not None:
            raise CheckpointError(f"{path} is {kind}, not a regular file; give a checkpoint")
        with _open(path) as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is truncated, damaged, or not a safetensors file ({error})"
        ) from error
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; give a checkpoint or the folder of a run"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _open(path: Path) -> Any:
    """`safe_open`, which opens a file twice: a run may put another in its place in between."""
    for _ in range(10):
        try:
            return safe_open(path, framework="pt")
        except RuntimeError:  # The second file is shorter than the head of the first says.
            continue
    raise CheckpointError(f"{path} is replaced again and again while it is read; try again later")


def _header(path: Path, file: Any) -> TensorHeader:
    text = (file.metadata() or {}).get(_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} is a safetensors file, but not of nextpixel: it has no '{_KEY}' metadata"
        )
    metadata = parsed(text, f"the metadata of {path}")
    number = metadata.get("format")
    if type(number) is not int or number < 1:
        raise CheckpointError(f"{path} is damaged: its metadata has no format number")
    if number > FORMAT:
        raise CheckpointError(
            f"{path} has format {number}, written by nextpixel {metadata.get('version')!r:.20}, but"
            f" this version ({__version__}) reads up to {FORMAT}; install a newer nextpixel"
        )
    digests = metadata.pop("sha256", None)
    sha256 = None
    if number > 1 or digests is not None:
        stated = digests if isinstance(digests, dict) else {}
        sha256 = stated.get("weights")
        expected = {"weights": sha256, "metadata": json_digest(metadata | {"weights": sha256})}
        if number == 1 or not isinstance(sha256, str) or stated != expected:
            raise CheckpointError(
                f"{path} is damaged: its metadata are not those that were written (their SHA-256"
                " differs); restore the file from a copy"
            )
    slices = {name: file.get_slice(name) for name in file.keys()}
    return TensorHeader(
        metadata=metadata,
        shapes={name: tuple(part.get_shape()) for name, part in slices.items()},
        dtypes={name: part.get_dtype() for name, part in slices.items()},
        sha256=sha256,
    )
