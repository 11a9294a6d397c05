"""The request of a run as JSON, and whether a run is resumed with the same request."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nextpixel.data.digest import DataDigest
from nextpixel.data.splits import ImageData
from nextpixel.models.rebuilding import meant
from nextpixel.models.trainable import Trainable
from nextpixel.settings.recorded import recorded
from nextpixel.settings.source import PLACES
from nextpixel.settings.training import MAY_CHANGE, TrainConfig
from nextpixel.training.record import read_run
from nextpixel.training.same_data import check_classes
from nextpixel.version import __version__

__all__ = ["asked_of", "changes_of", "check_asked", "check_same"]


_MAY_MOVE = tuple(("source", name) for name in PLACES)


def check_same(folder: Path, model: Trainable, data: ImageData, config: TrainConfig) -> None:
    """Raises ValueError if the run in a folder is of another model, other data or training.

    What `MAY_CHANGE` lists may differ.
    """
    check_asked(folder, read_run(folder), asked_of(model, data, config))


def changes_of(before: dict[str, Any], now: dict[str, Any], step: int) -> list[dict[str, Any]]:
    """What of `MAY_CHANGE` was changed after which updates, in order: [before, after]."""
    old, new = asdict(TrainConfig()) | before["training"], now["training"]
    changed = {name: [old[name], new[name]] for name in MAY_CHANGE if old[name] != new[name]}
    return [*before.get("changes", []), *([{"step": step} | changed] if changed else [])]


_ORDERS = ".orders", ".colour_orders"


def check_asked(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises ValueError if a run is resumed with another model, other data or training."""
    source, preparation = recorded(before)
    before = before | {
        "source": {} if source is None else source.to_json(),
        "preparation": preparation.to_json(),
    }
    if "config" in (network := before.get("model", {})):
        config = meant(network.get("class"), network["config"])
        before["model"] = network | {"config": config}
    check_classes(folder, before, now)
    for part in ("source", "preparation", "model", "training"):
        # An option that the run's version did not have yet counts as the default.
        default = asdict(TrainConfig()) if part == "training" else {}
        old, new = _flat(default | before.get(part, {})), _flat(now[part])
        for key in sorted(old.keys() | new.keys()):
            if key not in old and (not new[key] or (key.endswith(_ORDERS) and new[key] == 1)):
                continue
            may_change = key in MAY_CHANGE if part == "training" else (part, key) in _MAY_MOVE
            if old.get(key) != new.get(key) and not may_change:
                raise ValueError(
                    f"{folder} was run with {part} {key}={old.get(key)!r}, but is resumed with"
                    f" {new.get(key)!r}; give the same, or start a new run in another folder"
                )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat


def asked_of(model: Trainable, data: ImageData, config: TrainConfig) -> dict[str, Any]:
    """The request, as JSON."""
    digest = DataDigest.of(data)
    asked = {
        "version": __version__,
        "source": data.source.to_json(),
        "preparation": data.preparation.to_json(),
        "digest": None if digest is None else digest.to_json(),
        "notes": data.notes,
        "classes": data.classes,
        "shape": data.shape or (config.crop and (config.crop, config.crop)),
        "model": {"class": type(model).__name__, "config": model.config()},
        "training": asdict(config),
    }
    return json.loads(json.dumps(asked))  # type: ignore[no-any-return]
