"""Means of functions with kinks in which several matrices meet: closed where signs split, else over points, with an error."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtr

from derivations import Network, derive, parse_layer
from derivations.errors import NotClosed
from derivations.gaussian import GaussianJointExpectation, joint_mean
from derivations.gaussian.joint import _in_few_dimensions as in_few_dimensions
from derivations.special.experts import ExpertGate
from numerics import kernel_matrix, solve_flow
from numerics.compile import compile_expression
from numerics.compile.joint_means import joint_gaussian_mean
from numerics.quadrature import expect

z = sp.symbols("z_1:6", real=True)
LAW = np.array([[1.3, 0.5], [0.5, 0.8]])
INPUTS = np.array([[1.0, 0.5, -0.3], [0.2, 1.0, 0.7]])


def relu(v):
    return np.maximum(v, 0)


def products(covariance):
    """Of |z1 z3| |z2 z4|, where (z1, z2) and (z3, z4) are independent, and z5 beside them: E |z1 z2| squared."""
    (a, c), (_, b) = covariance
    rho = c / np.sqrt(a * b)
    return (2 / np.pi * np.sqrt(a * b) * (np.sqrt(1 - rho**2) + rho * np.arcsin(rho))) ** 2


@pytest.mark.parametrize("beside", [1, sp.Heaviside(z[4])], ids=["on a sphere", "in five dimensions"])
def test_the_error_holds(beside):
    table = sp.diag(*[sp.Matrix(2, 2, lambda i, j: sp.Rational(str(LAW[i, j])))] * 2, 1)
    found, error = joint_gaussian_mean(joint_mean(sp.Abs(z[0] * z[2]) * sp.Abs(z[1] * z[3]) * beside, z, table))
    wanted = products(LAW) * (1 if beside == 1 else 0.5)
    assert abs(found - wanted) < error < 2e-2 * wanted
    assert abs(found - products(LAW + 0.1) * wanted / products(LAW)) > error


@pytest.mark.slow
def test_the_error_holds_where_kinks_are_met_on_the_way_out():
    """P(z1 z2 > 1) of independent normal variables, a jump on curves; E tanh²(20 z1 z2) tanh²(20 z3 z4), steep along rays and level far out."""
    plain = np.random.default_rng(3).standard_normal((4, 400_000))
    product = sp.tanh(20 * z[0] * z[1]) ** 2
    for body, count in ((sp.Heaviside(z[0] * z[1] - 1), 2), (product * sp.tanh(20 * z[2] * z[3]) ** 2, 4)):
        found, error = joint_gaussian_mean(joint_mean(body, z[:count], sp.eye(count)))
        sample = sp.lambdify(z[:count], body, "numpy")(*plain[:count])
        spread = sample.std() / np.sqrt(sample.size)
        assert abs(found - sample.mean()) < 4 * spread + error
        assert error < 2e-3
        wide, _ = joint_gaussian_mean(joint_mean(body, z[:count], 2 * sp.eye(count)))
        assert abs(wide - sample.mean()) > 4 * spread + error


def test_a_function_that_levels_off_depends_on_all_its_variables():
    steep = joint_mean(sp.tanh(400 * z[0] * z[1]) ** 2, z[:2], sp.eye(2))
    _, size = in_few_dimensions(steep.function, steep.covariance)
    assert size == 2


MEET = sp.Max(z[0], 0) * sp.Max(z[1], 0) * sp.Max(z[0] + z[2], 0) * sp.Max(z[1] + z[3], 0)


def value_between(body, c, scale=1):
    """With variances 1 and scale², and covariance scale c, of (z1, z2) and of (z3, z4)."""
    table = sp.Matrix([[1, scale * c], [scale * c, scale**2]])
    return joint_gaussian_mean(joint_mean(body, z[:4], sp.diag(table, table)))


@pytest.mark.parametrize("scale", [1, 3])
def test_equal_and_proportional_inputs_have_digits(scale):
    """E relu(b)² relu(b + c)² in polar coordinates: b > 0 and b + c > 0 between -π/4 and π/2, cos² (cos + sin)² there."""
    angles, weights = np.polynomial.legendre.leggauss(40)
    turn = np.pi / 8 + 3 * np.pi / 8 * angles
    wanted = 8 * scale**2 * np.sum(weights * (np.cos(turn) * (np.cos(turn) + np.sin(turn))) ** 2) * 3 / 16
    found, error = value_between(MEET, 1, scale)
    assert abs(found - wanted) <= error < 1e-12 * wanted
    rate = derive(net("relu(B(x))*relu(B(x) + C(x))")).limit
    (between,) = (r for r, s in zip(rate.drift, rate.states, strict=True) if s.name == "K_12")
    compiled = compile_expression(rate.states, between)
    at = {"K_11": 1.0, "K_12": float(scale), "K_22": scale**2.0}
    assert compiled(*(at[s.name] for s in rate.states)) == pytest.approx(wanted, rel=1e-12)
    assert compiled(*({**at, "K_12": scale - 1e-3}[s.name] for s in rate.states)) != pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("body", [MEET, sp.Heaviside(z[0] + z[2]) * sp.Heaviside(z[1] + z[3]) * sp.Abs(z[0] * z[1])])
def test_nearly_equal_inputs_are_near_equal_ones(body):
    """A jump that the nearly equal numbers cross apart, with a probability like the root of 1 - ρ."""
    equal, _ = value_between(body, 1)
    for power in (6, 12):
        found, error = value_between(body, 1 - sp.Rational(1, 10**power))
        assert abs(found - equal) < 10.0 ** (-power / 2) + error
        assert error < 1e-6
    apart, error = value_between(body, sp.Rational(99, 100))
    assert abs(apart - equal) > 1e-3 + error


def test_bends_of_a_sphere_are_met():
    """E |z1| |z2| |z1 + z3| over three numbers: given z1, a mean of one number; and max(z1, z2, z3), of independent ones 3/(2√π)."""
    found, error = joint_gaussian_mean(joint_mean(sp.Max(*z[:3]), z[:3], sp.eye(3)))
    assert abs(found - 1.5 / np.sqrt(np.pi)) <= error < 1e-9
    found, error = joint_gaussian_mean(joint_mean(sp.Abs(z[0] * z[1] * (z[0] + z[2])), z[:3], sp.eye(3)))
    folded = lambda u: np.abs(u) * (np.sqrt(2 / np.pi) * np.exp(-u * u / 2) + u * (2 * ndtr(u) - 1))  # noqa: E731
    assert found == pytest.approx(np.sqrt(2 / np.pi) * expect(folded, kinks=[0.0]), abs=error)
    assert error < 1e-9


def net(branch):
    return Network(parse_layer(f"x + eps*A({branch})"), width=sp.oo, inputs=2)


#: A branch of two matrices, the same of arrays, and whether its mean over two inputs is over points.
BRANCHES = {
    "relu(B(x))*relu(B(x) + C(x))": (lambda b, c: relu(b) * relu(b + c), True),
    "max(relu(B(x)), C(x))": (lambda b, c: np.maximum(relu(b), c), True),
    "relu(B(x) + C(x)**2)": (lambda b, c: relu(b + c * c), True),
    "relu(B(x)*relu(C(x)))": (lambda b, c: relu(b * relu(c)), True),
    "relu(B(x)*C(x))": (lambda b, c: relu(b * c), False),
    "sign(B(x)*C(x))": (lambda b, c: np.sign(b * c), False),
}


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.99])
def test_two_inputs_choose_one_of_two_experts_both(rho):
    """With the probability 1/4 + arcsin(ρ)/2π, Sheppard's."""
    both = ExpertGate(1, 1, z[0], z[2]) * ExpertGate(1, 1, z[1], z[3])
    pair = sp.Matrix([[1, sp.Rational(str(rho))], [sp.Rational(str(rho)), 1]])
    mean, error = joint_gaussian_mean(joint_mean(both, z[:4], sp.diag(pair, pair)))
    right = 0.25 + np.arcsin(rho) / (2 * np.pi)
    assert abs(mean - right) < 1e-7
    assert abs(mean - right) <= error < 1e-6


