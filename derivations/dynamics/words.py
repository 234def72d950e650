"""Training at infinite width as named steps: the layer and its adjoint, what a step adds, the processes, kernels, how they close, and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.dynamics.adjoint import Adjoint, Linear, ratio
from derivations.explain.recursion import network_steps
from derivations.language.statements import Matrix, Mean
from derivations.notation.nodes import (
    Angled,
    DifferentialOf,
    Distribution,
    Juxtaposed,
    Notation,
    Partial,
    Total,
    Transposed,
    Variation,
    Word,
    equals,
    expected,
    indexed,
    letter,
)
from derivations.notation.steps import Line, Step, Term, result
from derivations.symbols import depth, state, step
from derivations.symbols import width as n

_MU, _NU, _K, _R, _ELL, _S = (letter(name) for name in ("mu", "nu", "k", "r", "ell", "s"))
_ETA, _RICHNESS, _F, _Y, _M, _TAU = (
    letter("eta"),
    letter("gamma_0"),
    letter("f"),
    letter("y"),
    letter("m"),
    letter("tau"),
)
#: The layer after which a state or gradient is meant.
_LAST, _FIRST = depth, sp.S.Zero


class Derived(Protocol):
    """What is explained."""

    @property
    def network(self) -> Recipe:
        """Of which network."""

    @property
    def adjoint(self) -> Adjoint:
        """The layer and its adjoint."""

    @property
    def rates(self) -> Mapping[Matrix, sp.Expr]:
        """The power of the depth in each learning rate."""

    @property
    def is_linear(self) -> bool:
        """Whether the kernels close by themselves."""


def steps(found: Derived) -> tuple[Step, ...]:
    """All steps."""
    names = _names(found.adjoint)
    uses = found.adjoint.matrices
    return (
        *network_steps(found.network)[:1],
        _ends_step(found),
        _backward_step(found, names),
        _descent_step(found, uses, names),
        _process_step(found, uses, names),
        _kernel_step(found, uses),
        _closure_step(found),
        _lazy_step(found, uses),
        _limits_step(found, uses),
    )


# ---- names ----


def _at(stem: str, s: sp.Expr = _K, mu: sp.Expr = _MU, *layer: sp.Expr) -> Notation:
    return indexed(stem, (*layer, mu), (s,))


def _names(adjoint: Adjoint) -> dict[sp.Basic, sp.Basic]:
    """A neuron's numbers for one input at one step, in place of the layer's symbols."""
    found: dict[sp.Basic, sp.Basic] = {state: _at("x"), adjoint.new: _at("p"), step: 1 / sp.sqrt(depth)}
    for s in adjoint.statements:
        name = s.symbol.name
        found[s.symbol] = _at("s" if isinstance(s, Mean) else f"u_{name}")
        found[adjoint.passed[s]] = _at("c" if isinstance(s, Mean) else f"w_{name}")
    return found


def _stem(kind: str, s: Linear) -> str:
    return f"{kind}_{s.symbol.name}"


def _bias(s: Matrix, at: sp.Expr = _K) -> tuple[Term, ...]:
    """The bias of a neuron, where there is one."""
    return (Term(indexed(_stem("h", s), (), (at,))),) if s.weights.bias_variance != 0 else ()


def _biased(uses: Sequence[Matrix]) -> list[Matrix]:
    return [s for s in uses if s.weights.bias_variance != 0]


# ---- steps ----


def _ends_step(found: Derived) -> Step:
    lines = (
        Line(_at("x", sp.S.One, _MU, _FIRST), (Term(letter("U") * indexed("a", (_MU,)) / sp.sqrt(letter("D"))),)),
        Line(
            indexed(_F, (_MU,), (_K,)),
            (Term(Juxtaposed(indexed("v", (), (_K,)), _at("x", _K, _MU, _LAST)) / (_RICHNESS * n)),),
        ),
        Line(indexed("Delta", (_MU,), (_K,)), (Term((indexed(_Y, (_MU,)) - indexed(_F, (_MU,), (_K,))) / _M),)),
        *(
            Line(Word(f"learning rate of {s.weights.name}"), (Term(_ETA * _RICHNESS**2 * n * depth**power),))
            for s, power in found.rates.items()
        ),
        *(
            Line(
                Word(f"learning rate of the biases of {s.weights.name}"),
                (Term(_ETA * _RICHNESS**2 * n * depth**power),),
            )
            for s, power in found.rates.items()
            if _bias(s)
        ),
        Line(Word("learning rate of U and v"), (Term(_ETA * _RICHNESS**2 * n),)),
    )
    return Step(
        "Training",
        (
            "Inputs ", indexed("a", (_MU,)), " of D numbers; entries of U and v have variance 1. At each step ", _K, " = 1, 2, …",
            " all matrices move against the gradient of the squared loss over ", _M,
            " inputs, in units of their standard deviations:",
        ),
        lines,
        (
            "These are the learning rates with which the first step moves features by order 1 at every width and depth, by the orders of "
            "the layer and its adjoint. The number ", _RICHNESS, " says how much features move.",
        ),
    )  # fmt: skip


def _backward_step(found: Derived, names: Mapping[sp.Basic, sp.Basic]) -> Step:
    adjoint, lines = found.adjoint, []
    for s in reversed(adjoint.statements):
        if isinstance(s, Mean):
            parts = [ratio(p.over, s.over) * Angled(p.formula.xreplace(names)) for p in adjoint.parts(s.symbol)]
            lines.append(Line(names[adjoint.passed[s]], (Term(sp.Add(*parts)),)))
        else:
            lines.append(Line(_at(_stem("d", s)), (Term(adjoint.formula(s.symbol).xreplace(names)),)))
            back = Transposed(letter(s.weights.name))
            lines.append(Line(names[adjoint.passed[s]], (Term(Juxtaposed(back, _at(_stem("d", s)))),)))
    lines.append(Line(_at("g"), (Term(adjoint.formula(state).xreplace(names)),)))
    return Step(
        "Adjoint",
        (
            "The gradient goes back through each layer. With ", _at("g"), " the derivative of ", _F, " in a neuron's state, times ",
            _RICHNESS * n, ", and ", _at("p"), " that in the new state:",
        ),
        tuple(lines),
        ("The chain rule: slopes of the layer's formulas, and transposes of its matrices. After the last layer ", _at("g"), " = v.",),
    )  # fmt: skip


def _descent_step(found: Derived, uses: Sequence[Matrix], names: Mapping[sp.Basic, sp.Basic]) -> Step:
    lines = [Line(_at(_stem("b", s)), (Term(s.body.xreplace(names)),)) for s in uses]
    for s in uses:
        moved = Juxtaposed(letter("Delta"), indexed(s.weights.name, ("i", "j")))
        gradient, read = (indexed(_stem(kind, s), (_NU, i), (_K,)) for kind, i in (("d", "i"), ("b", "j")))
        pace = _ETA * _RICHNESS * s.weights.variance * depth ** found.rates[s] / s.source.said
        lines.append(Line(moved, (Term(pace * _sum(indexed("Delta", (_NU,), (_K,)) * gradient * read)),)))
    return Step(
        "One step",
        (
            "A step adds outer products of the gradient in what a matrix makes and of what it is applied to, ",
            _at("b"),
            ":",
        ),
        tuple(lines),
        (
            "The derivative of ",
            _F,
            " in an entry is the product of both.",
        ),
    )


def _sum(body: sp.Expr) -> sp.Expr:
    return Total(body, _NU, _M, sp.Tuple())


def _variances(s: Matrix) -> tuple[sp.Expr, sp.Expr]:
    """Of what a matrix makes of a vector whose mean square is 1, and of what its transpose does."""
    return s.weights.variance, s.weights.variance * ratio(s.target, s.source)


def _process_step(found: Derived, uses: Sequence[Matrix], names: Mapping[sp.Basic, sp.Basic]) -> Step:
    lines: list[Line] = []
    for s in uses:
        forward, backward = _variances(s)
        pace, error = _ETA * _RICHNESS * depth ** found.rates[s], indexed("Delta", (_NU,), (_R,))
        for value, noise, scale, kernel, response, seen, last in (
            (names[s.symbol], "chi", forward, "Phi", "R", "d", _K - 1),
            (names[found.adjoint.passed[s]], "xi", backward, "G", "Q", "b", _K),
        ):
            met = _at(_stem(seen, s), _R, _NU)
            learned = Total(_sum(error * _between(kernel, s) * met), _R, _K - 1, sp.Tuple())
            answered = Total(_sum(_between(response, s) * met), _R, last, sp.Tuple())
            own = _bias(s) if noise == "chi" else ()
            lines.append(Line(value, (*own, Term(_at(_stem(noise, s))), Term(pace * scale * learned), Term(answered))))
    return Step(
        "One neuron at infinite width",
        (
            "The matrices of the start have met earlier vectors on both sides. What they make of a further one is a fresh Gaussian vector and "
            "a part along vectors that they met on the other side; so each neuron is an independent copy of",
        ),
        tuple(lines),
        (
            "Given ", letter("W"), "e and ", Transposed(letter("W")), "f for some e and f, ", letter("W"),
            " is Gaussian with these values held. Its part along f is what ", Transposed(letter("W")),
            "f says of the vector, and by Gaussian integration by parts that is the response below. Sums over ", _R,
            " are over earlier steps; with Q over the same step too, since the way forward comes before the way back.",
        ),
    )  # fmt: skip


def _between(stem: str, s: Linear) -> Notation:
    return indexed(_stem(stem, s), (_MU, _NU), (_K, _R))


def _kernel_step(found: Derived, uses: Sequence[Matrix]) -> Step:
    lines: list[Line] = []
    for s in uses:
        forward, backward = _variances(s)
        b, d = _stem("b", s), _stem("d", s)
        lines += [
            Line(_between("Phi", s), (Term(expected(_at(b) * _at(b, _R, _NU))),)),
            Line(_between("G", s), (Term(expected(_at(d) * _at(d, _R, _NU))),)),
            Line(
                letter(_stem("chi", s)), (Term(Distribution("N", sp.S.Zero, forward * letter(_stem("Phi", s)))),), "~"
            ),
            Line(letter(_stem("xi", s)), (Term(Distribution("N", sp.S.Zero, backward * letter(_stem("G", s)))),), "~"),
            Line(_between("R", s), (Term(forward * expected(Partial(_at(_stem("xi", s), _R, _NU)) * _at(b))),)),
            Line(_between("Q", s), (Term(backward * expected(Partial(_at(_stem("chi", s), _R, _NU)) * _at(d))),)),
        ]
    for s in _biased(uses):
        start = Distribution("N", sp.S.Zero, s.weights.bias_variance)
        pace = _ETA * _RICHNESS * s.weights.bias_variance * depth ** found.rates[s]
        moved = _sum(indexed("Delta", (_NU,), (_K,)) * _at(_stem("d", s), _K, _NU))
        lines.append(Line(indexed(_stem("h", s), (), (sp.S.One,)), (Term(start),), "~"))
        lines.append(Line(indexed(_stem("h", s), (), (_K + 1,)), (*_bias(s), Term(pace * moved))))
    product = expected(indexed("v", (), (_K,)) * _at("x", _K, _MU, _LAST))
    moved_v = _ETA * _RICHNESS * _sum(indexed("Delta", (_NU,), (_K,)) * _at("x", _K, _NU, _LAST))
    moved_x = (
        _ETA * _RICHNESS * _sum(indexed("K", (_MU, _NU)) * indexed("Delta", (_NU,), (_K,)) * _at("g", _K, _NU, _FIRST))
    )
    lines += [
        Line(indexed(_F, (_MU,), (_K,)), (Term(product / _RICHNESS),)),
        Line(indexed("v", (), (_K + 1,)), (Term(indexed("v", (), (_K,))), Term(moved_v))),
        Line(_at("x", _K + 1, _MU, _FIRST), (Term(_at("x", _K, _MU, _FIRST)), Term(moved_x))),
    ]
    return result(
        "Kernels and responses",
        (
            "In each layer the two-time kernels are means over one neuron, and so are the responses to the noise of the other side; K is the Gram "
            "matrix of the inputs over their dimension:",
        ),
        tuple(lines),
        (
            "The law of large numbers over neurons. All that stands on a right side is of earlier steps, or earlier in the same one.",
        ),
    )


def _closure_step(found: Derived) -> Step:
    z, matrix, noise, powers = letter("z"), letter("T"), letter("zeta"), letter("P")
    if not found.is_linear:
        return Step(
            "Closure",
            (
                "The layer is not linear: the means are over a process that is not Gaussian, and are taken over sampled neurons.",
            ),
            (),
            ("The processes need earlier kernels only, so one pass through the steps gives all, without iteration.",),
        )
    return result(
        "Closure",
        (
            "The layer is linear: all fields of all layers, inputs and steps together, ", z, ", solve a linear equation with the "
            "Gaussian noises, starts and readout ", noise, " of covariance ", letter("Sigma"),
            ". So kernels are blocks of the covariance of ", z, ", responses are blocks of ", powers, ", and nothing else is needed:",
        ),
        (
            Line(z, (Term(Juxtaposed(matrix, z)), Term(noise))),
            Line(powers, (Term(sp.S.One), Term(matrix), Term(matrix**2), Term(Word("…")))),
            Line(expected(Juxtaposed(z, Transposed(z))), (Term(Juxtaposed(powers, letter("Sigma"), Transposed(powers))),)),
        ),
        (
            "T holds the slopes of the layer, the responses, kernels and errors. It has no entry from a later number to an earlier one in the order of "
            "steps, forward before back, so its powers end and their sum is finite.",
        ),
    )  # fmt: skip


def _lazy_step(found: Derived, uses: Sequence[Matrix]) -> Step:
    kernel, pair = letter("Theta"), (_MU, _NU)
    terms = [
        Term(indexed("K", pair) * expected(_at("g", sp.S.One, _MU, _FIRST) * _at("g", sp.S.One, _NU, _FIRST))),
        Term(expected(_at("x", sp.S.One, _MU, _LAST) * _at("x", sp.S.One, _NU, _LAST))),
    ]
    for s in uses:
        share = ratio(s.target, found.adjoint.program.neurons)
        both = indexed(_stem("Phi", s), (_ELL, *pair), (sp.S.One, sp.S.One)) * indexed(
            _stem("G", s), (_ELL, *pair), (sp.S.One, sp.S.One)
        )
        power = depth ** found.rates[s]
        terms.append(Term(s.weights.variance * share * power * Total(both, _ELL, depth, sp.Tuple())))
        if _bias(s):
            alone = indexed(_stem("G", s), (_ELL, *pair), (sp.S.One, sp.S.One))
            terms.append(Term(s.weights.bias_variance * share * power * Total(alone, _ELL, depth, sp.Tuple())))
    moved = _ETA * _sum(indexed(kernel, pair) * indexed("Delta", (_NU,), (_K,)))
    return Step(
        "Lazy limit",
        (
            "For ",
            equals(_RICHNESS, sp.S.Zero),
            " fields stand still, and the outputs move by the tangent kernel of the start:",
        ),
        (
            Line(indexed(_F, (_MU,), (_K + 1,)), (Term(indexed(_F, (_MU,), (_K,))), Term(moved))),
            Line(indexed(kernel, pair), tuple(terms)),
        ),
        ("Each step adds ", _RICHNESS, " times its size to the fields, and the output is over ", _RICHNESS, "."),
    )


def _limits_step(found: Derived, uses: Sequence[Matrix]) -> Step:
    lines = _in_layer_time(found, uses)
    deep: tuple[object, ...] = (
        "As ", depth, " grows, each layer adds independent noise and a drift, both of the order of a layer's share of the depth. Of layers that "
        "are not linear, of several matrices, and with biases, no equation in the depth is written: the noise of the way back meets slopes that know it "
        "from earlier steps, so that its integral is not Itô's.",
    )  # fmt: skip
    if lines:
        deep = (
            "As ", depth, " grows at ", equals(_S, _ELL / depth), ", state and gradient move by equations in s, x from s = 0 on and g from "
            "s = 1 back; χ and ξ are Brownian motions in s, R and Q responses to a push at the same s:",
        )  # fmt: skip
    said = (
        "As ",
        _ETA,
        " goes to 0 at a fixed time ",
        equals(_TAU, _ETA * _K),
        ", sums over steps become integrals over the time. ",
        *deep,
    )
    return Step(
        "Gradient flow and infinite depth",
        said,
        lines,
        ("Both are approached in proportion to the step and to one over the number of layers, which doubling shows.",),
    )


def _in_layer_time(found: Derived, uses: Sequence[Matrix]) -> tuple[Line, ...]:
    r"""The equations in the layer's time s of a layer :math:`x + c\varepsilon\,W(bx)`, where it is of this form.

    A layer takes 1/L of s. What it adds is :math:`c\varepsilon u`, where :math:`d = c\varepsilon p`: the noise alone is of order
    :math:`L^{-1/2}`, the learned part and the responses are of order 1/L, by :math:`d` once more.
    """
    if not found.is_linear or len(uses) != 1 or _biased(uses):
        return ()
    (s,) = uses
    size = sp.diff(found.adjoint.program.update, s.symbol)
    power = found.rates[s] + 1  # of the small parameter, with which the learned part is of order 1/L
    c, slope = size / step**power, sp.diff(s.body, state)
    if sp.expand(found.adjoint.program.update - state - size * s.symbol) != 0 or c.has(step):
        return ()
    variance, _ = _variances(s)
    error = indexed("Delta", (_NU,), (_R,))

    def moved(kernel: str, response: str, met: str, last: sp.Expr) -> tuple[Notation, Notation]:
        seen = _at(met, _R, _NU)
        return (
            Total(_sum(error * indexed(kernel, (_MU, _NU), (_K, _R)) * seen), _R, _K - 1, sp.Tuple()),
            Total(_sum(indexed(response, (_MU, _NU), (_K, _R)) * seen), _R, last, sp.Tuple()),
        )

    def answer(pushed: str, seen: str) -> Notation:
        return expected(Partial(_at(pushed, _R, _NU)) * _at(seen))

    learned, answered = moved("Phi", "R", "g", _K - 1)
    back, known = moved("G", "Q", "x", _K)
    pace, ds = _ETA * _RICHNESS * variance, DifferentialOf(_S)
    kernels = (
        Line(indexed("Phi", (_MU, _NU), (_K, _R)), (Term(slope**2 * expected(_at("x") * _at("x", _R, _NU))),)),
        Line(indexed("G", (_MU, _NU), (_K, _R)), (Term(expected(_at("g") * _at("g", _R, _NU))),)),
    )
    if power > 1:  # the noise of all layers together vanishes, and with it the responses
        moves = (_moving("x"), c**2 * pace * learned), (-_moving("g"), c**2 * slope**2 * pace * back)
        return *(Line(move, (Term(rate, ds),)) for move, rate in moves), *kernels
    forward = (Term(c * DifferentialOf(_at("chi"))), Term(c**2 * (pace * learned + answered), ds))
    backward = (Term(c * slope * DifferentialOf(_at("xi"))), Term(c**2 * slope**2 * (pace * back + known), ds))
    return (
        Line(_moving("x"), forward),
        Line(-_moving("g"), backward),
        *kernels,
        Line(indexed("R", (_MU, _NU), (_K, _R)), (Term(variance * slope**2 * answer("g", "x")),)),
        Line(indexed("Q", (_MU, _NU), (_K, _R)), (Term(variance * answer("x", "g")),)),
        Line(
            Variation(_at("chi"), _at("chi", _R, _NU), _S), (Term(variance * indexed("Phi", (_MU, _NU), (_K, _R)), ds),)
        ),
        Line(Variation(_at("xi"), _at("xi", _R, _NU), _S), (Term(variance * indexed("G", (_MU, _NU), (_K, _R)), ds),)),
    )


def _moving(name: str) -> sp.Expr:
    """The differential of a field in s."""
    return DifferentialOf(_at(name))
