r"""Telling the joint limit: from one layer's moments in powers of the width to the equation of the Gram matrix."""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Architecture
from derivations.architectures.scaling import Scaling
from derivations.calculus.boundaries import classify, explosion
from derivations.calculus.gram import SubProcess, pair_correlation, squared_norm
from derivations.calculus.speed import speed_density
from derivations.diffusion import Diffusion, Flow
from derivations.emit.narrate import display
from derivations.emit.narrate_collapse import collapse_steps
from derivations.emit.plain import plain
from derivations.emit.steps import Glyph, Line, Step, Term, differential, equation
from derivations.errors import DerivationError
from derivations.limits.collapse import transient
from derivations.limits.gram import GramDiffusion, upper
from derivations.limits.increments import GramMoments, gram_moments
from derivations.limits.joint import scaling_of
from derivations.symbols import noise, state, width

_DT = Glyph(r"\mathrm{d}t", "dt")
_DB = Glyph(r"\mathrm{d}B_t", "dB_t")
_PHI = Glyph(r"\varphi_n(x)", "φ_n(x)")
_ITO = "Itô's formula."


def joint_steps(architecture: Architecture, limit: Diffusion | Flow) -> list[Step]:
    """All steps of a joint limit but its law."""
    scaling = scaling_of(architecture)
    steps = _recursion(scaling)
    if transient(scaling):
        return steps + (collapse_steps(scaling, limit))
    moments = gram_moments(scaling, min(architecture.inputs, 2))
    return [
        *steps,
        *_moments(scaling, moments, isinstance(limit, Flow)),
        *_limit(scaling, limit),
        *_parts(limit),
        *_ends(limit),
    ]


_MEAN_SQUARE = equation(
    Glyph(r"r_\ell^2", "r_l²"),
    Glyph(
        r"\tfrac1n \sum_{j=1}^{n} (z_{\ell}^{j})^2 \quad\text{for each input}", "(1/n) Sum_j (z_l^j)² for each input"
    ),
)


def _recursion(scaling: Scaling) -> list[Step]:
    values = {size: width ** (-rate) for size, rate in scaling.sizes}
    update = sp.sympify(scaling.update).subs(values)
    skip, branch = sp.diff(update, state), sp.diff(update, noise)
    here, there = display(r"z_{\ell}^{i}"), Glyph(r"z_{\ell+1}^{i}", "z_{l+1}^i")
    argument = r"z_{\ell}^{j}/r_\ell" if scaling.normalised else r"z_{\ell}^{j}"
    total = Glyph(
        rf"\sqrt{{\tfrac{{c}}{{n}}}} \sum_{{j=1}}^{{n}} W_{{ij}}\,\varphi_n({argument})",
        "sqrt(c/n) Sum_j W_ij φ_n(" + ("z_l^j/r_l" if scaling.normalised else "z_l^j") + ")",
    )
    terms = [Term(skip * here)] if skip != 0 else []
    inner = scaling.inner.expr.subs(values)
    gain = (
        Glyph(r"1/\mathbb{E}\,\varphi_n(g)^2", "1/E φ_n(g)²")
        if scaling.weight_variance is None
        else sp.sympify(scaling.weight_variance)
    )
    return [
        Step(
            "Recursion",
            (
                "One layer of ",
                width,
                " neurons, with fresh weights ",
                Glyph(r"W_{ij} \sim N(0, 1)", "W_ij ~ N(0, 1)"),
                ":",
            ),
            (
                Line(there, (*terms, Term(branch, total))),
                equation(_PHI, inner),
                equation(display("c"), gain),
                *([_MEAN_SQUARE] if scaling.normalised else []),
            ),
            (
                "This is the network; everything below is derived from it. A unit of time is ",
                width**scaling.depth_rate,
                " layers.",
            ),
        )
    ]


