"""A layer's formula evaluated with the weights of one PyTorch block, in NumPy alone."""

from __future__ import annotations

from itertools import product
from types import MappingProxyType

import numpy as np
import pytest
import sympy as sp

from derivations.language.nodes import (
    Applied,
    Average,
    Other,
    OverPositions,
    PositionMatrix,
    Rotary,
    Softmax,
)
from derivations.piecewise.cases import Cases, outermost
from derivations.symbols import state
from numerics.pytorch import from_torch
from numerics.pytorch.reader import Reader


def evaluated(net, x, tensors, copies=MappingProxyType({})):
    """The new state.

    Parameters
    ----------
    net : Network
    x : array, shape (positions, neurons)
    tensors : mapping
        From a matrix's name to its weight, shape (out, in, *filter), and bias or None.
    copies : mapping
        From the name of a part of a matrix to the whole's name, its rows and its columns.
    """

    known: dict = {}

    def weight(name):
        if name in tensors:
            return tensors[name]
        whole, rows, columns = copies[name]
        w, b = weight(whole)
        return w[rows][:, columns], None if b is None else b[rows]

    def bias_of(applied, b):
        return 0 if b is None or applied.weights.bias_variance == 0 else b

    def value(expr):
        """Shape (here, there, neurons), axes of size 1 where nothing depends on them."""
        names = {node: sp.Dummy() for node in outermost(expr)}
        given = {name: known[node] if node in known else of_node(node) for node, name in names.items()}
        known.update({node: given[name] for node, name in names.items()})
        body = expr.xreplace(names).replace(Cases, lambda *parts: sp.Piecewise(*parts))
        symbols = [state, *given]
        values = [x[:, None, :], *given.values()]
        return np.asarray(sp.lambdify(symbols, body, ["numpy", "scipy"])(*values)) * np.ones((1, 1, 1))

    def of_node(node):
        if type(node) is Applied:
            w, b = weight(node.weights.name)
            inner = value(node.body)
            assert inner.shape[1] == 1
            inner = np.broadcast_to(inner, (len(x), *inner.shape[1:]))
            taps = node.weights.taps or (tuple(range(len(x))),)
            out = 0
            for offsets, tap in zip(product(*map(range, w.shape[2:])), taps, strict=True):
                read = np.array([inner[p, 0] if p is not None else 0 * inner[0, 0] for p in tap])
                out = out + read @ w[(..., *offsets)].T
            return (out + bias_of(node, b))[:, None, :]
        if isinstance(node, Average):
            inner = value(node.body)
            return inner.sum(axis=2, keepdims=True) / inner.shape[2] ** float(node.power)
        if isinstance(node, Other):
            return value(node.body).transpose(1, 0, 2)
        if isinstance(node, Rotary):
            angles = np.array(node.angles(len(x)), dtype=float).T[:, None, :]
            first, second = np.split(value(node.body), 2, axis=2)
            cosine, sine = np.cos(angles), np.sin(angles)
            return np.concatenate([cosine * first - sine * second, sine * first + cosine * second], axis=2)
        if isinstance(node, PositionMatrix):
            return np.array([[[float(node.entry(a, b))] for b in range(len(x))] for a in range(len(x))])
        if isinstance(node, Softmax):
            with np.errstate(divide="ignore"):
                scores = value(node.body) + np.log(value(node.mask))
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            return shares / shares.sum(axis=1, keepdims=True)
        assert isinstance(node, OverPositions), node
        inner = value(node.body)
        return inner.sum(axis=1, keepdims=True) * (len(x) if inner.shape[1] == 1 else 1)

    return value(net.layer)[:, 0, :] * np.ones_like(x)


def read_with_copies(block, **options):
    """The network of a block, and what each named part of a matrix is a part of, for :func:`evaluated`."""
    copies: dict = {}

    class Noting(Reader):
        def _named(self, weights, name, piece):
            made = super()._named(weights, name, piece)
            copies[made.name] = weights.name, list(piece), slice(None)
            return made

        def _applied(self, name, shared, key, tensors, draw, law, parts):
            made = super()._applied(name, shared, key, tensors, draw, law, parts)
            start = 0
            for index, part in enumerate(parts if len(parts) > 1 else (), 1):
                stop = start + self.count(part)
                copies[self._unique(f"{shared}_{index}", key)] = shared, slice(None), slice(start, stop)
                start = stop
            return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("numerics.pytorch.trace.Reader", Noting)
        return from_torch(block, **options), copies
