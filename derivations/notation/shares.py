"""Means over shares of attention, said once: the matrices that they have in common get a name, and so does a row of shares."""

from __future__ import annotations

from itertools import groupby

import sympy as sp

from derivations.gaussian import SoftmaxMean
from derivations.gaussian.softmax import letter_of
from derivations.notation.nodes import Angled, Juxtaposed, Transposed, Word, covariance_of, expected, indexed, letter
from derivations.notation.plain import Words
from derivations.notation.steps import Line, equation

_FEW = 4  # matrices that get a name; more are those of heads that differ


def with_named_shares(lines: tuple[Line, ...]) -> tuple[tuple[Line, ...], Words]:
    r"""Lines in which a mean over a softmax is :math:`\mathbb{E}[a_\alpha^\top C\,a_\gamma]`, the lines that say C, and words that say a.

    As they are where there are none, or where their scores have several laws or means, or functions of forms are taken.
    """
    found = set().union(*(term.coefficient.atoms(SoftmaxMean) for line in lines for term in line.terms))
    nodes = sorted(found, key=sp.default_sort_key)
    tables = list(dict.fromkeys(m for node in nodes for m in (node.form, node.queries, node.keys)))
    of_forms = any(node.function is not None for node in nodes)
    if of_forms or len({node.args[3:] for node in nodes}) != 1 or len(tables) > _FEW or nodes[0].means:
        return lines, ()
    own = {m: letter_of(m) for m in tables}
    unnamed = [m for m in tables if not own[m]]
    names = own | {m: f"C_{k + 1}" if len(unnamed) > 1 else "C" for k, m in enumerate(unnamed)}
    rule = {}
    for node in nodes:
        one, other = (indexed("a", (row + 1,)) for row in node.rows)
        rule[node] = expected(Juxtaposed(Transposed(one), letter(names[node.form]), other))
    first = nodes[0]
    scores = covariance_of(*(indexed("Y", (), at) for at in (("alpha", "beta"), ("gamma", "delta"))))
    product = [indexed(names[first.queries], ("alpha", "gamma")), indexed(names[first.keys], ("beta", "delta"))]
    if first.angles.rows:  # the mean over pairs of neurons
        a, b, c, d = (indexed("theta", (), (at,)) for at in ("alpha", "beta", "gamma", "delta"))
        product.append(Angled(sp.cos(a - b - c + d)))
    said = [equation(letter(names[matrix]), matrix) for matrix in unnamed]
    many = "Gaussian" if first.neurons == sp.oo else f"of {first.neurons} Gaussian queries and keys"
    words: Words = (
        " Here ",
        indexed("a", ("alpha",)),
        " is the softmax of row ",
        letter("alpha"),
        f" of the scores Y, {many}",
    )
    if first.mask != sp.ones(*first.mask.shape):
        words = (*words, ", over what the mask ", first.mask, " shows")
    if first.angles.rows:
        words = (*words, ", with the mean over the pairs of neurons in angle brackets")
    shown = (*(line.xreplace(rule) for line in lines), *said, equation(scores, Juxtaposed(*product)))
    return shown, (*words, ".")


def lines_with_named_shares(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """The same for an equation by itself, whose last line says what the shares are.

    As they are where a mean says all of it in few words: where its matrices have letters already, as K, or it turns neurons by angles.
    """
    found = set().union(*(term.coefficient.atoms(SoftmaxMean) for line in lines for term in line.terms))
    has_letters = all(letter_of(matrix) for node in found for matrix in (node.form, node.queries, node.keys))
    shown, words = with_named_shares(lines)
    if has_letters or not words or any(node.angles.rows for node in found):
        return lines
    _, subject, *more = words
    texts = (
        list(group) if kind else ["".join(group)] for kind, group in groupby(more, lambda w: not isinstance(w, str))
    )
    parts = [part for group in texts for part in group]
    said = Juxtaposed(subject, *(Word(part.strip(" .")) if isinstance(part, str) else part for part in parts))
    return (*shown, equation(Word("here"), said, ":"))
