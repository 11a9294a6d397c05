"""Is a small image first worth it? Two scales, with and without context, against one model.

    python experiments/multi_scale.py SPRITES_CRAWL32.npz [EMOJI_TWEMOJI32.npz ...]

Three Gated PixelCNNs of the same width and depth for each data set, on 32×32 images of 16 levels a
colour: one scale, two scales whose large model sees only the nearby small pixels, and two whose
large model sees the whole small image (`MapCondition.context`). Each is trained for the same
processor time, `SECONDS`: a few updates of each, in turns, say how many updates that is. Runs go on
where they stopped. Writes experiments/results/multi_scale.json (nats per image of the validation
split, and paired differences) and docs/figures/multi_scale_NAME.png: samples with seed 0, not
chosen, a row for each model.
"""

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write
from numpy.typing import NDArray
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
from nextpixel.data.image_files import grid
from nextpixel.data.load import ImageData, load_data
from nextpixel.inference.comparison import standard_error
from nextpixel.models.core import ImageModel
from nextpixel.training.evaluation import log_probabilities
from nextpixel.training.runs import run as run_in
from nextpixel.training.state import STATE

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


def updates_of(data: ImageData) -> dict[str, int]:
    """How many updates of each model `SECONDS` allow."""
    config = TrainConfig(steps=100, evaluate_every=100)
    loops = {name: train(initial_state(build(name), config), data, config) for name in MODELS}
    taken: dict[str, list[float]] = {name: [] for name in MODELS}
    for turn, name in itertools.product(range(13), MODELS):
        begin = time.process_time()
        next(loops[name])
        if turn >= 3:
            taken[name].append(time.process_time() - begin)
    return {name: round(SECONDS / float(np.median(taken[name]))) for name in MODELS}


def seen(model: ImageModel) -> int:
    """How many of the 256 small pixels the pixel in row 15 and column 15 depends on."""
    field = receptive_field(model, (32, 32), pixel=(15, 15)).any(dim=0).any(dim=0)
    return int(field[::2, ::2].sum())


def compared(source: Path) -> dict[str, Any]:
    """The figures of one data set; writes its picture."""
    data = load_data(str(source), {"levels": LEVELS, "validation": VALIDATION})
    name = source.stem.partition("_")[0]
    folder = Path("runs") / f"multi-scale-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "updates.json"
    if not plan.exists():
        plan.write_text(json.dumps(updates_of(data)), encoding="utf-8")
    updates = json.loads(plan.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    nats: dict[str, NDArray[np.float64]] = {}
    rows = []
    for kind in MODELS:
        place = folder / kind.replace(",", "").replace(" ", "-")
        config = TrainConfig(steps=updates[kind], evaluate_every=max(1, updates[kind] // 4))
        for _ in run_in(place, build(kind), data, config, resume=(place / STATE).exists()):
            pass
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
            found[kind]["small_pixels_seen_of_256"] = seen(best)
        rows.append(sample(best, 10, (32, 32), generator=torch.Generator().manual_seed(0)))
        print(name, kind, json.dumps(found[kind]), flush=True)
    sheet = grid(torch.cat(rows).numpy(), columns=10, levels=LEVELS, scale=2)
    framed(sheet, FIGURES / f"multi_scale_{name}.png", rows=MODELS)
    return {"training_images": len(data.train), "valid_images": len(data.valid), "models": found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    torch.set_num_threads(1)
    results = {}
    for source in parser.parse_args().data:
        results[source.stem.partition("_")[0]] = compared(source)
        write("multi_scale", {"processor_seconds_each": SECONDS, "data": results})


if __name__ == "__main__":
    main()
