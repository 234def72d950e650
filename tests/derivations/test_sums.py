"""Sums over a layer: linear, comparable, and with the derivatives of the explicit sums."""

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from derivations import absolute, identity, leaky_relu, relu, sine
from derivations.calculus.ito import bracket, generator
from derivations.diffusion import Diffusion, NeuronDiffusion
from derivations.errors import DerivationError
from derivations.sums import CoordinateSum, coordinate_sum, written_out
from derivations.symbols import state, time, width

x, n = state, width
coefficients = st.fractions(min_value=-3, max_value=3, max_denominator=6).map(
    lambda q: sp.Rational(q.numerator, q.denominator)
)


def layer(width_, noise, drift=sp.S.Zero):
    return NeuronDiffusion((x,), sp.ImmutableMatrix([drift]), sp.ImmutableMatrix([[noise]]), sp.sympify(width_))


@settings(max_examples=25, deadline=None)
@given(a=coefficients, b=coefficients, c=coefficients)
def test_linear(a, b, c):
    left = coordinate_sum(a * x**2 + b * sp.sin(x) + c, (x,), n)
    right = a * coordinate_sum(x**2, (x,), n) + b * coordinate_sum(sp.sin(x), (x,), n) + c * n
    assert sp.expand(left - right) == 0


def test_equal_functions_are_equal_objects():
    assert coordinate_sum(sp.Max(x, 0), (x,), n) == coordinate_sum(relu(x), (x,), n)
    assert coordinate_sum(absolute(x) ** 2, (x,), n) == coordinate_sum(x**2, (x,), n)
    assert coordinate_sum(relu(x) + relu(-x), (x,), n) == coordinate_sum(sp.Abs(x), (x,), n)
    assert coordinate_sum(relu(x), (x,), n) != coordinate_sum(relu(-x), (x,), n)


def test_counts_of_the_two_sides_add_up():
    positive, negative = (coordinate_sum(sp.Heaviside(s * x), (x,), n) for s in (1, -1))
    assert sp.expand(positive + negative - n) == 0


def test_one_neuron_is_its_summand():
    assert coordinate_sum(sp.tanh(x) ** 2, (x,), sp.S.One) == sp.tanh(x) ** 2


def test_parameters_are_free_and_bound_variables_are_not():
    a = sp.Symbol("a", positive=True)
    s = coordinate_sum(sp.tanh(a * x), (x,), n)
    assert isinstance(s, CoordinateSum)
    assert s.free_symbols == {a, n}
    assert s.subs(x, 3) == s
    assert s.subs(a, 2) == coordinate_sum(sp.tanh(2 * x), (x,), n)
    assert sp.diff(s, a) == coordinate_sum(x * (1 - sp.tanh(a * x) ** 2), (x,), n)


def test_a_sum_inside_a_kink_is_a_number_of_the_layer():
    """relu(x - <x>): pieces end at the mean, and the same sums written out are those of the neurons."""
    three, values = sp.Integer(3), (sp.Rational(1, 2), sp.Integer(-2), sp.Integer(3))
    mean = coordinate_sum(x, (x,), three) / 3
    total = coordinate_sum(sp.Max(x - mean, 0) ** 2 * x, (x,), three)
    neurons = [(v,) for v in values]
    assert written_out(total, neurons) == sum(max(v - sp.Rational(1, 2), 0) ** 2 * v for v in values)
    power = written_out(coordinate_sum((x - mean) ** 3 + sp.Abs(x - mean), (x,), three), neurons)
    assert power == 5  # of 0, -5/2 and 5/2


@pytest.mark.slow
@pytest.mark.parametrize("activation", [relu, leaky_relu(), identity, sine], ids=str)
@pytest.mark.parametrize("outer", [lambda s: s, lambda s: sp.log(s) / 2, lambda s: s**2 + time * s])
def test_generator_is_itos_formula_on_the_written_out_sum(activation, outer):
    """The same generator with three neurons written out, at rational points off the kinks."""
    layer3 = layer(3, coordinate_sum(activation(x) ** 2, (x,), sp.Integer(3)) / 3, -x)
    process = layer3.explicit
    neurons = [(s,) for s in process.states]

    def write_out(expr):
        return expr.xreplace({s: s.explicit(neurons) for s in expr.atoms(CoordinateSum)})

    f = outer(layer3.sum(activation(x) ** 2))
    point = dict(zip(process.states, [sp.Rational(3, 7), sp.Rational(-5, 4), sp.Rational(9, 8)], strict=True)) | {
        time: sp.Rational(2, 3)
    }
    for ours, explicit in (
        (layer3.generator(f), generator(process, write_out(f))),
        (layer3.bracket(f, f), bracket(process, write_out(f), write_out(f))),
    ):
        assert abs(sp.N((write_out(ours) - explicit).subs(point), 40)) < sp.Float("1e-35")
        assert abs(sp.N(explicit.subs(point), 40)) > sp.Float("1e-3")  # not the comparison of nothing with nothing


def test_a_single_coordinate_is_refused():
    with pytest.raises(DerivationError, match="sums over the neurons"):
        layer(n, sp.S.One).generator(x**2)


def test_only_an_integer_width_can_be_written_out():
    with pytest.raises(DerivationError, match="integer width"):
        _ = layer(n, sp.S.One).explicit


def test_two_inputs_keep_products():
    y, z = sp.symbols("y z", real=True)
    s = coordinate_sum(y * z, (y, z), n)
    assert s == coordinate_sum(z * y, (y, z), n)
    assert str(s) == "Sum_j(x_j^1*x_j^2)"


def test_shapes_and_symmetry_of_a_diffusion_are_checked():
    with pytest.raises(DerivationError, match="shape"):
        Diffusion((x,), [0], [[1, 0], [0, 1]])
    y = sp.Symbol("y", real=True)
    with pytest.raises(DerivationError, match="symmetric"):
        Diffusion((x, y), [0, 0], [[1, x], [0, 1]])