@pytest.mark.parametrize(("experts", "kept"), [(3, 2), *(pytest.param(4, k, marks=pytest.mark.slow) for k in (2, 3))])
def test_shares_of_experts_add_up_to_one(experts, kept):
    """Each share jumps where an expert comes in; their sum does not. Of scores that are unlike no share is known alone."""
    scores, covariance = z[:experts], sp.eye(experts) + sp.Matrix(experts, experts, lambda i, j: sp.Rational(i + j, 9))
    total = 0.0
    for own in scores:
        gate = ExpertGate(kept, 1, own, *(s for s in scores if s != own))
        mean, error = joint_gaussian_mean(joint_mean(gate, scores, covariance))
        assert error < 1e-5
        total += mean
    assert abs(total - 1) < 1e-6


@pytest.mark.parametrize("branch", BRANCHES)
def test_two_matrices_meet_in_a_kink(branch):
    function, over_points = BRANCHES[branch]
    limit = derive(net(branch)).limit
    at = {s: sp.Rational(str(LAW[int(s.name[-2]) - 1, int(s.name[-1]) - 1])) for s in limit.states}
    (rate,) = (limit.drift[k] for k, s in enumerate(limit.states) if s.name == "K_12")
    assert rate.has(GaussianJointExpectation) == over_points

    def value(law):
        numbers = {s: law[int(s.name[-2]) - 1, int(s.name[-1]) - 1] for s in at}
        there = rate.xreplace({s: sp.Rational(str(v)) for s, v in numbers.items()})
        means = {node: sp.Float(joint_gaussian_mean(node)[0]) for node in there.atoms(GaussianJointExpectation)}
        return float(there.xreplace(means).evalf())

    drawn = np.random.default_rng(0).standard_normal((2, 2, 200_000))
    (b, bb), (c, cc) = np.einsum("ij,kjs->kis", np.linalg.cholesky(LAW), drawn)
    sample = function(b, c) * function(bb, cc)
    error = sample.std() / np.sqrt(len(sample))
    assert abs(sample.mean() - value(LAW)) < 4 * error
    assert abs(sample.mean() - value(LAW - [[0, 0.2], [0.2, 0]])) > 4 * error


