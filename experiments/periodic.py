"""What an Ising lattice on a torus gains if a model sees the neighbours across its border.

In raster order a site knows the rows above and its row to the left. On a torus more of its
neighbours are known: columns that wrap to rows above, the first sites of its row from the last
ones, and row 0 from the last rows. A small network of the (2r + 1)^2 sites around each, 0 where a
site is not known, is trained with and without them; all else is equal, so that the difference is
what they are worth to any model of that reach.

    python experiments/periodic.py

Writes experiments/results/periodic.json: bits per site of test lattices, the mean over two seeds of
the network, and half the distance between the two.
"""

import argparse

import numpy as np
import torch
from common import write
from numpy.typing import NDArray
from torch import nn

REACH = 3


def lattices(count: int, side: int, beta: float, seed: int) -> NDArray[np.float32]:
    """Ising lattices on a torus, by 600 sweeps of a heat bath on a checkerboard."""
    generator = np.random.default_rng(seed)
    x = (2 * generator.integers(0, 2, (count, side, side)) - 1).astype(np.float32)
    even = np.indices((side, side)).sum(axis=0) % 2 == 0
    for _ in range(600):
        for colour in (even, ~even):
            field = sum(np.roll(x, step, axis) for step in (1, -1) for axis in (1, 2))
            up = generator.random(x.shape) < 1 / (1 + np.exp(-2 * beta * field))
            x = np.where(colour, np.where(up, 1, -1), x).astype(np.float32)
    return x


def windows(x: NDArray[np.float32], wrap: str) -> torch.Tensor:
    """The known sites around each site, (images, side, side, window); 0 where one is not known.

    Args:
        x: the lattices.
        wrap: "nothing", "columns" into the rows above, or "all" that raster order has drawn.
    """
    side = x.shape[1]
    rows, columns = np.indices((side, side))
    seen = []
    for down in range(-REACH, REACH + 1):
        for right in range(-REACH, REACH + 1):
            row, column = rows + down, columns + right
            inside = (row >= 0) & (row < side)
            if wrap != "all":
                allowed = inside & (row <= rows)
            else:
                allowed = np.ones_like(inside)
            if wrap == "nothing":
                allowed &= (column >= 0) & (column < side)
            if wrap == "columns":
                allowed &= (row < rows) | ((column >= 0) & (column < side))
            row, column = row % side, column % side
            known = allowed & (row * side + column < rows * side + columns)
            seen.append(np.where(known, x[:, row, column], 0))
    return torch.from_numpy(np.stack(seen, axis=-1))


def bits(train: NDArray[np.float32], test: NDArray[np.float32], wrap: str, seed: int) -> float:
    """Bits per site of the test lattices."""
    torch.manual_seed(seed)
    x, y = windows(train, wrap).flatten(0, 2), torch.from_numpy(train).flatten()
    network = nn.Sequential(
        nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    steps = 1500
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(y), (1024,))
        loss = nn.functional.softplus(-y[rows] * network(x[rows])[:, 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        logits = network(windows(test, wrap).flatten(0, 2))[:, 0]
        nats = nn.functional.softplus(-torch.from_numpy(test).flatten() * logits).mean()
    return float(nats) / np.log(2)


def main() -> None:
    """Prints bits per site, the mean over two seeds of the network, and their spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16])
    torch.set_num_threads(1)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for side in parser.parse_args().sides:
        count = 160 * 1024 // side**2
        train, test = (lattices(count, side, 0.44, seed) for seed in (0, 1))
        for wrap in ("nothing", "columns", "all"):
            found = [bits(train, test, wrap, seed) for seed in range(2)]
            results.setdefault(str(side), {})[wrap] = {
                "bits_per_site": float(np.mean(found)),
                "spread": float(np.std(found)),
            }
            print(side, wrap, results[str(side)][wrap], flush=True)
    write("periodic", results)


if __name__ == "__main__":
    main()
