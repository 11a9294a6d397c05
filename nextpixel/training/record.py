"""run.json: the request of a run, which is its data, model and training."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextpixel.checkpoint import BEST, read_card
from nextpixel.data.folders import RUN
from nextpixel.files.card import ModelCard, ancestors_of, checked_source
from nextpixel.files.fields import CheckpointError, checked, parsed, read_record
from nextpixel.files.regular import kind_of
from nextpixel.files.replacing import replace_file
from nextpixel.files.tensors import FORMAT, json_digest
from nextpixel.settings.recorded import recorded
from nextpixel.settings.training import TrainConfig
from nextpixel.training.ownership import is_signed, signature

__all__ = ["RUN", "is_own", "own_card", "read_run", "write_run"]

_KINDS: dict[str, Any] = {
    "version": str,
    "classes": tuple[str, ...],
    "shape": tuple[int, int] | None,
    "model": Mapping[str, Any],
    "training": Mapping[str, Any],
    "ancestors_digest": Mapping[str, Any] | None,
}


def read_run(folder: str | Path) -> dict[str, Any]:
    """The request of a run, as JSON.

    Returns:
        "version", "source" and "preparation" (as JSON), "classes", "shape" (of whole images, or of
        crops), "model" (its "class" and "config"), "training" (the keywords of
        `TrainConfig`), and for a resumed run "changes": what was changed after which "step".

    Raises:
        FileNotFoundError: the folder holds no run.
        CheckpointError: the file is damaged; names the field.
    """
    return _read(Path(folder).expanduser() / RUN)[0]


def is_own(folder: str | Path) -> bool:
    """Whether this user's own training wrote the file, and nobody has changed it since."""
    asked, digest, signed = _read(Path(folder).expanduser() / RUN)
    return is_signed(digest, signed)


def write_run(folder: Path, asked: Mapping[str, Any]) -> None:
    """Writes the file, atomically, with its digest and this user's signature."""
    stated = {"format": FORMAT, **asked}
    digest = json_digest(stated)
    signed = stated | {"sha256": digest, "signature": signature(digest)}
    with replace_file(folder / RUN) as path:
        path.write_text(json.dumps(signed, indent=2) + "\n", encoding="utf-8")


def own_card(path_or_name: str | Path) -> ModelCard:
    """The card of a checkpoint; if this user trained it, with the places of its data.

    A checkpoint has only their names. Its run folder has the places, which may be opened if the run
    is this user's own.
    """
    card = read_card(path_or_name)
    path = Path(path_or_name).expanduser()
    folder = path.parent if path.name == BEST else path
    if card.source is None or not (folder / RUN).is_file() or not is_own(folder):
        return card
    return replace(card, source=recorded(read_run(folder))[0], own=True)


def _read(path: Path) -> tuple[dict[str, Any], str, object]:
    """The request, its digest, and the signature."""
    if (kind := kind_of(path)) is not None:
        raise CheckpointError(f"{path} is {kind}, not a regular file; restore it from a copy")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no run ({RUN} is missing); give the folder of a run"
        )
    asked = parsed(path.read_bytes(), str(path))
    number, stated = asked.pop("format", 1), asked.pop("sha256", None)
    signed = asked.pop("signature", None)
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise CheckpointError(
            f"{path} has format {number!r:.40}, but this version of nextpixel reads 1 to {FORMAT};"
            " the file is damaged, or was written by a newer version"
        )
    digest = json_digest({"format": number, **asked})
    if stated != (digest if number > 1 else None):
        raise CheckpointError(
            f"{path} is damaged: it is not as it was written (its SHA-256 differs); restore it from"
            " a copy, or start a new run in another folder"
        )
    place = f"{path} is damaged: its field"
    for name in ("model", "training"):
        if name not in asked:
            raise CheckpointError(f"{place} {name} is missing")
    for name, kind in _KINDS.items():
        if name in asked:
            checked(asked[name], kind, f"{place} {name}")
    if None in checked_source(asked, f"{path} is damaged"):
        raise CheckpointError(f"{path} is damaged: it does not say what data it is of")
    ancestors_of(asked.get("ancestors", ()), f"{place} ancestors")
    checked(asked["model"].get("class"), str, f"{place} model.class")
    checked(asked["model"].get("config"), Mapping[str, Any], f"{place} model.config")
    read_record(TrainConfig, asked["training"], f"{place} training")
    for change in checked(
        asked.get("changes", []), tuple[Mapping[str, Any], ...], f"{place} changes"
    ):
        checked(change.get("step"), int, f"{place} changes.step")
    return asked, digest, signed
