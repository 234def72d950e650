"""Every recipe in every regime in LaTeX: one document with all of them goes through pdflatex without an error."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
import sympy as sp

from derivations import RECIPES, DerivationError, derive
from derivations.symbols import width as n
from tests.pdflatex import typeset


def _derivations():
    for recipe in RECIPES:
        example = recipe.example()
        for order, width in (("depth", example.width), ("depth", n), ("width", sp.oo), ("joint", n)):
            if order == "depth" and width == n and example.positions:
                continue  # as at a number
            for inputs in {example.inputs, 1, 2} if not example.positions else {example.inputs}:
                try:
                    d = derive(replace(example, width=width, inputs=inputs), order=order)
                except DerivationError:
                    continue
                yield f"{recipe.__name__} {order} {width} {inputs}", d


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_all_of_it_compiles(tmp_path):
    found = dict(_derivations())
    assert {name.split()[0] for name in found} == {recipe.__name__ for recipe in RECIPES}
    assert {name.split()[1] for name in found} == {"depth", "width", "joint"}
    texts = (f"\\section*{{{name}}}\n{d.latex(str(k))}\n\\clearpage" for k, (name, d) in enumerate(found.items()))
    head = (
        "\\documentclass[10pt,a4paper]{article}\n\\usepackage[margin=25mm]{geometry}\n"
        "\\usepackage{amsmath,amssymb}\n\\allowdisplaybreaks\n\\begin{document}\n"
    )
    source = head + "\n".join(texts) + "\n\\end{document}\n"
    (tmp_path / "all.tex").write_text(source, encoding="utf-8")
    said = typeset(tmp_path / "all.tex")
    wide = [float(w) for w in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", said)]
    assert wide == []
    assert len(found) >= 60
    assert "{\\small\n" in source  # a root of a long sum is not broken, so some displays are in smaller type
    assert "Overfull \\vbox" not in said
