r"""The usual words, made of averages and i.i.d. factors."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import cast

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, require, shown
from derivations.language.broadcast import are_one
from derivations.language.nodes import Applied, Factor, average
from derivations.special import ExpertGate
from derivations.symbols import depth, state, step


def rms_norm(body: sp.Expr, eps: object = 0) -> sp.Expr:
    r"""Root-mean-square normalisation over the layer, :math:`b / \sqrt{\langle b^2 \rangle + e}`; gains are 1 at the start.

    Parameters
    ----------
    body : Expr
    eps : number or Expr
        The number e that is added under the root, 0 or above, as PyTorch's norms have it; it is no small parameter.

    Raises
    ------
    DerivationError
        For a number below 0.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> rms_norm(state), rms_norm(state, eps=0.5)
    (x/sqrt(average(x**2)), x/sqrt(average(x**2) + 1/2))
    """
    added = _added(eps)
    body = _of_order_one(exact_decimals(body)) if added == 0 else _expression(exact_decimals(body))
    return body / sp.sqrt(average(body**2) + added)


def layer_norm(body: sp.Expr, eps: object = 0) -> sp.Expr:
    r"""Layer normalisation: :func:`rms_norm` of the centred body; gains are 1 and shifts 0 at the start."""
    body = _expression(exact_decimals(body)) if _added(eps) != 0 else _of_order_one(exact_decimals(body))
    return rms_norm(body - average(body), eps)


def _added(eps: object) -> sp.Expr:
    """What is added under a norm's root."""
    added = exact_decimals(eps)
    if not isinstance(added, sp.Expr) or added.is_negative or added.is_real is False or added.has(step, depth, state):
        raise DerivationError(f"eps is the number that is added under a norm's root, 0 or above, got eps={shown(eps)}")
    return added


def _expression(body: object) -> sp.Expr:
    require("what is normalised", body, sp.Expr, "an expression in the state x")
    return cast(sp.Expr, body)


def _of_order_one(body: object) -> sp.Expr:
    """What is normalised, over the power of the depth by which its largest term grows: a norm does not see such a factor."""
    expr = _expression(body)
    powers = [term.as_powers_dict() for term in sp.Add.make_args(expr)]
    found = (sp.S(power[depth]) - sp.S(power[step]) / 2 for power in powers)
    grows = max((size for size in found if size.is_Rational), default=sp.S.Zero)
    return expr if grows <= 0 else sp.Add(*(term * depth**-grows for term in sp.Add.make_args(expr)))


def dropout(body: sp.Expr, keep: object, name: str | None = None, shared: bool = False) -> sp.Expr:
    r"""Each neuron kept with probability p and scaled by 1/p, else 0; at each position of an input on its own.

    A formula says what it says wherever it stands: the same body is dropped alike, and another body by factors of its own.

    Parameters
    ----------
    body : Expr
    keep : number or Expr
        p, in (0, 1].
    name : str, optional
        Different bodies with the same name are dropped together.
    shared : bool
        Whether all inputs, and all their positions, see the same mask.

    Raises
    ------
    DerivationError
        For a probability outside (0, 1].

    Examples
    --------
    >>> from derivations.symbols import state
    >>> dropout(state, 0.5) == dropout(state, 0.5), len(sp.Mul(dropout(state, 0.5), dropout(state**2, 0.5)).atoms(Factor))
    (True, 2)
    """
    return _dropped(body, keep, name, shared, branch=False)


def drop_branch(body: sp.Expr, keep: object, name: str | None = None, shared: bool = False) -> sp.Expr:
    r"""A whole branch kept at all positions of an input with probability p and scaled by 1/p (stochastic depth); names as of :func:`dropout`."""
    return _dropped(body, keep, name, shared, branch=True)


