"""Groups of sources in a stream: counts and weights by group, and what a group gets shared out inside."""

import json
from collections import Counter
from itertools import islice

import pytest

import shardkit as sk
from tests.stream.many_labels import pack_many_labels
from tests.stream.test_stream import log

CROP = sk.RandomCrop(0.02)
GROUPS = {"positive": {"strong": 3, "rare": 1}, "negative": ["weak", "hard"]}
COUNTS = {"positive": 4, "negative": 5, "rest": 3}
EPOCH = 480


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    view = pack_many_labels(tmp_path_factory.mktemp("many"))
    target, other = view.where("target"), view.where("not target")
    return {
        "strong": target,
        "weak": other,
        "rare": target.each("labels"),
        "hard": other.balance("labels", rare=3),
        "rest": view,
    }


def stream_of(sources, *, rank=0, world_size=1, **options):
    options = {"composition": COUNTS, "groups": GROUPS, "crop": CROP, "seed": 3} | options
    return sk.Stream(sources, rank=rank, world_size=world_size, **options)


def group_of(source):
    return {"strong": "positive", "rare": "positive", "weak": "negative", "hard": "negative"}.get(source, source)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
def test_every_global_batch_has_the_counts_of_groups_spread_over_the_ranks(sources, world_size):
    streams = [stream_of(sources, rank=rank, world_size=world_size) for rank in range(world_size)]
    drawn = Counter()
    for batches in islice(zip(*streams, strict=True), 20):
        by_rank = [Counter(map(group_of, batch.sources)) for batch in batches]
        assert sum(by_rank, Counter()) == COUNTS
        for name, count in COUNTS.items():
            shares = [counts[name] for counts in by_rank]
            assert max(shares) - min(shares) <= (count % world_size > 0)
        drawn += sum((Counter(batch.sources) for batch in batches), Counter())
    assert abs(drawn["strong"] - 60) <= 3
    assert abs(drawn["hard"] - 50) <= 3
    assert streams[0].weights == pytest.approx(
        {"strong": 3 / 12, "weak": 5 / 24, "rare": 1 / 12, "hard": 5 / 24, "rest": 3 / 12}, abs=1e-4
    )


