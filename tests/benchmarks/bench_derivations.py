"""How long a derivation takes: every recipe over 2 and 16 inputs, or tokens, in CPU seconds of a yardstick.

Run with ``python tests/benchmarks/bench_derivations.py [part of a name]`` from the top of the repository. A yardstick is a fixed expansion,
measured beside each derivation, that takes 0.3 s where the limits were written; so a loaded machine stretches both alike.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time

import sympy as sp
from sympy.core.cache import clear_cache

from derivations import (
    MLP,
    AttentionBlock,
    ConvBlock,
    ConvResNet,
    GatedBlock,
    MLPBlock,
    PreNormResNet,
    ResNet,
    ShapedAttention,
    ShapedMLP,
    ShrinkingResNet,
    TransformerBlock,
    derive,
    relu,
    silu,
    symbols,
    tanh,
)
from derivations.architectures.base import Recipe
from derivations.errors import DerivationError
from derivations.kernels import ntk

n = symbols.width
UNIT = sp.Rational(3, 10)
#: Seconds: over 2 inputs, over 16, and of a flow over 16 tokens.
LIMITS = {2: 2, 16: 2, "tokens": 10}
RECIPES: dict[str, Callable[[object, int], Recipe]] = {
    "ResNet": lambda w, m: ResNet(relu, width=w, inputs=m),
    "ShrinkingResNet": lambda w, m: ShrinkingResNet(tanh, relu, width=w, inputs=m, bias_variance=1),
    "ConvResNet": lambda w, m: ConvResNet(tanh, relu, width=w, inputs=m, positions=(2,), filter=(1,)),
    "MLP": lambda w, m: MLP(relu, width=w, inputs=m),
    "ShapedMLP": lambda w, m: ShapedMLP(relu, c_plus=0, c_minus=-1, width=w, inputs=m),
    "PreNormResNet": lambda w, m: PreNormResNet(relu, width=w, inputs=m),
    "ConvBlock": lambda w, m: ConvBlock(relu, w, positions=(2,), filter=(1,), inputs=m),
    "ShapedAttention": lambda w, m: ShapedAttention(w, positions=(2,), inputs=m),
    **{
        f"{kind.__name__} {norm} {place}": (
            lambda w, m, kind=kind, act=act, norm=norm, place=place: kind(act, w, inputs=m, norm=norm, place=place)
        )
        for kind, act in ((MLPBlock, relu), (GatedBlock, silu))
        for norm, place in (("none", "pre"), ("rms", "pre"), ("layer", "pre"), ("rms", "post"), ("layer", "post"))
    },
}
#: Over tokens of one text.
TOKENS: dict[str, Callable[[object, int], Recipe]] = {
    "AttentionBlock linear": lambda w, p: AttentionBlock(w, positions=p, kind="linear", norm="rms"),
    "AttentionBlock softmax": lambda w, p: AttentionBlock(w, positions=p, norm="rms"),
    "AttentionBlock causal": lambda w, p: AttentionBlock(w, positions=p, norm="rms", masked=True),
    "TransformerBlock": lambda w, p: TransformerBlock(w, activation=relu, positions=p),
}
#: Order and width.
REGIMES = {"depth, n = 3": ("depth", 3), "depth": ("depth", n), "width": ("width", sp.oo), "joint": ("joint", n)}


def yardstick() -> float:
    """CPU seconds of a fixed expansion, without what SymPy remembers."""
    clear_cache()
    start = process_time()
    a, b, c, d = sp.symbols("a b c d", real=True)
    sp.expand((a + b * c - d) ** 6 * (a - c + 2) ** 5 * (1 + d * a) ** 2)
    return process_time() - start


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a piece of work, in units of the yardstick beside it."""
    before = yardstick()
    clear_cache()
    start = process_time()
    work()
    spent = process_time() - start
    return spent / (before + yardstick()) * 2 * float(UNIT)


def with_gram(recipe: Recipe, order: str) -> None:
    """Derive a limit, and the Gram matrix's drift at a fixed width."""
    gram = derive(recipe, order=order).gram
    assert gram is None or gram.drift is not None


def derived(make: Callable[[object, int], Recipe], width: object, size: int, order: str) -> None:
    """Make a recipe and derive its limit, or its tangent kernel."""
    recipe = make(width, size)
    if order == "ntk":
        ntk(recipe)
    else:
        with_gram(recipe, order)


def rows() -> Iterator[tuple[str, Callable[[], object], int]]:
    """What is derived, how, and its limit in seconds."""
    for regime, (order, width) in REGIMES.items():
        for name, make in RECIPES.items():
            for m in (2, 16):
                yield f"{name}, {regime}, {m} inputs", partial(derived, make, width, m, order), LIMITS[m]
        for name, make in TOKENS.items():
            for p in (2, 16) if order == "width" else (2,):
                limit = LIMITS["tokens" if p == 16 else p]
                yield f"{name}, {regime}, {p} tokens", partial(derived, make, width, p, order), limit
    for name, make in RECIPES.items():
        yield f"{name}, NTK, 2 inputs", partial(derived, make, sp.oo, 2, "ntk"), 1


if __name__ == "__main__":
    wanted = " ".join(sys.argv[1:])
    for name, work, limit in rows():
        if wanted not in name:
            continue
        try:
            spent = seconds(work)
        except DerivationError as refused:
            print(f"{name:50}      refused: {str(refused)[:60]}", flush=True)
        else:
            print(f"{name:50} {spent:6.2f} s  {'ok' if spent <= limit else 'over'} ({limit} s)", flush=True)
