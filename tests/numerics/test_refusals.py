"""Public refusals of the numeric side that nothing else asks for: the error, and its cause in the message."""

import os

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    Activation,
    Network,
    ResNet,
    Weights,
    depth_limit,
    derive,
    epsilon,
    recognise,
    relu,
    symbols,
    tanh,
    width_limit,
)
from derivations.diffusion import Diffusion, Flow
from numerics import choose, compile_law, expect_sde, kernel_matrix, simulate_network, simulate_sde
from numerics.cli.destination import checked_output
from numerics.cli.files import read_inputs, read_samples
from numerics.compile.jit_paths import euler_source, factor_lines
from numerics.compile.matrices import draw_matrices
from numerics.compile.samplers import transition
from numerics.ensembles import Histogram, Moments, Quantiles, reduce_ensemble
from numerics.expectations import choice
from numerics.flows import solve_flow
from numerics.fokker_planck import solve_fokker_planck
from numerics.networks import simulate_collapse, simulate_gram
from numerics.plots import Series, series_figure
from numerics.quadrature import expect
from numerics.regression import NNGPRegressor
from numerics.report import Inputs
from numerics.statistics import Estimate, convergence_order, ks_test
from tests.refused import assert_refused, refusals

x, y = sp.symbols("x y", real=True)
HALF = sp.Interval.open(0, sp.oo)
A, C = Weights("A"), sp.Symbol("c", positive=True)


def normals(first, count, rng):
    return rng.standard_normal(count)


def gbm():
    return compile_law(recognise(Diffusion((x,), [0], [[x**2]], HALF)), x0=1.0, t=1.0)


def theta():
    """A density that falls like a power."""
    return compile_law(recognise(Diffusion((x,), [0], [[(1 + x**2) ** 2]])), x0=0.4, t=0.5)


