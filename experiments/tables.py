"""Writes the tables of README.md, experiments/README.md and the pages of docs.

They come from experiments/results/*.json, and from what the models that come with nextpixel say of
themselves.

    python experiments/tables.py            writes them
    python experiments/tables.py --check    exits with 1 if they are not what the files say, or if a
                                            number in the prose is not (`marks`)

A table stands between <!-- table NAME --> and <!-- end -->.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import marks

from nextpixel import load
from nextpixel.checkpoint import pretrained, read_card
from nextpixel.papers.recipes import RECIPES
from nextpixel.papers.reproduce import TEST_EVALUATIONS

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGES = (
    HERE / "README.md",
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    *sorted(
        page
        for part in (
            "start",
            "guides",
            "concepts",
            "results",
            "decisions",
            "reference",
            "notebooks",
        )
        for page in (ROOT / "docs" / part).glob("*.md")
    ),
)


def results(name: str) -> dict[str, Any] | None:
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def reproduced() -> str:
    """Every recipe that was run, beside the paper's figure."""
    rows = []
    for found in common.reproduced():
        digits = 2 if found["unit"] == "nats" else 3
        ours = [
            f"{found['figures'][name]:.{digits}f}" if name in found["figures"] else "–"
            for name in ("valid", "test")
        ]
        recipe = RECIPES[found["recipe"]]
        paper = (
            "–"
            if found["published"] is None
            else f"{found['published']:.2f} ({found['published_on']})"
        )
        unit = f"{found['unit']} given {recipe.given}" if recipe.given else found["unit"]
        size, hours = f"{found['parameters']:,}", f"{found['hours']:.1f}"
        rows.append([f"`{recipe.name}`", recipe.source, *ours, unit, paper, size, hours])
    head = [
        "recipe",
        "row",
        "ours, valid",
        "ours, test",
        "unit",
        "the paper",
        "parameters",
        "hours",
    ]
    return table(head, rows) if rows else "None is finished yet."


def test_evaluations() -> str:
    """Every evaluation of a recipe on the test split."""
    path = common.RESULTS / TEST_EVALUATIONS
    looks = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [
        [
            f"`{look['recipe']}`",
            look["date"],
            f"{look['step']:,}",
            f"{look['valid']:.3f}",
            f"{look['test']:.3f}",
            look["unit"],
            look["commit"],
        ]
        for look in looks
    ]
    return table(["recipe", "date", "updates", "valid", "test", "unit", "commit"], rows)


def codec() -> str:
    """Sizes of pictures under this library's codec and others, and the times of both directions."""
    rows = []
    for name in ("codec_mnist", "codec_patches", "codec_photographs", "codec_kodim08"):
        found = results(name)
        if found is None:
            continue
        what = f"{found['pictures']:,} {found['what']}"
        for codec, figures in found["codecs"].items():
            size = f"{figures['bytes_a_picture']:,.2f} bytes each"
            if name != "codec_mnist":
                size = f"{figures['bits_per_dim']:.3f} bits/dim"
            times = (
                _each(figures.get(key), found["pictures"])
                for key in ("processor_seconds", "decoding_seconds")
            )
            rows.append([what, codec, size, *times])
    return table(["pictures", "codec", "size", "encoding a picture", "decoding a picture"], rows)


def _each(seconds: float | None, pictures: int) -> str:
    """Processor seconds of one picture."""
    if seconds is None:
        return "–"
    each = seconds / pictures
    if each >= 1:
        return f"{each:,.1f} s"
    return f"{1000 * each:.0f} ms" if each >= 0.1 else f"{1000 * each:.2g} ms"


