"""Each kind of module is one file, and the table of rules has all of them."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

pytest.importorskip("torch")

import numerics.pytorch as package
from numerics.pytorch import rules


def _saying(name):
    """What the files of the package say under a name, file by file."""
    for found in pkgutil.iter_modules(package.__path__):
        said = vars(importlib.import_module(f"numerics.pytorch.{found.name}")).get(name)
        if isinstance(said, dict) and said is not getattr(rules, name):
            yield found.name, said


@pytest.mark.parametrize("name", ["MODULES", "FUNCTIONS"])
def test_every_kind_that_a_file_says_is_in_the_table(name):
    table, files = getattr(rules, name), dict(_saying(name))
    assert len(files) >= 3
    for said in files.values():
        assert all(table[key] is rule for key, rule in said.items())
    # nothing is said twice
    every = [key for said in files.values() for key in said]
    assert len(every) == len(set(every))
