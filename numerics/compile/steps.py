r"""Steps as functions: of arrays, with the random numbers given; and as one machine-code kernel that draws them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from derivations.steps import Step
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.compile.jit import Kernel, compiled_kernel, printed_function, warmed
from numerics.compile.jit_paths import indented

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CompiledStep:
    r"""A step on states of shape (states, paths).

    Parameters
    ----------
    step : Step
    """

    step: Step

    @cached_property
    def _update(self) -> CompiledFunction:
        return compile_expression(self.step.arguments, self.step.update)

    def __call__(self, x: Array, time: float, h: float, normals: Array, signs: Array) -> Array:
        """The states after one step, given its standard normals and signs, each of shape (how many, paths)."""
        # beyond a kink a branch may divide by what vanishes there; its value is thrown away
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack(self._update(*x, time, h, *normals, *signs))

    def draw(self, paths: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """The random numbers of one step: rows of normals, then rows of signs."""
        normals = rng.standard_normal((len(self.step.normals), paths))
        signs = np.where(rng.random((len(self.step.signs), paths)) < 0.5, 1.0, -1.0)
        return normals, signs

    def walk(self, x: Array, time: float, h: float, steps: int, rng: np.random.Generator) -> Array:
        """Several steps."""
        for k in range(steps):
            x = self(x, time + k * h, h, *self.draw(x.shape[-1], rng))
        return x

    def walk_twice(self, x: Array, time: float, h: float, steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
        r"""Fine paths of steps h and coarse ones of steps 2h along the same Brownian motions.

        Two increments make the coarse one: :math:`\sqrt{2h}\,\xi = \sqrt h\,(\xi_1 + \xi_2)`.
        """
        fine, coarse = x, x
        for k in range(0, steps, 2):
            now = time + k * h
            first, second = self.draw(x.shape[-1], rng), self.draw(x.shape[-1], rng)
            fine = self(fine, now, h, *first)
            fine = self(fine, now + h, h, *second)
            coarse = self(coarse, now, 2 * h, (first[0] + second[0]) / np.sqrt(2.0), first[1])
        return fine, coarse


@lru_cache(maxsize=64)
def compile_step(step: Step) -> CompiledStep:
    """A step as array functions, compiled once."""
    return CompiledStep(step)


@lru_cache(maxsize=64)
def step_kernel(step: Step) -> Kernel:
    """Steps of all paths as machine code: called ``(x, time, h, steps, rng)`` on x of shape (states, paths), in place."""
    x = np.ones((len(step.states), 1))
    return warmed(compiled_kernel(step_source(step)), x, 0.0, 1.0, 0, np.random.Generator(np.random.SFC64(0)))


@lru_cache(maxsize=64)
def coupled_kernel(step: Step) -> Kernel:
    """Fine and coarse paths along the same Brownian motions: called ``(fine, coarse, time, h, steps, rng)``, in place."""
    x = np.ones((len(step.states), 1))
    kernel = compiled_kernel(coupled_source(step))
    return warmed(kernel, x, x.copy(), 0.0, 1.0, 0, np.random.Generator(np.random.SFC64(0)))


def step_source(step: Step) -> str:
    """The source of :func:`step_kernel`."""
    return f"""{_update(step)}


def kernel(x, time, h, steps, rng):
    count = x.shape[1]
    z = np.empty(({len(step.normals) + len(step.signs)}, count))
    for step in range(steps):
        t = time + step*h
        {indented(_draw(step, "z"), 2)}
        for s in range(count):
            {indented(_move(step, "x", "t", "h", "z[{}, s]"), 3)}
"""


def coupled_source(step: Step) -> str:
    """The source of :func:`coupled_kernel`."""
    rows = len(step.normals) + len(step.signs)
    both = "(z[{0}, s] + w[{0}, s])*0.7071067811865476"
    sums = [f"v{k} = {both.format(k) if k < len(step.normals) else f'z[{k}, s]'}" for k in range(rows)]
    return f"""{_update(step)}


def kernel(x, y, time, h, steps, rng):
    count = x.shape[1]
    z, w = np.empty(({rows}, count)), np.empty(({rows}, count))
    for step in range(0, steps, 2):
        t = time + step*h
        {indented(_draw(step, "z"), 2)}
        {indented(_draw(step, "w"), 2)}
        for s in range(count):
            {indented(_move(step, "x", "t", "h", "z[{}, s]"), 3)}
            {indented(_move(step, "x", "(t + h)", "h", "w[{}, s]"), 3)}
            {indented([*sums, *_move(step, "y", "t", "(2.0*h)", "v{}")], 3)}
"""


def _update(step: Step) -> str:
    return printed_function("update", step.arguments, step.update)


def _draw(step: Step, name: str) -> list[str]:
    normals, signs = len(step.normals), len(step.signs)
    lines = []
    if normals:
        lines += [
            f"for k in range({normals}):",
            "    for s in range(count):",
            f"        {name}[k, s] = rng.standard_normal()",
        ]
    if signs:
        lines += [
            f"for k in range({normals}, {normals + signs}):",
            "    for s in range(count):",
            f"        {name}[k, s] = 1.0 if rng.random() < 0.5 else -1.0",
        ]
    return lines


def _move(step: Step, states: str, time: str, h: str, noise: str) -> list[str]:
    size, rows = len(step.states), len(step.normals) + len(step.signs)
    arguments = [*(f"{states}[{k}, s]" for k in range(size)), time, h, *(noise.format(k) for k in range(rows))]
    left = ", ".join(f"{states}[{k}, s]" for k in range(size))
    return [f"{left}{',' if size == 1 else ''} = update({', '.join(arguments)})"]
