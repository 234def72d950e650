"""Public refusals of the numeric side that nothing else asks for: the error, and its cause in the message."""

import os

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, Network, ResNet, Weights, depth_limit, derive, epsilon, recognise, relu, tanh, width_limit
from derivations.diffusion import Diffusion, Flow
from numerics import compile_law, simulate_network, simulate_sde
from numerics.cli.files import read_inputs, read_samples
from numerics.cli.output import checked_output
from numerics.compile.jit_paths import euler_source, factor_lines
from numerics.compile.matrices import draw_matrices
from numerics.compile.samplers import transition
from numerics.ensembles import Histogram, Moments, Quantiles, reduce_ensemble
from numerics.expectations import choice
from numerics.flows import solve_flow
from numerics.fokker_planck import solve_fokker_planck
from numerics.networks import simulate_collapse, simulate_gram
from numerics.quadrature import expect
from numerics.regression import NNGPRegressor
from numerics.report import Inputs
from numerics.statistics import Estimate, convergence_order, ks_test

x, y = sp.symbols("x y", real=True)
HALF = sp.Interval.open(0, sp.oo)
A = Weights("A")


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
    "a time after the end": (lambda: solve_flow(width_limit(ResNet(relu, sp.oo)), [1.0])(2.0), "times from 0 to 1"),
    "a start too close to an end": (
        lambda: solve_fokker_planck(Diffusion((x,), [0], [[1]], sp.Interval.open(0, 1)), 1e-6, t=1.0),
        "too close to an end",
    ),
    "a gap beyond 2": (lambda: simulate_collapse(MLP(relu, inputs=2, width=4), 2, 2, gap=3.0), r"in \(0, 2\], got 3"),
    "an unknown record": (
        lambda: simulate_gram(MLP(relu, width=4), 2, 2, [[1.0]], record="correlation"),
        "record must be",
    ),
    "a pole": (lambda: expect(lambda v: 1 / v, kinks=[0.0]), "has a pole at 0"),
    "a kink that is not named": (lambda: expect(lambda v: np.where(np.sin(40 * v) > 0, 1.0, 0.0)), "did not settle"),
    "a negative noise": (lambda: NNGPRegressor(ResNet(relu, sp.oo), noise=-1.0).fit([[1.0]], [1.0]), "noise must be a variance"),
    "an input without direction": (
        lambda: Inputs(np.array([[1.0, 2.0], [0.0, 0.0]])).sections(derive(ResNet(relu, 2, inputs=2)), None),
        "row 2 is 0",
    ),
    "a scheme of scalars for two states": (
        lambda: simulate_sde(Diffusion((x, y), [0, 0], [[1 + y**2, 0], [0, 1]]), x0=[1.0, 1.0], scheme="lamperti"),
        "the scheme lamperti does not apply",
    ),
    "biases that do not fit": (lambda: convergence_order([4, 8], [Estimate(1.0, 0.1)] * 2), "at least 3 of them"),
    "a sample with nan": (lambda: ks_test([0.0, np.nan], lambda v: v), "1 values that are not"),
    "an unknown sampler": (lambda: transition("a recipe"), "recipes of the kind str cannot be compiled"),
    "a kernel of a flow": (lambda: euler_source(Flow((x,), sp.Matrix([x]))), "no jit kernel for a"),
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
}  # fmt: skip


SLOW = {"a noise that is not resolved"}


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in REFUSED])
def test_what_cannot_be_done_is_refused_with_its_cause(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


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
