r"""Numbers of a Gram matrix that move by themselves although no norm does, and what they say of an explosion.

*A combination that closes.* If :math:`\ell = \sum_k c_k V_k` has a drift that depends on :math:`\ell` alone, the gradient of :math:`c \cdot b(V)` is
a multiple of c at every V: c is an eigenvector of the transposed Jacobian of b at each point, so of every sum of these over points. Where
:math:`\ell = a^\top V a` and Feller's test says that it stays finite, it is a bounded coefficient in what the norms do until any time: in a basis that
holds a, growth at most linear in the other norms excludes an explosion.

*A ray that is kept.* Where :math:`V = s\,a a^\top` stays of this form, s is a diffusion on a half-line. Two rays have a meaning: all tokens but the first
are 0, and all tokens are equal. An explosion of s is one of the matrix; that s stays finite says nothing of other starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sympy as sp

from derivations.calculus.growth import at_most, degree
from derivations.diffusion import Diffusion
from derivations.entries import LazyCovariance
from derivations.existence.feller import fellers_test
from derivations.existence.flows import SecondMoments
from derivations.existence.growth import rising
from derivations.existence.statement import UNKNOWN
from derivations.limits.gram import cone, upper

_HALF_LINE = sp.Interval.open(0, sp.oo)
#: Numbers of a Gram matrix up to which a combination that closes is looked for.
_MOST_NUMBERS = 10


def by_directions(limit: Diffusion, moments: SecondMoments, positions: int) -> tuple[str, str] | None:
    """Whether a Gram matrix explodes, by the numbers of one text that move by themselves; None if these do not say.

    Parameters
    ----------
    limit : Diffusion
        Of the Gram matrix.
    moments : SecondMoments
    positions : int
        Of one text; 0 where inputs have none.
    """
    text = _of_one_text(limit, moments, positions)
    if text is None:
        return None
    rays = _by_rays(text, positions)
    return rays if rays is not None and rays[0] != UNKNOWN else _by_combination(text, positions) or rays


def _of_one_text(limit: Diffusion, moments: SecondMoments, positions: int) -> Diffusion | None:
    """The first text's own matrix, if it moves by itself."""
    kept = [i for i, s in enumerate(limit.states) if s in moments.places and max(moments.places[s]) < positions]
    if len(kept) != positions * (positions + 1) // 2 or positions < 2:
        return None
    if len(kept) == len(limit.states):
        return limit
    states = tuple(limit.states[i] for i in kept)
    drift = [limit.drift[i] for i in kept]
    others = set(limit.states) - set(states)
    if any(
        entry.free_symbols & others for entry in drift
    ):  # noise is that of the same layers, which map each text alone
        return None
    table = dict(zip(upper(positions), states, strict=True))
    matrix = sp.ImmutableMatrix(positions, positions, lambda a, b: table[min(a, b), max(a, b)])
    covariance = LazyCovariance(lambda i, j: limit.entry(kept[i], kept[j]), ())
    return Diffusion(states, drift, covariance, cone(matrix), limit.time)


def _by_combination(text: Diffusion, positions: int) -> tuple[str, str] | None:
    pairs = upper(positions)
    for coefficients in _combinations(text):
        along = _square(coefficients, pairs, positions)
        if along is None:
            continue
        number = closed_combination(text, coefficients)
        if number is None or fellers_test(number, "")[0] != "cannot":
            continue
        if _others_grow_linearly(text, along, positions):
            name = sp.Add(*(c * s for c, s in zip(coefficients, text.states, strict=True)))
            return "cannot", (
                f"by Feller's test {name}, which moves by itself, does not reach infinity, and the norms grow at most linearly beside it"
            )
    return None


def _combinations(text: Diffusion) -> Iterator[list[sp.Expr]]:
    """Candidates with rational coefficients: eigenvectors of a sum of Jacobians."""
    if len(text.states) > _MOST_NUMBERS or not all(entry.is_polynomial(*text.states) for entry in text.drift):
        return
    given = {p: sp.Rational(k + 2, 3) for k, p in enumerate(sorted(text.drift.free_symbols - {*text.states}, key=str))}
    jacobian = text.drift.xreplace(given).jacobian(text.states)
    total = sp.zeros(*jacobian.shape)
    for k in (1, 2, 3):
        point = {s: sp.Rational((3 * i * k + i + k) % 7 + 1, k + 1) for i, s in enumerate(text.states)}
        total += k * jacobian.xreplace(point).T
    variable = sp.Dummy("x")
    for factor, _ in total.charpoly(variable).factor_list()[1]:
        if factor.degree() == 1:
            (root,) = sp.roots(factor)
            space = (total - root * sp.eye(total.rows)).nullspace()
            if len(space) == 1:
                yield [*(space[0] / next(c for c in space[0] if c != 0))]


def _square(coefficients: Sequence[sp.Expr], pairs: Sequence[tuple[int, int]], positions: int) -> list[sp.Expr] | None:
    r"""The vector a of a combination of the form :math:`a^\top V a`; None if it is none."""
    table = dict(zip(pairs, coefficients, strict=True))
    first = next((k for k in range(positions) if table[k, k] == 1), None)
    if first is None:
        return None
    a = [table[min(first, k), max(first, k)] / (1 if k == first else 2) for k in range(positions)]
    fits = all(table[i, j] == a[i] * a[j] * (1 if i == j else 2) for i, j in pairs)
    return a if fits else None


