"""Kernels in machine code: the same numbers as arrays give, for every kind of coefficient; and what is refused."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp

from derivations.activations import gelu, ornstein_uhlenbeck, relu, tanh
from derivations.architectures import (
    MLP,
    AttentionBlock,
    ConvBlock,
    ConvResNet,
    Network,
    PreNormResNet,
    ResNet,
    ShapedMLP,
    ShrinkingResNet,
    TransformerBlock,
)
from derivations.derivation import derive
from derivations.diffusion import Diffusion
from derivations.language import Weights, average, drop_branch, dropout, layer_norm, mixed, rms_norm
from derivations.limits import depth_limit
from derivations.special import ErfiInv, ScaledBesselI
from derivations.symbols import step as eps
from derivations.symbols import time
from numerics import backends
from numerics.compile import jit, jit_paths
from numerics.networks import simulate_network
from numerics.paths import simulate_sde
from numerics.schemes import find_scheme
from tests.helpers import Made

pytest.importorskip("numba", reason="machine-code kernels need the extra fast")
from numerics.special import scalar

x, y = sp.symbols("x y", real=True)
CASES = Made(
    {
        "layer": lambda: (depth_limit(ResNet(relu, width=4)), 0.7),
        "inputs": lambda: (depth_limit(ResNet(tanh, width=2, inputs=2)), [1.0, 0.3, -0.5, 0.2]),
        "equal inputs": lambda: (depth_limit(ResNet(relu, width=2, inputs=2)), 1.0),
        "scalar": lambda: (depth_limit(ResNet(gelu, width=1)), 0.5),
        "solvable": lambda: (depth_limit(ResNet(ornstein_uhlenbeck, width=1)), 0.3),
        "many inputs": lambda: (depth_limit(ResNet(relu, width=2, inputs=8)), np.linspace(-1, 1, 16)),
        "matrix": lambda: (
            Diffusion((x, y), [-x + y * time, sp.sin(x)], [[1 + x**2, x * y], [x * y, 1 + y**2]]),
            [1.0, -0.5],
        ),
        "special": lambda: (
            Diffusion(
                (x,), [-ErfiInv(x) + sp.erf(x) / 2 - sp.Heaviside(x, 0)], [[ScaledBesselI(0, x**2) + sp.erfc(x)]]
            ),
            0.1,
        ),
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_machine_code_gives_the_numbers_that_arrays_give(case):
    limit, x0 = CASES[case]
    kwargs = {"x0": x0, "t": 0.5, "steps": 20, "samples": 300, "seed": 3}
    kwargs["scheme"] = "euler_maruyama"
    arrays, kernel = (simulate_sde(limit, **kwargs, backend=b) for b in ("numpy", "numba"))
    # equal inputs, or more of them than neurons, make a singular G: a pivot of the size of rounding, 4mε G, counts or does
    # not, and enters a step by its root
    singular = case in ("equal inputs", "many inputs")
    tolerance = 20 * np.sqrt(4 * limit.inputs * np.finfo(float).eps) if singular else 1e-12
    np.testing.assert_allclose(kernel, arrays, rtol=tolerance, atol=tolerance)
    assert np.abs(kernel - simulate_sde(limit, **{**kwargs, "seed": 4}, backend="numba")).max() > 0.01  # the control


def test_any_number_of_workers_gives_the_same_bits():
    limit, x0 = CASES["layer"]
    kwargs = {"x0": x0, "steps": 3, "samples": 20_000, "seed": 3, "backend": "numba"}
    one = simulate_sde(limit, **kwargs)
    assert np.array_equal(one, simulate_sde(limit, **kwargs, workers=2))
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as executor:
        assert np.array_equal(one, simulate_sde(limit, **kwargs, workers=executor))


def test_chosen_times_and_drawn_starts_follow_the_same_stream():
    from derivations.laws import Normal

    limit, _ = CASES["layer"]
    kwargs = {"x0": Normal(0, 1), "steps": 8, "samples": 50, "times": [0.0, 0.5, 1.0]}
    kwargs["scheme"] = "euler_maruyama"
    arrays, kernel = (simulate_sde(limit, **kwargs, backend=b) for b in ("numpy", "numba"))
    assert kernel.shape == (3, 50, 4)
    np.testing.assert_allclose(kernel, arrays, rtol=1e-12)


def test_what_is_chosen_depends_on_the_work_alone(monkeypatch):
    limit, _ = CASES["layer"]
    euler, exact = (lambda name=name: find_scheme(name).jit(limit) for name in ("euler_maruyama", "exact"))
    assert [jit.uses_jit("auto", work, euler) for work in (2**20, 2**26)] == [False, True]
    assert not jit.uses_jit("auto", 2**26, exact)  # no kernel: arrays
    monkeypatch.setattr(jit, "is_available", lambda: False)
    assert not jit.uses_jit("auto", 2**26, euler)


def test_a_missing_numba_is_named(monkeypatch):
    monkeypatch.setattr(backends, "BACKENDS", (backends.NUMPY, backends.MPMATH))
    with pytest.raises(ValueError, match=r"deeplimits\[fast\]"):
        simulate_sde(CASES["layer"][0], 1.0, backend="numba")


@pytest.mark.slow
def test_what_has_no_kernel_is_refused():
    limit, _ = CASES["layer"]
    with pytest.raises(ValueError, match="no machine-code kernel"):
        simulate_sde(limit, 1.0, backend="numba", scheme="exact")
    with pytest.raises(ValueError, match="singular at t = 0"):
        jit_paths.euler_kernel(derive(MLP(relu, inputs=2), order="joint").limit)
    with pytest.raises(ValueError, match="unknown backend"):
        simulate_sde(limit, 1.0, backend="fortran")
    with pytest.raises(ValueError, match="no machine code for"):
        jit.printed_function("f", (x,), [sp.zeta(x)])
    many = sp.symbols("v:17", real=True)
    dense = sp.eye(17) + sp.ones(17)
    with pytest.raises(ValueError, match="up to 16 states"):
        jit_paths.euler_kernel(Diffusion(many, [0] * 17, dense))


def test_the_hyperbolic_tangent_is_right_to_the_last_bits():
    points = np.concatenate([np.linspace(-3, 3, 601), [-1e300, -30.0, -1e-300, 0.0, 1e-20, 0.625, 20.0, np.inf]])
    with mpmath.workdps(30):
        for point in points:
            exact = mpmath.tanh(mpmath.mpf(float(point)))
            assert abs(scalar.tanh(point) - exact) <= 2.3e-16 * abs(exact)
    assert np.isnan(scalar.tanh(np.nan))


def test_what_numba_cannot_compile_falls_back_to_arrays():
    broken = jit.compiled_kernel("def kernel(x):\n    return undefined(x)")
    with pytest.raises(ValueError, match="Numba cannot compile"):
        jit.warmed(broken, 1.0)
    assert not jit.uses_jit("auto", 2**26, lambda: jit.warmed(broken, 1.0))


@pytest.mark.slow
def test_a_joint_limit_has_a_kernel_too():
    limit = derive(ShapedMLP(tanh, inputs=2, a=1), order="joint").limit
    kwargs = {"x0": [1.0, 0.3, 1.0], "t": 0.2, "steps": 10, "samples": 50}
    kwargs["scheme"] = "euler_maruyama"
    arrays, kernel = (simulate_sde(limit, **kwargs, backend=b) for b in ("numpy", "numba"))
    np.testing.assert_allclose(kernel, arrays, rtol=1e-11)


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e-3, 0.2, 0.9, 3.0, -40.0, 1e30, 1e300, np.inf])
def test_scalar_twins_agree_with_arrays(value):
    from numerics import special

    assert scalar.erfi_inv(value) == pytest.approx(float(special.erfi_inv(value)), rel=4e-15)
    assert scalar.scaled_bessel_i(0.5, abs(value)) == pytest.approx(
        float(special.scaled_bessel_i(0.5, abs(value))), rel=1e-14, nan_ok=True
    )
    assert scalar.logaddexp(0.0, value) == np.logaddexp(0.0, value)
    with mpmath.workdps(30):
        assert scalar.kv(0.5, 2.0) == pytest.approx(float(mpmath.besselk(0.5, 2)), rel=1e-14)


@pytest.mark.slow
def test_kernels_are_kept_on_disk(tmp_path):
    code = (
        "from derivations import ResNet, depth_limit, relu; from numerics.compile.jit_paths import euler_kernel\n"
        "import numpy as np\n"
        "kernel = euler_kernel(depth_limit(ResNet(relu, width=4)))\n"
        "kernel(np.ones((4, 1, 4)), 0.0, 0.1, 2, np.random.Generator(np.random.SFC64(0)))\n"
        "print(sum(kernel.stats.cache_hits.values()))"
    )
    environment = {"DEEPLIMITS_CACHE": str(tmp_path), "PATH": ""}
    root = Path(__file__).parents[3]
    hits = [
        subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert [int(h) for h in hits] == [0, 1]
    (source,) = (tmp_path / "deeplimits").glob("*.py")
    assert "rng.standard_normal()" in source.read_text()
    (tmp_path / "file").touch()  # nowhere to write: compiled all the same
    environment["DEEPLIMITS_CACHE"] = str(tmp_path / "file")
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True)


A, B, C = Weights("A"), Weights("B", out=7), Weights("C", out=7, bias_variance=1)
D = Weights("D", mean=1, bias_variance=2, bias_mean=-1)
BORDERED = Weights("W", filter=3, padding="zeros", mean=1, bias_variance=1)
NETWORKS = {
    **{f"ReLU, {m} inputs": ResNet(relu, width=5, inputs=m) for m in (1, 2, 3)},
    "GELU": ResNet(gelu, width=3, weight_variance=sp.Rational(3, 2)),
    "means and biases": ShrinkingResNet.example(),
    "perceptron": MLP(relu, inputs=2, width=5),
    "shaped": ShapedMLP(tanh, inputs=2, a=1, width=5, skip=sp.Rational(1, 2)),
    "pre-norm": PreNormResNet(relu, inputs=2, width=6),
    "two matrices": Network(lambda x: x + eps * A(relu(B(x))), width=4, inputs=2),
    "gate": Network(lambda x: x + eps * A(relu(B(rms_norm(x))) * C(layer_norm(x))), width=4, inputs=2),
    "dropout": Network(lambda x: x + eps * A(dropout(relu(B(x)), 0.5)), width=4, inputs=2),
    "masks": Network(
        lambda x: rms_norm(x + eps * drop_branch(A(dropout(relu(B(x)), 0.7, shared=True)), 0.8, name="e")),
        width=4,
        inputs=2,
    ),
    "one matrix twice": Network(lambda x: x + eps * D(tanh(D(x)) * average(D(x))), width=12, inputs=2),
    "variance of time": Network(lambda x: x + eps * Weights("A", variance=1 + time)(relu(x)), width=4),
    "shrinking filters": ConvResNet(tanh, relu, width=6, positions=(4,), filter=(3,), bias_variance=1),
    "two filters on a grid": ConvBlock(relu, width=8, positions=(2, 2), filter=(1, 1)),
    "a filter with a border, masks and means": Network(
        lambda x: x + eps * drop_branch(BORDERED(dropout(relu(x), 0.5)), 0.5), width=8, inputs=2, positions=3
    ),
    "positions mixed": Network(lambda x: x + eps * A(mixed([[0, 1], [2, 0]], x)), width=6, inputs=2, positions=2),
    "linear attention": AttentionBlock(width=8, positions=(2,), size=8, norm="rms", kind="linear"),
    "causal attention": AttentionBlock(width=6, positions=(3,), size=6, norm="rms", masked=True),
    "heads": AttentionBlock(width=6, positions=(2,), size=6, heads=2, norm="layer"),
    "transformer": TransformerBlock(width=6, positions=(2,), activation=relu, size=6),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_in_machine_code_are_those_of_the_arrays(name):
    network = NETWORKS[name]
    n, m = int(network.width), network.coordinates
    x0 = np.random.default_rng(1).normal(size=(n, m))
    kwargs = {"depth": 12, "samples": 40, "x0": x0, "seed": 2, "at": [0, 5, 12]}
    arrays, kernel = (simulate_network(network, **kwargs, backend=b) for b in ("numpy", "numba"))
    np.testing.assert_allclose(kernel, arrays, rtol=1e-11, atol=1e-12)
    assert np.array_equal(kernel, simulate_network(network, **kwargs, backend="numba", workers=2))
    assert np.abs(kernel - simulate_network(network, **{**kwargs, "seed": 3}, backend="numba")).max() > 0.01


def test_networks_from_inputs_and_with_a_record():
    network = ResNet(relu, width=6, inputs=2)
    a = np.array([[1.0, 2.0, 0.5], [-1.0, 0.3, 0.0]])
    kwargs = {"depth": 5, "samples": 30, "inputs": a, "record": lambda x: (x**2).sum((1, 2))}
    arrays, kernel = (simulate_network(network, **kwargs, backend=b) for b in ("numpy", "numba"))
    assert kernel.shape == (6, 30)
    np.testing.assert_allclose(kernel, arrays, rtol=1e-11)


def test_networks_without_a_kernel_are_refused():
    many = ConvBlock(relu, width=2, positions=(17,), filter=(3,))
    with pytest.raises(ValueError, match="up to 16"):
        simulate_network(many, 2, 3, x0=1.0, backend="numba")
    with pytest.raises(ValueError, match="in law"):
        simulate_network(ResNet(relu, width=3), 2, 3, x0=1.0, backend="numba", method="weights")
