"""JAX's paths on whatever device JAX has, against that device's own ceilings (run as a script; no timed test).

A step of a path must draw its normals, read its states and write them. So two limits are measured in the same run: the drawing alone, each
number summed where it is drawn, and a large copy, whose bytes a second bound the states that are read and written. The share is the
slower of the two limits over the time of the paths.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

from derivations import ResNet, depth_limit, parse_activation
from numerics.compile.jax_paths import compile_jax_paths

WIDTH, STEPS = 4, 500
LAYERS = ("relu", "tanh")
GENERATORS = ("threefry2x32", "rbg")


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """The median of some runs to the end of the device's work; the first, which compiles, does not count."""
    jax.block_until_ready(work())
    times = []
    for _ in range(repeats):
        start = perf_counter()
        jax.block_until_ready(work())
        times.append(perf_counter() - start)
    return sorted(times)[repeats // 2]


def copying(dtype: Any, numbers: int = 2**27) -> float:
    """Bytes a second, read and written, of a large copy."""
    source = jnp.arange(numbers, dtype=dtype)
    negated = jax.jit(lambda x: -x)
    return 2 * source.nbytes / seconds(lambda: negated(source))


@partial(jax.jit, static_argnames=("shape", "dtype"))
def draw(key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Draw the normals that the paths need and only add them up."""

    def step(total: Any, index: Any) -> tuple[Any, None]:
        return total + jax.random.normal(jax.random.fold_in(key, index), shape, dtype).sum(), None

    return jax.lax.scan(step, jnp.zeros((), dtype), jnp.arange(STEPS))[0]


def rows(samples: int, dtype: Any) -> list[tuple[str, float, float, float, float]]:
    """Name, nanoseconds a path-step of the paths, of the drawing and of the bytes, and the share of the slower limit."""
    table = []
    bandwidth = copying(dtype)
    steps = samples * STEPS
    moved = 2 * WIDTH * jnp.dtype(dtype).itemsize / bandwidth
    for generator in GENERATORS:
        key = jax.random.key(0, impl=generator)
        drawing = seconds(lambda key=key: draw(key, (samples, WIDTH, 1), dtype)) / steps
        for layer in LAYERS:
            paths = compile_jax_paths(depth_limit(ResNet(parse_activation(layer), width=WIDTH)))
            spent = seconds(lambda key=key, paths=paths: paths(key, 1.0, steps=STEPS, samples=samples)) / steps
            share = max(drawing, moved) / spent
            table.append((f"{layer}, {generator}", 1e9 * spent, 1e9 * drawing, 1e9 * moved, share))
    return table


def main() -> None:
    """Print a table for each precision."""
    device = jax.devices()[0]
    samples = 2**14 if device.platform == "cpu" else 2**22
    print(f"{device.device_kind}, JAX {jax.__version__}; n = {WIDTH}, {samples} paths x {STEPS} steps; ns a path-step")
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            print(f"\n{jnp.dtype(dtype).name:<22} {'paths':>9} {'normals':>9} {'bytes':>9} {'share':>7}")
            for name, spent, drawing, moved, share in rows(samples, dtype):
                print(f"{name:<22} {spent:>9.4f} {drawing:>9.4f} {moved:>9.4f} {share:>7.2f}")


if __name__ == "__main__":
    main()
