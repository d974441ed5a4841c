"""What the figures of ``shardkit bench`` mean: which stage limits, by what factor, and what to try."""

from collections.abc import Mapping
from typing import Any

from shardkit.core.sizes import format_size

_OWN_WORK = 2.0  # a stream so many times slower than reading and decoding one after the other has itself to blame
_SCALES = 1.5  # so many times as fast with many at once as with half of them: more would be faster yet


def verdict(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``limit`` (storage, decoding or stream), ``factor`` by which it is slower than what comes next, and text.

    Args:
        found: What ``bench`` measured.
    """
    storage, decoding = found["storage"][-1]["requests_per_s"], found["decoding"][-1]["crops_per_s"]
    stream = found["stream"]["samples_per_s"]
    # Where storage is local, both want the same processor: then one sample takes the time of both.
    together = 1 / (1 / storage + 1 / decoding)
    if stream * _OWN_WORK < together:
        limit, factor, advice = "stream", together / stream, _for_stream(found)
        text = (
            f"Neither storage nor decoding limits, but the stream's own work: it delivers {stream:,.0f} samples/s, "
            f"reading and decoding one after the other allow {together:,.0f}, {factor:.1f} times as many"
        )
    elif storage < decoding:
        limit, factor, advice = "storage", decoding / storage, _for_storage(found)
        text = (
            f"Storage limits: it gives {storage:,.0f} crops/s with {found['threads']} in flight, the processor decodes "
            f"{decoding:,.0f}, {factor:.1f} times as many"
        )
    else:
        limit, factor, advice = "decoding", storage / decoding, _for_decoding(found)
        text = (
            f"Decoding limits: the processor decodes {decoding:,.0f} crops/s on {found['threads']} threads, storage "
            f"gives {storage:,.0f}, {factor:.1f} times as many"
        )
    return {"limit": limit, "factor": round(factor, 2), "text": f"{text}; try {advice}."}


def _for_storage(found: Mapping[str, Any]) -> str:
    alone, many = found["storage"]
    tries = []
    if not found["reads_ranges"]:
        tries.append(f"FLAC shards (pack --codec flac), since {found['codec']} is read whole for each crop")
    gain = many["requests_per_s"] / alone["requests_per_s"]
    if many["in_flight"] > 1 and gain > many["in_flight"] / _SCALES:
        tries.append(f"more threads ({2 * many['in_flight']}), since requests do not slow each other down yet")
    if found["codec"] == "wav":
        tries.append("FLAC shards, which are half the bytes or less")
    size = format_size(many["bytes_per_request"])
    if not found["local"]:
        tries.append("a copy of the dataset on local disk, or storage nearer by")
        tries.append(f'shuffle="block" where clips are short enough to be read whole ({size} a request now)')
    return ", ".join(tries) or f"a faster disk: requests have {size}"


def _for_decoding(found: Mapping[str, Any]) -> str:
    tries = []
    one, many = found["decoding"]
    if not found["reads_ranges"]:
        tries.append(f"FLAC or WAV shards (pack --codec flac), since {found['codec']} is decoded from its start")
    elif found["codec"] == "flac":
        tries.append("WAV shards (pack --codec wav), a fraction of the work for about twice the bytes")
    if found["resamples"]:
        tries.append(f"packing at the rate that is delivered (--sample-rate {found['sample_rate']})")
    if many["threads"] == 1 or many["crops_per_s"] / one["crops_per_s"] > many["threads"] / _SCALES:
        tries.append(f"more threads (--threads {2 * many['threads']}), where there are cores for them")
    return ", ".join(tries) or "more cores, or several ranks"


def _for_stream(found: Mapping[str, Any]) -> str:
    tries = ["several processes (ranks, or a DataLoader's workers)"]
    if found["batch_size"] < 32:
        tries.append("larger batches")
    if found["threads"] > 4 and found["local"]:
        tries.append("fewer threads")
    return ", ".join(tries)
