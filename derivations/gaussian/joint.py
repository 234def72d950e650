r"""Means of functions of several Gaussian variables, kept as a value of their own: shares of a softmax over Gaussian scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import mpmath as mp
import sympy as sp
from sympy.polys.matrices import DomainMatrix
from sympy.printing.printer import Printer

from derivations.binding import bound_symbols, printed_symbols
from derivations.errors import NotClosed, brief
from derivations.evaluation import in_mpmath
from derivations.gaussian.node import GaussianMean
from derivations.special import ExpertGate

#: Functions that are not smooth.
KINKED = (sp.Piecewise, sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside)


class GaussianJointExpectation(GaussianMean):
    r""":math:`\mathbb{E} f(Z_1, \dots, Z_r)`, :math:`Z \sim N(0, C)`, where no closed form is known.

    A smooth f differentiates by the heat equation :math:`\partial_{C_{ij}} \mathbb{E} f = \tfrac12\,\mathbb{E}\,\partial_i\partial_j f` (over all i, j),
    and evaluates to any precision where it depends on one or two linear combinations only; else, and of one with kinks,
    ``numerics.compile.joint_means`` has a value with an error.

    Parameters
    ----------
    function : Lambda
        Of r real variables.
    covariance : Matrix, shape (r, r)

    Examples
    --------
    >>> x, y, s = sp.Symbol("x", real=True), sp.Symbol("y", real=True), sp.Symbol("s", positive=True)
    >>> joint_mean(sp.exp(x) / (sp.exp(x) + sp.exp(y)), (x, y), [[s, 0], [0, s]]).subs(s, 1).evalf(12)
    0.500000000000
    """

    array_code = "numerics.compile.joint_means.joint_gaussian_values"

    def __new__(cls, function: sp.Lambda, covariance: sp.Matrix) -> GaussianJointExpectation:
        """Sympify and keep; exponentials are put together, since differences of their exponents stay in range where they do not."""
        names = [f"z{k}" for k in range(1, len(function.variables) + 1)]
        bound = bound_symbols(names, function.free_symbols, real=True)
        body = _together(function.expr.xreplace(dict(zip(function.variables, bound, strict=True))))
        node: GaussianJointExpectation = sp.Expr.__new__(cls, sp.Lambda(bound, body), sp.ImmutableMatrix(covariance))
        return node

    @property
    def function(self) -> sp.Lambda:
        """What the mean is of."""
        return self.args[0]

    @property
    def covariance(self) -> sp.ImmutableMatrix:
        """Of the variables."""
        return self.args[1]

    @property
    def has_kinks(self) -> bool:
        """Whether what is averaged has kinks or jumps."""
        return has_kinks(self.function.expr)

    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        function, covariance = self._changed_arguments(change)
        return joint_mean(function.expr, function.variables, covariance)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        z, f = self.args[0].variables, self.args[0].expr
        if self.has_kinks:
            raise NotClosed(
                f"the mean of {brief(f)} over several Gaussian variables has values, and no rule for its derivatives: what is averaged has kinks; "
                "take a smooth function, as silu for relu, where derivatives of means are needed"
            )
        total = joint_mean(sp.diff(f, symbol), z, self.covariance) if f.has(symbol) else sp.S.Zero
        for i in range(len(z)):
            for j in range(len(z)):
                slope = sp.diff(self.covariance[i, j], symbol)
                if slope != 0:
                    total += slope * joint_mean(sp.diff(f, z[i], z[j]), z, self.covariance) / 2
        return total

    def _value(self, prec: int) -> mp.mpf | None:
        if self.has_kinks:
            return None
        with mp.workprec(prec + 20):
            function, size = _in_few_dimensions(self.args[0], self.covariance)
            return None if size > 2 else _integral(function, size)

    def printed(self) -> tuple[tuple[sp.Symbol, ...], sp.Expr]:
        """The bound variables as they are printed, and the function of them."""
        names = printed_symbols([z.name for z in self.bound_symbols], self)
        return names, self.function(*names)

    def _sympystr(self, printer: Printer) -> str:
        names, body = self.printed()
        rows = ", ".join(f"[{', '.join(map(printer._print, row))}]" for row in self.covariance.tolist())
        return f"E[{printer._print(body)}, {printer._print(names)} ~ N(0, [{rows}])]"

    def _latex(self, printer: Printer) -> str:
        names, body = self.printed()
        variables = ", ".join(map(printer._print, names))
        inside = printer._print(body)
        return rf"\mathbb{{E}}_{{({variables}) \sim N(0, {printer._print(self.covariance)})}}\left[{inside}\right]"


def has_kinks(expr: sp.Expr) -> bool:
    """Whether a function has kinks or jumps."""
    return bool(expr.has(*KINKED)) or any(gate.jumps for gate in expr.atoms(ExpertGate))


@lru_cache(maxsize=256)
def _together(body: sp.Expr) -> sp.Expr:
    """Products of exponentials as one; what has none is left as it is, since looking for them takes long."""
    some = any(
        sum(f.as_base_exp()[0] == sp.E or isinstance(f, sp.exp) for f in product.args) > 1
        for product in body.atoms(sp.Mul)
    )
    return sp.powsimp(body, deep=True) if some else body


def joint_mean(f: sp.Expr, variables: Sequence[sp.Symbol], covariance: object) -> sp.Expr:
    r"""The mean of a function of centred jointly Gaussian variables, unevaluated; constants are taken out.

    Parameters
    ----------
    f : Expr
    variables : sequence of Symbol
    covariance : matrix, shape (r, r)

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> joint_mean(3, (x, y), [[1, 0], [0, 1]])
    3
    """
    f = sp.sympify(f)
    table = sp.ImmutableMatrix(covariance)
    constant, inside = f.as_independent(*variables, as_Add=False)
    # a variable without variance is 0
    still = {z: sp.S.Zero for i, z in enumerate(variables) if table[i, i] == 0}
    inside = inside.xreplace(still) if still else inside
    reduced = _without_polynomial_parts(inside, variables, table)
    if reduced is not inside:
        return constant * joint_mean(reduced, variables, table)
    # scores of the experts whose shares are meant come first, so that experts of one law have one mean
    own = set().union(*(gate.args[2].free_symbols for gate in inside.atoms(ExpertGate)))
    used = sorted((i for i, z in enumerate(variables) if inside.has(z)), key=lambda i: variables[i] not in own)
    if not used:
        return constant * inside
    if isinstance(inside, ExpertGate) and _shares_equally(inside, variables, table):
        return constant / (len(inside.args) - 2)
    inside, names, table = _in_combinations(inside, [variables[i] for i in used], table.extract(used, used))
    return constant * GaussianJointExpectation(sp.Lambda(tuple(names), inside), table.as_immutable())


def _without_polynomial_parts(body: sp.Expr, variables: Sequence[sp.Symbol], table: sp.Matrix) -> sp.Expr:
    """Variables that are independent of the others and occur in powers only have their moments in place of the powers."""
    used = [i for i, z in enumerate(variables) if body.has(z)]
    blocks = table.extract(used, used).connected_components() if len(used) > 1 else []
    for block in blocks if len(blocks) > 1 else []:
        own = [variables[used[k]] for k in block]
        if body.is_polynomial(*own):
            places = [used[k] for k in block]
            terms = sp.Poly(body, *own).terms()
            body = sp.Add(
                *(c * _moment([i for i, p in zip(places, m, strict=True) for _ in range(p)], table) for m, c in terms)
            )
    return body


def _moment(places: list[int], table: sp.Matrix) -> sp.Expr:
    """Of a product of Gaussian variables: the sum over pairings."""
    if not places:
        return sp.S.One
    first, *others = places
    return sp.Add(*(table[first, i] * _moment([*others[:k], *others[k + 1 :]], table) for k, i in enumerate(others)))


def _shares_equally(gate: ExpertGate, variables: Sequence[sp.Symbol], table: sp.Matrix) -> bool:
    """Whether the scores are exchangeable and the shares add up to 1, so that all have one mean."""
    scores = gate.args[2:]
    if gate.args[1] != 1 or len({*scores}) < len(scores) or not {*scores} <= {*variables}:
        return False
    places = [variables.index(s) for s in scores]
    own, shared = {table[i, i] for i in places}, {table[i, j] for i in places for j in places if i != j}
    return len(own) == len(shared) == 1


def _in_combinations(
    body: sp.Expr, variables: Sequence[sp.Symbol], table: sp.Matrix
) -> tuple[sp.Expr, Sequence[sp.Symbol], sp.Matrix]:
    r"""A function of exponentials as one of the linear combinations :math:`Bz` in its exponents, of covariance :math:`BCB^\top`, where these are fewer.

    So a score that is a sum over runs of neurons, as behind rotary positions, is one variable.
    """
    exponents = sorted({e.args[0] for e in body.atoms(sp.exp) if e.has(*variables)}, key=sp.default_sort_key)
    forms = [[sp.diff(exponent, z) for z in variables] for exponent in exponents]
    if not forms or not all(c.is_number and c.is_algebraic for form in forms for c in form):
        return body, variables, table
    reduced, pivots = (
        DomainMatrix.from_list_sympy(len(forms), len(variables), forms, extension=True).to_field().transpose().rref()
    )
    if len(pivots) >= len(variables):
        return body, variables, table
    names = [sp.Dummy(f"z{i}", real=True) for i in range(1, len(pivots) + 1)]
    still, shares = dict.fromkeys(variables, sp.S.Zero), reduced.to_Matrix()
    rule = {
        sp.exp(exponent): sp.exp(exponent.xreplace(still) + sp.Add(*(shares[i, j] * w for i, w in enumerate(names))))
        for j, exponent in enumerate(exponents)
    }
    made = body.xreplace(rule)
    if made.has(*variables):
        return body, variables, table
    basis = sp.Matrix([forms[i] for i in pivots])
    return made, names, (basis * table * basis.T).applyfunc(sp.expand)


def _in_few_dimensions(function: sp.Lambda, covariance: sp.Matrix) -> tuple[Callable[..., mp.mpf], int]:
    r"""The function of independent standard normal variables, of as many as it depends on.

    Its gradients at points that are not special span the combinations that it depends on: f(z) = f(Bᵀ B z), and B z is Gaussian.
    """
    z, r = function.variables, len(function.variables)
    slopes = in_mpmath(z, [sp.diff(function.expr, v) for v in z])
    # near 0 as well, since far out a function may have levelled off, and each gradient for its direction alone
    scales = [mp.mpf(2) ** (-2 * (k % 4)) for k in range(4 * (r + 1))]
    points = [[scale * mp.sin(7 * (i + 1) * (k + 2)) for i in range(r)] for k, scale in enumerate(scales)]
    gradients = [mp.matrix(list(slopes(*point))) for point in points]
    sizes = [mp.norm(gradient) for gradient in gradients]
    basis = _range(mp.matrix([list(g / size) for g, size in zip(gradients, sizes, strict=True) if size != 0]).T)
    numbers = mp.matrix([[mp.mpmathify(e.evalf(mp.mp.dps)) for e in covariance.row(i)] for i in range(r)])
    inner = basis.T * numbers * basis
    values, vectors = mp.eigsy(inner) if inner.rows else (mp.matrix(0, 1), mp.matrix(0, 0))
    kept = [k for k in range(inner.rows) if values[k] > mp.mpf(2) ** (-mp.mp.prec // 2)]
    root = mp.matrix(r, len(kept))
    for column, k in enumerate(kept):
        scaled = basis * vectors[:, k] * mp.sqrt(values[k])
        for i in range(r):
            root[i, column] = scaled[i]
    value = in_mpmath(z, function.expr)

    def at(*normal: mp.mpf) -> mp.mpf:
        return value(*(mp.fsum(root[i, k] * g for k, g in enumerate(normal)) for i in range(r)))

    return at, len(kept)


def _range(matrix: mp.matrix) -> mp.matrix:
    """An orthonormal basis of the columns' span."""
    values, vectors = mp.eigsy(matrix * matrix.T)
    kept = [k for k in range(len(values)) if values[k] > mp.mpf(2) ** (-mp.mp.prec // 2)]
    basis = mp.matrix(matrix.rows, len(kept))
    for column, k in enumerate(kept):
        for i in range(matrix.rows):
            basis[i, column] = vectors[i, k]
    return basis


def _integral(function: Callable[..., mp.mpf], size: int) -> mp.mpf:
    """Against the standard normal density, cut where it is below the working precision."""
    if size == 0:
        return function()
    end = mp.sqrt(2 * mp.log(2) * mp.mp.prec) + 2
    places = [mp.linspace(-end, end, 5)] * size
    weighted = lambda *g: function(*g) * mp.exp(-mp.fsum(x**2 for x in g) / 2)  # noqa: E731
    return mp.quad(weighted, *places, method="gauss-legendre") / (2 * mp.pi) ** (mp.mpf(size) / 2)
