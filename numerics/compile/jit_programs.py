r"""One jit kernel a program, exact in law: the traversal of the statements, printed as loops over neurons.

The kernel takes ``(x, numbers, sizes, eps, rng)`` with x of shape (networks, n, m), m coordinates being inputs times positions, a row of
``numbers`` for each layer (variance, mean, bias variance and bias mean of each matrix), the numbers of neurons of the other layers of
neurons, and :math:`\varepsilon`; it moves x in place,
and returns whether squares have left the range of numbers. Coordinates and pairs of positions are written out. Normals and masks come statement
by statement, network by network, neuron by neuron: the order in which the array code draws.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import sympy as sp

from derivations.language import Program, Weights
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Neurons, Shares
from derivations.symbols import state, step
from numerics.compile.jit import Kernel, compiled_kernel, printed_function, warmed
from numerics.compile.jit_paths import factor_lines, indented, lower_triangle
from numerics.compile.programs import Array, CompiledProgram, arguments_of
from numerics.linalg import SMALL

#: Names of a formula's values, the lines that set them, and what these read.
_Written: TypeAlias = tuple[list[str], list[str], set[str]]

_NAME = re.compile(r"[a-z]+\d*(?:_\d+)+")


@dataclass
class _Loop:
    """Lines that run for each neuron of a layer of neurons, or once a network (None), with the names that they read and set."""

    over: int | None
    lines: list[str]
    reads: set[str]
    sets: set[str]
    draws: bool = False
    begins: bool = False  # whether what is drawn next depends on these lines, which then stand in its phase
    zeros: list[str] = field(default_factory=list)  # sums that start at 0

    def takes(self, other: _Loop) -> bool:
        """Whether another's lines can follow neuron by neuron: they need no finished sum."""
        return self.over is not None and self.over == other.over and not (other.reads & {z for z in self.zeros})

    def join(self, other: _Loop) -> None:
        self.lines += [line for line in other.lines if line not in self.lines]
        self.reads |= other.reads - self.sets
        self.sets |= other.sets
        self.zeros += other.zeros
        self.draws |= other.draws


