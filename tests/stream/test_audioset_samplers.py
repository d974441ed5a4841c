"""The AudioSet pipeline's samplers on its published tables: all rows in order, and some hundred as batches of audio."""

import csv
import json
import math
from collections import Counter
from itertools import islice
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.index_only import write_index_only

TARGET = "Baby cry, infant cry"
RARE = 60  # labels of fewer clips than this are one: 16 of 527
# SEEDS: of 32, a quarter positives, a quarter strong negatives in two tiers (A by label, one of four to cover them all;
# B hard examples), half weak negatives. Here three times that, which 1, 2, 3 and 8 ranks divide.
COMPOSITION = {"positive": 24, "tier A": 12, "hard": 12, "weak": 48}
GROUPS = {"tier A": {"frequent": 3, "turns": 1}}
BATCH = 96
EPOCH = BATCH * 180


@pytest.fixture(scope="module")
def published(data_dir: Path) -> Path:
    folder = data_dir / "audioset"
    if not folder.is_dir():
        pytest.skip(f"no tables of AudioSet at {folder}")
    return folder


def rows_of(folder: Path, name: str) -> list[tuple[str, list[str]]]:
    """Key and labels of each row of a weak table, read here with the csv module."""
    with (folder / "class_labels_indices.csv").open() as file:
        names = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
    with (folder / name).open() as file:
        rows = csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True)
        return [(f"{r[0]}_{round(float(r[1]) * 1000)}", [names[mid] for mid in r[3].split(",")]) for r in rows]


def score(key, salt=""):
    return crc32((key + salt).encode()) % 1000 / 1000


# All 22,160 rows, of which the order is all there is.


@pytest.fixture(scope="module")
def rows(published):
    return rows_of(published, "balanced_train_segments.csv")


@pytest.fixture(scope="module")
def every(rows, tmp_path_factory):
    strong = [(key, labels, score(key, "strong") < 0.4) for key, labels in rows]
    return write_index_only(tmp_path_factory.mktemp("every") / "balanced", strong)


