"""Which extra brings a package."""

import pytest

from numerics.extras import extra_of, how_to_install, is_missing


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("jax", "jax"),
        ("optax", "jax"),
        ("sklearn", "sklearn"),
        ("distributed", "dask"),
        ("shtab", "report"),
        ("numba", "fast"),
    ],
)
def test_extras_are_those_of_the_metadata(package, extra):
    assert extra_of(package) == extra


def test_a_package_of_no_extra_is_installed_by_its_name():
    assert extra_of("numpy") is None  # of the base, not of an extra
    assert how_to_install("no_such_package") == "pip install no_such_package"
    assert (is_missing("no_such_package"), is_missing("numpy")) == (True, False)
