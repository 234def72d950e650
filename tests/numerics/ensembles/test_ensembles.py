"""Blocks: the same samples for any number of workers, in order, and errors that come through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from derivations.activations import relu
from derivations.architectures import ResNet
from derivations.limits import depth_limit
from numerics.ensembles import (
    Gram,
    Histogram,
    Moments,
    Quantiles,
    blocks,
    dask_executor,
    reduce_ensemble,
    run_ensemble,
    stream_ensemble,
)
from numerics.ensembles.checkpoint import Checkpoint, require_directory
from numerics.networks import simulate_network
from numerics.paths import simulate_sde

ROOT = Path(__file__).parents[3]


def normals(first: int, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.column_stack([np.arange(first, first + count), rng.standard_normal(count)])


def test_any_number_of_workers_gives_the_same_bits():
    one = run_ensemble(normals, 1000, block=7, seed=3)
    for workers in (2, 3):
        assert np.array_equal(one, run_ensemble(normals, 1000, block=7, seed=3, workers=workers))
    with ThreadPoolExecutor(2) as executor:
        assert np.array_equal(one, run_ensemble(normals, 1000, block=7, seed=3, workers=executor))
        assert executor.submit(int).result() == 0  # somebody else's executor is left open
    assert np.array_equal(one[:, 0], np.arange(1000))
    assert not np.array_equal(one, run_ensemble(normals, 1000, block=7, seed=4))  # the control


def test_blocks_have_the_seeds_that_spawn_would_give_and_can_be_cut_twice():
    root = np.random.SeedSequence(5)
    once, twice = ([b.seed.generate_state(2).tolist() for b in blocks(10, 3, root)] for _ in range(2))
    assert once == twice == [s.generate_state(2).tolist() for s in np.random.SeedSequence(5).spawn(4)]
    assert len({tuple(s) for s in once}) == 4
    nested = np.random.SeedSequence(5).spawn(2)[1]
    assert [b.seed.spawn_key for b in blocks(4, 2, nested)] == [(1, 0), (1, 1)]


def test_progress_counts_samples_in_order():
    seen = []
    run_ensemble(normals, 10, block=4, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_a_stream_holds_a_bounded_number_of_results():
    started = []

    def task(first, count, rng):
        started.append(first)
        return np.zeros(count)

    stream = stream_ensemble(task, 10_000, block=1, workers=2)
    next(stream)
    stream.close()
    assert len(started) < 200


def test_an_error_in_a_block_reaches_the_caller():
    def task(first, count, rng):
        if first == 4:
            raise RuntimeError("block 2 is broken")
        return np.zeros(count)

    for workers in (1, 2):
        with pytest.raises(RuntimeError, match="block 2"):
            run_ensemble(task, 10, block=2, workers=workers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 0}, "samples must be"),
        ({"samples": 2.5}, "samples must be"),
        ({"block": 0}, "block must be"),
        ({"workers": 0}, "workers must be"),
        ({"workers": True}, "workers must be"),
    ],
)
def test_senseless_requests_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        run_ensemble(normals, **{"samples": 10, "block": 2, **change})
    with pytest.raises(ValueError, match="4 samples along the first axis"):
        run_ensemble(lambda first, count, rng: np.zeros(3), 4, block=4)


# --- reductions ---


def lognormals(first: int, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.exp(rng.standard_normal((count, 3))) * np.array([1.0, -10.0, 0.0])


REDUCTIONS = (Moments(), Histogram([-20.0, -1.0, 0.0, 0.5, 2.0]), Quantiles(1e-3))


def test_reductions_are_those_of_all_samples():
    all_of_them = run_ensemble(lognormals, 3000, block=70, seed=1)
    moments, histogram, quantiles = reduce_ensemble(lognormals, REDUCTIONS, 3000, block=70, seed=1)
    np.testing.assert_allclose(moments.mean, all_of_them.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, all_of_them.var(axis=0, ddof=1), rtol=1e-13)
    assert np.array_equal(moments.least, all_of_them.min(axis=0))
    assert np.array_equal(moments.greatest, all_of_them.max(axis=0))
    assert histogram.sum() == 9000
    for row, column in zip(histogram, all_of_them.T, strict=True):
        cells = np.searchsorted([-20.0, -1.0, 0.0, 0.5, 2.0], column, side="right")
        assert np.array_equal(row, np.bincount(cells, minlength=6))
    q = np.array([0.0, 0.01, 0.5, 0.999, 1.0])
    exact = np.quantile(all_of_them, q, axis=0, method="inverted_cdf")
    lower = np.quantile(all_of_them, q, axis=0, method="lower")
    for mine, one, other in zip(quantiles(q).ravel(), exact.ravel(), lower.ravel(), strict=True):
        assert min(abs(mine - one) - 1e-3 * abs(one), abs(mine - other) - 1e-3 * abs(other)) < 1e-12
    assert not np.allclose(Quantiles(0.3).result(Quantiles(0.3).part(all_of_them))(q), lower, rtol=1e-2)  # the control


def test_reductions_do_not_depend_on_the_workers():
    one = reduce_ensemble(lognormals, REDUCTIONS, 2000, block=30, seed=1)
    for workers in (2, 3):
        other = reduce_ensemble(lognormals, REDUCTIONS, 2000, block=30, seed=1, workers=workers)
        assert np.array_equal(one[0].mean, other[0].mean)
        assert np.array_equal(one[0].variance, other[0].variance)
        assert np.array_equal(one[1], other[1])
        assert np.array_equal(one[2]([0.1, 0.9]), other[2]([0.1, 0.9]))


@pytest.mark.slow
def test_sums_of_many_blocks_lose_no_digits():
    # a mean far from 0 and a variance far below its square: 20 000 blocks of one sample each
    values = 1e8 + np.random.default_rng(0).standard_normal(20_000)
    part = Moments().part(values[:1])
    plain = 0.0
    for v in values[1:]:
        part = Moments().join(part, Moments().part(np.array([v])))
        plain += v * v
    exact = [Fraction(float(v)) for v in values]
    mean = sum(exact) / len(exact)
    variance = sum((v - mean) ** 2 for v in exact) / (len(exact) - 1)
    result = Moments().result(part)
    assert abs(Fraction(float(result.mean)) / mean - 1) < 2**-52
    assert abs(Fraction(float(result.variance)) / variance - 1) < 1e-12
    naive = (plain + values[0] ** 2 - values.sum() ** 2 / len(values)) / (len(values) - 1)
    assert abs(naive / float(variance) - 1) > 1e-3  # the control: plain sums of squares are worth nothing here


def test_gram_matrices_average():
    task = SquareLayer()
    gram = reduce_ensemble(task, Gram(), 500, block=64)
    x = run_ensemble(task, 500, block=64)
    np.testing.assert_allclose(gram.mean, np.einsum("sni,snj->ij", x, x) / (500 * 4), rtol=1e-13)


class SquareLayer:
    def __call__(self, first: int, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((count, 4, 2))


def test_simulations_take_reductions():
    network, limit = ResNet(relu, width=4), depth_limit(ResNet(relu, width=4))
    for simulate, subject, size in ((simulate_network, network, {"depth": 5}), (simulate_sde, limit, {"steps": 5})):
        kwargs = {"x0": 1.0, "samples": 300, "seed": 2, **size}
        whole, summary = simulate(subject, **kwargs), simulate(subject, **kwargs, reduce=Moments())
        np.testing.assert_allclose(summary.mean, whole.mean(axis=0), rtol=1e-13)
    kept = simulate_network(network, 5, 300, x0=1.0, at=[0, 5], reduce=Moments())
    assert kept.mean.shape == (2, 4, 1)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_samples():
    code = (
        "import re, sys; from derivations import ResNet, relu; from numerics import simulate_network\n"
        "from numerics.ensembles import Histogram, Moments, Quantiles; import numpy as np\n"
        "reduce = (Moments(), Quantiles(1e-3), Histogram(np.linspace(-9, 9, 200)))\n"
        "simulate_network(ResNet(relu, width=4), 2, int(sys.argv[1]), x0=1.0, reduce=reduce)\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    peaks = [int(run(code, str(samples)).stdout) for samples in (100_000, 3_000_000)]
    assert peaks[1] < peaks[0] + 15  # MB; the samples themselves would take 96
    assert peaks[1] < 300


# --- checkpoints ---


def test_a_finished_ensemble_is_found_again(tmp_path):
    whole = run_ensemble(normals, 100, block=7, seed=3)
    first = run_ensemble(normals, 100, block=7, seed=3, checkpoint=tmp_path)
    mark = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = run_ensemble(normals, 100, block=7, seed=3, workers=2, checkpoint=tmp_path)
    assert np.array_equal(whole, first)
    assert np.array_equal(whole, again)
    assert mark == {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    for change in ({"seed": 4}, {"block": 8}, {"samples": 99}):
        with pytest.raises(ValueError, match=f"differs in {next(iter(change))}"):
            run_ensemble(normals, **{"samples": 100, "block": 7, "seed": 3, **change}, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="differs in task"):
        run_ensemble(lognormals, 100, block=7, seed=3, checkpoint=tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="empty directory"):
        run_ensemble(normals, 100, block=7, seed=3, checkpoint=tmp_path / "other")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_ensemble_goes_on(tmp_path, workers):
    # stopped by an error in block 100: those before it are not computed again, and a prefix of 64 is one file
    computed: list[int] = []

    def task(first, count, rng):
        computed.append(first)
        if first == 300 and failing:
            raise RuntimeError("stop")
        return rng.standard_normal(count)

    failing = True
    with pytest.raises(RuntimeError, match="stop"):
        reduce_ensemble(task, Moments(), 400, block=3, seed=1, workers=workers, checkpoint=tmp_path)
    before, failing = set(computed), False
    computed.clear()
    resumed = reduce_ensemble(task, Moments(), 400, block=3, seed=1, workers=workers, checkpoint=tmp_path)
    assert not set(computed) & (before - {300}) - {300}
    plain = reduce_ensemble(task, Moments(), 400, block=3, seed=1)
    assert (resumed.mean, resumed.variance, resumed.count) == (plain.mean, plain.variance, plain.count)
    assert (tmp_path / "joined.npz").exists()


KILLED = """
import sys, time, numpy as np
from pathlib import Path
from numerics.ensembles import Moments, reduce_ensemble