def mixture_of_experts(
    experts: Sequence[object], scores: Sequence[object], top: int | None = None, renormalised: bool = True
) -> sp.Expr:
    r"""A mixture of experts, :math:`\sum_e g_e b_e`: each input has shares :math:`g_e` of what the experts put out, by the scores of a router.

    Parameters
    ----------
    experts : sequence of Expr
        :math:`b_e`.
    scores : sequence of Expr
        One number for each input and expert: what a matrix with ``out=1`` puts out, or an average.
    top : int, optional
        How many experts are used, those with the largest scores; all if it is left out.
    renormalised : bool
        Whether shares are a softmax over the experts that are used, or over all experts, so that they add up to less than 1.

    Raises
    ------
    DerivationError
        For lists of different lengths, scores of several neurons, or a number of experts that there are not.

    Examples
    --------
    >>> from derivations import Weights, relu
    >>> from derivations.symbols import state
    >>> experts = [Weights(f"A{e}")(relu(Weights(f"B{e}")(state))) for e in range(3)]
    >>> scores = [Weights(f"R{e}", out=1)(state) for e in range(3)]
    >>> mixture_of_experts(experts, scores, top=1).func is sp.Add
    True
    """
    for what, given in (("experts", experts), ("scores", scores)):
        require(what, given, Sequence, "a list of expressions in the state x, one an expert")
    bodies, numbers = ([exact_decimals(e) for e in given] for given in (experts, scores))
    for what, found in (("an expert", bodies), ("a score", numbers)):
        for one in found:
            require(what, one, sp.Expr, "an expression in the state x")
    if len(bodies) != len(numbers) or len(bodies) < 2:
        raise DerivationError(
            f"each expert has a score, and there are two or more, got {len(bodies)} experts and {len(numbers)} scores"
        )
    if top is not None and (isinstance(top, bool) or top not in range(1, len(bodies) + 1)):
        raise DerivationError(f"top is how many of {len(bodies)} experts are used, got top={shown(top)}")
    if not isinstance(renormalised, bool):
        raise DerivationError(f"renormalised says whether shares add up to 1, True or False, got {shown(renormalised)}")
    numbers = [_score(one) for one in numbers]
    how = top or len(bodies), int(renormalised)
    if how[0] < len(bodies) and len({*numbers}) < len(numbers):
        raise DerivationError(
            "two experts have the same score, so that which are used is not known; give each a matrix of its own"
        )
    gates = (ExpertGate(*how, own, *numbers[:e], *numbers[e + 1 :]) for e, own in enumerate(numbers))
    return sp.Add(*(gate * body for gate, body in zip(gates, bodies, strict=True)))


def _score(body: sp.Expr) -> sp.Expr:
    """One number for each input: a matrix with one neuron puts it out."""
    if not isinstance(body, Applied):
        return body
    if body.weights.out != 1:
        raise DerivationError(
            f"a score is one number for each input, and {body.weights.name} puts out several neurons; say {body.weights.name} with out=1"
        )
    return average(body)


def _dropped(body: object, keep: object, name: str | None, shared: bool, branch: bool) -> sp.Expr:
    expr = _factored(body)
    return expr * _factor(expr, keep, name, shared, branch)


def _factored(body: object) -> sp.Expr:
    expr = exact_decimals(body)
    require("what is dropped", expr, sp.Expr, "an expression in the state x")
    return cast(sp.Expr, expr)


def _factor(body: sp.Expr, keep: object, name: str | None, shared: bool, branch: bool) -> sp.Expr:
    if name is not None and not (isinstance(name, str) and name):
        raise DerivationError(f"the name of a factor must be a text that is not empty, got {name!r}")
    if not isinstance(shared, bool):
        raise DerivationError(f"shared says whether all inputs see the same factor, True or False, got {shared!r}")
    p = exact_decimals(keep)
    if (
        not isinstance(p, sp.Expr)
        or p.is_real is False
        or p.is_finite is False
        or p.is_nonpositive
        or (1 - p).is_negative
    ):
        raise DerivationError(f"a probability of being kept must be above 0 and at most 1, got keep={p}")
    if p.has(step, depth):
        raise DerivationError(
            f"a probability of being kept must not depend on the depth, got keep={p}: what is dropped ever more rarely makes jumps in the limit, "
            "and diffusions have none"
        )
    symbol = _named_after(body, p, shared, branch) if name is None else sp.Symbol(name)
    one = branch or are_one(body)  # one neuron is the same for all that it meets
    return Factor(symbol, p, sp.sympify(shared), sp.sympify(one), sp.sympify(branch)) / p


def _named_after(*law: object) -> sp.Symbol:
    """The name of the factors of a body with a law, the same in each process."""
    digest = sha256("; ".join(map(sp.srepr, law)).encode()).digest()
    return sp.Dummy("d", dummy_index=int.from_bytes(digest[:8], "big"))