_STUDY = (
    ("Gated PixelCNN: two stacks", "gated-pixel-cnn", ""),
    ("Row LSTM", "row-lstm", ""),
    ("Diagonal BiLSTM", "diagonal-bilstm", ""),
    ("PixelCNN: residual connections, ReLU, one stack", "pixel-cnn", ""),
    ("skip connections too", "pixel-cnn-skip-too", "pixel-cnn"),
    ("skip connections in place of residual ones", "pixel-cnn-skip-only", "pixel-cnn"),
    ("neither", "pixel-cnn-neither", "pixel-cnn"),
    ("gates in place of ReLU", "pixel-cnn-gates", "pixel-cnn"),
    ("a second stack: no blind spot", "gated-pixel-cnn", "pixel-cnn-gates"),
    ("a mixture of logistics in place of the softmax", "gated-logistic", "gated-pixel-cnn"),
    ("trained for its density, scored as density", "gated-density", "gated-logistic"),
)


def study() -> str:
    """CIFAR-10 at equal parameters and minutes: each construction against the one it changes."""
    rows = []
    for what, name, base in _STUDY:
        found, against = results(f"cifar10-{name}-small"), results(f"cifar10-{base}-small")
        if found is None or (base and against is None):
            continue
        bits = found["figures"]["test"]
        change = f"{bits - against['figures']['test']:+.3f} to `{base}`" if against else "–"
        updates, minutes = f"{found['steps']:,}", f"{60 * found['hours']:.0f}"
        rows.append(
            [what, f"`{name}`", f"{bits:.3f}", change, f"{found['parameters']:,}", updates, minutes]
        )
    head = [
        "construction",
        "recipe cifar10-…-small",
        "test bits/dim",
        "changes",
        "parameters",
        "updates of 16",
        "minutes",
    ]
    return table(head, rows) if rows else "Not finished yet."


def four_models_rates() -> str:
    """Nats of each family at each learning rate, see `experiments/four_models.py`."""
    r = results("four_models")
    if r is None:
        return "Not finished yet."
    every = {name: m["tried"] for name, m in r["models"].items() if "tried" in m}
    rates = list(dict.fromkeys(key.split()[1] for tried in every.values() for key in tried))
    rows = [
        [
            f"`{name}`, {optimiser}",
            *(
                "–" if (nats := tried.get(f"{optimiser} {rate}")) is None else f"{nats:.2f}"
                for rate in rates
            ),
        ]
        for name, tried in every.items()
        for optimiser in dict.fromkeys(key.split()[0] for key in tried)
    ]
    head = [f"nats after {r['updates']} updates", *(f"rate {rate}" for rate in rates)]
    return table(head, rows)


def four_models() -> str:
    """The families at their own rates, see `experiments/four_models.py`."""
    r = results("four_models")
    if r is None or not all("equal_time" in m for m in r["models"].values()):
        return "Not finished yet."
    rows = [
        [
            f"`{name}`",
            f"{m['parameters']:,}",
            f"{m['rate']:g}",
            *(_behind(m, key) for key in ("equal_updates", "equal_time")),
            f"{m['updates_in_time']:,}",
        ]
        for name, m in sorted(
            r["models"].items(), key=lambda item: item[1]["equal_updates"]["behind"]
        )
    ]
    head = ["", "parameters", "rate", f"nats after {r['updates']} updates, behind the best"]
    head += [f"after {r['processor_seconds']:g} processor seconds", "updates in this time"]
    return table(head, rows)


def _behind(model: dict[str, Any], key: str) -> str:
    """Nats, and how far behind the best they are."""
    found = model[key]
    text = f"{found['valid_nats_per_image']:.2f}"
    if found["behind"]:
        text += f", {found['behind']:.2f} ± {found['standard_error']:.2f}"
    return text


def kinds_of_values() -> str:
    """Bits/dim with tables of several sizes, see `experiments/kinds_of_values.py`."""
    r = results("kinds_of_values")
    if r is None:
        return "Not finished yet."
    names = list(next(iter(r["kinds"].values()))["valid_bits_per_dim"])
    rows = []
    for kind, found in r["kinds"].items():
        cells = []
        for name in names:
            bits = list(found["valid_bits_per_dim"].get(name, {}).values())
            spread = f" ± {(max(bits) - min(bits)) / 2:.4f}" if len(bits) > 1 else ""
            cells.append(f"{statistics.mean(bits):.4f}{spread}" if bits else "–")
        rows.append([f"{kind}, {found['levels']} levels", *cells])
    return table(["`value_features`", *names], rows)


