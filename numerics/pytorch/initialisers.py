r"""What a module's weights and biases are drawn from: by the name of an initialiser, or measured.

A matrix that reads k neurons has entries of variance :math:`\sigma^2/k`; everything here is said as :math:`\sigma^2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import unknown
from numerics.pytorch.independence import dependence

#: A measured second moment further than this many standard errors from what an initialiser gives is refused.
SURE = 6.0


@dataclass(frozen=True)
class Draw:
    r"""The law of a matrix: what :class:`derivations.Weights` takes, where it comes from, and the error if it was measured.

    Attributes
    ----------
    variance : Expr
        :math:`\sigma^2`, the variance of a weight times the number of neurons that are read.
    bias_variance : Expr
        Of one bias.
    source : str
        The initialiser's name, or how it was measured.
    law : str or mapping
        Of the entries, as in :class:`derivations.Weights`.
    error : float
        The standard error of ``variance``; 0 where a name says it.
    """

    variance: sp.Expr
    bias_variance: sp.Expr
    source: str
    law: str | Mapping[int, sp.Expr] = "gaussian"
    error: float = 0.0


#: From the number of neurons read, and that put out over it, to σ², a bias's variance and the entries' law. ``torch.nn.init`` sets
#: weights only; the usual code beside it sets biases to 0, which is what the names here mean. ``nn.Linear`` by itself draws
#: weights and biases uniformly on ±1/√k, of variance 1/(3k); ``nn.MultiheadAttention`` sets the biases of its output to 0.
NAMED: MappingProxyType[str, Callable[[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr, str]]] = MappingProxyType(
    {
        "default": lambda read, ratio: (sp.Rational(1, 3), 1 / (3 * read), "uniform"),
        "kaiming_normal": lambda read, ratio: (sp.Integer(2), sp.S.Zero, "gaussian"),
        "kaiming_uniform": lambda read, ratio: (sp.Integer(2), sp.S.Zero, "uniform"),
        "default_zero_bias": lambda read, ratio: (sp.Rational(1, 3), sp.S.Zero, "uniform"),
        "xavier_normal": lambda read, ratio: (2 / (1 + ratio), sp.S.Zero, "gaussian"),
        "xavier_uniform": lambda read, ratio: (2 / (1 + ratio), sp.S.Zero, "uniform"),
        "lecun_normal": lambda read, ratio: (sp.S.One, sp.S.Zero, "gaussian"),
        "orthogonal": lambda read, ratio: (1 / sp.Max(1, ratio), sp.S.Zero, "orthogonal"),
    }
)

#: Relative error of a number in half precision, as bfloat16 holds it.
_ROUNDED = 2.0**-8


def named(initialiser: str | float, read: sp.Expr, ratio: sp.Expr, biases: bool) -> Draw:
    """What an initialiser gives the weights of a linear module.

    Parameters
    ----------
    initialiser : str or float
        A name of :data:`NAMED` with or without PyTorch's final underscore, or the standard deviation of every weight (GPT-2's
        0.02) with biases 0.
    read : Expr
        How many neurons the module reads: a number, a formula in the width, or oo.
    ratio : Expr
        How many it puts out, over those that it reads.
    biases : bool
        Whether the module has biases.

    Raises
    ------
    ValueError
        For a word that is not known, or a standard deviation that does not fall with an infinite width.
    """
    if not isinstance(initialiser, str):
        if read.is_infinite:
            raise ValueError(
                f"a standard deviation of {initialiser} for every weight has no limit as the width grows; "
                "give width= as a number, or name an initialiser"
            )
        return Draw(exact_decimals(initialiser) ** 2 * read, sp.S.Zero, f"standard deviation {initialiser}")
    word = initialiser.removesuffix("_")
    if word not in NAMED:
        raise ValueError(unknown("initialiser", initialiser, [*NAMED, "measured"]))
    variance, bias, law = NAMED[word](read, ratio)
    return Draw(variance, bias if biases else sp.S.Zero, word, law)


def measured(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> Draw:
    r"""The law of a matrix from copies of it.

    Parameters
    ----------
    weights : sequence of array, shape (out, in)
        Copies drawn independently; at least one.
    biases : sequence of array, shape (out,)
        Empty for a module without biases.

    Returns
    -------
    Draw
        With :math:`\hat\sigma^2 = k\,\overline{w^2}` and its standard error; the fourth moment is kept where it is not a Gaussian's.

    Raises
    ------
    ValueError
        If the mean of the weights or of the biases is not 0 within its error: such weights move the state at order :math:`\varepsilon`
        and must be said by hand. If the entries do not look independent and of one law.
    """
    entries = np.concatenate([np.asarray(w, dtype=float).ravel() for w in weights])
    fan_in = weights[0].shape[1]
    _require_centred(entries, "weights")
    if (why := dependence(weights)) is not None:
        raise ValueError(f"its weights are not drawn independently from one law: {why}")
    variance, error = _second_moment(entries)
    bias = np.concatenate([np.asarray(b, dtype=float).ravel() for b in biases]) if biases else np.zeros(1)
    _require_centred(bias, "biases")
    copies = "this copy" if len(weights) == 1 else f"{len(weights)} fresh copies"
    law = _fourth_moment(entries, variance)
    source = f"measured on {copies}"
    return Draw(_digits(variance * fan_in), _digits(_second_moment(bias)[0]), source, law, error * fan_in)


def _fourth_moment(entries: np.ndarray, variance: float) -> str | dict[int, sp.Expr]:
    """The standardised fourth moment where it is not 3 within its error."""
    if variance == 0.0:
        return "gaussian"
    fourth = entries**4 / variance**2
    # the variance comes from the same entries, which only makes the error smaller
    error = float(fourth.std() / np.sqrt(max(entries.size - 1, 1)))
    value = float(fourth.mean())
    return "gaussian" if abs(value - 3) <= SURE * error else {4: _digits(max(value, 1.0))}


def disagreement(variance: object, what: str, values: np.ndarray, fan_in: int, uniform: bool = True) -> str | None:
    """Why numbers as they stand cannot be centred with a variance over k, or None if they can.

    Parameters
    ----------
    variance : Expr
        What is claimed, times the number of neurons that are read.
    what : str
        "weights" or "biases".
    values : array
    fan_in : int
        The number k of numbers that are read.
    uniform : bool
        Whether they are uniform, so that none is larger than the root of three variances.
    """
    entries = np.asarray(values, dtype=float).ravel()
    value, _ = _second_moment(entries)
    claimed = float(variance) / fan_in  # type: ignore[arg-type]
    # the error of a mean of squares is that of Gaussian entries at most, for uniform ones smaller
    if abs(value - claimed) <= SURE * claimed * np.sqrt(2.0 / entries.size) and (value > 0 or claimed == 0):
        most, edge = float(np.abs(entries).max(initial=0.0)), np.sqrt(3 * claimed)
        if not uniform or most <= edge * (1 + _ROUNDED):
            return None
        return f"of its {what} one is {most:.4g}, and uniform ones of that variance are at most {edge:.4g}"
    return f"its {what} have variance {value * fan_in:.4g}/k, where k = {fan_in} numbers are read, and not {float(variance):.4g}/k"  # type: ignore[arg-type]


def _second_moment(entries: np.ndarray) -> tuple[float, float]:
    squares = entries**2
    return float(squares.mean()), float(squares.std() / np.sqrt(max(squares.size - 1, 1)))


def _require_centred(entries: np.ndarray, what: str) -> None:
    spread = float(entries.std() / np.sqrt(max(entries.size - 1, 1)))
    if abs(float(entries.mean())) > SURE * spread > 0:
        raise ValueError(
            f"the {what} have mean {entries.mean():.4g}, which is not 0 within its error of {spread:.2g}; "
            "write the layer by hand with Weights(mean=...)"
        )
    if spread == 0.0 and entries.size and entries[0] != 0.0:
        raise ValueError(f"the {what} all equal {entries[0]:.4g}; write the layer by hand with Weights(mean=...)")


def _digits(value: float) -> sp.Expr:
    """A measured number as the decimal of four digits that is closest."""
    return sp.Rational(f"{value:.4g}")