@pytest.mark.slow
def test_a_kernel_is_as_exact_as_it_says():
    branch = "silu(B(x)*C(x))"
    with pytest.raises(ValueError, match="several Gaussian variables at once are known to about"):
        kernel_matrix(net(branch), INPUTS, t=0.2)
    near = kernel_matrix(net(branch), INPUTS, t=0.2, tolerance=1e-3)
    flow = derive(net(branch)).limit
    start = INPUTS @ INPUTS.T / 3
    x0 = [start[int(s.name[-2]) - 1, int(s.name[-1]) - 1] for s in flow.states]
    path = solve_flow(flow, x0, t=0.2, rtol=1e-4, atol=1e-4)
    k = [s.name for s in flow.states].index("K_12")
    assert abs(path(0.2)[k] - near[0, 1]) < 1e-3 * near.max()
    assert 0 < path.error(0.2)[k] < 1e-3 * near.max()


@pytest.mark.slow
def test_kernels_of_kinks_in_which_matrices_meet():
    """Means of two neurons of one input have no side for a second one: they are closed here (these kernels were refused)."""
    found = kernel_matrix(net("relu(B(x))*relu(B(x) + C(x))"), INPUTS, t=0.05, tolerance=1e-3)
    start = np.diag(INPUTS @ INPUTS.T) / 3
    np.testing.assert_allclose(np.diag(found), start / (1 - 0.05 * (1.5 + 1.5 / np.pi) * start), rtol=1e-3)


def test_what_is_independent_and_in_powers_only_has_its_moments():
    s = sp.Symbol("s", positive=True)
    table = sp.diag(s, s, sp.Matrix([[2, 1], [1, 3]]))
    kinked = sp.Max(z[0], z[1] ** 2)
    assert joint_mean(z[2] ** 2 * z[3] ** 2 * kinked, z[:4], table) == 8 * joint_mean(kinked, z[:2], table[:2, :2])
    assert joint_mean((z[2] * z[3] - z[2]) * kinked, z[:4], table) == joint_mean(kinked, z[:2], table[:2, :2])
    assert joint_mean(z[2] * z[3] * sp.Max(z[0], z[2]), z[:4], table).covariance.rows == 3


def test_means_of_kinks_have_no_derivatives():
    s = sp.Symbol("s", positive=True)
    mean = joint_mean(sp.Max(z[0], z[1] ** 2), z[:2], [[s, 0], [0, 1]])
    with pytest.raises(NotClosed, match="what is averaged has kinks; take a smooth function"):
        sp.diff(mean, s)
    assert mean.subs(s, 2).evalf() == mean.subs(s, 2)  # no digits that are not known
