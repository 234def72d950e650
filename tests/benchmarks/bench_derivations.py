"""How long a derivation takes: every recipe and its options, regime by regime, over 1, 2, 16 and 64 inputs and over positions.

Run with ``python tests/benchmarks/bench_derivations.py [part of a name]`` from the top of the repository; ``--over`` prints only rows
over their limit. Each row is a process of its own, stopped at three times its limit. Times are CPU seconds of a yardstick: a fixed
expansion that takes 0.3 s where the limits were written, measured again beside what takes long; so a loaded machine stretches both alike.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from time import process_time
from typing import Any

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
    gelu,
    relu,
    silu,
    symbols,
    tanh,
)
from derivations.architectures.base import Recipe
from derivations.errors import DerivationError
from derivations.kernels import ntk

n = symbols.width
half = sp.Rational(1, 2)
UNIT = sp.Rational(3, 10)
#: CPU seconds of a derivation: over 1 or 2 inputs, over 16, over 64; of blocks over 1 or 2 inputs; over 16 tokens.
FEW, MANY, VERY_MANY, BLOCK, TOKENS = 1, 2, 10, 2, 10
#: How many times its limit a row may take before it is stopped.
PATIENCE = 3

NORMS = [{"norm": norm, "place": place} for norm in ("rms", "layer") for place in ("pre", "post")]
MEANS = {"weight_mean": half, "bias_mean": half, "output_mean": 1, "output_bias_mean": half}
BRANCH = [{}, *NORMS, MEANS, {"bias_variance": 1}, {"law": "orthogonal"}, {"keep": half}, {"keep_branch": half}]
#: Recipes of dense layers: what they are made with, and options that are tried one at a time.
DENSE: list[tuple[Callable[..., Recipe], list[dict[str, Any]]]] = [
    (partial(ResNet, relu), [{}, {"weight_variance": 2}]),
    (partial(ResNet, tanh), [{}]),
    (partial(ShrinkingResNet, tanh, relu), [{}, {"bias_variance": 1}, {"weight_mean": half, "bias_mean": half}]),
    (partial(ShrinkingResNet, tanh, silu), [{"bias_variance": 1, "weight_mean": half}]),
    (partial(MLP, relu), [{}]),
    (partial(MLP, tanh), [{}]),
    (partial(ShapedMLP, relu, c_plus=0, c_minus=-1), [{}]),
    (partial(ShapedMLP, tanh, a=1), [{}]),
    (partial(PreNormResNet, relu), [{}]),
    (partial(PreNormResNet, tanh), [{}]),
    (partial(MLPBlock, relu), BRANCH),
    (partial(MLPBlock, gelu), [{}, *NORMS]),
    (partial(GatedBlock, silu), BRANCH),
    (partial(GatedBlock, relu), [{}]),
]
#: Of recipes over positions, over p of them.
PLACED: list[tuple[Callable[..., Recipe], list[dict[str, Any]]]] = [
    (partial(ConvResNet, tanh, relu), [{}, {"circular": False}, {"filter": (3,)}]),
    (partial(ConvBlock, relu), [{}, {"filter": (1,)}, {"norm": "rms"}, {"norm": "layer"}, {"circular": False}]),
    (ShapedAttention, [{}, {"skip": half}]),
    (partial(AttentionBlock, kind="linear"), [{}, *NORMS, {"masked": True}, {"heads": 2}, {"keep": half}, MEANS]),
    (AttentionBlock, [{}, *NORMS, {"masked": True}, {"heads": 2}, {"scale": "linear"}, {"size": 8}]),
    (partial(TransformerBlock, activation=relu, kind="linear"), [{}, {"parallel": True}, {"place": "post"}]),
    (
        partial(TransformerBlock, activation=relu),
        [{}, {"masked": True}, {"parallel": True}, {"norm": "layer"}, {"place": "post"}, {"keep_branch": half}],
    ),
]
#: Order and width.
REGIMES: dict[str, tuple[str, sp.Expr]] = {
    "depth, n = 3": ("depth", sp.Integer(3)),
    "depth": ("depth", n),
    "width": ("width", sp.oo),
    "joint": ("joint", n),
}


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


@dataclass(frozen=True)
class Row:
    """Something to time, and its limit in seconds."""

    name: str
    make: Callable[[], Recipe]
    order: str
    limit: int
    work: str = "derive"

    def run(self) -> None:
        """Derive the limit, with the Gram matrix's drift at a fixed width; or the tangent kernel; or print all."""
        recipe = self.make()
        if self.work == "ntk":
            ntk(recipe)
        elif self.work == "print":
            d = derive(recipe, order=self.order)
            str(d), d.latex()
        else:
            with_gram(recipe, self.order)

    def timed(self, unit: float) -> str:
        """How long it takes, in a process of its own; beside a yardstick that was measured, and again where it matters."""
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (1 + int(PATIENCE * self.limit * unit / float(UNIT)),) * 2)
            clear_cache()
            start = process_time()
            try:
                self.run()
                refused = ""
            except DerivationError as error:
                refused = f", refused: {str(error)[:70]}"
            except BaseException as error:
                refused = f", FAILED: {type(error).__name__}: {str(error)[:70]}"
            spent = process_time() - start
            near = spent / unit * float(UNIT) > self.limit / 2
            os.write(writing, f"{spent / (yardstick() if near else unit) * float(UNIT):.2f}{refused}".encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            stopped = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
            return f"{'stopped' if stopped else 'died':>7} over ({self.limit} s)"
        spent, _, refused = said.partition(",")
        return f"{spent:>7} {'ok  ' if float(spent) <= self.limit else 'over'} ({self.limit} s){refused}"


def told(options: dict[str, Any]) -> str:
    """Options as they are given."""
    return "".join(f", {name}={value}" for name, value in options.items())


def called(make: Callable[..., Recipe], options: dict[str, Any]) -> str:
    """A recipe's name with what it is made with."""
    part = make if isinstance(make, partial) else partial(make)
    return f"{part.func.__name__}({', '.join(map(str, part.args))}{told(part.keywords)}{told(options)})".replace(
        "(, ", "("
    )


def limit_of(make: Callable[..., Recipe], inputs: int) -> int:
    """Seconds over so many inputs."""
    kind = make.func if isinstance(make, partial) else make
    few = BLOCK if "Block" in kind.__name__ else FEW
    return {16: MANY, 64: VERY_MANY}.get(inputs, few)


def rows() -> Iterator[Row]:
    """All that is timed."""
    for regime, (order, width) in REGIMES.items():
        for make, variants in DENSE:
            for options in variants:
                for m in (1, 2, 16, 64):
                    if options and m == 64 and "norm" not in options:
                        continue
                    recipe = partial(make, width=width, inputs=m, **options)
                    name = f"{called(make, options)}, {regime}, {m} inputs"
                    yield Row(name, recipe, order, limit_of(make, m))
                    if m == 16 and not options:
                        yield Row(f"{name}, printed", recipe, order, 2 * MANY, "print")
        for make, variants in PLACED:
            for options in variants:
                for p, m in ((2, 1), (4, 1), (16, 1), (2, 2)) if order == "width" else ((2, 1), (3, 1)):
                    recipe = partial(make, width=width, positions=(p,), inputs=m, **options)
                    name = f"{called(make, options)}, {regime}, {p} positions, {m} inputs"
                    yield Row(name, recipe, order, TOKENS if p == 16 else limit_of(make, m))
                    if p == 16 and not options:
                        yield Row(f"{name}, printed", recipe, order, TOKENS, "print")
    for make, variants in DENSE:
        for options in variants[:5]:
            recipe = partial(make, width=sp.oo, inputs=2, **options)
            yield Row(f"{called(make, options)}, NTK, 2 inputs", recipe, "width", limit_of(make, 2), "ntk")


if __name__ == "__main__":
    measured = yardstick()
    words = [word for word in sys.argv[1:] if word != "--over"]
    for row in rows():
        if " ".join(words) in row.name:
            line = f"{row.name:110} {row.timed(measured)}"
            if "--over" not in sys.argv or "ok  " not in line:
                print(line, flush=True)