def autoencoder() -> str:
    rows = []
    for size, r in (results("autoencoder") or {}).items():
        worth = r["code_is_worth"]
        rows.append(
            [
                size,
                f"{r['pixel_cnn']['test']['bits_per_dim']:.3f}",
                f"{worth['given']:.0f}",
                f"{worth['shuffled']:.0f}",
                "–" if worth["nothing"] is None else f"{worth['nothing']:.0f}",
                f"{worth['bits']:.0f} ± {worth['standard_error']:.0f}",
                f"{r['convolutional']['test']['mean_squared_error']:.0f}",
            ]
        )
    head = [
        "m",
        "test bits/dim given the code",
        "bits/image",
        "given another's code",
        "given none",
        "the code is worth",
    ]
    return table([*head, "squared error of the convolutional one"], rows)


def worth_of(what: str, worth: dict[str, Any]) -> list[list[str]]:
    """Rows of what one of ten classes is worth."""
    return [
        [
            f"a wrong {what} costs, bits/image",
            f"{worth['bits']:.1f} ± {worth['standard_error']:.1f}",
        ],
        [f"knowing the {what} saves, bits/image", f"{worth['nothing'] - worth['given']:.2f}"],
        [f"argmax p(x given {what}) is right (chance 10%)", f"{worth['accuracy']:.1%}"],
    ]


def variational() -> str:
    """A variational auto-encoder beside its decoder alone, see `experiments/variational.py`."""
    r = results("variational")
    if r is None:
        return "`python experiments/variational.py` has not been run here yet."
    rows = []
    for name, found in r["models"].items():
        exact = "exact" in found
        rows.append(
            [
                name,
                f"{found['parameters']:,}",
                *(
                    "–"
                    if (figure := found.get(kind)) is None
                    else f"{'' if exact or kind == 'code' else '≤ '}{figure['nats']:.2f}"
                    f" ± {figure['standard_error']:.2f}"
                    for kind in (
                        "exact" if exact else "at most",
                        "exact, every tenth" if exact else "at most, by importance, every tenth",
                        "code",
                    )
                ),
            ]
        )
    head = [
        "",
        "parameters",
        "test nats",
        f"every tenth, {r['importance_samples']} codes",
        "the code costs",
    ]
    return table(head, rows)


def class_conditional() -> str:
    r = results("class_conditional")
    if r is None:
        return "Not finished yet."
    worth = r["class_is_worth"]
    rows = [
        ["test bits/dim given the class", f"{r['test']['bits_per_dim']:.4f}"],
        *worth_of("class", worth),
        ["information about the class, bits (of 3.32)", f"{worth['class_bits']:.2f}"],
        ["classifier on real test images", f"{r['classifier_on_real_test_images']:.1%}"],
    ]
    rows += [
        [f"classifier on samples, guidance {key.rsplit('_', 1)[1]}", f"{value:.1%}"]
        for key, value in r.items()
        if key.startswith("classifier_on_samples")
    ]
    return table(["", "Fashion-MNIST, 16 levels"], rows)


def portraits() -> str:
    """Faces of people whom nothing saw, see `experiments/portraits.py`."""
    r = results("portraits")
    if r is None:
        return "Not finished yet."
    unseen, known = r["people_never_seen"], r["known_people_other_pictures"]
    rows = [
        [
            "embedding, known people: AUROC, accuracy",
            f"{known['auroc']:.3f}, {known['accuracy']:.1%}",
        ],
        [
            "embedding, 30 people never seen: AUROC, accuracy",
            f"{unseen['auroc']:.3f}, {unseen['accuracy']:.1%}",
        ],
    ]
    for noise, found in r["by_noise"].items():
        saved = "; ".join(
            f"{found[split]['bits']:.1f} ± {found[split]['standard_error']:.1f}"
            for split in ("validation", "test")
        )
        rows.append([f"noise {noise}: bits an image saved by its embedding, valid; test", saved])
    for guidance in ("1", "2"):
        p = r[f"portraits_guidance_{guidance}"]
        nearer, nearest = p["nearer_to_own_than_to_another"], p["own_person_is_nearest"]
        chance = f"one of {p['people']}: chance is {p['chance_of_that']:.1%}"
        rows += [
            [
                f"guidance {guidance}: portraits are nearer to their new person than to another",
                f"{nearer:.1%}",
            ],
            [f"guidance {guidance}: the nearest is their own person ({chance})", f"{nearest:.1%}"],
        ]
    return table(["", "faces, 32×32"], rows)


