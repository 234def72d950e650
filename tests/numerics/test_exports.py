"""Limits for other solvers: the same coefficients, and networks' statistics from a solver that shares no code with ours."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Diffusion, MLPBlock, ResNet, derive, gelu, relu, symbols
from numerics import to_diffrax, to_sympy_lambda, to_torchsde
from numerics.linalg import triangle

x, y = sp.symbols("x y", real=True)
GRAM = derive(MLPBlock(relu, width=8)).gram  # log V_1 ~ N(3/8, 1/4) from V = 1: dV = V/2 dt + V/√4 dB
MEAN, VARIANCE = 0.375, 0.25


def euler(drift, noise, seed=0, samples=20_000, steps=50) -> np.ndarray:
    """Paths from 1 at time 1 by a loop of our own."""
    normals = np.random.default_rng(seed).standard_normal((steps, samples))
    at = np.ones((samples, 1))
    for k in range(steps):
        move = (noise(k / steps, at) @ normals[k][:, None, None])[..., 0]
        at = at + drift(k / steps, at) / steps + move / np.sqrt(steps)
    return np.log(at[:, 0])


def assert_log_normal(logs, steps):
    """Mean and variance within 4 standard errors and the weak error of Euler's scheme, which is below 1/steps; a wrong noise is seen."""
    size = len(logs)
    assert abs(logs.mean() - MEAN) < 4 * np.sqrt(VARIANCE / size) + 1 / steps
    off = 4 * VARIANCE * np.sqrt(2 / size) + 1 / steps
    assert abs(logs.var() - VARIANCE) < off
    assert abs(logs.var() - 1.3 * VARIANCE) > off, "the control passes"


def test_functions_of_arrays_drive_a_loop_by_hand():
    drift, covariance = to_sympy_lambda(GRAM)
    assert_log_normal(euler(drift, lambda t, v: np.sqrt(covariance(t, v))), 50)


def test_shapes_and_values_of_several_states_and_of_time():
    limit = Diffusion((x, y), [-x, symbols.time * y], [[x**2, 0], [0, 1]])
    drift, covariance = to_sympy_lambda(limit)
    at = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    assert drift(0.5, at).tolist() == [[[-1.0, 1.0], [-3.0, 2.0]]]
    assert covariance(0.5, at).shape == (1, 2, 2, 2)
    assert covariance(0.5, at)[0, 1].tolist() == [[9.0, 0.0], [0.0, 1.0]]
    flow = derive(ResNet(relu, width=sp.oo, inputs=2)).limit
    assert np.all(to_sympy_lambda(flow)[1](0.0, [1.0, 0.5, 1.0]) == 0)


def test_the_triangle_is_a_root_also_of_singular_matrices():
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((50, 4, 4)) * (rng.random((50, 1, 4)) < 0.7)
    a = roots @ roots.swapaxes(-1, -2)
    found = triangle(a, np, np.sqrt)
    assert np.abs(found @ found.swapaxes(-1, -2) - a).max() < 1e-6  # a pivot below rounding is left out
    assert np.all(np.triu(found, 1) == 0)


@pytest.mark.parametrize("export", [to_sympy_lambda, to_torchsde, to_diffrax], ids=lambda f: f.__name__)
def test_parameters_that_are_left_are_named(export):
    with pytest.raises(ValueError, match="a limit is exported at a width that is a number, got width n"):
        export(derive(ResNet(relu, width=symbols.width)).limit)
    with pytest.raises(ValueError, match="the limit has the parameters n left"):
        export(derive(MLPBlock(relu, width=symbols.width)).gram)


def test_states_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"states must have the shape \(..., 1\), got \(3,\)"):
        to_sympy_lambda(GRAM)[0](0.0, [1.0, 2.0, 3.0])


class TestJax:
    def test_a_loop_of_our_own_with_the_functions_for_diffrax(self):
        jax = pytest.importorskip("jax")
        drift, noise = to_diffrax(GRAM)
        with jax.enable_x64(True):
            logs = euler(
                lambda t, v: np.asarray(drift(t, v, None)), lambda t, v: np.asarray(noise(t, v, None)), samples=4000
            )
        assert_log_normal(logs, 50)

    def test_the_factor_belongs_to_the_covariance(self):
        jax = pytest.importorskip("jax")
        limit = derive(ResNet(gelu, width=2, inputs=2)).limit
        with jax.enable_x64(True):
            _, noise = to_diffrax(limit)
            at = np.array([0.3, -1.0, 2.0, 0.5])
            factor = np.asarray(noise(0.0, at, None))
        assert np.abs(factor @ factor.T - to_sympy_lambda(limit)[1](0.0, at)).max() < 1e-12

    def test_a_factor_of_the_limit_is_kept(self):
        jax = pytest.importorskip("jax")
        with jax.enable_x64(True):
            _, noise = to_diffrax(Diffusion((x, y), [0, 0], sigma=[x, y]))
            assert np.asarray(noise(0.0, np.array([2.0, 3.0]), None)).tolist() == [[2.0], [3.0]]

    def test_diffrax_solves_it(self):
        jax, diffrax = pytest.importorskip("jax"), pytest.importorskip("diffrax")
        drift, noise = to_diffrax(GRAM)

        @jax.vmap
        def run(key):
            motion = diffrax.VirtualBrownianTree(0.0, 1.0, tol=1e-3, shape=(1,), key=key)
            terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(noise, motion))
            return diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, 1.0, dt0=0.02, y0=jax.numpy.ones(1)).ys[-1, 0]

        logs = np.log(np.asarray(run(jax.random.split(jax.random.key(0), 4000)), dtype=float))
        assert_log_normal(logs, 50)


def test_a_negative_variance_outside_the_domain_is_no_covariance():
    # a solver's step below V = 0 got a negative matrix without a word
    normed = to_sympy_lambda(derive(MLPBlock(relu, width=8, norm="rms")).gram)[1](0.0, [[-1.0], [0.0], [1.0]]).ravel()
    assert np.isnan(normed[0])
    assert normed[1:].tolist() == [0.0, 0.25]  # the control: the end of the domain and its inside
