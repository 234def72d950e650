r"""The first step of a transformer's block against networks with weights drawn, their gradients written by hand.

One step of a matrix in all layers, to first order in the learning rate: what the matrix puts out, the output, and the state, which moves by two
ways: with the attention held fast, and through the scores of later layers, which is the larger one where the width grows first. At these widths
that is seen of queries alone, which move nothing else. Widths and depths are doubled three times, so that the exponents of both are seen apart;
at :math:`r = p = \frac12`.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtr

from derivations import TransformerBlock, scalings
from derivations.symbols import width as n

TOKENS = 3
WIDTHS, DEPTHS, BESIDE = (16, 32, 64, 128), (2, 4, 8, 16), {"width": 4, "depth": 64}
NETWORKS, SMALL = 8, 1e-6
HALF = sp.Rational(1, 2)
#: Exponents are multiples of 1/2, so that a wrong one is at least 1/4 further off.
APART = 0.25
#: Where a matrix is read, in what a layer keeps.
READ = {"V": "y", "Q": "y", "B": "z"}


def rms(x):
    return np.sqrt((x**2).mean(-1, keepdims=True))


def through_norm(x, gradient):
    y = x / rms(x)
    return (gradient - y * (gradient * y).mean(-1, keepdims=True)) / rms(x)


def forward(w, start, scale, held=None):
    """The output, the last state, and what each layer keeps; with shares of attention that are given, if they are."""
    x, kept = start, []
    for layer in range(len(w["V"])):
        v, q, k, o, b, a = (w[name][layer] for name in "VQKOBA")
        y = x / rms(x)
        scores = (y @ q.T) @ (y @ k.T).T / np.sqrt(x.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares = shares / shares.sum(-1, keepdims=True) if held is None else held[layer]["shares"]
        m = shares @ (y @ v.T)
        middle = x + scale * m @ o.T
        z = middle / rms(middle)
        u = z @ b.T
        kept.append({"x": x, "y": y, "shares": shares, "m": m, "middle": middle, "z": z, "u": u})
        x = middle + scale * (u * ndtr(u)) @ a.T
    return (x @ w["v"]).sum(), x, kept


def gradients(w, kept, scale):
    """Of the output with respect to all matrices of the layers."""
    found = {k: np.empty_like(w[k]) for k in "VQKOBA"}
    back = np.tile(w["v"], (TOKENS, 1))
    for layer in reversed(range(len(kept))):
        v, q, k, o, b, a = (w[name][layer] for name in "VQKOBA")
        s = kept[layer]
        u, y, width = s["u"], s["y"], len(w["v"])
        at_u = scale * (back @ a) * (ndtr(u) + u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi))
        found["A"][layer], found["B"][layer] = scale * back.T @ (u * ndtr(u)), at_u.T @ s["z"]
        back = back + through_norm(s["middle"], at_u @ b)
        found["O"][layer] = scale * back.T @ s["m"]
        at_m = scale * back @ o
        at_v, at_shares = s["shares"].T @ at_m, at_m @ (y @ v.T).T
        at_scores = s["shares"] * (at_shares - (at_shares * s["shares"]).sum(-1, keepdims=True)) / np.sqrt(width)
        at_q, at_k = at_scores @ (y @ k.T), at_scores.T @ (y @ q.T)
        found["V"][layer], found["Q"][layer], found["K"][layer] = at_v.T @ y, at_q.T @ y, at_k.T @ y
        back = back + through_norm(s["x"], at_q @ q + at_k @ k + at_v @ v)
    return found


def drawn(width, depth, seed):
    rng = np.random.default_rng(seed)
    w = {k: rng.standard_normal((depth, width, width)) / np.sqrt(width) for k in "VQKOBA"}
    w["v"] = rng.standard_normal(width) / np.sqrt(width)
    start = np.linalg.cholesky(0.7 * np.eye(TOKENS) + 0.3) @ rng.standard_normal((TOKENS, width))
    return w, start, depth**-0.5


def pushed(w, step, *network, held=None):
    """The changes of the output and of the state, by a difference quotient."""
    ends = [forward({**w, **{k: w[k] + h * d for k, d in step.items()}}, *network, held)[:2] for h in (SMALL, -SMALL)]
    return tuple((one - other) / (2 * SMALL) for one, other in zip(*ends, strict=True))


def moved(width, depth, seed):
    """Logarithms of the sizes of the changes by rule, matrix and what changes."""
    w, *network = drawn(width, depth, seed)
    _, _, kept = forward(w, *network)
    gradient, found = gradients(w, kept, network[1]), {}
    for rule in ("sgd", "sign"):
        for name, place in READ.items():
            step = gradient[name] if rule == "sgd" else np.sign(gradient[name]) / width
            output, state = pushed(w, {name: step}, *network)
            fast = pushed(w, {name: step}, *network, held=kept)[1]
            own = np.stack([k[place] for k in kept]) @ step.swapaxes(1, 2)
            size = (
                1 if rule == "sgd" else width
            )  # the step was taken smaller, so that the quotient is of the same accuracy
            for what, change in {"own": own, "output": output, "state": state - fast}.items():
                found[rule, name, what] = np.log(size**2 * (change**2).mean()) / 2
    return found


def slopes(rows):
    """Exponents in what is doubled, of the means over networks."""
    sizes = np.log(list(rows))
    means = {k: [np.mean([one[k] for one in many]) for many in rows.values()] for k in next(iter(rows.values()))[0]}
    return {k: float(np.polyfit(sizes, mean, 1)[0]) for k, mean in means.items()}


def test_gradients_by_hand_are_those_of_the_networks():
    w, *network = drawn(8, 3, 0)
    gradient = gradients(w, forward(w, *network)[2], network[1])
    rng = np.random.default_rng(1)
    for name, one in gradient.items():
        step = rng.standard_normal(one.shape)
        assert pushed(w, {name: step}, *network)[0] == pytest.approx((one * step).sum(), rel=1e-6), name


@pytest.mark.slow
def test_a_step_moves_as_much_as_networks_say():
    found = scalings(TransformerBlock(width=n), training=True)
    at = dict.fromkeys((*found.stands, sp.Symbol("r", real=True)), HALF)
    wide = slopes({k: [moved(k, BESIDE["width"], seed) for seed in range(NETWORKS)] for k in WIDTHS})
    deep = slopes({k: [moved(BESIDE["depth"], k, seed) for seed in range(NETWORKS)] for k in DEPTHS})
    compared = 0
    for rule in ("sgd", "sign"):
        for row in found.moved(rule):
            for what in ("own", "output", *(("state",) if row.name == "Q" else ())):
                if (key := (rule, row.name, what)) in wide:
                    power = getattr(row, what)
                    for slope, theirs in ((wide[key], power.width), (deep[key], power.depth)):
                        assert abs(slope - float(theirs.xreplace(at))) < APART, key
                        compared += 1
    assert compared == 28


@pytest.mark.slow
def test_a_rate_that_jumps_above_the_usual_readout_is_that_of_the_usual_readout():
    # where r is above 1/2 the scores bound the rate, at 1/2 the output does, by another power of the depth; this did not end
    found = scalings(TransformerBlock(width=n), training=True)
    for rule, rate in (("sgd", (1, 0)), ("sign", (HALF * 3, HALF))):
        at = {s: HALF for s in found.stands}
        (row,) = (row for row in found.moved(rule) if row.name == "Q")
        assert (-row.rate.width, -row.rate.depth.xreplace(at)) == rate == found.rates(rule)["Q"]
    (above,) = (row for row in found.moved("sign", readout=1) if row.name == "Q")
    assert above.rate.depth == 0