def published_shapes() -> str:
    """One change after another, see `experiments/published_shapes.py`."""
    r = results("published_shapes")
    if r is None:
        return "Not finished yet."
    rows = []
    for family, found in r["families"].items():
        for number, (name, row) in enumerate(found.items()):
            nats = [seed["valid_nats_per_image"] for seed in row["seeds"].values()]
            spread = ""
            if len(nats) > 1:
                spread = f" ± {statistics.stdev(nats):.2f} ({len(nats)} seeds)"
            rows.append(
                [
                    f"`{family}`" if number == 0 else "",
                    name if number == 0 else f"+ {name}",
                    f"{row['parameters']:,}",
                    f"{statistics.mean(nats):.2f}{spread}",
                ]
            )
    head = ["family", "each row has all changes above it", "parameters", "validation, nats"]
    return table(head, rows)


def emoji() -> str:
    r = results("emoji")
    if r is None:
        return "Not finished yet."
    worth = r["category_is_worth"]
    rows = [
        ["test bits/dim given the category", f"{r['test']['bits_per_dim']:.3f}"],
        [
            "uniform; a histogram for each pixel",
            f"{r['test']['uniform_bits_per_dim']:.3f}; {r['test']['histogram_bits_per_dim']:.3f}",
        ],
        *worth_of("category", worth),
    ]
    return (
        f"{table(['', 'emoji, 32×32×3, 16 levels'], rows)}\n\n![A row for each"
        " category](results/emoji.png)"
    )


def other_kinds() -> str:
    """Two tables, of likelihoods and of samples, and the picture."""
    r = results("other_kinds")
    if r is None:
        return "Not finished yet."
    names = {"pixelcnn": "Gated PixelCNN", "vae": "VAE", "gan": "GAN"}
    kinds = ("exact", "elbo", "importance_weighted")
    rows = []
    for name, m in r["models"].items():
        bits = [
            f"{m[k]['bits_per_dim']:.3f} ± {m[k]['standard_error']:.3f}" if k in m else "–"
            for k in kinds
        ]
        rows.append([names[name], f"{m['parameters']:,}", f"{m['images_seen']:,}", *bits])
    head = ["model", "parameters", "images seen in training", "exact bits/dim", "ELBO, at most"]
    likelihoods = table(
        [*head, f"importance-weighted bound of {r['importance_samples']}, at most"], rows
    )

    names |= {
        "real": "real images, held out",
        "vae": "VAE, drawn",
        "vae_likeliest": "VAE, likeliest levels",
    }
    rows = []
    for name, q in r["sample_quality"].items():
        seconds = r["processor_seconds_per_sample_by_batch"].get(name)
        times = [
            f"{1000 * seconds[n]:,.{0 if seconds[n] > 0.01 else 2}f}" if seconds else "–"
            for n in ("1", "64")
        ]
        rows.append(
            [
                names[name],
                f"{q['frechet']:.1f}",
                f"{q['precision']:.3f}",
                f"{q['recall']:.3f}",
                *times,
            ]
        )
    head = [f"{r['samples']:,} of each", "Fréchet distance", "precision", "recall"]
    samples = table([*head, "ms a sample, one by one", "ms a sample, 64 at once"], rows)
    picture = (
        "Two rows each: real images, Gated PixelCNN, VAE (drawn),"
        " GAN.\n\n![Samples](results/other_kinds.png)"
    )
    return f"After {r['minutes']:g} minutes:\n\n{likelihoods}\n\n{samples}\n\n{picture}"


