r"""Explaining a limit: the equations of neurons, of second moments at infinite width, and of Gram matrices."""

from __future__ import annotations

from dataclasses import replace
from math import comb, isqrt

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.gram import SubProcess
from derivations.calculus.lamperti import positive_root
from derivations.calculus.settling import Settling
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.equations import DT, bracket_line, flow_lines, mean_line, scalar_line
from derivations.equations import neuron_lines as of_neuron
from derivations.explain.products import meaning, with_gram_letters
from derivations.explain.statements import ShownMoments
from derivations.limits.closure import GramLimit
from derivations.limits.gram import GramDiffusion, gram_matrix, upper
from derivations.limits.width import KernelFlow
from derivations.notation.nodes import (
    DifferentialOf,
    Juxtaposed,
    Rate,
    Transposed,
    Variation,
    Word,
    expected,
    indexed,
    letter,
)
from derivations.notation.plain import Words, plain
from derivations.notation.shares import with_named_shares
from derivations.notation.steps import Line, Step, Term, equation, result
from derivations.piecewise import Piece, join, pieces
from derivations.symbols import GRAM, depth, time, width

_V = letter(GRAM)
_FEW = 3  # states up to which all entries of a covariance are shown: those of the Gram matrix of two inputs
_MANY = 6  # second moments up to which all are shown: those of three inputs
_MATCHED = (
    "Drift and covariance are the conditional moments per unit of time. To leading order the increments are Gaussian, so their higher "
    "moments vanish faster. Where the equation (in Itô's sense) has a unique solution, the chain converges to it."
)
_IDENTITY: Words = (
    "As ", depth, " grows, all layers together move the neurons by nothing: the network tends to the identity. Larger steps have a limit "
    "that moves; ", Word("scalings(net)"), " finds them.",
)  # fmt: skip


def neuron_steps(limit: Limit, moments: ShownMoments, named: bool, gram: GramLimit | None = None) -> list[Step]:
    """The limit of infinite depth: for activations without values where the recipe names them, and for the given ones.

    Where the Gram matrix closes, the noise of several inputs is said in its entries.
    """
    if isinstance(limit, Flow) and limit.drift.is_zero_matrix:
        return [Step("Limit of infinite depth", _IDENTITY, (), ("The conditional moments per unit of time are 0.",))]
    kind = "a deterministic flow" if isinstance(limit, Flow) else "a diffusion"
    who = "the neurons together follow" if _of_all(limit, moments.recipe) else "each neuron follows"
    claim: Words = ("As ", depth, f" grows, {who} {kind}", *_driven(limit, moments.recipe), ":")
    lines, shares = with_named_shares(_in_entries(neuron_lines(limit, moments.recipe), gram))
    if not named:
        return [result("Limit of infinite depth", claim, lines, (_MATCHED, *shares))]
    size = moments.size
    drift = sp.Matrix([moments.drift(a) for a in range(size)])
    covariance = sp.Matrix(size, size, moments.covariance)
    return [
        Step(
            "Limit of infinite depth",
            claim,
            of_neuron(drift, covariance, moments.layer.states[:size], moments.recipe.width, _root),
            (_MATCHED,),
        ),
        result(
            "Limit for this activation",
            (
                "As ",
                depth,
                f" grows, with this activation each neuron follows {kind}",
                *_driven(limit, moments.recipe),
                ":",
            ),
            lines,
            ("The activation is inserted, piece by piece.", *shares),
        ),
    ]


def _says_noises(gram: GramLimit) -> bool:
    """Whether its noise is said by the covariance F of any neuron's noise: where there is one, of more than one input."""
    return bool(gram.noises) and len(gram.process.states) > 1


