"""A package costs what is used of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import derivations
from derivations import explain, laws, limits
from derivations.loading import on_demand

_LATER = (
    "derivations.activations.smooth",
    "derivations.architectures.attention",
    "derivations.calculus.exits",
    "derivations.existence",
    "derivations.language.text",
    "derivations.explain.limit",
    "derivations.limits.chain",
    "derivations.norms",
    "importlib.metadata",
    "sympy.integrals.manualintegrate",
)


def test_a_first_derivation_loads_what_it_uses():
    code = (
        "import sys\nfrom derivations import ResNet, derive, relu\nd = derive(ResNet(relu, width=1))\n"
        f"print([m for m in {_LATER!r} if m in sys.modules])\nlen(d.steps)\nprint('derivations.explain.limit' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


@pytest.mark.parametrize("package", [derivations, explain, laws, limits], ids=lambda p: p.__name__)
def test_every_public_name_has_its_home(package):
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))


def test_an_unknown_name_is_an_attribute_error():
    load, _ = on_demand("derivations.limits", {"derivations.limits.joint": "joint_limit"})
    assert load("joint_limit") is limits.joint_limit
    with pytest.raises(AttributeError, match=r"module 'derivations\.limits' has no attribute 'joint_limits'"):
        load("joint_limits")
