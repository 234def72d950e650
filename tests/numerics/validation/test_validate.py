"""Theory against networks: true claims agree, and a wrong coefficient anywhere is caught."""

from __future__ import annotations

import json
import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sympy as sp

from derivations import (
    GatedBlock,
    Network,
    ResNet,
    derive,
    identity,
    ornstein_uhlenbeck,
    recognise,
    relu,
    symbols,
    tanh,
)
from numerics.networks import simulate_network
from numerics.statistics import Estimate, Test, holm
from numerics.validation import (
    CATALOGUE,
    LEVEL,
    Distribution,
    Row,
    Validation,
    check_claims,
    find_claims,
    peluchetti,
    starting_states,
    validate,
)
from numerics.validation.base import CONTROL_LEVEL, WRONG, depth_below_noise, negative_control, spawn
from numerics.validation.catalogue import _numbers
from numerics.validation.checks import LAW_CHECKS, LIMIT_CHECKS, _one_layer_mean, coefficients, one_layer
from numerics.validation.equation import _DrawnOnce, _falls
from numerics.validation.hayou import (
    active_neurons,
    kernel_after,
    log_norm_increment,
    slope_at_start,
)
from numerics.validation.hayou_linear import lyapunov_exponent
from numerics.validation.scores import most_powerful
from numerics.validation.settings import settings_of
from numerics.validation.subjects import Setting

FAST = [claim for claim in CATALOGUE if not claim.slow]
SLOW = [claim for claim in CATALOGUE if claim.slow and not getattr(claim, "needs", "")]


@cache
def setting(activation=relu, width=1, inputs=1, x0=1.0, t=0.25, **overrides) -> Setting:
    d = derive(ResNet(activation, width=width, inputs=inputs))
    start = np.full((1, 1), x0) if width == inputs == 1 else x0 * starting_states(d.architecture)
    return Setting(d.architecture, d.limit, d.law, start, t, overrides.get("samples"), overrides.get("depth"), 2)


def table(check, s, seed=1) -> Validation:
    return Validation(tuple(check(s, seed)))


# --- checks of a derivation ---


def test_one_layer_is_seen_where_neurons_that_came_to_rest_are_not():
    s = settings_of(derive(ResNet(relu, width=3)), 1.0, 1000.0, None, None, 1)[0]
    assert np.all(s.reached(spawn(1, 3)[0]) <= 0)
    drift = next(LIMIT_CHECKS[0](s, 1))
    assert drift.test.p_value > 1e-3
    assert drift.control.p_value < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("check", [*LIMIT_CHECKS, *LAW_CHECKS], ids=lambda c: c.__name__)
def test_width_one_agrees(check):
    outcome = table(check, setting())
    assert outcome, f"\n{outcome}"
    assert all(row.control_rejected for row in outcome.rows)


@pytest.mark.slow
def test_the_drift_of_a_neuron_is_seen_where_a_norm_fixes_the_mean():
    """The mean over the neurons was compared there: 0 with 0."""
    d = derive(Network("layer_norm(x + eps*A(relu(B(x))))", width=4))
    s = Setting(d.architecture, d.limit, None, starting_states(d.architecture), 1.0, None, None, 2)
    drift, *_ = one_layer(s, 1)
    assert drift.claim == "drift of one layer, neuron 1"
    assert drift.derived != 0
    assert drift.test.p_value > LEVEL
    assert drift.control_rejected
    moved = d.limit.drift + sp.ImmutableMatrix([sp.Rational(1, 10)] * 4)
    other = replace(s, limit=replace(d.limit, drift=moved))
    assert next(one_layer(other, 1)).test.p_value < LEVEL


@pytest.mark.parametrize("inputs", [1, 2])
def test_one_layer_of_several_neurons_agrees(inputs):
    outcome = table(LIMIT_CHECKS[0], setting(tanh, 3, inputs))
    assert outcome, f"\n{outcome}"


@pytest.mark.slow
@pytest.mark.parametrize("check", [*LIMIT_CHECKS, *LAW_CHECKS], ids=lambda c: c.__name__)
def test_a_wrong_engine_is_caught(check):
    right = setting()
    limit = negative_control(right.limit)
    wrong = replace(right, limit=limit, law=recognise(limit))
    assert "differs" in table(check, wrong).verdicts


