"""Builds the pages in docs/ and the reference from docstrings: sphinx-build -W docs docs/_build."""

import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.ext import apidoc
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from latentkit import __version__ as release

HERE = Path(__file__).parent

project = "latentkit"
copyright = "the authors of latentkit, MIT licence"  # noqa: A001  (Sphinx wants this name)
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"latentkit {release}"
html_show_sphinx = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to a heading work as they do on a code host

autodoc_member_order = "bysource"
autodoc_typehints = "description"  # signatures with long types are hard to read
autodoc_use_type_comments = False  # there are none, and looking for them takes long
napoleon_numpy_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # several classes have an attribute `z`: its name is no link


def write_reference(_app: Sphinx) -> None:
    """Writes one page per public package into docs/reference, which is not committed."""
    package = HERE.parent / "latentkit"
    inside = [package / "cli", package / "views" / "plugin", package / "__main__.py"]
    options = ["-q", "--force", "--module-first", "--no-toc", "-o", str(HERE / "reference")]
    apidoc.main([*options, str(package), *map(str, inside)])


def to_markup(
    _app: Sphinx, what: str, _name: str, _thing: object, _options: object, lines: list[str]
) -> None:
    """Turns a docstring, plain text with `code`, into reStructuredText, in place."""
    paragraphs = re.split(r"(\n(?: *\n)+)", "\n".join(lines))
    kept = [p if p.lstrip().startswith(">>>") else _escaped(p) for p in paragraphs]
    lines[:] = "".join(kept).split("\n")
    if what in {"attribute", "property"}:
        lines.insert(0, "")  # or napoleon takes what stands before a colon for a type


def _escaped(text: str) -> str:
    """Keeps *, | and _ as they stand outside code, and marks code as such."""
    pieces = re.split(r"`+([^`]+)`+", text)
    pieces[::2] = [re.sub(r"([*|_])", r"\\\1", piece) for piece in pieces[::2]]
    pieces[1::2] = [f"\\ ``{' '.join(piece.split())}``\\ " for piece in pieces[1::2]]
    return "".join(pieces)


def without_dead_links(app: Sphinx, page: nodes.document) -> None:
    """Shows a link to a file of the repository outside docs/ as its text: it is not on the site."""
    folder = Path(app.srcdir, app.env.docname).parent
    for link in list(page.findall(pending_xref)):
        target = (folder / link.get("reftarget", "").partition("#")[0]).resolve()
        if link.get("refdomain") == "doc":
            target = Path(app.srcdir, f"{link['reftarget']}.md").resolve()
        if target.exists() and not target.is_relative_to(app.srcdir):
            link.replace_self(nodes.inline("", "", *link.children))


def as_mathml(writer: HTML5Translator, node: nodes.Element) -> None:
    """Writes a formula in the browser's own language: the usual script comes from the network."""
    block = isinstance(node, nodes.math_block)
    text = re.sub(r"\\big\b", "", node.astext()).replace(r"\dots", r"\ldots")  # it knows neither
    try:
        writer.body.append(tex2mathml(text, as_block=block))
    except MathError as error:
        logging.getLogger(__name__).warning("formula: %s", error, location=node)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Makes the reference before Sphinx looks for pages, and docstrings ready for napoleon."""
    app.add_html_math_renderer("mathml", (as_mathml, None), (as_mathml, None))
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", to_markup, priority=400)
    app.connect("doctree-read", without_dead_links)
