"""Limits as tensors: the coefficients of NumPy, derivatives, and torchsde's own solver."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch")

from derivations import (  # noqa: E402
    MLPBlock,
    ResNet,
    derive,
    elu,
    gelu,
    leaky_relu,
    mish,
    parse_activation,
    relu,
    silu,
    softplus,
    tanh,
)
from numerics import compile_expression, to_sympy_lambda, to_torchsde  # noqa: E402
from tests.numerics.test_exports import GRAM, assert_log_normal  # noqa: E402


@pytest.mark.parametrize(
    "activation", [relu, leaky_relu(), tanh, gelu, silu, elu(), softplus, mish], ids=lambda a: a.name
)
def test_tensors_say_what_arrays_say(activation):
    limit = derive(ResNet(activation, width=2)).limit
    drift, covariance = to_sympy_lambda(limit)
    sde = to_torchsde(limit)
    at = np.random.default_rng(0).normal(0.0, 3.0, (20, 2))
    factor = sde.g(torch.tensor(0.0), torch.tensor(at))
    assert np.abs((factor @ factor.mT).numpy() - covariance(0.0, at)).max() < 1e-12
    assert np.abs(sde.f(torch.tensor(0.0), torch.tensor(at)).numpy() - drift(0.0, at)).max() < 1e-14


@pytest.mark.parametrize(
    "text",
    ["sin(x)**2/abs(x)", "x*sin(x)/abs(x)", "x*coth(x)", "(1-cos(x))/x**2", "sin(x)/x", "x**2/abs(x)*where(x<0,1,2)"],
)
def test_values_at_removable_points_are_those_of_arrays(text):
    """Beside other points: one comparison of the whole tensor would not see them."""
    x = sp.Symbol("x", real=True)
    formula, at = parse_activation(text)(x), np.array([-2.0, 0.0, 1e-9, 0.5])
    theirs = compile_expression((x,), formula)(at)
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose(compile_expression((x,), formula, "torch")(torch.tensor(at)).numpy(), theirs, rtol=1e-13)


def test_tensors_have_derivatives_also_where_all_neurons_are_dead():
    sde = to_torchsde(derive(ResNet(relu, width=2)).limit)
    at = torch.tensor([[1.0, -2.0], [-1.0, -2.0]], requires_grad=True)
    sde.g(torch.tensor(0.0), at).sum().backward()
    assert torch.isfinite(at.grad).all()
    assert at.grad[0, 0] != 0


def test_torchsde_solves_it():
    torchsde = pytest.importorskip("torchsde")
    torch.manual_seed(0)
    times = torch.linspace(0.0, 1.0, 2, dtype=torch.float64)
    start = torch.ones(4000, 1, dtype=torch.float64)
    paths = torchsde.sdeint(to_torchsde(GRAM), start, times, method="euler", dt=0.02)
    assert_log_normal(paths[-1, :, 0].log().numpy(), 50)


def test_the_number_of_motions_is_said():
    assert to_torchsde(derive(MLPBlock(relu, width=8, inputs=2)).gram).brownian_motions == 3
