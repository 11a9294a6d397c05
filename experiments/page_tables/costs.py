"""The models that come with nextpixel, and what training, sampling and coding cost."""

from typing import Any

from nextpixel import load
from nextpixel.checkpoint import pretrained, read_card
from page_tables.rows import results, table


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


def codec() -> str:
    """Sizes of pictures under this library's codec and others, and the times of both directions."""
    rows = []
    for name in ("codec_mnist", "codec_patches", "codec_photographs", "codec_kodim08"):
        found = results(name)
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


def codec_speed() -> str:
    """The codec beside float32 passes and samples, see `benchmarks/codec.py`."""
    r = results("codec_speed")
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
    rows = []
    for case, found in r["images_per_second"].items():
        ours = found["nextpixel"]
        for name, of in found.items():
            row = [f"{case}: {name}{', bf16' * (name == 'nextpixel' and r['bf16'])}"]
            for figure in ("training", "sampling"):
                if figure not in of:
                    row.append("–")
                elif name == "nextpixel":
                    row.append(f"{of[figure]:.3g}")
                else:
                    ratio = ours[figure] / of[figure]
                    shown = f"{ratio:.1f}" if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}"
                    row.append(f"{_rate(of[figure])} (nextpixel: {shown}×)")
            rows.append(row)
    return f"{table(['images per second', 'training', 'sampling'], rows)}\n\n{measured(r)}"


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def measured(r: dict[str, Any]) -> str:
    """What figures were measured with, in a sentence."""
    threads = f"{r['threads']} thread{'s' * (r['threads'] > 1)}"
    instructions = f"{r['instructions']}{', bf16' * r['bf16']}"
    when = r.get("recorded") or f"commit {(r['commit'] or 'unknown')[:7]}, torch {r['torch']}"
    return (
        f"`{r['command']}`: {r['processor']} ({instructions}), {threads}, {r['seconds_of']} time"
        f"{', best step' * (not r['command'].count('--profile'))}; {when}."
    )


def textbook() -> str:
    """Training beside textbook models in float32, see `benchmarks/textbook.py`."""
    r = results("training_textbook")
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


def steps() -> str:
    """Training of each family, see `benchmarks/training.py`."""
    r = results("training_steps")
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
