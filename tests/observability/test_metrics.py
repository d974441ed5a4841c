"""What Prometheus scrapes and OpenTelemetry exports is what stats() says, through their own libraries."""

from itertools import islice

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.metrics import METRICS, readings, register_opentelemetry, register_prometheus
from shardkit.train import Loader


@pytest.fixture
def stream(datasets):
    sources = {"clips": sk.open(datasets["clips"]), "few": sk.open(datasets["few"])}
    return sk.Stream(sources, crop=sk.RandomCrop(0.1), batch_size=4, rank=0, world_size=1)


def scraped(registry):
    """The samples as Prometheus' own parser reads them from the text that is served."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, *sorted(sample.labels.items())): (family.type, sample.value)
        for family in families
        for sample in family.samples
    }


def test_prometheus_scrapes_the_stats_by_source_and_anew_each_time(stream):
    registry = CollectorRegistry()
    collector = register_prometheus({"train": stream}, registry)
    for num_batches in (3, 5):
        list(islice(stream, num_batches))
        found, stats = scraped(registry), stream.stats()
        assert found["shardkit_batches_total", ("stream", "train")] == ("counter", stats["batches"])
        assert found["shardkit_in_flight_requests", ("stream", "train")] == ("gauge", 0)
        for name, counts in stats["sources"].items():
            labels = ("source", name), ("stream", "train")
            assert found["shardkit_read_bytes_total", *labels] == ("counter", counts["bytes_read"])
            assert found["shardkit_samples_total", *labels] == ("counter", counts["samples"])
            assert found["shardkit_decode_seconds_total", *labels][1] > 0
    registry.unregister(collector)
    assert scraped(registry) == {}


def test_a_loader_and_its_stream_are_told_apart_by_their_names(stream):
    loader, registry = Loader(stream, device="cpu"), CollectorRegistry()
    register_prometheus({"train": stream, "loader": loader}, registry)
    list(islice(loader, 4))
    found = scraped(registry)
    assert found["shardkit_batches_total", ("stream", "loader")] == ("counter", 4)
    assert found["shardkit_step_seconds_total", ("stream", "loader")][1] > 0
    assert ("shardkit_step_seconds_total", ("stream", "train")) not in found


def test_opentelemetry_exports_the_stats(stream):
    reader = InMemoryMetricReader()
    register_opentelemetry({"train": stream}, MeterProvider([reader]).get_meter("test"))
    list(islice(stream, 3))
    data = reader.get_metrics_data()
    exported = {
        metric.name: (metric.unit, {tuple(sorted(p.attributes.items())): p.value for p in metric.data.data_points})
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    stats = stream.stats()
    assert exported["shardkit.batches"] == ("{batch}", {(("stream", "train"),): 3})
    assert exported["shardkit.read_bytes"] == (
        "By",
        {(("source", name), ("stream", "train")): counts["bytes_read"] for name, counts in stats["sources"].items()},
    )
    assert exported["shardkit.stalls"][1] == {(("stream", "train"),): 0}


def test_all_that_stats_count_is_a_metric(stream, tmp_path):
    """A count that is added to stats() without one is noticed here."""
    cached = sk.Stream(
        stream._sources[0].view, crop=sk.RandomCrop(0.1), cache=tmp_path, cache_size="32MB", rank=0, world_size=1
    )
    loader = Loader(cached, device="cpu")
    list(islice(loader, 3))
    keys = {metric.key for metric in METRICS}
    told = {reading.metric.key for reading in readings({"stream": cached, "loader": loader})}
    for stats in (cached.stats(), loader.stats()):
        flat = {name for name in stats if name not in ("sources", "cache", "waits_for")}
        assert {name for name in flat if not name.endswith("_share")} <= keys
    assert {f"cache.{name}" for name in cached.stats()["cache"]} <= told
    assert set(cached.stats()["sources"]["clips"]) <= told


def test_what_has_no_stats_is_refused():
    with pytest.raises(InputError, match="'train' is a int, which has no stats"):
        register_prometheus({"train": 3}, CollectorRegistry())
