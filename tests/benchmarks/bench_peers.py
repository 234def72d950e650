"""The same work by this package and by what one would take instead, in one run: a table of ratios (run as a script).

Paths of the limit of a ReLU layer of width 4, Euler's scheme in double precision, and networks of width 1000 and depth 100.
Times are processor seconds, all threads of a process together, the best of some runs, compilation left out; peers that are
slow take fewer paths, and all times are per path-step. Needs the extra ``bench``.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import platform
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from time import process_time

import numpy as np

from derivations import ResNet, depth_limit, relu
from numerics import simulate_network, simulate_sde

WIDTH, STEPS, PATHS = 4, 500, 20_000
H = 1 / STEPS
WIDE, DEPTH = 1000, 100


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The best of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = process_time()
        work()
        times.append(process_time() - start)
    return min(times)


# --- paths: seconds per path and step ---


def filling(paths: int = PATHS) -> float:
    """Drawing the normals, nothing else."""
    rng, out = np.random.Generator(np.random.SFC64(0)), np.empty(2**15)
    draws = WIDTH * paths * STEPS // out.size

    def work() -> None:
        for _ in range(draws):
            rng.standard_normal(out=out)

    return seconds(work) / (draws * out.size / WIDTH)


def ours(backend: str, paths: int = PATHS) -> float:
    """This package."""
    limit = depth_limit(ResNet(relu, width=WIDTH))
    return seconds(lambda: simulate_sde(limit, 1.0, 1.0, STEPS, paths, backend=backend)) / (paths * STEPS)


def numpy_loop(paths: int = PATHS) -> float:
    """What one writes by hand in NumPy."""
    rng = np.random.default_rng(0)

    def work() -> np.ndarray:
        x = np.ones((paths, WIDTH))
        for _ in range(STEPS):
            size = np.sqrt((np.maximum(x, 0) ** 2).mean(axis=1, keepdims=True) * H)
            x = x + size * rng.standard_normal(x.shape)
        return x

    return seconds(work) / (paths * STEPS)


def jax_loop(paths: int = PATHS) -> float:
    """What one writes by hand in JAX: jit and scan."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        def move(x: jax.Array, one: jax.Array) -> tuple[jax.Array, None]:
            size = jnp.sqrt((jnp.maximum(x, 0) ** 2).mean(axis=1, keepdims=True) * H)
            return x + size * jax.random.normal(one, x.shape), None

        return jax.lax.scan(move, jnp.ones((paths, WIDTH)), jax.random.split(key, STEPS))[0]

    return seconds(lambda: run(jax.random.key(0)).block_until_ready()) / (paths * STEPS)


def ours_jax(paths: int = PATHS) -> float:
    """This package's traced paths."""
    import jax

    from numerics.compile.jax_paths import compile_jax_paths

    jax.config.update("jax_enable_x64", True)
    run = compile_jax_paths(depth_limit(ResNet(relu, width=WIDTH)))
    work = lambda: run(jax.random.key(0), 1.0, steps=STEPS, samples=paths).block_until_ready()  # noqa: E731
    return seconds(work) / (paths * STEPS)


def diffrax(paths: int = 2000) -> float:
    """Diffrax: jit and vmap over keys, Euler, UnsafeBrownianPath."""
    import diffrax as dfx
    import jax
    import jax.numpy as jnp
    import lineax

    jax.config.update("jax_enable_x64", True)

    def noise(t: jax.Array, y: jax.Array, args: object) -> lineax.DiagonalLinearOperator:
        return lineax.DiagonalLinearOperator(jnp.full(WIDTH, jnp.sqrt((jnp.maximum(y, 0) ** 2).mean())))

    def one(key: jax.Array) -> jax.Array:
        motion = dfx.UnsafeBrownianPath(shape=(WIDTH,), key=key)
        terms = dfx.MultiTerm(dfx.ODETerm(lambda t, y, args: jnp.zeros_like(y)), dfx.ControlTerm(noise, motion))
        solved = dfx.diffeqsolve(
            terms, dfx.Euler(), 0.0, 1.0, H, jnp.ones(WIDTH), adjoint=dfx.DirectAdjoint(), max_steps=STEPS + 2
        )
        return solved.ys[-1]

    run = jax.jit(jax.vmap(one))
    keys = jax.random.split(jax.random.key(0), paths)
    return seconds(lambda: run(keys).block_until_ready()) / (paths * STEPS)


