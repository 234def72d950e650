"""Explaining a Jacobian: the differential of a layer, its equation, its inverse, its determinant, and the volumes of tangents."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from typing import Protocol

import sympy as sp
from sympy.core.traversal import preorder_traversal

from derivations.architectures.base import Recipe
from derivations.backward.equation import MatrixEquation
from derivations.backward.kernel_law import ACROSS, ALONG, SQUARE, KernelLaw
from derivations.backward.kernel_moments import START, KernelMoments
from derivations.backward.logarithm import LOG_VOLUME
from derivations.backward.tangents import TangentGram
from derivations.backward.unlike import UnlikeLogDeterminant
from derivations.backward.volume import Isotropic, LogDeterminant
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NoClosedForm, NotClosed
from derivations.explain.joint import joint_recursion_step
from derivations.explain.recursion import network_steps
from derivations.limits.elimination.moments import state_averages
from derivations.limits.joint_moments import JointMoments
from derivations.notation.nodes import (
    DifferentialOf,
    Juxtaposed,
    Rate,
    Total,
    equals,
    indexed,
    letter,
)
from derivations.notation.plain import Words
from derivations.notation.steps import Line, Step, Term, equation, result
from derivations.symbols import GRAM, time

#: Parts that formulas of an equation have together at most where it is printed.
_READABLE = 5000
_J, _M, _X, _LAMBDA = letter("J"), letter("M"), letter("X"), indexed(LOG_VOLUME, (time,))


class Derived(Protocol):
    """What is explained."""

    @property
    def network(self) -> Recipe:
        """Of which network."""

    @property
    def sde(self) -> MatrixEquation:
        """Of the Jacobian."""

    @property
    def inverse(self) -> MatrixEquation:
        """Of its inverse."""

    @property
    def log_det(self) -> LogDeterminant | UnlikeLogDeterminant:
        """Of its determinant."""

    @property
    def volumes(self) -> Isotropic:
        """Of tangents."""

    @property
    def weight_gradients(self) -> dict[str, sp.Expr | sp.ImmutableMatrix]:
        """Of each matrix."""

    @property
    def gram(self) -> TangentGram:
        """Of state and tangents."""

    @property
    def kernel(self) -> KernelMoments:
        """Moments of the tangent kernel."""

    @property
    def kernel_law(self) -> KernelLaw:
        """Its law, as a process."""


class DerivedWide(Protocol):
    """What is explained where the width grows."""

    @property
    def network(self) -> Recipe:
        """Of which network."""

    @property
    def order(self) -> str:
        """In which order."""

    @property
    def process(self) -> Diffusion | Flow:
        """Of squared norms."""

    @property
    def gram(self) -> TangentGram:
        """Of state and tangents."""

    @property
    def kernel(self) -> KernelMoments:
        """Moments of the tangent kernel."""

    @property
    def kernel_law(self) -> KernelLaw:
        """Its law, as a process."""


def steps(found: Derived) -> list[Step]:
    """The derivation of a Jacobian."""
    network = found.network
    return [
        *network_steps(network),
        _differential_step(),
        *_equation_steps(found.sde),
        _determinant_step(lambda: found.log_det),
        _inverse_step(found),
        *_weight_steps(found),
        *_gram_steps(lambda: found.gram),
        _volume_step(found),
        *_kernel_steps(lambda: found.kernel),
        *_kernel_law_steps(lambda: found.kernel_law),
    ]


def unlike_steps(found: Derived) -> list[Step]:
    """The derivation of a Jacobian where neurons are not alike: all entries, and the determinant."""
    return [
        *network_steps(found.network),
        _differential_step(),
        _written_out_step(),
        _determinant_step(lambda: found.log_det),
        _inverse_step(found),
        *_weight_steps(found),
    ]


def wide_steps(found: DerivedWide) -> list[Step]:
    """The derivation of tangents and gradients where the width grows."""
    if found.order == "width":
        return [*network_steps(found.network)[:1], _flow_step(found.process)]
    recursion = joint_recursion_step(JointMoments.of(found.network, found.network.coordinates), 1, None)
    return [
        recursion,
        *_gram_steps(lambda: found.gram),
        *_exponent_steps(lambda: found.gram),
        *_kernel_steps(lambda: found.kernel),
        *_kernel_law_steps(lambda: found.kernel_law),
    ]


def _differential_step() -> Step:
    return Step(
        "Differential of a layer",
        (
            "The derivative of a layer along a direction is a layer with the same matrices, applied to the derivatives of what they are applied to. "
            "So a column of the Jacobian is a second state beside ",
            _X,
            ", and one layer multiplies the Jacobian from the left:",
        ),
        (equation(DifferentialOf(_J), Juxtaposed(DifferentialOf(_M), _J)),),
        ("The chain rule. Weights are fresh in every layer, so given the state the factors are independent.",),
    )


def _equation_steps(sde: MatrixEquation) -> list[Step]:
    because = (
        "The mean and the covariance of one layer's derivative given the state, per unit of time, by the elimination that gives those of the state. "
        "They are exact for every number of neurons."
    )
    if _is_long(sde):
        claim = (
            "Drift and covariance of columns k and l, in Itô's sense, are too long to be read here; they are in .sde.",
        )
        return [Step("Equation of the Jacobian", claim, (), (because,))]
    return [result("Equation of the Jacobian", ("In Itô's sense, for columns k and l,",), sde.lines, (because,))]


def _written_out_step() -> Step:
    return Step(
        "Equation of the Jacobian",
        ("Drift and covariance of all neurons and all entries, in Itô's sense, are in .limit().",),
        (),
        ("Neurons are not alike, so that no equation of one entry stands for all.",),
    )


def _is_long(sde: MatrixEquation) -> bool:
    """Whether its formulas together have more parts than can be read."""
    parts = (preorder_traversal(entry) for entry in (*sde.drift, *sde.covariance, *sde.between))
    return next(islice(chain.from_iterable(parts), _READABLE, None), None) is not None


def _determinant_step(log_det: Callable[[], LogDeterminant | UnlikeLogDeterminant]) -> Step:
    try:
        found = log_det()
    except NotClosed as error:
        return Step("Determinant", ("The determinant has no logarithm.",), (), (f"{_sentence(error)}.",))
    claim: Words = (
        "For ",
        equals(LOG_VOLUME, sp.log(sp.Abs(sp.Function("det")(_J)), evaluate=False)),
        " Itô's formula gives",
    )
    counted = (
        " Nothing depends on the state, so it is Gaussian."
        if found.is_gaussian
        else " It is no diffusion by itself where its rates move with the state."
    )
    return result(
        "Determinant",
        claim,
        found.lines,
        ("The differential is tr dM − ½ tr (dM)². Traces are sums of the covariance over the neurons." + counted,),
    )


def _inverse_step(found: Derived) -> Step:
    try:
        sde = found.inverse
    except NotClosed as error:
        return Step(
            "Inverse",
            ("The inverse has no equation written out here.",),
            (),
            (f"{_sentence(error)}.",),
        )
    k = letter("K")
    because = (
        "Itô's formula: dK = −K dM + K (dM)². The gradient in a layer is the transpose of K times the gradient in the first layer, so it moves "
        "with the layer as a row of K does. This is exact; nothing is assumed of forward and backward weights."
    )
    if _is_long(sde):
        claim = (
            "The Jacobian stays invertible. Drift and covariance of the inverse are too long to be read here; they are in .inverse.",
        )
        return Step("Inverse and gradients", claim, (), (because,))
    return result(
        "Inverse and gradients",
        (
            "The Jacobian stays invertible. For ",
            equals(k, indexed("J", (), (sp.Integer(-1),))),
            " and rows k and l of it,",
        ),
        sde.lines,
        (because,),
    )


def _volume_step(found: Derived) -> Step:
    try:
        volumes = found.volumes
    except NotClosed as error:
        return Step(
            "Volumes of tangents",
            ("There is no Lyapunov spectrum in closed form.",),
            (),
            (f"{_sentence(error)}.",),
        )
    return result(
        "Lyapunov spectrum and norms of gradients",
        (
            "The noise of the Jacobian is the same from every direction, whatever the state. So with exponents from the largest,",
        ),
        volumes.lines,
        (
            "Itô's formula on ½ log det of the Gram matrix of k tangents; an exponent is the growth of volumes of k tangents minus that of k − 1. "
            "Increments are independent and alike, so the transpose, a product of them in the other order, has the same law.",
        ),
    )


def _weight_steps(found: Derived) -> list[Step]:
    try:
        gradients = found.weight_gradients
    except DerivationError as error:
        return [Step("Gradients of the weights", ("They are not derived.",), (), (f"{_sentence(error)}.",))]
    size = found.network.width

    def above(a: int) -> tuple[sp.Integer, ...]:
        return (sp.Integer(a + 1),) if places > 1 else ()

    def shown(q: sp.Expr) -> sp.Expr:
        letters = {a: sp.Symbol(f"x^{a + 1}" if places > 1 else "x", real=True) for a in range(places)}
        here, all_over = ({x: indexed("X", (i,), above(a)) for a, x in letters.items()} for i in ("i", "r"))
        sums = {node: Total(node.body.xreplace(all_over), letter("r"), size, ()) / size for node in state_averages(q)}
        return q.xreplace({**here, **sums})

    lines = []
    for name, own in gradients.items():
        q = own if isinstance(own, sp.MatrixBase) else sp.ImmutableMatrix([[own]])
        places = q.rows
        g = [indexed("G", ("i",), above(a)) for a in range(places)]
        terms = [
            Term(
                Total(
                    Juxtaposed(shown(q[a, b] * (1 if a == b else 2)), g[a] ** 2 if a == b else g[a] * g[b]),
                    letter("i"),
                    size,
                    (),
                )
            )
            for a in range(places)
            for b in range(a, places)
            if q[a, b] != 0
        ]
        lines.append(Line(Rate(indexed("Q", (name,)), time), tuple(terms)))
    return [
        result(
            "Gradients of weights",
            (
                "With ",
                letter("G"),
                " the gradient in a layer, the squared norm of the gradient in the layer's own weights, in units of their standard deviations and added "
                "up over layers, grows by",
            ),
            tuple(lines),
            (
                "A tangent along weights that move at random, by the same elimination, in the mean over the layer's own weights. G depends on the weights "
                "of later layers, and on those of its own layer by terms that vanish with the small parameter.",
            ),
        )
    ]


def _gram_steps(gram: Callable[[], TangentGram]) -> list[Step]:
    try:
        found = gram()
        shown = found.lines
    except NotClosed as error:
        return [
            Step(
                "State and tangent",
                ("The norms of a state and its tangent are no process by themselves.",),
                (),
                (f"{_sentence(error)}.",),
            )
        ]
    what = "the centred state as input 1 and a centred" if found.centred else "the state as input 1 and a"
    claim: Words = (f"With {what} tangent as input 2 of the Gram matrix ", letter(GRAM), ",")
    because = (
        "The state is read through random matrices and averages only. Given what it reads, a matrix puts out Gaussian pairs of a number and its "
        "derivative, and Stein's identity gives their mixed terms."
    )
    whose = "centred tangent" if found.centred else "tangent"
    alone = "" if found.law is None else f" The squared norm of a {whose} is a {found.law.name} by itself."
    return [result("State and tangent", claim, shown, (because + alone,))]


def _flow_step(flow: Diffusion | Flow) -> Step:
    return result(
        "Mean squares at infinite width",
        (
            "With ",
            letter("K"),
            " the mean square of a neuron and ",
            letter("Q"),
            " that of a gradient's entry, counted from the end, of which over positions all together have the trace,",
        ),
        tuple(equation(Rate(s, time), b) for s, b in zip(flow.states, flow.drift, strict=True)),
        (
            "A hypothesis is used here: forward and backward weights are taken as independent. It holds as the width grows for fixed depth in time; at a "
            "finite width the Jacobian's own equation needs no such hypothesis.",
        ),
    )


def _exponent_steps(gram: Callable[[], TangentGram]) -> list[Step]:
    k = sp.Symbol("k", integer=True, positive=True)
    try:
        exponent = gram().exponent(k)
    except NotClosed as error:
        return [
            Step(
                "Volumes of tangents", ("There is no Lyapunov spectrum in closed form.",), (), (f"{_sentence(error)}.",)
            )
        ]
    return [
        result(
            "Lyapunov spectrum",
            ("Per unit of time, with exponents from the largest,",),
            (equation(indexed("mu", (k,)), exponent),),
            ("Itô's formula on ½ log det of the Gram matrix of k tangents.",),
        )
    ]


def _kernel_steps(kernel: Callable[[], KernelMoments]) -> list[Step]:
    try:
        found = kernel()
        shown = found.lines
    except (NotClosed, NoClosedForm):
        return []
    theta = letter("Theta")
    return [
        result(
            "Tangent kernel",
            (
                "For the kernel ",
                theta,
                " of one output over the parameters of the layers, from the squared norm ",
                START,
                " of the input over the width,",
            ),
            shown,
            (
                "The tangent along all parameters is a sum of independent ones, one from each layer, whose squares start at ",
                letter("tau"),
                ". Their moments obey linear equations, from the equation of state and tangents.",
            ),
        )
    ]


def _kernel_law_steps(law: Callable[[], KernelLaw]) -> list[Step]:
    try:
        lines = law().lines
    except DerivationError:
        return []
    return [
        result(
            "Law of the tangent kernel",
            (
                "For one output ",
                Juxtaposed(letter("g"), letter("x")),
                " with a random readout g of unit norm in the mean, let ",
                SQUARE,
                " be the mean square of a neuron, G the gradient in a layer, ",
                ALONG,
                " its product with the state, and ",
                ACROSS,
                " the square of the rest of it. V moves forward; c and P move back from the output, marked with b, by the same weights:",
            ),
            lines,
            (
                "The product of the gradient and a tangent is the same in every layer. Given c and P its moments are polynomials in the Gram matrix of "
                "state and tangent, so the generator of that matrix is the generator of c and P on them. Forward and backward weights are the same "
                "here. No closed law of the kernel is known; it is sampled along these two processes.",
            ),
        )
    ]


def _sentence(error: Exception) -> str:
    return f"{str(error)[0].upper()}{str(error)[1:]}"
