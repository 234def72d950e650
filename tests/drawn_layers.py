"""Random layers, each written twice: in the language, and as a function of arrays that JAX differentiates and that shares no code with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp

from derivations import Network, Weights, average, dropout, epsilon, layer_norm, rms_norm, symbols

Drawn = dict[str, Any]


@dataclass(frozen=True)
class Twin:
    """Numbers of a layer's neurons: as an expression, and as a function of the state and of standard normal weights."""

    said: Callable[[sp.Expr], sp.Expr]
    drawn: Callable[[Any, Drawn], Any]
    size: int


FUNCTIONS: tuple[tuple[Callable, Callable], ...] = (
    (lambda h: h, lambda h: h),
    (lambda h: h**2 / 2, lambda h: h * h / 2),
    (lambda h: sp.Max(h, 0), lambda h: jnp.where(h > 0, h, 0.0)),
    (sp.Abs, jnp.abs),
    (sp.tanh, jnp.tanh),
    (sp.sin, jnp.sin),
    (lambda h: h / (1 + sp.exp(-h)), lambda h: h / (1 + jnp.exp(-h))),
    (lambda h: 1 + h * (1 + sp.erf(h / sp.sqrt(2))) / 2, lambda h: 1 + h * jax.scipy.special.ndtr(h)),
    (lambda h: sp.Max(h, 0) - sp.Rational(1, 5) * sp.Max(-h, 0), lambda h: jnp.where(h > 0, h, h / 5)),
)
NORMS: tuple[tuple[Callable, Callable, int], ...] = (  # with the fewest neurons that leave more than a sign
    (rms_norm, lambda h: h / jnp.sqrt(jnp.mean(h * h)), 2),
    (layer_norm, lambda h: (h - jnp.mean(h)) / jnp.sqrt(jnp.mean((h - jnp.mean(h)) ** 2)), 3),
    (lambda h: h - average(h), lambda h: h - jnp.mean(h), 2),
    (lambda h: h * average(h**2) / 2, lambda h: h * jnp.mean(h * h) / 2, 1),
    (lambda h: h + average(sp.Abs(h)), lambda h: h + jnp.mean(jnp.abs(h)), 1),
)


