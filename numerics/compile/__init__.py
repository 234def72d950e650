"""The bridge from expressions to functions: the only way from the symbolic world to the numeric one."""

from __future__ import annotations

from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.compile.laws import compile_law
from numerics.compile.samplers import compile_sampler
from numerics.compile.sums import SummedFunction, compile_sums

__all__ = [
    "CompiledFunction",
    "SummedFunction",
    "compile_expression",
    "compile_law",
    "compile_sampler",
    "compile_sums",
]
