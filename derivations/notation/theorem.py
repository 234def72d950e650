r"""A derivation as a page of a paper: theorem, proof, and the figure of an experiment."""

from __future__ import annotations

from collections.abc import Sequence

from derivations.notation.citations import Source, thebibliography
from derivations.notation.latex import escaped, labels, line_rows, numbered, printed_width, sentence
from derivations.notation.steps import Line, Step

#: Printed characters up to which a line of mathematics stands inside a sentence.
_INLINE = 60


def document(
    title: str, steps: Sequence[Step], sources: Sequence[Source], figure: str | None = None, caption: str = ""
) -> str:
    r"""A complete LaTeX document: the network and its limit as a theorem, how it is derived as the proof.

    The first step says what is given, steps that hold results are the statement, all others the proof.

    Parameters
    ----------
    title : str
    steps : sequence of Step
    sources : sequence of Source
        What is cited.
    figure : str, optional
        The file of a figure, for ``\\includegraphics``.
    caption : str
        What it shows.
    """
    given, *rest = steps
    label = dict(zip(map(id, steps), labels(tuple(steps), "eq"), strict=True))
    results = [step for step in rest if step.is_result]
    setting = [given, *(step for step in rest if step.is_setting)]
    parts = [
        _HEAD,
        f"\\begin{{document}}\n\\section*{{{escaped(title)}}}\n",
        "\\begin{theorem}",
        *(_part(step, label[id(step)]) for step in (*setting, *results)),
        "\\end{theorem}\n",
        "\\begin{proof}",
        "\n\n".join(_argument(step, label[id(step)]) for step in rest if not step.is_setting),
        "\\end{proof}\n",
    ]
    if figure is not None:
        parts.append(
            "\\begin{figure}[h]\n\\centering\n"
            f"\\includegraphics[width=0.6\\textwidth]{{\\detokenize{{{figure}}}}}\n\\caption{{{escaped(caption)}}}\n\\end{{figure}}\n"
        )
    keys = ",".join(source.key for source in sources)
    cited = (
        f"{{\\small\\noindent Derived with \\texttt{{deeplimits}}~\\cite{{{keys}}}.\n\n{thebibliography(sources)}}}\n"
    )
    return "\n".join([*parts, cited if sources else "", "\\end{document}\n"])


_HEAD = r"""\documentclass[10pt,a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage[margin=22mm]{geometry}
\usepackage{amsmath,amssymb,amsthm,graphicx}
\newtheorem{theorem}{Theorem}
\setlength{\emergencystretch}{3em}
\allowdisplaybreaks"""


def _part(step: Step, label: str) -> str:
    """What is given or stated."""
    return "\n".join([sentence(step.claim), *([numbered(step.lines, label)] if step.lines else [])])


def _argument(step: Step, label: str) -> str:
    """One step of the proof, short lines of mathematics inside the sentence; of a result, why it holds."""
    if step.is_result:
        shown = rf", \eqref{{{label}}}" if step.lines else ""
        return rf"\emph{{{escaped(step.name)}{shown}.}} {sentence(step.because)}"
    said = [rf"\emph{{{escaped(step.name)}.}} {sentence(step.claim)}"]
    said += ["; ".join(sentence(item).rstrip(".") for item in step.items) + "."] if step.items else []
    if step.lines and all(_width(line) <= _INLINE for line in step.lines):
        said.append(", ".join(f"${_inline(line)}$" for line in step.lines) + ".")
    elif step.lines:
        said.append(numbered(step.lines, label))
    return "\n".join([*said, sentence(step.because)])


def _width(line: Line) -> int:
    left, _, rows = line_rows(line)
    return printed_width(left) + sum(map(printed_width, rows))


def _inline(line: Line) -> str:
    left, relation, rows = line_rows(line)
    return f"{left} {relation} {' '.join(rows)}"
