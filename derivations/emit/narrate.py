r"""Telling a derivation: each function turns one stage's result into steps."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.architectures.base import Architecture, Preactivation
from derivations.calculus.lamperti import positive_root
from derivations.diffusion import Flow, Limit, NeuronDiffusion
from derivations.emit.plain import plain
from derivations.emit.steps import Glyph, Line, Step, Term, differential, equation
from derivations.language import program
from derivations.limits.depth import as_sums
from derivations.limits.elimination.expansion import Draw
from derivations.limits.elimination.moments import LayerMoments
from derivations.piecewise import Piece, join, pieces
from derivations.symbols import depth, input_symbols, noise, shift, state, step, width

BROWNIAN = Glyph(r"\mathrm{d}B_t", "dB_t")


def display(name: str) -> sp.Symbol:
    """A real symbol for display only."""
    return sp.Symbol(name, real=True)


def recursion_steps(architecture: Architecture) -> list[Step]:
    """The layer's recursion, its weights and its activation."""
    layer = architecture.layer()
    pre = layer.preactivation
    n = width if architecture.width == sp.oo else architecture.width
    here, there = display(r"X_{\ell}^{i}"), Glyph(r"X_{\ell+1}^{i}", "X_{l+1}^i")
    rule = {state: here, noise: display("u^i"), shift: display("m"), step: 1 / sp.sqrt(depth)}
    update = layer.update.subs(rule, simultaneous=True)
    increment = update - here
    increment = sp.expand(increment) if increment.has(here) else increment
    w, b = display("W_{ij}"), display("b_i")
    (inner, _), *_ = architecture.functions
    psi = sp.Function(inner)(display(r"X_{\ell}^{j}"))
    fan_in, reads = n / pre.share, ""
    if pre.taps:
        w, reads = display("W_{ij}^{d}"), ", d"
        psi = sp.Function(inner)(display(r"X_{\ell}^{j,p+d}"))
    total = Glyph(_sum_over(n, pre, reads) + f" {sp.latex(w * psi)}", f"Sum_j{reads} {plain(w)}*{plain(psi)}")
    bias = (Term(b),) if pre.bias_variance != 0 else ()
    lines = [
        Line(there, (Term(here), *(Term(t) for t in increment.as_ordered_terms()))),
        Line(display("u^i"), (total, *bias)),
        Line(w, (_normal(pre.weight_variance / fan_in),), r"\sim"),
    ]
    if pre.bias_variance != 0:
        lines.append(Line(b, (_normal(pre.bias_variance),), r"\sim"))
    if pre.has_means:
        mean = pre.weight_mean / fan_in
        average = Glyph(
            _sum_over(n, pre, reads) + f" {sp.latex(mean * psi)}", f"Sum_j{reads} {plain(mean)}*{plain(psi)}"
        )
        terms = (*((average,) if pre.weight_mean != 0 else ()), *((Term(pre.bias_mean),) if pre.bias_mean != 0 else ()))
        lines.append(Line(display("m"), terms))
    who = (
        "one network input"
        if architecture.inputs == 1
        else f"{architecture.inputs} network inputs, which share the weights"
    )
    return [
        Step(
            "Recursion",
            (
                "Layer ",
                display(r"\ell"),
                " of ",
                depth,
                " acts on ",
                n,
                " neuron and " if n == 1 else " neurons and ",
                who,
                "; weights are independent and fresh in every layer:",
            ),
            tuple(lines),
            (
                "This is the network; everything below is derived from it.",
                *(
                    (" The noise u and the shift m stand for the weights around and at their means.",)
                    if pre.has_means
                    else ()
                ),
            ),
        ),
        *_activation_steps(architecture),
    ]


def _sum_over(width: sp.Expr, pre: Preactivation, reads: str) -> str:
    if pre.taps:
        return rf"\sum_{{j \le {sp.latex(width)}{reads} \in F}}"
    return rf"\sum_{{j=1}}^{{{sp.latex(width)}}}"


def _activation_steps(architecture: Architecture) -> list[Step]:
    (letter, inner), *outer = architecture.functions
    lines = [equation(sp.Function(letter)(state), inner.expr)]
    if not outer:
        because = "It enters through its values, and its derivatives enter by Itô's formula."
        return [Step("Activation", ("The activation is",), tuple(lines), (because,))]
    for name, activation in outer:
        orders = zip(
            ("", "'", "''"), (activation.expr, activation.derivative(1), activation.derivative(2)), strict=True
        )
        lines.append(equation(sp.Function(name)(state), activation.expr))
        lines += [
            equation(Glyph(rf"\{name}{mark}(0)", f"{plain(sp.Symbol(name))}{mark}(0)"), expr.subs(state, 0))
            for mark, expr in orders
        ]
    because = "The inner one enters through its values; of an outer one only the Taylor coefficients at 0 enter, since its argument is small."
    return [Step("Activations", ("The activations are, inside and outside the weights,",), tuple(lines), (because,))]


