"""Digits in eight orders: do draws agree with what is known, whichever half that is?

    python experiments/eight_orders.py MODEL mnist_binarized.npz

MODEL is a run folder or checkpoint of binary digits that was trained in eight orders:

    nextpixel train mnist_binarized.npz --from mnist --orders 8 --steps 7000 --learning-rate 0.002

The figures are of 3,491 updates of that run, which was stopped, and 400 more from its averaged
weights, at 0.0008 and down to zero. Completes 200 test digits, evenly spaced, of which a half is
known, and 40 of them without a block, in the order that `complete` chooses; and by one walker in
raster order, which ignores what comes later. Compares -log p of the whole under the mixture of all
orders. Writes experiments/results/eight_orders.json (nats per image) and
docs/figures/eight_orders.png: for each mask four digits, what is given, and three draws of either
kind; seed 0, not chosen.

The committed figures are of the first 200 test digits and the first 40. The file is in the order of
its classes, so all of them are zeros.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import spread, write
from plots import framed
from torch import Tensor

from nextpixel import complete, complete_with_evidence, load, load_data, score
from nextpixel.analysis.uncertainty import standard_error
from nextpixel.data.image_files import grid
from nextpixel.models.core import ImageModel
from nextpixel.orders import Order
from nextpixel.scoring import mixed, order_scores

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "eight_orders.png"
DRAWS, SHOWN, BLOCK, FEW = 3, 4, 10, 40


def masks(images: int, side: int) -> dict[str, Tensor]:
    """Where images are known, (images, 1, side, side) or (side, side)."""
    rows = torch.arange(side)[:, None].expand(side, side)
    corners = torch.randint(side - BLOCK, (2, images), generator=torch.Generator().manual_seed(0))
    place = torch.arange(side)
    inside = (place >= corners[:, :, None]) & (place < corners[:, :, None] + BLOCK)
    return {
        "upper half": rows < side // 2,
        "lower half": rows >= side // 2,
        "left half": rows.mT < side // 2,
        "right half": rows.mT >= side // 2,
        "all but a block": ~(inside[0][:, None, :, None] & inside[1][:, None, None, :]),
    }


def figures(model: ImageModel, x: Tensor, known: Tensor) -> tuple[dict[str, Any], Tensor]:
    """Nats per image of completions of x, and some of them."""
    seeded = torch.Generator().manual_seed
    own = complete_with_evidence(model, x, known, draws=DRAWS, generator=seeded(0))
    first = {"order": Order(), "particles": 1}
    ignoring = complete(model, x, known, draws=DRAWS, generator=seeded(0), **first)
    nats = {
        "original": -score(model, x),
        "draws": -score(model, own.images[:, 0]),
        "draws that ignore what comes later": -score(model, ignoring[:, 0]),
    }
    found: dict[str, Any] = {name: float(each.mean()) for name, each in nats.items()}
    less = nats["draws that ignore what comes later"] - nats["draws"]
    found["saved"] = {
        "nats": float(less.mean()),
        "standard_error": standard_error(less.numpy()),
    }
    given = torch.where(known.expand(x.shape), x, 0)
    shown = torch.cat([x[:, None], given[:, None], own.images, ignoring], dim=1)
    shown = shown[torch.from_numpy(spread(SHOWN, len(x)))]
    return found, shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = load(asked.model)
    data = load_data(str(asked.data))
    places = spread(asked.images, len(data.test))
    x = torch.from_numpy(np.asarray(data.test.batch(places))).long()
    members = order_scores(model, x)
    orders = {
        order.name: -float(nats)
        for order, nats in zip(model.orders, members.mean(dim=0), strict=True)
    }
    found: dict[str, Any] = {}
    result: dict[str, Any] = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "images": asked.images,
        "orders": orders,
        "mean_of_orders": -float(members.mean()),
        "mixture": -float(mixed(members).mean()),
        "masks": found,
    }
    rows, names = [], []
    for name, known in masks(asked.images, x.shape[3]).items():
        few = spread(FEW, len(x)) if known.ndim > 2 else np.arange(len(x))
        part = torch.from_numpy(few)
        found[name], shown = figures(model, x[part], known[part] if known.ndim > 2 else known)
        print(name, json.dumps(found[name]), flush=True)
        # Originals, what is given and draws of one digit side by side, digits next to each other.
        rows.append(shown.flatten(0, 1))
        names.append(name)
    write("eight_orders", result)
    sheet = grid(torch.cat(rows), columns=len(rows[0]), levels=2)
    columns = [("original, given, draws, raster order", len(rows[0]) // SHOWN)] * SHOWN
    framed(sheet, FIGURE, rows=names, columns=columns)


if __name__ == "__main__":
    main()