def task(first, count, rng):
    with open(sys.argv[2], "a") as log:
        log.write(f"{first}\\n")
    time.sleep(0.01)
    return rng.standard_normal(count)

result = reduce_ensemble(task, Moments(), 600, block=2, seed=5, workers=2, checkpoint=sys.argv[1])
print(result.mean.hex() if hasattr(result.mean, "hex") else float(result.mean).hex(), float(result.variance).hex())
"""


@pytest.mark.slow
def test_killed_at_any_moment_nothing_finished_is_lost(tmp_path):
    folder, log = tmp_path / "kept", tmp_path / "log"
    arguments = [sys.executable, "-c", KILLED, str(folder), str(log)]
    finished: set[int] = set()
    for wait in (0.3, 0.7):
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE)
        start = len(log.read_text().splitlines()) if log.exists() else 0
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < start + 5):
            time.sleep(0.02)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        finished |= {int(file.stem.split("_")[1]) for file in folder.glob("block_*.npz")}
        computed = [int(line) // 2 for line in log.read_text().splitlines()]
        assert len(finished) > 5
    before = len(computed)
    last = subprocess.run(arguments, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    computed = [int(line) // 2 for line in log.read_text().splitlines()]
    assert not set(computed[before:]) & finished  # what was kept is not computed again
    assert set(computed) == set(range(300))
    arguments[3] = str(tmp_path / "uninterrupted")
    assert last == subprocess.run(arguments, cwd=ROOT, capture_output=True, check=True, text=True).stdout


# --- Dask ---


def dies_once(first: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Kills the process that runs block 5 the first time."""
    marker = Path(os.environ["DEEPLIMITS_TEST_MARKER"])
    if first == 50 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return rng.standard_normal(count)


