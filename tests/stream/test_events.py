"""Events as rows, and what a detector is trained on, against the definitions written out over the metadata."""

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import yaml

import shardkit as sk
from tests.core.test_spans import pieces
from tests.stream.events_dataset import (
    DOGS,
    NUM_ROWS,
    ONTOLOGY,
    RATE,
    RELATED,
    all_events,
    events_of,
    frames_of,
    key_of,
    labels_of,
    overlaps,
    pack_events,
)

ONE = {"rank": 0, "world_size": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pack_events(tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def dataset(folder):
    return sk.open(folder)


def rows_of(view):
    """What the rows of a view's first pass are: key, label, first and last sample."""
    return Counter((sample.key, *sample.labels, sample.start, sample.stop) for sample in view)


def expected(events, segments_s=None):
    size = None if segments_s is None else round(segments_s * RATE)
    return Counter(
        (key_of(row), name, start + first, start + last)
        for row, name, start, stop in events
        for first, last in ([(0, stop - start)] if size is None else pieces(stop - start, size))
    )


def test_rows_are_the_events_and_their_audio_exactly_their_slices(dataset) -> None:
    view = dataset.events()
    assert rows_of(view) == expected(all_events())
    for sample in islice(view, 40):
        whole = dataset[sample.key]
        np.testing.assert_array_equal(sample.audio, whole.audio[:, sample.start : sample.stop])
        assert len(sample.labels) == 1
        assert any(interval.start == 0 and interval.name == sample.labels[0] for interval in sample.intervals)


@pytest.mark.parametrize("segments_s", [None, 0.01, 0.025, 10])
@pytest.mark.parametrize("overlapping", ["any", "only", "never"])
def test_events_by_name_overlap_and_segments(dataset, overlapping, segments_s) -> None:
    view = dataset.events(["Bark", "Hum"], overlapping=overlapping, segments_s=segments_s)
    chosen = [
        event
        for event in all_events()
        if event[1] in ("Bark", "Hum") and (overlapping == "any" or overlaps(event) == (overlapping == "only"))
    ]
    assert chosen
    assert rows_of(view) == expected(chosen, segments_s)


def test_descendants_are_events_too(dataset, tmp_path) -> None:
    dogs = [event for event in all_events() if event[1] in DOGS]
    path = tmp_path / "ontology.json"
    path.write_text("\ufeff" + json.dumps(ONTOLOGY.dump()))
    for ontology in (ONTOLOGY, path, str(path)):
        assert rows_of(dataset.events("Dog", descendants=True, ontology=ontology)) == expected(dogs)
    assert rows_of(dataset.events("/m/d", descendants=True, ontology=ONTOLOGY)) == expected(dogs)
    only = [event for event in all_events() if event[1] == "Dog"]
    assert rows_of(dataset.events("Dog")) == rows_of(dataset.events("/m/d", ontology=ONTOLOGY)) == expected(only)
    hum = [event for event in all_events() if event[1] == "Hum"]  # in no ontology: a class by itself
    assert rows_of(dataset.events("Hum", descendants=True, ontology=ONTOLOGY)) == expected(hum)


def test_targets_are_those_of_the_definition(dataset) -> None:
    found = sk.targets(dataset, "Dog", overlapping="never", segments_s=0.02, ontology=ONTOLOGY)
    said = {row: {*labels_of(row), *(event[0] for event in events_of(row))} for row in range(NUM_ROWS)}
    negative = [row for row, names in said.items() if names and not names & RELATED]
    assert rows_of(found["positive"]) == expected(
        [event for event in all_events() if event[1] in DOGS and not overlaps(event)], 0.02
    )
    assert rows_of(found["strong"]) == expected([event for event in all_events() if event[0] in negative], 0.02)
    assert found["weak"].keys() == [key for key in dataset.keys() if key in {key_of(row) for row in negative}]
    assert {key_of(row) for row, names in said.items() if names & {"Animal"} and not names & DOGS}  # would be negative
    assert not set(found["weak"].keys()) & {key_of(row) for row, names in said.items() if not names}


def test_without_an_ontology_targets_are_by_name(dataset) -> None:
    found = sk.targets(dataset, ["Bark"])
    assert rows_of(found["positive"]) == expected([event for event in all_events() if event[1] == "Bark"])
    lacking = {row for row in range(NUM_ROWS) if "Bark" not in labels_of(row) and "Bark" not in dict.fromkeys(
        event[0] for event in events_of(row)) and (labels_of(row) or events_of(row))}  # fmt: skip
    assert set(found["weak"].keys()) == {key_of(row) for row in lacking}
    having = dataset.having("Bark")
    assert set(having.keys()) == {
        key_of(row) for row in range(NUM_ROWS) if "Bark" in [*labels_of(row), *(event[0] for event in events_of(row))]
    }
    assert set(dataset.having("Dog", descendants=True, ontology=ONTOLOGY).keys()) == {
        key_of(row) for row in range(NUM_ROWS) if DOGS & {*labels_of(row), *(event[0] for event in events_of(row))}
    }


def test_events_are_narrowed_like_recordings(dataset) -> None:
    view = dataset.where("n < 60").events()
    long = view.where("event_duration_s >= 0.05 and n > 10 and event != 'Hum'")
    chosen = [e for e in all_events() if 10 < e[0] < 60 and (e[3] - e[2]) / RATE >= 0.05 and e[1] != "Hum"]
    assert rows_of(long) == expected(chosen)
    assert rows_of(view.where("'Siren' in labels")) == expected(
        [event for event in all_events() if event[0] < 60 and event[1] == "Siren"]
    )
    assert [*rows_of(view.take(5)).elements()] == [*rows_of(view).elements()][:5]
    assert len(view.each("labels")) == len({event[1] for event in all_events() if event[0] < 60})
    assert len(view.repeat(3)) == 3 * len(view)
    windows = view.windows(0.03, 0.01, content=sk.content("Siren", 0.5))
    assert len(windows) > 5
    for sample in windows:
        sirens = np.zeros(240, bool)
        for interval in sample.intervals:
            if interval.name == "Siren":
                sirens[interval.start : interval.stop] = True
        assert sirens.mean() >= 0.5 - 1e-9
    table = long.table()
    columns = [table[name].to_pylist() for name in ("key", "event", "event_start_s", "event_duration_s")]
    assert Counter(zip(*columns, strict=True)) == Counter(
        (key_of(row), name, start / RATE, (stop - start) / RATE) for row, name, start, stop in chosen
    )
    assert "fields" not in table.column_names
    info = long.info
    assert (info["events"], info["samples"]) == (len(chosen), len({e[0] for e in chosen}))
    assert long.duration_s == pytest.approx(sum(frames_of(row) / RATE for row in {e[0] for e in chosen}))
    assert f"{len(long):,} events" in repr(long)


def test_balance_counts_events_by_their_own_name(dataset) -> None:
    view = dataset.events().balance("labels", 1.0)
    names = Counter(event[1] for event in all_events())
    most = max(names.values())
    counted = Counter(sample.labels[0] for sample in view)
    for name in names:
        assert counted[name] == pytest.approx(most, abs=names[name] + 1)


def test_one_pass_has_each_event_once_and_the_label_is_its_own(dataset) -> None:
    view = dataset.events(segments_s=0.02)
    stream = sk.Stream({"events": view}, crop=None, passes=1, batch_size=16, mask_hop=8, **ONE)
    assert stream.labels == tuple(dict.fromkeys([*dataset.labels, *dataset.manifest.interval_names]))
    seen = Counter()
    for batch in stream:
        for i in np.flatnonzero(batch.valid).tolist():
            length, start = int(batch.lengths[i]), int(batch.starts[i])
            (label,) = np.flatnonzero(batch.labels[i])
            name = stream.labels[label]
            whole = dataset[batch.keys[i]]
            np.testing.assert_array_equal(batch.audio[i, :, :length], whole.audio[:, start : start + length])
            assert not batch.audio[i, :, length:].any()
            assert batch.masks[name][i].any()
            seen[batch.keys[i], name, start, start + length] += 1
    assert seen == expected(all_events(), 0.02)


def test_thinning_does_not_depend_on_the_other_rows(dataset) -> None:
    kept = set(dataset.thin(["Siren", "Hum"], 0.5, seed=3).keys())
    head = {key_of(row) for row in range(NUM_ROWS) if {"Siren", "Hum"} & set(labels_of(row))}
    assert set(dataset.keys()) - head <= kept
    assert 0.25 < len(kept & head) / len(head) < 0.75
    some = dataset.where("n < 40 and n != 7")
    assert set(some.thin(["Hum", "Siren"], 0.5, seed=3).keys()) == kept & set(some.keys())
    assert kept != set(dataset.thin(["Siren", "Hum"], 0.5, seed=4).keys())
    assert set(dataset.thin("Siren", 1).keys()) == set(dataset.keys())
    assert not set(dataset.thin("Siren", 0).where("'Siren' in labels").keys())
    more, fewer = (set(dataset.thin(["Siren", "Hum"], keep, seed=3).keys()) for keep in (0.8, 0.2))
    assert fewer < kept < more


def test_events_are_thinned_each_for_itself(dataset) -> None:
    view = dataset.events()
    kept = rows_of(view.thin("Siren", 0.5))
    sirens = {row for row in rows_of(view) if row[1] == "Siren"}
    assert {row for row in rows_of(view) if row[1] != "Siren"} <= set(kept)
    keys = Counter(row[0] for row in sirens)
    left = Counter(row[0] for row in sirens & set(kept))
    assert any(0 < left[key] < count for key, count in keys.items())  # some of one recording, not all
    assert rows_of(dataset.where("n < 50").events().thin("Siren", 0.5)) == Counter(
        {row: count for row, count in kept.items() if int(row[0].rpartition("_")[2]) < 50_000}
    )


def test_coverage_counts_events_by_their_own_name(dataset) -> None:
    stream = sk.Stream({"events": dataset.events(), "all": dataset}, crop=None, batch_size=8, seed=5, **ONE)
    covered = stream.coverage("labels", start=0, stop=400)
    drawn = Counter()
    for batch in islice(stream, 50):
        for i, source in enumerate(batch.sources):
            for label in np.flatnonzero(batch.labels[i]).tolist():
                drawn[source, stream.labels[label]] += 1
    for source, counts in covered.by_source.items():
        assert counts == {name: drawn[source, name] for name in counts}


def test_a_hard_event_comes_again_with_its_own_label(dataset) -> None:
    sources = sk.targets(dataset, "Dog", segments_s=0.03, ontology=ONTOLOGY)
    sources["hard"] = sources["strong"].balance("labels")
    options = {"composition": {"positive": 2, "strong": 4, "weak": 2, "hard": 4}, "epoch_samples": 48}
    stream = sk.Stream(sources, crop=sk.RandomCrop(0.02), mining=sk.Mining("hard", above=0.5), seed=2, **options, **ONE)

    def heard(batch, i):
        return batch.keys[i], int(batch.starts[i]), int(batch.lengths[i]), tuple(np.flatnonzero(batch.labels[i]))

    first = list(stream)
    told = {heard(batch, i): (batch.positions[i], batch.sources[i]) for batch in first for i in range(len(batch))}
    wanted = {what: at for what, (at, source) in told.items() if source == "strong"}
    every = [position for batch in first for position in batch.positions.tolist()]
    of_events = [source in ("strong", "hard") for batch in first for source in batch.sources]
    assert stream.feedback(every, [0.4] * len(every)) == 0
    others = [position for position, mine in zip(every, of_events, strict=True) if not mine]
    assert stream.feedback(others, [0.9] * len(others)) == 0  # [B] weak negatives got among the hard ones
    assert stream.feedback(list(wanted.values()), [0.9] * len(wanted)) == len(wanted)
    again = [heard(batch, i) for batch in stream for i in range(len(batch)) if batch.sources[i] == "hard"]
    assert len(again) == 16
    assert set(again) <= set(wanted)
    assert "hard" in stream.coverage("labels", start=48, stop=96).by_source
    with pytest.raises(sk.InputError, match="keys name recordings, and the rows of source 'hard' are events"):
        stream.feedback([first[0].keys[0]], [1.0])


def test_a_state_of_other_events_is_refused(dataset) -> None:
    streams = [
        sk.Stream({"x": dataset.events(overlapping=overlaps)}, crop=None, batch_size=4, **ONE)
        for overlaps in ("only", "never", "only")
    ]
    next(iter(streams[0]))
    streams[2].load_state_dict(streams[0].state_dict())
    with pytest.raises(sk.StateError, match="rows"):
        streams[1].load_state_dict(streams[0].state_dict())


CONFIG = """
sources:
  positive: {url: events, ontology: o.json, events: {names: Dog, descendants: true, segments_s: 0.02}}
  strong: {url: events, ontology: o.json, lacking: {names: Dog}, events: {segments_s: 0.02, where: event != 'Cat'}}
  weak: {url: events, ontology: o.json, lacking: {names: Dog}, thin: {labels: [Siren], keep: 0.5, seed: 9}}
  dogs: {url: events, ontology: o.json, having: {names: [/m/d], descendants: true}}
composition: {positive: 2, strong: 2, weak: 3, dogs: 1}
crop: {kind: random, duration_s: 0.01}
"""


def test_a_file_describes_the_same_sources(dataset, folder) -> None:
    (folder.parent / "o.json").write_text(json.dumps(ONTOLOGY.dump()))
    (folder.parent / "mix.yaml").write_text(CONFIG)
    stream = sk.Stream.from_config(folder.parent / "mix.yaml", **ONE)
    found = sk.targets(dataset, "Dog", segments_s=0.02, ontology=ONTOLOGY)
    views = {
        "positive": found["positive"],
        "strong": found["strong"].where("event != 'Cat'"),
        "weak": found["weak"].thin("Siren", 0.5, seed=9),
        "dogs": dataset.having("Dog", descendants=True, ontology=ONTOLOGY),
    }
    same = sk.Stream(views, composition=dict.fromkeys(views, 2) | {"weak": 3, "dogs": 1}, crop=sk.RandomCrop(0.01))
    for one, other in zip(islice(stream, 5), islice(same, 5), strict=True):
        assert (one.keys, one.sources) == (other.keys, other.sources)
        np.testing.assert_array_equal(one.audio, other.audio)
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"events": {"overlapping": "some"}}, r"sources\.a\.events\.overlapping: .*'any', 'only' or 'never'"),
        ({"events": {"name": "Dog"}}, r"unknown key 'sources\.a\.events\.name'"),
        ({"events": {"segments_s": 0}}, r"sources\.a\.events\.segments_s: .*greater than 0, found 0"),
        ({"events": {"names": "Dgo"}}, r"sources\.a: .*events: no label.*'Dgo'; did you mean 'Dog'"),
        ({"thin": {"labels": "Dog", "keep": 2}}, r"sources\.a\.thin\.keep: .*less than or equal to 1"),
        ({"thin": {"keep": 1}}, r"sources\.a\.thin\.labels: .*required"),
        ({"having": {"names": "Dog", "descendants": True}}, r"sources\.a: .*has no ontology .* give ontology="),
        ({"lacking": {"names": "Dog"}, "ontology": "bad.json"}, r"sources\.a: .*bad\.json: not JSON"),
    ],
)
def test_a_file_that_can_not_be_is_told_by_its_key(folder, source, message) -> None:
    (folder.parent / "bad.json").write_text("[")
    path = folder.parent / "bad.yaml"
    path.write_text(yaml.safe_dump({"sources": {"a": {"url": "events"} | source}}))
    with pytest.raises(sk.InputError, match=message):
        sk.Stream.from_config(path, **ONE)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda ds: ds.events("Meow"), "no label, event or class is called 'Meow'; there is"),
        (lambda ds: ds.events("Dog", overlapping="both"), "overlapping 'both' is unknown; choose any, only, never"),
        (lambda ds: ds.events("Dog", segments_s=-1), "segments_s"),
        (lambda ds: ds.events("Dog", descendants=True), "no ontology"),
        (lambda ds: ds.events(3), "events is 3; give the name"),
        (lambda ds: ds.events("Thing", descendants=True, ontology=ONTOLOGY), "nothing is labelled 'Thing' nor what is"),
        (lambda ds: ds.events().events(), "events of whole recordings only"),
        (lambda ds: ds.windows(0.1).events(), "events of whole recordings only"),
        (lambda ds: ds.repeat(2).events(), "events of whole recordings only"),
        (lambda ds: ds.events(segments_s=0.1).windows(0.1), "cut into Segments"),
        (lambda ds: ds.events().lacking("Dog"), "lacking after events: choose recordings first"),
        (lambda ds: ds.events().having("Dog"), "having after events"),
        (lambda ds: ds.each("labels").thin("Dog", 0.5), "thin after each"),
        (lambda ds: ds.lacking("Dog", relatives=True), "no ontology"),
        (lambda ds: ds.thin("Dog", 1.5), "keep 1.5 is not a share"),
        (lambda ds: ds.thin("Dog", 0.5, seed=-1), "seed -1"),
        (lambda ds: ds.thin("Dgo", 0.5), "did you mean 'Dog'"),
        (lambda ds: ds.where("event == 'Dog'"), "no column 'event'"),
    ],
)
def test_what_can_not_be_asked_for(dataset, ask, message) -> None:
    with pytest.raises(sk.InputError, match=message):
        ask(dataset)


def test_a_dataset_without_events_says_so(datasets) -> None:
    with pytest.raises(sk.InputError, match="no recording has intervals; pack them with the data"):
        sk.open(datasets["few"]).events()


def test_an_ontology_that_is_not_there_is_told(dataset, tmp_path) -> None:
    with pytest.raises(sk.NotFoundError, match=r"none\.json"):
        dataset.events("Dog", descendants=True, ontology=tmp_path / "none.json")