def _normal(variance: sp.Expr) -> Glyph:
    return Glyph(rf"N\left(0, {sp.latex(variance)}\right)", f"N(0, {variance})")


@dataclass(frozen=True)
class GenericMoments:
    """The conditional moments of one layer for undefined activations, for two inputs at most."""

    drift: sp.ImmutableMatrix
    covariance: sp.ImmutableMatrix
    states: tuple[sp.Symbol, ...]


def increment_steps(architecture: Architecture) -> tuple[list[Step], GenericMoments]:
    """Pre-activations given the state, and the conditional moments of one layer's increment, for a generic activation."""
    layer = architecture.generic_layer()
    # the shift is a number given the state: it keeps its name in the increment
    moments = _generic_moments(architecture, layer.update.xreplace({noise: layer.drawn}))
    means = _generic_moments(architecture, state + step**2 * layer.meant)

    def at(expr: sp.Expr) -> sp.Expr:
        """Averages of the state as sums over the layer."""
        return sp.factor_terms(as_sums(expr, moments.states, architecture.width))

    size = min(architecture.coordinates, 2)
    generic = GenericMoments(
        sp.ImmutableMatrix([at(moments.drift(a).xreplace({shift: means.drift(a)})) for a in range(size)]),
        sp.ImmutableMatrix(size, size, lambda a, b: at(moments.covariance(min(a, b), max(a, b)))),
        moments.states[:size],
    )
    mean = at(means.drift(0))
    names = [(0, 0, "G")] if size == 1 else [(0, 0, "G^{11}"), (0, 1, "G^{12}")]
    what = "coordinates" if architecture.positions else "inputs"
    likewise = "" if size == 1 else f" ({what} 1 and 2; likewise for every pair)"
    (draw,) = (random for random in moments.expansion.random if isinstance(random, Draw))
    ours = input_symbols(noise, len(moments.states))
    shown = dict(zip(draw.variables, ours, strict=True)) | {shift: input_symbols(shift, len(ours))[0]}
    orders = zip(moments.expansion.increment[0][1:], (r"\varepsilon", r"\varepsilon^2"), ("ε", "ε²"), strict=True)
    increment = [
        Line(
            Glyph(r"\Delta", "Δ"),
            tuple(Term(at(c.xreplace(shown)), Glyph(unit, text)) for c, unit, text in orders if c != 0),
        ),
        Line(Glyph(r"\mathbb{E}[\Delta \mid X]", "E[Δ | X]"), _at_second_order(generic.drift[0])),
    ]
    for a, b, name in names:
        label = name.replace("G", "")
        left = Glyph(rf"\mathrm{{Cov}}[\Delta, \Delta \mid X]{label}", f"Cov[Δ, Δ | X]{label}")
        increment.append(Line(left, _at_second_order(generic.covariance[a, b])))
    return [
        Step(
            "Pre-activations given the state",
            (
                "Given the state, ",
                noise,
                " is centred Gaussian, independent from neuron to neuron, with covariance",
                likewise,
            ),
            (
                *(equation(display(name), at(draw.covariance[b, a][0])) for a, b, name in names),
                *([equation(display("m"), mean)] if mean != 0 else []),
            ),
            (
                "A linear combination of independent centred Gaussians is centred Gaussian with the sum of the squared coefficients "
                "times variances; the rows of the weight matrix are independent.",
            ),
        ),
        Step(
            "Increment and its conditional moments",
            (
                "With ",
                Glyph(r"\varepsilon = L^{-1/2}", "ε = L^(-1/2)"),
                ", so that one layer takes ",
                step**2,
                " of time, the increment and its conditional moments are",
            ),
            tuple(increment),
            ("Taylor's formula in the small parameter, then Wick's rule for the Gaussian ", noise, "."),
        ),
    ], generic


def _generic_moments(architecture: Architecture, update: sp.Expr) -> LayerMoments:
    """Moments of a layer with undefined activations."""
    grid = bool(architecture.positions)
    coordinates = architecture.coordinates if grid else min(architecture.inputs, 2)
    return LayerMoments(program(update, architecture.width, parameters=None), coordinates)


def _at_second_order(coefficient: sp.Expr) -> tuple[Term | Glyph, ...]:
    rest = Glyph(r"o(\varepsilon^2)", "o(ε²)")
    return (rest,) if coefficient == 0 else (Term(coefficient, Glyph(r"\varepsilon^2", "ε²")), rest)


