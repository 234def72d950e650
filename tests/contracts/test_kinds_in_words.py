"""A limit of the wrong kind is named in the terms of who gave it."""

from __future__ import annotations

from functools import cache

import sympy as sp

from derivations import MLP, Flow, ResNet, derive, joint_limit, relu, tanh
from derivations.errors import kind_of
from derivations.existence import existence
from derivations.steps.base import written_out
from numerics import solve_flow, solve_fokker_planck
from numerics.plots import plot_course
from numerics.schemes import find_scheme
from tests.refused import assert_refused, refusals

x = sp.Symbol("x", real=True)
NET = ResNet(tanh, width=4)
STILL = Flow((x,), sp.ImmutableMatrix([x]))


@cache
def several():
    return derive(NET).limit


NEURONS = r"got the limit of several neurons \(NeuronDiffusion\)"


@refusals(
    {
        "a density of several neurons": (lambda: solve_fokker_planck(several(), 1.0), NEURONS),
        "a flow of several neurons": (lambda: solve_flow(several(), 1.0), NEURONS),
        "a course of several neurons": (lambda: plot_course(several(), [1.0]), f"{NEURONS}; plot_paths draws"),
        "a step of a flow": (lambda: written_out(STILL), r"got a limit without noise.*\(Flow\); simulate_sde takes"),
        "a Gram scheme of several neurons": (lambda: find_scheme("congruence").prepare(several()), NEURONS),
        "a perceptron's scheme of several neurons": (lambda: find_scheme("linear_form").prepare(several()), NEURONS),
        "an Euler step of a flow": (lambda: find_scheme("euler_maruyama").prepare(STILL), "got a limit without noise"),
        "existence of a derivation": (lambda: existence(derive(NET), NET), "got a derivation, which has its limit in"),
    }
)
def test_what_came_is_said(call, message):
    assert_refused(call, message)


def test_the_nearest_kind_is_named():
    assert kind_of(joint_limit(MLP(relu))).startswith("the equation of")
    assert kind_of(several()) != kind_of(STILL)
    assert kind_of([1]) == "[1]"