@pytest.mark.parametrize("check", [LAW_CHECKS[0], LAW_CHECKS[1]], ids=lambda c: c.__name__)
def test_too_few_samples_do_not_pass(check):
    outcome = table(check, replace(setting(), samples=100))
    assert not outcome
    assert "no power" in outcome.verdicts[0]


def test_too_shallow_networks_do_not_pass():
    outcome = table(LAW_CHECKS[0], replace(setting(), depth=4))
    assert not outcome
    assert outcome.verdicts == ("biased: raise depth, or take a shorter time",)
    (row,) = outcome.rows
    # the distance is there, and the next order in the depth explains it
    assert row.test.p_value < 1e-10
    assert row.test.statistic < row.bias + row.noise


def test_a_recursion_that_is_exact_at_every_depth_has_no_order_to_measure():
    constant = symbols.state * 0 + 2
    assert table(LAW_CHECKS[2], setting(constant)).rows == ()


def test_coefficients_are_those_of_the_limit():
    state = np.array([[1.0], [-2.0], [3.0]])
    drift, covariance = coefficients(setting(relu, 3).limit, state)
    assert np.array_equal(drift, np.zeros((3, 1)))
    assert covariance == pytest.approx(np.array([[10 / 3]]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "x0", "t", "quick"),
    [  # controls of 15 % where another row has the same checks with those of 5 %
        (ResNet(relu, width=1), 1.0, 1.0, False),
        (ResNet(identity, width=1), -2.0, 1.0, True),
        (ResNet(ornstein_uhlenbeck, width=1), 0.3, 0.25, True),
        (ResNet(symbols.state**2 + 1, width=1), 1.0, 1.0, False),
        (ResNet(relu, width=4), 1.0, 1.0, True),
        (ResNet(tanh, width=1), 1.0, 1.0, True),
        (ResNet(relu, width=3, inputs=2), 1.0, 0.5, False),
    ],
    ids=["relu", "identity", "ornstein-uhlenbeck", "theta series", "four neurons", "no law", "two inputs"],
)
def test_validate_agrees(network, x0, t, quick):
    outcome = validate(derive(network), x0=x0, t=t, seed=1, workers=2, quick=quick)
    assert outcome, f"\n{outcome}"


@pytest.mark.slow
def test_a_quick_table_agrees_and_says_what_is_left():
    said = []

    def stage(name):
        said.append(name)
        return nullcontext()

    outcome = validate(derive(ResNet(relu, width=1)), seed=1, stage=stage, quick=True)
    assert outcome, f"\n{outcome}"
    assert "quick" in outcome.title
    assert said[0] == "one layer, 1 of 5"
    assert all("s left" in name for name in said[1:])


def test_time_is_halved_where_steps_explode_and_the_limit_does_not():
    d = derive(GatedBlock(relu, width=1))
    s = Setting(d.architecture, d.limit, d.law, np.ones((1, 1)), 1.0, None, None, 1)
    assert s.calm.t <= 0.5
    assert replace(s, explosive=True).calm.t == 1.0
    assert setting().calm.t == setting().t


def test_networks_that_are_there_are_not_drawn_again():
    s = setting()
    drawn = simulate_network(s.architecture, 200, 500, x0=1.0, t=s.t, seed=9)
    claims = [table(LAW_CHECKS[0], replace(s, samples=500, drawn=(depth, drawn))).rows[0].claim for depth in (200, 2)]
    assert claims[0].endswith("500 networks of depth 200")
    assert int(claims[1].split()[-1]) >= 64  # two layers would be too few


@pytest.mark.parametrize("power", [0, 1])
def test_the_mean_of_one_layer_has_an_honest_error(power):
    # an increment h b + √h u + h^2 c + h^3 e: the mean per unit of time is b, what the third order leaves counts as an error
    class Layers:
        def one_layer(self, neurons, h, count, seed):
            u = np.random.default_rng(seed).standard_normal((count, 1, 1))
            return 2.0 + np.sqrt(h) * u + 3.0 * h + 5.0 * h**2 + 40.0 * power * h**4

    found = _one_layer_mean(
        Layers(), None, np.full((1, 1), 2.0), 500, (-0.5, 1.0, 2.0), 0, lambda moved, _: moved[:, 0, 0]
    )
    assert abs(found.value - 3.0) < 4 * found.error < 0.05