def closed_combination(process: Diffusion, coefficients: Sequence[sp.Expr]) -> Diffusion | None:
    """The diffusion of a positive linear combination of states, if it moves by itself.

    Parameters
    ----------
    process : Diffusion
    coefficients : sequence of Expr
        One a state.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> both = Diffusion((x, y), [x * (x - y), y * (x - y)], [[0, 0], [0, 0]])
    >>> closed_combination(both, [1, -1]).drift
    Matrix([[w**2]])
    >>> closed_combination(both, [1, 1]) is None
    True
    """
    number = sp.Symbol("w", positive=True)
    k = next(k for k, c in enumerate(coefficients) if c != 0)
    others = sp.Add(*(c * s for i, (c, s) in enumerate(zip(coefficients, process.states, strict=True)) if i != k))
    solved = {process.states[k]: (number - others) / coefficients[k]}
    row = sp.Matrix([coefficients])
    moved = [(row * process.drift)[0], (row * process.covariance * row.T)[0]]
    drift, noise = (sp.expand(entry.subs(solved)) for entry in moved)
    if (drift.free_symbols | noise.free_symbols) & {*process.states}:
        return None
    return Diffusion((number,), [drift], [[noise]], _HALF_LINE, process.time)


def _others_grow_linearly(text: Diffusion, along: Sequence[sp.Expr], positions: int) -> bool:
    r"""Whether each norm grows at most linearly where :math:`a^\top V a` is a bounded coefficient, in a basis with a in the place of one coordinate."""
    return all(_grows_linearly(text, along, positions, own) for own in range(positions))


def _grows_linearly(text: Diffusion, along: Sequence[sp.Expr], positions: int, own: int) -> bool:
    pairs = upper(positions)
    left_out = next((k for k in range(positions) if along[k] != 0 and k != own), None)
    if left_out is None:
        return True
    basis = sp.eye(positions)
    basis[left_out, :] = sp.Matrix([list(along)])
    norms = [sp.Symbol(f"N_{k + 1}", positive=True) for k in range(positions)]
    angles = {pair: sp.Dummy("r", real=True) for pair in pairs}

    def entry(i: int, j: int) -> sp.Expr:
        low, high = min(i, j), max(i, j)
        return norms[i] if i == j else angles[low, high] * sp.sqrt(norms[low] * norms[high])

    back = basis.inv()
    gram = back * sp.Matrix(positions, positions, entry) * back.T
    rule = dict(zip(text.states, (gram[pair] for pair in pairs), strict=True))
    place, free = pairs.index((own, own)), [v for k, v in enumerate(norms) if k != left_out]
    drift, noise = (
        degree(sp.expand(rising(sp.expand(e.xreplace(rule)))), free)
        for e in (text.drift[place], text.entry(place, place))
    )
    return at_most([drift], [noise])


def _by_rays(text: Diffusion, positions: int) -> tuple[str, str] | None:
    s, open_questions = sp.Symbol("s", positive=True), []
    rays = {
        "all tokens but the first are 0": [sp.Integer(k == 0) for k in range(positions)],
        "all tokens are equal": [sp.S.One] * positions,
    }
    for where, direction in rays.items():
        number = kept_ray(text, direction, s)
        # of other functions Feller's test may take minutes
        if number is None or not all(e.is_rational_function(s) for e in (number.drift[0], number.covariance[0])):
            continue
        explodes, why = fellers_test(number, "the norm, which moves by itself,")
        if explodes == "can":
            return explodes, f"where {where} they stay so, and {why}"
        if explodes == UNKNOWN and number.parameters:
            open_questions.append(f"where {where} they stay so, and {why}; of other starts nothing is seen")
    return (UNKNOWN, open_questions[0]) if open_questions else None


def kept_ray(process: Diffusion, vector: Sequence[sp.Expr], name: sp.Symbol) -> Diffusion | None:
    r"""The diffusion of s where a Gram matrix is :math:`V = s\,a a^\top`, if it stays of this form.

    It does iff :math:`u^\top V u` stays 0 for all :math:`u \perp a`. These numbers are never negative: where one is 0 its noise vanishes, and its
    drift is not negative, so that drifts that are 0 for each u of a basis are 0 for all.

    Parameters
    ----------
    process : Diffusion
        Of a Gram matrix, in its upper triangle.
    vector : sequence of Expr
        a; its first entry that is not 0 is 1.
    name : Symbol
        s.

    Examples
    --------
    >>> x, y, z, s = sp.symbols("x y z s", positive=True)
    >>> flow = Diffusion((x, y, z), [x**2, x * y, y**2], [[x**2, x * y, x * z], [x * y, y**2, y * z], [x * z, y * z, z**2]])
    >>> kept_ray(flow, [1, 0], s).drift, kept_ray(flow, [1, 1], s).drift
    (Matrix([[s**2]]), Matrix([[s**2]]))
    """
    pairs = upper(len(vector))
    place = {pair: i for i, pair in enumerate(pairs)}
    at = {process.states[i]: name * vector[a] * vector[b] for (a, b), i in place.items()}
    first = next(k for k, c in enumerate(vector) if c != 0)

    def there(entry: sp.Expr) -> sp.Expr:
        return sp.expand(entry.xreplace(at))

    def drift(a: int, b: int) -> sp.Expr:
        return there(process.drift[place[min(a, b), max(a, b)]])

    own = drift(first, first)
    for k, c in enumerate(vector):
        beside = 0 if c == 0 else -2 * c * drift(k, first) + c**2 * own
        if k != first and sp.expand(drift(k, k) + beside) != 0:
            return None
    noise = there(process.entry(place[first, first], place[first, first]))
    return None if noise == 0 else Diffusion((name,), [own], [[noise]], _HALF_LINE, process.time)
