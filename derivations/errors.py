"""The ways in which a derivation can fail, each with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class DerivationError(ValueError):
    """A request that the engine cannot honour; the message says what was expected, what came and what to do.

    Bound symbols print with an underscore before their names, which says nothing to a reader and is left out; the small parameter
    is ``epsilon``, as it is typed.
    """

    def __init__(self, message: object = "", *more: object) -> None:
        super().__init__(readable(str(message)), *more)


def readable(message: str) -> str:
    """A message in one line with bound symbols by their names, without addresses and without rows of digits.

    Examples
    --------
    >>> readable("one layer moves the state by _A - x")
    'one layer moves the state by A - x'
    >>> readable("varepsilon*A(x) + x")
    'epsilon*A(x) + x'
    >>> readable("expected a number, got " + str(10**80))
    'expected a number, got 10000…000 (81 digits)'
    """
    message = re.sub(r" at 0x[0-9a-f]+", "", re.sub(r"\s*\n\s*", " ", message))
    message = re.sub(r"\d{60,}", lambda found: f"{found[0][:5]}…{found[0][-3:]} ({len(found[0])} digits)", message)
    # a parameter has the name that it was given, the small one that of the text's eps
    message = re.sub(r"(?<![\w.'\"`\\])(?<!(?<!small )parameter )varepsilon(?!\w)", "epsilon", message)
    return re.sub(r"(?<![\w.'\"`/\\])_(?=[^\W\d_])", "", message)


def shown(value: object) -> str:
    """What came, in one short line.

    Examples
    --------
    >>> shown("abc"), shown(object()), shown([1] * 100)[-3:]
    ("'abc'", '<object object>', '1,…')
    """
    text = readable(repr(value))
    return text if len(text) <= 60 else text[:57] + "…"


_KINDS = {
    "Derivation": "a derivation, which has its limit in .limit",
    "CollapseDiffusion": "the limit of an unshaped perceptron",
    "GramDiffusion": "the equation of a Gram matrix",
    "Diffusion": "the equation of one state or a few",
    "NeuronDiffusion": "the limit of several neurons",
    "Flow": "a limit without noise, as infinite width has",
    "Recipe": "a network, whose limit is derive(network).limit",
}


def kind_of(value: object) -> str:
    """What came, in the words of who gave it: a limit by what it is the limit of, then the name of its class.

    Examples
    --------
    >>> from derivations import ResNet, derive, tanh
    >>> kind_of(derive(ResNet(tanh, width=4)).limit)
    'the limit of several neurons (NeuronDiffusion)'
    >>> kind_of(3)
    '3'
    """
    words = next((_KINDS[kind.__name__] for kind in type(value).__mro__ if kind.__name__ in _KINDS), None)
    return shown(value) if words is None else f"{words} ({type(value).__name__})"


def require(what: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Refuse what is of no fitting kind.

    Raises
    ------
    DerivationError
        That says what was expected and what came.

    Examples
    --------
    >>> require("the process", 3, str, "a text")
    Traceback (most recent call last):
    derivations.errors.DerivationError: the process must be a text, got 3
    """
    if not isinstance(value, kinds):
        raise DerivationError(f"{what} must be {expected}, got {shown(value)}")


class NoLimit(DerivationError):
    """The recursion has no limit in the requested scaling: a term is of the wrong order in the small parameter."""


class NotClosed(DerivationError):
    """A function of the state does not have a generator that depends on itself alone."""


class NoClosedForm(DerivationError):
    """No closed form is known for the requested quantity; it can still be computed numerically."""


class DependsOnParameter(DerivationError):
    """The answer depends on a parameter of which not enough is known; the message says what to assume."""


class UnsafeExpression(DerivationError):
    """Text that is not a plain formula in one variable; it was refused without being evaluated."""


#: Characters of names that are listed.
_LINE = 90