def _moments(scaling: Scaling, moments: GramMoments, quiet: bool) -> list[Step]:
    values = {size: width ** (-rate) for size, rate in scaling.sizes}
    expansion = tuple(Term(sp.expand(c).subs(values)) for c in moments.activation if c != 0)
    gains = tuple(Term(sp.expand(c).subs(values)) for c in moments.gain if c != 0)
    m = moments.matrix.rows
    left = [
        Glyph(rf"\mathbb{{E}}[\Delta {sp.latex(moments.matrix[p])} \mid V]", f"E[Δ{moments.matrix[p]} | V]")
        for p in upper(m)
    ]
    means = [equation(name, sp.factor(moments.drift(*p).subs(values))) for name, p in zip(left, upper(m), strict=True)]
    pairs = upper(m)
    covariances = [
        Line(
            Glyph(
                rf"\mathrm{{Cov}}[{sp.latex(moments.matrix[p])}', {sp.latex(moments.matrix[q])}' \mid V]",
                f"Cov[{moments.matrix[p]}', {moments.matrix[q]}' | V]",
            ),
            (Term(sp.factor(moments.covariance[i, j].subs(values)) / width),),
        )
        for i, p in enumerate(pairs)
        for j, q in enumerate(pairs)
        if j >= i and not quiet
    ]
    return [
        Step(
            "Expansion of a layer",
            ("In powers of the width, to the order that matters,",),
            (
                Line(_PHI, expansion, r"\approx"),
                Line(display("c"), gains, r"\approx"),
            ),
            ("Taylor's formula, piece by piece; c is the series whose product with that of the mean square is 1.",),
        ),
        Step(
            "Conditional moments of the Gram matrix",
            (
                "Given ",
                display("V"),
                " the neurons are independent ",
                Glyph(r"N(0, V)", "N(0, V)"),
                " over the inputs; one layer moves V by",
            ),
            tuple(means + covariances),
            (
                "Gaussian expectations of the products of the expansion, term by term; terms of order 0 return V and those "
                "of order 1 cancel by the choice of c. The covariance of an average over n neurons is Wick's rule divided by n"
                + ("; that many layers do not make it visible." if quiet else "."),
            ),
        ),
    ]


def _limit(scaling: Scaling, limit: Diffusion | Flow) -> list[Step]:
    lines = [
        Line(
            Glyph(rf"\mathbb{{E}}[\mathrm{{d}}{sp.latex(s)} \mid V]", f"E[d{s} | V]"),
            (Term(b, _DT if b != 0 else None),),
        )
        for s, b in zip(limit.states, limit.drift, strict=True)
    ]
    if isinstance(limit, Flow):
        lines = [
            Line(Glyph(rf"\mathrm{{d}}{sp.latex(s)}/\mathrm{{d}}t", f"d{s}/dt"), (Term(b),))
            for s, b in zip(limit.states, limit.drift, strict=True)
        ]
        return [
            Step(
                "Limit for this activation",
                ("A unit of time is ", width**scaling.depth_rate, " layers. The limit is a flow:"),
                tuple(lines),
                (
                    "The fluctuations of that many layers add up to nothing as the width grows; the means add up to the velocity.",
                ),
            )
        ]
    if len(limit.states) == 1:
        (x,), (b,), (a,) = limit.states, limit.drift, limit.covariance
        return [
            Step(
                "Limit for this activation",
                ("A unit of time is ", width**scaling.depth_rate, " layers. The limit is the diffusion"),
                (differential(Glyph(f"{sp.latex(x)}_t", f"{x}_t"), b, sp.sqrt(a), _DB),),
                ("Conditional mean and covariance of a layer, times the number of layers in a unit of time.",),
            )
        ]
    assert isinstance(limit, GramDiffusion)
    names = r"\alpha\beta", r"\gamma\delta"
    left = Glyph(rf"\mathrm{{d}}[V_{{{names[0]}}}, V_{{{names[1]}}}]_t", "d[V_αβ, V_γδ]_t")
    right = Glyph(
        r"\left(V_{\alpha\gamma}V_{\beta\delta} + V_{\alpha\delta}V_{\beta\gamma}\right)\mathrm{d}t",
        "(V_αγ V_βδ + V_αδ V_βγ) dt",
    )
    steps = [
        Step(
            "Limit for this activation",
            (
                "A unit of time is ",
                width**scaling.depth_rate,
                " layers. The Gram matrix follows a diffusion on the cone of positive semi-definite matrices:",
            ),
            (*lines, Line(left, (Term(limit.strength, right),))),
            ("Conditional mean and covariance of a layer, times the number of layers in a unit of time.",),
        )
    ]
    if limit.inputs == 2:
        rows = limit.factor
        steps.append(
            Step(
                "Square root of the covariance",
                (
                    "With independent Brownian motions, as few as possible, the noise of ",
                    limit.states[0],
                    ", ",
                    limit.states[1],
                    ", ",
                    limit.states[2],
                    " is",
                ),
                tuple(
                    Line(
                        Glyph(rf"\sigma\,\mathrm{{d}}B \text{{ of }} {sp.latex(s)}", f"noise of {s}"),
                        tuple(
                            Term(rows[i, k], Glyph(rf"\mathrm{{d}}B^{{{k + 1}}}_t", f"dB^{k + 1}_t"))
                            for k in range(rows.cols)
                            if rows[i, k] != 0
                        ),
                    )
                    for i, s in enumerate(limit.states)
                ),
                (
                    "Cholesky's triangle A of V, and a symmetric matrix N of independent Brownian motions: ",
                    Glyph(r"A N A^\top", "A N Aᵀ"),
                    " has this covariance.",
                ),
            )
        )
    return steps


