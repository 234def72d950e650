r"""Tangent kernels at infinite width of layers with few hidden neurons, or with random numbers that all neurons share.

There what a matrix puts out and how that moves are correlated given what it reads, although not in the mean: c = ⟨φ φ' dh⟩ below.
"""

import pytest
import sympy as sp

from derivations import Network, Weights, attention, average, epsilon, normalised_sum, relu, symbols
from derivations.gaussian import SoftmaxMean
from derivations.kernels import ntk
from derivations.limits import width_limit

A, C, out, Q, R = map(Weights, "ACOQR")
K, Theta = sp.Symbol("K", positive=True), sp.Symbol("Theta", real=True)


def rate(layer, **options):
    flow = ntk(Network(layer, width=sp.oo, **options))
    states = dict(zip(flow.states, (K, Theta), strict=True))
    return [sp.expand(entry.xreplace(states)) for entry in flow.drift]


@pytest.mark.parametrize("k", [1, 2, 8])
def test_what_few_neurons_put_out_moves_with_what_they_read(k):
    r"""a has the variance ⟨φ(h)²⟩ over k neurons h, da has ⟨φ'² dh²⟩, and both have the covariance c.

    E (2 a da)² = 4 E[⟨φ²⟩⟨φ'² dh²⟩ + 2 c²] = K Θ (2/k + (k - 1)/k + 4/k).
    """
    few = Weights("B", out=k)
    _, moved = rate(lambda x: x + epsilon * C(A(relu(few(x))) ** 2))
    assert moved.coeff(Theta) == K * (1 + sp.Rational(5, k))


def test_a_parameter_is_as_few_neurons_as_the_numbers_in_its_place():
    k = sp.Symbol("k", integer=True, positive=True)
    layers = (
        lambda few: lambda x: x + epsilon * C(A(relu(few(x))) ** 2),
        lambda few: lambda x: x + epsilon * A(x) * average(few(x) ** 2),
    )
    for layer in layers:
        general = rate(layer(Weights("B", out=k)), parameters=(k,))
        for number in (1, 2, 5):
            assert [sp.expand(e.subs(k, number)) for e in general] == rate(layer(Weights("B", out=number)))
    keys = Network(
        lambda x: x + epsilon * attention(Q(x), R(x), C(x)), width=sp.oo, positions=2, parameters=(k,)
    )  # without a number of keys there are infinitely many
    few = Network(
        lambda x: x + epsilon * attention(Weights("Q", out=k)(x), Weights("R", out=k)(x), C(x)),
        width=sp.oo,
        positions=2,
        parameters=(k,),
    )
    for net, number in ((keys, sp.oo), (few, k)):
        assert {node.neurons for node in width_limit(net).drift.atoms(SoftmaxMean)} == {number}


def test_many_neurons_put_out_what_moves_independently():
    many = Weights("B", out=2 * symbols.width)
    _, moved = rate(lambda x: x + epsilon * C(A(relu(many(x))) ** 2))
    assert moved.coeff(Theta) == K


def test_a_random_number_that_all_neurons_share_moves_them_together():
    r"""o = O(r x) with r of variance K² and dr of 2 K (Θ + K), whose matrices have tangents of their own.

    E (2 o do)² = 4 E[r² K (dr² K + r² Θ + r² K) + 2 (r dr K)²], and the last matrix adds E o⁴ = 9 K⁴·K².
    """
    kernel, moved = rate(lambda x: x + epsilon * C(out(normalised_sum(Q(x) * R(x)) * x) ** 2))
    assert kernel == 9 * K**6
    shared = 3 * K**3 * 2 * K * (Theta + K) * K
    assert moved == sp.expand(4 * (shared + 3 * K**5 * (Theta + K)) + 9 * K**6)


def test_a_number_of_one_neuron_moves_all_neurons_together():
    r"""y = A(x) r² moves by A(dx) r² + A'(x) r² + 2 A(x) r dr, with dr of variance Θ + K: E y² = 3 K³; and x - r by dx - dr."""
    one = Weights("R", out=1)
    assert rate(lambda x: x + epsilon * A(x) * average(one(x) ** 2)) == [3 * K**3, sp.expand(7 * K**2 * (K + Theta))]
    assert rate(lambda x: x + epsilon * A(x - average(one(x)))) == [2 * K, 3 * K + 2 * Theta]


def test_signs_that_few_neurons_meet_keep_their_fourth_moment():
    r"""u = a h with a = ±1: u² = h², and 2 u du = 2 h dh + 2 a da h² with dh of variance Θ + K and da of variance 1; a h' beside it moves by Θ + 2 K."""
    signs, D, one, another = Weights("S", law="rademacher"), Weights("D"), Weights("E", out=1), Weights("F", out=1)
    moved = 4 * K * (Theta + K) + 12 * K**2 + 3 * K**2
    assert rate(lambda x: x + epsilon * C(signs(one(x)) ** 2)) == [3 * K**2, sp.expand(moved)]
    for branches in (
        lambda x: C(signs(one(x)) ** 2) + D(signs(another(x))),
        lambda x: D(signs(one(x))) + C(signs(another(x)) ** 2),
    ):
        both = rate(lambda x, branches=branches: x + epsilon * branches(x))
        assert both == [3 * K**2 + K, sp.expand(moved + Theta + 3 * K)]
