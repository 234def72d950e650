"""Public refusals of the calculus, each with its reason."""

import pytest
import sympy as sp

from derivations import MLP, joint_limit, relu
from derivations.calculus.angle import angle_diffusion
from derivations.calculus.boundaries import classify
from derivations.calculus.exponential import collapse_linear
from derivations.calculus.girsanov import change_of_drift, time_change
from derivations.calculus.intervals import moving_interval
from derivations.calculus.lamperti import split
from derivations.calculus.linear_ode import solve_linear
from derivations.calculus.moment_closures import Gaussian
from derivations.calculus.speed import scale_density
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm

x, y, mu = sp.symbols("x y mu", real=True)
p, t = sp.symbols("p t", positive=True)
HALF = sp.Interval.open(0, sp.oo)
plain = Diffusion((x,), [0], [[1]])


def moving_in_time():
    return Diffusion((x,), [t], [[1]], time=t)


@pytest.mark.parametrize(
    ("question", "error", "message"),
    [
        (lambda: angle_diffusion(plain), DerivationError, "needs two states, got 1"),
        (lambda: angle_diffusion(Diffusion((x, y), [0, 0], sp.zeros(2, 2))), DerivationError, "no quadrant has noise"),
        (lambda: angle_diffusion(Diffusion((x, y), [0, 0], sp.eye(2))), DerivationError, "depend on the radius"),
        (
            lambda: angle_diffusion(Diffusion((x, y), [0, 0], sp.diag(sp.Max(x - 1, 0) ** 2, x**2))),
            DerivationError,
            "kinks off the axes",
        ),
        (lambda: classify(moving_in_time()), DerivationError, "do not depend on t; change time first"),
        (lambda: moving_interval(Diffusion((p,), [0], [[1]], HALF), sp.S.Zero), DerivationError, "domain"),
        (
            lambda: scale_density(Diffusion((x,), [sp.Abs(x)], [[1]]), (-sp.S.One, sp.S.One)),
            DerivationError,
            "one formula must hold on the interval, but the coefficients have kinks at x = 0",
        ),
        (
            lambda: classify(Diffusion((p,), [mu * p], [[p**2]], HALF))[0].kind,
            None,
            None,
        ),
        (
            lambda: classify(Diffusion((p,), [mu], [[p]], HALF))[0].kind,
            DerivationError,
            "the class of the end 0 depends on the parameters",
        ),
        (
            lambda: collapse_linear(joint_limit(MLP(relu, inputs=2))).moment(-1),
            DerivationError,
            "a moment has an order k ≥ 0, got -1",
        ),
        (lambda: change_of_drift(plain, sp.exp(sp.sin(x))), NoClosedForm, "is not elementary"),
        (lambda: change_of_drift(Diffusion((x,), [1], [[0]]), x), DerivationError, "scalar diffusion with noise"),
        (lambda: time_change(plain, 0), DerivationError, "run forward"),
        (lambda: split(moving_in_time()), DerivationError, "do not depend on time"),
        (lambda: split(Diffusion((x, y), [0, 0], sp.eye(2))), DerivationError, "scalar diffusion, got 2 states"),
        (lambda: split(Diffusion((x,), [1], [[sp.Max(x, 0) ** 2]])), NoClosedForm, "drift 1 but no noise"),
        (
            lambda: split(Diffusion((x,), [0], [[1 + sp.Max(x, 0) ** 2]])),
            NoClosedForm,
            "crosses a kink of its noise at x = 0",
        ),
        (lambda: solve_linear(sp.eye(2), sp.zeros(1, 1), (1,), t), DerivationError, r"shape \(1, 1\)"),
        (lambda: solve_linear(sp.eye(1), sp.Matrix([1 / t]), (1,), t), NoClosedForm, "no polynomial times an expo"),
        (lambda: Gaussian(3), DerivationError, "keeps orders 1 and 2, got order 3"),
    ],
)
def test_each_refusal_says_why(question, error, message):
    if error is None:  # the control: where the class is the same for all parameters it is given
        assert question() == "natural"
        return
    with pytest.raises(error, match=message):
        question()
