"""Colours of test pictures of which one channel is known, drawn in two orders of the colours.

    nextpixel train emoji_twemoji32.npz --from emoji --colour-orders 3 --steps 98
    python experiments/colourise.py emoji_twemoji32.npz RUN

For each channel that may be known: how many walkers stay effective, and how far draws of the other
channels are from the true ones, in the order that begins with the known channel and in the first
order, red, green, blue. Writes results/colourise.json, and docs/figures/emoji_colourised.png: test
pictures whose green is known, evenly spaced because the file is in the order of its categories,
with draws of seed 0, not chosen. About two minutes on a core.

The committed figures are of the first test pictures, nearly all of them flags.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import description, spread, write
from plots import framed
from torch import Tensor

from nextpixel import Order, complete_with_evidence, load, load_data
from nextpixel.data.image_files import grid
from nextpixel.models.core import ImageModel
from nextpixel.scoring import mixed, order_scores
from nextpixel.settings.preparation import Preparation
from nextpixel.turning import best_order

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "emoji_colourised.png"
COLOURS = "red", "green", "blue"
PARTICLES, SHOWN, DRAWS = 32, 8, 3


def main() -> None:
    """Measures, and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=16, help="test pictures to colour")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model, test = load(asked.run), load_data(asked.data, Preparation(levels=16)).test
    rows = np.arange(len(test))
    x = torch.from_numpy(test.batch(rows)).long()
    classes = torch.from_numpy(np.asarray(test.labels)).long()
    nats = order_scores(model, x, classes)
    per_bit = x[0].numel() * math.log(2)
    results: dict[str, Any] = {
        "command": "python experiments/colourise.py emoji_twemoji32.npz RUN",
        **description(Path(asked.run)),
        "test": {
            "images": len(x),
            "orders": [-float(one.mean()) / per_bit for one in nats.T],
            "mixture": -float(mixed(nats).mean()) / per_bit,
        },
        "images": asked.images,
        "particles": PARTICLES,
        "known": {},
    }
    places = spread(asked.images, len(x))
    few, given = x[places], classes[places]
    for channel, colour in enumerate(COLOURS):
        known = (torch.arange(3) == channel).view(3, 1, 1)
        suited = best_order(model, known)
        results["known"][colour] = {
            "suited": measured(model, few, given, known, suited),
            "first": measured(model, few, given, known, Order()),
        }
        print(colour, results["known"][colour], flush=True)
    write("colourise", results)
    places = spread(SHOWN, len(x))
    picture(model, x[places], classes[places])


def measured(
    model: ImageModel, x: Tensor, classes: Tensor, known: Tensor, order: Order
) -> dict[str, Any]:
    """How many walkers stay effective, and the error of a draw, in levels."""
    found = complete_with_evidence(
        model,
        x,
        known,
        particles=PARTICLES,
        condition=classes,
        order=order,
        generator=torch.Generator().manual_seed(0),
    )
    hidden = ~known.expand(x.shape)
    error = (found.images[:, 0] - x)[hidden].double().square().mean().sqrt()
    return {
        "order": order.name,
        "root_mean_squared_error": float(error),
        "effective_walkers": float(found.effective.median()),
    }


def picture(model: ImageModel, x: Tensor, classes: Tensor) -> None:
    """A row for each picture: itself, its green, and draws in both orders."""
    known = (torch.arange(3) == 1).view(3, 1, 1)
    columns = [x[:, None], x[:, None, 1:2].expand(-1, 1, 3, -1, -1)]
    for order in (best_order(model, known), Order()):
        found = complete_with_evidence(
            model,
            x,
            known,
            draws=DRAWS,
            particles=PARTICLES,
            condition=classes,
            order=order,
            generator=torch.Generator().manual_seed(0),
        )
        columns.append(found.images)
    images = torch.cat(columns, dim=1)
    sheet = grid(images.flatten(0, 1).numpy(), columns=images.shape[1], levels=16, scale=2)
    names = [("", 1), ("known", 1), ("green first", DRAWS), ("red, green, blue", DRAWS)]
    framed(sheet, FIGURE, columns=names)


if __name__ == "__main__":
    main()
