"""Laws L1 to L5 over whole streams: any views, mix and shuffle, read by any ranks, workers and threads, restarted."""

import itertools
import json
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk

GLOBAL_BATCH = 12


VIEWS = {
    "clips": lambda clips, _tracks, _few: clips,
    "some": lambda clips, _tracks, _few: clips.where("n < 50"),
    "few": lambda _clips, _tracks, few: few,  # three rows: fewer than lanes
    "windows": lambda _clips, tracks, _few: tracks.windows(0.5, 0.001),  # 27,505 rows: cut into lanes' segments
    "draws": lambda _clips, tracks, _few: tracks.draws(0.25, 0.9),
    "rooted": lambda clips, _tracks, _few: clips.balance("speaker", 0.5, rare=18, several="all"),
    "turns": lambda clips, _tracks, _few: clips.windows(0.3).each("speaker"),
    "balanced": lambda clips, _tracks, _few: clips.balance("speaker", 1.0).repeat(1.3),
    "events": lambda clips, _tracks, _few: clips.events(segments_s=0.04).thin("noise", 0.5).balance("labels"),
    "heard": lambda clips, _tracks, _few: clips.events("speech", overlapping="only").where("n < 90").windows(0.03),
}
OF_EVENTS = {"events", "heard"}  # none of which is as long as some crops
SHUFFLES = ["full", "none", sk.Shuffle(kind="block", block_rows=8, window_blocks=2)]
CROPS = [sk.RandomCrop(0.25), sk.CenterCrop(0.1), sk.SalientCrop(0.2, search="energy"), sk.SalientCrop(0.2), None]
LABEL_CROPS = [  # where a source has intervals
    sk.EventCrop(0.1, of="speech"),
    sk.EventCrop(at="exact"),
    sk.RandomCrop(0.15, content=sk.content("speech")),
    sk.SalientCrop(0.1, content=sk.content("noise", 0.25), floor_lufs=-10.0),
]
SKIPPING = sk.RandomCrop(0.15, content=sk.content("speech"), fallback="skip")  # where all sources have some


@st.composite
def compositions(draw, names, starts):
    """Counts of each batch, the same in all of a run or by a schedule."""
    batch = draw(st.sampled_from([4, 6, GLOBAL_BATCH]))
    counts = []
    for _ in range(2):
        bounds = sorted(draw(st.lists(st.integers(0, batch), min_size=len(names) - 1, max_size=len(names) - 1)))
        counts.append(dict(zip(names, np.diff([0, *bounds, batch]).tolist(), strict=True)))
    return counts[0] if draw(st.booleans()) else [(0, counts[0]), (starts[0] * batch, counts[1])]


@st.composite
def configurations(draw):
    """Everything that decides a sequence."""
    names = draw(st.lists(st.sampled_from(sorted(VIEWS)), min_size=1, max_size=4, unique=True))
    names += ["clips"] if set(names) <= OF_EVENTS else []
    labelled = {"clips", "some", "balanced"} & set(names)
    crops = CROPS + (LABEL_CROPS if labelled else []) + ([SKIPPING] if labelled == set(names) else [])
    weight = st.sampled_from([0.1, 0.5, 1.0, 3.0])
    mixes = [
        dict(zip(names, draw(st.lists(weight, min_size=len(names), max_size=len(names))), strict=True))
        for _ in range(3)
    ]
    starts = sorted(draw(st.sets(st.integers(1, 400), min_size=2, max_size=2)))
    weights = draw(st.sampled_from([None, mixes[0], list(zip([0, *starts], mixes, strict=True))]))
    mix = {"weights": weights, "temperature": draw(st.sampled_from([None, 0.5]))}
    if draw(st.booleans()):
        mix = {"composition": draw(compositions(names, starts))}
    return names, mix | {
        "shuffle": draw(st.sampled_from(SHUFFLES)),
        "crop": draw(st.sampled_from(crops)),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "mask_hop": 80,
        "sample_rate": 8000,
        "channels": 1,
    }


