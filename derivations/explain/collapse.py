r"""Explaining the limit of an unshaped perceptron: two inputs that collapse, and the functional that is left."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.exponential import LinearForm, collapse_linear, inverse_root, mixed
from derivations.diffusion import Diffusion
from derivations.equations import DB, scalar_line
from derivations.limits.collapse import CollapseDiffusion, root_gap
from derivations.notation.nodes import (
    DifferentialOf,
    Juxtaposed,
    Remainder,
    Variance,
    Word,
    equals,
    expected,
    indexed,
    letter,
)
from derivations.notation.steps import Line, Step, Term, differential, equation, result
from derivations.symbols import correlation, time, width

_W = indexed("w", (time,))
_START = indexed("w", (sp.S.Zero,))
_CLOCK = letter("tau")


def one_input_step(limit: Diffusion) -> Step:
    """The limit of one input's squared norm."""
    (v,), (a,) = limit.states, limit.covariance
    phi = sp.Function("varphi")(letter("g"))
    return result(
        "Limit for this activation",
        ("A unit of time is ", width, " layers. One layer multiplies the squared norm by the mean of ", width, " copies of ",
         letter("c") * phi**2, ":"),
        (scalar_line(v, sp.S.Zero, sp.sqrt(a)),),
        ("Positive homogeneity takes V out of the activation. Each factor has mean 1 by the choice of c.",),
    )  # fmt: skip


def collapse_steps(limit: CollapseDiffusion) -> list[Step]:
    """The map of the correlation, the fluctuation of a layer, the limit, and the functional that it is."""
    gap, after, kappa = letter("delta"), sp.Symbol("delta'", real=True), letter("kappa")
    root = sp.sqrt(gap)
    mean, variance = limit.mean_rate, limit.variance_rate
    ell, ratio, q = letter("ell"), after / gap, letter("q")
    return [
        Step(
            "Map of the correlation",
            ("With ", equals(gap, 1 - correlation), " one layer of infinite width gives"),
            (
                equation(after, limit.gap.subs(root_gap, root)),
                Line(after, (Term(gap), Term(-2 * kappa * root**3), Term(Remainder("O", gap**2)))),
                equation(kappa, limit.curvature),
            ),
            ("The Gaussian expectation of a product of the activation with itself, and Taylor's formula in ", root, "."),
        ),
        Step(
            "Fluctuation of a layer",
            (
                "The correlation is a function of averages over the neurons. As ",
                gap,
                " tends to 0, one layer multiplies ",
                gap,
                " by a factor. Its mean and variance are",
            ),
            (
                Line(expected(ratio) - 1, (Term(mean / width), Term(-2 * kappa * root)), "≈"),
                Line(Variance(ratio, sp.Tuple()), (Term(variance / width),), "≈"),
            ),
            (
                "Each average is its mean plus a fluctuation. The function is expanded around the means to second order, and the result in powers "
                "of the root of the gap.",
            ),
        ),
        result(
            "Limit for this activation",
            ("For ", equals(q, ell**2 * (1 - indexed(correlation, (ell,)))), " with ", equals(time, ell / width), ":"),
            (
                scalar_line(q, limit.drift[0], sp.sqrt(limit.covariance[0, 0])),
                equation(indexed(q, (sp.S.Zero,)), limit.start),
            ),
            ("Terms of order ", 1 / width, " of one layer. At ", equals(time, sp.S.Zero), " the terms of order ", 1 / time,
             " must balance, which gives the start."),
        ),
        *_functional_steps(collapse_linear(limit)),
    ]  # fmt: skip


def _functional_steps(form: LinearForm) -> list[Step]:
    s, rho = letter("s"), correlation
    exponent = form.log_drift * s + sp.sqrt(form.variance) * indexed("B", (s,))
    integral = sp.Integral(sp.exp(exponent), (s, 0, time))
    first = equals(time / sp.sqrt(letter("q")), 1 / (width * sp.sqrt(1 - rho)))
    a, y = indexed("A", (_CLOCK,)), indexed("Y", (_CLOCK,))
    mixture_noise = sp.sqrt(form.mixture.covariance[0, 0])
    mixture = {mixed: indexed("Y", (_CLOCK,))}
    return [
        Step(
            "Linear form",
            ("With ", inverse_root, " = ", first, " the singularity disappears:"),
            (
                differential(_W, form.source + form.growth * _W, -sp.sqrt(form.variance) * _W, DB),
                equation(_START, sp.S.Zero),
                equation(_W, Juxtaposed(form.source, integral, Word("in law"))),
            ),
            (
                "Itô's formula makes the equation linear. Variation of constants solves it. Time reversal of the Brownian motion gives the "
                "functional.",
            ),
        ),
        Step(
            "Moments",
            ("Each follows from a linear equation, the first one first:",),
            tuple(equation(expected(_W**k), form.moment(k)) for k in (1, 2)),
            (
                "The generator applied to powers. A finite network starts at ",
                equals(_START, 1 / (width * sp.sqrt(1 - indexed(rho, (sp.S.Zero,))))),
                ", a correction of order ",
                1 / width,
                ". The first moment becomes ",
                form.moment(1, letter("w_0")),
                ".",
            ),
        ),
        Step(
            "Law of the functional",
            (
                "With ",
                equals(_W, Juxtaposed(form.scale, a)),
                " and ",
                equals(_CLOCK, form.clock * time),
                ", the mixture ",
                equals(y, Juxtaposed(sp.sqrt(a), letter("N"))),
                " is a diffusion:",
            ),
            (
                differential(
                    y,
                    form.mixture.drift[0].subs(mixture),
                    mixture_noise.subs(mixture),
                    DifferentialOf(indexed("B", (_CLOCK,))),
                    _CLOCK,
                ),
            ),
            (
                "Given the path, the integral against an independent Brownian motion is Gaussian with variance A. Reversed in time it solves "
                "this equation. Its density is a Laplace transform of the law of 1/A, which determines it.",
            ),
        ),
    ]