def sources_of(clips):
    others = clips.where(f"not '{TARGET}' in labels")
    strong, weak = others.where("strong"), others.where("not strong")
    return {
        "positive": clips.where(f"'{TARGET}' in labels"),
        "frequent": strong.balance("labels", 0.5, rare=RARE // 2, several="all"),
        "turns": strong.each("labels"),
        "hard": strong.balance("labels", 0.5),
        "weak": weak.balance("labels", 0.5, several="all"),
    }


@pytest.fixture(scope="module")
def sources(every):
    return sources_of(every)


def stream_of(sources, *, rank=0, world_size=1, **options):
    options = {"crop": sk.RandomCrop(1.0), "seed": 7, "composition": COMPOSITION, "groups": GROUPS} | options
    options = {"global_batch_size": BATCH, "epoch_samples": EPOCH, "mining": sk.Mining("hard", above=0.5)} | options
    return sk.Stream(sources, rank=rank, world_size=world_size, **options)


def planned(stream, position, num_batches):
    """What one rank's batches would be: (position, source, row, crop) of each draw, batch by batch."""
    plans = stream._planner.plans(
        position, step=1, end=None, rank=stream.rank, world_size=stream.world_size, batch_size=stream.batch_size
    )
    return [
        [(int(g), *draw) for g, draw in zip(plan.positions, plan.draws, strict=True)]
        for plan in islice(plans, num_batches)
    ]


def test_labels_are_drawn_by_the_root_of_their_frequency_and_rare_ones_together(rows, every):
    """p_l = √n_l / Σ √n of the labels, of which those of fewer than RARE clips are one; then any of a label's clips."""

    def values(labels):
        return {"(rare)" if counts[label] < RARE else label for label in labels}

    counts = Counter(label for _, labels in rows for label in labels)
    assert (len(rows), len(counts), counts["Music"]) == (22_160, 527, 6244)
    assert sum(count < RARE for count in counts.values()) == 16
    of_value = Counter(value for _, labels in rows for value in values(labels))
    total = sum(math.sqrt(n) for n in of_value.values())
    p = {value: math.sqrt(n) / total for value, n in of_value.items()}
    expected = {key: sum(p[value] / of_value[value] for value in values(labels)) for key, labels in rows}

    view = every.balance("labels", 0.5, rare=RARE, several="all")
    one_pass = sk.Stream(view, passes=1, crop=sk.RandomCrop(1.0), rank=0, world_size=1)
    drawn = one_pass.coverage("key").counts
    assert sum(drawn.values()) == len(view)
    for key, chance in expected.items():
        assert abs(drawn[key] - chance * len(view)) < 1.01  # each clip, to the whole number above or below
    by_label = Counter()
    for key, labels in rows:
        for value in values(labels):
            by_label[value] += drawn[key] * (p[value] / of_value[value]) / expected[key]
    for value, chance in p.items():
        assert by_label[value] / len(view) == pytest.approx(chance, rel=0.03)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_the_laws_hold_on_all_rows_with_composition_balance_and_turns(sources, world_size):
    num_batches, first = 12, 3 * BATCH
    alone = planned(stream_of(sources), first, num_batches)
    streams = [stream_of(sources, rank=rank, world_size=world_size) for rank in range(world_size)]
    ranks = [planned(stream, first, num_batches) for stream in streams]
    assert {len(batch) for rank in ranks for batch in rank} == {BATCH // world_size}  # L4
    for number, expected in enumerate(alone):  # L1, L2
        assert sorted(draw for rank in ranks for draw in rank[number]) == sorted(expected)
        assert [draw[0] for draw in expected] == list(range(first + number * BATCH, first + (number + 1) * BATCH))
    state = json.loads(json.dumps(streams[0].state_at(first + 5 * BATCH)))  # L3
    for rank in range(8):
        resumed = stream_of(sources, rank=rank, world_size=8)
        resumed.load_state_dict(state)
        mine = planned(resumed, resumed.position, 2)
        assert mine == [[draw for draw in batch if draw[0] % 8 == rank] for batch in alone[5:7]]
    assert {len(stream) for stream in streams} == {180}


def test_counts_of_groups_are_exact_and_of_sources_within_a_few_at_every_prefix(sources):
    """Law L5, and that of a composition, over an epoch and far out."""
    names = list(sources)
    for start in (0, BATCH * 10**9):
        batches = planned(stream_of(sources), start, 180)
        drawn = np.array([draw[1] for batch in batches for draw in batch])
        tier_a = np.isin(drawn, [names.index("frequent"), names.index("turns")])
        for name, count in COMPOSITION.items():
            mine = tier_a if name == "tier A" else drawn == names.index(name)
            assert (mine.reshape(-1, BATCH).sum(axis=1) == count).all()
        turns = np.cumsum(drawn[tier_a] == names.index("turns"))
        assert np.abs(turns - np.arange(1, len(turns) + 1) / 4).max() < 4


def test_all_labels_are_covered_in_an_epoch_and_the_report_is_an_independent_count(rows, sources):
    by_key = dict(rows)
    others = {label for labels in by_key.values() if TARGET not in labels for label in labels}
    strong = {label for key, labels in rows if TARGET not in labels and score(key, "strong") < 0.4 for label in labels}
    assert len(others) >= 520
    stream = stream_of(sources)
    for start in (0, EPOCH, EPOCH * 1000 + BATCH * 7):
        coverage = stream.coverage(start=start, stop=start + EPOCH)
        assert set(coverage.by_source["turns"]) == strong
        assert not coverage.missing
        assert min(coverage.by_source["turns"].values()) >= 1
    keys = sources["positive"].catalog.table.column("key").to_pylist()
    counted = Counter()
    for rank in range(3):
        for batch in planned(stream_of(sources, rank=rank, world_size=3), 0, 40):
            counted.update(label for draw in batch for label in by_key[keys[draw[2]]])
    assert counted == Counter(+Counter(stream.coverage(stop=40 * BATCH).counts))


def test_an_epoch_too_short_for_all_labels_says_so(sources):
    with pytest.warns(UserWarning, match=r"'turns': an epoch of 9600 samples draws 300 of its 5\d\d values"):
        stream_of(sources, epoch_samples=100 * BATCH)


@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_hard_negatives_come_first_in_the_next_epoch_on_all_ranks(sources, world_size):
    epoch, names = BATCH * 180, list(sources)
    streams = [stream_of(sources, rank=rank, world_size=world_size) for rank in range(world_size)]
    keys = sources["hard"].catalog.table.column("key").to_pylist()
    heard = [draw for stream in streams for batch in planned(stream, 0, 3) for draw in batch]
    told = {draw[0]: score(keys[draw[2]]) for draw in heard}
    for stream in streams:
        stream.advance(epoch)
        hard = sum(names[draw[1]] in ("frequent", "turns", "hard") and told[draw[0]] > 0.5 for draw in heard)
        assert stream.feedback(list(told), list(told.values())) == hard > 12
        assert stream.begin() == epoch
    again = sorted(draw for stream in streams for batch in planned(stream, epoch, 4) for draw in batch)
    hard = [draw[2] for draw in again if names[draw[1]] == "hard"]
    strong_rows = set(sources["hard"].rows.tolist())
    expected = {draw[2] for draw in heard if draw[2] in strong_rows and told[draw[0]] > 0.5}
    assert set(hard[: len(expected)]) <= expected
    scores = [score(keys[row]) for row in hard[: len(expected)]]
    assert scores == sorted(scores, reverse=True)
    assert len({json.dumps(stream.feedback_state()) for stream in streams}) == 1


# Some hundred clips of both tables with audio, packed from the tables as they are.


@pytest.fixture(scope="module")
def heard(published, tmp_path_factory):
    """The clips, and the labels of each by a count of this test's own."""
    folder = tmp_path_factory.mktemp("heard")
    by_key = dict(rows_of(published, "balanced_train_segments.csv"))
    targets = [key for key, labels in by_key.items() if TARGET in labels]
    odd = [key for key in by_key if key.startswith("-") or "_" in key.rpartition("_")[0]]
    by_key |= dict(rows_of(published, "eval_segments.csv"))
    chosen = dict.fromkeys([*targets[:40], *odd[::60], *list(by_key)[::200]])
    for number, key in enumerate(chosen):
        place = folder / "audio" / f"part{number % 41:02d}" / f"Y{key.rpartition('_')[0]}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(-9000, 9000, 400, dtype=np.int16)
        soundfile.write(place, noise, 8000)
    pack(
        locate(published),
        locate(folder / "shards"),
        inputs=InputOptions(importer="audioset", root=locate(folder / "audio")),
        options=PackOptions(workers=1, codec="wav"),
    )
    return sk.open(folder / "shards"), {key: by_key[key] for key in chosen}


def heard_sources(clips):
    others = clips.where(f"not '{TARGET}' in labels")
    strong = others.where("subset == 'balanced_train'")  # made up: the published tables have weak labels alone
    return {
        "positive": clips.where(f"'{TARGET}' in labels"),
        "frequent": strong.balance("labels", 0.5, rare=10, several="all"),
        "turns": strong.each("labels"),
        "hard": strong.balance("labels", 0.5),
        "weak": others.where("subset == 'eval'").balance("labels", 0.5, several="all"),
    }


@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_batches_of_the_pipeline_on_real_clips(heard, world_size):
    clips, by_key = heard
    assert len(clips) == len(by_key) > 300
    sources = heard_sources(clips)
    epoch = BATCH * (len(sources["turns"]) // 3 + 2)
    options = {"crop": sk.RandomCrop(0.02), "epoch_samples": epoch, "metadata": ["ytid"]}
    streams = [stream_of(sources, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    found = Counter()
    for batches in islice(zip(*streams, strict=True), 6):
        names = Counter(name for batch in batches for name in batch.sources)
        assert names["frequent"] + names["turns"] == COMPOSITION["tier A"]
        assert {name: names[name] for name in ("positive", "hard", "weak")} == {"positive": 24, "hard": 12, "weak": 48}
        for batch in batches:
            assert batch.audio.any(axis=(1, 2)).all()  # no crop is silence
            for key, labels, ytid in zip(batch.keys, batch.labels, batch.metadata["ytid"], strict=True):
                found.update(by_key[key])
                assert {streams[0].labels[label] for label in labels.nonzero()[0]} == set(by_key[key])
                assert key.rpartition("_")[0] == ytid
    coverage = streams[0].coverage(stop=6 * BATCH)
    assert +Counter(coverage.counts) == found
    whole = streams[0].coverage(start=0, stop=epoch)
    assert not whole.missing
    assert min(whole.by_source["turns"].values()) >= 1


def test_hard_negatives_of_real_clips_come_again_as_they_were_heard(heard):
    sources = heard_sources(heard[0])
    epoch = BATCH * 8

    def delivered(world_size):
        """Each delivery of two epochs by position, where each rank is told what all heard."""
        options = {"crop": sk.RandomCrop(0.02), "epoch_samples": epoch, "composition": COMPOSITION}
        options |= {"groups": {"tier A": ["frequent", "weaker"]}}
        views = {name: view for name, view in sources.items() if name != "turns"} | {"weaker": sources["weak"]}
        streams = [stream_of(views, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
        found, told = {}, {}
        for number in range(2):
            for batches in islice(zip(*streams, strict=True), 8 if number == 0 else 2):
                for batch in batches:
                    for i, g in enumerate(batch.positions.tolist()):
                        found[g] = batch.sources[i], batch.keys[i], batch.audio[i].tobytes()
                        told[g] = score(batch.keys[i])
            if number == 0:
                assert len({stream.feedback(list(told), list(told.values())) for stream in streams}) == 1
        return found

    found = delivered(1)
    assert delivered(3) == found
    again = [entry[1:] for g, entry in sorted(found.items()) if g >= epoch and entry[0] == "hard"]
    first = {entry[1:] for g, entry in found.items() if g < epoch and entry[0] in ("hard", "frequent")}
    assert len(again) == 24
    assert set(again) <= first  # the crops that were heard
    assert [score(key) for key, _ in again] == sorted((score(key) for key, _ in again), reverse=True)
