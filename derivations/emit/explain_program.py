r"""Explaining a program: its statements, what they draw given the state, one layer's moments, the Gram matrix."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.diffusion import Diffusion, Flow, Limit
from derivations.emit.narrate import differential_lines, display
from derivations.emit.plain import plain
from derivations.emit.steps import Glyph, Line, Step, Term, equation
from derivations.language import Program
from derivations.language.statements import Mask, Matrix, Mean
from derivations.limits.closure import GramLimit
from derivations.limits.depth import as_sums
from derivations.limits.elimination.expansion import Draw
from derivations.limits.elimination.moments import LayerMoments
from derivations.symbols import depth, state, step, width


def program_steps(recipe: Recipe) -> list[Step]:
    """The layer's statements in order, and its update."""
    layer = recipe.program() if recipe.width != sp.oo else replace(recipe, width=width).program()  # type: ignore[type-var]
    shown = _shown(layer)
    lines = [_statement(s, shown, layer) for s in layer.statements]
    lines += [
        line
        for w in dict.fromkeys(s.weights for s in layer.statements if isinstance(s, Matrix))
        for line in _law(w, layer)
    ]
    here, there = display("x"), Glyph("x'", "x'")
    update = layer.update.xreplace({**shown, state: here})
    lines.append(Line(there, tuple(Term(t) for t in sp.Add.make_args(update))))
    who = "one network input" if recipe.inputs == 1 else f"{recipe.inputs} network inputs, which share the weights"
    return [
        Step(
            "Recursion",
            ("A layer, from the state ", here, " of a neuron to its new state; ", who, ":"),
            tuple(lines),
            (
                "This is the network; everything below is derived from it. Weights are independent and fresh in every layer, ",
                Glyph(r"\varepsilon = L^{-1/2}", "ε = L^(-1/2)"),
                " for ",
                depth,
                " layers.",
            ),
        )
    ]


def _shown(layer: Program) -> dict[sp.Basic, sp.Basic]:
    """What statements are called on the page: u with the matrix's name, averages s, factors by their names."""
    rule: dict[sp.Basic, sp.Basic] = {}
    for s in layer.statements:
        name = s.symbol.name
        rule[s.symbol] = sp.Symbol(f"u_{name}" if isinstance(s, Matrix) else name, real=True)
    return rule


def _statement(s: Matrix | Mean | Mask, shown: dict[sp.Basic, sp.Basic], layer: Program) -> Line:
    left = shown[s.symbol]
    if isinstance(s, Matrix):
        body = s.body.xreplace(shown)
        name = s.weights.name
        return Line(left, (Glyph(rf"{name}\,\left({sp.latex(body)}\right)", f"{name}({plain(body)})"),))
    if isinstance(s, Mean):
        body, k = s.body.xreplace(shown), s.over.size
        return Line(
            left, (Glyph(rf"\frac{{1}}{{{sp.latex(k)}}} \sum_j {sp.latex(body)}", f"1/{plain(k)}*Sum_j {plain(body)}"),)
        )
    return Line(
        left, (Glyph(rf"\mathrm{{Bernoulli}}\left({sp.latex(s.keep)}\right)", f"Bernoulli({plain(s.keep)})"),), r"\sim"
    )


def _law(weights: sp.Basic, layer: Program) -> list[Line]:
    matrix = next(s for s in layer.statements if isinstance(s, Matrix) and s.weights == weights)
    w, k = matrix.weights, matrix.source.size * max(1, len(matrix.weights.taps))
    lines = [Line(display(f"{w.name}_{{ij}}"), (_normal(w.mean / k, w.variance / k),), r"\sim")]
    if w.bias_variance != 0 or w.bias_mean != 0:
        lines.append(
            Line(
                Glyph(rf"\text{{bias of }}{w.name}", f"bias of {w.name}"),
                (_normal(w.bias_mean, w.bias_variance),),
                r"\sim",
            )
        )
    return lines


def _normal(mean: sp.Expr, variance: sp.Expr) -> Glyph:
    return Glyph(rf"N\left({sp.latex(mean)}, {sp.latex(variance)}\right)", f"N({plain(mean)}, {plain(variance)})")