def models() -> str:
    """A card for each model that comes with nextpixel."""
    rows = []
    for name in pretrained():
        m = read_card(name).to_json()
        test, trained = m["test"], m["training"]
        given = "given the class" if test["conditional"] else ""
        nats = f"{test['nats_per_image']:.2f} nats {given}".strip()
        figures = f"{test['bits_per_dim']:.4f} bits/dim, {nats}"
        height, width = m["shape"]
        parameters = sum(p.numel() for p in load(name).parameters())
        earlier = [f"{of['step']:,} of a model before" for of in m.get("ancestors", ())]
        before = "".join(f", after {updates}" for updates in earlier)
        rows.append(
            [
                f"`{name}`",
                m["about"],
                f"{height}×{width}×{m['config']['channels']}, {m['config']['levels']} levels",
                f"{m['model']}, {parameters:,}",
                f"{figures} ({test['images']:,} images)",
                f"{trained['seconds'] / 60:.0f} minutes, {trained['step']:,} updates{before}",
                m["data_terms"],
            ]
        )
    return table(
        ["name", "draws", "images", "model, parameters", "on the test split", "trained", "data"],
        rows,
    )


def passes() -> str:
    """What sampling costs, in forward passes."""
    r = results("sampling_passes") or {}
    rows = [
        [name, *(f"{cost:g}" if cost >= 10 else f"{cost:.1f}" for cost in by_batch.values())]
        for name, by_batch in r["models"].items()
    ]
    how = f"`{r['command']}`, {r.get('recorded') or 'commit ' + (r['commit'] or 'unknown')[:7]}."
    return f"{table(['forward passes', '1 image', '16 images', '64 images'], rows)}\n\n{how}"


def seconds() -> str:
    """What sampling costs, in seconds of one core."""
    r = results("sampling_seconds") or {}
    rows = []
    for name, m in r["models"].items():
        channels, height, width = m["shape"]
        costs = [f"{cost:.1f} s" for cost in m["processor_seconds"].values()]
        rows.append([f"`{name}`, {height}×{width}×{channels}", *costs])
    return table(["pretrained model", "1 image", "16 images", "64 images"], rows)


def eight_orders() -> str:
    """Completions of digits in the order that suits the mask, see `experiments/eight_orders.py`."""
    r = results("eight_orders") or {}
    columns = "original", "draws", "draws that ignore what comes later"
    rows = [
        [name, *(f"{found[column]:.1f}" for column in columns), plus_minus(found["saved"])]
        for name, found in r["masks"].items()
    ]
    heads = ["known", "test digits", "draws", "draws in raster order", "nats saved"]
    return table(heads, rows)


def plus_minus(difference: dict[str, float]) -> str:
    """Nats with their standard error."""
    return f"{difference['nats']:.1f} ± {difference['standard_error']:.1f}"


def codec_speed() -> str:
    """The codec beside float32 passes and samples, see `benchmarks/codec.py`."""
    r = results("codec_speed")
    if r is None:
        return "Not measured yet."
    rows = [
        [
            f"`{name}`, {found['images']}",
            f"{found['float32_passes']:.1f}",
            f"{found['samples']:.1f}",
            f"{found['coding_share_of_encoding']:.0%}, {found['coding_share_of_decoding']:.0%}",
            f"{found['encoding_mb_per_second']:.2g}, {found['decoding_mb_per_second']:.2g}",
        ]
        for name, found in r["models"].items()
    ]
    head = ["model", "exact pass, float32 passes", "decoding, samples", "entropy coding", "MB/s"]
    threads = f"{r['threads']} thread{'s' * (r['threads'] > 1)}"
    said = f"`{r['command']}`: {threads}, processor time. Pairs are of encoding and decoding."
    return f"{table(head, rows)}\n\n{said}"


