"""The words of a formula: what each function is called, which parameters it takes, and which it cannot be.

A word is read in any case and with or without underscores: ``ReLU``, ``LeakyReLU``, ``hard_swish``, ``Hardswish``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import sympy as sp

from derivations.activations import piecewise_linear, piecewise_smooth, smooth
from derivations.activations.base import Activation
from derivations.activations.registry import ACTIVATIONS
from derivations.activations.smooth import polynomial

Formula = Callable[..., sp.Expr]


@dataclass(frozen=True)
class Word:
    """A function by name.

    Attributes
    ----------
    formula : callable
        Its expression, of the arguments and then of the parameters that are given.
    least, most : int
        How many arguments it takes.
    parameters : tuple of tuple of str
        For each parameter its names, as PyTorch, JAX, Keras and NumPy write it.
    family : callable, optional
        The activation with given parameters, which also checks them.
    defaults : tuple
        The usual value of each parameter, None for none.
    needed : int
        How many parameters must be given.
    """

    formula: Formula
    least: int = 1
    most: int = 1
    parameters: tuple[tuple[str, ...], ...] = ()
    defaults: tuple[sp.Expr | None, ...] = ()
    family: Callable[..., Activation] | None = None
    needed: int = 0


def key(word: str) -> str:
    """A word without case, underscores, hyphens and spaces.

    Examples
    --------
    >>> key("Leaky_ReLU"), key("hard-swish")
    ('leakyrelu', 'hardswish')
    """
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")


def _two_slope(u: sp.Expr, positive: sp.Expr, negative: sp.Expr) -> sp.Expr:
    """A u⁺ − b u⁻ = b u + (a − b) max(u, 0), in which kinks nest well."""
    return negative * u + (positive - negative) * sp.Max(u, 0)


def _leaky_relu(u: sp.Expr, slope: sp.Expr) -> sp.Expr:
    return _two_slope(u, sp.S.One, slope)


def _step(u: sp.Expr, at_zero: sp.Expr | None = None) -> sp.Expr:
    return sp.Heaviside(u) if at_zero is None else sp.Heaviside(u, at_zero)


def _where(condition: sp.Basic, inside: sp.Expr, outside: sp.Expr) -> sp.Expr:
    return sp.Piecewise((inside, condition), (outside, True))


def _bounded(low: sp.Expr, high: sp.Expr) -> Formula:
    return lambda u: piecewise_linear.clipped(u, low, high)


_SLOPE = ("negative_slope", "slope", "alpha")
_SIZE = ("lambd", "lambda_", "threshold")
_LOW, _HIGH = ("min", "min_val", "a_min", "low"), ("max", "max_val", "a_max", "high")

# with parameters: text such as elu(2) or elu(alpha=2) alone is the member of the family, elu(x, 2) its value at x
_FAMILIES = {
    "leaky_relu": Word(_leaky_relu, 1, 1, (_SLOPE,), (sp.Rational(1, 100),), piecewise_linear.leaky_relu),
    "prelu": Word(_leaky_relu, 1, 1, (("weight", "init", "a", *_SLOPE),), (sp.Rational(1, 4),), piecewise_linear.prelu),
    "two_slope": Word(
        _two_slope, 1, 1, (("positive",), ("negative",)), (None, None), piecewise_linear.two_slope, needed=2
    ),
    "elu": Word(piecewise_smooth.elu_formula, 1, 1, (("alpha",),), (sp.S.One,), piecewise_smooth.elu),
    "celu": Word(piecewise_smooth.celu_formula, 1, 1, (("alpha",),), (sp.S.One,), piecewise_smooth.celu),
    "hardtanh": Word(
        piecewise_linear.clipped, 1, 1, (_LOW, _HIGH), (sp.S.NegativeOne, sp.S.One), piecewise_linear.hardtanh
    ),
    "softshrink": Word(piecewise_linear.soft_threshold, 1, 1, (_SIZE,), (sp.S.Half,), piecewise_linear.softshrink),
    "hardshrink": Word(piecewise_linear.hard_threshold, 1, 1, (_SIZE,), (sp.S.Half,), piecewise_linear.hardshrink),
    "threshold": Word(
        piecewise_linear.replaced_below,
        1,
        1,
        (("threshold", "level"), ("value", "default_value")),
        (None, None),
        piecewise_linear.threshold,
        needed=2,
    ),
    "silu": Word(smooth.silu_formula, 1, 1, (("beta",),), (sp.S.One,), smooth.swish),
    "softplus": Word(smooth.softplus_formula, 1, 1, (("beta",),), (sp.S.One,), smooth.softplus_with),
    "squareplus": Word(smooth.squareplus_formula, 1, 1, (("b",),), (sp.Integer(4),), smooth.squareplus),
}

# the same with nested max, min and abs, which fold better in formulas than the Piecewise of the registered activation
_KINKED = {
    "relu": Word(lambda u: sp.Max(u, 0)),
    "absolute": Word(sp.Abs),
    "relu6": Word(_bounded(sp.S.Zero, sp.Integer(6))),
    "hardsigmoid": Word(lambda u: _bounded(sp.S.Zero, sp.Integer(6))(u + 3) / 6),
    "sparse_sigmoid": Word(lambda u: (_bounded(sp.S.NegativeOne, sp.S.One)(u) + 1) / 2),
    "hardswish": Word(lambda u: u * _bounded(sp.S.Zero, sp.Integer(6))(u + 3) / 6),
    "relu_squared": Word(lambda u: sp.Max(u, 0) ** 2),
    "softsign": Word(lambda u: u / (1 + sp.Abs(u))),
}

_FUNCTIONS = {
    **{
        name: Word(getattr(sp, name))
        for name in (["exp", "log", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth"])
    },
    **{
        name: Word(getattr(sp, name))
        for name in (["sech", "csch", "asin", "acos", "atan", "asinh", "acosh", "atanh", "erf", "erfc", "erfi"])
    },
    "log1p": Word(lambda u: sp.log(1 + u)),
    "expm1": Word(lambda u: sp.exp(u) - 1),
    "log2": Word(lambda u: sp.log(u) / sp.log(2)),
    "log10": Word(lambda u: sp.log(u) / sp.log(10)),
    "exp2": Word(lambda u: 2**u),
    "square": Word(lambda u: u**2),
    "cbrt": Word(lambda u: sp.sign(u) * sp.Abs(u) ** sp.Rational(1, 3)),
    "normcdf": Word(lambda u: (1 + sp.erf(u / sp.sqrt(2))) / 2),
    "abs": Word(sp.Abs),
    "sign": Word(sp.sign),
    "heaviside": Word(_step, 1, 1, (("values", "h0"),), (None,)),
    "max": Word(sp.Max, 2, 8),
    "min": Word(sp.Min, 2, 8),
    "where": Word(_where, 3, 3),
    "clip": Word(piecewise_linear.clipped, 1, 1, (_LOW, _HIGH), (None, None), needed=1),
}

#: Every function by the name in which messages and documents print it.
WORDS = MappingProxyType(
    {name: Word(activation.__call__) for name, activation in ACTIVATIONS.items()}
    | {"polynomial": Word(lambda u, *c: polynomial(*c)(u), family=polynomial)}
    | _FUNCTIONS
    | _KINKED
    | _FAMILIES
)

_SYNONYMS = {
    "absolute": "fabs",
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atanh": "arctanh",
    "clip": "clamp",
    "gelu_tanh": "gelu_new gelu_pytorch_tanh gelu_fast gelu_approximate approximate_gelu",
    "hardswish": "hard_silu",
    "heaviside": "step",
    "identity": "linear",
    "log": "ln",
    "max": "maximum",
    "min": "minimum",
    "normcdf": "ndtr",
    "relu_squared": "squared_relu relu2 square_relu",
    "sigmoid": "logistic expit",
    "sign": "sgn",
    "silu": "swish",
}
_KEYS = MappingProxyType(
    {key(name): name for name in WORDS}
    | {key(other): name for name, others in _SYNONYMS.items() for other in others.split()}
)

_LAYER = "it acts on the whole layer, not on one coordinate; write a function of one variable"
#: Words of those libraries that stand for no function of one variable, and why.
IMPOSSIBLE = MappingProxyType(
    dict.fromkeys(
        map(
            key,
            [
                "softmax",
                "softmin",
                "softmax2d",
                "log_softmax",
                "log_sum_exp",
                "sparsemax",
                "gumbel_softmax",
                "standardize",
                "normalize",
            ],
        ),
        _LAYER,
    )
    | dict.fromkeys(
        map(
            key,
            ["layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "multi_head_attention", "maxout"],
        ),
        _LAYER,
    )
    | {
        "glu": "it is a function of two arguments, two halves of the layer; in a layer write sigmoid(B(x))*C(x)",
        "reglu": "it is a function of two arguments, two halves of the layer; in a layer write relu(B(x))*C(x)",
        "geglu": "it is a function of two arguments, two halves of the layer; in a layer write gelu(B(x))*C(x)",
        "swiglu": "it is a function of two arguments, two halves of the layer; in a layer write silu(B(x))*C(x)",
        "crelu": "it doubles the number of neurons; write relu(x) for one half",
        "rrelu": "its slope is random; leaky_relu(11/48) has the mean slope that it uses after training",
        "dropout": "it is random; write the activation without it",
    }
)

#: Where these functions are written with a module in front.
MODULES = frozenset(
    [
        "np",
        "numpy",
        "jnp",
        "jax",
        "torch",
        "F",
        "nn",
        "tf",
        "keras",
        "K",
        "math",
        "sp",
        "sympy",
        "scipy",
        "special",
        "flax",
    ]
)
INNER_MODULES = frozenset(
    ["numpy", "nn", "functional", "activations", "layers", "special", "math", "ops", "experimental"]
)


def find(word: str) -> str | None:
    """The name of the function that a word stands for, or None.

    Examples
    --------
    >>> find("SiLU"), find("Swish"), find("rellu")
    ('silu', 'silu', None)
    """
    return _KEYS.get(key(word))


def spellings() -> tuple[str, ...]:
    """All names, with their synonyms, for finding close ones."""
    return tuple(sorted({*WORDS, *(other for others in _SYNONYMS.values() for other in others.split())}))
