"""At which depth kernels become infinite, against the flow integrated by hand with Gaussian means by quadrature."""

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from derivations import ResNet, ShrinkingResNet, gelu, identity, parse_activation, relu, silu, tanh
from derivations.errors import NoClosedForm
from derivations.existence import existence
from derivations.kernels import explosion_depth, nngp

START = sp.Symbol("K_0", positive=True)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
EXPLODING = {
    "x**2": lambda x: x**2,
    "x**2 - 1": lambda x: x**2 - 1,
    "x + x**2": lambda x: x + x**2,
    "x**3 - x": lambda x: x**3 - x,
    "max(x, 0)**2": lambda x: np.maximum(x, 0) ** 2,
    "abs(x)**(3/2)": lambda x: np.abs(x) ** 1.5,
    "sinh(x)": np.sinh,
}


@pytest.mark.parametrize("name", EXPLODING)
def test_depth_of_a_residual_network_is_that_of_its_flow(name):
    depth = explosion_depth(ResNet(parse_activation(name), width=sp.oo))
    for start in (sp.Rational(1, 3), sp.Integer(2)):

        def speed(k):  # kinks at 0: each half by itself, smooth in the root of |z|
            square = lambda z: EXPLODING[name](np.sqrt(k) * z) ** 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
            return sum(quad(lambda z, s=s: square(s * z), 0, 12 + 2 * np.sqrt(k))[0] for s in (-1, 1))

        # K = 1/u²: ∫ dK/f = ∫ 2/(u³ f) du
        end = 1 / np.sqrt(float(start))
        expected = quad(lambda u: 2 / (u**3 * speed(1 / u**2)), 0 if name != "sinh(x)" else 0.15, end, epsabs=1e-9)[0]
        found = float(depth.subs(START, start).n())
        assert found == pytest.approx(expected, rel=1e-6)
        assert found != pytest.approx(1.01 * expected, rel=1e-6)


@pytest.mark.parametrize(
    "network", [ResNet(f, width=sp.oo) for f in (tanh, gelu, relu, parse_activation("log(1 + x**2)"))], ids=str
)
def test_networks_whose_kernels_grow_at_most_exponentially_never_explode(network):
    assert explosion_depth(network) == sp.oo
    assert existence(nngp(network), network).explodes == "cannot"


def test_depth_is_told_or_the_cause_is():
    assert explosion_depth(ShrinkingResNet(tanh, identity, width=sp.oo)) == sp.oo
    with pytest.raises(NoClosedForm, match="is not seen to be positive from each start on; solve the flow numerically"):
        explosion_depth(ResNet(parse_activation("x**2*tanh(x)"), width=sp.oo))
    with pytest.raises(NoClosedForm, match="grows with K is not known; solve the flow numerically"):
        explosion_depth(ResNet(parse_activation("x*log(1 + x**2)"), width=sp.oo))
    with pytest.raises(NoClosedForm, match="do not reduce to a Riccati equation"):
        explosion_depth(ShrinkingResNet(silu, tanh, width=sp.oo))
