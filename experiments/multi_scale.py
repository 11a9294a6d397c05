"""Is a small image first worth it? Two scales, with and without context, against one model.

    python experiments/multi_scale.py SPRITES_CRAWL32.npz KODAK [EMOJI_TWEMOJI32.npz ...]

Three Gated PixelCNNs of the same width and depth for each data set, of 16 levels a colour: one
scale, two scales whose large model sees only the nearby small pixels, and two whose large model
sees the whole small image (`MapCondition.context`). A file has images of one size; of a folder of
photographs tiles of 64×64 are taken, those of the last two photographs for validation. Each is
trained for the same processor time, `SECONDS` for each thousand pixels of an image: a few updates
of each, in turns, say how many updates that is. Runs go on where they stopped. Writes
experiments/results/multi_scale.json (nats per image of the validation split, and paired
differences) and docs/figures/multi_scale_NAME.png: samples with seed 0, not chosen, a row for each
model.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, tiles, trained_in, updates_within, write
from numpy.typing import NDArray
from PIL import Image
from plots import framed

from nextpixel import (
    GatedPixelCNN,
    MapCondition,
    MultiScale,
    TrainConfig,
    initial_state,
    load,
    sample,
    train,
)
from nextpixel.analysis.receptive_fields import receptive_field
from nextpixel.analysis.uncertainty import standard_error
from nextpixel.data.image_files import grid
from nextpixel.data.load import ImageData, load_data
from nextpixel.models.core import ImageModel
from nextpixel.training.evaluation import log_probabilities

LEVELS = 16
NETWORK: dict[str, Any] = {
    "channels": 3,
    "levels": LEVELS,
    "features": 30,
    "layers": 5,
    "kernel_size": 3,
    "first_kernel_size": 7,
}
SECONDS = 150.0
TILE, STRIDE = 64, 32
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
VALIDATION = 256
MODELS = ("one scale", "two scales, near", "two scales, context")


def build(name: str) -> ImageModel:
    """One of `MODELS`, always with the same initial weights."""
    torch.manual_seed(0)
    if name == "one scale":
        return GatedPixelCNN(**NETWORK)
    given = MapCondition(3, scale=2, levels=LEVELS, context=name.endswith("context"))
    return MultiScale(
        small=GatedPixelCNN(**NETWORK), large=GatedPixelCNN(**NETWORK, condition=given)
    )


def images_of(source: Path, folder: Path) -> ImageData:
    """The images of a file, or the tiles of photographs: those for training overlap."""
    if not source.is_dir():
        return load_data(str(source), {"levels": LEVELS, "validation": VALIDATION})
    place = folder / "tiles.npz"
    if not place.exists():
        photographs = sorted(source.glob("*.png"))
        every: dict[str, list[NDArray[np.uint8]]] = {"train_images": [], "valid_images": []}
        for number, path in enumerate(photographs):
            x = np.asarray(Image.open(path).convert("RGB"))
            held_out = number >= len(photographs) - 2
            step = TILE if held_out else STRIDE
            every["valid_images" if held_out else "train_images"] += tiles(x, TILE, step)
        np.savez(place, **{name: np.stack(found) for name, found in every.items()})
    return load_data(str(place), {"levels": LEVELS})


def seen(model: ImageModel, size: tuple[int, int]) -> int:
    """How many of the small pixels the pixel above and left of the middle depends on."""
    height, width = size
    middle = height // 2 - 1, width // 2 - 1
    field = receptive_field(model, size, pixel=middle).any(dim=0).any(dim=0)
    return int(field[::2, ::2].sum())


def compared(source: Path) -> dict[str, Any]:
    """The figures of one data set; writes its picture."""
    name = source.stem.partition("_")[0]
    folder = Path("runs") / f"multi-scale-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    data = images_of(source, folder)
    height, width = data.valid.images.shape[2:]
    seconds = SECONDS * height * width / 1024
    timed = TrainConfig(steps=100, evaluate_every=100)
    loops = {kind: train(initial_state(build(kind), timed), data, timed) for kind in MODELS}
    updates = updates_within(seconds, loops, folder / "updates.json")
    found: dict[str, Any] = {}
    nats: dict[str, NDArray[np.float64]] = {}
    rows = []
    for kind in MODELS:
        place = folder / kind.replace(",", "").replace(" ", "-")
        config = TrainConfig(steps=updates[kind], evaluate_every=max(1, updates[kind] // 4))
        trained_in(place, build(kind), data, config)
        best = load(place)
        nats[kind] = -log_probabilities(best, data.valid)
        found[kind] = {
            "parameters": sum(p.numel() for p in best.parameters()),
            "updates": updates[kind],
            "valid_nats_per_image": float(nats[kind].mean()),
            "standard_error": standard_error(nats[kind]),
            "less": {
                other: {
                    "nats_per_image": float((nats[kind] - of_other).mean()),
                    "standard_error": standard_error(nats[kind] - of_other),
                }
                for other, of_other in nats.items()
                if other != kind
            },
        }
        if kind != MODELS[0]:
            found[kind]["small_pixels_seen"] = seen(best, (height, width))
        rows.append(sample(best, 10, (height, width), generator=torch.Generator().manual_seed(0)))
        print(name, kind, json.dumps(found[kind]), flush=True)
    sheet = grid(torch.cat(rows).numpy(), columns=10, levels=LEVELS, scale=2)
    framed(sheet, FIGURES / f"multi_scale_{name}.png", rows=MODELS)
    return {
        "training_images": len(data.train),
        "valid_images": len(data.valid),
        "size": [height, width],
        "processor_seconds_each": seconds,
        "small_pixels": height * width // 4,
        "models": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    torch.set_num_threads(1)
    place = RESULTS / "multi_scale.json"
    results = json.loads(place.read_text(encoding="utf-8"))["data"] if place.exists() else {}
    for source in parser.parse_args().data:
        results[source.stem.partition("_")[0]] = compared(source)
        write(place.stem, {"data": results})


if __name__ == "__main__":
    main()
