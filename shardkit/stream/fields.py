"""Fields beside the primary audio: stems and paired targets, arrays, text."""

from collections.abc import Sequence
from typing import Any

from shardkit.core.errors import InputError
from shardkit.format.index import PRIMARY
from shardkit.storage.traffic import Traffic
from shardkit.stream.plan import Draw, Source
from shardkit.stream.sample import read_value


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
    rate = int(catalog.fields[PRIMARY].sample_rate[draw.row])
    return read_value(catalog, name, draw.row, draw.start / rate, draw.stop / rate, traffic=traffic)
