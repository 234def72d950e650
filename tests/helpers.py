"""What tests compare with: symbolic equality, equality at exact points to many digits, golden files."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from functools import cache
from pathlib import Path

import sympy as sp

from derivations import Derivation, derive


@cache
def derived(network: object, order: str | None = None) -> Derivation:
    """A network's derivation, made once for all tests that only look at it."""
    return derive(network) if order is None else derive(network, order=order)


class Made(Mapping):
    """Examples by name, each made when a test first asks for it and kept: collecting the tests makes none."""

    def __init__(self, makers: Mapping[str, Callable[[], object]]):
        self.makers, self.made = dict(makers), {}

    def __getitem__(self, name: str) -> object:
        if name not in self.made:
            self.made[name] = self.makers[name]()
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


def equal_symbolically(a: object, b: object) -> bool:
    """True if the difference simplifies to zero; otherwise an AssertionError that shows what remains."""
    remainder = sp.simplify(sp.sympify(a) - sp.sympify(b))
    assert remainder == 0, f"\n  {a}\nand\n  {b}\ndiffer by\n  {remainder}"
    return True


def equal_by_sampling(
    a: object,
    b: object,
    symbols: Iterable[sp.Symbol] | Mapping[sp.Symbol, Iterable[object]] | None = None,
    digits: int = 40,
    points: int = 4,
) -> bool:
    """True if two expressions agree at exact rational points; otherwise an AssertionError that names the point.

    Each point must agree to five digits fewer than are computed: ``1e-35`` at 40 digits,
    relative to the largest term on either side, so that a residual may be compared with 0.
    A value that is no finite number is a failure too.

    Parameters
    ----------
    symbols
        The symbols to sample (default: all that occur), where a symbol's sign and integrality
        are kept; or a mapping from each symbol to the exact values to use in turn, for a
        domain that assumptions do not say, as -1 < rho < 1.
    """
    a, b = sp.sympify(a), sp.sympify(b)
    free = a.free_symbols | b.free_symbols
    chosen = free if symbols is None else set(symbols)
    assert free <= chosen, f"no values for {sorted(map(str, free - chosen))}: name them in symbols"
    for point in _points(symbols if isinstance(symbols, Mapping) else chosen, points):
        terms = [_value(term, point, digits) for side in (a, b) for term in sp.Add.make_args(side)]
        difference = abs(_value(a, point, digits) - _value(b, point, digits))
        scale = max(abs(term) for term in terms)
        assert difference <= scale * sp.Rational(1, 10 ** (digits - 5)), (
            f"\n  {a}\nand\n  {b}\ndiffer by {sp.N(difference, 5)} where the terms are at most {sp.N(scale, 5)},"
            f" at {point}"
        )
    return True


def _points(
    symbols: Mapping[sp.Symbol, Iterable[object]] | set[sp.Symbol], count: int
) -> list[dict[sp.Symbol, sp.Expr]]:
    if isinstance(symbols, Mapping):
        columns = {s: [sp.sympify(v) for v in values] for s, values in symbols.items()}
        assert not any(v.has(sp.Float) for vs in columns.values() for v in vs), "give exact values, 1/3 as '1/3'"
    else:
        draw = random.Random(0)
        ordered = sorted(symbols, key=lambda s: (s.name, s.sort_key()))
        columns = {s: _rationals(s, count, draw) for s in ordered}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [{}]


def _rationals(symbol: sp.Symbol, count: int, draw: random.Random) -> list[sp.Expr]:
    """Rationals between 1/8 and 3, or whole numbers up to 7, of every sign that the symbol allows."""
    sizes = [
        sp.Integer(draw.randint(1, 7)) if symbol.is_integer else sp.Rational(draw.randint(13, 300), 101)
        for _ in range(count)
    ]
    allowed = [1] if symbol.is_nonnegative else [-1] if symbol.is_nonpositive else [1, -1]
    signs = [allowed[k % len(allowed)] for k in range(count)]
    draw.shuffle(signs)
    return [size * sign for size, sign in zip(sizes, signs, strict=True)]


def _value(expr: sp.Expr, point: dict[sp.Symbol, sp.Expr], digits: int) -> sp.Expr:
    value = sp.N(expr.subs(point, simultaneous=True), digits + 10)
    assert value.is_finite, (
        f"{expr} has no finite value at {point}, got {value}; give the symbols values inside its domain"
    )
    return value


@dataclass(frozen=True)
class GoldenFile:
    """A text kept in the repository, compared line by line or rewritten."""

    path: Path
    update: bool = False

    def check(self, text: str) -> None:
        """Fail with a difference if the text is not the one on file."""
        if self.update:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text, encoding="utf-8", newline="\n")
            return
        assert self.path.is_file(), f"there is no golden file {self.path.name} yet; write it with pytest --update"
        kept = self.path.read_text(encoding="utf-8")
        if kept != text:
            lines = unified_diff(
                kept.splitlines(), text.splitlines(), f"golden/{self.path.name}", "this run", lineterm=""
            )
            shown = "\n".join(lines) or "they differ in line ends only"
            raise AssertionError(f"{self.path.name} changed; if that is meant, run pytest --update\n{shown}")


def share_cores(processes: int) -> None:
    """Processes of tests side by side, and what they start, have so many threads below NumPy that the cores suffice.

    Threads of a BLAS wait for each other in busy loops: with two processes of two threads on two cores, small products take ten
    times their processor time.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS") if processes else ():
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // processes)))
