"""Depth and width together for programs: what comes out, what is refused, and the traps of the elimination; with controls."""

import pytest
import sympy as sp

from derivations import (
    Flow,
    Network,
    Regime,
    ShrinkingResNet,
    Weights,
    average,
    derive,
    drop_branch,
    dropout,
    epsilon,
    identity,
    joint_limit,
    layer_norm,
    relu,
    rms_norm,
    silu,
    tanh,
    width_limit,
)
from derivations.activations.shaped import shaped_slopes
from derivations.errors import DerivationError, NoLimit, NotClosed
from derivations.gaussian import expect
from derivations.limits.joint_moments import JointMoments
from derivations.limits.lasting import wick
from derivations.symbols import correlation as rho
from derivations.symbols import state, step
from derivations.symbols import width as n

V = sp.Symbol("V", positive=True)
V11, V22 = sp.symbols("V_11 V_22", positive=True)
V12 = sp.Symbol("V_12", real=True)
A, B, C = Weights("A"), Weights("B"), Weights("C")
HALF, SKIP = sp.Rational(1, 2), sp.Rational(3, 5)
FULL = sp.sqrt(1 - SKIP**2)


def limit(layer, inputs=2, regime=None, parameters=()):
    return joint_limit(Network(layer, width=n, inputs=inputs, parameters=parameters, regime=regime or Regime()))


def agree(left, right):
    """At norm 1 and two correlations, to 35 digits."""
    points = ({V11: 1, V22: 1, V12: r, rho: r} for r in (sp.Rational(1, 3), sp.Rational(-2, 7)))
    return all(abs(sp.N((left - right).subs(point), 40)) < sp.Float("1e-35", 40) for point in points)


def shaped(name, out=n):
    slopes = shaped_slopes(0, -1)
    return lambda body: Weights(name, out=out, variance=1 / expect(slopes.expr**2, slopes.variable))(slopes(body))


NU = (sp.sqrt(1 - rho**2) - rho * sp.acos(rho)) / (2 * sp.pi)


@pytest.mark.parametrize(("out", "strength"), [(n, 2), (3 * n, sp.Rational(4, 3))])
def test_two_shaped_matrices_add_up(out, strength):
    first, second = shaped("A"), shaped("B", out)
    found = limit(lambda x: first(second(x)))
    assert agree(found.drift[1], 2 * NU)
    assert not agree(found.drift[1], NU)
    assert found.covariance[0, 0] == 2 * strength * V11**2
    assert sp.expand(found.covariance[1, 1] - strength * (V11 * V22 + V12**2)) == 0


