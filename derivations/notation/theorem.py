r"""A derivation as a page of a paper: theorem, proof, and the figure of an experiment."""

from __future__ import annotations

from collections.abc import Sequence

from derivations.notation.citations import Source, thebibliography
from derivations.notation.latex import escaped, fitting, heading, labels, line_rows, numbered, sentence
from derivations.notation.steps import Line, Step
from derivations.notation.typeset import PAGE, typeset_width

#: Width up to which a line of mathematics stands inside a sentence, in tenths of a point.
_INLINE = 3500


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
    steps = fitting(tuple(steps))
    given, *rest = steps
    label = dict(zip(map(id, steps), labels(steps, "eq"), strict=True))
    results = [step for step in rest if step.is_result]
    setting = [given, *(step for step in rest if step.is_setting)]
    parts = [
        _HEAD,
        f"\\begin{{document}}\n\\subsection*{{{heading(title)}}}\n",
        "\\begin{theorem}",
        *(_part(step, label[id(step)], paired=True) for step in setting),
        *(_part(step, label[id(step)]) for step in results),
        "\\end{theorem}\n",
        "{\\small\n\\begin{proof}",
        "\n\n".join(_argument(step, label[id(step)]) for step in rest if not step.is_setting),
        "\\end{proof}}\n",
    ]
    keys = ",".join(source.key for source in sources)
    cited = (
        f"{{\\footnotesize\\noindent Derived with \\texttt{{deeplimits}}~\\cite{{{keys}}}.\n\n{thebibliography(sources)}}}\n"
        if sources
        else ""
    )
    if figure is not None:  # the sources stand beside it
        cited = (
            "\\begin{figure}[!ht]\n\\begin{minipage}{0.27\\textwidth}\n"
            f"\\includegraphics[width=\\textwidth,height=36mm,keepaspectratio]{{\\detokenize{{{figure}}}}}\n\\caption{{{escaped(caption)}}}\n"
            f"\\end{{minipage}}\\hfill\n\\begin{{minipage}}{{0.69\\textwidth}}\n{cited}\\end{{minipage}}\n\\end{{figure}}\n"
        )
    return "\n".join([*parts, cited, "\\end{document}\n"])


_HEAD = r"""% for its references run pdflatex twice
\documentclass[10pt,a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage[margin=16mm,bottom=12mm]{geometry}
\usepackage{amsmath,amssymb,amsthm,graphicx}
\newtheorem{theorem}{Theorem}
\renewcommand{\refname}{\normalsize References}
\pagestyle{empty}
\setlength{\abovecaptionskip}{3pt}
\setlength{\intextsep}{4pt}
\setlength{\emergencystretch}{3em}
\setlength{\jot}{1pt}
\AtBeginDocument{\abovedisplayskip=4pt plus 2pt \belowdisplayskip=4pt plus 2pt \abovedisplayshortskip=2pt \belowdisplayshortskip=3pt}
\allowdisplaybreaks"""


def _part(step: Step, label: str, paired: bool = False) -> str:
    """What is given or stated; short lines two in a row, if that is wanted."""
    shown = [] if not step.lines else [_in_pairs(step.lines, label) if paired else numbered(step.lines, label)]
    return "\n".join([sentence(step.claim), *shown])


def _in_pairs(lines: tuple[Line, ...], label: str) -> str:
    """Lines as one display of two columns, where they are so short."""
    parts = [line_rows(line) for line in lines]
    halves = [typeset_width(f"{left} {relation} {rows[0]}") for left, relation, rows in parts]
    if any(len(rows) > 1 for *_, rows in parts) or max(halves[::2]) + max(halves[1::2], default=PAGE) > 9 * PAGE // 10:
        return numbered(lines, label)
    cells = [f"{left} &{relation} {rows[0]}" for left, relation, rows in parts]
    rows = " \\\\\n".join(" &\\qquad ".join(cells[k : k + 2]) for k in range(0, len(cells), 2))
    return f"\\begin{{equation}}\\label{{{label}}}\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n\\end{{equation}}"


def _argument(step: Step, label: str) -> str:
    """One step of the proof, short lines of mathematics inside the sentence; of a result, why it holds."""
    if step.is_result:
        shown = rf", \eqref{{{label}}}" if step.lines else ""
        return rf"\emph{{{heading(step.name)}{shown}.}} {sentence(step.because)}"
    said = [rf"\emph{{{heading(step.name)}.}} {sentence(step.claim)}"]
    said += ["; ".join(sentence(item).rstrip(".") for item in step.items) + "."] if step.items else []
    if step.lines and all(_width(line) <= _INLINE for line in step.lines):
        said.append(", ".join(f"${_inline(line)}$" for line in step.lines) + ".")
    elif step.lines:
        said.append(numbered(step.lines, label))
    return "\n".join([*said, sentence(step.because)])


def _width(line: Line) -> int:
    left, _, rows = line_rows(line)
    return typeset_width(left) + sum(map(typeset_width, rows))


def _inline(line: Line) -> str:
    left, relation, rows = line_rows(line)
    return f"{left} {relation} {' '.join(rows)}"
