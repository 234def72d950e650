"""What targets that differentiate rewrite: values and derivatives are numbers where those of the formula are."""

from __future__ import annotations

from numerics.backends.angles import small_angles
from numerics.backends.cancelling import cancelling_sums, exponential_tails
from numerics.backends.correlations import correlation_angles
from numerics.backends.exponentials import bounded_logarithms, bounded_quotients, decaying_powers
from numerics.backends.kinks import guarded_branches
from numerics.backends.numpy import safe
from numerics.backends.rewrites import logistic_quotients, stable_logarithms

#: In this order.
WITH_DERIVATIVES = (
    correlation_angles,
    small_angles,
    safe,
    bounded_quotients,
    bounded_logarithms,
    cancelling_sums,
    exponential_tails,
    stable_logarithms,
    logistic_quotients,
    decaying_powers,
    guarded_branches,
)