DASK = """
import sys
sys.path.insert(0, "{root}")
import numpy as np
from numerics.ensembles import dask_executor, run_ensemble
from tests.numerics.ensembles.test_ensembles import dies_once

if __name__ == "__main__":
    with dask_executor(workers=2) as executor:
        np.save("{out}", run_ensemble(dies_once, 100, block=10, seed=1, workers=executor))
"""


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(tmp_path):
    pytest.importorskip("distributed", reason="clusters need the extra dask")
    script, out, marker = tmp_path / "run.py", tmp_path / "out.npy", tmp_path / "died"
    script.write_text(DASK.format(root=ROOT, out=out))
    environment = {**os.environ, "DEEPLIMITS_TEST_MARKER": str(marker), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=100, capture_output=True)
    assert marker.exists()  # one of them did die
    expected = run_ensemble(lambda first, count, rng: rng.standard_normal(count), 100, block=10, seed=1)
    assert np.array_equal(np.load(out), expected)


GROWS = """
import sys
sys.path.insert(0, "{root}")
import numpy as np
from distributed import Client, LocalCluster
from numerics.ensembles import Moments, reduce_ensemble
from tests.numerics.ensembles.test_ensembles import slow_normals

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        seen = []

        def progress(finished, total):
            seen.append(len(cluster.workers))
            if len(seen) == 3:
                cluster.scale(2)
                client.wait_for_workers(2, timeout=60)
            if len(seen) == 40:
                cluster.scale(1)

        moments = reduce_ensemble(slow_normals, Moments(), 1000, block=10, seed=1, workers=client.get_executor(pure=False), progress=progress)
        np.save("{out}", [moments.mean, moments.variance, max(seen), seen[0]])
"""


