r"""Steps after the first: what is added to matrices takes part in the next pass forward and backward.

A matrix that starts at 0, and one behind it, have no gradient at the first step or pass none on; from the second step on they do. What steps
add to a matrix lies along gradients and what the matrix reads, so that it acts on both by sums with one sign.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from derivations.errors import DerivationError
from derivations.exponents.orders import Order

_STEP, _MOST = Fraction(1, 64), 24


def balanced(need: Callable[[Order], Order], start: Order) -> Order:
    """The learning rate at which the largest change is of order 1: of the width's power first, then of the depth's.

    Parameters
    ----------
    need : callable
        From a learning rate to the order of the largest change, which grows with it, as the largest of several powers.
    start : Order
        A learning rate that is at least as large.

    Raises
    ------
    DerivationError
        If there is none.

    Examples
    --------
    >>> from derivations.exponents.orders import ONE, WIDTH
    >>> balanced(lambda eta: eta * max(ONE, eta * WIDTH), ONE)
    n^(-1/2)
    """
    eta = start
    for word in ("width", "depth"):
        for _ in range(_MOST):
            here: Fraction = getattr(need(eta), word)
            if here == 0:
                break
            step = _STEP
            while True:
                one, two = (getattr(need(eta / _power(word, h)), word) for h in (step / 2, step))
                if here - one == one - two or step < Fraction(1, 2**20):
                    break
                step /= 2
            slope = (two - here) / step
            if slope >= 0:
                raise DerivationError("no learning rate moves features or output by order 1: they do not depend on it")
            eta = eta / _power(word, -here / slope)
        else:
            raise DerivationError("no learning rate was found at which the largest change is of order 1")
    return eta


def _power(word: str, exponent: Fraction) -> Order:
    return Order(exponent) if word == "width" else Order(Fraction(0), exponent)
