"""The ways in which a derivation can fail, each with what to do about it."""

from __future__ import annotations


class DerivationError(ValueError):
    """A request that the engine cannot honour; the message says what was expected, what came and what to do."""


class NoLimit(DerivationError):
    """The recursion has no limit in the requested scaling: a term is of the wrong order in the small parameter."""


class NotClosed(DerivationError):
    """A function of the state does not have a generator that depends on itself alone."""


class NoClosedForm(DerivationError):
    """No closed form is known for the requested quantity; it can still be computed numerically."""


class UnsafeExpression(DerivationError):
    """Text that is not a plain formula in one variable; it was refused without being evaluated."""
