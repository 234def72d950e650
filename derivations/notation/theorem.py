r"""A derivation as a page of a paper: theorem, proof, and the figure of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from derivations.notation.citations import Source, thebibliography
from derivations.notation.latex import LONGEST, escaped, fitting, heading, labels, line_rows, numbered, sentence
from derivations.notation.steps import Line, Step
from derivations.notation.typeset import PAGE, size_of, typeset_width

#: Width up to which a line of mathematics stands inside a sentence, in tenths of a point.
_INLINE = 3500
#: Lines of a result beyond which short ones stand two in a row.
_MANY = 6


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
        What it shows; what stands between two dollars is mathematics.
    """
    steps = fitting(tuple(steps))
    given, *rest = steps
    label = dict(zip(map(id, steps), labels(steps, "eq"), strict=True))
    results = [step for step in rest if step.is_result]
    setting = [given, *(step for step in rest if step.is_setting)]
    parts = [
        _HEAD,
        f"\\newcommand{{\\sheet}}{{%\n\\subsection*{{{heading(title)}}}\n",
        "\\begin{theorem}",
        *(_part(step, label[id(step)], paired=True) for step in setting),
        *(_part(step, label[id(step)], paired=len(step.lines) > _MANY) for step in results),
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
            "\\noindent\\begin{minipage}{0.27\\textwidth}\n"
            f"\\includegraphics[width=\\textwidth,height=36mm,keepaspectratio]{{\\detokenize{{{figure}}}}}\n\\figurecaption{{{_with_mathematics(caption)}}}\n"
            f"\\end{{minipage}}\\hfill\n\\begin{{minipage}}{{0.69\\textwidth}}\n{cited}\\end{{minipage}}\n"
        )
    return "\n".join([*parts, f"{cited}}}\n", "\\begin{document}\n\\onepage{100}\n\\end{document}\n"])


def _with_mathematics(words: str) -> str:
    """Words made printable, but for what stands between two dollars; a single dollar is money."""
    parts = words.split("$")
    if len(parts) % 2 == 0:
        return escaped(words)
    return "$".join(part if k % 2 else escaped(part) for k, part in enumerate(parts))


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
\allowdisplaybreaks
\makeatletter\newcommand{\figurecaption}{\def\@captype{figure}\caption}\makeatother
% \onepage{100} sets \sheet, defined below, in so many percent of its size, smaller until it fits one page; below 70 it takes several pages
\newsavebox{\fitted}
\newcommand{\anew}{\setcounter{theorem}{0}\setcounter{equation}{0}\setcounter{figure}{0}}
\newcommand{\onepage}[1]{\anew\sbox{\fitted}{\begin{minipage}[t]{\dimexpr\textwidth*100/#1\relax}\parindent=15pt \sheet\end{minipage}}%
  \ifdim\dimexpr(\ht\fitted+\dp\fitted)*#1/100\relax>\textheight
    \ifnum#1>70 \onepage{\numexpr#1-5\relax}\else\anew\sheet\fi
  \else\noindent\resizebox{\textwidth}{!}{\usebox{\fitted}}\fi}"""


def _part(step: Step, label: str, paired: bool = False) -> str:
    """What is given or stated; short lines two in a row, if that is wanted."""
    shown = [] if not step.lines else [_in_pairs(step.lines, label) if paired else numbered(step.lines, label)]
    return "\n".join([sentence(step.claim), *shown])


def _in_pairs(lines: tuple[Line, ...], label: str) -> str:
    """Lines as one display, short ones that follow each other in two columns."""
    parts = [line_rows(line) for line in lines]
    blocks = [list(some) for _, some in groupby(parts, _is_short)]
    if sum(len(rows) for *_, rows in parts) > 2 * LONGEST or any(
        size_of([(a, b) for a, _, b in some]) for some in blocks
    ):
        return numbered(lines, label)
    shown = [_columns(some, _is_short(some[0])) for some in blocks]
    whole = shown[0] if len(shown) == 1 else "\\begin{gathered}\n" + " \\\\\n".join(shown) + "\n\\end{gathered}"
    return f"\\begin{{equation}}\\label{{{label}}}\n{whole}\n\\end{{equation}}"


def _is_short(part: tuple[str, str, list[str]]) -> bool:
    """Whether a line has one row, of a left side and a right one with which half a page has room for others."""
    left, _, rows = part
    return len(rows) == 1 and typeset_width(left) <= PAGE // 8 and typeset_width(rows[0]) <= 3 * PAGE // 8


def _columns(parts: list[tuple[str, str, list[str]]], short: bool) -> str:
    if short:
        cells = [f"{left} &{relation} {rows[0]}" for left, relation, rows in parts]
        rows = [" &\\qquad ".join(cells[k : k + 2]) for k in range(0, len(cells), 2)]
    else:
        rows = [
            " \\\\\n  &\\quad ".join([f"{left} &{relation} {first}", *more]) for left, relation, (first, *more) in parts
        ]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


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