def _in_entries(lines: tuple[Line, ...], gram: GramLimit | None) -> tuple[Line, ...]:
    """The lines of a neuron in the entries of the Gram matrix; where it closes, with one line for the noises of all inputs, and F."""
    if gram is None or not _says_noises(gram):
        return with_gram_letters(lines, gram is not None and gram.centred)
    alpha, beta = letter("alpha"), letter("beta")
    pair = (indexed("X", (), (at, place)) for at, place in (("i", alpha), ("k", beta)))
    noise = Line(
        Variation(*pair, time), (Term(indexed("F", (alpha, beta)), Juxtaposed(indexed("delta", ("i", "k")), DT)),)
    )
    drifts = [line for line in lines if not isinstance(line.left, Variation)]
    return (*drifts, noise, *_entries(gram), meaning(str(time), gram.width, gram.centred))


def _entries(gram: GramLimit) -> list[Line]:
    """The different entries of the covariance of any neuron's noise."""
    named = gram_matrix(gram.matrix.rows, "F")
    return [equation(named[pair], value) for pair, value in gram.noises.items()]


def _of_all(limit: Limit, recipe: Recipe) -> bool:
    """Whether the states are those of all neurons: without noise, or where the noises of neurons depend on each other."""
    return not isinstance(limit, NeuronDiffusion) and len(limit.states) > recipe.coordinates


def _driven(limit: Limit, recipe: Recipe) -> Words:
    """What drives the equation, where the lines name it."""
    if isinstance(limit, Flow) or recipe.coordinates > 1 or _of_all(limit, recipe):
        return ()
    if recipe.width == 1:
        return (", driven by a Brownian motion ", letter("B"))
    return (", driven by a Brownian motion of its own, ", indexed("B", (), ("i",)))


def neuron_lines(limit: Limit, recipe: Recipe) -> tuple[Line, ...]:
    """The equations of one neuron, for the first two inputs, or those of all neurons."""
    if _of_all(limit, recipe):
        return _with_neurons_above(limit, recipe)
    if isinstance(limit, NeuronDiffusion):
        m = min(limit.inputs, 2)
        return of_neuron(
            limit.neuron_drift[:m, :], sp.Matrix(m, m, limit.neuron_entry), limit.neuron[:m], limit.width, _root
        )
    m = min(len(limit.states), 2)
    noise = limit.covariance if isinstance(limit, Flow) else sp.Matrix(m, m, limit.entry)
    return of_neuron(limit.drift[:m, :], noise[:m, :m], limit.states[:m], recipe.width, _root)


def _with_neurons_above(limit: Limit, recipe: Recipe) -> tuple[Line, ...]:
    """The equations of all neurons, which are called as in the recursion."""
    places = [
        (i + 1, *((a + 1,) if recipe.coordinates > 1 else ()))
        for i in range(recipe.width)
        for a in range(recipe.coordinates)
    ]
    inside = {x: indexed("X", (limit.time,), place) for x, place in zip(limit.states, places, strict=True)}
    beside = {x: indexed("X", (), place) for x, place in zip(limit.states, places, strict=True)} | {
        letter("x"): letter("X")
    }
    return tuple(replace(line.xreplace(inside), left=line.left.xreplace(beside)) for line in limit.lines)


