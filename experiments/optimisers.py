"""Muon and AdamW at several rates on the demo's digits: validation bits/dim after equal updates.

    python experiments/optimisers.py

Trains the demo's model in runs/optimisers-…, three seeds each, about half a minute a run, and
writes experiments/results/optimisers.json.
"""

import argparse
import dataclasses
import statistics

from common import description, trained, write

from nextpixel.demo import MODEL, TRAINING

RATES = {"muon": (0.005, 0.01, 0.02, 0.04), "adamw": (0.003, 0.01, 0.02, 0.03)}
UPDATES = (300,)
SEEDS = (0, 1, 2)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for updates in UPDATES:
        for optimizer, rates in RATES.items():
            for rate in rates:
                bits = []
                for seed in SEEDS:
                    training = dataclasses.replace(
                        TRAINING,
                        steps=updates,
                        optimizer=optimizer,
                        learning_rate=rate,
                        seed=seed,
                    )
                    name = f"optimisers-{optimizer}-{rate}-{updates}-{seed}"
                    run = trained(name, "digits", MODEL, training)
                    bits.append(description(run)["training"]["valid_bits_per_dim"])
                found.setdefault(str(updates), {})[f"{optimizer} {rate:g}"] = {
                    "bits_per_dim": statistics.mean(bits),
                    "deviation_of_seeds": statistics.stdev(bits),
                }
                write("optimisers", {"seeds": len(SEEDS), "updates": found})


if __name__ == "__main__":
    main()
