"""What the AudioSet pipeline got wrong, one by one, and that it is not so here: docs/from-audioset.md."""

import csv
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.commit import PackSummary
from shardkit.pack.importers.audioset_tables import read_table, split_segment
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

RATE = 8000
ALONE = {"rank": 0, "world_size": 1}
HEADER = "# Segments csv\n# num_segs\n# YTID, start_seconds, end_seconds, positive_labels\n"
NAMES = {"/m/1": "Speech", "/m/11": "Speech synthesizer", "/m/111": "Male speech", "/t/dd1": "Baby cry, infant cry"}


def sound(path: Path, seed: int, frames: int = 800, channels: int = 1) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9000, 9000, (frames, channels), dtype=np.int16)
    soundfile.write(path, samples, RATE)
    return samples


def tables(folder: Path, **lines: list[tuple[str, float, str]]) -> Path:
    """Write a weak table for each name, of (id, start, "mid,mid")."""
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    classes = [f'{i},{mid},"{name}"' for i, (mid, name) in enumerate(NAMES.items())]
    (folder / "meta/class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *classes, ""]))
    for name, clips in lines.items():
        rows = [f'{ytid}, {start:.3f}, {start + 10:.3f}, "{mids}"\n' for ytid, start, mids in clips]
        (folder / f"meta/{name}_segments.csv").write_text(HEADER + "".join(rows))
    return folder / "meta"


def packed(folder: Path, *, root: Path | None = None, split: str | None = None) -> tuple[Path, PackSummary]:
    inputs = InputOptions(importer="audioset", root=locate(root or folder / "clips"), split_column=split)
    output = folder / "shards"
    return output, pack(locate(folder / "meta"), locate(output), inputs=inputs, options=PackOptions(workers=1))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    """60 clips of four labels, a third of them of the target."""
    folder = tmp_path_factory.mktemp("clips")
    mids = list(NAMES)
    lines = [(f"clip_-{n:04d}_", 10.0 * n, "/t/dd1" if n % 3 == 0 else mids[n % 5 % 3]) for n in range(60)]
    for n, (ytid, *_) in enumerate(lines):
        sound(folder / "clips" / f"Y{ytid}.wav", n)
    tables(folder, balanced_train=lines)
    return sk.open(packed(folder)[0])


def sources(clips: sk.Dataset) -> dict[str, sk.View]:
    others = clips.where("not 'Baby cry, infant cry' in labels")
    strong, weak = others.where("source_start_s < 300"), others.where("source_start_s >= 300")
    return {
        "positive": clips.where("'Baby cry, infant cry' in labels"),
        "turns": strong.each("labels"),
        "hard": strong,
        "weak": weak,
    }


COMPOSITION = {"positive": 2, "turns": 1, "hard": 1, "weak": 4}


def stream_of(clips: sk.Dataset, *, rank: int = 0, world_size: int = 1, **options: object) -> sk.Stream:
    settings = {"composition": COMPOSITION, "crop": sk.RandomCrop(0.05), "epoch_samples": 80} | options
    return sk.Stream(sources(clips), rank=rank, world_size=world_size, **settings)


# Tables and clips


@pytest.mark.parametrize("name", ["balanced_train", "eval"])
def test_ids_of_every_published_clip_are_kept(data_dir, name):
    path = data_dir / "audioset" / f"{name}_segments.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    with path.open() as file:
        rows = list(csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True))
    table = read_table(locate(path))
    assert [clip.video for clip in table.clips] == [row[0] for row in rows]
    odd = [row for row in rows if "_" in row[0]]
    assert len(odd) / len(rows) > 0.14  # one in seven
    for ytid, start, *_ in odd:
        assert split_segment(f"{ytid}_{round(float(start) * 1000)}", "x") == (ytid, round(float(start) * 1000))


def test_a_clip_late_in_its_video_is_no_silence(clips):
    late = clips.where("source_start_s >= 10")
    assert len(late) == 59
    for crop in (sk.RandomCrop(0.05), sk.CenterCrop(0.1), None):
        for batch in sk.Stream(late, crop=crop, passes=1, batch_size=20, **ALONE):
            assert batch.audio[batch.valid].any(axis=2).all()
            assert (batch.starts < 800).all()


def test_evaluation_clips_are_no_training_clips(tmp_path):
    tables(tmp_path, balanced_train=[("aaaaaaaaaaa", 0, "/m/1")], eval=[("bbbbbbbbbbb", 0, "/m/1")])
    for ytid in ("aaaaaaaaaaa", "bbbbbbbbbbb"):
        sound(tmp_path / f"clips/Y{ytid}.wav", 1)
    output, _ = packed(tmp_path, split="subset")
    assert sk.open(output, split="balanced_train").keys() == ["aaaaaaaaaaa_0"]
    with pytest.raises(sk.InputError, match="has the splits balanced_train, eval; open one with split="):
        sk.Stream(sk.open(output), **ALONE)