def _root(variance: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """The positive root of a variance, piece by piece where it has kinks."""
    if not variance.has(x):
        return sp.sqrt(variance).replace(sp.Abs, lambda inside: inside)  # the law does not see the noise's sign
    return join(
        tuple(Piece(p.left, p.right, positive_root(p.expr, x, p.left, p.right)) for p in pieces(variance, x)), x
    )


def width_steps(flow: KernelFlow, generic: KernelFlow | None) -> list[Step]:
    """Infinite width, then infinite depth: the flow of the second moments, for activations without values and for the given ones."""
    gaussian: Words = (
        ("At infinite width the neurons of a layer are independent and Gaussian, with means ", letter("M"), " and second moments ",
         letter("K"), " over the inputs. One layer adds")
        if flow.means
        else ("At infinite width the neurons of a layer are independent, Gaussian and centred, with covariance ", letter("K"),
              " over the inputs. One layer adds")
    )  # fmt: skip
    if not flow.states:
        gaussian = (*gaussian[:-1], str(gaussian[-1]).replace("One layer adds", "Every layer fixes it:"))
    because = (
        "The mean over the neurons becomes an expectation, by the law of large numbers. The weights are independent of the state that "
        "they are added to."
    )
    named, shares = with_named_shares(flow_lines(flow.states, flow.drift, flow.time))
    first, (lines, alike) = "Limit of infinite width", _one_of_each_kind(flow, named, "K")
    for entry, value in flow.fixed[:1]:  # all inputs have the same norm
        lines = (*lines, equation(entry if len(flow.fixed) == 1 else indexed("K", ("alpha", "alpha")), value))
    if generic is None:
        return [result(first, (*gaussian, *alike), lines, (because, *shares))]
    closed = "Gaussian expectations are in closed form where a rule applies."
    return [
        Step(first, gaussian, flow_lines(generic.states, generic.drift, generic.time), (because,)),
        result(
            "Kernel flow for this activation",
            ("With this activation the second moments follow", *alike),
            lines,
            (closed, *shares),
        ),
    ]


def _one_of_each_kind(flow: Flow, lines: tuple[Line, ...], name: str) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Of many second moments the first of an input and of a pair, where all others are these with other indices; and words that say so."""
    m = isqrt(2 * len(flow.states))
    matrix, pairs = gram_matrix(m, name), upper(m)
    if len(flow.states) <= _MANY or flow.states != tuple(matrix[pair] for pair in pairs):
        return lines, ()

    def renamed(a: int, b: int) -> Line:
        order = [a, b, *(c for c in range(m) if c not in (a, b))] if a != b else [a, *(c for c in range(m) if c != a)]
        rule = {matrix[i, j]: matrix[order[i], order[j]] for i, j in pairs}
        rule |= {indexed("a", (k + 1,)): indexed("a", (c + 1,)) for k, c in enumerate(order)}
        return lines[0 if a == b else 1].xreplace(rule)

    if any(line != renamed(*pair) for line, pair in zip(lines, pairs, strict=False)):
        return lines, ()
    return (*lines[:2], *lines[len(pairs) :]), (", and likewise for other indices,",)


def gram_step(gram: GramLimit | None, why: str, alone: bool = False) -> Step:
    """The Gram matrix's own diffusion at finite width, or why it has none; ``alone`` where no neuron has an equation by itself."""
    if gram is None:
        return Step("Gram matrix", (f"{why[0].upper()}{why[1:]}.",), (), ("So the neurons have to be followed.",))
    process = gram.process
    lines = _means(process)
    by_entries = _says_noises(gram)
    said = by_entries and not alone  # by the limit of a neuron
    if isinstance(process, Diffusion) and len(process.states) == 1:
        (v,), (drift,), (noise,) = process.states, process.drift, process.covariance
        lines = [scalar_line(v, drift, sp.sqrt(noise).replace(sp.Abs, lambda inside: inside))]
    elif by_entries:
        lines = _by_entries(gram, lines) if said else [*_by_entries(gram, lines), *_entries(gram)]
    elif isinstance(process, Diffusion):
        lines += _brackets(process)
    lines += [equation(name, value) for name, value in gram.fixed.items()]
    shown, shares = with_named_shares(tuple(lines))
    what = "centred states" if gram.centred else "states"
    neurons = "No neuron has an equation by itself: its noise depends on those of the others. " if alone else ""
    return result(
        "Limit of infinite depth" if alone else "Gram matrix",
        (f"{neurons}The Gram matrix ", _V, f" of the {what} has averages of products over the neurons as its entries. ",
         "It is a diffusion by itself at every width", *(() if gram.width.is_number else (" ", width)), *_likewise(process),
         *((", with the covariance F of any neuron's noise" + " as above" * said,) if by_entries else ()), ":"),
        shown,
        (
            "The state is read through random matrices and averages only. So the network is invariant under rotations of its neurons, and no "
            "other average of the state is left over.",
            *shares,
        ),
    )  # fmt: skip


def _by_entries(gram: GramLimit, means: list[Line]) -> list[Line]:
    """Drift and noise of any entry in the entries of a neuron's covariance."""
    alpha, beta, gamma, delta = "alpha", "beta", "gamma", "delta"

    def v(first: str, second: str) -> sp.Expr:
        return indexed("V", (first, second))

    def f(first: object, second: object) -> sp.Expr:
        return indexed("F", (first, second))

    products = [
        v(alpha, gamma) * f(beta, delta),
        v(alpha, delta) * f(beta, gamma),
        v(beta, gamma) * f(alpha, delta),
        v(beta, delta) * f(alpha, gamma),
    ]
    states = {state: i for i, state in enumerate(gram.process.states)}
    at = {pair: states.get(gram.matrix[pair]) for pair in gram.noises}
    share = 1 - 1 / gram.width if gram.centred else sp.S.One  # what is left of a noise less its mean over the neurons
    drift = gram.process.drift
    if all(i is None or sp.expand_mul(drift[i] - share * gram.noises[pair]) == 0 for pair, i in at.items()):
        means = [Line(expected(DifferentialOf(v(alpha, beta)), _V), (Term(share * f(alpha, beta), DT),))]
    noise = Term(1 / gram.width, Juxtaposed(sp.Add(*products), DT))
    return [*means, Line(Variation(v(alpha, beta), v(gamma, delta), time), (noise,))]


def gram_limit_steps(limit: Diffusion | Flow, unit: sp.Expr, named: bool) -> list[Step]:
    """The limit of the Gram matrix where depth and width grow together, a unit of time being so many layers."""
    clock: Words = ("A unit of time is ", unit, " layers. ")
    matched = "Mean and covariance of one layer's change, times the number of layers in a unit of time."
    name = "Limit for this activation" if named else "Limit of infinite depth and width"
    if isinstance(limit, Flow):
        because = (
            "The fluctuations of so many layers vanish as the width grows, and their means add up to the velocity."
        )
        shown, alike = _one_of_each_kind(limit, flow_lines(limit.states, limit.drift, limit.time), GRAM)
        return [result(name, (*clock, "The limit is a flow", *(alike or (":",))), shown, (because,))]
    if len(limit.states) == 1:
        (x,), (b,), (a,) = limit.states, limit.drift, limit.covariance
        return [result(name, (*clock, "The limit is the diffusion"), (scalar_line(x, b, sp.sqrt(a)),), (matched,))]
    lines = _means(limit)
    if not isinstance(limit, GramDiffusion) or not limit.is_of_products:
        claim: Words = (*clock, "The limit is the diffusion", *_likewise(limit))
        return [result(name, claim, (*lines, *_brackets(limit)), (matched,))]
    alpha, beta, gamma, delta = "alpha", "beta", "gamma", "delta"

    def v(first: str, second: str) -> sp.Expr:
        return indexed(GRAM, (first, second))

    products = v(alpha, gamma) * v(beta, delta) + v(alpha, delta) * v(beta, gamma)
    noise = Line(Variation(v(alpha, beta), v(gamma, delta), time), (Term(limit.strength, Juxtaposed(products, DT)),))
    claim = (
        *clock,
        "The Gram matrix follows a diffusion on the cone of positive semi-definite matrices",
        *_likewise(limit),
        ":",
    )
    return [result(name, claim, (*lines, noise), (matched,)), *_factor_steps(limit)]


def _shown(process: Diffusion | Flow) -> tuple[tuple[int, int], ...]:
    """The entries of the covariance that are shown: of more than two inputs those that say all."""
    count = len(process.states)
    if isinstance(process, Diffusion) and count > _FEW:
        return process.generic_entries
    return tuple((i, j) for i in range(count) for j in range(i, count))


def _likewise(process: Diffusion | Flow) -> tuple[str, ...]:
    return (", for all inputs as for these",) if len(_shown(process)) < comb(len(process.states) + 1, 2) else ()


def _means(process: Diffusion | Flow) -> list[Line]:
    """The drift state by state."""
    states = sorted({i for pair in _shown(process) for i in pair}) if _likewise(process) else range(len(process.states))
    return [mean_line(process.states[i], process.drift[i], (_V,)) for i in states]


def _brackets(process: Diffusion) -> list[Line]:
    """The quadratic variations entry by entry."""
    return [bracket_line(process.states[i], process.states[j], process.entry(i, j)) for i, j in _shown(process)]


def _factor_steps(limit: GramDiffusion) -> list[Step]:
    if limit.inputs != 2:
        return []
    rows = limit.factor
    motions = [DifferentialOf(indexed("B", (time,), (sp.Integer(k + 1),))) for k in range(rows.cols)]
    lines = [
        Line(
            Juxtaposed(letter("sigma"), DifferentialOf(letter("B"))),
            tuple(Term(rows[i, k], motions[k]) for k in range(rows.cols) if rows[i, k] != 0),
            where=s,
        )
        for i, s in enumerate(limit.states)
    ]
    a, n = letter("A"), letter("N")
    return [
        Step(
            "Square root of the covariance",
            ("With independent Brownian motions, as few as possible, the noise of each entry is",),
            tuple(lines),
            ("Let A be Cholesky's triangle of V, and N a symmetric matrix of independent Brownian motions. Then ",
             Juxtaposed(a, n, Transposed(a)), " has this covariance."),
        )
    ]  # fmt: skip


def sub_process_step(name: str, found: SubProcess) -> Step:
    """A function of the Gram matrix: its equation, and whether that is closed."""
    symbol = found.name
    shown = indexed(symbol, (time,)) if "_" not in symbol.name else symbol
    noise = _positive(found.variance, symbol)
    still = equation(Rate(shown, time), found.drift.xreplace({symbol: shown}))
    line = scalar_line(symbol, found.drift, noise) if noise != 0 else still
    left_over = ", ".join(map(plain, found.left_over))
    verdict = (
        "The equation is closed: this is a process by itself."
        if found.closed
        else f"The equation is not closed. Its coefficients also depend on {left_over}."
    )
    what: Words = ("For ", symbol, ":") if found.function == symbol else ("For ", symbol, " = ", found.function, ":")
    return Step(name, what, (line,), (f"Itô's formula. {verdict}",))


def _positive(variance: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """The root that is positive on the domain, whose sign the noise does not see."""
    value = sp.sqrt(sp.factor(variance)).replace(sp.Abs, lambda inside: inside)
    at_zero = value.subs(symbol, 0)
    return sp.expand(-value if at_zero.is_negative else value)


def settling_step(found: Settling) -> Step:
    """Explosion and the stationary law of one input's squared norm."""
    lines = [
        equation(Word("explosion"), _condition(found.explodes), ":"),
        equation(Word("stationary law"), _condition(found.stationary), ":"),
    ]
    if found.gamma is not None:
        shape, rate = found.gamma
        lines += [equation(Word("Gamma law, shape"), shape), equation(Word("Gamma law, rate"), rate)]
    return Step(
        "Feller's test",
        ("The squared norm ", found.process.states[0], " on the half-line:"),
        tuple(lines),
        (
            "Scale and speed at 0 and at infinity. Where the density of the speed measure has finite mass, it is that of the stationary law.",
        ),
    )


def _condition(condition: sp.Basic) -> sp.Basic:
    words = {sp.true: "always", sp.false: "never"}
    return Word(words[condition]) if condition in words else condition