class _Printer:
    """Writes a program's statements as loops, in order."""

    def __init__(self, program: Program, coordinates: int) -> None:
        self.program, self.coordinates = program, coordinates
        self.others = dict(program.others)
        self.functions: dict[sp.Expr, str] = {}
        self.given: dict[sp.Symbol, list[sp.Expr]] = {}  # numbers for pairs of positions, row by row
        self.paired: set[sp.Symbol] = set()  # symbols with a value for each pair
        self.layer_of: dict[str, int | None] = {f"x_{a}": 0 for a in range(coordinates)}
        self.names: dict[sp.Symbol, str] = {state: "x"}
        self.applied: dict[Weights, list[Matrix]] = {}
        self.loops: list[_Loop] = []
        self.matrices: list[Weights] = []

    def source(self) -> str:
        """The kernel and the functions that it calls.

        Raises
        ------
        ValueError
            If a matrix is not Gaussian, or there is a transpose: the array code draws it.
        """
        drawn = (s.weights for s in self.program.statements if isinstance(s, Matrix))
        other = next((w for w in drawn if not w.is_gaussian), None)
        if other is not None:
            raise ValueError(f"no jit kernel for matrices that are not Gaussian, such as {other.name}")
        if any(isinstance(s, Back) for s in self.program.statements):
            raise ValueError("no jit kernel for layers with the transpose of a matrix")
        if self.program.turns_positions:
            raise ValueError("no jit kernel for scores that are turned by positions")
        for k, statement in enumerate(self.program.statements):
            self.names[statement.symbol] = f"s{k}"
            if isinstance(statement, Matrix):
                self._matrix(k, statement)
            elif isinstance(statement, Mean) and statement.pair:
                self._mean(k, statement, self._at_pairs(statement.body), self.pairs)
            elif isinstance(statement, Mean):
                self._mean(k, statement, self._evaluated(statement.body), self._places)
            elif isinstance(statement, Mix):
                self._mix(k, statement)
            elif isinstance(statement, Shares):
                self._shares(k, statement)
            elif isinstance(statement, Between):
                self.given[statement.symbol] = statement.entries(self.program.positions)
            elif isinstance(statement, Mask):
                self._mask(k, statement)
        values, lines, reads = self._evaluated(self.program.update)
        news = [f"x_{a} = {v}" for a, v in enumerate(values)]
        self._add(_Loop(0, [*lines, *news], reads, {f"x_{a}" for a in range(self.coordinates)}))
        return self._printed()

    def _add(self, loop: _Loop) -> None:
        for name in loop.sets:
            self.layer_of.setdefault(name, loop.over)
        self.loops.append(loop)

    def _size(self, neurons: Neurons) -> str:
        return f"n{neurons.index}"

    @property
    def pairs(self) -> list[str]:
        """Endings of names for each pair of positions of an input: its own coordinate and the other one."""
        p = self.program.positions
        return [f"{a}_{a - a % p + b}" for a in range(self.coordinates) for b in range(p)]

    @property
    def _places(self) -> list[str]:
        """Endings of names for each coordinate."""
        return [str(a) for a in range(self.coordinates)]

    def _evaluated(self, expr: sp.Expr) -> _Written:
        """The formula at each coordinate."""
        return self._written(expr, self._places)

    def _at_pairs(self, expr: sp.Expr) -> _Written:
        """The formula at each pair of positions."""
        return self._written(expr, self.pairs)

    def _written(self, expr: sp.Expr, places: list[str]) -> _Written:
        arguments = arguments_of(expr)
        name = self.functions.setdefault(expr, f"f{len(self.functions)}")
        values, lines, reads = [], [], set()
        for place in places:
            given = {s: self._named(s, place) for s in arguments}
            reads |= {named for s, named in given.items() if s != step and s not in self.given}
            values.append(f"{name}_{place}")
            lines.append(f"{name}_{place} = {name}({', '.join(given.values())})[0]")
        return values, lines, reads

    def _named(self, symbol: sp.Symbol, place: str) -> str:
        """The name of a symbol's value at a coordinate or a pair of positions, or the number itself."""
        if symbol == step:
            return "eps"
        own, _, other = place.partition("_")
        if symbol in self.given:
            p = self.program.positions
            return repr(float(self.given[symbol][int(own) % p * p + int(other) % p]))
        if symbol in self.paired:
            return f"{self.names[symbol]}_{place}"
        return f"{self.names[self.others.get(symbol, symbol)]}_{other if symbol in self.others else own}"

    def _mean(self, k: int, statement: Mean, written: _Written, places: list[str]) -> None:
        values, lines, reads = written
        if statement.pair:
            self.paired.add(statement.symbol)
        sums = [f"e{k}_{place}" for place in places]
        added = [f"{s} += {v}" for s, v in zip(sums, values, strict=True)]
        self._add(_Loop(statement.over.index, [*lines, *added], reads, set(), zeros=sums))
        size = f"{self._size(statement.over)}**{float(statement.power)!r}"
        names = [f"s{k}_{place}" for place in places]
        self._add(_Loop(None, [f"{n} = {s}/{size}" for n, s in zip(names, sums, strict=True)], set(sums), set(names)))

    def _mix(self, k: int, statement: Mix) -> None:
        values, lines, reads = self._at_pairs(statement.body)
        p = self.program.positions
        names = [f"s{k}_{place}" for place in self._places]
        added = [f"{name} = {' + '.join(values[p * a : p * a + p])}" for a, name in enumerate(names)]
        over = None if statement.over is None else statement.over.index
        self._add(_Loop(over, [*lines, *added], reads, set(names)))

    def _shares(self, k: int, statement: Shares) -> None:
        """Scores are taken less the largest one that is not masked out."""
        scores, lines, reads = self._at_pairs(statement.body)
        masks, more, others = self._at_pairs(statement.mask)
        self.paired.add(statement.symbol)
        lines, p = [*lines, *more], self.program.positions
        names = [f"s{k}_{place}" for place in self.pairs]
        for a in range(self.coordinates):
            row = range(p * a, p * a + p)
            lines.append(f"top{k} = -inf")
            lines += [f"top{k} = max(top{k}, {scores[c]}) if {masks[c]} > 0.0 else top{k}" for c in row]
            lines += [
                f"w{k}_{c} = {masks[c]}*exp(min({scores[c]} - top{k}, 0.0)) if {masks[c]} > 0.0 else 0.0" for c in row
            ]
            lines.append(f"total{k} = {' + '.join(f'w{k}_{c}' for c in row)}")
            lines += [f"{names[c]} = w{k}_{c}/total{k}" for c in row]
        self._add(_Loop(None, lines, reads | others, set(names)))

    def _mask(self, k: int, statement: Mask) -> None:
        drawn = f"1.0 if rng.random() < {float(statement.keep)!r} else 0.0"
        names = [f"s{k}_{place}" for place in self._places]
        first = [0 if statement.shared else a - a % statement.each for a in range(self.coordinates)]
        lines = [f"{name} = {drawn if first[a] == a else names[first[a]]}" for a, name in enumerate(names)]
        over = None if statement.over is None else statement.over.index
        self._add(_Loop(over, lines, set(), set(names), draws=True))

    def _matrix(self, k: int, statement: Matrix) -> None:
        weights, m = statement.weights, self.coordinates
        if weights not in self.matrices:
            self.matrices.append(weights)
        w = self.matrices.index(weights)
        variance, mean, bias, bias_mean = (f"numbers[layer, {4 * w + c}]" for c in range(4))
        source, target = statement.source, statement.target
        values, lines, reads = self._evaluated(statement.body)
        rows = f"({self._size(source)}*{max(1, len(weights.taps))})"
        read = self._read(weights, values)
        sums = [f"e{k}_{a}" for a in range(m)] if weights.mean != 0 else []
        lines += [f"{s} += {v}" for s, one in zip(sums, read, strict=False) for v in one if v is not None]
        zeros, sums_read = [*sums], {*sums}
        before = self.applied.setdefault(weights, [])
        columns = [v for s in before for v in self._read(weights, self._again(s, lines, reads))] + read
        if not weights.is_mean:
            pairs = [(p, q) for p, q in lower_triangle(len(columns)) if p >= len(before) * m]
            for p, q in pairs:
                products = [f"{u}*{v}" for u, v in zip(columns[p], columns[q], strict=True) if None not in (u, v)]
                lines += [f"g{w}_{p}_{q} += {' + '.join(products)}"] if products else []
            zeros += [f"g{w}_{p}_{q}" for p, q in pairs]
        self._add(_Loop(source.index, lines, reads, set(), zeros=zeros))
        shift = [bias_mean] * m
        if weights.mean != 0:
            shift = [f"{bias_mean} + {mean}*(e{k}_{a}/{rows})" for a in range(m)]
        names = {f"s{k}_{a}" for a in range(m)}
        if weights.is_mean:
            self._add(_Loop(None, [f"s{k}_{a} = {s}" for a, s in enumerate(shift)], sums_read, names))
            return
        share = f"({variance}/{rows})"
        every = lower_triangle(len(columns))
        entries = {(p, q): f"(g{w}_{p}_{q}*{share} + {bias})" for p, q in every}
        root = [
            re.sub(r"\b(l|r|i|small)(\d+)", rf"\g<1>{k}_\g<2>", line) for line in factor_lines(len(columns), entries)
        ]
        # beyond, squares have lost digits or become infinite, unless all that is read is 0
        inside = {p: f"{SMALL} <= {entries[p, p]} <= {1 / SMALL}" for p in range(len(columns))}
        root += [f"left = left or (g{w}_{p}_{p} > 0.0 and not {row})" for p, row in inside.items()]
        moved = weights.mean != 0 or weights.bias_mean != 0
        root += [f"m{k}_{a} = {s}" for a, s in enumerate(shift)] if moved else []
        lengths = {f"l{k}_{p}_{q}" for p, q in every} | ({f"m{k}_{a}" for a in range(m)} if moved else set())
        self._add(_Loop(None, root, sums_read | {f"g{w}_{p}_{q}" for p, q in every}, lengths, begins=True))
        normals = [f"z{w}_{p}" for p in range(len(columns))]
        new = range(len(before) * m, len(columns))
        drawn = [f"{normals[p]} = rng.standard_normal()" for p in new]
        for a, p in enumerate(new):
            terms = [f"l{k}_{p}_{q}*{normals[q]}" for q in range(p + 1)]
            drawn.append(f"s{k}_{a} = " + " + ".join([*terms, f"m{k}_{a}"] if moved else terms))
        known = {normals[p] for p in range(new.start)}
        self._add(_Loop(target.index, drawn, lengths | known, names | {normals[p] for p in new}, draws=True))
        before.append(statement)

    def _read(self, weights: Weights, values: list[str]) -> list[list[str | None]]:
        """What each coordinate reads, weight by weight of a filter; None beyond a border, where 0 stands."""
        return [[None if c is None else values[c] for c in weights.reads(a)] for a in range(self.coordinates)]

    def _again(self, statement: Matrix, lines: list[str], reads: set[str]) -> list[str]:
        """What the matrix has read before, computed once more."""
        values, own, needed = self._evaluated(statement.body)
        lines += own
        reads |= needed
        return values

    # --- printing ---

    def _phases(self) -> list[list[_Loop]]:
        """Loops that run network by network together: at most one of them draws, or the order of the draws would change."""
        phases: list[list[_Loop]] = [[]]
        for loop in self.loops:
            here = phases[-1]
            if (loop.draws or loop.begins) and any(other.draws for other in here):
                phases.append([])
            here = phases[-1]
            if here and here[-1].takes(loop):
                here[-1].join(loop)
            else:
                here.append(loop)
        return phases

    def _printed(self) -> str:
        phases = self._phases()
        where: dict[str, set[int]] = {}  # the phases in which a name of a network is used
        for number, phase in enumerate(phases):
            for loop in phase:
                for name in {*loop.reads, *loop.sets, *loop.zeros}:
                    where.setdefault(name, set()).add(number)
        per_network = {name for name, at in where.items() if self.layer_of.get(name) is None and len(at) > 1}
        flat = [loop for phase in phases for loop in phase]
        per_neuron = {
            name
            for loop in flat
            for name in loop.reads - loop.sets
            if self.layer_of.get(name) is not None and not name.startswith("x_")
        }
        layers = sorted({0, *(loop.over for loop in flat if loop.over is not None)})
        sizes = [f"n{index} = " + ("n" if index == 0 else f"sizes[{index}]") for index in layers]
        kept = [f"{name}_ = np.empty(count)" for name in sorted(per_network)]
        kept += [f"{name}_ = np.empty((count, n{self.layer_of[name]}))" for name in sorted(per_neuron)]
        body: list[str] = []
        for phase in phases:
            lines = [f"{zero} = 0.0" for loop in phase for zero in loop.zeros]
            zeros = {zero for loop in phase for zero in loop.zeros}
            sets = {name for loop in phase for name in loop.sets if loop.over is None} | zeros
            reads = {name for loop in phase for name in loop.reads} - sets
            lines += [f"{name} = {name}_[s]" for name in sorted(reads & per_network)]
            for loop in phase:
                lines += self._loop(loop, per_neuron)
            lines += [f"{name}_[s] = {name}" for name in sorted(sets & per_network)]
            body += ["for s in range(count):", *(f"    {line}" for line in lines)]
        functions = [printed_function(name, arguments_of(expr), [expr]) for expr, name in self.functions.items()]
        return (
            "\n\n\n".join(functions)
            + f"""


def kernel(x, numbers, sizes, eps, rng):
    count, n, _ = x.shape
    left = False
    {indented([*sizes, *kept], 1)}
    for layer in range(numbers.shape[0]):
        {indented(body, 2)}
    return left
"""
        )

    def _loop(self, loop: _Loop, per_neuron: set[str]) -> list[str]:
        if loop.over is None:
            return loop.lines
        x = {f"x_{a}" for a in range(self.coordinates)}
        loads = {name: f"{name} = x[s, i, {name[2:]}]" for name in loop.reads & x}
        loads |= {name: f"{name} = {name}_[s, i]" for name in (loop.reads - loop.sets) & per_neuron}
        lines: list[str] = []
        for (
            line
        ) in loop.lines:  # a value is loaded where it is first used: held over a drawing it would leave its register
            used = sorted(set(_NAME.findall(line.split("=", 1)[1])) & set(loads))
            lines += [loads.pop(name) for name in used] + [line]
        lines += [f"{name}_[s, i] = {name}" for name in sorted(loop.sets & per_neuron)]
        lines += [f"x[s, i, {name[2:]}] = {name}" for name in sorted(loop.sets & x)]
        return [f"for i in range(n{loop.over}):", *(f"    {line}" for line in lines)]


