"""Portraits: does the embedding of one picture of somebody make new pictures of that person?

    python experiments/portraits.py FACES_LFW32.npz [--updates 700] [--noise 0 1 2]

Conditional Image Generation with PixelCNN Decoders, section 3.3, small: an embedding trained on
triplets on 128 people, verified on 30 others; then Gated PixelCNNs given the frozen embedding of
each picture, with more or less noise on it in training. People whom neither network saw decide and
judge: every second one is in the validation split, which chooses weights and noise, and the others
are tested. Is their own embedding worth bits? Are drawn portraits, embedded in turn, nearer to
their own person than to others? Writes numbers to experiments/results/portraits.json; pictures stay
in the ignored folder runs/, for they are of persons.
"""

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import description, trained, write
from torch import Tensor

from nextpixel import ImageModel, Preparation, TrainConfig, load, sample, score
from nextpixel.checkpoint import load_embedding, read_card
from nextpixel.models.embedding import embed
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.training import EmbeddingConfig
from nextpixel.training.embed import learn_embedding
from nextpixel.training.embedding import verify

EMBEDDING = EmbeddingConfig(steps=4000, flip=True, shift=2, classes=24, each=4)
MODEL = ModelChoice(
    network={
        "features": 30,
        "layers": 6,
        "kernel_size": 3,
        "first_kernel_size": 7,
        "head": "logistic",
        "dropout": 0.1,
    }
)
MOST = 20
"""Pictures of a person that count, so that the one with 530 does not decide alone."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--updates", type=int, default=700)
    parser.add_argument("--noise", type=float, nargs="*", default=[0.0, 1.0, 2.0])
    asked = parser.parse_args()
    arrays = dict(np.load(asked.data))
    Path("runs").mkdir(exist_ok=True)
    checkpoint, known_people = Path("runs/faces-embedding.safetensors"), "runs/faces-known.npz"
    if not checkpoint.exists():
        names = ("train_images", "train_labels", "test_images", "test_labels")
        np.savez(known_people, **{name: arrays[name] for name in names})
        learn_embedding(
            known_people,
            EMBEDDING,
            out=checkpoint,
            preparation=Preparation(size="auto"),
            dropout=0.3,
            outputs=64,
            held_out=0,
        )
    network = load_embedding(checkpoint)
    people = arrays["newpeople_labels"].astype(np.int64)
    known = read_card(checkpoint).to_json()["verification"]["known"]
    vectors = embed(network, _integers(arrays["newpeople_images"]))
    unseen = asdict(verify(vectors, people, threshold=known["threshold"]))
    results: dict[str, Any] = {
        "embedding": asdict(EMBEDDING),
        "known_people_other_pictures": known,
        "people_never_seen": unseen,
        "updates": asked.updates,
        "by_noise": {},
    }
    print(results, flush=True)

    few = np.concatenate([np.flatnonzero(people == person)[:MOST] for person in np.unique(people)])
    deciding, judging = few[people[few] % 2 == 0], few[people[few] % 2 == 1]
    source = Path("runs/faces-with-vectors.npz")
    new, theirs = arrays["newpeople_images"], vectors.numpy()
    np.savez(
        source,
        train_images=arrays["train_images"],
        train_vectors=embed(network, _integers(arrays["train_images"])).numpy(),
        valid_images=new[deciding],
        valid_vectors=theirs[deciding],
        test_images=new[judging],
        test_vectors=theirs[judging],
    )
    for noise in asked.noise:
        training = TrainConfig(
            flip=True, condition_dropout=0.1, steps=asked.updates, condition_noise=noise
        )
        run = trained(f"portraits-{asked.updates}-noise-{noise:g}", str(source), MODEL, training)
        model = load(run)
        results["by_noise"][f"{noise:g}"] = description(run) | {
            name: _worth(model, _integers(new[rows]), vectors[rows], people[rows])
            for name, rows in (("validation", deciding), ("test", judging))
        }
        write("portraits", results)

    chosen = max(results["by_noise"].items(), key=lambda found: found[1]["validation"]["bits"])[0]
    model = load(Path("runs") / f"portraits-{asked.updates}-noise-{chosen}")
    results["chosen_noise"] = float(chosen)
    # One picture of each person of the test split, four portraits of each.
    first = np.array([judging[people[judging] == k][0] for k in np.unique(people[judging])])
    for guidance in (1.0, 2.0):
        results[f"portraits_guidance_{guidance:g}"] = _likeness(
            model, network, vectors[first], guidance
        )
    write("portraits", results)


def _integers(images: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(images.astype(np.int64)).movedim(3, 1)


def _worth(
    model: ImageModel, x: Tensor, vectors: Tensor, people: np.ndarray[Any, Any]
) -> dict[str, float]:
    """Bits an image that its own embedding saves, as means of persons, who are independent."""
    parts = [slice(start, start + 64) for start in range(0, len(x), 64)]
    given, nothing = (
        torch.cat([score(model, x[part], value[part]) for part in parts])
        for value in (vectors, torch.full_like(vectors, torch.nan))
    )
    saved = ((given - nothing) / math.log(2)).numpy()
    means = np.array([saved[people == person].mean() for person in np.unique(people)])
    return {
        "bits": float(means.mean()),
        "standard_error": float(means.std(ddof=1) / math.sqrt(len(means))),
        "people": len(means),
        "images": len(x),
        "bits_per_dim": float(-given.mean() / math.log(2) / x[0].numel()),
    }


def _likeness(
    model: ImageModel, network: Any, vectors: Tensor, guidance: float
) -> dict[str, float]:
    """How near portraits are to their own person, and to others."""
    given = vectors.repeat_interleave(4, dim=0)
    generator = torch.Generator().manual_seed(0)
    drawn = sample(
        model, len(given), (32, 32), condition=given, guidance=guidance, generator=generator
    )
    distance = torch.cdist(embed(network, drawn), vectors).square()
    own = torch.arange(len(vectors)).repeat_interleave(4)
    to_own = distance.gather(1, own[:, None])[:, 0]
    others = distance[torch.arange(len(vectors))[None] != own[:, None]]
    return {
        "portraits": len(given),
        "people": len(vectors),
        "mean_squared_distance_to_own_person": float(to_own.mean()),
        "to_another_person": float(others.mean()),
        "nearer_to_own_than_to_another": (
            float((to_own[:, None] < distance).float().sum()) / others.numel()
        ),
        "own_person_is_nearest": float((distance.argmin(dim=1) == own).float().mean()),
        "chance_of_that": 1 / len(vectors),
    }


if __name__ == "__main__":
    main()