# World size, processes that divide the batches of each rank, threads of each, memory (which decides what is read
# together), and global batches until it is stopped.
PARTS = st.tuples(
    st.sampled_from([1, 2, 3, 4, 6]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(["1GB", "30KB"]),
    st.integers(0, 3),
)


@pytest.fixture(scope="session")
def views(datasets: dict[str, Path]) -> dict[str, sk.View]:
    opened = [sk.open(datasets[name]) for name in ("clips", "tracks", "few")]
    return {name: make(*opened) for name, make in VIEWS.items()}


def deliveries(batches):
    """Everything that a sample is, by position."""
    found = {}
    for batch in batches:
        masks = np.stack([*batch.masks.values()], axis=1) if batch.masks else np.zeros((len(batch), 0))
        for i, position in enumerate(batch.positions.tolist()):
            assert position not in found
            length = int(batch.lengths[i])
            audio = zlib.crc32(np.ascontiguousarray(batch.audio[i, :, :length]).tobytes())
            found[position] = (
                batch.sources[i], batch.keys[i], int(batch.starts[i]), int(batch.passes[i]), length, audio,
                bool(batch.valid[i]), int(masks[i].sum()), batch.labels[i].nonzero()[0].tolist(),
            )  # fmt: skip
    return found


def delivered_by_parts(views, parts, options):
    """What a run delivers that is stopped after each part and goes on from its state with other ranks and workers."""
    found, state = {}, None
    for world_size, workers, threads, memory, num_batches in parts:
        states = set()
        for rank in range(world_size):
            position = None
            for worker in range(workers):
                stream = sk.Stream(
                    views,
                    global_batch_size=GLOBAL_BATCH,
                    rank=rank,
                    world_size=world_size,
                    threads=threads,
                    memory=memory,
                    **options,
                )
                if state is not None:
                    stream.load_state_dict(json.loads(state))
                first = stream.position + worker * GLOBAL_BATCH
                num_mine = len(range(worker, num_batches, workers))
                part = deliveries(islice(stream.batches(first, step=workers), num_mine))
                assert not part.keys() & found.keys()
                assert {at % world_size for at in part} <= {rank}
                found |= part
                position = stream.position + num_batches * GLOBAL_BATCH
            states.add(json.dumps(stream.state_at(position)))
        (state,) = states  # all ranks save the same
        assert len(state) < 1024
    return found


@settings(max_examples=35, deadline=None)
@given(configurations(), st.lists(PARTS, min_size=1, max_size=4))
def test_ranks_workers_threads_and_restarts_never_change_what_is_delivered(views, configuration, parts):
    """Laws L1, L2 and L3."""
    names, options = configuration
    chosen = {name: views[name] for name in names}
    num_batches = sum(part[-1] for part in parts)
    whole = sk.Stream(chosen, batch_size=GLOBAL_BATCH, rank=0, world_size=1, threads=2, **options)
    expected = deliveries(islice(whole, num_batches))
    assert sorted(expected) == list(range(num_batches * GLOBAL_BATCH))
    assert delivered_by_parts(chosen, parts, options) == expected


@settings(max_examples=10, deadline=None)
@given(configurations(), st.integers(0, 10**15), st.sampled_from([1, 2, 3]))
def test_any_position_can_be_begun_at(views, configuration, number, world_size):
    """Law L3 far out, where nothing could have been replayed."""
    names, options = configuration
    chosen = {name: views[name] for name in names}
    at = number * GLOBAL_BATCH
    whole = sk.Stream(chosen, batch_size=GLOBAL_BATCH, rank=0, world_size=1, **options)
    expected = deliveries(islice(whole.batches(at), 2))
    found = {}
    for rank in range(world_size):
        part = sk.Stream(chosen, global_batch_size=GLOBAL_BATCH, rank=rank, world_size=world_size, **options)
        part.load_state_dict(whole.state_at(at))
        found |= deliveries(islice(part, 2))
    assert found == expected


@settings(max_examples=12, deadline=None)
@given(configurations(), st.integers(1, 7), st.integers(1, 9))
def test_one_pass_is_each_row_once_in_lock_step_for_any_ranks(views, configuration, world_size, batch_size):
    """Laws L2 and L4."""
    names, options = configuration
    chosen = {name: views[name].take(40) if name == "windows" else views[name] for name in names}
    options = {name: value for name, value in options.items() if name not in ("weights", "temperature", "composition")}
    streams = [
        sk.Stream(chosen, batch_size=batch_size, rank=rank, world_size=world_size, passes=1, **options)
        for rank in range(world_size)
    ]
    ranks = [list(stream) for stream in streams]
    assert {len(batches) for batches in ranks} == {len(streams[0])}
    found = deliveries(itertools.chain(*ranks))
    num_rows = sum(len(view) for view in chosen.values())
    skips = getattr(options["crop"], "fallback", None) == "skip"
    # A recording that its crop skips is left out, in its place: nothing may come twice.
    assert all((found[at][6] <= (at < num_rows)) if skips else (found[at][6] == (at < num_rows)) for at in found)
    assert skips or sum(entry[6] for entry in found.values()) == num_rows
    alone = sk.Stream(chosen, batch_size=batch_size * world_size, rank=0, world_size=1, passes=1, **options)
    assert deliveries(alone) == found


@settings(max_examples=12, deadline=None)
@given(configurations(), st.integers(1, 40))
def test_the_mixture_is_kept_at_every_prefix(views, configuration, num_batches):
    """Law L5, over what is really delivered."""
    names, options = configuration
    stream = sk.Stream({name: views[name] for name in names}, batch_size=GLOBAL_BATCH, rank=0, world_size=1, **options)
    expected = np.zeros(len(names))
    counts = np.zeros(len(names))
    for batch in islice(stream, num_batches):
        for position, source in zip(batch.positions.tolist(), batch.sources, strict=True):
            stages = stream.state_at(position + 1)["history"]
            expected += np.array(stages[-1][1]) / sum(stages[-1][1])
            counts[names.index(source)] += 1
            assert np.abs(counts - expected).max() < 64


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_a_resumed_stream_reads_no_more_for_its_first_batch_than_a_new_one(views, shuffle):
    """Law L3: nothing is replayed, wherever it goes on."""

    def cost(position):
        chosen = {name: views[name] for name in ("clips", "windows", "few")}
        options = {"crop": sk.RandomCrop(0.1), "shuffle": shuffle, "sample_rate": 8000, "channels": 1}
        stream = sk.Stream(chosen, batch_size=GLOBAL_BATCH, rank=0, world_size=1, **options)
        stream.load_state_dict(stream.state_at(position))
        (_,) = stream.batches(position, end=position + GLOBAL_BATCH)  # no batch ahead of it, of which some may be read
        return stream.stats()["requests"], stream.stats()["bytes_read"]

    half = GLOBAL_BATCH * (27_628 // GLOBAL_BATCH // 2)
    at_start = cost(0)
    for position in (half, GLOBAL_BATCH * 10**6, GLOBAL_BATCH * 10**14):
        requests, num_bytes = cost(position)
        assert requests <= 3 * at_start[0]
        assert num_bytes <= 3 * at_start[1]
