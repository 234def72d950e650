"""Every recipe in every regime in LaTeX: one document with all of them goes through pdflatex without an error."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
import sympy as sp

from derivations import RECIPES, DerivationError, derive
from derivations.symbols import width as n


def _derivations():
    for recipe in RECIPES:
        example = recipe.example()
        for order, width in (("depth", example.width), ("depth", n), ("width", sp.oo), ("joint", n)):
            if order == "depth" and width == n and example.positions:
                continue  # as at a number
            try:
                yield f"{recipe.__name__} {order} {width}", derive(replace(example, width=width), order=order)
            except DerivationError:
                continue


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
    (tmp_path / "all.tex").write_text(head + "\n".join(texts) + "\n\\end{document}\n", encoding="utf-8")
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-2000:]
    wide = [float(w) for w in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", made.stdout)]
    # a root of a long sum is not broken: a fifth of the line is left over at most, of a hundred displays in nine
    assert max(wide) < 100
    assert len(wide) < 12
    assert "Overfull \\vbox" not in made.stdout
