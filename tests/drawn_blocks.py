"""Blocks drawn by hand: one layer of many networks, written from the recipes' documentation with NumPy alone."""

from __future__ import annotations

import numpy as np
import sympy as sp

from derivations import AttentionBlock, ConvBlock, GatedBlock, MLPBlock, TransformerBlock
from derivations.gaussian import SoftmaxMean
from numerics.compile import compile_expression
from numerics.compile.softmax_means import softmax_mean_value

ACTIVATIONS = {
    "relu": lambda v: np.maximum(v, 0),
    "tanh": np.tanh,
    "identity": lambda v: v,
    "silu": lambda v: v / (1 + np.exp(-v)),
}


class DrawnBlock:
    """One layer of many networks with the same draws for both signs of the matrices at the end of branches.

    Parameters
    ----------
    block : Recipe
        Its width is a number.
    start : array, shape (neurons, inputs × positions)
    samples : int
    rng : Generator
    """

    def __init__(self, block, start, samples, rng):
        self.block, self.rng, self.samples, self.kept = block, rng, samples, {}
        self.n, self.m, self.p = len(start), block.inputs, int(np.prod(getattr(block, "positions", ()) or 1))
        self.start = np.broadcast_to(start, (samples, *start.shape))

    def step(self, size, sign=1.0):
        """The increment of the state, shape (samples, neurons, coordinates), at a size of the small parameter."""
        self.size, self.sign = size, sign
        block, x = self.block, self.start
        if isinstance(block, TransformerBlock):
            first = self.attended(self.read(x))
            if block.parallel:
                return self.added(x, first + self.perceptron(self.read(x)), "b") - x
            y = self.added(x, first, "b")
            return self.added(y, self.perceptron(self.read(y)), "c") - x
        branch = self.attended if isinstance(block, AttentionBlock) else self.perceptron
        return self.added(x, branch(self.read(x)), "b") - x

    def once(self, name, make):
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def whole(self, number):
        """A number of neurons that may be said in n."""
        return int(sp.sympify(number).subs(sp.Symbol("n", integer=True, positive=True), self.n))

    def normed(self, x):
        if self.block.norm == "none":
            return x
        if self.block.norm == "layer":
            x = x - x.mean(axis=1, keepdims=True)
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True))

    def read(self, x):
        return self.normed(x) if self.block.place == "pre" else x

    def added(self, x, branch, name):
        keep = float(self.block.keep_branch)
        if keep != 1:  # one factor for each input
            coin = self.once(name, lambda: self.rng.random((self.samples, 1, self.m)) < keep)
            branch = branch * np.repeat(coin, self.p, axis=2) / keep
        after = x + self.size * branch
        return self.normed(after) if self.block.place == "post" else after

    def dropped(self, x, name):
        keep = float(self.block.keep)
        return x if keep == 1 else x * self.once(name, lambda: self.rng.random(x.shape) < keep) / keep

    def entries(self, rows, columns):
        """Of variance 1 over the number of columns."""
        shape, law = (self.samples, rows, columns), str(self.block.law)
        if law == "rademacher":
            return self.rng.choice([-1.0, 1.0], shape) / np.sqrt(columns)
        if law == "orthogonal":
            big = max(rows, columns)
            q, r = np.linalg.qr(self.rng.standard_normal((self.samples, big, big)))
            q *= np.sign(np.einsum("sii->si", r))[:, None, :]
            return q[:, :rows, :columns] * np.sqrt(big / columns)
        return self.rng.standard_normal(shape) / np.sqrt(columns)

    def taps(self, x):
        """What a filter reads, its weights side by side."""
        if not isinstance(self.block, ConvBlock):
            return x, 1
        (filter_,), reads = self.block.filter, []
        grid = x.reshape(*x.shape[:2], self.m, self.p)
        for offset in range(-(filter_ // 2), filter_ // 2 + 1):
            moved = np.roll(grid, -offset, axis=3)
            if not self.block.circular:
                place = np.arange(self.p) + offset
                moved = np.where((place >= 0) & (place < self.p), moved, 0.0)
            reads.append(moved.reshape(x.shape))
        return np.concatenate(reads, axis=1), filter_

    def matrix(self, name, rows, x, share=1.0, end=False):
        b = self.block
        reads, taps = self.taps(x)

        def make():
            w = self.entries(rows, reads.shape[1])
            if end and b.row_covariance is not None:
                w = np.linalg.cholesky(np.array(b.row_covariance, dtype=float)) @ w
            if end and b.column_covariance is not None:
                root = np.linalg.cholesky(np.array(b.column_covariance, dtype=float))
                w = w @ np.kron(np.eye(taps), root.T)
            return w * np.sqrt(float(b.weight_variance) * share), self.rng.standard_normal((self.samples, rows, 1))

        w, bias = self.once(name, make)
        out = w @ reads + np.sqrt(float(b.bias_variance) * share) * bias
        average = reads.mean(axis=1, keepdims=True)
        if not end:
            return out + float(b.weight_mean) * average + float(b.bias_mean)
        return self.sign * out + self.size * share * (float(b.output_mean) * average + float(b.output_bias_mean))

    def perceptron(self, x):
        b, act = self.block, ACTIVATIONS[self.block.activation.name]
        hidden = self.whole(b.hidden)
        inside = act(self.matrix("B", hidden, x))
        if isinstance(b, GatedBlock):
            inside = inside * self.matrix("C", hidden, x)
        return self.matrix("A", self.n, self.dropped(inside, "dh"), end=True)

    def attended(self, x):
        b, total = self.block, 0.0
        k, values = self.whole(b.size), self.whole(b.value_size)
        mask = np.tril(np.ones((self.p, self.p))) if b.masked else np.ones((self.p, self.p))

        def tokens(y):
            return np.moveaxis(y.reshape(*y.shape[:2], self.m, self.p), 2, 1)

        for h in range(b.heads):
            q, key, v = (
                tokens(self.matrix(f"{name}{h}", rows, x)) for name, rows in (("Q", k), ("K", k), ("V", values))
            )
            scores = np.swapaxes(q, 2, 3) @ key / (k if b.scale == "linear" else np.sqrt(k))
            shares = mask * (np.exp(scores) if b.kind == "softmax" else scores)
            if b.kind == "softmax":
                shares = shares / shares.sum(axis=3, keepdims=True)
            seen = np.moveaxis(v @ np.swapaxes(shares, 2, 3), 1, 2).reshape(self.samples, values, -1)
            total = total + self.matrix(f"O{h}", self.n, self.dropped(seen, f"d{h}"), 1 / b.heads, end=True)
        return total


KINDS = (MLPBlock, GatedBlock, ConvBlock, AttentionBlock, TransformerBlock)


def valued(expr):
    """A number, and what the means over a softmax in it may err by."""
    nodes = {node: sp.Dummy() for node in expr.atoms(SoftmaxMean)}
    opened = expr.xreplace(nodes)
    found = {name: softmax_mean_value(node) for node, name in nodes.items()}
    at = {name: value for name, (value, _) in found.items()}
    slopes = (abs(float(sp.diff(opened, name).xreplace(at))) * error for name, (_, error) in found.items())
    return float(compile_expression((), opened.xreplace(at))()), sum(slopes)


def distances(found, wanted, allowed):
    """In standard errors, of samples along the first axis from numbers that may err."""
    error = found.std(axis=0) / np.sqrt(len(found))
    return np.abs(found.mean(axis=0) - wanted) / np.maximum(np.hypot(error, allowed), 1e-9)
