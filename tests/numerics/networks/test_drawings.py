"""What drawn matrices do to features: the same weights at each application, and as much of the biases as a column gets."""

from __future__ import annotations

import numpy as np
import pytest

from numerics.compile.programs import MatrixNumbers
from numerics.networks.drawings import AllWeights

SAMPLES, ROWS = 400, 3
NUMBERS = MatrixNumbers(variance=0.25, mean=0.0, bias_variance=4.0, bias_mean=0.0, rows=ROWS, columns=2, applications=3)


def test_biases_enter_as_much_as_a_column_says():
    apply = AllWeights()(NUMBERS, SAMPLES, np.random.default_rng(3))
    features = np.array([[[1.0, 2.0], [-1.0, 0.5]]])
    bare = apply(features, np.zeros(2))
    whole = apply(features)
    bias = whole[:, :, :1] - bare[:, :, :1]
    assert whole == pytest.approx(bare + bias)
    assert apply(features, np.array([0.0, 3.0])) == pytest.approx(bare + bias * [0.0, 3.0])
    assert apply(2 * features, np.zeros(2)) == pytest.approx(2 * bare)
    # 1200 numbers: the standard error of a mean square is 4% of it
    assert np.mean(bias**2) == pytest.approx(4.0, rel=0.2)
    assert np.mean(bare**2, axis=(0, 1)) == pytest.approx(0.25 * np.mean(features[0] ** 2, axis=0), rel=0.2)
    assert np.mean((bare + bias) ** 2) != pytest.approx(np.mean(bare**2), rel=0.2)  # the control