def _sub_step(name: str, symbol: sp.Symbol, found: SubProcess) -> Step:
    shown = Glyph(f"{sp.latex(symbol)}_t" if "_" not in str(symbol) else sp.latex(symbol), f"{plain(symbol)}_t")
    line = (
        differential(shown, found.drift, _positive(found.variance, symbol), _DB)
        if found.variance != 0
        else Line(Glyph(rf"\mathrm{{d}}{shown.latex}/\mathrm{{d}}t", f"d{shown.text}/dt"), (Term(found.drift),))
    )
    if found.closed:
        verdict = ("The equation is closed: a process by itself. ", _ITO)
    else:
        verdict = (f"Not closed: the coefficients also depend on {', '.join(map(str, found.left_over))}. ", _ITO)
    what = ("For ", symbol, ":") if found.function == symbol else ("For ", symbol, " = ", found.function, ":")
    return Step(name, what, (line,), verdict)


def _positive(variance: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """The root that is positive on the domain, whose sign the noise does not see."""
    value = sp.sqrt(sp.factor(variance)).replace(sp.Abs, lambda inside: inside)
    at_zero = value.subs(symbol, 0)
    return sp.expand(-value if at_zero.is_negative else value)


def _parts(limit: Diffusion | Flow) -> list[Step]:
    """Norm and correlation of the first two inputs."""
    if len(limit.states) == 1:
        return []
    inputs = int((sp.sqrt(8 * len(limit.states) + 1) - 1) / 2)
    first, cross, second = limit.states[0], limit.states[1], limit.states[inputs]
    return [
        _sub_step("Squared norm", first, squared_norm(limit, first)),
        _sub_step("Correlation", sp.Symbol("rho", real=True), pair_correlation(limit, (first, cross, second))),
    ]


def _ends(limit: Diffusion | Flow) -> list[Step]:
    """Explosion and the stationary law of one input's squared norm, by Feller's test."""
    if isinstance(limit, Flow) or limit.drift[0] == 0:
        return []
    norm = squared_norm(limit, limit.states[0])
    if not norm.closed:
        return []
    process = norm.process()
    assert isinstance(process, Diffusion)
    v = process.states[0]
    try:
        explodes = explosion(process)
        left, right = classify(process)
        density = speed_density(process, (sp.S.Zero, sp.oo))
    except DerivationError:
        return []
    stationary = sp.And(left.light, right.light)
    lines = [
        Line(Glyph(r"\text{explosion}", "explosion"), (_condition(explodes),), ":"),
        Line(Glyph(r"\text{stationary law}", "stationary law"), (_condition(stationary),), ":"),
    ]
    slope = sp.expand(v * sp.diff(sp.expand_log(sp.log(density)), v))  # of v^(k-1) e^(-rv): k - 1 - r v
    if stationary != sp.false and slope.is_polynomial(v) and sp.degree(slope, v) == 1:
        lines += [
            equation(Glyph(r"\text{Gamma law, shape}", "Gamma law, shape"), sp.factor(slope.coeff(v, 0) + 1)),
            equation(Glyph(r"\text{Gamma law, rate}", "Gamma law, rate"), sp.factor(-slope.coeff(v, 1))),
        ]
    return [
        Step(
            "Feller's test",
            ("The squared norm ", v, " on the half-line:"),
            tuple(lines),
            (
                "Scale and speed at 0 and at infinity; where the density of speed has finite mass, it is that of the stationary law.",
            ),
        )
    ]


def _condition(condition: sp.Basic) -> Glyph:
    if condition in (sp.true, sp.false):
        word = "always" if condition == sp.true else "never"
        return Glyph(rf"\text{{{word}}}", word)
    return Glyph(sp.latex(condition), str(condition))
