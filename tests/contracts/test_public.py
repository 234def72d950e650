"""What every public name owes: it pickles, copies, hashes, is documented, and has a printed form without addresses."""

from __future__ import annotations

import copy
import pickle

import pytest
import sympy as sp

import derivations
import numerics
from derivations import Normal, ResNet, depth_limit, derive, recognise, relu, tanh
from numerics import compile_expression, compile_law, distribution

#: Why these are excused, and from what.
EXCUSED = {
    "ACTIVATIONS": "a view of a table that cannot be changed, as Python's mappingproxy is: dict(ACTIVATIONS) can be sent",
    "symbols": "a module",
}
NAMES = [(package, name) for package in (derivations, numerics) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_public_names(package, name):
    thing = getattr(package, name)
    if name in EXCUSED:
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        return
    assert pickle.loads(pickle.dumps(thing)) == thing
    assert copy.deepcopy(thing) == thing
    assert isinstance(hash(thing), int)
    assert (thing.__doc__ or "").strip()


def values():
    x, n = sp.Symbol("x", real=True), sp.Symbol("n", integer=True, positive=True)
    limit = depth_limit(ResNet(relu, width=1))
    law = recognise(limit)
    yield from (derive(ResNet(relu, width=1)), limit, law, Normal(0, 1), relu, ResNet(tanh, width=n))
    yield from (derive(ResNet(tanh, width=n)), depth_limit(ResNet(tanh, width=n)))
    yield from (compile_law(law, x0=1.0, t=1.0), distribution(derive(ResNet(relu, width=1)), x0=1.0, t=0.5))
    yield compile_expression(x, x**2)


@pytest.mark.slow
def test_what_the_public_functions_return():
    for value in values():
        assert pickle.loads(pickle.dumps(value)) == value, type(value)
        assert copy.deepcopy(value) == value, type(value)
        assert hash(copy.deepcopy(value)) == hash(value), type(value)
        assert " at 0x" not in repr(value) + str(value), type(value)