def speed() -> str:
    """Training and sampling beside other implementations, see `benchmarks/peers.py`."""
    r = results("training_speed")
    if r is None:
        return "Not measured yet."
    rows = []
    for case, found in r["images_per_second"].items():
        ours = found["nextpixel"]
        for name, of in found.items():
            row = [f"{case}: {name}"]
            for figure in ("training", "sampling"):
                if figure not in of:
                    row.append("–")
                elif name == "nextpixel":
                    row.append(f"{of[figure]:.3g}")
                else:
                    ratio = f"{ours[figure] / of[figure]:.{1 if figure == 'training' else 0}f}"
                    row.append(f"{_rate(of[figure])} (nextpixel: {ratio}×)")
            rows.append(row)
    return f"{table(['images per second', 'training', 'sampling'], rows)}\n\n{measured(r)}"


def textbook() -> str:
    """Training beside textbook models in float32, see `benchmarks/textbook.py`."""
    r = results("training_textbook")
    if r is None:
        return "Not measured yet."
    cases: dict[tuple[str, str], dict[str, float]] = {}
    for row in r["rows"]:
        cases.setdefault((row["model"], row["images"]), {})[row["variant"]] = row["best"]
    ours = [v for v in dict.fromkeys(row["variant"] for row in r["rows"]) if v != "textbook"]
    rows = [
        [
            f"{model}, {images}",
            f"{found['textbook']:.0f}",
            *(f"{found[v]:.0f} ({found[v] / found['textbook']:.2f}×)" for v in ours),
        ]
        for (model, images), found in cases.items()
    ]
    head = ["images per second", "textbook, float32", *(f"nextpixel, {v}" for v in ours)]
    return f"{table(head, rows)}\n\n{measured(r)}"


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def measured(r: dict[str, Any]) -> str:
    """What figures were measured with, in a sentence."""
    threads = f"{r['threads']} thread{'s' * (r['threads'] > 1)}"
    instructions = f"{r['instructions']}{', bf16' * r['bf16']}"
    when = r.get("recorded") or f"commit {(r['commit'] or 'unknown')[:7]}, torch {r['torch']}"
    return (
        f"`{r['command']}`: {r['processor']} ({instructions}), {threads}, {r['seconds_of']} time;"
        f" {when}."
    )


def steps() -> str:
    """Training of each family, see `benchmarks/training.py`."""
    r = results("training_steps")
    if r is None:
        return "Not measured yet."
    cases: dict[tuple[str, str, int], dict[str, str]] = {}
    for row in r["rows"]:
        case = row["images"], row["model"], row["batch"]
        cases.setdefault(case, {})[row["variant"]] = f"{row['best']:.0f}"
    variants = list(dict.fromkeys(row["variant"] for row in r["rows"]))
    rows = [
        [model, images, str(batch), *(found.get(variant, "–") for variant in variants)]
        for (images, model, batch), found in cases.items()
    ]
    head = ["images per second", "images", "batch", *variants]
    return f"{table(head, rows)}\n\n{measured(r)}"


_PROFILED = {
    "gated 8 × 48, 3×3": "Gated PixelCNN, 8 × 48, 3×3",
    "PixelCNN 12 × 64": "PixelCNN, 12 × 64",
    "Row LSTM 7 × 48": "Row LSTM, 7 × 48",
    "Diagonal BiLSTM 7 × 46": "Diagonal BiLSTM, 7 × 46",
}


def profile() -> str:
    """Where the time of a step goes, on binary images of 28×28 in batches of 16."""
    r = results("training_profile")
    if r is None:
        return "Not measured yet."
    found: dict[str, dict[str, Any]] = {}
    for row in r["rows"]:
        if row["images"].startswith("28×28×1") and row["batch"] == 16 and row["model"] in _PROFILED:
            found.setdefault(row["model"], row)
    parts = dict.fromkeys(part for row in found.values() for part in row["shares"])
    shares = [[row["shares"].get(part, 0.0) for row in found.values()] for part in parts]
    rows = [
        [part, *(f"{share:.0%}" if share >= 0.005 else "–" for share in of)]
        for part, of in zip(parts, shares, strict=True)
        if max(of) >= 0.005
    ]
    rows.append(["parameters", *(f"{row['parameters']:,}" for row in found.values())])
    return f"{table(['', *(_PROFILED[name] for name in found)], rows)}\n\n{measured(r)}"


