"""What the figures of ``shardkit bench`` mean: which stage limits, by what factor, and what to try.

Three rates are compared, each as if the others took no time: crops that storage gives, crops that the processor
decodes, and samples for which a stream does its own work. The last is not measured but inferred: the processor time of
a delivered sample less that of its request and of its decoding, on one core, since Python runs on one at a time.
"""

from collections.abc import Callable, Mapping
from typing import Any

from shardkit.core.sizes import count, format_size

_UNEXPLAINED = (
    2.0  # a stream so many times slower than doing all three one after the other is held up by something else
)
_BUSY = 0.8  # of the cores: then it is the client's own work that limits requests
_SCALES = 1.5  # so many times as fast with many at once as with half of them: more would be faster yet
_LEAST_MS = 1e-3  # of own work: less is noise


def verdict(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what limits, by which factor it is slower than what comes next, and a sentence with what to try.

    Args:
        found: What ``bench`` measured.

    Returns:
        ``limit`` (storage, decoding, stream, or other: none of them explains it), ``factor``, ``text``.
    """
    storage, decoding, stream = found["storage"][-1], found["decoding"][-1], found["stream"]
    own_ms = stream["cpu_ms_per_sample"] - storage["cpu_ms_per_request"] - decoding["cpu_ms_per_crop"]
    rates = {
        "storage": storage["requests_per_s"],
        "decoding": decoding["crops_per_s"],
        "stream": 1e3 / max(own_ms, _LEAST_MS),
    }
    together, rate = 1 / sum(1 / each for each in rates.values()), stream["samples_per_s"]
    if rate * _UNEXPLAINED < together:
        factor = together / rate
        text = (
            f"Nothing measured here limits: the stream delivers {rate:,.0f} samples/s where {together:,.0f} are "
            f"possible, {factor:.1f} times as many, so this machine was busy or threads waited; try again while "
            "nothing else runs, or with other numbers of threads."
        )
        return {"limit": "other", "factor": round(factor, 2), "text": text}
    limit, following = sorted(rates, key=lambda name: rates[name])[:2]
    factor = rates[following] / rates[limit]
    text = (
        f"{_NAMES[limit]} limits, to {rates[limit]:,.0f} samples/s with {count(found['threads'], 'thread')}; "
        f"{_NAMES[following].lower()} would allow {rates[following]:,.0f}, {factor:.1f} times as many; try "
        f"{_ADVICE[limit](found)}."
    )
    return {"limit": limit, "factor": round(factor, 2), "text": text}


def _for_storage(found: Mapping[str, Any]) -> str:
    alone, many = found["storage"]
    tries = []
    if not found["reads_ranges"]:
        tries.append(f"FLAC shards (pack --codec flac), since {found['codec']} is read whole for each crop")
    gain = many["requests_per_s"] / alone["requests_per_s"]
    if many["cores"] > _BUSY * found["cores"]:
        tries.append("more cores, since this machine's are busy with the requests alone")
    elif many["in_flight"] == 1 or gain > many["in_flight"] / _SCALES:
        tries.append(
            f"more threads (--threads {2 * many['in_flight']}), since requests do not slow each other down yet"
        )
    if found["codec"] == "wav":
        tries.append("FLAC shards, which are half the bytes or less")
    size = format_size(many["bytes_per_request"])
    if not found["local"]:
        tries.append("a cache on the node's disk (Stream(cache=...)) where recordings come again, or storage nearer by")
        if not found["reads_ranges"] or found["whole"]:
            tries.append(f'shuffle="block", which reads neighbours together ({size} a request now)')
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
    if many["threads"] < found["cores"] and many["crops_per_s"] / one["crops_per_s"] > many["threads"] / _SCALES:
        tries.append(f"more threads (--threads {found['cores']}, one a core)")
    return ", ".join(tries) or "more cores"


def _for_stream(found: Mapping[str, Any]) -> str:
    tries = ["several processes (ranks, or a DataLoader's workers)"]
    if found["batch_size"] < 32:
        tries.append("larger batches")
    if found["threads"] > 4 and found["local"]:
        tries.append("fewer threads")
    return ", ".join(tries)


_NAMES = {"storage": "Storage", "decoding": "Decoding", "stream": "The stream's own work"}
_ADVICE: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "storage": _for_storage,
    "decoding": _for_decoding,
    "stream": _for_stream,
}
