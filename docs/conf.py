"""Sphinx: ``sphinx-build -W docs docs/_build/html`` with the extra ``docs``; notebooks are run, MathJax is shipped with the site."""

import sympy as sp

from derivations import Activation

project = "deeplimits"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_mime_priority_overrides = [("html", "text/latex", 0)]  # formulas inside HTML are not typeset by Sphinx
html_theme = "furo"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_imported_members = True
# these differ from a function's name by a capital only, which some file systems do not see
autosummary_filename_map = {f"derivations.{name}": f"derivations.{name}-class" for name in ("Jacobian", "Scalings")}
napoleon_use_rtype = False
napoleon_use_ivar = True
nitpicky = False

#: Values say of themselves what their kind is; these say what they hold.
VALUES = {
    "derivations.ACTIVATIONS": "All activations with a name, by their names.",
    "derivations.LAWS": "The families of laws that a limit is recognised as, in the order in which they are tried.",
    "derivations.RECIPES": "All recipes of networks.",
    "derivations.causal": "The mask of a text for attention: a position looks at itself and at those before it.",
    "derivations.epsilon": "The small parameter of a layer, :math:`\\varepsilon = L^{-1/2}` where nothing else is said.",
}


def describe_value(app, what, name, obj, options, lines):
    """A value's own description in place of that of its class."""
    if isinstance(obj, Activation):
        lines[:] = [f"The activation :math:`\\varphi({obj.variable}) = {sp.latex(obj.expr)}`.", ""]
    elif name in VALUES:
        lines[:] = [VALUES[name], ""]


def make_accessible(app, pagename, templatename, context, doctree):
    """Blocks that scroll sideways can be reached by keyboard, and the headings of the list of pages say their level."""
    if "body" in context:
        context["body"] = context["body"].replace("<pre>", '<pre tabindex="0">')
    if "furo_navigation_tree" in context:
        tree = context["furo_navigation_tree"]
        context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app):
    """Join in where Sphinx reads docstrings, and after the theme has made a page's parts."""
    app.connect("autodoc-process-docstring", describe_value, priority=900)
    app.connect("html-page-context", make_accessible, priority=900)
