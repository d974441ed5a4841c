"""Fields beside the primary audio: stems and paired targets, arrays, text."""

import json
from collections.abc import Sequence
from typing import Any

from shardkit.core.errors import InputError
from shardkit.format.index import PRIMARY
from shardkit.storage.traffic import Traffic
from shardkit.stream.piece import read_member
from shardkit.stream.plan import Draw, Source
from shardkit.stream.sample import load_array


def check_fields(sources: Sequence[Source], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the audio fields and the other fields among those asked for.

    Raises:
        InputError: No source has such a field, or it is audio in one and something else in another.
    """
    audio: list[str] = []
    others: list[str] = []
    for name in names:
        kinds = {source.view.manifest.fields[name].kind for source in sources if name in source.view.manifest.fields}
        if not kinds or name == PRIMARY:
            known = dict.fromkeys(field for source in sources for field in source.view.manifest.fields)
            listed = ", ".join(field for field in known if field != PRIMARY)
            raise InputError(f"fields: no source has a field {name!r} beside {PRIMARY!r}; there is {listed or 'none'}")
        if len(kinds) > 1:
            raise InputError(f"fields: {name!r} is {' and '.join(sorted(kinds))} in different sources")
        (audio if kinds == {"audio"} else others).append(name)
    return tuple(audio), tuple(others)


def read_other_field(source: Source, name: str, draw: Draw, traffic: Traffic) -> Any:
    """Return a field that is not audio, cropped with the audio where it has a time axis; None where absent."""
    catalog = source.catalog
    columns = catalog.fields.get(name)
    if columns is None or not columns.present[draw.row]:
        return None
    data = read_member(catalog, name, draw.row, traffic=traffic)
    kind = catalog.manifest.fields[name].kind
    if kind == "array":
        rate = int(catalog.fields[PRIMARY].sample_rate[draw.row])
        bounds = draw.start / rate, draw.stop / rate
        return load_array(data, columns.hop_s(draw.row), *bounds, where=catalog.place(name, draw.row))
    if kind == "json":
        return json.loads(data)
    return data.decode() if kind == "text" else data
