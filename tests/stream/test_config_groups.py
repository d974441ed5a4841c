"""Groups of sources in a stream's YAML: equal, or by weight; inside a group sources share, and so do its folders."""

from collections import Counter
from itertools import islice

import pytest
import yaml

import shardkit as sk
from shardkit.storage.location import locate
from shardkit.stream.config import load_config
from shardkit.stream.groups import checked_groups


def config_of(folder, **content):
    (folder / "mix.yaml").write_text(yaml.safe_dump(content))
    return load_config(locate(folder / "mix.yaml"))


def weights_of(folder, **content):
    """The weight of each source, as the order sees it."""
    config = config_of(folder, **content)
    by_name = config.weights()
    groups = checked_groups(list(config.sources), config.group_members())
    return dict(zip(groups.sources, groups.weights(groups.in_order(by_name, what="weight")), strict=True))


def sources(**weights):
    return {name: {"url": "x"} | ({} if weight is None else {"weight": weight}) for name, weight in weights.items()}


def test_groups_are_equal_however_many_sources_they_have(tmp_path):
    groups = {"one": {"sources": ["a"]}, "three": {"sources": ["b", "c", "d"]}}
    found = weights_of(tmp_path, sources=sources(a=None, b=None, c=None, d=None), groups=groups)
    assert found == {"a": 1.0, "b": 1 / 3, "c": 1 / 3, "d": 1 / 3}


def test_groups_and_the_sources_of_one_may_have_weights(tmp_path):
    groups = {"one": {"sources": ["a"], "weight": 3}, "two": {"sources": ["c", "b"]}}
    assert weights_of(tmp_path, sources=sources(a=None, b=1, c=4), groups=groups) == {"a": 3.0, "b": 0.2, "c": 0.8}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"g": {"sources": ["a"]}}, "sources.b.weight is missing; give every source a weight, or put it into a group"),
        ({"g": {"sources": ["a", "b", "e"]}}, "groups.g: no source 'e'; there is a, b"),
        ({"g": {"sources": ["a", "b"]}, "h": {"sources": ["b"]}}, "groups.h: source 'b' is there twice, or in 'g' too"),
        ({"g": {"sources": ["a", "a", "b"]}}, "groups.g: source 'a' is there twice"),
        ({"g": {"sources": []}}, "groups.g.sources: .* at least 1 item"),
        ({"g": {"sources": ["a", "b"], "weight": 0}}, "groups.g.weight: .* greater than 0"),
    ],
)
def test_groups_that_are_none_are_told(tmp_path, groups, message):
    with pytest.raises(sk.InputError, match=message):
        weights_of(tmp_path, sources=sources(a=None, b=None), groups=groups)


@pytest.mark.parametrize(
    ("weights", "more", "message"),
    [
        ({"a": 1, "b": None}, {}, "groups.g: give each of its sources a weight, or none"),
        ({"a": 0, "b": 0}, {}, "groups.g: the weights of its sources are all zero"),
        ({"a": 1, "b": 1}, {"composition": {"g": 8}, "weighted": 2}, "groups.g.weight beside a composition"),
    ],
)
def test_weights_of_groups_that_can_not_be_are_told(tmp_path, weights, more, message):
    group = {"sources": ["a", "b"]} | ({"weight": more.pop("weighted")} if "weighted" in more else {})
    with pytest.raises(sk.InputError, match=message):
        weights_of(tmp_path, sources=sources(**weights), groups={"g": group}, **more)


def test_a_stream_draws_by_groups_and_by_folders_and_finds_its_datasets_by_variables(datasets, tmp_path, monkeypatch):
    monkeypatch.setenv("SHARDS", str(datasets["clips"].parent))
    monkeypatch.setenv("HOME", str(datasets["clips"].parent))
    (tmp_path / "mix.yaml").write_text(
        """
sources:
  clips: {url: $SHARDS/clips, where: "n < 20 or speaker == 's0'", balance: {column: speaker, power: 1}}
  tracks: {url: ~/tracks}
  few: {url: "${SHARDS}/few"}
groups:
  speech: {sources: [clips], weight: 2}
  rest: {sources: [tracks, few]}
crop: {kind: random, duration_s: 0.1}
sample_rate: 8000
channels: 1
batch_size: 100
metadata: [speaker]
"""
    )
    stream = sk.Stream.from_config(tmp_path / "mix.yaml", rank=0, world_size=1)
    batches = list(islice(stream, 12))
    drawn = Counter(name for batch in batches for name in batch.sources)
    assert all(abs(drawn[name] - 1200 * share) <= 64 for name, share in {"clips": 2 / 3, "tracks": 1 / 6}.items())
    speakers = Counter(name for batch in batches for name in batch.metadata["speaker"] if name)
    assert len(speakers) == 7
    assert max(speakers.values()) <= 1.1 * min(speakers.values())  # 18 recordings of s0, 2 or 3 of the others


def test_a_variable_that_is_not_set_is_told_with_its_source(tmp_path):
    (tmp_path / "mix.yaml").write_text("sources: {a: {url: $NOT_SET_ANYWHERE/x}}")
    with pytest.raises(sk.InputError, match=r"mix.yaml: sources.a.url: .*no variable 'NOT_SET_ANYWHERE'"):
        sk.Stream.from_config(tmp_path / "mix.yaml")