def program_source(program: Program, coordinates: int) -> str:
    """The source of the kernel of a program.

    Raises
    ------
    ValueError
        If a formula has no machine-code form, or there are too many coordinates to write out.
    """
    return _Printer(program, coordinates).source()


@lru_cache(maxsize=64)
def _kernel(program: Program, coordinates: int) -> Kernel:
    printer = _Printer(program, coordinates)
    kernel = compiled_kernel(printer.source())
    numbers, sizes = np.empty((0, 4 * len(printer.matrices))), _sizes(program)
    return warmed(kernel, np.ones((1, 1, coordinates)), numbers, sizes, 0.0, np.random.Generator(np.random.SFC64(0)))


def program_kernel(program: Program, coordinates: int) -> Kernel:
    r"""The compiled kernel: of states x, a list of layers whose numbers are known, :math:`\varepsilon` and a generator.

    It returns whether a variance has left the range in which sums of squares have all digits.
    """
    kernel, sizes = _kernel(program, coordinates), _sizes(program)

    def run(x: Array, layers: list[CompiledProgram], size: float, rng: np.random.Generator) -> bool:
        order = dict.fromkeys(s.weights for s in program.statements if isinstance(s, Matrix))
        numbers = [
            [
                getattr(layer.numbers[w], name)
                for w in order
                for name in ("variance", "mean", "bias_variance", "bias_mean")
            ]
            for layer in layers
        ]
        return bool(kernel(x, np.array(numbers, dtype=float).reshape(len(layers), 4 * len(order)), sizes, size, rng))

    return run


def _sizes(program: Program) -> np.ndarray:
    """Numbers of neurons by the layers' numbers."""
    found = {program.neurons.index: int(program.neurons.size)}
    for s in program.statements:
        at = (s.source, s.target) if isinstance(s, Matrix) else (s.over,) if isinstance(s, Mean | Mask | Mix) else ()
        found |= {neurons.index: int(neurons.size) for neurons in at if neurons is not None}
    sizes = np.zeros(max(found) + 1, dtype=np.int64)
    for index, size in found.items():
        sizes[index] = size
    return sizes
