"""The claim that deep networks are trained as the tangent kernel says."""

import pytest

pytest.importorskip("jax")

from numerics.validation import Validation, find_claims
from numerics.validation.peluchetti import TRAINED
from numerics.validation.trained import derived_loss


@pytest.mark.slow
def test_networks_of_1000_layers_train_as_derived():
    (claim,) = find_claims(name="trained, 1000 layers")
    assert Validation((claim.check(seed=1),)).verdicts == ("agrees",)


@pytest.mark.slow
def test_a_loss_of_the_readout_alone_differs():
    (claim,) = find_claims(name="trained, 1000 layers")
    shallow = claim.check(seed=1, mutate=lambda _: derived_loss(TRAINED, layers_learn=False))
    assert Validation((shallow,)).verdicts == ("differs",)
