"""How well models do: the papers' rows, families, optimisers, scales and orders."""

import json
import statistics
from typing import Any

import common

from nextpixel.papers.recipes import RECIPES
from nextpixel.papers.reproduce import TEST_EVALUATIONS
from page_tables.rows import plus_minus, results, table


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


def published_shapes() -> str:
    """One change after another, see `experiments/published_shapes.py`."""
    r = results("published_shapes")
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


_STUDY = (
    ("PixelCNN: residual connections, ReLU, one stack", "pixel-cnn", ""),
    ("Gated PixelCNN: two stacks", "gated-pixel-cnn", "pixel-cnn"),
    ("Row LSTM", "row-lstm", "pixel-cnn"),
    ("Diagonal BiLSTM", "diagonal-bilstm", "pixel-cnn"),
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
        found, change = results(f"cifar10-{name}-small"), "–"
        bits = found["figures"]["test"]
        if base:
            against = results(f"cifar10-{base}-small")["figures"]["test"]
            change = f"{bits - against:+.3f} to `{base}`"
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
    return table(head, rows)


def cifar_compared() -> str:
    """Three seeds of each construction, see `experiments/cifar_compared.py`."""
    r = results("cifar_compared")
    rows = []
    for what, name, base in _STUDY:
        m = r["models"].get(name)
        if m is None or "equal_time" not in m:
            continue
        cells = [
            _of_seeds(m[when], r["models"][base][when] if base else None)
            for when in ("equal_updates", "equal_time")
        ]
        beside = f"{what}, against `{base}`" if base else what
        rows.append(
            [beside, f"{m['parameters']:,}", f"{m['rate']:g}", *cells, f"{m['updates_in_time']:,}"]
        )
    head = ["construction", "parameters", "rate", f"after {r['equal_updates']} updates"]
    head += [f"after {r['processor_seconds']:g} processor seconds", "updates in this time"]
    return table(head, rows)


_T95 = {2: 12.71, 3: 4.30}
"""Student's t by the number of seeds: 95% lie within, on both sides."""


def _of_seeds(bits: dict[str, float], base: dict[str, float] | None) -> str:
    """The mean of seeds, and the difference from another construction with its 95% interval."""
    text = f"{statistics.mean(bits.values()):.3f}"
    differences = [bits[seed] - base[seed] for seed in bits if seed in base] if base else []
    if len(differences) in _T95:
        error = statistics.stdev(differences) / len(differences) ** 0.5
        text += f", {statistics.mean(differences):+.3f} ± {_T95[len(differences)] * error:.3f}"
    return text


def four_models_rates() -> str:
    """Nats of each family at each learning rate, see `experiments/four_models.py`."""
    r = results("four_models")
    every = {name: m["tried"] for name, m in r["models"].items() if "tried" in m}
    rates = sorted({key.split()[1] for tried in every.values() for key in tried}, key=float)
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
    if not all("equal_time" in m for m in r["models"].values()):
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


def multi_scale() -> str:
    """One scale and two at equal processor time, see `experiments/multi_scale.py`."""
    r = results("multi_scale")
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


def optimisers() -> str:
    """Muon and AdamW at several rates, see `experiments/optimisers.py`."""
    r = results("optimisers")
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
        f"{table(head, rows)}\n\nMean and standard deviation of {r['seeds']} seeds, bits/dim of the"
        f" validation digits (`python experiments/optimisers.py`).{edge * bool(edges)}"
    )


def variational() -> str:
    """A variational auto-encoder beside its decoder alone, see `experiments/variational.py`."""
    r = results("variational")
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


def budgets() -> str:
    """Sizes and rates for a given time, and the default's; see `experiments/budgets.py`."""
    parts = []
    for minutes, found in results("budgets")["minutes"].items():
        rows = []
        for name, data in found.items():
            updates, bits = data["updates"], data["valid_bits_per_dim"]
            size, height, width = data["default"].split(",")[0], *data["size"]
            rates = [tried for tried in bits if tried.startswith(f"{size}, ")]
            cells = [
                f"{bits[f'{other}, rate 0.01']:.3f} ({count:,})" for other, count in updates.items()
            ]
            cells += [
                f"**{bits[tried]:.3f}**" if tried == data["default"] else f"{bits[tried]:.3f}"
                for tried in (f"{size}, rate {rate}" for rate in ("0.005", "0.02", "0.04"))
            ]
            softmax = next((f"{bits[tried]:.3f}" for tried in rates if "softmax" in tried), "–")
            rows.append(
                [
                    f"{name}, {data['images']:,} of {height}×{width}×{data['channels']}",
                    *cells,
                    softmax,
                    f"{size}, {data['default_is_worse_by']:.1%}",
                ]
            )
        head = [
            f"{minutes} minutes",
            *(f"{size} (updates)" for size in next(iter(found.values()))["updates"]),
            *("its default size at 0.005", "at 0.02", "at 0.04", "softmax at 0.01"),
            "default size, behind the best by",
        ]
        parts.append(table(head, rows))
    return "\n\n".join(parts)
