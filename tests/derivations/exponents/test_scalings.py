r"""Scalings that have a limit: what is known of networks that people ask about, and the polyhedron itself."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
import sympy as sp

from derivations import (
    DerivationError,
    MLPBlock,
    Network,
    NotClosed,
    ResNet,
    ShapedMLP,
    ShrinkingResNet,
    Weights,
    attention,
    epsilon,
    gelu,
    layer_norm,
    leaky_relu,
    polynomial,
    relu,
    rms_norm,
    scalings,
    selu,
    silu,
    tanh,
)
from derivations.exponents.course import course
from derivations.exponents.polyhedron import Constraint, Polyhedron
from derivations.gaussian import expect
from derivations.symbols import width as n

A, B = Weights("A"), Weights("B", out=4 * n)
HALF = sp.Rational(1, 2)
c, m, s, alpha, beta = sp.symbols("c m s alpha beta", positive=True)
p, q = sp.symbols("p q", real=True)


def found(made):
    """Kind and conditions of each regime."""
    return {(r.kind, frozenset(r.conditions)) for r in made.regimes}


def above(x, value):
    return sp.StrictGreaterThan(x, value, evaluate=False)


@pytest.mark.slow
def test_a_resnet_has_noise_at_the_root_of_the_depth_and_a_flow_of_means_at_the_depth():
    made = scalings(ResNet(relu, width=n))
    mean = sp.Symbol("p_mu_W", real=True)
    assert found(made) == {
        ("drift and noise", frozenset({sp.Eq(p, HALF), sp.Eq(mean, HALF)})),
        ("noise only", frozenset({sp.Eq(p, HALF), above(mean, HALF)})),
        ("drift only", frozenset({sp.Eq(p, 1 - mean), sp.StrictLessThan(mean, HALF, evaluate=False)})),
    }
    assert made.regimes[-1].example == {p: 1, mean: 0}  # branch 1/L with means of order 1
    assert made.at().kind == "limit"
    assert made.at({p: 1}).kind == "identity"
    assert made.at({p: 1, mean: 0}).regime.kind == "drift only"
    assert made.at({p: sp.Rational(1, 4)}).kind == "too strong"
    assert made.at({epsilon: 0}).kind == "not continuous"


@pytest.mark.slow
def test_shrinking_weights_have_independent_exponents_of_noise_and_means():
    made = scalings(ShrinkingResNet(silu, tanh, width=3, weight_mean=1))
    noise, mean = (sp.Symbol(f"p_varepsilon_{w}", real=True) for w in "WM")
    assert found(made) == {
        ("drift and noise", frozenset({sp.Eq(noise, HALF), sp.Eq(mean, 1)})),
        ("drift and noise", frozenset({sp.Eq(noise, HALF), above(mean, 1)})),  # the activation's curvature
        ("drift only", frozenset({sp.Eq(mean, 1), above(noise, HALF)})),
    }


def test_a_shaped_perceptron_has_li_and_nicas_rate():
    made = scalings(ShapedMLP(tanh, inputs=2, a=1))
    assert found(made) == {
        ("drift and noise", frozenset({sp.Eq(p, HALF), sp.Eq(q, 1)})),
        ("drift only", frozenset({sp.Eq(p, HALF), above(q, 1)})),
        ("noise only", frozenset({sp.Eq(q, 1), above(p, HALF)})),
    }
    assert made.at({p: 1, q: 2}).kind == "identity"


def test_a_shaping_that_acts_at_fourth_order_has_another_rate():
    made = scalings(ShapedMLP(polynomial(0, 1, 0, 0, 0, 1), a=1, rate=sp.Rational(1, 4)))
    assert ("drift and noise", frozenset({sp.Eq(p, sp.Rational(1, 4)), sp.Eq(q, 1)})) in found(made)


@pytest.mark.slow
def test_pre_norm_streams_grow_in_proportion_to_the_depth_without_scaling():
    made = scalings(Network(lambda x: x + A(gelu(B(layer_norm(x)))), width=n))
    verdict = made.at()
    assert verdict.kind == "not continuous"
    assert made.long_run(((2, 0),)).power == 0
    assert made.maps.variances - sp.Symbol("V", positive=True) == sp.sqrt(3) / (6 * sp.pi) + sp.Rational(1, 3)
    text = str(made)
    assert "grows in proportion" in " ".join(text.split())
    assert "p = 1/2" in text


def test_families_of_activations_are_applied_as_they_are_written():
    for slope in ((), (0.2,)):
        said = Network(lambda x, s=slope: (x + A(leaky_relu(B(x), *s))) / sp.sqrt(2), width=sp.oo)
        assert said == Network(lambda x, s=slope: (x + A(leaky_relu(*s)(B(x)))) / sp.sqrt(2), width=sp.oo)
    assert scalings(said).maps.gain == 5 / sp.sqrt(19)  # E φ² is 13/25; half of it and half of what there was is kept


@pytest.mark.slow
def test_a_constant_skip_settles_and_a_smaller_branch_has_a_limit():
    made = scalings(Network(lambda x: (x + A(relu(B(x)))) / sp.sqrt(2), width=n))
    assert made.at().kind == "not continuous"
    assert made.maps.factor == sp.Rational(3, 4)  # ReLU halves the mean square
    tuned = scalings(Network(lambda x: (x + Weights("A", variance=2)(relu(B(x)))) / sp.sqrt(2), width=n))
    assert tuned.maps.factor == 1
    assert tuned.maps.correlation_rests(sp.S.One)[-1].slope == 1
    assert ("noise only" in {r.kind for r in tuned.regimes}) or ("drift and noise" in {r.kind for r in tuned.regimes})


def test_deepnorm_tends_to_the_identity_at_the_start():
    net = Network(lambda x: rms_norm(x + beta**2 / alpha * A(relu(B(x)))), width=n, parameters=(alpha, beta))
    made = scalings(net, small={alpha: -sp.Rational(1, 4), beta: sp.Rational(1, 4)})
    verdict = made.at()
    assert verdict.kind == "identity"
    assert verdict.excess == -HALF  # β⁴/α² adds L^(-1/2) over all layers
    assert made.regimes[0].conditions == (
        sp.Eq(sp.Symbol("p_alpha", real=True), 2 * sp.Symbol("p_beta", real=True) - HALF),
    )


@pytest.mark.slow
def test_deepnorm_as_its_paper_writes_it():
    net = Network(lambda x: rms_norm(alpha * x + beta * A(relu(beta * B(x)))), width=n, parameters=(alpha, beta))
    made = scalings(net, small={alpha: -sp.Rational(1, 4), beta: sp.Rational(1, 4)})
    verdict = made.at()
    assert (verdict.kind, verdict.excess) == ("identity", -HALF)
    (regime,) = made.regimes
    assert regime.conditions == (sp.Eq(sp.Symbol("p_alpha", real=True), 2 * sp.Symbol("p_beta", real=True) - HALF),)
    # the paper's numbers at N = 32 blocks of two sublayers: α = (2N)^(1/4), β = (8N)^(-1/4), so that β⁴/α² over 2N is (2N)^(-1/2)/4
    assert set(made.times(64, {alpha: sp.root(64, 4), beta: sp.root(256, 4) ** -1}).values()) == {sp.Rational(1, 32)}
    far = scalings(net, small={alpha: -sp.Rational(1, 4), beta: HALF / 4}).at()
    assert far.kind == "limit"  # β = L^(-1/8): just in the regime


def test_long_constants_are_said_in_few_digits():
    net = Network(lambda x: x + c * Weights("W")(selu(x)), width=n, parameters=(c,))
    assert not any(len(word) > 20 and word.isdigit() for word in re.findall(r"\d+", str(scalings(net, small=(c,)))))


def test_a_layer_scale_is_a_time():
    net = Network(lambda x: x + c * A(gelu(B(layer_norm(x)))), width=n, parameters=(c,))
    made = scalings(net, small=(c,))
    assert made.times(36, {c: sp.Rational(1, 10**4)}) == {(2,): sp.Rational(36, 10**8)}
    assert made.times(36, {c: 0.1}) == {(2,): sp.Rational(36, 100)}
    assert str(made.times(36, {c: 0.1})) == "c**2: 0.36"
    assert str(made.times(36, {c: sp.Rational(1, 10**4)})) == "c**2: 3.6e-07"
    with pytest.raises(DerivationError, match="does not say the exponent p_c"):
        made.at()


@pytest.mark.slow
def test_depth_aware_multipliers_are_one_program_at_the_start():
    one = Network(lambda x: x + m * Weights("A", variance=s**2)(relu(B(rms_norm(x)))), width=n, parameters=(m, s))
    first = scalings(one, small={m: 1, s: -HALF}).at()
    second = scalings(one, small={m: HALF, s: 0}).at()
    assert first.kind == second.kind == "limit"
    assert first.sizes == second.sizes == {(2, 2): 0}
    assert scalings(one, small={m: 1, s: 0}).at().kind == "identity"  # the multiplier alone


@pytest.mark.slow
def test_gain_and_fixed_point_of_selu():
    maps = scalings(Network(lambda x: Weights("W")(selu(x)), width=n)).maps
    assert abs(sp.N(maps.at_one - 1, 20)) < sp.Rational(1, 10**14)  # its constants are made so
    (rest,) = maps.rests
    assert rest.is_stable
    assert abs(sp.N(rest.slope) - 0.782648) < 1e-6  # Klambauer et al. 2017, the Jacobian's entry
    assert abs(sp.N(maps.chi(1)) - 1.071) < 1e-3


@pytest.mark.parametrize(("variance", "biases"), [(1, 5000), (HALF, sp.Rational(1, 10**5)), (HALF, 0)])
def test_fixed_points_far_from_1(variance, biases):
    W = Weights("W", variance=variance, bias_variance=biases)
    maps = scalings(Network(lambda x: W(sp.erf(x)), width=sp.oo)).maps
    if biases == 0:
        assert maps.rests == ()
        assert maps.looked[0] < 1e-9
        return
    (one,) = maps.rests
    value = float(one.value)
    moved = float(variance) * 2 / math.pi * math.asin(2 * value / (1 + 2 * value)) + float(biases)  # E erf(z)²
    assert abs(moved - value) < 1e-9 * value
    assert one.is_stable


@pytest.mark.slow
def test_relu_is_at_the_edge_with_variance_two():
    maps = scalings(Network(lambda x: Weights("W", variance=2)(relu(x)), width=n)).maps
    assert maps.factor == 1
    (one,) = maps.correlation_rests(sp.S.One)
    assert one.slope == 1
    assert one.is_stable is None


def test_two_branches_have_two_exponents():
    D, E = Weights("D"), Weights("E", out=n)

    def layer(x):
        y = x + epsilon * D(tanh(E(rms_norm(x))))
        return y + epsilon * A(relu(B(rms_norm(y))))

    made = scalings(Network(layer, width=sp.oo), means=False)
    assert len(made.family.sizes) == 2
    assert {r.kind for r in made.regimes} == {"drift only"}
    assert len(made.regimes) == 3


@pytest.mark.parametrize("scale", ["sqrt", "linear"])
def test_scores_of_attention_are_gaussian_over_the_root_of_the_keys_and_vanish_over_more(scale):
    Q, K, V = Weights("Q"), Weights("K"), Weights("V")
    made = scalings(Network(lambda x: x + epsilon * attention(Q(x), K(x), V(x), scale=scale), width=sp.oo, positions=2))
    gaussian, uniform, growing = made.scores
    power = sp.Symbol("s", real=True)
    assert (gaussian.condition, uniform.condition) == (sp.Eq(power, HALF), above(power, HALF))
    k11, k22 = sp.symbols("K_11 K_22", positive=True)
    k12 = sp.Symbol("K_12", real=True)
    assert all(sp.expand(4 * rate - k11 - 2 * k12 - k22) == 0 for rate in uniform.drift[(2,)])
    assert sp.expand(4 * gaussian.drift[(2,)][0] - k11 - 2 * k12 - k22) != 0
    assert growing.drift is None
    assert {r.conditions for r in made.regimes} == {(sp.Eq(p, HALF),)}
    assert "attention is uniform" in str(made)
    assert made.latex()
    assert made.typst()


@pytest.mark.slow
def test_what_is_printed_has_all_formats(tmp_path):
    made = scalings(MLPBlock(relu, width=n, norm="rms"))
    for suffix in (".txt", ".tex", ".typ", ".json"):
        assert made.write(tmp_path / f"scalings{suffix}").stat().st_size > 500
    assert "mu_{A}" in made._repr_latex_() or "varepsilon" in made._repr_latex_()
    with pytest.raises(DerivationError, match=r"unknown suffix '.doc'"):
        made.write("scalings.doc")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: scalings(relu), "scalings expects a network"),
        (lambda: scalings(ResNet(relu, width=4), order="dept"), "unknown order 'dept'; close names: depth"),
        (lambda: scalings(ResNet(relu, width=sp.oo), order="depth"), "at a fixed width"),
        (lambda: scalings(ResNet(relu, width=4), small=(c,)), "which the layer does not have"),
        (lambda: scalings(ResNet(relu, width=4), small={}), "small names no parameter"),
        (lambda: scalings(Network(lambda x: x, width=4)), "the layer only multiplies the state by 1"),
        (lambda: scalings(ResNet(relu, width=4)).at({"p_x": 1}), "unknown exponent 'p_x'"),
        (lambda: scalings(ResNet(relu, width=4)).at({p: sp.sqrt(2)}), "must be a rational number"),
        (lambda: scalings(ResNet(relu, width=4)).times(0, {epsilon: 1}), "depth must be a positive whole number"),
        (lambda: scalings(ResNet(relu, width=4)).times(3, {}), "a value of epsilon is needed"),
        (lambda: scalings(ResNet(relu, width=4)).times(3, {c: 1}), "unknown size 'c'"),
        (
            lambda: scalings(scaled()).times(24, {c: 1}),
            "^c is a parameter that stays as it is here.* are epsilon, mu_A; scalings.net, small=.c,.. has it",
        ),
        (lambda: scalings(scaled()).at({c: 1}), "^c is a parameter that stays as it is here"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(DerivationError, match=message):
        wrong()


def scaled():
    return Network(lambda x: x + c * A(relu(x)), width=4, parameters=(c,))


def test_a_size_is_known_by_its_name_too():
    found = scalings(scaled(), small=(c,))
    for key in (c, "c", sp.Symbol("c")):
        (time,) = found.times(24, {key: 2}).values()
        assert time == 96


def test_where_no_monomial_is_none_is_said_to_be_smaller():
    linear = scalings(Network(lambda x: A(x), width=sp.oo))
    assert not linear.exponents.monomials
    assert "No monomial moves anything" in str(linear)
    assert "Where every monomial is smaller" not in str(linear)
    assert "Where every monomial is smaller" in str(scalings(Network(lambda x: A(relu(x)), width=sp.oo)))


def test_a_size_must_be_positive_and_named():
    z = sp.Symbol("z", real=True)
    net = Network(lambda x: x + z * A(x), width=n, parameters=(z,))
    with pytest.raises(DerivationError, match="must be positive"):
        scalings(net, small=(z,))
    both = Network(lambda x: x + epsilon * c * A(x), width=n, parameters=(c,))
    with pytest.raises(DerivationError, match="small parameter epsilon beside"):
        scalings(both, small=(c,))
    with pytest.raises(DerivationError, match="must be a rational number"):
        scalings(both, small={c: sp.pi, epsilon: 1})


def test_a_size_that_grows_is_taken_off_by_a_norm_and_refused_without_one():
    made = scalings(Network(lambda x: rms_norm(alpha * x + A(x)), width=n, parameters=(alpha,)), small={alpha: -HALF})
    (regime,) = made.regimes
    assert regime.conditions == (sp.Eq(sp.Symbol("p_alpha", real=True), -HALF),)
    net = Network(lambda x: alpha * x + A(x), width=n, parameters=(alpha,))
    with pytest.raises(DerivationError, match="alpha grows with the depth, and a product with it is not small"):
        scalings(net, small={alpha: -HALF})


@pytest.mark.slow
def test_a_flow_with_means_that_are_integrals_is_measured():
    made = scalings(Network(lambda x: x - epsilon**2 * x / 4 + epsilon * A(tanh(x)), width=4), means=False)
    assert made.long_run([(2,)]).kind == "settles"  # V is E tanh² − V/2 a unit of time
    assert scalings(ResNet(tanh, width=4), means=False).long_run([(2,)]).power == 0
    assert "grows in proportion" in " ".join(str(scalings(ResNet(tanh, width=4))).split())


def test_sizes_that_meet_inside_a_kink_are_refused():
    D = Weights("D")
    net = Network(lambda x: x + relu(c * A(x) + m * D(x)), width=3, parameters=(c, m))
    with pytest.raises(NotClosed, match="kink"):
        scalings(net, small=(c, m)).regimes  # noqa: B018


def test_corners_and_faces_of_a_polyhedron():
    def line(a, b, bound=1):
        return Constraint((Fraction(a), Fraction(b)), Fraction(bound))

    wedge = Polyhedron((line(2, 0), line(1, 1), line(1, 0, 0), line(0, 1, 0)))
    assert set(wedge.whole.corners) == {(Fraction(1, 2), Fraction(1, 2)), (1, 0)}
    assert wedge.implies(line(3, 1))
    assert not wedge.implies(line(3, 3, 4))
    assert len(wedge.faces) == 6  # itself, three sides, two corners
    assert Polyhedron((line(1, 0), line(-1, 0, 0), line(1, 0, 0), line(0, 1, 0))).is_empty


@pytest.mark.parametrize(
    ("rate", "kind", "power"),
    [
        (lambda v: v**2, "explodes", 2),
        (lambda v: 3 * v, "grows", 1),
        (lambda v: sp.S.One, "grows", 0),
        (lambda v: sp.sqrt(v), "grows", HALF),
        (lambda v: -v, "vanishes", 1),
        (lambda v: v - v**3, "settles", None),
        (lambda v: v + v**3, "explodes", 3),
        (lambda v: sp.S.Zero, "rests", None),
    ],
)
def test_the_long_run_of_a_flow(rate, kind, power):
    v = sp.Symbol("V_11", positive=True)
    run = course(rate(v), v)
    assert (run.kind, run.power) == (kind, power)


@pytest.mark.slow
def test_a_flow_settles_at_a_point_of_the_grid():
    V, z = sp.Symbol("V", positive=True), sp.Symbol("z", real=True)
    mean = expect(sp.tanh(z) ** 2, z, V)
    rests = course(mean / mean.subs(V, 1) - V, V)  # 0 at V = 1 to the last digit
    assert rests.kind == "settles"
    assert abs(rests.values[0] - 1) < sp.Float("1e-5")


def _perturbed(scores):
    """Attention that is the identity but for its scores; they are given what they are a sum of."""
    from derivations import other, over_positions, position_matrix, softmax

    Q, K, V = (Weights(name) for name in "QKV")
    same = position_matrix(lambda here, there: sp.KroneckerDelta(here, there))
    return lambda x: V(over_positions((same + softmax(scores(Q(x) * other(K(x)))) - HALF) * other(x)))


@pytest.mark.slow
def test_the_temperature_of_shaped_attention_is_found():
    from derivations import ShapedAttention, derive, normalised_sum

    small, tau = sp.symbols("s tau", positive=True)
    q = sp.Symbol("q", real=True)

    def asked(factor, symbol, given):
        layer = _perturbed(lambda body: normalised_sum(body) * factor)
        return scalings(
            Network(layer, width=n, positions=2, parameters=(symbol,)), small=given, order="joint", means=False
        )

    made = asked(small, small, [small])
    both = next(r for r in made.regimes if len(r.surviving) == 2)
    (p,) = (size.exponent for size in made.family.sizes)
    assert set(both.conditions) == {sp.Eq(p, HALF), sp.Eq(q, 1)}  # the temperature grows like the root of the width
    limit = derive(ShapedAttention(width=n)).limit
    terms = made.terms
    assert [sp.expand(a - b) for a, b in zip(terms.drift[2, 0], limit.drift, strict=False)] == [0, 0]
    noise = terms.noise[2, 0][0] + terms.noise[0, 1][0]
    assert sp.expand(noise - limit.covariance[0, 0]) == 0
    assert "As it stands" not in str(asked(1 / tau, tau, {tau: -HALF}))  # of the width nothing is said
    with pytest.raises(NotClosed, match="the score of a softmax, times one small parameter"):
        asked(small**2, small, [small])


def test_statements_without_a_rule_where_width_and_depth_grow_are_refused():
    with pytest.raises(DerivationError, match="without transposes"):
        scalings(Network(lambda x: x - epsilon * Weights("W").T(Weights("W")(x)), width=n), order="joint")


def test_a_size_is_introduced_wherever_the_sum_of_state_and_branch_stands():
    def layer(x, one, other):
        y = rms_norm(x)
        x = x + one * Weights("O")(attention(Weights("Q")(y), Weights("K")(y), Weights("V")(y)))
        y = rms_norm(x)
        return x + other * Weights("D")(silu(Weights("G", out=4 * n)(y)) * Weights("U", out=4 * n)(y))

    bare = scalings(Network(lambda x: layer(x, 1, 1), width=n, positions=2))
    given = scalings(Network(lambda x: layer(x, epsilon, epsilon), width=n, positions=2))
    assert [str(r.conditions) for r in bare.regimes] == [str(r.conditions) for r in given.regimes]
    read = [[str(s.body) for s in f.family.program.statements] for f in (bare, given)]
    assert read[0] == read[1]  # the gate reads the state with a small attention too
    assert bare.at().kind == "not continuous"
    assert given.at().kind == "limit"  # the control
    text = " ".join(str(bare).split())
    assert "those of the branches are introduced here" in text
    assert "the branches do not shrink" in text


def test_heads_that_are_added_are_one_branch():
    def layer(x):
        y = rms_norm(x)
        heads = [
            Weights(f"O{k}")(
                attention(Weights(f"Q{k}", out=2)(y), Weights(f"K{k}", out=2)(y), Weights(f"V{k}", out=2)(y))
            )
            for k in range(4)
        ]
        x = x + sum(heads)
        return x + Weights("D")(relu(Weights("G")(rms_norm(x))))

    found = scalings(Network(layer, width=8, positions=2))
    assert len(found.family.sizes) == 2
    assert len(found.regimes) == 3