def torchsde(paths: int = PATHS) -> float:
    """torchsde: Euler, diagonal noise, its default Brownian motion."""
    import torch
    import torchsde as tsde

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)

    class Layer(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(y)

        def g(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (torch.relu(y) ** 2).mean(dim=1, keepdim=True).sqrt().expand_as(y)

    start, ends = torch.ones(paths, WIDTH), torch.tensor([0.0, 1.0])

    def work() -> object:
        with torch.no_grad():
            return tsde.sdeint(Layer(), start, ends, method="euler", dt=H)

    return seconds(work, repeats=1) / (paths * STEPS)


def jitcsde(paths: int = 20) -> float:
    """JiTCSDE: compiled coefficients, one path at a time, its own step."""
    import symengine
    from jitcsde import jitcsde as integrator
    from jitcsde import y

    size = symengine.sqrt(sum((symengine.Abs(y(i)) + y(i)) ** 2 / 4 for i in range(WIDTH)) / WIDTH)
    equation = integrator([0] * WIDTH, [size] * WIDTH, verbose=False)
    equation.compile_C(verbose=False)

    def work() -> None:
        for path in range(paths):
            equation.set_initial_value(np.ones(WIDTH), 0.0)
            equation.set_seed(path)
            equation.set_integration_parameters(first_step=H, min_step=H, max_step=H, atol=1e9, rtol=1e9)
            equation.integrate(1.0)

    return seconds(work, repeats=1) / (paths * STEPS)


# --- networks: seconds per network ---


def networks_in_law(backend: str, samples: int = 200) -> float:
    """This package."""
    network = ResNet(relu, width=WIDE)
    return seconds(lambda: simulate_network(network, DEPTH, samples, x0=1.0, backend=backend)) / samples


def dense_torch(samples: int = 1) -> float:
    """PyTorch: every weight drawn, one matrix a layer."""
    import torch

    torch.set_num_threads(1)

    def work() -> torch.Tensor:
        x = torch.ones(samples, WIDE, dtype=torch.float32)
        for _ in range(DEPTH):
            x = x + torch.relu(x) @ torch.randn(WIDE, WIDE, dtype=torch.float32) / (WIDE * DEPTH) ** 0.5
        return x

    return seconds(work, repeats=2) / samples


PATH_ROWS: tuple[tuple[str, Callable[[], float]], ...] = (
    ("normals alone (NumPy)", filling),
    ("deeplimits, numba", lambda: ours("numba")),
    ("deeplimits, numpy", lambda: ours("numpy")),
    ("deeplimits, jax", ours_jax),
    ("NumPy by hand", numpy_loop),
    ("JAX by hand", jax_loop),
    ("diffrax", diffrax),
    ("torchsde", torchsde),
    ("jitcsde", jitcsde),
)
NETWORK_ROWS: tuple[tuple[str, Callable[[], float]], ...] = (
    ("deeplimits in law, numba", lambda: networks_in_law("numba")),
    ("deeplimits in law, numpy", lambda: networks_in_law("numpy")),
    ("PyTorch, all weights", dense_torch),
)


def table(rows: tuple[tuple[str, Callable[[], float]], ...], unit: str, scale: float) -> list[str]:
    """Lines of a table: time, and how many times the first of ours it takes."""
    measured: list[tuple[str, float | None]] = []
    for name, work in rows:
        try:
            measured.append((name, work()))
        except Exception as error:  # a peer that is missing or broken is a row too
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            measured.append((name, None))
    reference = next(time for name, time in measured if name.endswith("numba") and time)
    lines = [f"| | {unit} | times ours |", "|---|---:|---:|"]
    for name, time in measured:
        lines.append(
            f"| {name} | – | – |" if time is None else f"| {name} | {time * scale:.3g} | {time / reference:.3g} |"
        )
    return lines


def main() -> None:
    """Print machine, versions and both tables."""
    warnings.simplefilter("ignore")
    packages = ("numpy", "numba", "jax", "diffrax", "torchsde", "jitcsde", "torch")
    print(
        f"{platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()};",
        end=" ",
    )
    print(", ".join(f"{name} {version(name)}" for name in packages))
    print("\n".join(["", *table(PATH_ROWS, "ns per path-step", 1e9), ""]))
    print("\n".join(table(NETWORK_ROWS, "ms per network", 1e3)))


if __name__ == "__main__":
    main()