def test_an_average_inside_a_kink_needs_the_cross_term():
    centred = Weights("A", variance=2)
    found = limit(lambda x: centred(relu(x - average(x))), inputs=1)
    assert found.drift[0] == -V  # half the Hessian times the covariance alone gives +V
    assert sp.expand(found.covariance[0, 0] - (5 - 8 / sp.pi) * V**2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("norm", [rms_norm, layer_norm])
def test_norms_before_a_branch(norm):
    found = limit(lambda x: x + epsilon * A(relu(norm(x))))
    assert isinstance(found, Flow)
    assert found.drift[0] == HALF
    assert agree(found.drift[1], NU + rho / 2)


def test_norm_after_a_layer_leaves_the_correlation():
    found = limit(lambda x: rms_norm(x + epsilon * A(relu(x))))
    assert found.states == (V12,)
    assert agree(found.drift[0], NU)


def test_dropout_reaches_the_diagonal_only():
    wet, dry = (
        limit(f).drift for f in (lambda x: x + epsilon * A(dropout(relu(x), HALF)), lambda x: x + epsilon * A(relu(x)))
    )
    assert wet[0] == 2 * dry[0]
    assert agree(wet[1], dry[1])
    assert limit(lambda x: x + epsilon * drop_branch(A(relu(x)), HALF, shared=True)).drift[0] == 2 * dry[0]


def test_gates_and_fixed_numbers_of_hidden_neurons():
    assert limit(lambda x: x + epsilon * A(relu(B(x)) * C(x)), inputs=1).drift[0] == V**2 / 2
    assert limit(lambda x: x + epsilon * A(relu(Weights("B", out=3)(x))), inputs=1).drift[0] == V / 2
    with pytest.raises(NoLimit, match="random already in finitely many layers"):
        limit(lambda x: A(Weights("B", out=3)(x)), inputs=1)


def test_biases_and_means():
    beta = sp.Symbol("beta", positive=True)
    biased = limit(lambda x: Weights("A", bias_variance=beta * step**2)(x), parameters=(beta,))
    assert list(biased.drift) == [beta] * 3
    assert biased.covariance[0, 0] == 2 * V11**2
    moments = {"bias_variance": HALF, "weight_mean": sp.Rational(1, 3), "bias_mean": sp.Rational(-1, 4)}
    for outer, inner in ((silu, identity), (tanh, identity)):
        joint, wide = (
            joint_limit(ShrinkingResNet(outer, inner, width=n, inputs=2, **moments)),
            width_limit(ShrinkingResNet(outer, inner, width=sp.oo, inputs=2, **moments)),
        )
        renamed = dict(zip(wide.states, joint.states, strict=True))
        assert all(sp.expand(b - w.xreplace(renamed)) == 0 for b, w in zip(joint.drift, wide.drift, strict=True))
        assert len(joint.states) == 5


def test_norms_beside_a_skip_are_fast_variables():
    found = limit(lambda x: SKIP * x + FULL * A(rms_norm(x)))
    (r,) = found.states
    assert sp.expand(found.drift[0] + sp.Rational(344, 625) * r * (1 - r**2)) == 0  # without the fast norms 272/625
    assert sp.expand(found.covariance[0, 0] - (1 - SKIP**4) * (1 - r**2) ** 2) == 0
    assert found.domain == sp.Interval.open(-1, 1)
    without = limit(lambda x: A(rms_norm(x)))  # no skip: nothing lasts
    assert sp.expand(without.drift[0] + r * (1 - r**2) / 2) == 0


def test_what_a_skip_remembers_of_an_average_is_summed_over_all_layers():
    # E u² = V (1 + cξ)², ξ = ⟨x⟩ an autoregression with coefficient λ and variance V/n
    c, kept, new = sp.Rational(1, 3), SKIP, FULL**2
    found = limit(lambda x: SKIP * x + FULL * A(x * (1 + c * average(x))), inputs=1)
    one_layer = 4 * c**2 * new**2 * V**3 + 2 * (1 - kept**4) * V**2
    lasting = 2 * sum(4 * c**2 * new**2 * V**3 * kept**k for k in range(1, 60))
    assert abs((found.covariance[0, 0] - one_layer - lasting).subs(V, 2)) < 1e-9
    assert abs((found.covariance[0, 0] - one_layer).subs(V, 2)) > 1  # without the correlations
    drift = c**2 * new * V**2 + 4 * c**2 * new**2 * V**2 * kept / (1 - kept)
    assert sp.expand(found.drift[0] - drift) == 0
    assert limit(lambda x: SKIP * x + FULL * A(x) * (1 + c * average(x)), inputs=1) == found
    pair = limit(lambda x: SKIP * x + FULL * A(x * (1 + c * average(x))))
    assert all(
        sp.expand(value.subs({V11: V, V12: V, V22: V}) - found.drift[0]) == 0 for value in pair.drift
    )  # equal inputs stay so
    assert sp.expand(pair.drift[0] - found.drift[0].subs(V, V11)) == 0


def test_powers_of_the_state_beside_a_skip_are_summed_by_their_wick_products():
    # g = μ²V (x⁴/(3V²) − 1) up to x²: the fourth Wick product, of norm 24 V⁴, decays by λ⁴
    found = limit(lambda x: SKIP * x + FULL * A(x**2 / sp.sqrt(3 * average(x**2))), inputs=1)
    square = FULL**4 * sp.Rational(24, 9)
    noise = 2 * (1 - SKIP**4) + square * (1 + SKIP**4) / (1 - SKIP**4)
    assert sp.expand(found.covariance[0, 0] - noise * V**2) == 0
    assert wick(state**4, [state], sp.Matrix([[V]])) == state**4 - 6 * V * state**2 + 3 * V**2


def forced(layer, inputs):
    """The empirical chain where the conditional one would be taken."""
    moments = JointMoments.of(Network(layer, width=n, inputs=inputs), inputs)
    assert moments.chain.is_conditional
    moments.chain.__dict__["is_conditional"] = False
    return moments


def test_given_the_gram_matrix_neurons_depend_on_each_other():
    rectified = Weights("A", variance=2)
    assert (
        forced(lambda x: rectified(relu(x)), 1).noise((0, 0), (0, 0)) == 5 * V**2
    )  # independent neurons would say 7 V²
    first = shaped("A")
    moments = forced(first, 2)
    assert agree(moments.velocity(0, 1), NU)
    assert sp.expand(moments.noise((0, 1), (0, 1)) - (V11 * V22 + V12**2)) == 0


@pytest.mark.parametrize(
    ("layer", "error", "says"),
    [
        (lambda x: SKIP * x + FULL * Weights("A", variance=2)(relu(x)), NotClosed, "lasts through the skip"),
        (lambda x: SKIP * x + FULL * sp.Abs(A(x)) * average(sp.Abs(x)), NotClosed, "multiple of the state"),
        (lambda x: SKIP * x + FULL * A(x * average(sp.tanh(x)) + x), NotClosed, "lasts through the skip"),
        (lambda x: SKIP * x + FULL * dropout(A(x), HALF), NotClosed, "multiple of the state"),
        (lambda x: relu(A(x)), NotClosed, "multiple of the state"),
        (lambda x: x + relu(epsilon * A(x)), NotClosed, "multiple of the state"),
        (lambda x: x + epsilon * A(x) * x, NotClosed, "multiple of the state"),
        (lambda x: x + epsilon * A(relu(x)) + epsilon**2 * sp.tanh(x), NotClosed, r"has the part tanh\(x\)$"),
        (lambda x: A(dropout(x, HALF)), NoLimit, "moves the Gram matrix by V"),
        (lambda x: 2 * A(x) / 3, NoLimit, "moves the Gram matrix by"),
        (lambda x: A(rms_norm(x)), NoLimit, "towards 1 within few layers"),
        (lambda x: Weights("A", bias_mean=1)(x), NotClosed, "a layer adds 1 to each neuron"),
        (lambda x: x + average(x), NotClosed, "a layer adds <x> to each neuron"),
        (lambda x: x * (1 + average(x) ** 2), NotClosed, "lasts through the skip"),
        (lambda x: x + epsilon * Weights("A", law="uniform")(B(x) ** 2), NotClosed, "Gaussian and orthogonal weights"),
        (lambda x: A(Weights("B", out=n**2)(x)), NotClosed, "no fixed multiple"),
    ],
)
def test_what_is_refused_says_why(layer, error, says):
    with pytest.raises(error, match=says):
        limit(layer, inputs=1)


def test_an_average_beside_norms_that_settle_is_refused():
    with pytest.raises(NotClosed, match=r"lasts through the skip .* where no norms settle"):
        limit(lambda x: SKIP * x + FULL * A(rms_norm(x) * (1 + average(x) / 3)))


def test_a_kink_that_moves_with_the_small_parameter_is_refused():
    rectified = Weights("A", variance=2)
    with pytest.raises(NotClosed, match="kink moves"):
        limit(lambda x: rectified(relu(x + epsilon * B(x))))
    assert limit(lambda x: x + epsilon * A(relu(x + epsilon * B(x)))).drift[0] == V11 / 2  # there it does not matter


def test_rates_belong_to_the_regime():
    bent = state + step**4 * state**5
    weights = Weights("A", variance=1 / expect(bent**2, state))
    slow = Regime({epsilon: sp.Rational(1, 4)}, depth=1)
    found = limit(lambda x: weights(bent.xreplace({state: x})), 1, slow)
    assert sp.expand(found.drift[0] - 30 * (V**3 - V)) == 0
    eta = sp.Symbol("eta", positive=True)
    with pytest.raises(DerivationError, match="has no rate"):
        limit(lambda x: x + epsilon * A(x), 1, Regime({eta: HALF}, depth=1))
    other = limit(lambda x: x + eta * A(x), 1, Regime({eta: HALF}, depth=1))
    assert other.drift[0] == V


def test_regime_has_one_clock():
    regime = Regime(depth=HALF, width=100)
    assert regime.time(5) == HALF
    assert regime.depth_of(HALF) == 5
    assert regime.values == {epsilon: 100 ** sp.Rational(-1, 4)}
    net = Network(lambda x: x + epsilon * A(x), width=16, regime=Regime(depth=1))
    assert net.time_of(8) == HALF
    assert net.program().update.coeff(state) == 1
    assert not net.program().update.has(step)
    assert derive(net).order == "joint"
    assert derive(Network(net.layer, width=1)).order == "depth"
    assert Regime().time(5) is None
    assert Regime().depth_of(1) is None
    assert not Regime().is_joint
    for wrong in (lambda: Regime(depth=-1), lambda: Regime({epsilon: 0}, depth=1), lambda: Regime({epsilon: 1})):
        with pytest.raises(DerivationError, match="rates"):
            wrong()
    with pytest.raises(DerivationError, match="must be a Regime"):
        Network(lambda x: A(x), width=4, regime="joint")


# --- orthogonal weights ---


def haar(name="H", out=n, variance=1):
    return Weights(name, out=out, variance=variance, law="orthogonal")


@pytest.mark.slow
def test_orthogonal_weights_keep_the_norms_that_they_read():
    # given their Gram matrix the neurons that come out are on a sphere: 5 V² of unshaped ReLU becomes 3 V², and 2 λ²(1 − λ²) is left of a skip's
    rectified = limit(lambda x: haar(variance=2)(relu(x)), 1)
    assert (rectified.drift[0], rectified.covariance[0, 0]) == (0, 3 * V**2)
    centred = limit(lambda x: haar(variance=2)(relu(x - average(x))), 1)
    assert centred.drift[0] == -V
    assert sp.expand(centred.covariance[0, 0] - (3 - 8 / sp.pi) * V**2) == 0
    kept = limit(lambda x: SKIP * x + FULL * haar()(x))
    wanted = 2 * SKIP**2 * FULL**2 * sp.Matrix([[2 * V11**2, 2 * V11 * V12], [2 * V11 * V12, V11 * V22 + V12**2]])
    assert (kept.covariance[:2, :2] - wanted).applyfunc(sp.expand).is_zero_matrix
    gaussian = limit(lambda x: SKIP * x + FULL * A(x))
    assert sp.expand(gaussian.covariance[0, 0] - 2 * (1 - SKIP**4) * V11**2) == 0


def test_a_shaped_perceptron_with_orthogonal_weights_loses_its_noise():
    plain, flow = (limit(lambda x, w=w: w(sp.tanh(epsilon * x) / epsilon)) for w in (A, haar()))
    assert isinstance(flow, Flow)
    assert list(flow.drift) == list(plain.drift) == [-2 * V11**2, -V12 * (V11 + V22), -2 * V22**2]
    assert plain.covariance[0, 0] == 2 * V11**2


def test_a_residual_network_has_the_same_limit_with_orthogonal_weights():
    regime = Regime({epsilon: HALF}, depth=1)
    plain, turned = (limit(lambda x, w=w: x + epsilon * w(relu(x)), regime=regime) for w in (A, haar()))
    assert list(turned.drift) == list(plain.drift)


@pytest.mark.parametrize(("out", "strength"), [(4 * n, sp.Rational(3, 2)), (n, 0), (n / 2, 2)])
def test_some_rows_of_an_orthogonal_matrix(out, strength):
    # n of N = 4n rows, or N/2 of N = n, have a share Beta of the squared norm, of relative variance 2 (N/r − 1)/N; other shapes keep it
    found = limit(lambda x: haar("A")(haar("B", out)(x)), 1)
    assert (0 if isinstance(found, Flow) else found.covariance[0, 0]) == strength * V**2


def test_norms_beside_a_skip_with_orthogonal_weights():
    found = limit(lambda x: SKIP * x + FULL * haar()(rms_norm(x)))
    (r,) = found.states
    assert sp.expand(found.drift[0] + sp.Rational(3096, 10625) * r * (1 - r**2)) == 0
    assert sp.expand(found.covariance[0, 0] - 2 * SKIP**2 * FULL**2 * (1 - r**2) ** 2) == 0


@pytest.mark.parametrize("out", [4, sp.Symbol("k", positive=True, integer=True)])
def test_orthogonal_matrices_that_do_not_grow_with_the_width_are_refused(out):
    with pytest.raises(NotClosed, match="multiples of the width"):
        limit(lambda x: A(haar("B", out)(x)), parameters=(sp.Symbol("k", positive=True, integer=True),))


def test_entries_of_other_laws_are_refused():
    with pytest.raises(NotClosed, match="Gaussian and orthogonal weights"):
        limit(lambda x: Weights("U", law="uniform")(x))


# --- many inputs ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        lambda x: SKIP * x + FULL * A(rms_norm(x)),
        lambda x: A(sp.tanh(epsilon * x) / epsilon),
    ],
    ids=["norm beside a skip", "shaped"],
)
def test_work_and_words_do_not_grow_with_the_inputs(layer, monkeypatch):
    asked, covariance = [], JointMoments.noise

    def counting(self, *pairs):
        asked[-1] += 1
        return covariance(self, *pairs)

    monkeypatch.setattr(JointMoments, "noise", counting)
    lines = []
    for inputs in (5, 11):
        asked.append(0)
        d = derive(Network(layer, width=n, inputs=inputs, regime=Regime(depth=1)))
        lines.append([len(step.lines) for step in d.steps])
    assert asked[0] == asked[1] > 0
    assert lines[0] == lines[1]
    assert "for all inputs as for these" in " ".join(str(d).split())
    states = d.limit.states
    at = {s: sp.Rational(1, k + 2) for k, s in enumerate(states) if s.is_real}
    place = {str(s): k for k, s in enumerate(states)}
    few = derive(Network(layer, width=n, inputs=4, regime=Regime(depth=1))).limit
    renamed = {s: states[place[str(s)]] for s in few.states}
    for i, s in enumerate(few.states):
        for k, r in enumerate(few.states):
            found = d.limit.entry(place[str(s)], place[str(r)])
            assert sp.cancel((found - few.covariance[i, k].xreplace(renamed)).xreplace(at)) == 0
