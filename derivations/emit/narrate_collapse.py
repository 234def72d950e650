r"""Telling the limit of an unshaped perceptron: two inputs that collapse, and the functional that is left."""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation
from derivations.calculus.exponential import LinearForm, collapse_linear, inverse_root, mixed
from derivations.diffusion import Diffusion, Flow
from derivations.emit.narrate import display
from derivations.emit.plain import plain
from derivations.emit.steps import Glyph, Line, Step, Term, differential, equation
from derivations.limits.collapse import CollapseDiffusion, gap_map
from derivations.symbols import time, width

_DB = Glyph(r"\mathrm{d}B_t", "dB_t")


def collapse_steps(phi: Activation, limit: Diffusion | Flow) -> list[Step]:
    """The steps after the recursion: of a pair of inputs, or of one input's norm."""
    return _collapse(phi, limit) if isinstance(limit, CollapseDiffusion) else _one_input(limit)


def _one_input(limit: Diffusion | Flow) -> list[Step]:
    (v,), (a,) = limit.states, limit.covariance
    return [
        Step(
            "Limit for this activation",
            (
                "A unit of time is ",
                width,
                " layers. The squared norm multiplies by the mean of ",
                width,
                " copies of ",
                Glyph(r"c\varphi(g)^2", "cφ(g)²"),
                ":",
            ),
            (differential(Glyph(f"{sp.latex(v)}_t", f"{v}_t"), sp.S.Zero, sp.sqrt(a), _DB),),
            ("Positive homogeneity takes V out of the activation; each factor has mean 1 by the choice of c.",),
        )
    ]


def _collapse(phi: Activation, limit: CollapseDiffusion) -> list[Step]:
    form = collapse_linear(limit)
    gap = display("delta")
    root = sp.sqrt(gap)
    kappa = display("kappa")
    after = gap_map(phi)
    (s,) = after.free_symbols - phi.parameters
    shown = after.subs(s, root)
    mean, variance = limit.mean_rate, limit.variance_rate
    return [
        Step(
            "Map of the correlation",
            ("With ", Glyph(r"\delta = 1 - \rho", "δ = 1 - ρ"), " one layer of infinite width gives"),
            (
                equation(Glyph(r"\delta'", "δ'"), shown),
                Line(Glyph(r"\delta'", "δ'"), (Term(gap), Term(-2 * kappa * root**3), Glyph(r"O(\delta^2)", "O(δ²)"))),
                equation(kappa, limit.curvature),
            ),
            (
                "The Gaussian expectation of a product of the activation with itself, and Taylor's formula in ",
                root,
                ".",
            ),
        ),
        Step(
            "Fluctuation of a layer",
            (
                "As ",
                gap,
                " tends to 0 no neuron crosses the kink, and it multiplies by a ratio of means over the neurons with mean and variance",
            ),
            (
                Line(
                    Glyph(r"\mathbb{E}[\delta'/\delta] - 1", "E[δ'/δ] - 1"),
                    (Term(mean / width), Term(-2 * kappa * root)),
                    r"\approx",
                ),
                Line(Glyph(r"\mathrm{Var}[\delta'/\delta]", "Var[δ'/δ]"), (Term(variance / width),), r"\approx"),
            ),
            (
                "The second input differs from the first by an independent Gaussian; squares of Gaussians over the random set of active "
                "neurons are averaged, and the ratio is expanded around the means.",
            ),
        ),
        Step(
            "Limit for this activation",
            (
                "For ",
                Glyph(r"q = \ell^2(1 - \rho_\ell)", "q = l²(1 - ρ_l)"),
                " with ",
                Glyph(r"t = \ell/n", "t = l/n"),
                ":",
            ),
            (
                differential(Glyph("q_t", "q_t"), limit.drift[0], sp.sqrt(limit.covariance[0, 0]), _DB),
                equation(Glyph("q_0", "q_0"), limit.start),
            ),
            ("Terms of order 1/n of one layer; at t = 0 the terms of order 1/t must balance, which gives the start.",),
        ),
        *_linear(form),
    ]


def _functional(form: LinearForm) -> Glyph:
    exponent = form.log_drift * display("s") + sp.sqrt(form.variance) * display("B_s")
    return Glyph(
        rf"{sp.latex(form.source)} \int_0^t \exp\left({sp.latex(exponent)}\right)\mathrm{{d}}s \quad\text{{in law}}",
        f"{plain(form.source)} ∫_0^t exp({plain(exponent)}) ds in law",
    )


def _linear(form: LinearForm) -> list[Step]:
    w = inverse_root
    return [
        Step(
            "Linear form",
            (
                "With ",
                w,
                " = ",
                Glyph(r"t/\sqrt{q} = 1/(n\sqrt{1-\rho})", "t/√q = 1/(n√(1-ρ))"),
                " the singularity disappears:",
            ),
            (
                differential(Glyph("w_t", "w_t"), form.source + form.growth * w, -sp.sqrt(form.variance) * w, _DB),
                equation(Glyph("w_0", "w_0"), sp.S.Zero),
                equation(Glyph("w_t", "w_t"), _functional(form)),
            ),
            (
                "Itô's formula makes the equation linear; variation of constants solves it, and time reversal of the Brownian "
                "motion gives the functional.",
            ),
        ),
        Step(
            "Moments",
            ("They follow from below, each from a linear equation:",),
            tuple(
                equation(
                    Glyph(rf"\mathbb{{E}}w_t^{k}" if k > 1 else r"\mathbb{E}w_t", f"E w_t^{k}" if k > 1 else "E w_t"),
                    form.moment(k),
                )
                for k in (1, 2)
            ),
            (
                "The generator applied to powers. A finite network starts at ",
                Glyph(r"w_0 = 1/(n\sqrt{1-\rho_0})", "w_0 = 1/(n√(1-ρ_0))"),
                ", a correction of order 1/n: the first moment becomes ",
                form.moment(1, display("w_0")),
                ".",
            ),
        ),
        Step(
            "Law of the functional",
            (
                "With ",
                Glyph(rf"w_t = {sp.latex(form.scale)}\,A_\tau", f"w_t = {form.scale} A_τ"),
                " and ",
                Glyph(rf"\tau = {sp.latex(form.clock * time)}", f"τ = {form.clock * time}"),
                ", the mixture ",
                Glyph(r"Y_\tau = \sqrt{A_\tau}\,N", "Y_τ = √A_τ N"),
                " is a diffusion:",
            ),
            (
                differential(
                    Glyph(r"Y_\tau", "Y_τ"),
                    form.mixture.drift[0].subs(mixed, display("Y")),
                    sp.sqrt(form.mixture.covariance[0, 0]).subs(mixed, display("Y")),
                    Glyph(r"\mathrm{d}B_\tau", "dB_τ"),
                ),
            ),
            (
                "Given the path the integral against an independent Brownian motion is Gaussian with variance A; reversed in "
                "time it solves this equation. "
                "Its density is a Laplace transform of the law of 1/A, which determines it.",
            ),
        ),
    ]
