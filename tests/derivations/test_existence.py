"""Existence, uniqueness and explosion of a limit, and whether networks do what is said."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import sympy as sp

from derivations import derive
from derivations.activations import identity, relu, silu, tanh
from derivations.architectures import ConvResNet, ResNet, ShrinkingResNet
from derivations.errors import DerivationError
from derivations.existence import existence
from derivations.limits import depth_limit, width_limit
from derivations.symbols import width
from numerics.networks import simulate_network
from numerics.outcomes import ExplosionWarning

x = sp.Symbol("x", real=True)
ramp = sp.Max(x, 0)

CASES = {
    "relu": (ResNet(relu, 3), "yes", "cannot"),
    "square, one": (ResNet(x**2, 1), "yes", "cannot"),
    "square, two": (ResNet(x**2, 2), "yes", "cannot"),
    "square, three": (ResNet(x**2, 3), "yes", "can"),
    "square, any": (ResNet(x**2, width), "yes", "not known"),
    "cube, two inputs": (ResNet(x**3, 4, inputs=2), "yes", "can"),
    "one-sided": (ResNet(ramp**2, 5), "yes", "cannot"),
    "one-sided and linear": (ResNet(ramp**2 + x, 5), "yes", "cannot"),
    "exponential": (ResNet(sp.exp(x), 5), "yes", "cannot"),
    "hyperbolic": (ResNet(sp.cosh(x), 3), "yes", "can"),
    "logarithm between": (ResNet(x * sp.log(1 + x**2), 3), "yes", "not known"),
    "crossing": (ResNet(sp.Abs(x) ** sp.Rational(1, 4), 1), "no", "cannot"),
    "root": (ResNet(sp.sqrt(sp.Abs(x)), 1), "yes", "cannot"),
    "root, two": (ResNet(sp.sqrt(sp.Abs(x)), 2), "not known", "cannot"),
    "root at a level": (ResNet(1 + sp.sqrt(sp.Abs(x)), 2), "not known", "cannot"),
    "pole": (ResNet(1 / (x - 1), 1), "not known", "not known"),
    "silu, one": (ShrinkingResNet(silu, identity, 1), "yes", "can"),
    "silu, three": (ShrinkingResNet(silu, identity, 3), "yes", "can"),
    "silu around tanh": (ShrinkingResNet(silu, tanh, 3), "yes", "cannot"),
    "silu around a root": (ShrinkingResNet(silu, sp.sqrt(1 + sp.Abs(x)), 3), "yes", "cannot"),
    "means": (ShrinkingResNet(tanh, identity, 3, weight_mean=1, bias_mean=1), "yes", "cannot"),
    "means and curvature": (ShrinkingResNet(silu, identity, 3, weight_mean=1), "yes", "not known"),
    "convolution": (ConvResNet(tanh, relu, 2, positions=(3,), filter=(3,)), "yes", "cannot"),
    "convolution, square": (ConvResNet(tanh, x**2, 2, positions=(3,), filter=(3,)), "yes", "not known"),
}


@pytest.mark.parametrize("name", CASES)
def test_existence_uniqueness_and_explosion(name):
    network, unique, explodes = CASES[name]
    found = existence(depth_limit(network), network)
    assert (found.unique, found.explodes) == (unique, explodes)
    assert all(found.reasons)


def test_a_derivation_says_it_in_every_format():
    d = derive(ResNet(x**2, width=3))
    assert d.existence.explodes == "can"
    step = d.steps[-1]
    assert step.name == "Existence"
    for text in (str(d), d.latex(), json.dumps(json.loads(d.to_json()), ensure_ascii=False)):
        assert "it can explode" in " ".join(text.split())
        assert "does not return" in " ".join(text.split())
    assert derive(ResNet(relu, width=sp.oo)).existence is None
    with pytest.raises(DerivationError, match="of a diffusion"):
        existence(width_limit(ResNet(relu, width=sp.oo)), ResNet(relu, width=sp.oo))


def beyond(network, depth: int, samples: int = 4000, seed: int = 0) -> float:
    """The share of networks that are beyond 10⁶ at t = 1, from all neurons at 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplosionWarning)
        ends = simulate_network(network, depth, samples, x0=1.0, seed=seed)
    return float(np.mean(np.abs(ends).max(axis=(1, 2)) > 1e6))


def test_networks_explode_where_the_limit_does():
    shares = [beyond(ResNet(x**2, 3), depth) for depth in (100, 400, 1600)]
    error = np.sqrt(0.17 * 0.83 / 4000)
    assert all(abs(share - 0.17) < 4 * error + 0.02 for share in shares)  # whatever the depth
    for control in (ResNet(x**2, 1), ResNet(ramp**2, 3)):  # vanishes with depth where it cannot
        early, late = beyond(control, 100), beyond(control, 1600)
        assert late < 0.5 * early + 0.002
