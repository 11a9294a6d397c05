"""Portraits: does the embedding of one picture of somebody make new pictures of that person?

    python experiments/portraits.py FACES_LFW32.npz

Conditional Image Generation with PixelCNN Decoders, section 3.3, small: an embedding trained on
triplets on 128 people, verified on 30 others; then a Gated PixelCNN given the frozen embedding of
each picture; then drawn portraits of people whom neither ever saw, embedded in turn: are they
nearer to their own person than to others? Writes numbers to experiments/results/portraits.json;
pictures stay in the ignored folder runs/, for they are of persons.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from common import description, evaluated, trained, worth, write

from nextpixel import Preparation, Source, TrainConfig, load, sample
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
TRAINING = TrainConfig(flip=True, condition_dropout=0.1, minutes=14)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    arrays = np.load(parser.parse_args().data)
    Path("runs").mkdir(exist_ok=True)
    checkpoint, source = Path("runs/faces-embedding.safetensors"), "runs/faces-known.npz"
    known_people = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(source, **{name: arrays[name] for name in known_people})
    if not checkpoint.exists():
        learn_embedding(
            source,
            EMBEDDING,
            out=checkpoint,
            preparation=Preparation(size="auto"),
            dropout=0.3,
            outputs=64,
            held_out=0,
        )
    network = load_embedding(checkpoint)
    new = torch.from_numpy(arrays["newpeople_images"].astype(np.int64)).movedim(3, 1)
    people = arrays["newpeople_labels"].astype(np.int64)
    vectors = embed(network, new)
    known = read_card(checkpoint).to_json()["verification"]["known"]
    results = {
        "embedding": asdict(EMBEDDING),
        "known_people_other_pictures": known,
        "people_never_seen": asdict(verify(vectors, people, threshold=known["threshold"])),
    }
    print(results, flush=True)

    run = trained("portraits", Source(source, embedding=checkpoint), MODEL, TRAINING)
    results["portraits"] = description(run) | {"test": evaluated(run)}
    results["embedding_is_worth"] = worth(run, 583)

    # One picture of each new person, four portraits of each.
    first = np.array([np.flatnonzero(people == k)[0] for k in np.unique(people)])
    generator = torch.Generator().manual_seed(0)
    for guidance in (1.0, 2.0):
        given = vectors[first].repeat_interleave(4, dim=0)
        drawn = sample(
            load(run), len(given), (32, 32), condition=given, guidance=guidance, generator=generator
        )
        again = embed(network, drawn)
        distance = torch.cdist(again, vectors[first]).square()
        own = torch.arange(len(first)).repeat_interleave(4)
        to_own = distance.gather(1, own[:, None])[:, 0]
        others = distance[torch.arange(len(first))[None] != own[:, None]]
        results[f"portraits_of_new_people_guidance_{guidance:g}"] = {
            "portraits": len(given),
            "people": len(first),
            "mean_squared_distance_to_own_person": float(to_own.mean()),
            "to_another_person": float(others.mean()),
            "nearer_to_own_than_to_another": (
                float((to_own[:, None] < distance).float().sum()) / others.numel()
            ),
            "own_person_is_nearest": float((distance.argmin(dim=1) == own).float().mean()),
            "chance_of_that": 1 / len(first),
        }
        print(results, flush=True)
    write("portraits", results)


if __name__ == "__main__":
    main()
