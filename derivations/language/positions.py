r"""Words for states over positions: what another position has, sums over positions, attention made of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, require, shown, unknown
from derivations.language.elsewhere import KINDS_ELSEWHERE
from derivations.language.nodes import (
    Applied,
    Node,
    Other,
    OverPositions,
    PositionMatrix,
    Rotary,
    Softmax,
    average,
    body_of,
    normalised_sum,
)
from derivations.language.weights import Weights
from derivations.piecewise.cases import outermost
from derivations.symbols import state, width

#: This place and the other one, in a function of two places.
PLACES = sp.symbols("alpha beta", integer=True, nonnegative=True, cls=sp.Dummy)

_LARGEST_HEAD = 4096  # each pair of neurons has a frequency
_MOST_HEADS = 1000  # each has matrices of its own


def other(body: object) -> Other:
    r"""A body at another position :math:`\beta` of the same input, over which :func:`over_positions` sums.

    Examples
    --------
    >>> from derivations.symbols import state
    >>> over_positions(other(state) - state)
    over_positions(-x + other(x))
    """
    return Other(body_of(body, "another position has"))


def over_positions(body: object) -> OverPositions:
    """The sum over all positions of the input of a body that holds :func:`other`."""
    return OverPositions(body_of(body, "a sum over positions is taken of"))


def position_matrix(entries: object) -> PositionMatrix:
    r"""Numbers :math:`c_{\alpha\beta}` for pairs of positions: this one and the other one.

    Parameters
    ----------
    entries : matrix, nested sequence or callable
        A p × p matrix, or a function of two symbols, the places :math:`\alpha` and :math:`\beta` from 0 on, that returns an expression.

    Raises
    ------
    DerivationError
        For a matrix that is not square.

    Examples
    --------
    >>> shift = position_matrix([[0, 1], [1, 0]])
    >>> shift.entry(0, 1)
    1
    """
    if isinstance(entries, Callable):  # type: ignore[arg-type]
        function: Callable[..., object] = entries  # type: ignore[assignment]
        try:
            entry = function(*PLACES)
        except TypeError as error:
            raise DerivationError(
                f"a matrix over positions is a function of two places, which are symbols, and it failed: {error}; say a condition with Piecewise, or "
                "give the matrix itself"
            ) from error
        body = body_of(entry, "an entry of a matrix over positions is")
        if body.has(Node, state):
            raise DerivationError(
                f"a matrix over positions holds numbers or a function of two places, got {shown(entry)}; one that is drawn, or that depends on the "
                "state, is not in the language"
            )
        return PositionMatrix(sp.Lambda(PLACES, body))
    try:
        matrix = sp.ImmutableMatrix(entries).applyfunc(exact_decimals)
    except (TypeError, ValueError) as error:
        raise DerivationError(
            f"a matrix over positions is a square matrix or a function of two places, got {entries!r}"
        ) from error
    if matrix.rows != matrix.cols:
        raise DerivationError(
            f"a matrix over positions must be square, got {matrix.rows} rows and {matrix.cols} columns"
        )
    return PositionMatrix(matrix)


#: 1 where the other position is this one or comes before it, else 0.
causal = position_matrix(lambda here, there: sp.Piecewise((1, there <= here), (0, True)))


def mixed(entries: object, body: object) -> OverPositions:
    r"""Positions mixed by fixed numbers, :math:`\sum_\beta c_{\alpha\beta} b^\beta`."""
    return over_positions(position_matrix(entries) * other(body))


def softmax(scores: object, mask: object = sp.S.One) -> Softmax:
    r"""The softmax of scores over the other positions, :math:`m_{\alpha\beta}e^{Y_{\alpha\beta}}/\sum_\delta m_{\alpha\delta}e^{Y_{\alpha\delta}}`.

    Parameters
    ----------
    scores : Expr
        One number for each pair of positions.
    mask : Expr, or nested sequence
        Such as :data:`causal`, or ``[[1, 0], [1, 1]]``.
    """
    return Softmax(body_of(scores, "a softmax is taken of"), body_of(_as_mask(mask), "a mask is"))


def _as_mask(mask: object) -> object:
    """A table of ones and zeros is a matrix over positions."""
    return position_matrix(mask) if isinstance(mask, list | tuple | sp.MatrixBase) else mask


def rotary(body: object, frequencies: object) -> Rotary:
    r"""Queries or keys whose neurons are turned in pairs by their position, as rotary position embeddings do (RoPE).

    A pair of frequency :math:`\omega` is turned by the angle :math:`\alpha\omega` at position :math:`\alpha`, counted from 0. As many pairs have each
    frequency, so that scores of turned queries and keys depend on :math:`\alpha - \beta`. Scores alone read what is turned.

    Parameters
    ----------
    body : Expr
        Queries or keys, such as ``Q(x)``.
    frequencies : number, sequence of Expr, or matrix
        One for each kind of pair, in radians a position; 0 for pairs that are not turned. Or the angles themselves: a row for each kind of pair, and
        a column for each position.

    Raises
    ------
    DerivationError
        For anything else.

    Examples
    --------
    >>> from derivations import Network, Weights, derive, epsilon
    >>> Q, K, V, O = (Weights(name) for name in "QKVO")
    >>> turned = lambda x: attention(rotary(Q(x), [1, 0.01]), rotary(K(x), [1, 0.01]), V(x))
    >>> derive(Network(lambda x: x + epsilon * O(turned(x)), width=sp.oo, positions=2)).limit.states
    (K_11, K_12, K_22)
    """
    return Rotary(body_of(body, "rotary positions turn the neurons of"), turns_of(frequencies))


def turns_of(given: object) -> sp.Tuple | sp.ImmutableMatrix:
    """Frequencies, or angles in a matrix, exactly; a number is one frequency.

    Raises
    ------
    DerivationError
        For anything else.
    """
    try:
        if isinstance(given, (int, float, sp.Expr)):
            given = (given,)
        rows = given if isinstance(given, sp.MatrixBase) else list(cast(Sequence[object], given))
        if isinstance(rows, sp.MatrixBase) or any(
            isinstance(row, Sequence) and not isinstance(row, str) for row in rows
        ):
            turns = sp.ImmutableMatrix(rows).applyfunc(exact_decimals)
        else:
            turns = sp.Tuple(*map(exact_decimals, rows))
    except (TypeError, ValueError) as error:
        raise DerivationError(
            f"rotary positions need frequencies, such as rotary_frequencies(64), or a matrix of angles, got {given!r}"
        ) from error
    if not turns or any(entry.is_real is False or entry.is_finite is False for entry in turns):
        raise DerivationError(f"rotary positions need one frequency or more, and real numbers, got {given!r}")
    return turns


def rotary_frequencies(size: int, base: object = 10000) -> list[sp.Expr]:
    r"""The frequencies :math:`b^{-2f/k}`, f = 0, …, k/2 − 1, of rotary positions over the k neurons of a head, as a transformer has them.

    Parameters
    ----------
    size : int
        k, even, at most 4096.
    base : number or Expr
        b.

    Raises
    ------
    DerivationError
        For a number that is not even and positive, or larger.

    Examples
    --------
    >>> rotary_frequencies(4)
    [1, 1/100]
    """
    if isinstance(size, bool) or not isinstance(size, (int, sp.Integer)) or size < 2 or size % 2:
        raise DerivationError(
            f"rotary positions turn pairs of neurons, so that a head has an even number of them, got {size!r}"
        )
    if size > _LARGEST_HEAD:
        raise DerivationError(f"a head of {size} neurons is larger than any is; give at most {_LARGEST_HEAD}")
    return [exact_decimals(base) ** -sp.Rational(2 * f, size) for f in range(int(size) // 2)]


SCALES: dict[str, Callable[[object], sp.Expr]] = {"sqrt": normalised_sum, "linear": average}
KINDS = ("softmax", "linear")


def attention(
    queries: sp.Expr,
    keys: sp.Expr,
    values: sp.Expr,
    kind: str = "softmax",
    scale: object = "sqrt",
    mask: sp.Expr = sp.S.One,
) -> sp.Expr:
    r"""Attention :math:`\sum_\beta A_{\alpha\beta}\,v^\beta` with scores :math:`Y_{\alpha\beta} = k^{-1/2}\sum_j q_j^\alpha k_j^\beta`.

    Parameters
    ----------
    queries, keys, values : Expr
        Matrices applied, such as ``Q(x)``; queries and keys have the same number of neurons.
    kind : {"softmax", "linear"}
        Whether A is the softmax of the scores, or the scores.
    scale : {"sqrt", "linear"}, number or Expr
        Scores divided by :math:`\sqrt k` or by k, the number of neurons of the keys; or what the sum over the neurons is multiplied by, as
        PyTorch has it: 1/8 is "sqrt" for 64 keys, and ``1 / symbols.width`` is "linear" for as many as the width.
    mask : Expr, or nested sequence
        Such as :data:`causal`, or ``[[1, 0], [1, 1]]``.

    Raises
    ------
    DerivationError
        For another word, or a number where that of the keys is not known.

    Examples
    --------
    >>> from derivations import Network, derive, epsilon
    >>> Q, K, W = Weights("Q", out=5), Weights("K", out=5), Weights("V")
    >>> net = Network(lambda x: x + epsilon * attention(Q(x), K(x), W(x), "linear"), width=width, positions=1)
    >>> derive(net).gram.drift[0]
    V**3
    """
    if kind not in KINDS:
        if instead := KINDS_ELSEWHERE.get(str(kind)):
            raise DerivationError(f"{kind!r} is no kind of attention; {instead}")
        raise DerivationError(unknown("kind of attention", kind, KINDS))
    queries, keys, values = map(exact_decimals, (queries, keys, values))
    for name, body in (("queries", queries), ("keys", keys), ("values", values)):
        require(name, body, sp.Expr, "an expression in the state x")
    scores = _scores(queries, keys, scale)
    weights = softmax(scores, mask) if kind == "softmax" else _as_mask(mask) * scores
    return over_positions(weights * other(values))


def _scores(queries: sp.Expr, keys: sp.Expr, scale: object) -> sp.Expr:
    """The sum over the neurons of queries and keys, divided as a word says or multiplied by a number."""
    product = queries * other(keys)
    if isinstance(scale, str):
        if scale not in SCALES:
            raise DerivationError(unknown("scale of scores", scale, SCALES))
        return SCALES[scale](product)
    factor = exact_decimals(scale)
    if (
        not isinstance(factor, sp.Expr)
        or factor.is_real is False
        or factor.is_finite is False
        or isinstance(scale, bool)
    ):
        raise DerivationError(
            f"the scale of scores is {' or '.join(map(repr, SCALES))}, or a number, got {shown(scale)}"
        )
    turned = {node.body for node in outermost(queries) if isinstance(node, Rotary)}
    neurons = {node.weights.out for node in outermost(turned.pop() if turned else queries) if type(node) is Applied}
    if len(neurons) != 1:
        raise DerivationError(
            f"scores are multiplied by the number {factor} where it is known how many neurons are summed: queries that a matrix puts out, such as "
            "Q(x, out=64); for others take scale='sqrt' and multiply the queries"
        )
    (count,) = neurons
    return average(product) if factor * count == 1 else factor * sp.sqrt(count) * normalised_sum(product)


def self_attention(
    body: sp.Expr,
    heads: int = 1,
    size: object = width,
    kind: str = "softmax",
    scale: object = "sqrt",
    mask: sp.Expr = sp.S.One,
    names: Sequence[str] = ("Q", "K", "V", "O"),
) -> sp.Expr:
    r"""Attention of a body with itself, with one or more heads: :math:`\sum_h O_h\,\mathrm{attention}(Q_h b, K_h b, V_h b)`.

    Parameters
    ----------
    body : Expr
    heads : int
    size : int or Expr
        How many neurons queries, keys and values of a head have.
    kind, scale, mask
        As for :func:`attention`.
    names : sequence of str
        Of the four matrices; those of head h end in h where there are several. Entries of the last have the variance 1 over the
        neurons of all heads together.

    Raises
    ------
    DerivationError
        For a number of heads below 1.
    """
    if isinstance(heads, bool) or not isinstance(heads, int) or not 1 <= heads <= _MOST_HEADS:
        raise DerivationError(f"attention has a positive whole number of heads, at most {_MOST_HEADS}, got {heads!r}")
    total = sp.S.Zero
    for h in range(1, heads + 1):
        q, k, v = (Weights(f"{name}{h if heads > 1 else ''}", out=size)(body) for name in names[:3])
        out = Weights(f"{names[3]}{h if heads > 1 else ''}", variance=sp.Rational(1, heads))
        total += out(attention(q, k, v, kind, scale, mask))
    return total
