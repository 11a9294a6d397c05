"""Which of 50 suspicious pictures are really mislabelled, and which of 50 close pairs copies?

    python experiments/cleaning.py

The 1,797 digits get wrong labels for one picture in twenty, and 50 copies: 25 exact ones, and 25 in
which a fifth of the pixels is changed by one level. A class-conditional model then ranks all
pictures by p(own label | picture), of a model that was trained on them, wrong labels included, and
of two models of which each was trained on one half and ranks the other. Pairs are ranked by the
distance of hidden features, and by that of pixels. Precision is the share of damaged ones among the
first 50. Writes results/cleaning.json; runs are kept in runs/.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from common import description, trained, write

from nextpixel import TrainConfig, hidden_statistics, load, load_data
from nextpixel.inference.scores import score_images
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.scores import ScoreRequest

WRONG, COPIES, FIRST = 90, 50, 50
MODEL = ModelChoice(model="gated-pixel-cnn", network={"features": 24, "layers": 4})
TRAINING = TrainConfig(steps=1000, learning_rate=0.003, condition_dropout=0.1)
NAMES = np.array([str(k) for k in range(10)])


def damaged() -> dict[str, np.ndarray]:
    """The digits with wrong labels and copies; where they are is `wrong` and `copy_of`."""
    data = load_data("digits", Preparation(validation=0, test=0)).train
    x, labels = np.asarray(data.images)[:, 0], np.asarray(data.labels)
    generator = np.random.default_rng(0)
    of = generator.choice(len(x), COPIES, replace=False)
    copies = x[of].astype(int)
    near = generator.random(copies.shape) < 0.2
    near[: COPIES // 2] = False
    copies = np.clip(copies + near * generator.choice([-1, 1], copies.shape), 0, 16)
    x = np.concatenate([x, copies.astype(np.uint8)])
    labels = np.concatenate([labels, labels[of]])
    wrong = generator.choice(len(x) - COPIES, WRONG, replace=False)
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, WRONG)) % 10
    copy_of = np.concatenate([np.full(len(x) - COPIES, -1), of])
    return {"x": x, "labels": labels, "wrong": wrong, "copy_of": copy_of}


def p_label(
    name: str, x: np.ndarray, labels: np.ndarray, rows: dict[str, np.ndarray]
) -> np.ndarray:
    """P(label | picture) of the pictures in rows["score"], by a model of those in rows["train"]."""
    folder = Path("runs") / "cleaning"
    folder.mkdir(parents=True, exist_ok=True)
    for part, chosen in rows.items():
        images, own = x[chosen], labels[chosen]
        np.savez(folder / f"{name}_{part}.npz", images=images, labels=own, label_names=NAMES)
    how = {"levels": 17, "from_levels": 17, "validation": 0.1, "test": 0}
    run = trained(f"cleaning_{name}", str(folder / f"{name}_train.npz"), MODEL, TRAINING, **how)
    request = ScoreRequest(out=folder / f"{name}.csv", sort="p_label")
    found = score_images(run, request, data=DataRequest(data=folder / f"{name}_score.npz"))
    probabilities = np.empty(len(found.rows))
    for row in found.rows:
        probabilities[int(row["name"])] = row["p_label"]
    return probabilities


def close_pairs(features: np.ndarray, copy_of: np.ndarray) -> float:
    """The share of the closest pairs that are a picture and its copy."""
    squares = (features**2).sum(axis=1)
    distance = squares[:, None] + squares[None] - 2 * features @ features.T
    first, second = np.triu_indices(len(features), 1)
    closest = np.argsort(distance[first, second])[:COPIES]
    return float(np.mean(copy_of[second[closest]] == first[closest]))


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    found = damaged()
    x, labels, copy_of = found["x"], found["labels"], found["copy_of"]
    every = np.arange(len(x))
    own = p_label("all", x, labels, {"train": every, "score": every})
    held_out = np.empty(len(x))
    for name, train in (("even", every[::2]), ("odd", every[1::2])):
        rest = np.setdiff1d(every, train)
        held_out[rest] = p_label(name, x, labels, {"train": train, "score": rest})
    precision = {
        name: float(np.isin(np.argsort(p, kind="stable")[:FIRST], found["wrong"]).mean())
        for name, p in (("its own pictures", own), ("the other half", held_out))
    }
    model = load("runs/cleaning_all")
    with torch.no_grad():
        hidden = hidden_statistics(model, x[:, None], torch.from_numpy(labels)).numpy()
    hidden = (hidden - hidden.mean(axis=0)) / (hidden.std(axis=0) + 1e-9)
    pairs = {
        "hidden features": close_pairs(hidden, copy_of),
        "pixels": close_pairs(x.reshape(len(x), -1).astype(float), copy_of),
    }
    results = {
        "command": "python experiments/cleaning.py",
        **description(Path("runs/cleaning_all")),
        "wrong_labels": WRONG,
        "pictures": len(x),
        "precision_at_50": precision,
        "copies_among_50_pairs": pairs,
    }
    write("cleaning", results)
    print(precision, pairs)


if __name__ == "__main__":
    main()
