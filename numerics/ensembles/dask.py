"""Executors of processes on one machine or many, by Dask (extra ``dask``)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager


def workers_of(workers: int | Executor) -> int:
    """How many blocks are computed at the same time: threads, processes, or the cores that a cluster has now.

    Examples
    --------
    >>> workers_of(2)
    2
    """
    if not isinstance(workers, Executor):
        return workers
    client = getattr(workers, "_client", None)
    if client is not None:
        return max(1, sum(client.ncores().values()))
    return int(getattr(workers, "_max_workers", 1))


@contextmanager
def dask_executor(address: str | None = None, workers: int | None = None) -> Iterator[Executor]:
    """An executor on a Dask cluster, for the ``workers`` of any simulation.

    Parameters
    ----------
    address : str, optional
        Of a scheduler, such as ``tcp://10.0.0.1:8786``. Without it a cluster of processes is started here, and stopped at
        the end.
    workers : int, optional
        Processes of a cluster started here; by default one a core.

    Yields
    ------
    Executor

    Raises
    ------
    ValueError
        If Dask is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise ValueError('clusters need Dask, which is not installed; pip install "deeplimits[dask]"') from error
    if address is None:
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client.get_executor(pure=False)
        return
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client.get_executor(pure=False)
