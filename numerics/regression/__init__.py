"""Inference with the kernels of infinitely wide networks: Gaussian-process and neural-tangent regression.

Both are scikit-learn estimators (extra ``sklearn``).
"""

from __future__ import annotations

from numerics.regression.factors import Factor, Flow, JitterWarning, factor
from numerics.regression.nngp import NNGPRegressor
from numerics.regression.ntk import NTKRegressor
from numerics.regression.nystroem import NystroemRegressor

__all__ = ["Factor", "Flow", "JitterWarning", "NNGPRegressor", "NTKRegressor", "NystroemRegressor", "factor"]
