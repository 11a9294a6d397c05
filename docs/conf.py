r"""Sphinx's configuration: Markdown pages, the API from docstrings, and formulas as MathML.

Formulas become MathML while the pages are built, with the translator that docutils contains. Every
current browser shows MathML itself, so neither building nor reading needs a network, JavaScript or
TeX. A formula that the translator does not know is a warning, hence an error of `make docs`: write
`aligned` in place of `align`, and `\operatorname{name}` for a new operator.
"""

from html import escape
from importlib.metadata import version as installed_version
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

project = "nextpixel"
author = "the nextpixel authors"
copyright = author
version = release = installed_version("nextpixel")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

# pytest runs the examples of the docstrings; Sphinx runs those of the pages, which stand in doctest
# blocks.
doctest_test_doctest_blocks = ""
doctest_global_setup = "import torch; torch.manual_seed(0)"

html_theme = "furo"
html_title = "nextpixel"
html_math_renderer = "mathml"
html_show_sphinx = False


def mathml(node: nodes.math | nodes.math_block, *, as_block: bool) -> str:
    """The formula as MathML, or its TeX and a warning where the translator does not know it."""
    tex = node.astext()
    try:
        return tex2mathml(tex, as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning(
            "formula not understood: %s in %r", error, tex, location=node
        )
        return f"<code>{escape(tex)}</code>"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a sentence."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on its own line, with its number if it has a label."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(mathml(node, as_block=True))
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the MathML renderer with Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
