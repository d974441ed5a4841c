"""Packs the shards of a plan on a Ray cluster: the same jobs as on one machine, so the same bytes.

    this process ──jobs──► tasks on the nodes ──► output, on storage that all of them reach
         ▲                   │ progress
         └───── board ◄──────┘                    (an actor on the node of this process)

A node that is lost costs the shards that it was at: Ray starts their tasks again on others, and says so on standard
error. A task that is started again after its shard was done finds the shard's record, as any pack does, and ends.
"""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from shardkit.core.errors import InputError, ShardkitError
from shardkit.pack.engine import NOTHING, Job, Messages, Outcome, Progress, Report
from shardkit.pack.identity import made_with
from shardkit.pack.mark import MARK_NAME
from shardkit.pack.records import ShardOutcome
from shardkit.pack.shard import ShardJob, write_shard
from shardkit.storage.store import exists

_POLL_S = 0.2  # between looks for progress
_AHEAD = 2  # tasks for each processor; what else there is to do waits in this process, not in the cluster's memory
_LOSSES = 8  # of nodes and processes that one shard may survive: after that it is not the node
_STOP_S = 10.0  # that tasks are given to remove what they had not finished
_CONNECT_S = 10.0  # to the cluster; Ray itself would try for minutes
_HINT = "all nodes must have the same shardkit and reach the input and the output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster.

    Attributes:
        address: ``HOST:PORT`` or ``ray://HOST:PORT``; None: where Ray itself finds one (``RAY_ADDRESS``, this machine).
        tasks: How many at once, at most; 0: as many as it has processors.
    """

    address: str | None = None
    tasks: int = 0


def run_on_ray(
    work: Callable[[Job, Report], Outcome], jobs: Sequence[Job], *, cluster: Cluster, report: Report
) -> list[Outcome]:
    """Return the outcome of each job, in the order of the jobs, on whichever node it was done.

    Args:
        work: Does one job; a function of a module, so that other machines find it.
        jobs: Plain values: they are sent to the nodes, as the outcomes are sent back.
        cluster: Where.
        report: Called in this process with what the jobs report.

    Raises:
        InputError: Ray is not installed, there is no cluster, or a node is not fit for the work.
        ShardkitError: The first failure; the other jobs are stopped.
    """
    outcomes: dict[int, Outcome] = {}
    with _connected(cluster) as ray:
        most = cluster.tasks or _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()
        task = ray.remote(_run).options(num_cpus=1, max_retries=_LOSSES, retry_exceptions=False)
        waiting = iter(enumerate(jobs))
        running: dict[Any, int] = {}
        total = NOTHING
        try:
            while True:
                for number, job in islice(waiting, most - len(running)):
                    running[task.remote(work, job, number, board, made_with())] = number
                if not running:
                    break
                done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S)
                for ref in done:
                    outcomes[running.pop(ref)] = _outcome(ray, ref)
                before, total = total, ray.get(board.total.remote())
                report(total - before)
        finally:
            _stop(ray, list(running))
    return [outcomes[number] for number in range(len(jobs))]


def write_on_node(job: ShardJob, report: Report) -> ShardOutcome:
    """Write a shard as ``write_shard`` does, on a machine that may turn out not to reach what it needs.

    Raises:
        InputError: The output, or the first of the inputs, is not to be seen from here.
    """
    for place in (job.output / MARK_NAME, *(item.location for item in job.plan.inputs[:1])):
        if not exists(place):
            raise InputError(f"{place}: not there on the node {socket.gethostname()}; {_HINT}")
    return write_shard(job, report)


def _run(
    work: Callable[[Job, Report], Outcome], job: Job, number: int, board: Any, versions: dict[str, str]
) -> Outcome:
    for name, version in made_with().items():
        if version != versions[name]:
            raise InputError(
                f"{name} {version} on the node {socket.gethostname()}, {versions[name]} where this was started: their "
                "bytes may differ; install the same"
            )
    board.begin.remote(number)
    messages = Messages(lambda progress: board.add.remote(number, progress))
    outcome = work(job, messages.add)
    messages.send()
    return outcome


class _Board:
    """What the tasks have reported so far; that of a task which is started again counts from nothing."""

    def __init__(self) -> None:
        self._done: dict[int, Progress] = {}

    def begin(self, number: int) -> None:
        self._done[number] = NOTHING

    def add(self, number: int, progress: Progress) -> None:
        self._done[number] += progress

    def total(self) -> Progress:
        return sum(self._done.values(), NOTHING)


def _outcome(ray: Any, ref: Any) -> Any:
    """Return what a task returned, or raise what it raised as it would have been raised here."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as err:
        if isinstance(err.cause, ShardkitError):
            raise err.cause from None
        raise ShardkitError(f"a node of the Ray cluster: {_last_line(err)}; {_HINT}") from err
    except ray.exceptions.RayError as err:
        raise ShardkitError(
            f"the Ray cluster: {_last_line(err)}; a shard outlives {_LOSSES} lost processes or nodes, this lost more, "
            "perhaps for want of memory: Ray's logs say why; run the same command again"
        ) from err


def _last_line(err: Exception) -> str:
    return next((line.strip() for line in reversed(str(err).splitlines()) if line.strip()), type(err).__name__)


def _stop(ray: Any, running: list[Any]) -> None:
    """Have tasks that are not to end interrupted, as by Ctrl-C, and wait until they have cleared up."""
    for ref in running:
        ray.cancel(ref)
    if running:
        ray.wait(running, num_returns=len(running), timeout=_STOP_S)


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    try:
        import ray  # noqa: PLC0415  (an extra, and slow to import)
        import ray.util.scheduling_strategies  # noqa: PLC0415
    except ImportError as err:
        raise InputError("--engine ray needs Ray: pip install 'shardkit[ray]'") from err
    if ray.is_initialized():  # by the program that calls pack
        yield ray
        return
    _check_listening(cluster.address)
    with _own_signals():
        try:
            ray.init(address=cluster.address or "auto", log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as err:
            where = f" at {cluster.address}" if cluster.address else ""
            raise InputError(
                f"no Ray cluster{where}: {_last_line(err)}; start one, or say where: --ray-address"
            ) from err
        try:
            yield ray
        finally:
            ray.shutdown()


def _check_listening(address: str | None) -> None:
    """Raise if nobody listens where a cluster should be: Ray itself would wait for minutes."""
    if address is None or address in {"auto", "local"}:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--ray-address {address}: not an address; write HOST:PORT, such as head:6379")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as err:
        raise InputError(
            f"no Ray cluster at {address}: {err.strerror or err}; 'ray status' on its nodes tells more"
        ) from err


@contextmanager
def _own_signals() -> Iterator[None]:
    """Put back the handlers that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