def unknown(what: str, given: object, known: Iterable[str]) -> str:
    """The message for a word that is none of those known: the cause, then close names, or all where they are few.

    Parameters
    ----------
    what : str
        What the word was to name.
    given : object
        What came.
    known : iterable of str
        The words that are known; where none is close they are listed, if that is at most a line.

    Examples
    --------
    >>> unknown("order", "dept", ["depth", "width", "joint"])
    "unknown order 'dept'; close names: depth"
    >>> unknown("kind", 3, ["nngp", "ntk"])
    'unknown kind 3; known: nngp, ntk'
    """
    names = list(known)
    shown = given if not isinstance(given, str) or len(given) <= 60 else given[:57] + "..."
    lower = {name.lower(): name for name in names}
    close = [lower[found] for found in get_close_matches(given.lower(), lower, 3)] if isinstance(given, str) else []
    every = ", ".join(names)
    hint = f"; close names: {', '.join(close)}" if close else f"; known: {every}" if len(every) <= _LINE else ""
    return f"unknown {what} {shown!r}{hint}"


def _in_cases(text: str) -> str:
    """A formula's text with its pieces as derivations show them, inner ones first."""
    while (start := text.rfind("Piecewise((")) >= 0:
        cases, depth, begun = [], 0, start
        for end in range(start + len("Piecewise"), len(text)):
            depth += (text[end] in "([{") - (text[end] in ")]}")
            if depth == 2 and text[end] == "(" and text[end - 1] in "( ":
                begun = end + 1
            if depth == 1 and text[end] == ")":
                value, _, condition = text[begun:end].rpartition(", ")
                cases.append(f"{value} otherwise" if condition == "True" else f"{value} if {condition}")
            if depth == 0:
                break
        else:
            return text
        text = f"{text[:start]}{{{'; '.join(cases)}}}{text[end + 1 :]}"
    return text


def _in_alternatives(text: str) -> str:
    """Choices between conditions, which SymPy makes of comparisons with pieces, by its signs for and, or, not; inner ones first."""
    while (start := text.rfind("ITE(")) >= 0:
        parts, depth, begun = [], 0, start + len("ITE(")
        for end in range(begun - 1, len(text)):
            depth += (text[end] in "([{") - (text[end] in ")]}")
            if depth == 0 or (depth == 1 and text[end] == ","):
                parts.append(text[begun:end].strip())
                begun = end + 1
            if depth == 0:
                break
        else:
            return text
        by, first, second = parts
        text = f"{text[:start]}({by}) & ({first}) | ~({by}) & ({second}){text[end + 1 :]}"
    return text


def brief(formula: object, most: int = 120) -> str:
    """A formula as people can read it in a message: the middle left out where it is long, bound variables by their names.

    Examples
    --------
    >>> import sympy as sp
    >>> brief(sp.Dummy("u") + 1)
    'u + 1'
    >>> brief(sum(k * sp.Symbol("x") ** k for k in range(40)), 40)
    '39*x**39 + 38*x**38 + 37*x … **2 + x (403 characters)'
    >>> brief(sp.Piecewise((0, sp.Symbol("x") <= 0), (sp.Symbol("x"), True)))
    'relu(x)'
    >>> brief(sp.Piecewise((sp.exp(sp.Symbol("x")) - 1, sp.Symbol("x") <= 0), (sp.Symbol("x"), True)))
    '{exp(x) - 1 if x <= 0; x otherwise}'
    >>> brief(sp.ITE(sp.Symbol("x") > 0, sp.Symbol("y") > 0, sp.Symbol("y") < 1))
    '(x > 0) & (y > 0) | ~(x > 0) & (y < 1)'
    """
    text = re.sub(r"Piecewise\(\(0, (.+?) <= 0\), \(\1, True\)\)", r"relu(\1)", readable(str(formula)))
    text = _in_cases(_in_alternatives(text))
    if len(text) <= most:
        return text
    return f"{text[: 2 * most // 3]} … {text[-most // 6 :]} ({len(text)} characters)"