@pytest.mark.parametrize(
    "options", [{}, {"composition": [(0, COUNTS), (36, {"positive": 1, "negative": 1, "rest": 10})]}]
)
def test_a_run_goes_on_at_any_number_of_ranks(sources, options):
    expected = log(list(islice(stream_of(sources, **options), 8)))
    state = stream_of(sources, **options).state_at(60)
    assert len(json.dumps(state)) < 1024
    for world_size in (1, 2, 3):
        streams = [stream_of(sources, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
        for stream in streams:
            stream.load_state_dict(json.loads(json.dumps(state)))
        found = [entry for stream in streams for entry in log(list(islice(stream, 3)))]
        assert sorted(found) == sorted(expected[60:])


def test_a_state_of_other_groups_is_refused_and_of_other_weights_in_them_unless_meant(sources):
    state = stream_of(sources).state_at(24)
    with pytest.raises(sk.StateError, match="another stream: groups differ"):
        stream_of(
            sources, groups={"positive": ["strong", "rare"], "negative": ["weak"], "rest": ["rest", "hard"]}
        ).load_state_dict(state, weights="new")
    plain = {"strong": 3, "weak": 3, "rare": 1, "hard": 2, "rest": 3}
    with pytest.raises(sk.StateError, match="groups differ"):
        stream_of(sources, composition=plain, groups=None).load_state_dict(state, weights="new")
    other = stream_of(sources, groups=GROUPS | {"positive": ["strong", "rare"]})
    with pytest.raises(sk.StateError, match="weights differ"):
        other.load_state_dict(state)
    other.load_state_dict(state, weights="new")
    drawn = Counter(name for batch in islice(other, 30) for name in batch.sources)
    assert abs(drawn["strong"] - 60) <= 3
    assert Counter(map(group_of, drawn.elements())) == {name: 30 * count for name, count in COUNTS.items()}


def test_hard_examples_and_coverage_of_a_source_in_a_group(sources):
    stream = stream_of(sources, mining=sk.Mining("hard", above=0.0), epoch_samples=EPOCH)
    coverage = stream.coverage()
    assert sum(coverage.by_source["rare"].values()) >= EPOCH // 12 - 3
    told = {}
    for batch in stream:
        for g, key, name in zip(batch.positions, batch.keys, batch.sources, strict=True):
            if group_of(name) == "negative":
                told[int(g)] = key
    assert stream.feedback(list(told), [1 / (1 + g) for g in told]) == len(told)
    batches = list(stream)
    hard = [key for batch in batches for key, name in zip(batch.keys, batch.sources, strict=True) if name == "hard"]
    assert len(hard) >= EPOCH * 5 // 24 - 3
    assert set(hard) <= set(told.values())
    assert hard[:3] == list(dict.fromkeys(told.values()))[:3]
    assert all(Counter(map(group_of, batch.sources)) == COUNTS for batch in batches)


def test_weights_may_be_of_groups(sources):
    stream = sk.Stream(
        sources, weights={"positive": 2, "negative": 1, "rest": 1}, groups=GROUPS, crop=CROP, rank=0, world_size=1
    )
    assert stream.weights == pytest.approx({"strong": 0.375, "weak": 0.125, "rare": 0.125, "hard": 0.125, "rest": 0.25})
    equal = sk.Stream(sources, groups=GROUPS, crop=CROP, rank=0, world_size=1)
    assert equal.weights["rest"] == pytest.approx(1 / 3, abs=1e-3)
    by_size = sk.Stream(sources, groups=GROUPS, temperature=1.0, crop=CROP, rank=0, world_size=1)
    positive = len(sources["strong"]) + len(sources["rare"])
    assert by_size.weights["strong"] / by_size.weights["rest"] == pytest.approx(0.75 * positive / 240, rel=0.02)


def test_a_file_describes_a_composition_of_groups(sources, tmp_path):
    url = sources["rest"].catalog.location
    head = f"""
sources:
  strong: {{url: '{url}', where: target, weight: 3}}
  weak: {{url: '{url}', where: not target}}
  rare: {{url: '{url}', where: target, each: {{column: labels}}, weight: 1}}
  hard: {{url: '{url}', where: not target, balance: {{column: labels, rare: 3}}}}
  rest: {{url: '{url}'}}
groups:
  positive: {{sources: [strong, rare]}}
  negative: {{sources: [weak, hard]}}
crop: {{kind: random, duration_s: 0.02}}
seed: 3
"""
    composed = head + "composition: {positive: 4, negative: 5, rest: 3}\n"
    (tmp_path / "mix.yaml").write_text(composed)
    stream = sk.Stream.from_config(tmp_path / "mix.yaml", rank=0, world_size=1)
    assert stream.state_dict() == stream_of(sources).state_dict()
    later = {"positive": 1, "negative": 1, "rest": 10}
    (tmp_path / "mix.yaml").write_text(composed + f"schedule: [{{from_sample: 36, composition: {later}}}]\n")
    stream = sk.Stream.from_config(tmp_path / "mix.yaml", rank=0, world_size=1)
    assert stream.state_dict() == stream_of(sources, composition=[(0, COUNTS), (36, later)]).state_dict()
    weighted = head.replace("where: not target}", "where: not target, weight: 1}").replace("'}", "', weight: 2}")
    weighted += "schedule: [{from_sample: 99, weights: {positive: 1, negative: 0, rest: 1}}]\n"
    (tmp_path / "mix.yaml").write_text(weighted.replace("rare: 3}}", "rare: 3}, weight: 1}"))
    stream = sk.Stream.from_config(tmp_path / "mix.yaml", rank=0, world_size=1)
    weights = [(0, {"positive": 1, "negative": 1, "rest": 2}), (99, {"positive": 1, "negative": 0, "rest": 1})]
    assert stream.state_dict() == stream_of(sources, composition=None, weights=weights).state_dict()
    (tmp_path / "mix.yaml").write_text(composed.replace("rare]}", "rare], weight: 2}"))
    with pytest.raises(sk.InputError, match=r"groups.positive.weight beside a composition"):
        sk.Stream.from_config(tmp_path / "mix.yaml", rank=0, world_size=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["strong"]}, "groups are .'strong'.; give the sources of each by name"),
        ({"groups": {"positive": "strong"}}, "groups.positive: 'strong' is no group"),
        ({"groups": {"positive": []}}, "groups.positive: .* has no sources"),
        ({"groups": {"positive": [["strong"]]}}, "groups.positive: .* has no sources, or not by name"),
        ({"groups": {"positive": ["strog"]}}, "groups.positive: no source 'strog'; there is strong, weak"),
        ({"groups": {"a": ["strong"], "b": ["strong"]}}, "groups.b: source 'strong' is there twice, or in 'a' too"),
        ({"groups": {"a": {"strong": -1}}}, "groups.a: the weight -1 of 'strong' is not a finite number"),
        ({"groups": {"a": {"strong": "x"}}}, "groups.a: the weight 'x' of 'strong' is not a finite number"),
        ({"groups": {"a": {"strong": 0}}}, "groups.a: the weights of its sources are all zero"),
        ({"groups": {"rest": ["strong"]}}, "groups.rest: a source in no group has that name too"),
        ({"composition": COUNTS | {"weak": 2}}, "'weak': that source is in the group 'negative'; give the group one"),
        ({"composition": {"positive": 4, "negative": 5}}, "no count in composition for 'rest'"),
        ({"groups": {"positive": {"strong": 1, "rare": 1e-9}, "negative": ["weak", "hard"]}}, "'rare' is too small"),
        ({"composition": None, "passes": 1}, "groups have no meaning"),
        ({"composition": [(0, COUNTS), (13, COUNTS | {"rest": 2, "negative": 6})]}, "inside a batch of 12"),
    ],
)
def test_what_are_no_groups_is_refused(sources, options, message):
    with pytest.raises(sk.InputError, match=message):
        stream_of(sources, **options)
