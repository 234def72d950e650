"""Constants are generators for algebra too: with many powers of e beside exponentials it does not end."""

from __future__ import annotations

import time

import pytest
import sympy as sp

from derivations import ResNet, derive, parse_activation
from derivations.calculus.size import is_moderate

x = sp.Symbol("x", real=True)


def test_powers_of_constants_count_in_the_size_of_algebra():
    def formula(constant):
        return sum(sp.exp(k * x) * constant ** (9 - k) * (k + 1) for k in range(9)) ** 30

    assert is_moderate(formula(2))
    assert not is_moderate(formula(sp.E))


@pytest.mark.parametrize("text", ["atan(sigmoid(2-x))", "silu(((x-2)+x))"])
def test_functions_of_shifted_arguments_derive_in_time(text):
    start = time.process_time()
    assert derive(ResNet(parse_activation(text), width=1)).law is None
    assert time.process_time() - start < 5
