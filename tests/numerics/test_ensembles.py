"""Blocks: the same samples for any number of workers, in order, and errors that come through."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from numerics.ensembles import blocks, run_ensemble, stream_ensemble


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
