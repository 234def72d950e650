"""The first step of training: published scalings, what people ask, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy as sp

from derivations import (
    MLP,
    RECIPES,
    AttentionBlock,
    ConvBlock,
    ConvResNet,
    DerivationError,
    GatedBlock,
    MLPBlock,
    Network,
    NoLimit,
    ResNet,
    ShapedMLP,
    TrainingScalings,
    Weights,
    attention,
    average,
    epsilon,
    layer_norm,
    normalised_sum,
    relu,
    rms_norm,
    scalings,
    silu,
    tanh,
)
from derivations.exponents.orders import DEPTH, NOTHING, ONE, WIDTH, Order, is_odd, order_of, slope
from derivations.symbols import width as n

A, B = Weights("A"), Weights("B", out=4 * n)
HALF = sp.Rational(1, 2)
p, r, x = sp.symbols("p r x", real=True)
m, s = sp.symbols("m s", positive=True)


def rates(found, rule, **options):
    """The largest learning rate of each matrix as exponents of width and depth."""
    return {row.name: (row.rate.width, row.rate.depth) for row in found.moved(rule, **options)}


def test_a_resnet_has_the_depth_aware_maximal_update():
    found = scalings(ResNet(relu, width=n), training=True)
    assert isinstance(found, TrainingScalings)
    # Yang, Yu, Zhu, Hayou 2023: branch L^(-1/2), SGD with a rate that the depth does not change, Adam with L^(-1/2)
    assert rates(found, "sgd", readout=1) == {"input": (r, 0), "W": (r - 1, 2 * p - 1), "readout": (-1, 0)}
    assert rates(found, "sign", readout=1) == {"input": (0, 0), "W": (-1, p - 1), "readout": (-1, 0)}
    at_half = {p: HALF, r: 1}
    assert [e.subs(at_half) for e in rates(found, "sign", readout=1)["W"]] == [-1, -HALF]
    assert found.branches == (sp.Ge(p, HALF),)
    verdict = found.at("sign", readout=1)
    assert (verdict.kind, verdict.a, verdict.b) == ("features move", 1, HALF)
    # at another power of the depth or of the width they do not
    assert found.at("sign", readout=1, rate=(1, 1)).kind == "nothing moves"
    assert found.at("sign", readout=1, rate=(1, 0)).kind == "too large"
    assert found.at("sign", readout=1, rate=(HALF, HALF)).kind == "too large"
    assert found.at("sgd", {epsilon: 1}, readout=1, rate=(0, -1)).hidden == ONE  # branch 1/L: a rate of L


def test_known_parametrizations_of_a_perceptron():
    found = scalings(MLP(relu), training=True)
    # Yang and Hu 2021, table 1: the maximal update's rates, with all weights of hidden layers of standard deviation n^(-1/2)
    one = {name: tuple(sp.sympify(e).subs(r, 1) for e in rate) for name, rate in rates(found, "sgd", readout=1).items()}
    assert one == {"input": (1, 0), "W": (0, 0), "readout": (-1, 0)}
    one = {
        name: tuple(sp.sympify(e).subs(r, 1) for e in rate) for name, rate in rates(found, "sign", readout=1).items()
    }
    assert one == {"input": (0, 0), "W": (-1, 0), "readout": (-1, 0)}
    # NTK parametrization: a rate of order 1, features move by n^(-1/2)
    lazy = found.at("sgd", parametrization="ntk")
    assert (lazy.kind, lazy.a, lazy.hidden) == ("lazy", 0, WIDTH ** Fraction(-1, 2))
    # standard: a rate of 1/n, and lazy too
    lazy = found.at("sgd")
    assert (lazy.kind, lazy.a, lazy.hidden) == ("lazy", 1, WIDTH ** Fraction(-1, 2))
    # a coordinate check with Adam at 1/n: hidden features move by order 1, and the output grows with the root of the width
    check = found.at("sign", rate=(1, 0))
    assert (check.kind, check.hidden, check.output) == ("too large", ONE, WIDTH ** Fraction(1, 2))
    assert check.changes["readout"].output == ONE


@pytest.mark.slow
def test_convolutions_have_the_exponents_of_dense_layers():
    conv = scalings(ConvResNet(tanh, relu, width=n, positions=(4,), filter=(3,)), training=True)
    dense = scalings(Network(lambda x: x + tanh(epsilon * Weights("W")(relu(x))), width=n), training=True)
    for rule in ("sgd", "sign"):
        assert conv.moved(rule) == dense.moved(rule)


@pytest.mark.slow
def test_one_over_depth_with_larger_weights_differs_from_the_root_at_the_first_step():
    block = Network(lambda x: x + m * Weights("A", variance=s**2)(relu(B(layer_norm(x)))), width=n, parameters=(m, s))
    one = scalings(block, small={m: 1, s: -HALF}, training=True)
    other = scalings(block, small={m: HALF, s: 0}, training=True)
    assert one.start.at().sizes == other.start.at().sizes

    def steps(found, rule):
        return {name: change.state for name, change in found.at(rule, readout=1).changes.items() if name in "AB"}

    assert one.at("sign", readout=1).b == other.at("sign", readout=1).b == HALF
    assert steps(other, "sign") == {"A": ONE, "B": ONE}
    assert steps(one, "sign") == {
        "A": DEPTH ** Fraction(-1, 2),
        "B": ONE,
    }  # the output matrix alone could have a rate of L^0
    pm, ps = sp.symbols("p_m p_s", real=True)
    assert rates(one, "sign", readout=1)["A"] == (-1, pm - 1)
    assert rates(one, "sgd", readout=1)["A"] == (r - 1, 2 * pm - 1)
    assert sp.expand(rates(one, "sgd", readout=1)["B"][1] - (2 * pm + 2 * ps - 1)) == 0


@pytest.mark.slow
def test_features_inside_a_block_bound_the_branch():
    found = scalings(Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=n), training=True)
    for rule in ("sgd", "sign"):
        assert found.conditions(rule) == {"A": (sp.Ge(r, 1),), "B": (sp.Ge(r, 1), sp.Le(p, 1))}
        own = next(row for row in found.moved(rule, readout=1) if row.name == "B").own_at_rate
        assert (own.width, own.depth) == (0, p - 1)  # at branches of 1/L they move by order 1 too


@pytest.mark.slow
@pytest.mark.parametrize(("zero", "moved", "rate"), [("B", "B", 0), ("A", "A", -1)])
def test_an_adapter_whose_output_matrix_starts_at_0_may_have_the_larger_rate(zero, moved, rate):
    # Hayou, Ghosh, Yu 2024
    first = Weights("A", out=8, variance=int(zero != "A"))
    second = Weights("B", variance=int(zero != "B"))
    net = Network(lambda x: x + epsilon * (Weights("W")(relu(x)) + second(first(relu(x)))), width=n)
    found = scalings(net, training=("A", "B"))
    (row,) = found.moved("sign", readout=1)[:1] if moved == "A" else found.moved("sign", readout=1)[1:]
    assert (row.name, row.rate.width) == (moved, rate)
    assert {row.name for row in found.moved("sign", readout=1)} == {"A", "B"}  # what is not named is not trained
    # their rates at which both matrices move: n^(-1/2) if B starts at 0, where what A puts out grows, and 1/n if A does
    later = found.after(3, "sign")
    assert later.a == {"B": HALF, "A": 1}[zero]
    assert later.changes["A"].own.width == {"B": Fraction(1, 2), "A": 0}[zero]
    assert found.after(3, "sign", rate=(later.a - HALF, later.b)).kind == "too large"
    assert found.after(3, "sign", rate=(later.a + HALF, later.b)).kind == "nothing moves"
    assert "After several steps" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "rate"), [("sqrt", -sp.Rational(3, 2)), ("linear", -1)])
def test_scores_over_the_number_of_keys_move_by_order_1(scale, rate):
    # Yang et al. 2022, "1/d attention": over the root scores grow with the root of the width once queries and keys have moved
    def layer(x):
        y = rms_norm(x)
        return x + epsilon * Weights("O")(attention(Weights("Q")(y), Weights("K")(y), Weights("V")(y), scale=scale))

    found = scalings(Network(layer, width=n, positions=2), training=True)
    assert {row.name: row.rate.width for row in found.moved("sign", readout=1) if row.role == "hidden"} == {
        name: rate for name in "QKVO"
    }
    # over the root the scores move by order 1 while what V puts out does by n^(-1/2), and move features at the largest branches alone
    assert found.conditions("sign")["V"] == ((sp.Gt(r, HALF), sp.Le(p, HALF)) if scale == "sqrt" else (sp.Ge(r, 1),))
    own = next(row for row in found.moved("sign", readout=1) if row.name == "V").own_at_rate
    assert own.width == (-HALF if scale == "sqrt" else 0)
    assert ("with more something inside a layer" in " ".join(str(found).split())) == (scale == "sqrt")
    assert "does not move features" not in str(found)
    assert found.at("sign", readout=1).kind == "features move"


@pytest.mark.slow
def test_a_shaped_perceptron_adds_up_its_layers():
    found = scalings(ShapedMLP(tanh, inputs=1, a=1), training=True)
    (row,) = [row for row in found.moved("sgd", readout=1) if row.name == "W"]
    # JJ^T of k Gaussian layers has the second moment k + 1, and that of their sum grows with the cube of the depth
    assert (row.state.width, row.state.depth) == (1 - r, sp.Rational(3, 2))
    assert (row.output.width, row.output.depth) == (2 - 2 * r, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_first_step_in_all_formats(name):
    recipe = RECIPES[name] if isinstance(RECIPES, dict) else name
    found = scalings(recipe.example(), training=True)
    assert "learning rate of U" in str(found)


def test_formats(tmp_path):
    found = scalings(ResNet(relu, width=n), training=True)
    for suffix in ("tex", "typ", "txt", "json"):
        assert found.write(tmp_path / f"step.{suffix}").read_text(encoding="utf-8")
    assert "learning rate of W" in found._repr_latex_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scalings(ResNet(relu, width=n), training=("V",)), "unknown matrix"),
        (lambda: scalings(ResNet(relu, width=n), training=()), "names no matrix"),
        (lambda: scalings(ResNet(relu, width=n), training=1), "names of matrices"),
        (lambda: scalings(ResNet(relu, width=n), order="depth", training=True), "leave order and means out"),
        (lambda: scalings(ResNet(relu, width=n), training=True).moved("adam"), "unknown rule"),
        (lambda: scalings(ResNet(relu, width=n), training=True).at(parametrization="mup"), "unknown parametrization"),
        (lambda: scalings(ResNet(relu, width=n), training=True).at(readout=0), "must not be larger"),
        (lambda: scalings(ResNet(relu, width=n), training=True).after(0), "positive whole number"),
        (lambda: scalings(ResNet(relu, width=n), training=True).at(exponents={"q": 1}), "unknown exponent"),
        (lambda: scalings(ResNet(relu, width=n), training=True).at(exponents={p: sp.sqrt(2)}), "rational"),
        (lambda: scalings(ResNet(sp.Heaviside(sp.Symbol("x", real=True)), width=n), training=True).moved(), "jumps"),
        (lambda: scalings(ResNet(sp.sqrt(sp.Abs(x)), width=n), training=True), "first step of training"),
        (lambda: scalings(ResNet(1 / x, width=n), training=True), "first step of training"),
        (
            lambda: scalings(ResNet(relu, width=n), training=True).at(exponents={p: sp.Rational(1, 4)}),
            "no power of the depth",
        ),
        (lambda: scalings(Network(lambda x: n * A(x), width=n), training=True).moved(), "of order n"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(DerivationError, match=message):
        call()


def test_a_readout_that_starts_at_0_moves_features_from_the_second_step_on():
    found = scalings(ResNet(relu, width=n), training=True)
    first, second = (found.after(steps, "sgd", readout=10, rate=(0, 0)) for steps in (1, 2))
    assert first.hidden < ONE == first.output / WIDTH
    assert second.hidden > ONE


def test_a_number_that_all_neurons_share_passes_changes_on():
    # the sum of k products moves along its gradient, by the root of k more than a random change; networks by automatic differentiation: -0.57 at n = 256
    scores = Network(lambda x: x + epsilon * normalised_sum(B(x) * Weights("C", out=4 * n)(x)) * A(x), width=n)
    moved = {row.name: row for row in scalings(scores, training=True).moved("sgd", readout=1)}
    assert (moved["input"].own.width, moved["input"].state.width) == (-r, HALF - r)
    assert (moved["B"].state.width, moved["B"].output.width) == (sp.Rational(3, 2) - r, 2 - 2 * r)


@pytest.mark.slow
def test_means_of_weights_pass_values_and_gradients_on():
    M = Weights("M", variance=0, mean=1)
    found = scalings(Network(lambda x: x + epsilon**2 * M(relu(x)) + epsilon * A(relu(x)), width=n), training=True)
    assert found.rates("sign", readout=1)["M"] == (1, 0)


@pytest.mark.slow
def test_the_mean_of_a_matrix_is_no_matrix_of_its_own():
    # the mean of the matrix at a branch's end stands in the layer by itself, and had a learning rate of its own
    plain, shifted = (MLPBlock(relu, width=n, output_mean=mean) for mean in (0, HALF))
    moved = scalings(shifted, training=True).moved()
    assert [row.name for row in moved if row.role == "hidden"] == ["B", "A"]
    assert moved == scalings(plain, training=True).moved()
    with pytest.raises(DerivationError, match="unknown matrix 'MA'"):
        scalings(shifted, training="MA")
    own = Network(lambda x: x + epsilon * A(relu(x)) + epsilon**2 * Weights("MA", variance=0, mean=1)(x), width=n)
    assert "MA" in [row.name for row in scalings(own, training=True).moved()]  # the control: one that somebody wrote


def test_layers_whose_moments_are_not_closed_are_looked_at_directly():
    near = scalings(Network(lambda x: x + epsilon * A(relu(B(x) - average(B(x)))), width=n), training=True)
    assert near.start is None
    assert near.is_deep
    assert rates(near, "sign", readout=1)["B"] == (-1, p - 1)


def test_orders():
    x, e = sp.symbols("x e", real=True)
    small = {e: DEPTH ** Fraction(-1, 2)}
    assert order_of(sp.tanh(e * x) - e * x, small) == DEPTH ** Fraction(-3, 2)
    assert order_of(silu(e * x) + silu(-e * x), small) == DEPTH**-1
    assert order_of(slope(relu(e * x), x), small) == DEPTH ** Fraction(-1, 2)
    assert order_of(relu(e * x), {e: WIDTH}) == WIDTH
    assert order_of(x - e, {x: NOTHING, e: DEPTH}) == DEPTH
    assert Order() > NOTHING
    assert DEPTH**5 < WIDTH
    assert is_odd(tanh(x), frozenset({x}))
    assert not is_odd(relu(x), frozenset({x}))
    with pytest.raises(DerivationError, match="another way than a power"):
        order_of(sp.log(1 + e**2), {e: WIDTH})
    with pytest.raises(DerivationError, match="faster than any power"):
        order_of(sp.diff(sp.tanh(e), e), {e: WIDTH})


def test_too_strong_a_branch_is_no_limit():
    with pytest.raises(NoLimit):
        scalings(ResNet(relu, width=n), training=True).moved(exponents={p: sp.Rational(1, 3)})


def test_a_power_of_the_width_in_a_matrix_has_its_order():
    def layer(variance, factor):
        return Network(lambda x: x + epsilon * factor * Weights("A", variance=variance)(tanh(x)), width=n)

    # in the NTK parametrization a standard deviation and a factor are the same thing
    inside, beside, without = (
        scalings(layer(*pair), training=True).at(parametrization="ntk")
        for pair in ((1 / n, 1), (sp.S.One, n**-HALF), (sp.S.One, 1))
    )
    moved = [{name: (c.state, c.output) for name, c in v.changes.items()} for v in (inside, beside, without)]
    assert (inside.a, inside.b, moved[0]) == (beside.a, beside.b, moved[1])
    assert moved[0] != moved[2]  # the control: the power counts


KEPT = {
    "dropout": lambda **o: MLPBlock(relu, width=n, **o),
    "gate": lambda **o: GatedBlock(silu, width=n, norm="rms", **o),
    "filter": lambda **o: ConvBlock(relu, width=n, positions=3, **o),
    "attention": lambda **o: AttentionBlock(width=n, positions=2, **o),
}


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] if k == "attention" else []) for k in KEPT])
def test_factors_that_layers_draw_move_no_exponent(name):
    plain = scalings(KEPT[name](), training=True)
    for dropped in (KEPT[name](keep=HALF), KEPT[name](keep_branch=HALF)):
        found = scalings(dropped, training=True)
        assert all(rates(found, rule) == rates(plain, rule) for rule in ("sgd", "sign"))
        assert rates(found, "sgd") != rates(plain, "sign")  # the control
