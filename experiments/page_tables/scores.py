"""Anomalies, likelihood's traps, and what their scores cost."""

import statistics

from page_tables.rows import results, table

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
    r = results("anomaly")
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
    r = results("anomaly")
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
    found = results("likelihood_traps")
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
    r = results("one_class")
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
    r = results("surprise_cost")
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
