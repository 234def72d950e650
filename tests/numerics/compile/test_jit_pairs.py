"""Flows over pairs as machine code: the numbers of the array code to rounding, refusals, and the choice between both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import ConvResNet, ResNet, ShrinkingResNet, erf, gelu, identity, relu, silu, softplus, tanh
from numerics.backends import NUMPY
from numerics.backends.numba import NUMBA
from numerics.compile import jit
from numerics.kernels import derived, kernel_matrices, kernel_matrix

pytest.importorskip("numba", reason="machine-code kernels need the extra fast")

HALF = sp.Rational(1, 2)
X = np.random.default_rng(0).normal(size=(60, 3))
CLOSED = {
    "relu with bias": ShrinkingResNet(tanh, relu, width=sp.oo, bias_variance=HALF),
    "erf": ShrinkingResNet(tanh, erf, width=sp.oo, weight_variance=2),
    "gelu": ShrinkingResNet(erf, gelu, width=sp.oo, bias_variance=HALF),
}
WITHOUT = {
    "moving means": (ShrinkingResNet(silu, erf, width=sp.oo), "means move"),
    "no closed mean": (ShrinkingResNet(tanh, softplus, width=sp.oo), "no closed form"),
    "a map of the correlation": (ResNet(relu, width=sp.oo), "pair by pair"),
    "linear": (ShrinkingResNet(tanh, identity, width=sp.oo), "pair by pair"),
    "a grid": (ConvResNet(tanh, relu, width=sp.oo, positions=(3,), filter=(1,)), "pair by pair"),
}


def apart(a, b):
    """The largest difference, in the unit of the largest entry."""
    return np.max(np.abs(a - b)) / np.max(np.abs(b))


@pytest.mark.slow
@pytest.mark.parametrize("network", CLOSED.values(), ids=CLOSED)
def test_machine_code_gives_the_numbers_of_arrays(network):
    # both evaluate the same formulas to their accuracy, and over t = 1 the flow stretches differences as it does kernels
    rounding = NUMPY.tolerance + NUMBA.tolerance
    arrays, compiled = (kernel_matrices(network, X, backend=backend) for backend in ("numpy", "numba"))
    off = kernel_matrices(replace(network, weight_variance=network.weight_variance * (1 + sp.Rational(1, 10**11))), X)
    for name in ("nngp", "ntk"):
        array, machine_code, wrong = (getattr(kernels, name) for kernels in (arrays, compiled, off))
        assert apart(machine_code, array) < rounding < apart(wrong, array)
    crossed = [kernel_matrix(network, X[:20], other=X[20:], backend=backend) for backend in ("numpy", "numba")]
    assert apart(*crossed) < rounding


def test_threads_change_nothing():
    inputs = np.random.default_rng(1).normal(size=(300, 4))  # more than one block
    one, two = (kernel_matrix(CLOSED["erf"], inputs, t=0.3, workers=w, backend="numba") for w in (1, 2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize(("network", "says"), WITHOUT.values(), ids=WITHOUT)
def test_where_there_is_no_kernel_numba_is_refused_and_auto_takes_arrays(network, says, monkeypatch):
    inputs = X[:4, :, None] * np.ones(3) if network.positions else X[:4]
    with pytest.raises(ValueError, match=says):
        kernel_matrix(network, inputs, t=0.2, backend="numba")
    monkeypatch.setattr(jit, "WORTH_COMPILING", 0)
    arrays, auto = (kernel_matrix(network, inputs, t=0.2, backend=backend) for backend in ("numpy", "auto"))
    assert np.array_equal(arrays, auto)
    with pytest.raises(ValueError, match="unknown backend"):
        kernel_matrix(network, inputs, backend="fortran")


def test_auto_takes_machine_code_for_many_means(monkeypatch):
    compiled, pair_kernel = [], derived.pair_kernel
    monkeypatch.setattr(derived, "pair_kernel", lambda *said: compiled.append(said) or pair_kernel(*said))

    def fuses(**options):
        compiled.clear()
        kernel_matrix(CLOSED["erf"], X[:5], **options)
        return bool(compiled)

    assert [fuses(backend=backend) for backend in ("numpy", "numba", "auto")] == [False, True, False]
    monkeypatch.setattr(jit, "WORTH_COMPILING", 1)
    assert [fuses(), fuses(t=0.0)] == [True, False]
    monkeypatch.setattr(jit, "is_available", lambda: False)
    assert not fuses()
