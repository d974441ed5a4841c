"""``--append``: what was packed stays as it is, byte for byte, and what comes is as if it had waited for its turn."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.core.errors import InputError, StateError
from shardkit.pack.commit import PackSummary
from shardkit.pack.finish import commit
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.parts import WHOLE, Part
from shardkit.pack.run import pack
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from tests.pack.test_killed_pack import Run, forked, tree

__all__ = ["forked"]

FIRST, SECOND = range(10), range(10, 24)
INPUTS = InputOptions(label="label", members={})


@pytest.fixture(scope="module")
def wavs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wavs")
    for i in range(30):
        samples = np.random.default_rng(i).integers(-9000, 9000, 4000 + 400 * i).astype(np.int16)
        soundfile.write(folder / f"{i:02d}.wav", samples, 8000)
    return folder


def manifest(wavs: Path, name: str, numbers: range, **columns: object) -> Path:
    """Write a manifest beside the recordings; a column is a function of the number, or a value."""
    columns = {"label": lambda i: "zyx"[i % 3], "speaker": lambda i: f"s{i % 7}"} | columns
    lines = [
        {"path": f"{i:02d}.wav"} | {key: value(i) if callable(value) else value for key, value in columns.items()}
        for i in numbers
    ]
    (wavs / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return wavs / name


def run(source: Path, output: Path, *, append: bool = False, part: Part = WHOLE, **options: object) -> PackSummary:
    given = {"workers": 1, "shard_bytes": 40_000, "splits": {"train": 0.7, "val": 0.3}, "split_by": "speaker"}
    settings = PackOptions(**(given | options))
    return pack(locate(source), locate(output), inputs=INPUTS, options=settings, part=part, append=append)


@pytest.fixture
def packed(wavs: Path, tmp_path: Path) -> Path:
    run(manifest(wavs, "first.jsonl", FIRST), tmp_path / "out")
    return tmp_path / "out"


def test_old_shards_stay_and_new_ones_follow(wavs: Path, packed: Path) -> None:
    before, old = tree(packed), sk.open(packed, split="all")
    summary = run(
        manifest(wavs, "both.jsonl", range(24), label=lambda i: "zyxa"[i % 4 if i > 9 else i % 3]), packed, append=True
    )
    after, new = tree(packed), sk.open(packed, split="all")
    assert all(after[name] == data for name, data in before.items() if name not in ("shardkit.json", "report.jsonl"))
    assert (len(old), len(new), summary.totals.samples) == (10, 24, 24)
    assert "10 inputs packed before, left as they are" in summary.notes
    assert list(new.manifest.labels) == [*old.manifest.labels, "a"]  # classes keep their numbers
    assert new.manifest.shards[: len(old.manifest.shards)] == old.manifest.shards
    assert new.keys()[:10] == old.keys()
    assert not verify(locate(packed), deep=True).problems
    splits: dict[str, set[str]] = {}
    speakers = new.table().column("speaker").to_pylist()
    for row, speaker in enumerate(speakers):
        splits.setdefault(speaker, set()).add(new.catalog.shards[new.catalog.shard(row)].split)
    assert all(len(found) == 1 for found in splits.values())
    with pytest.raises(InputError, match="already holds a dataset"):
        run(wavs / "both.jsonl", packed)
    again = tree(packed)
    assert "nothing to add" in run(wavs / "both.jsonl", packed, append=True).notes
    assert tree(packed) == again


def test_streams_of_before_go_on_and_their_state_is_refused_by_what_is_new(wavs: Path, packed: Path) -> None:
    def stream() -> sk.Stream:
        return sk.Stream(sk.open(packed, split="all"), crop=sk.RandomCrop(0.2), batch_size=4)

    reference = [batch.keys for batch, _ in zip(stream(), range(6), strict=False)]
    running = stream()
    batches = iter(running)
    keys = [next(batches).keys for _ in range(3)]
    run(manifest(wavs, "second.jsonl", SECOND), packed, append=True)
    keys += [next(batches).keys for _ in range(3)]
    assert keys == reference
    with pytest.raises(StateError, match="content"):
        stream().load_state_dict(running.state_dict())


def test_columns_and_fields_that_new_samples_lack_are_null_in_them(wavs: Path, tmp_path: Path) -> None:
    np.save(wavs / "mask.npy", np.zeros(3))
    first = manifest(wavs, "wide.jsonl", FIRST, take=lambda i: i, mask="mask.npy")
    settings = PackOptions(workers=1, shard_bytes=40_000)
    inputs, output = InputOptions(label="label", members={"mask": "mask"}), tmp_path / "out"
    pack(locate(first), locate(output), inputs=inputs, options=settings)
    narrow = manifest(wavs, "narrow.jsonl", SECOND)
    run(narrow, output, append=True, splits={}, split_by=None)
    dataset = sk.open(output)
    table = dataset.table().to_pylist()
    assert [row["take"] for row in table] == [int(row["path"][:2]) for row in table[:10]] + [None] * 14
    assert ["mask" in dataset[key].fields for key in dataset.keys()] == [True] * 10 + [False] * 14
    assert not verify(locate(output), deep=True).problems
    wider = manifest(wavs, "wider.jsonl", range(24, 26), room=1)
    with pytest.raises(InputError, match="column 'room' is not in .*out, and its old samples can't get it"):
        run(wider, output, append=True, splits={}, split_by=None)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"label": "w"}, {}, r"bad.jsonl:1: '00' is packed with the labels \['z'\]; what is packed is never changed"),
        ({"speaker": "w"}, {}, r"'00' is packed with speaker 's0', not 'w'"),
        ({"speaker": 3}, {}, "column 'speaker' holds int64 here, string in .*out; make it that"),
        ({}, {"codec": "wav"}, "packed with codec auto, not wav; give the same --codec"),
        ({}, {"seed": 1}, "packed with seed 0, not 1; give the same --seed"),
        ({}, {"splits": {"train": 1.0}}, "packed with splits .*; give the same --split"),
        ({}, {"shard_bytes": 1000}, "give the same --shard-size"),
        ({}, {"name": "other"}, "its name is 'out', not 'other'"),
    ],
)
def test_what_does_not_agree_is_refused(
    wavs: Path, packed: Path, columns: dict[str, object], options: dict[str, object], message: str
) -> None:
    before = tree(packed)
    with pytest.raises(InputError, match=message):
        run(manifest(wavs, "bad.jsonl", range(12), **columns), packed, append=True, **options)
    assert tree(packed) == before


def test_where_nothing_is_packed_there_is_nothing_to_append_to(wavs: Path, tmp_path: Path) -> None:
    source = manifest(wavs, "first.jsonl", FIRST)
    with pytest.raises(InputError, match="no dataset to append to; pack it without --append"):
        run(source, tmp_path / "out", append=True)
    run(source, tmp_path / "out", part=Part(1, 2))
    with pytest.raises(InputError, match="finish the pack that is under way there first"):
        run(source, tmp_path / "out", append=True)


def test_what_was_left_out_is_tried_again_and_reported_once(wavs: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(wavs, tmp_path / "in"))
    for name in ("03.wav", "05.wav"):
        (mine / name).write_bytes(b"RIFF nonsense")
    source, output = manifest(mine, "first.jsonl", FIRST), tmp_path / "out"
    run(source, output, on_error="skip", splits={}, split_by=None)
    shutil.copy(wavs / "03.wav", mine / "03.wav")
    run(source, output, on_error="skip", splits={}, split_by=None, append=True)
    assert len(sk.open(output)) == 9
    lines = [json.loads(line)["path"] for line in (output / "report.jsonl").read_text().splitlines()]
    assert lines == ["03.wav", "05.wav"]  # of the first run; 05 was tried again for the same reason


def test_an_append_in_parts_and_one_that_is_killed_are_as_one_run(
    wavs: Path, packed: Path, tmp_path: Path, forked: Run
) -> None:
    source = manifest(wavs, "second.jsonl", SECOND)
    base, whole, parts = tree(packed), tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        shutil.copytree(packed, folder)
    for number in (2, 1):
        run(source, parts, append=True, part=Part(number, 2), name="out")
    commit(locate(parts))
    command = ["pack", str(source), "OUTPUT", "--label", "label", "--workers", "1", "--shard-size", "40KB"]
    command += ["--split", "train=0.7,val=0.3", "--split-by", "speaker", "--append"]

    def append(output: Path, kill_at: int | None) -> tuple[int, int]:
        return forked([str(output) if word == "OUTPUT" else word for word in command], output, kill_at)

    status, num_events = append(whole, None)
    assert status == 0
    assert tree(whole) == tree(parts)
    rng = np.random.default_rng(0)
    for i in range(16):
        output, instant = tmp_path / str(i), int((i + rng.uniform()) * num_events / 16)
        shutil.copytree(packed, output)
        assert append(output, instant)[0] == -signal.SIGKILL
        found = tree(output)
        committed = found["shardkit.json"] != base["shardkit.json"]
        kept = tree(whole) if committed else base
        assert all(found[name] == data for name, data in kept.items() if committed or name != "report.jsonl")
        assert len(sk.open(output, split="all")) == (24 if committed else 10)
        assert append(output, None)[0] == 0
        assert tree(output) == tree(whole), f"killed at {instant}"