def test_a_class_is_its_whole_name(tmp_path):
    tables(tmp_path, train=[("aaaaaaaaaaa", 0, "/m/1"), ("bbbbbbbbbbb", 0, "/m/11"), ("ccccccccccc", 0, "/m/111")])
    for ytid in ("aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"):
        sound(tmp_path / f"clips/Y{ytid}.wav", 1)
    dataset = sk.open(packed(tmp_path)[0])
    assert dataset["bbbbbbbbbbb_0"].labels == ("Speech synthesizer",)
    assert dataset.where("'Speech' in labels").keys() == ["aaaaaaaaaaa_0"]
    assert len(dataset.where("not 'Speech' in labels")) == 2


def test_a_root_that_is_not_there_is_told(tmp_path):
    tables(tmp_path, train=[("aaaaaaaaaaa", 0, "/m/1")])
    with pytest.raises(sk.ShardkitError, match="nowhere"):
        packed(tmp_path, root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(sk.InputError, match=r"none of 1 file that it names is there; looked below .*empty.*--root"):
        packed(tmp_path, root=tmp_path / "empty")
    assert not (tmp_path / "shards").exists()


def test_each_missing_clip_is_listed(tmp_path):
    lines = [(f"{n:011d}", 10.0 * n, "/m/1") for n in range(9)]
    tables(tmp_path, train=lines)
    for ytid, *_ in lines[::2]:
        sound(tmp_path / f"clips/part00/Y{ytid}.flac", 1)
    output, summary = packed(tmp_path)
    missing = [json.loads(line) for line in (output / "missing.jsonl").read_text().splitlines()]
    assert summary.missing == len(missing) == 4
    assert [line["file"] for line in missing] == [f"Y{ytid}" for ytid, *_ in lines[1::2]]
    assert missing[0]["where"].endswith("train_segments.csv:5")
    assert any("Y00000000001.*" in tried for tried in missing[0]["tried"])


def test_a_clip_is_there_once(tmp_path):
    tables(tmp_path, train=[("aaaaaaaaaaa", 0, "/m/1"), ("aaaaaaaaaaa", 0, "/m/11")])
    sound(tmp_path / "clips/Yaaaaaaaaaaa.wav", 1)
    with pytest.raises(sk.InputError, match="train_segments.csv:5: aaaaaaaaaaa from 0 s is also .*:4"):
        packed(tmp_path)
    tables(tmp_path, train=[("aaaaaaaaaaa", 0, "/m/1"), ("aaaaaaaaaaa", 30, "/m/11")])
    (tmp_path / "clips/Yaaaaaaaaaaa.wav").unlink()
    for start in (0, 30_000):
        sound(tmp_path / f"clips/Yaaaaaaaaaaa_{start}.wav", start)
    assert sorted(sk.open(packed(tmp_path)[0]).keys()) == ["aaaaaaaaaaa_0", "aaaaaaaaaaa_30000"]


def test_each_row_can_be_read(clips):
    keys = clips.keys()
    assert len(clips) == len(keys) == len(set(keys)) == 60
    assert all(clips[key].audio.any() for key in keys)
    view = sources(clips)["hard"].balance("labels", 0.5)
    assert sum(int(batch.valid.sum()) for batch in sk.Stream(view, passes=1, batch_size=7, **ALONE)) == len(view)


def test_two_channels_are_mixed(tmp_path):
    tables(tmp_path, train=[("aaaaaaaaaaa", 0, "/m/1"), ("bbbbbbbbbbb", 0, "/m/1")])
    both = sound(tmp_path / "clips/Yaaaaaaaaaaa.wav", 1, channels=2)
    sound(tmp_path / "clips/Ybbbbbbbbbbb.wav", 2)
    (batch,) = sk.Stream(sk.open(packed(tmp_path)[0]), channels=1, passes=1, batch_size=2, **ALONE)
    assert batch.audio.shape == (2, 1, 800)
    mixed = batch.audio[batch.keys.index("aaaaaaaaaaa_0"), 0]
    assert np.allclose(mixed, both.mean(axis=1) / 2**15, atol=1e-6)


# Samplers


def test_every_label_comes_or_the_stream_says_that_it_can_not(clips):
    stream = stream_of(clips)
    for start in range(0, 400, 8):
        assert not stream.coverage(start=start, stop=start + 80).missing
        assert min(stream.coverage(start=start, stop=start + 80).by_source["turns"].values()) >= 1
    with pytest.warns(UserWarning, match="'turns': an epoch of 16 samples draws 2 of its 3 values"):
        stream_of(clips, epoch_samples=16)


@pytest.mark.parametrize("world_size", [2, 4, 8])
@pytest.mark.parametrize("passes", [None, 1])
def test_all_ranks_have_as_many_steps(clips, world_size, passes):
    """Also where clips do not divide, and a source has fewer clips than there are ranks."""
    options = {"epoch_samples": 80} if passes is None else {"passes": 1, "batch_size": 3}
    if passes is None:
        options |= {"composition": COMPOSITION}
    views = sources(clips) | {"positive": sources(clips)["positive"].take(3)}
    streams = [sk.Stream(views, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
    shapes = [[batch.audio.shape[0] for batch in stream] for stream in streams]
    assert len({tuple(found) for found in shapes}) == 1
    assert len(shapes[0]) == len(streams[0]) > 0


def test_no_rank_and_epoch_draw_alike(clips):
    """Crops of the same recordings at positions of all epochs and ranks: none repeats another's draws."""
    stream = sk.Stream(clips, crop=sk.RandomCrop(0.05), batch_size=60, epoch_samples=60, **ALONE)
    starts = {}
    for epoch in range(40):  # one epoch is a pass over all clips: as 40 ranks, or epochs, would draw them
        (batch,) = stream
        order = np.argsort(batch.keys)
        starts[epoch] = tuple(np.array(batch.starts)[order].tolist())
        assert len(set(batch.keys)) == 60
    assert len(set(starts.values())) == 40
    equal = [np.mean(np.array(starts[a]) == np.array(starts[b])) for a in range(40) for b in range(a)]
    assert max(equal) < 0.2


def test_global_generators_decide_nothing_and_stay_as_they_are(clips):
    found = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)
        before = random.getstate(), np.random.get_state()[1].tolist()
        found.append([(batch.keys, batch.starts.tolist()) for batch in islice(stream_of(clips), 5)])
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert found[0] == found[1]


def test_the_length_is_what_an_iteration_yields(clips):
    for stream in (stream_of(clips), sk.Stream(clips, passes=1, batch_size=7, **ALONE)):
        assert len(list(stream)) == len(stream)
    assert len(stream_of(clips)) == 10


def mined(clips: sk.Dataset, size: int = 50_000) -> sk.Stream:
    return stream_of(clips, mining=sk.Mining("hard", size=size, above=0.5))


def test_only_the_hard_sources_own_are_mined(clips):
    stream = mined(clips)
    batches = list(stream)
    told = [(int(g), name) for batch in batches for g, name in zip(batch.positions, batch.sources, strict=True)]
    counted = stream.feedback([g for g, _ in told], [0.9] * len(told))
    assert counted == sum(name in ("hard", "turns") for _, name in told) == 20
    hard = {key for batch in stream for key, name in zip(batch.keys, batch.sources, strict=True) if name == "hard"}
    assert hard <= set(sources(clips)["hard"].keys())


def test_hard_examples_of_all_batches_are_kept_once(clips):
    stream = mined(clips)
    heard = {}
    for batch in stream:
        for _ in range(2):  # told twice, and after each batch
            stream.feedback(batch.positions.tolist(), [0.6 + g % 7 / 100 for g in batch.positions.tolist()])
        heard |= {key: name for key, name in zip(batch.keys, batch.sources, strict=True) if name in ("hard", "turns")}
    pending = stream.feedback_state()["pending"]
    assert len(pending) == len({(row, start) for row, start, *_ in pending}) == len(heard)
    again = [key for batch in stream for key, name in zip(batch.keys, batch.sources, strict=True) if name == "hard"]
    assert Counter(again).most_common(1)[0][1] == 1
    assert set(again) <= set(heard)


def test_a_full_buffer_takes_no_time_for_each_example(clips):
    """100,000 examples in 20 calls, kept as arrays: comparing each with each would be 5 · 10^9 comparisons."""
    windows = clips.windows(0.05, hop_s=0.000125)
    views = sources(clips) | {"hard": windows}
    stream = sk.Stream(views, composition=COMPOSITION, mining=sk.Mining("hard"), epoch_samples=8 * 100_000, **ALONE)
    positions = np.arange(400_000)
    stream.advance(len(positions))
    for part in np.array_split(positions, 20):
        stream.feedback(part, 0.5 + (1 + part % 997) / 2000)
    assert len(stream.feedback_state()["pending"]) > 20_000


def test_a_clip_that_can_not_be_read_is_told_and_replaced(tmp_path, caplog):
    folder = tmp_path / "broken"
    lines = [(f"{n:011d}", 0.0, "/m/1" if n % 2 else "/m/11") for n in range(20)]
    tables(folder, train=lines)
    for n, (ytid, *_) in enumerate(lines):
        sound(folder / f"clips/Y{ytid}.wav", n)
    output, _ = packed(folder)
    (tar,) = output.rglob("*.tar")
    view = sk.open(output)
    victim = view.keys()[5]
    place = view.catalog.fields["audio"].place(view.catalog.table.column("key").to_pylist().index(victim))[0]
    content = bytearray(tar.read_bytes())
    content[place + 60 : place + 200] = bytes(140)
    tar.write_bytes(content)
    halves = {name: sk.open(output).where(f"'{name}' in labels") for name in ("Speech", "Speech synthesizer")}
    stream = sk.Stream(halves, batch_size=20, **ALONE)
    batches = list(islice(stream, 2))
    fault = stream.failures[0]
    assert victim in str(fault.error)
    assert victim in caplog.text
    for batch in batches:
        assert victim not in batch.keys
        assert batch.audio.any(axis=(1, 2)).all()
        for key, name in zip(batch.keys, batch.sources, strict=True):
            assert key in halves[name].keys()
