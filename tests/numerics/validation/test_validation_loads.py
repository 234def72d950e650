"""A validation costs what is used of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import numerics.validation


@pytest.mark.slow
def test_a_validation_loads_no_catalogue():
    later = ("numerics.validation.catalogue", "sklearn", "numerics.training")
    code = (
        "import sys\nfrom derivations import ResNet, derive, relu\nfrom numerics.validation import validate\n"
        "validate(derive(ResNet(relu, width=1)), samples=20, depth=8)\n"
        f"print([m for m in {later!r} if m in sys.modules])\n"
        "from numerics.validation import CATALOGUE\nprint('numerics.validation.catalogue' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


def test_every_public_name_has_its_home():
    assert all(getattr(numerics.validation, name) is not None for name in numerics.validation.__all__)
    assert set(numerics.validation.__all__) <= set(dir(numerics.validation))
