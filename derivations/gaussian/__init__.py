r"""Means of functions of one Gaussian variable, and of products over two correlated ones.

``terms`` splits a function into monomial × exponential × sigmoids, ``law`` completes squares,
``stein`` does the moments; ``single`` and ``pair`` are the front doors, ``hermite`` the series where
no closed form is known.
"""

from derivations.gaussian.hermite import HermiteSeries, hermite_pair
from derivations.gaussian.joint import GaussianJointExpectation, joint_mean
from derivations.gaussian.pair import GaussianPairExpectation, dual, expect_pair
from derivations.gaussian.share import SoftmaxShare
from derivations.gaussian.single import GaussianExpectation, expect
from derivations.gaussian.softmax import SoftmaxMean, softmax_mean

__all__ = [
    "expect",
    "expect_pair",
    "dual",
    "hermite_pair",
    "HermiteSeries",
    "GaussianExpectation",
    "GaussianPairExpectation",
    "GaussianJointExpectation",
    "joint_mean",
    "SoftmaxMean",
    "SoftmaxShare",
    "softmax_mean",
]
