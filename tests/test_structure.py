"""Imports point one way, and every module says what it offers."""

import ast
from pathlib import Path

import nextpixel

ROOT = Path(nextpixel.__file__).parent

# Each module may import what stands in an earlier group, and its own group.
ORDER = [
    ["reduction"],
    ["images", "conditions"],
    ["layers.masks", "cache", "devices", "train_config", "muon"],
    ["layers.scan", "layers.conditioning", "layers.masked_conv", "heads"],
    ["layers.gated", "layers.residual", "layers.row_lstm", "layers.diagonal_lstm"],
    ["models.core", "models.gated_pixel_cnn", "models.pixel_rnn", "models.multiscale"],
    ["models.autoencoder", "models.embedding", "models.family", "walk", "scoring", "checkpoint"],
    ["sources", "map_files", "companions", "picture_sets", "splits", "summary", "data"],
    ["probe", "processes"],
    ["sampling", "autoencoding", "causality", "receptive_fields", "batches", "information", "fit", "training"],
    ["interpolation", "recipe", "recipes", "triplets"],
    ["runs", "plots"],
    ["commands.opening", "commands.options", "commands.output"],
    [f"commands.{name}" for name in "train evaluate sample complete info data inspect information check".split()],
    [f"commands.{name}" for name in "embed reconstruct interpolate reproduce".split()],
    ["cli"],
    ["demo", "__main__"],
]


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name, parsed."""
    paths = [path for path in ROOT.rglob("*.py") if path.name != "__init__.py"]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
    }


def imported(tree: ast.Module) -> set[str]:
    """The modules of ours that a module imports, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nextpixel"):
            module = node.module.removeprefix("nextpixel").removeprefix(".")
            names |= {module} if module else {alias.name for alias in node.names}
    return {name for name in names if (ROOT / (name.replace(".", "/") + ".py")).exists()}


def test_imports_point_one_way() -> None:
    level = {name: k for k, group in enumerate(ORDER) for name in group}
    trees = modules()
    assert trees.keys() == level.keys()
    arrows = [(name, other) for name, tree in trees.items() for other in imported(tree)]
    backwards = [(name, other) for name, other in arrows if level[other] > level[name]]
    assert not backwards


def test_every_module_lists_its_names_and_public_names_exist() -> None:
    for name, tree in modules().items():
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        names = [target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)]
        assert "__all__" in names or name == "__main__", name
        assert ast.get_docstring(tree), name
    for name in nextpixel.__all__:
        assert getattr(nextpixel, name) is not None
