"""What ``stats()`` tells, for Prometheus or OpenTelemetry, through their own libraries.

    stream.stats() ─┐
    loader.stats() ─┴─► readings (names, units, labels) ─┬─► prometheus_client: a custom collector
                                                         └─► opentelemetry-api: observable instruments

Both ask when they are asked themselves, so that nothing is counted twice and nothing is spent in between. Neither
library is needed by anything else: ``pip install shardkit[prometheus]`` or ``shardkit[opentelemetry]``.

The names are those of Prometheus, whose counters end in ``_total``; OpenTelemetry's are without it, with units beside.
Where a value is of a source, all samples have the label ``source``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from shardkit.core.errors import InputError


class HasStats(Protocol):
    """A ``Stream``, a ``Loader`` or a ``StreamingDataset``."""

    def stats(self) -> dict[str, Any]:
        """Return counts."""


class Metric(NamedTuple):
    """What one entry of ``stats()`` is.

    Attributes:
        key: Of the entry; ``cache.hits`` is in the mapping ``cache``.
        name: Without the prefix ``shardkit_``.
        unit: Of UCUM: ``s``, ``By``, or a thing in braces.
        help: In words.
        kind: A counter only grows.
    """

    key: str
    name: str
    unit: str
    help: str
    kind: Literal["counter", "gauge"] = "counter"


class Reading(NamedTuple):
    """A metric's value, of one stream, loader or source."""

    metric: Metric
    value: float
    labels: dict[str, str]


_BY_SOURCE = (
    Metric("samples", "samples", "{sample}", "Samples delivered."),
    Metric("requests", "requests", "{request}", "Requests to the storage."),
    Metric("bytes_read", "read_bytes", "By", "Bytes that the storage returned."),
    Metric("bytes_used", "used_bytes", "By", "Bytes of these that crops were made of."),
    Metric("storage_s", "storage_seconds", "s", "Seconds that threads spent in requests to the storage."),
    Metric("decode_s", "decode_seconds", "s", "Seconds that threads spent in decoding."),
    Metric("retries", "retries", "{request}", "Requests that were made again after a failure."),
    Metric("hedges", "hedges", "{request}", "Second requests that were made because the first took long."),
)
_OF_ALL = (
    Metric("batches", "batches", "{batch}", "Batches delivered."),
    Metric("waited_s", "wait_seconds", "s", "Seconds that the consumer waited for batches."),
    Metric("stalls", "stalls", "{batch}", "Batches that took longer than stall_s."),
    Metric("failures", "failures", "{sample}", "Samples that could not be read."),
    Metric("in_flight", "in_flight_requests", "{request}", "Requests to the storage under way.", "gauge"),
    Metric("cache.hits", "cache_hits", "{block}", "Blocks that were in the node's cache."),
    Metric("cache.misses", "cache_misses", "{block}", "Blocks that were not in the node's cache."),
    Metric("cache.bytes_served", "cache_served_bytes", "By", "Bytes from the node's cache."),
    Metric("used_s", "step_seconds", "s", "Seconds that the consumer had a batch in use."),
    Metric("starting_s", "starting_seconds", "s", "Seconds that the consumer waited for first batches."),
    Metric("reading_s", "reading_seconds", "s", "Seconds that the loader's thread waited for batches."),
    Metric("transfer_s", "transfer_seconds", "s", "Seconds that the loader's thread spent in moving batches."),
    Metric("transform_s", "transform_seconds", "s", "Seconds that the loader's thread spent in the transform."),
    Metric("ready", "ready_batches", "{batch}", "Mean number of batches that lay ready when asked.", "gauge"),
    Metric("device_waited_s", "device_wait_seconds", "s", "Seconds that the GPU waited for batches."),
    Metric("device_used_s", "device_step_seconds", "s", "Seconds that the GPU used batches."),
)
METRICS = (*_BY_SOURCE, *_OF_ALL)


def readings(observed: Mapping[str, HasStats]) -> Iterator[Reading]:
    """Yield what some streams and loaders tell now, each with the label ``stream``, the name it has here."""
    for name, one in observed.items():
        found = one.stats()
        sources = found.get("sources")
        for metric in _BY_SOURCE:
            for source, counts in () if sources is None else sources.items():
                if metric.key in counts:
                    yield Reading(metric, counts[metric.key], {"stream": name, "source": source})
        for metric in _OF_ALL:
            value = _value(found, metric.key)
            if value is not None:
                yield Reading(metric, value, {"stream": name})


def register_prometheus(observed: Mapping[str, HasStats], registry: Any = None) -> Any:
    """Have Prometheus collect what streams and loaders tell.

    Args:
        observed: By the name that the label ``stream`` gets, such as ``{"train": stream, "train_loader": loader}``.
        registry: A ``prometheus_client.CollectorRegistry``; None: its ``REGISTRY``.

    Returns:
        The collector, for ``registry.unregister``.

    Raises:
        InputError: Something in ``observed`` has no stats.
    """
    from prometheus_client import REGISTRY  # noqa: PLC0415  (optional)
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    families = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
    known = _checked(observed)

    class Collector:
        def describe(self) -> Iterable[Any]:
            return ()  # else it would be asked for all values to learn the names

        def collect(self) -> Iterator[Any]:
            found: dict[str, Any] = {}
            for metric, value, labels in readings(known):
                if metric.name not in found:
                    made = families[metric.kind](f"shardkit_{metric.name}", metric.help, labels=list(labels))
                    found[metric.name] = made
                found[metric.name].add_metric(list(labels.values()), value)
            yield from found.values()

    collector = Collector()
    (REGISTRY if registry is None else registry).register(collector)
    return collector


def register_opentelemetry(observed: Mapping[str, HasStats], meter: Any = None) -> None:
    """Have OpenTelemetry observe what streams and loaders tell.

    Args:
        observed: By the name that the attribute ``stream`` gets.
        meter: An ``opentelemetry.metrics.Meter``; None: the global provider's, named ``shardkit``.

    Raises:
        InputError: Something in ``observed`` has no stats.
    """
    from opentelemetry import metrics  # noqa: PLC0415  (optional)

    known = _checked(observed)
    meter = metrics.get_meter("shardkit") if meter is None else meter

    def observer(metric: Metric) -> Callable[[Any], list[Any]]:
        def observe(_options: Any) -> list[Any]:
            return [
                metrics.Observation(reading.value, reading.labels)
                for reading in readings(known)
                if reading.metric is metric
            ]

        return observe

    create = {"counter": meter.create_observable_counter, "gauge": meter.create_observable_gauge}
    for metric in METRICS:
        name = f"shardkit.{metric.name}"
        create[metric.kind](name, [observer(metric)], unit=metric.unit, description=metric.help)


def _checked(observed: Mapping[str, HasStats]) -> dict[str, HasStats]:
    for name, one in observed.items():
        if not callable(getattr(one, "stats", None)):
            raise InputError(f"{name!r} is a {type(one).__name__}, which has no stats(); give a Stream or a Loader")
    return dict(observed)


def _value(found: Mapping[str, Any], key: str) -> float | None:
    value: Any = found
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is None else float(value)