def optimisers() -> str:
    """Muon and AdamW at several rates, see `experiments/optimisers.py`."""
    r = results("optimisers")
    if r is None:
        return "`python experiments/optimisers.py` has not been run here yet."
    names = list(dict.fromkeys(name for found in r["updates"].values() for name in found))
    rows = [
        [
            name,
            *(
                f"{found[name]['bits_per_dim']:.3f} ± {found[name]['deviation_of_seeds']:.3f}"
                if name in found
                else "–"
                for found in r["updates"].values()
            ),
        ]
        for name in names
    ]
    head = ["optimiser, highest rate", *(f"{updates} updates" for updates in r["updates"])]
    # Rates were chosen on the same images: a best one at the edge of its grid is no optimum.
    edges = [
        f"{updates} updates of {optimiser}"
        for updates, found in r["updates"].items()
        for optimiser in dict.fromkeys(name.split()[0] for name in names)
        if (tried := [name for name in found if name.startswith(optimiser)])
        and min(tried, key=lambda name: found[name]["bits_per_dim"]) in (tried[0], tried[-1])
    ]
    edge = f" At the edge of the rates tried, and so perhaps not the best: {', '.join(edges)}."
    return (
        f"{table(head, rows)}\n\nMean and standard deviation of {r['seeds']} seeds, test bits/dim"
        f" of the digits (`python experiments/optimisers.py`).{edge * bool(edges)}"
    )


def multi_scale() -> str:
    """One scale and two at equal processor time, see `experiments/multi_scale.py`."""
    r = results("multi_scale")
    if r is None:
        return "`python experiments/multi_scale.py` has not been run here yet."
    rows = []
    for data, found in r["data"].items():
        for name, model in found["models"].items():
            less = [
                f"{of['nats_per_image']:+.1f} ± {of['standard_error']:.1f}"
                for of in model["less"].values()
            ]
            nats, error = model["valid_nats_per_image"], model["standard_error"]
            seen = "–"
            if "small_pixels_seen" in model:
                seen = f"{model['small_pixels_seen']:,} of {found['small_pixels']:,}"
            rows.append(
                [
                    f"{data}: {name}",
                    f"{model['parameters']:,}",
                    f"{model['updates']:,}",
                    seen,
                    f"{nats:.1f} ± {error:.1f}",
                    *less,
                    *["–"] * (2 - len(less)),
                ]
            )
    head = ["", "parameters", "updates", "small pixels seen", "validation, nats/image"]
    head += ["less one scale", "less two scales, near"]
    times = "; ".join(
        f"{data}: {found['training_images']:,} images of {'×'.join(map(str, found['size']))},"
        f" {found['processor_seconds_each']:g} processor seconds of training for each model"
        for data, found in r["data"].items()
    )
    pictures = "".join(
        f"\n\n![{data}: a row for each model, in the order of the table]"
        f"(../figures/multi_scale_{data}.png)"
        for data in r["data"]
    )
    return f"{table(head, rows)}\n\n{times}.{pictures}"


DEFECTS = {
    "bits_per_dim": "bits per dimension",
    "z": "z of the picture",
    "typicality": "typicality",
    "residual": "residual of principal components",
    "anomaly": "**anomaly: largest z of windows**",
    "anomaly, mirrored": "the same, and of the mirror image",
    "p-value": "p-value, by which tables are sorted",
}


def defects() -> str:
    """KolektorSDD: the library's scores, then other methods with their maps in the same windows."""
    if (r := results("anomaly")) is None:
        return ""
    rows = []
    for name, found in r["kolektor"].items():
        if name.endswith(", mean"):
            continue
        figures = [found.get(key) for key in ("auroc", "ap", "pixel_auroc", "aupro")]
        cells = ["" if figure is None else f"{figure:.3f}" for figure in figures]
        rows.append([DEFECTS.get(name, name.removesuffix(", windows")), *cells])
    own = len(DEFECTS)
    head = ["score", "AUROC", "average precision", "AUROC of pixels", "AUPRO"]
    return table(head, rows[-own:] + rows[:-own])