class DrawnLayer:
    """A layer x + ε·branch + ε²·rest of matrices, gates, norms, averages, biases and dropout.

    Parameters
    ----------
    seed : int
    width : int, optional
        By default 1 to 4.
    norms_inside : bool
        Whether norms may be over neurons that a matrix puts out.
    wide : bool
        Whether neurons stay Gaussian as the width grows: all matrices put out as many neurons as the state has, and a neuron meets only averages.
    """

    def __init__(self, seed: int, width: int | None = None, norms_inside: bool = False, wide: bool = False) -> None:
        self.rng, self.weights, self.masks = Random(seed), dict[str, tuple[Weights, int]](), dict[str, Any]()
        self.width = self.rng.choice((1, 2, 3, 3, 4)) if width is None else width
        self.norms_inside, self.wide = norms_inside, wide
        state = Twin(lambda x: x, lambda x, _: x, self.width)
        branches = [self.branch(state) for _ in range(self.rng.choice((1, 1, 1, 2)))]
        self.said = lambda x: x + epsilon * sum(b.said(x) for b in branches) + epsilon**2 * rest.said(x)
        self.branches = branches
        rest = self.rest = self.chosen(NORMS[2:] if self.rng.random() < 0.5 or wide else FUNCTIONS, state)

    @property
    def network(self) -> Network:
        """The layer in the language."""
        return Network(self.said, width=self.width)

    def first(self, x: Any, drawn: Drawn) -> Any:
        """What ε multiplies."""
        return sum(b.drawn(x, drawn) for b in self.branches)

    def second(self, x: Any) -> Any:
        """What ε² multiplies."""
        return self.rest.drawn(x, {})

    def draw(self, samples: int, seed: int) -> Drawn:
        """Standard normal weights and biases, and factors."""
        rng, found = np.random.default_rng(seed), {}
        for name, (weights, reads) in self.weights.items():
            out = self.rows(weights)
            found[name] = (rng.standard_normal((samples, out, reads)), rng.standard_normal((samples, out)))
        for name, (keep, size) in self.masks.items():
            found[name] = (rng.random((samples, size)) < keep) / keep
        return found

    def rows(self, weights: Weights) -> int:
        """Neurons that a matrix puts out."""
        return self.width if weights.out == symbols.width else int(weights.out)

    def chosen(self, kinds: Any, body: Twin) -> Twin:
        said, drawn, *_ = self.rng.choice([k for k in kinds if len(k) < 3 or k[2] <= body.size])
        return Twin(lambda x: said(body.said(x)), lambda x, w: drawn(body.drawn(x, w)), body.size)

    def read(self, state: Twin) -> Twin:
        body = self.chosen(NORMS, state) if self.rng.random() < 0.5 else state
        return self.chosen(FUNCTIONS, body) if self.rng.random() < 0.5 else body

    def matrix(self, out: int, body: Twin, inner: bool) -> Twin:
        name = f"W{len(self.weights) + 1}"
        variance = sp.Rational(self.rng.randrange(1, 4), 2)
        bias = self.rng.choice((0, sp.Rational(1, 3)))
        mean, shift = (self.rng.choice((0, 0, sp.Rational(k, 2))) if inner else 0 for k in (1, -1))
        said = symbols.width if self.wide else out
        w = Weights(name, out=said, variance=variance, bias_variance=bias, mean=mean, bias_mean=shift)
        self.weights[name] = (w, body.size)
        return self.applied(w, body)

    def applied(self, w: Weights, body: Twin) -> Twin:
        deviation, bias, mean, shift = (
            float(v) for v in (sp.sqrt(w.variance), sp.sqrt(w.bias_variance), w.mean, w.bias_mean)
        )

        def drawn(x: Any, given: Drawn) -> Any:
            entries, biases = given[w.name]
            read = body.drawn(x, given)
            return (
                deviation * entries @ read / body.size**0.5 + mean * jnp.sum(read) / body.size + bias * biases + shift
            )

        return Twin(lambda x: w(body.said(x)), drawn, self.rows(w))

    def dropped(self, body: Twin) -> Twin:
        name, keep = f"d{len(self.masks) + 1}", sp.Rational(3, 4)
        self.masks[name] = (float(keep), body.size)
        return Twin(lambda x: dropout(body.said(x), keep, name), lambda x, w: w[name] * body.drawn(x, w), body.size)

    def branch(self, state: Twin) -> Twin:
        hidden = self.read(state)
        if self.rng.random() < 0.75:
            size = self.width if self.wide else self.rng.choice((1, 2, 3))
            hidden = self.matrix(size, hidden, inner=True)
            w, _ = self.weights[f"W{len(self.weights)}"]
            if self.norms_inside and size > 2:
                hidden = self.chosen(NORMS, hidden)
            hidden = self.chosen(FUNCTIONS, hidden)
            kind = self.rng.random()
            if kind < 0.25:  # a gate
                hidden = self.both(hidden, self.matrix(size, self.read(state), inner=True), lambda a, b: a * b)
            elif kind < 0.4:  # the same matrix once more
                hidden = self.both(hidden, self.applied(w, self.read(state)), lambda a, b: a + b)
            elif kind < 0.5:
                hidden = self.both(hidden, self.matrix(size, self.read(state), inner=True), lambda a, b: a + b)
        if self.rng.random() < 0.3:
            hidden = self.dropped(hidden)
        branch = self.matrix(self.width, hidden, inner=False)
        if self.rng.random() < 0.2 and not self.wide:
            branch = self.both(branch, self.read(state), lambda a, b: a * b)
        return branch

    @staticmethod
    def both(a: Twin, b: Twin, join: Callable) -> Twin:
        return Twin(lambda x: join(a.said(x), b.said(x)), lambda x, w: join(a.drawn(x, w), b.drawn(x, w)), a.size)