def slow_normals(first: int, count: int, rng: np.random.Generator) -> np.ndarray:
    time.sleep(0.02)
    return rng.standard_normal(count)


@pytest.mark.slow
def test_a_worker_that_is_added_and_one_that_goes_change_nothing(tmp_path):
    pytest.importorskip("distributed", reason="clusters need the extra dask")
    script, out = tmp_path / "run.py", tmp_path / "out.npy"
    script.write_text(GROWS.format(root=ROOT, out=out))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=200, capture_output=True)
    mean, variance, most, first = np.load(out)
    assert (most, first) == (2, 1)  # the cluster did change
    expected = reduce_ensemble(slow_normals, Moments(), 1000, block=10, seed=1)
    assert (mean, variance) == (expected.mean, expected.variance)


def test_a_lost_block_is_computed_again_and_a_wrong_one_is_not():
    class Fragile(ThreadPoolExecutor):
        tries = 0

        def submit(self, function, *args, **kwargs):
            self.tries += 1
            future = super().submit(function, *args, **kwargs)
            if self.tries in self.lost:
                future = Future()
                future.set_exception(BrokenExecutor("the worker died"))
            return future

    for lost, fine in (({2, 4}, True), (set(range(2, 20)), False)):
        with Fragile(1) as executor:
            executor.lost = lost
            if fine:
                assert np.array_equal(run_ensemble(normals, 20, 4, workers=executor), run_ensemble(normals, 20, 4))
            else:
                with pytest.raises(BrokenExecutor):
                    run_ensemble(normals, 20, 4, workers=executor)


def test_a_missing_dask_and_a_silent_scheduler_are_named(monkeypatch):
    if find_spec("distributed"):
        with pytest.raises(ValueError, match="no Dask scheduler answers"), dask_executor("nonsense://1"):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"deeplimits\[dask\]"), dask_executor():
        pass


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, check=True, text=True
    )


DAMAGE = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "text": lambda _: b"no archive",
    "overwritten inside": lambda content: content[:200] + bytes(50) + content[250:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_with_what_to_do(damage, tmp_path):
    kept = Checkpoint(tmp_path / "kept", {"task": "numbers"})
    kept.save(3, np.arange(300.0))
    (file,) = (tmp_path / "kept").glob("block_*.npz")
    whole = file.read_bytes()
    file.write_bytes(DAMAGE[damage](whole))
    with pytest.raises(
        ValueError, match=r"^the checkpoint .*block_00000003\.npz is damaged .*delete this file and run again"
    ):
        kept.load(3)
    file.write_bytes(whole)
    assert np.array_equal(kept.load(3), np.arange(300.0))  # the control


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("another ensemble", "it is a block of another place or ensemble"),
        ("another place", "it is a block of another place or ensemble"),
        ("other arrays", "it is no block of an ensemble"),
        ("one array", "it is no whole archive of arrays"),
    ],
)
def test_what_is_whole_and_no_block_of_this_place_is_not_taken_for_it(other, said, tmp_path):
    """A block of another ensemble of the same shape was taken without a word."""
    kept = Checkpoint(tmp_path / "kept", {"task": "numbers", "seed": "1"})
    kept.save(0, np.arange(300.0))
    kept.save(1, -np.arange(300.0))
    here, there = (tmp_path / "kept" / f"block_0000000{k}.npz" for k in (0, 1))
    if other == "another ensemble":
        foreign = Checkpoint(tmp_path / "foreign", {"task": "numbers", "seed": "2"})
        foreign.save(0, np.ones(300))
        here.write_bytes((tmp_path / "foreign" / here.name).read_bytes())
    elif other == "another place":
        here.write_bytes(there.read_bytes())
    else:
        with here.open("wb") as stream:
            (np.savez if other == "other arrays" else np.save)(stream, np.ones(300))
    with pytest.raises(ValueError, match=rf"{here.name} is damaged \({said}\); delete this file and run again"):
        kept.load(0)
    assert np.array_equal(kept.load(1), -np.arange(300.0))  # the control


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_plan_is_named_with_what_to_do(content, tmp_path):
    Checkpoint(tmp_path, {"task": "numbers"})
    (tmp_path / "ensemble.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"^the checkpoint .*ensemble\.json is damaged .*delete the directory"):
        Checkpoint(tmp_path, {"task": "numbers"})


def test_a_checkpoint_that_is_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(ValueError, match=r"a is a file"):
        Checkpoint(tmp_path / "a", {"task": "numbers"})
    with pytest.raises(ValueError, match=r"a/b lies below .*a, which is a file"):
        require_directory(tmp_path / "a" / "b")
    require_directory(tmp_path / "new" / "b")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"new cannot be written: permission denied"):
        require_directory(tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
