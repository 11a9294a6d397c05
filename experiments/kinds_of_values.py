"""Are values categories or amounts? What `value_features` gain on four kinds of grids.

    python experiments/kinds_of_values.py KODAK

The default network's first layer reads a value as an amount; with `value_features` it looks every
value up in a table instead. A Gated PixelCNN of 5 layers of 24 features is trained with several
sizes of the table, and with `position_waves`, on tile maps that are drawn by a few rules, on codes
of 4×4 patches of photographs (k-means; KODAK is their folder), on Ising lattices near the critical
point and on the 8×8 digits. Runs are in runs/kinds-…, and go on where they stopped. Writes
experiments/results/kinds_of_values.json (bits/dim on held-out grids, each seed) after each, and
what `nextpixel.data.kinds.order_matters` says of these grids: the tile maps in `NUMBERINGS` random
orders of their tiles, photographs at each of `PHOTOGRAPHS` levels.
"""

import argparse
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, description, tiles, trained, write
from numpy.typing import NDArray
from PIL import Image

from nextpixel import TrainConfig, load_data
from nextpixel.data.kinds import order_matters
from nextpixel.settings.choice import ModelChoice

TRAIN, HELD_OUT = 1000, 200
UPDATES = 300
SEEDS = (0, 1)
NUMBERINGS = 20
PHOTOGRAPHS = (4, 16, 64, 256)
NETWORKS: dict[str, dict[str, int]] = {
    "none": {},
    "8": {"value_features": 8},
    "16": {"value_features": 16},
    "32": {"value_features": 32},
    "none, positions": {"position_waves": 3},
}
Grids = NDArray[np.uint8]
SKY, GROUND, BRICK, PIPE, PIPE_TOP, COIN, CLOUD, ENEMY, STAIR, FLAG, POLE, BUSH, BOX = range(13)


def tile_maps(kodak: Path) -> Grids:
    """Side views of 14×28 tiles of 13 kinds: ground with gaps, pipes, stairs, bricks and coins.

    Tiles are numbered as above, so that near numbers mean nothing.
    """
    random = np.random.default_rng(0)
    maps = np.full((TRAIN + HELD_OUT, 14, 28), SKY, np.uint8)
    for grid in maps:
        grid[12:] = GROUND
        for left in random.choice(24, random.integers(0, 3), replace=False):
            grid[12:, left + 2 : left + 4] = SKY
        for left in random.choice(np.arange(2, 24, 4), 2, replace=False):
            top = random.integers(8, 11)
            what = random.integers(4)
            if what == 0:
                grid[top, left : left + 2], grid[top + 1 : 12, left : left + 2] = PIPE_TOP, PIPE
            elif what == 1:
                for step in range(3):
                    grid[11 - step : 12, left + step] = STAIR
            elif what == 2:
                grid[top - 2, left : left + 3] = random.choice([BRICK, BOX])
                grid[top - 3, left + 1] = random.choice([SKY, COIN])
            else:
                grid[11, left : left + random.integers(1, 4)] = random.choice([BUSH, ENEMY])
        for _ in range(random.integers(1, 4)):
            row, left = random.integers(0, 4), random.integers(0, 26)
            grid[row, left : left + 2] = CLOUD
        if random.random() < 0.3:
            grid[5, 26], grid[6:12, 26] = FLAG, POLE
    return maps


@cache
def photographs(kodak: Path) -> list[Grids]:
    """Tiles of 64×64 pixels in colour."""
    pictures = (np.asarray(Image.open(path).convert("RGB")) for path in sorted(kodak.glob("*.png")))
    return [tile for picture in pictures for tile in tiles(picture, 64, 64)]


@cache
def codes(kodak: Path) -> Grids:
    """The nearest of 64 centres of each 4×4 patch of photographs, 16×16 codes."""
    found = photographs(kodak)
    random = np.random.default_rng(0)
    found = [found[k] for k in random.permutation(len(found))[: TRAIN + HELD_OUT]]
    x = np.stack(found).reshape(-1, 16, 4, 16, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 48)
    patches = torch.from_numpy(x).float()
    sample = patches[torch.from_numpy(random.permutation(len(patches))[:20000])]
    centres = sample[:64].clone()
    for _ in range(20):
        nearest = torch.cdist(sample, centres).argmin(dim=1)
        for k in range(64):
            if (nearest == k).any():
                centres[k] = sample[nearest == k].mean(dim=0)
    nearest = torch.cdist(patches, centres).argmin(dim=1)
    return nearest.view(-1, 16, 16).numpy().astype(np.uint8)