REFUSED = {
    "a tail that outgrows the law": (lambda: gbm().expect(lambda v: np.exp(v)), "the expectation is infinite"),
    "a tail that outgrows a kernel's law": (lambda: theta().expect(lambda v: np.exp(v * v)), "the expectation is infinite"),
    "a noise that is not resolved": (
        lambda: gbm().expect(lambda v: np.sin(1e9 * v) > 0),
        "does not settle; give the states",
    ),
    "what is no reduction": (lambda: reduce_ensemble(normals, [Moments(), "mean"], 10), "expected reductions"),
    "no reduction": (lambda: reduce_ensemble(normals, [], 10), "expected reductions"),
    "edges that fall": (lambda: Histogram([1.0, 0.0]), "at least two increasing numbers"),
    "an accuracy of 0": (lambda: Quantiles(0.0), "between 1e-6 and 1"),
    "quantiles of infinity": (lambda: Quantiles().part(np.array([1.0, np.inf])), "need finite samples"),
    "a time after the end": (lambda: solve_flow(width_limit(ResNet(relu, width=sp.oo)), [1.0])(2.0), "times from 0 to 1"),
    "a start too close to an end": (
        lambda: solve_fokker_planck(Diffusion((x,), [0], [[1]], sp.Interval.open(0, 1)), 1e-9, t=1.0),
        "come too close",
    ),
    "a gap beyond 2": (lambda: simulate_collapse(MLP(relu, inputs=2, width=4), 2, 2, gap=3.0), r"in \(0, 2\], got 3"),
    "an unknown record": (
        lambda: simulate_gram(MLP(relu, width=4), 2, 2, [[1.0]], record="correlation"),
        "record must be",
    ),
    "a pole": (lambda: expect(lambda v: 1 / v, kinks=[0.0]), "has a pole at 0"),
    "a kink that is not named": (lambda: expect(lambda v: np.where(np.sin(40 * v) > 0, 1.0, 0.0)), "did not settle"),
    "a negative noise": (lambda: NNGPRegressor(ResNet(relu, width=sp.oo), noise=-1.0).fit([[1.0]], [1.0]), "noise must be a variance"),
    "an input without direction": (
        lambda: Inputs(np.array([[1.0, 2.0], [0.0, 0.0]])).sections(derive(ResNet(relu, width=2, inputs=2)), None),
        "row 2 is 0",
    ),
    "a scheme of scalars for two states": (
        lambda: simulate_sde(Diffusion((x, y), [0, 0], [[1 + y**2, 0], [0, 1]]), x0=[1.0, 1.0], scheme="lamperti"),
        "the scheme lamperti does not apply",
    ),
    "biases that do not fit": (lambda: convergence_order([4, 8], [Estimate(1.0, 0.1)] * 2), "at least 3 of them"),
    "a sample with nan": (lambda: ks_test([0.0, np.nan], lambda v: v), "1 values that are not"),
    "an unknown sampler": (lambda: transition("a recipe"), "recipes of the kind str cannot be compiled"),
    "a kernel of a flow": (lambda: euler_source(Flow((x,), sp.Matrix([x]))), "no jit kernel for a limit without noise"),
    "a factor of many states": (lambda: factor_lines(40, {}), "written out up to"),
    "an unknown law of matrices": (
        lambda: draw_matrices("odd", 1, 2, 2, np.random.default_rng(0)),
        "no way is known to draw",
    ),
    "machine code for other entries": (
        lambda: simulate_network(
            Network(lambda z: z + epsilon * Weights("A", law="rademacher")(z), width=3), 2, 2, x0=1.0, backend="numba"
        ),
        "matrices that are not Gaussian|machine-code",
    ),
    "machine code for a transpose": (
        lambda: simulate_network(
            Network(lambda z: z - epsilon**2 * A.T(sp.tanh(A(z))), width=3), 2, 2, x0=1.0, backend="numba"
        ),
        "transpose|machine-code",
    ),
    "a start outside of the domain": (
        lambda: compile_law(recognise(Diffusion((x,), [0], [[x**2]], HALF)), x0=-1.0, t=1.0),
        "outside the domain",
    ),
    "a path outside of the domain": (lambda: simulate_sde(Diffusion((x,), [0], [[x**2]], HALF), x0=-1.0), "x0 must lie in the domain"),
    "a flow with parameters": (
        lambda: solve_flow(width_limit(ResNet(relu, width=sp.oo, weight_variance=C)), [1.0]),
        "the flow has the parameters c left",
    ),
    "a density of two states": (lambda: solve_fokker_planck(Diffusion((x, y), [0, 0], sp.eye(2)), 1.0), "the start of two states must be two numbers"),
    "a density of a flow": (lambda: solve_fokker_planck(Flow((x,), sp.Matrix([x])), 1.0), "got a limit without noise"),
    "a density with parameters": (lambda: solve_fokker_planck(Diffusion((x,), [C * x], [[1]]), 1.0), "the parameters c left"),
    "a kernel beyond doubles": (lambda: kernel_matrix(ResNet(relu, width=sp.oo), np.eye(2), tolerance=1e-14), "between 1e-11 and 1"),
    "a kernel of words": (lambda: kernel_matrix(ResNet(relu, width=sp.oo), [["a", "b"]]), "must be an array of numbers"),
    "a kernel of what is no number": (lambda: kernel_matrix(ResNet(relu, width=sp.oo), [[np.nan, 1.0]]), "must hold finite numbers"),
    "a start that is no Gram matrix": (
        lambda: simulate_gram(MLP(relu, width=4, inputs=2), 2, 2, start=[[1.0, 0.5], [0.4, 1.0]]),
        "start must be a symmetric matrix",
    ),
    "machine code for orthogonal weights": (
        lambda: simulate_network(
            Network(lambda z: z + epsilon * Weights("A", law="orthogonal")(z), width=3), 2, 2, x0=1.0, backend="numba"
        ),
        "no jit kernel for matrices that are not Gaussian",
    ),
    "machine code for exact steps": (
        lambda: simulate_sde(Diffusion((x,), [0], [[1]]), x0=1.0, steps=2, samples=2, scheme="exact", backend="numba"),
        "has no machine-code kernel",
    ),
    "spread points for a scheme without a formula": (
        lambda: expect_sde(Diffusion((x,), [0], [[1]]), lambda v: v, 0.0, 1.0, points="sobol", scheme="exact"),
        "need a scheme whose step is a formula",
    ),
    "colours that do not suffice": (
        lambda: series_figure([Series("a", np.arange(2.0), np.arange(2.0))] * 20, "x", "y"),
        "expected at most",
    ),
    "points that are not known": (
        lambda: expect_sde(Diffusion((x,), [0], [[1]]), lambda v: v, 0.0, 1.0, points="grid"),
        "points must be",
    ),
    "an edge that is infinite": (lambda: expect(lambda v: np.where(v > 1, np.inf, 0.0), kinks=[1.0]), "is not finite"),
    "a noise that vanishes inside": (
        lambda: simulate_sde(Diffusion((x,), [0], [[x**2]], HALF), x0=1.0, t=1.0, t0=2.0),
        "t0 of the start must lie from 0",
    ),
    "a statistic that does not exist": (
        lambda: choose(ResNet(Activation("f", C * symbols.state**2), width=sp.oo), C, norm=2.0, bounds=(10.0, 20.0)),
        "does not exist between",
    ),
}  # fmt: skip


SLOW = {"a noise that is not resolved", "a statistic that does not exist"}


@refusals(REFUSED, SLOW)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message):
    assert_refused(call, message)


def test_a_tolerance_out_of_reach_is_refused(monkeypatch):
    monkeypatch.setattr(choice, "_MOST_STEPS", 8)
    with pytest.raises(ValueError, match="no scheme reaches tol = 1e-15: 8 steps"):
        choice.choose_scheme(depth_limit(ResNet(tanh, width=1)), 1.0, 1.0, tol=1e-15)


def test_places_that_are_no_files_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "four.npy", np.ones((1, 1, 1, 1)))
    for call, message in (
        (lambda: read_inputs(str(tmp_path)), "is a folder"),
        (lambda: read_inputs(str(tmp_path / "none.csv")), "does not exist"),
        (lambda: read_samples(str(tmp_path / "four.npy")), r"expected shape \(samples, width, inputs\)"),
        (lambda: checked_output(str(tmp_path), force=True), "is a folder; name a file in --out"),
        (lambda: checked_output(str(tmp_path / "none" / "a.txt"), force=False), "does not exist; make it"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="permission denied"):
        checked_output(str(tmp_path / "a.txt"), force=False)