def limit_steps(architecture: Architecture, limit: Limit, generic: GenericMoments) -> list[Step]:
    """Matching moments per unit of time, for a generic and for the given activation."""
    because = (
        "Drift and covariance are the conditional moments per unit of time; the increments are Gaussian to leading order, so their higher "
        "moments vanish faster; where the equation (in Itô's sense) has a unique solution, the chain converges to it."
    )
    kind = "a deterministic flow" if isinstance(limit, Flow) else "a diffusion"
    general = Step(
        "Limit of infinite depth",
        ("As ", depth, " grows, each neuron follows ", kind, ":"),
        _differentials(generic.drift, generic.covariance, generic.states, architecture.width),
        (because,),
    )
    return [
        general,
        Step(
            "Limit for this activation",
            ("With this activation the coefficients are",),
            differential_lines(limit, architecture.width),
            ("Substitution of the activation, piece by piece.",),
        ),
    ]


def differential_lines(limit: Limit, width: sp.Expr) -> tuple[Line, ...]:
    """The equations of one neuron, for the first two inputs."""
    if isinstance(limit, NeuronDiffusion):
        m = min(limit.inputs, 2)
        return _differentials(limit.neuron_drift[:m, :], limit.neuron_covariance[:m, :m], limit.neuron[:m], limit.width)
    m = min(len(limit.states), 2)
    return _differentials(limit.drift[:m, :], limit.covariance[:m, :m], limit.states[:m], width)


def _differentials(
    drift: sp.Matrix, covariance: sp.Matrix, neuron: tuple[sp.Symbol, ...], width: sp.Expr
) -> tuple[Line, ...]:
    upper = "" if width == 1 else "^{i}"
    if len(neuron) == 1:
        brownian = Glyph(rf"\mathrm{{d}}B_t{upper}", f"dB_t{upper}")
        name = Glyph(f"X_t{upper}", f"X_t{upper}")
        at = {neuron[0]: display(f"X_t{upper}")}
        return (differential(name, drift[0].subs(at), _noise(covariance[0, 0], neuron[0]).subs(at), brownian),)
    lines = []
    for a in range(len(neuron)):
        at = {x: display(f"X_t^{{{k + 1}}}") for k, x in enumerate(neuron)}
        for b in range(a, len(neuron)):
            delta = "" if width == 1 else r"\delta_{ij}"
            labels = (f"X^{{{a + 1}}}", f"X^{{{b + 1}}}") if width == 1 else (f"X_i^{{{a + 1}}}", f"X_j^{{{b + 1}}}")
            left = Glyph(rf"\mathrm{{d}}[{labels[0]}, {labels[1]}]_t", f"d[{labels[0]}, {labels[1]}]_t")
            unit = Glyph(rf"{delta}\,\mathrm{{d}}t", f"{'δ_ij ' if delta else ''}dt")
            lines.append(Line(left, (Term(covariance[a, b].subs(at), unit),)))
        if drift[a] != 0:
            lines.append(
                Line(
                    Glyph(rf"\mathbb{{E}}[\mathrm{{d}}X^{{{a + 1}}} \mid X]", f"E[dX^{a + 1} | X]"),
                    (Term(drift[a].subs(at), Glyph(r"\mathrm{d}t", "dt")),),
                )
            )
    return tuple(lines)


def _noise(variance: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """The positive root of a variance, piece by piece where it has kinks."""
    if not variance.has(x):
        return sp.sqrt(variance).replace(sp.Abs, lambda inside: inside)  # the law does not see the noise's sign
    return join(
        tuple(Piece(p.left, p.right, positive_root(p.expr, x, p.left, p.right)) for p in pieces(variance, x)), x
    )


def width_steps(flow: Flow, generic: Flow) -> list[Step]:
    """Infinite width, then infinite depth: the kernel flow, generic and for the given activation."""

    def lines(of: Flow) -> tuple[Line, ...]:
        return tuple(
            Line(Glyph(rf"\mathrm{{d}}{sp.latex(k)}/\mathrm{{d}}t", f"d{k}/dt"), (Term(v),))
            for k, v in zip(of.states, of.drift, strict=True)
        )

    moving = any(s.name.startswith("M") for s in flow.states)
    return [
        Step(
            "Limit of infinite width",
            (
                "At infinite width the neurons of a layer are independent Gaussians with means ",
                display("M"),
                " and second moments ",
                display("K"),
                " over the inputs; one layer adds",
            )
            if moving
            else (
                "At infinite width the neurons of a layer are independent centred Gaussians with covariance ",
                display("K"),
                " over the inputs; one layer adds",
            ),
            lines(generic),
            (
                "The mean over the neurons becomes an expectation (law of large numbers); the weights are independent of the state they "
                "are added to.",
            ),
        ),
        Step(
            "Kernel flow for this activation",
            ("With this activation",),
            lines(flow),
            ("Gaussian expectations in closed form where a rule applies.",),
        ),
    ]