def ising(kodak: Path) -> Grids:
    """Spins of a periodic 16×16 lattice at β = 0.44, after 400 sweeps of heat bath."""
    random = np.random.default_rng(0)
    spins = random.choice([-1, 1], (TRAIN + HELD_OUT, 16, 16))
    black = np.indices((16, 16)).sum(axis=0) % 2 == 0
    for sweep in range(800):
        field = sum(np.roll(spins, step, axis) for step in (-1, 1) for axis in (1, 2))
        up = random.random(spins.shape) < 1 / (1 + np.exp(-2 * 0.44 * field))
        spins = np.where(black == (sweep % 2 == 0), np.where(up, 1, -1), spins)
    return ((spins + 1) // 2).astype(np.uint8)


KINDS: dict[str, tuple[Callable[[Path], Grids] | None, int]] = {
    "tile maps, 14×28": (tile_maps, 13),
    "codes of patches, 16×16": (codes, 64),
    "Ising lattices, 16×16": (ising, 2),
    "digits, 8×8": (None, 17),
}
"""How grids are made, None for the digits of scikit-learn; how many values there are."""


def order(kodak: Path) -> dict[str, dict[str, float]]:
    """What `order_matters` says, the least and the most of each kind."""
    random, maps = np.random.default_rng(0), tile_maps(kodak)[:TRAIN]
    pictures = [tile.transpose(2, 0, 1) for tile in photographs(kodak)]
    found = {
        "tile maps": [
            order_matters(list(random.permutation(13)[maps][:, None])) for _ in range(NUMBERINGS)
        ],
        "codes of patches": [order_matters(list(codes(kodak)[:TRAIN, None]))],
        "digits, 8×8": [order_matters(list(load_data("digits").train.images[:]))],
        "photographs": [
            order_matters([x.astype(np.int64) * levels // 256 for x in pictures])
            for levels in PHOTOGRAPHS
        ],
    }
    return {kind: {"least": min(each), "most": max(each)} for kind, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kodak", type=Path)
    kodak = parser.parse_args().kodak
    torch.set_num_threads(1)
    Path("runs").mkdir(exist_ok=True)
    path = RESULTS / "kinds_of_values.json"
    found: dict[str, Any] = json.loads(path.read_text())["kinds"] if path.exists() else {}
    what = {"updates": UPDATES, "grids": {"train": TRAIN, "held out": HELD_OUT}}
    what["order_matters"] = order(kodak)
    for kind, (make, levels) in KINDS.items():
        name = kind.partition(",")[0].replace(" ", "-")
        source, preparation = "digits", {}
        if make is not None:
            place = Path("runs") / f"kinds-{name}.npz"
            if not place.exists():
                x = make(kodak)
                np.savez(place, train_images=x[:TRAIN], valid_images=x[TRAIN:])
            source, preparation = str(place), {"levels": levels, "from_levels": levels}
        rows = found.setdefault(kind, {"levels": levels, "valid_bits_per_dim": {}})
        for seed in SEEDS:
            for network, changed in NETWORKS.items():
                run = trained(
                    f"kinds-{name}-{network.replace(', ', '-')}-{seed}",
                    source,
                    ModelChoice(kind="photograph", network={"features": 24, "layers": 5} | changed),
                    TrainConfig(steps=UPDATES, evaluate_every=UPDATES, seed=seed),
                    conditional=False,
                    **preparation,
                )
                bits = description(run)["training"]["valid_bits_per_dim"]
                rows["valid_bits_per_dim"].setdefault(network, {})[str(seed)] = bits
                print(kind, network, seed, bits, flush=True)
                write(path.stem, {**what, "kinds": found})


if __name__ == "__main__":
    main()