def test_requests_that_make_no_sense_are_named():
    d = derive(ResNet(relu, width=1))
    with pytest.raises(ValueError, match="nothing moves"):
        validate(d, x0=-1.0)
    for networks in ("ten", (10,), (10, [1.0, 2.0]), (0, [[[1.0]]]), None):
        with pytest.raises(ValueError, match=r"networks must be a depth and .*\(samples, 1, 1\)"):
            validate(d, networks=networks)
    with pytest.raises(ValueError, match="t must be"):
        validate(d, t=0.0)
    with pytest.raises(ValueError, match="x0 must be 0 or of a size from 1e-75 to 1e75"):
        validate(d, x0=np.nan)
    with pytest.raises(ValueError, match="second moments of the inputs"):
        validate(derive(ResNet(relu, width=float("inf"), inputs=2)), x0=[[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="width"):
        validate(derive(ResNet(relu, width=symbols.width)))
    with pytest.raises(ValueError, match="expected a limit"):
        negative_control("a limit")


# --- the catalogue ---


#: Of the fast claims those that take longest; others of their kind stay in the fast lane.
LONGEST = {"Lyapunov exponent 1 of 3", "mean neuron, SiLU"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "claim",
    [pytest.param(c, marks=[pytest.mark.slow] if c.name in LONGEST else []) for c in FAST],
    ids=lambda c: c.name,
)
def test_claim_agrees(claim):
    outcome = Validation((claim.check(seed=1, workers=2),))
    assert outcome, f"\n{outcome}"


@pytest.mark.slow
@pytest.mark.parametrize("claim", [FAST[0], next(c for c in FAST if isinstance(c, Distribution))], ids=lambda c: c.name)
def test_claim_differs_if_the_engine_derives_it_wrongly(claim):
    # what an engine with a 5 % error in the noise's scale would have derived
    mutant = claim.derive(WRONG)
    wrong = claim.check(seed=1, workers=2, mutate=lambda _: mutant)
    assert Validation((wrong,)).verdicts == ("differs",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mutate"),
    [("strong rate, ReLU, width 4", lambda rate: 1.1 * rate), ("log-norm, width 2", lambda sample: 1.05 * sample)],
)
def test_wrong_rates_and_equations_differ(name, mutate):
    (claim,) = find_claims(name=name)
    assert Validation((claim.check(seed=1, mutate=mutate),)).verdicts == ("differs",)


@pytest.mark.slow
def test_networks_reject_what_is_published_for_all_times():
    (claim,) = find_claims(name="slope at t = 8, width 4")
    assert check_claims([claim], 1).verdicts == ("holds at t = 0 only",)
    # an engine that derived the published number for the later time as well
    assert Validation((claim.check(seed=1, mutate=lambda _: claim.published()),)).verdicts == ("differs",)


@pytest.mark.slow
@pytest.mark.parametrize("claim", SLOW, ids=lambda c: c.name)
def test_slow_claim_agrees(claim):
    outcome = Validation((claim.check(seed=1, workers=2),))
    assert outcome, f"\n{outcome}"


@pytest.mark.slow
def test_derived_values_are_the_published_ones():
    # typed in here only, to compare with what the engine derives
    assert [slope_at_start(n, 1) for n in (1, 2, 3, 4)] == pytest.approx([-1 / 2, -1 / 6, -1 / 21, 1 / 60])
    assert [lyapunov_exponent(3, k, 1) for k in (1, 2, 3)] == pytest.approx([(3 - 2 * k) / 6 for k in (1, 2, 3)])
    k11, k12, k22 = kernel_after(0.5, 1)
    assert (k11, k22) == pytest.approx((np.exp(0.25) / 2, np.exp(0.25) / 2), rel=1e-8)
    # dc/dt = (√(1-c²) - c arccos c)/(2π), integrated here by its own steps
    c, h = 0.6, 1e-4
    for _ in range(5000):
        slope = (np.sqrt(1 - c**2) - c * np.arccos(c)) / (2 * np.pi)
        middle = c + h / 2 * slope
        c += h * (np.sqrt(1 - middle**2) - middle * np.arccos(middle)) / (2 * np.pi)
    assert k12 / k11 == pytest.approx(c, rel=1e-7)


@pytest.mark.slow
def test_derived_values_of_shrinking_networks_are_the_published_ones():
    # typed in here only: (1 + β)e^{st} - β with s = 1/2, β = 1; e^{σ²t}; 8 from α = 1/4, y_0 = 1/2; log|det J| ~ N(-½, 1)
    assert peluchetti.second_moment(peluchetti.DENSE, 0, 0, 1) == pytest.approx(2 * np.exp(0.5) - 1)
    assert peluchetti.mean_square_gradient(1) == pytest.approx(np.e)
    assert peluchetti.swish_explosion(1) == pytest.approx(8)
    law = peluchetti.log_determinant_law(1)
    assert (law.mean(), law.std()) == pytest.approx((-0.5, 1.0))
    # ẏ_pq = σ_b² + σ_w²/3 Σ_δ y_{p+δ,q+δ} over positions inside, integrated here by its own steps
    y, h = np.ones((3, 3)), 1e-4
    for _ in range(10_000):
        padded = np.pad(y, 1)
        y = y + h * (0.5 + sum(padded[1 + d : 4 + d, 1 + d : 4 + d] for d in (-1, 0, 1)) / 6)
    assert peluchetti.second_moments(peluchetti.LINE, 1) == pytest.approx(y, rel=2e-4)


def test_slope_changes_sign_from_width_three_to_four():
    below, above = (Estimate.of(log_norm_increment(n, 2**14, 400_000, n, 2)) for n in (3, 4))
    assert below.value + 5 * below.error < 0 < above.value - 5 * above.error


@pytest.mark.slow
def test_active_neurons_decrease():
    # E N = 2.133, 2.0915 ± 0.003, 1.785 at t = 0, 1, 8 for width 4
    for time, published, error in ((1, 2.0915, 0.003), (8, 1.785, 0.003)):
        counts = Estimate.of(active_neurons(4, time, 64, 100_000, time, 2))
        assert (counts - Estimate(published, error)).test(0.0).p_value > 1e-3
    assert Estimate.of(active_neurons(4, 1, 1, 100_000, 0, 2)).value < 4 / (2 * (1 - 2**-4))


# --- rows and tables ---

SURE, FAILED = Test(0.1, 0.9), Test(9.0, 1e-12)


def test_verdicts():
    row = Row("claim", "z", SURE, FAILED)
    assert Validation((row,)).verdicts == ("agrees",)
    assert Validation((replace(row, test=FAILED),)).verdicts == ("differs",)
    assert "no power" in Validation((replace(row, control=Test(1.0, CONTROL_LEVEL * 2)),)).verdicts[0]
    assert [replace(row, control=Test(1.0, p)).verdict(1.0)[-6:] for p in (2 * CONTROL_LEVEL, 0.003, 1.0)] == [
        "3-fold",
        "4-fold",
        "3-fold",
    ]
    assert "biased" in Validation((replace(row, bias=0.6, noise=1.0),)).verdicts[0]
    assert not Validation(())
    assert not Validation((row, replace(row, test=FAILED)))


def test_several_tests_are_corrected_for():
    rows = tuple(Row(str(k), "z", Test(3.0, p), FAILED) for k, p in enumerate((0.6 * LEVEL, 0.5, 0.7)))
    assert Validation(rows[:1]).verdicts == ("differs",)
    assert Validation(rows)  # one of three at this p-value is no evidence
    assert Validation(rows).adjusted == pytest.approx(tuple(holm([row.test.p_value for row in rows])))


def test_table_is_text():
    text = str(Validation((Row("claim", "z", SURE, FAILED, 1.0, 1.1, Estimate(1.01, 0.1)),), "title"))
    assert text.startswith("title")
    assert "1.01 ± 0.1" in text
    assert "✓ agrees" in text


def test_depth_puts_the_bias_below_the_noise():
    assert depth_below_noise(rate=1.0, noise=0.01) == 512
    assert depth_below_noise(rate=0.0, noise=0.01) == 64


def test_every_claim_says_what_it_is():
    assert len({claim.name for claim in CATALOGUE}) == len(CATALOGUE)
    assert all(claim.statement for claim in CATALOGUE)
    assert {claim.source.split(",")[0].split(".")[-1].strip() for claim in CATALOGUE} == {
        "Hayou",
        "Li",
        "Peluchetti",
        "derived by this engine",
    }
    assert any(isinstance(claim, Distribution) for claim in CATALOGUE)


def test_claims_are_found_by_source_and_name():
    assert find_claims() == CATALOGUE
    assert all("Hayou" in claim.source for claim in find_claims("hayou"))
    assert not any(claim.slow for claim in find_claims(quick=True))
    with pytest.raises(ValueError, match="unknown source 'Haya'; close names: Hayou"):
        find_claims("Haya")
    with pytest.raises(ValueError, match="unknown source ' '"):
        find_claims(" ")
    with pytest.raises(ValueError, match="unknown claim 'determinant, width 3'; close names: determinant, width 2"):
        find_claims("Hayou", "determinant, width 3")
    with pytest.raises(ValueError, match="none of these claims is quick"):
        find_claims(name="w from 1/2, ReLU", quick=True)


def test_claims_that_need_what_is_not_installed_are_left_out_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    trained, first = find_claims(name="trained, 1000 layers")[0], find_claims("Hayou", quick=True)[0]
    found = check_claims([first, trained], 3)
    assert (found.claims, found.left_out, bool(found)) == ((first,), (trained,), True)
    assert 'not checked: trained, 1000 layers, which needs jax; pip install "deeplimits[jax]"' in str(found)
    with pytest.raises(ModuleNotFoundError, match="trained, 1000 layers needs jax"):
        check_claims([trained], 3)


@pytest.mark.slow
def test_what_comes_of_a_claim_depends_on_itself_alone():
    first, second = find_claims("Hayou", quick=True)[:2]
    both, alone = check_claims([first, second], 3), check_claims([second], 3)
    assert both.table.rows[1] == alone.table.rows[0]
    assert (bool(both), both.verdicts) == (True, ("holds", "holds"))
    assert [entry["verdict"] for entry in json.loads(both.to_json())] == ["holds", "holds"]
    wrong = replace(second, derive=lambda variance: second.derive(variance * WRONG))
    failed = check_claims([first, wrong], 3)
    assert (bool(failed), failed.verdicts) == (False, ("holds", "differs"))
    assert f"✗ {second.name}: differs" in str(failed)
    assert "1 of 2 hold" in str(failed)


@pytest.mark.slow
def test_a_time_over_which_layers_are_long_is_cut():
    outcome = validate(derive(ResNet(relu, width=1)), t=1000.0, seed=0)
    assert outcome, str(outcome)
    times = [float(found[1]) for row in outcome.rows if (found := re.search(r"at t = ([\d.]+)[: ]", row.claim))]
    assert max(times) < 32
    deep = validate(derive(ResNet(relu, width=1)), t=1000.0, seed=0, depth=64, samples=400)
    assert not deep
    assert not any("at t = 3" in row.claim for row in deep.rows)  # what was asked for is compared


def test_networks_whose_layers_are_long_are_seen():
    long, short = (settings_of(derive(ResNet(relu, width=1)), 1.0, t, None, None, 1)[0] for t in (1000.0, 1.0))
    # and how many pairs of sizes leave over too much
    assert _falls(_DrawnOnce(long), most_powerful(long), 0) == (False, 2)
    assert _falls(_DrawnOnce(short), most_powerful(short), 0) == (True, 0)


def test_a_p_value_below_what_doubles_hold_is_not_said_to_be_0():
    """By a table and by the list of claims; a p-value that doubles hold is a number."""
    gone, seen = Test(60.0, 0.0), Test(2.0, 0.0455)
    table = Validation((Row("a claim", "z", seen, gone), Row("another", "z", gone, seen)))
    assert [(cells[4], cells[6]) for cells in table.table()[1:]] == [("0.045", "< 1e-300"), ("< 1e-300", "0.05")]
    said = _numbers(table.rows[1], 0.0)
    assert said == "z = 60, p < 1e-300; control z = 2, p = 0.05"
    assert "p = 0;" not in said