def defect_variants() -> str:
    """Other windows and other ways to join the map of the mirror image."""
    if (r := results("anomaly")) is None:
        return ""
    rows = [
        [name, *(f"{found[key]:.3f}" for key in ("auroc", "ap", "pixel_auroc", "aupro"))]
        for name, found in r["variants"].items()
    ]
    head = ["windows; mirror image", "AUROC", "average precision", "AUROC of pixels", "AUPRO"]
    return table(head, rows)


TRAPS = {
    "fashion": "Fashion-MNIST",
    "mnist": "binary MNIST",
    "patches": "photographs' patches",
    "pneumonia": "healthy chest X-rays",
}
TRAP_COLUMNS = {
    "p_value": "**p-value**",
    "nats": "raw likelihood",
    "z": "z",
    "complexity_bits": "complexity, PNG",
    "complexity_bits, jpeg-xl": "complexity, JPEG XL",
    "ratio_nats": "ratio",
    "anomaly": "anomaly",
    "typicality": "typicality",
    "residual": "residual",
}


def traps() -> str:
    """AUROC of each column of a table of scores, for other pictures among normal ones."""
    found = results("likelihood_traps") or {}
    rows = []
    for name, normal in TRAPS.items():
        for kind, figures in found.get(name, {}).items():
            if kind in ("counts", "run"):
                continue
            cells = [figures.get(column) for column in TRAP_COLUMNS]
            shown = ["–" if figure is None else f"{figure:.3f}" for figure in cells]
            rows.append([f"{normal}: {kind}", *shown])
    return table(["normal: others", *TRAP_COLUMNS.values()], rows)


def one_class() -> str:
    """AUROC of columns and of other methods, trained on one class or photograph."""
    if (r := results("one_class")) is None:
        return "Not finished yet."
    every = [task["auroc"] for task in r["tasks"].values()]
    names = [TRAP_COLUMNS.get(name, name) for name in every[0]]
    rows = [
        [name, *(f"{value:.3f}" for value in auroc.values())]
        for name, auroc in zip(r["tasks"], every, strict=True)
    ]
    rows.append(["mean", *(f"{statistics.mean(a[name] for a in every):.3f}" for name in every[0])])
    return table(["trained on", *names], rows)


_PICTURES = {"kolektor": "KolektorSDD", "traps_pneumonia": "healthy X-rays"}
"""What the runs of `benchmarks/surprise.py` are of."""


def surprise_cost() -> str:
    """What a surprise map costs beside a score, see `benchmarks/surprise.py`."""
    if (r := results("surprise_cost")) is None:
        return "Not measured yet."
    rows = [
        [
            f"{_PICTURES.get(row['model'], row['model'])}, trained, real pictures"
            if row["trained"]
            else row["model"],
            f"{row['parameters']:,}",
            f"{row['score_microseconds_per_pixel']:.1f}",
            f"{row['map_by_score']:.2f}",
        ]
        for row in r["rows"]
    ]
    return table(["model", "parameters", "score, µs a pixel", "a map takes as many scores"], rows)


TABLES: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        reproduced,
        study,
        four_models,
        four_models_rates,
        autoencoder,
        variational,
        class_conditional,
        portraits,
        published_shapes,
        other_kinds,
        emoji,
        models,
        passes,
        seconds,
        test_evaluations,
        codec,
        codec_speed,
        eight_orders,
        speed,
        steps,
        textbook,
        profile,
        optimisers,
        multi_scale,
        defects,
        defect_variants,
        traps,
        one_class,
        surprise_cost,
        kinds_of_values,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check, wrong = parser.parse_args().check, []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        new = re.sub(
            r"(<!-- table (\w+) -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}",
            text,
            flags=re.DOTALL,
        )
        if check and new != text:
            sys.exit(
                f"{page.name} does not show what the results say: run python experiments/tables.py"
            )
        wrong += [f"{page.relative_to(ROOT)}, {sentence}" for sentence in marks.check(new)]
        page.write_text(new, encoding="utf-8")
    if check and wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
