"""The engine "dask": chunks go to the workers of a Dask cluster, wherever they are."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vgcore.errors import WorkerError
from vgcore.study.processes import one_thread_environment
from vgcore.study.store import Delivery
from vgcore.study.worker import Job, Task, perform

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 30


@contextlib.contextmanager
def connected(
    client: Client | None, scheduler: str | None, n_workers: int, *, shown: bool = False
) -> Iterator[Client]:
    """The caller's client, one of the scheduler at an address, or one of a cluster of our own.

    A cluster of our own has `n_workers` processes with one thread each, and ends with the context.

    Raises
    ------
    WorkerError
        Nothing answers at the address, or `distributed` is not installed.
    """
    if client is not None:
        yield client
        return
    try:
        import distributed
    except ImportError:
        raise WorkerError(
            "engine 'dask' needs the package distributed; pip install 'vgcore[dask]'"
        ) from None
    if scheduler is not None:
        try:
            own = distributed.Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise WorkerError(f"no Dask scheduler answers at {scheduler!r} ({error})") from None
        with own:
            yield own
        return
    with (
        one_thread_environment(),
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as own,
    ):
        yield own


def n_threads(client: Client) -> int:
    """Number of chunks that the cluster can measure at once, as it is now."""
    return int(sum(client.nthreads().values()))


def submit(client: Client, job: Job, task: Task) -> Any:
    """Have a chunk measured; Dask begins it anew elsewhere if its worker dies."""
    key = f"vgcore-{job.digest[:8]}-{job.token[:8]}-{task.chunk.index}"
    return client.submit(functools.partial(_on_worker, job), task, key=key, pure=False)


def _on_worker(job: Job, task: Task) -> Delivery:
    from distributed import get_worker

    return perform(job, task, str(get_worker().address))


def outcome(future: Any) -> Delivery:
    """What a worker returned, or the reason why there is nothing."""
    from distributed import CancelledError, KilledWorker

    try:
        delivery: Delivery = future.result()
    except KilledWorker as error:
        raise WorkerError(f"workers died again and again while they measured: {error}") from None
    except CancelledError:
        raise WorkerError("the Dask scheduler has gone or dropped a chunk") from None
    return delivery