def moment_steps(recipe: Recipe) -> list[Step]:
    """What the matrices put out given what they read, and one layer's conditional moments."""
    layer = recipe.program()
    moments = LayerMoments(layer, min(recipe.coordinates, 2))
    shown = _variables(layer, moments)

    def at(expr: sp.Expr) -> sp.Expr:
        return sp.factor_terms(as_sums(expr, moments.states, layer.neurons.size)).xreplace(shown)

    drawn = []
    for draw in (r for r in moments.expansion.random if isinstance(r, Draw)):
        for (i, j), series in draw.covariance.items():
            if i < 2 and j <= i and (i, j) != (1, 1):
                names = [shown[draw.variables[c]] for c in (j, i)]
                left = Glyph(
                    rf"\mathrm{{Cov}}[{sp.latex(names[0])}, {sp.latex(names[1])}]",
                    f"Cov[{plain(names[0])}, {plain(names[1])}]",
                )
                drawn.append(Line(left, (Term(series[0].xreplace(shown)),)))
    rows = [Line(Glyph(r"\mathbb{E}[\Delta \mid X]", "E[Δ | X]"), _second_order(at(moments.drift(0))))]
    for a, b in ((0, 0), (0, 1))[: len(moments.states)]:
        label = "" if len(moments.states) == 1 else f"^{{{a + 1}{b + 1}}}"
        left = Glyph(rf"\mathrm{{Cov}}[\Delta, \Delta \mid X]{label}", f"Cov[Δ, Δ | X]{label}")
        rows.append(Line(left, _second_order(at(moments.covariance(a, b)))))
    return [
        Step(
            "What is drawn",
            (
                "Given what a matrix reads, what it puts out is centred Gaussian (around the means' share), independent from neuron to "
                "neuron; angle brackets average over the neurons that are read:",
            ),
            tuple(drawn),
            ("A linear combination of independent Gaussians; the rows of a matrix are independent.",),
        ),
        Step(
            "Conditional moments of one layer",
            ("The increment ", Glyph(r"\Delta = x' - x", "Δ = x' - x"), " of a neuron has, given the state,"),
            tuple(rows),
            (
                "Statements are averaged out from the last to the first: a matrix by its Gaussian mean, whose covariance is an average "
                "over what it reads, an i.i.d. factor by its expectation; exact for every number of neurons.",
            ),
        ),
    ]


def _variables(layer: Program, moments: LayerMoments) -> dict[sp.Basic, sp.Basic]:
    """The drawn numbers of a generic neuron, with the input as a superscript."""
    rule: dict[sp.Basic, sp.Basic] = {}
    several = len(moments.states) > 1
    for random in moments.expansion.random:
        for v in random.variables:
            stem, index = v.name.rstrip("0123456789"), v.name[len(v.name.rstrip("0123456789")) :]
            rule[v] = sp.Symbol(f"u_{stem}^{index}" if several else f"u_{stem}", real=True)
    return rule


def _second_order(coefficient: sp.Expr) -> tuple[Term | Glyph, ...]:
    rest = Glyph(r"o(\varepsilon^2)", "o(ε²)")
    return (rest,) if coefficient == 0 else (Term(coefficient, Glyph(r"\varepsilon^2", "ε²")), rest)


def limit_step(recipe: Recipe, limit: Limit) -> Step:
    """The moments per unit of time."""
    kind = "a deterministic flow" if isinstance(limit, Flow) else "a diffusion"
    return Step(
        "Limit of infinite depth",
        ("As ", depth, " grows, with ", step**2, " of time a layer, each neuron follows ", kind, ":"),
        differential_lines(limit, recipe.width),
        (
            "Drift and covariance are the conditional moments per unit of time; the increments are Gaussian to leading order, so their "
            "higher moments vanish faster; where the equation (in Itô's sense) has a unique solution, the chain converges to it.",
        ),
    )


def gram_step(gram: GramLimit | None, why: str) -> Step:
    """The Gram matrix's own diffusion, or why it has none."""
    if gram is None:
        return Step("Gram matrix", (f"{why[0].upper()}{why[1:]}.",), (), ("So the neurons have to be followed.",))
    process, unit = gram.process, Glyph(r"\mathrm{d}t", "dt")
    lines = []
    for name, drift in zip(process.states, process.drift, strict=True):
        left = Glyph(rf"\mathbb{{E}}[\mathrm{{d}}{sp.latex(name)} \mid V]", f"E[d{name} | V]")
        lines.append(Line(left, (Term(drift, unit),)))
    if isinstance(process, Diffusion):
        count = len(process.states)
        for i in range(count):
            for j in range(i, count):
                a, b = process.states[i], process.states[j]
                left = Glyph(rf"\mathrm{{d}}[{sp.latex(a)}, {sp.latex(b)}]_t", f"d[{a}, {b}]_t")
                lines.append(Line(left, (Term(process.covariance[i, j], unit),)))
    lines += [equation(name, value) for name, value in gram.fixed.items()]
    what = "centred states" if gram.centred else "states"
    return Step(
        "Gram matrix",
        (
            f"The Gram matrix V of the {what}, averages of products over the ",
            width,
            " neurons, is a diffusion by itself at every width:",
        ),
        tuple(lines),
        (
            "The state is read through random matrices and averages only, so the network is invariant under rotations of its neurons: no "
            "other average of the state is left over.",
        ),
    )
