"""The figures of ``shardkit bench`` as a person reads them."""

from collections.abc import Iterator, Mapping
from typing import Any

from shardkit.core.sizes import count, format_size


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines to print for what ``bench`` returned."""
    audio = f"{found['sample_rate']} Hz, {count(found['channels'], 'channel')}"
    yield f"{found['name']}  {found['location']}"
    yield (
        f"{found['crop_s']:g} s crops of {count(found['samples'], 'sample')}, {found['codec']}, delivered at {audio}, "
        f"in batches of {found['batch_size']} by {count(found['threads'], 'thread')}"
    )
    yield ""
    for entry in found["storage"]:
        yield _storage(entry)
    for entry in found["decoding"]:
        yield (
            f"decoding  {count(entry['threads'], 'thread'):<13} {entry['crops_per_s']:>9,.0f} crops/s     "
            f"{entry['cpu_ms_per_crop']:.3g} ms of processor time each"
        )
    stream = found["stream"]
    yield (
        f"stream    {count(found['threads'], 'thread'):<13} {stream['samples_per_s']:>9,.0f} samples/s   "
        f"{stream['cpu_ms_per_sample']:.3g} ms of processor time each; {stream['batches_per_s']:,.1f} batches/s, "
        f"the first after {stream['first_batch_s']:.2f} s"
    )
    yield (
        f"          waited {stream['waited_s']:.1f} of {stream['seconds']:.1f} s for batches; a sample took "
        f"{stream['requests_per_sample']:.2f} requests and {format_size(stream['bytes_per_sample'])}{_used(stream)}"
    )
    yield ""
    yield found["verdict"]["text"]
    if found["local"]:
        yield "What was read before comes from memory, not from the disk: the first pass may be slower."


def _storage(entry: Mapping[str, Any]) -> str:
    at_once = f"{entry['in_flight']} in flight"
    return (
        f"storage   {at_once:<13} {entry['requests_per_s']:>9,.0f} requests/s  {entry['bytes_per_s'] / 1e6:,.1f} MB/s, "
        f"{format_size(entry['bytes_per_request'])} each; median {entry['median_ms']:.3g} ms, "
        f"95 % within {entry['p95_ms']:.3g} ms; {entry['cpu_ms_per_request']:.3g} ms of processor time"
    )


def _used(stream: Mapping[str, Any]) -> str:
    """Return what the crops needed of the bytes, where the stream says so; crops that overlap share them."""
    used, read = stream["stats"].get("bytes_used"), stream["stats"].get("bytes_read")
    return f" ({used / read:.2f} bytes used for each that was read)" if used and read else ""
