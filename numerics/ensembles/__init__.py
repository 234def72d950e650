"""Ensembles of independent samples: the same result for any number of workers, on one core or a cluster."""

from __future__ import annotations

from numerics.ensembles.checkpoint import Checkpoint
from numerics.ensembles.dask import dask_executor
from numerics.ensembles.reduce import last_time, reduce_ensemble
from numerics.ensembles.reductions import Gram, Histogram, Moments, Quantiles, Reduction
from numerics.ensembles.stream import Block, Progress, Seed, Task, blocks, run_ensemble, seed_sequence, stream_ensemble

__all__ = [
    "Block",
    "Checkpoint",
    "Gram",
    "Histogram",
    "Moments",
    "Progress",
    "Quantiles",
    "Reduction",
    "Seed",
    "Task",
    "blocks",
    "dask_executor",
    "last_time",
    "reduce_ensemble",
    "run_ensemble",
    "seed_sequence",
    "stream_ensemble",
]
