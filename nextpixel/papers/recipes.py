"""All recipes: the experiments of the two papers, and reduced ones.

A recipe says which model is trained on which data, with the published widths, batch sizes and
optimiser. Its `choices` list what the paper leaves open and what was chosen here. `published` is
the paper's figure, never one of ours: those are in the results that `nextpixel reproduce` writes.
Recipes whose names end in -small finish in hours on two CPU cores; the others have a stated cost.

Papers: [1] Pixel Recurrent Neural Networks, arXiv 1601.06759. [2] Conditional Image Generation with
PixelCNN Decoders, arXiv 1606.05328.
"""

from nextpixel.papers.first_paper import FIRST_PAPER
from nextpixel.papers.recipe import Recipe
from nextpixel.papers.reduced import REDUCED
from nextpixel.papers.second_paper import SECOND_PAPER

__all__ = ["RECIPES"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (*FIRST_PAPER, *SECOND_PAPER, *REDUCED)
}
"""All recipes by name."""
