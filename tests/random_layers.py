"""Random layers of the language: all kinds of statements, few neurons."""

from __future__ import annotations

from random import Random

import numpy as np
import sympy as sp

from derivations import Network, causal, mixed, other, over_positions
from derivations.errors import NotClosed
from derivations.language import Weights, average, drop_branch, dropout, layer_norm, rms_norm
from derivations.language.nodes import Factor
from derivations.limits.depth import neuron_limit
from derivations.symbols import state as x
from derivations.symbols import step as eps

POLYNOMIALS = (lambda v: v, lambda v: v**2, lambda v: 1 + v)
FUNCTIONS = (
    *POLYNOMIALS,
    lambda v: sp.Max(v, 0),
    sp.Abs,
    sp.tanh,
    lambda v: v / (1 + sp.exp(-v)),
    lambda v: v + sp.Abs(v - sp.Rational(1, 2)) / 2,
)
LAWS = ("orthogonal", "uniform", "rademacher", "laplace")


class RandomLayer:
    """A layer of one to four statements over at most eight numbers.

    Parameters
    ----------
    rng : Random
    in_powers : bool
        Whether the layer is a polynomial in the small parameter, so that its moments are exact at every size of it.
    """

    def __init__(self, rng: Random, in_powers: bool = True) -> None:
        self.rng, self.made = rng, 0
        self.width, self.inputs, self.positions = self.pick(1, 2, 3, 4), self.pick(1, 2, 3), self.pick(1, 1, 1, 1, 2)
        if self.width * self.inputs * self.positions > 8:
            self.inputs = 1
        self.old: list[tuple[Weights, int, int]] = []
        self.functions = POLYNOMIALS if rng.random() < 0.3 else FUNCTIONS
        self.expression = self._layer(in_powers)

    def network(self) -> Network:
        """The layer as a network."""
        return Network(self.expression, width=self.width, inputs=self.inputs, positions=(self.positions,))

    def start(self) -> np.ndarray:
        """A state of shape (neurons, coordinates)."""
        seed = self.rng.randrange(2**32)
        return np.random.default_rng(seed).normal(size=(self.width, self.inputs * self.positions))

    def pick(self, *what):
        return what[self.rng.randrange(len(what))]

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def name(self, stem: str) -> str:
        self.made += 1
        return f"{stem}{self.made}"

    def matrix(self, out: int, reads: int, inner: bool) -> Weights:
        """A new matrix, or inside a branch one more application of an old one of the same shape."""
        known = [w for w, rows, columns in self.old if (rows, columns) == (out, reads)]
        if known and inner and self.chance(0.3):
            return self.pick(*known)
        options = {"variance": sp.Rational(self.rng.randrange(1, 4), 2)}
        if self.chance(0.3):
            options["law"] = self.pick(*LAWS)
        elif not inner and out < 3 and self.chance(0.3):  # inside a branch it takes minutes
            options |= {side: self.covariance(k) for side, k in (("row_covariance", out), ("column_covariance", reads))}
        if inner:
            options |= {
                "mean": self.pick(0, 0, sp.Rational(1, 2)),
                "bias_variance": self.pick(0, 0, sp.Rational(1, 4)),
                "bias_mean": self.pick(0, 0, sp.Rational(-1, 3)),
            }
        made = Weights(self.name("W"), out=out, **options)
        if inner:
            self.old.append((made, out, reads))
        return made

    def covariance(self, size: int) -> list[list[sp.Expr]]:
        root = sp.Matrix(size, size, lambda i, j: sp.Rational(self.rng.randrange(-2, 3), 2))
        return (root * root.T + sp.eye(size)).tolist()

    def read(self) -> sp.Expr:
        """A body in the state's neurons."""
        centred = (layer_norm(x), x - average(x)) if self.width > 1 else ()
        body = self.pick(x, x, rms_norm(x), x * average(x**2) / 2, x * average(sp.Abs(x)), *centred)
        if self.positions > 1 and self.chance(0.6):
            numbers = [[sp.Integer(self.rng.randrange(-1, 2)) for _ in range(2)] for _ in range(2)]
            mask = self.pick(1, causal)
            body = self.pick(mixed(numbers, body), over_positions(mask * other(body) * average(body * other(body))))
        return self.pick(*self.functions)(body)

    def dropped(self, body: sp.Expr) -> sp.Expr:
        return dropout(body, sp.Rational(3, 4), self.name("d"), shared=self.chance(0.5)) if self.chance(0.3) else body

    def branch(self) -> sp.Expr:
        """A centred branch."""
        size = self.width
        if self.chance(0.3):
            body = self.read()
        else:
            size = self.pick(1, 2, 3)
            body = self.pick(*self.functions)(self.matrix(size, self.width, inner=True)(self.read()))
            if self.chance(0.3):
                body = body * self.matrix(size, self.width, inner=True)(self.read())
        branch = self.matrix(self.width, size, inner=False)(self.dropped(body))
        if self.chance(0.2):
            branch = drop_branch(branch, sp.Rational(4, 5), self.name("e"), shared=self.chance(0.5))
        if self.chance(0.2):
            branch = branch * self.pick(average(x**2), x, 1 + x**2)
        return branch

    def _layer(self, in_powers: bool) -> sp.Expr:
        branch = self.branch()
        if in_powers:
            update = x + eps * branch + (eps * self.branch() if self.chance(0.2) else 0)
            if self.chance(0.4):
                update += eps**2 * self.pick(-x, sp.tanh(x), average(x), rms_norm(x))
            if self.chance(0.15):
                w = Weights(self.name("W"), out=self.pick(1, 2, 3))
                update -= eps**2 * w.T(self.pick(sp.tanh, lambda v: v, lambda v: v**3)(w(x)))
            return update
        alone = branch if not branch.atoms(Factor) else x + branch  # a layer of zeros has no norm
        return self.pick(x + eps * branch, x / 2 + branch / 2, rms_norm(x + eps * branch), alone)


def limit_at(net: Network, start: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Drift and covariance of all neurons at a start, as numbers; None where they have no closed form."""
    try:
        limit = neuron_limit(net.program(), start.shape[1])
    except NotClosed:
        return None
    limit = getattr(limit, "explicit", limit)
    at = dict(zip(limit.states, map(sp.Float, start.ravel()), strict=True))

    def numbers(matrix: sp.MatrixBase) -> np.ndarray:
        return np.array([[float(entry.xreplace(at).evalf()) for entry in row] for row in matrix.tolist()])

    size = start.size
    covariance = numbers(limit.covariance) if hasattr(limit, "covariance") else np.zeros((size, size))
    return numbers(limit.drift)[:, 0], covariance
