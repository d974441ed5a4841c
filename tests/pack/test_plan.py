"""Which sample goes where: laws of the assignment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.pack.inputs import PackInput
from shardkit.pack.options import PackOptions, parse_split
from shardkit.pack.plan import plan_shards
from shardkit.storage.location import locate


def item(key: str, size: int = 1000, speaker: str = "s") -> PackInput:
    return PackInput(
        key=key,
        location=locate(f"/x/{key}.wav"),
        path=f"{key}.wav",
        size=size,
        where="m",
        metadata={"speaker": speaker},
    )


ITEMS = st.lists(st.integers(1, 10**6), min_size=1, max_size=80).map(
    lambda sizes: [item(f"k{i}", size, f"s{i % 7}") for i, size in enumerate(sizes)]
)


@given(ITEMS, st.integers(10**4, 10**7), st.booleans(), st.randoms())
def test_every_sample_is_in_exactly_one_shard_whatever_the_order_of_the_inputs(items, shard_bytes, shuffle, random):
    options = PackOptions(shard_bytes=shard_bytes, shuffle=shuffle)
    plans = plan_shards(items, options, bytes_ratio={"wav": 0.5})
    shuffled = list(items)
    random.shuffle(shuffled)
    assert plan_shards(shuffled, options, bytes_ratio={"wav": 0.5}) == plans
    assert sorted(i.key for plan in plans for i in plan.inputs) == sorted(i.key for i in items)
    assert all(plan.inputs for plan in plans)
    assert len({plan.stem for plan in plans}) == len(plans)


def test_shards_are_about_as_large_as_asked() -> None:
    plans = plan_shards(
        [item(f"k{i}", 10_000) for i in range(1000)], PackOptions(shard_bytes=1_000_000), bytes_ratio={}
    )
    sizes = [sum(i.size + 2048 for i in plan.inputs) for plan in plans]
    assert len(plans) == 13
    assert max(sizes) - min(sizes) <= 2 * 12_048
    assert all(800_000 < size < 1_200_000 for size in sizes)


def test_order_is_seeded_and_random_or_sorted() -> None:
    items = [item(f"{i:03d}") for i in range(100)]

    def keys(**options: object) -> list[str]:
        (plan,) = plan_shards(items, PackOptions(**options), bytes_ratio={})
        return [i.key for i in plan.inputs]

    in_order = [i.key for i in items]
    assert keys(shuffle=False) == in_order
    assert keys(seed=0) == keys(seed=0) != in_order
    assert keys(seed=0) != keys(seed=1)
    assert sorted(keys(seed=1)) == in_order


def test_no_group_is_in_two_splits_and_new_groups_move_none() -> None:
    options = PackOptions(splits={"train": 0.8, "val": 0.2}, split_by="speaker")
    items = [item(f"k{i}", speaker=f"s{i % 50}") for i in range(2000)]
    more = items + [item(f"m{i}", speaker=f"t{i % 50}") for i in range(2000)]

    def groups(listed: list[PackInput]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for plan in plan_shards(listed, options, bytes_ratio={}):
            found.setdefault(plan.split, set()).update(i.metadata["speaker"] for i in plan.inputs)
        return found

    few, many = groups(items), groups(more)
    assert not few["train"] & few["val"]
    assert few["train"] <= many["train"]
    assert few["val"] <= many["val"]


def test_fractions_are_met_by_large_numbers() -> None:
    options = PackOptions(splits={"train": 0.7, "val": 0.2, "test": 0.1})
    plans = plan_shards([item(f"k{i}") for i in range(10_000)], options, bytes_ratio={})
    counts = {split: sum(len(plan.inputs) for plan in plans if plan.split == split) for split in options.splits}
    assert {split: round(count / 10_000, 2) for split, count in counts.items()} == pytest.approx(
        options.splits, abs=0.015
    )


@given(st.integers(0, 1000), st.integers(3, 8))
def test_no_split_is_empty_where_there_are_groups_enough(seed: int, speakers: int) -> None:
    options = PackOptions(splits={"train": 0.9, "val": 0.05, "test": 0.05}, split_by="speaker", seed=seed)
    items = [item(f"k{i}", speaker=f"s{i % speakers}") for i in range(40)]
    plans = plan_shards(items, options, bytes_ratio={})
    split_of: dict[str, set[str]] = {}
    for plan in plans:
        for i in plan.inputs:
            split_of.setdefault(i.metadata["speaker"], set()).add(plan.split)
    assert {plan.split for plan in plans} == set(options.splits)
    assert all(len(splits) == 1 for splits in split_of.values())


def test_fewer_groups_than_splits_is_an_error() -> None:
    options = PackOptions(splits={"train": 0.9, "val": 0.1}, split_by="speaker")
    with pytest.raises(InputError, match="1 values of 'speaker' can't fill 2 splits"):
        plan_shards([item("a"), item("b")], options, bytes_ratio={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train=0.9,val=0.2", r"add up to 1\.1, not 1"),
        ("train=x", "'train=x' is not NAME=FRACTION"),
        ("a/b=1", "can't name a split"),
        ("train=0.5,train=0.5", "given twice"),
        ("train=-1,val=2", "fraction -1"),
    ],
)
def test_bad_splits_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_split(text)
