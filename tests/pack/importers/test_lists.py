"""The lists of the TF2 Audio Dataset: labels, pairs and framed features, without its defects."""

import io
from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from shardkit.core.errors import FormatError, InputError
from shardkit.pack import engine


@pytest.fixture
def data(tmp_path: Path, sound) -> Path:
    """``in/`` with recordings of several lengths, ``out/`` with targets, and one recording beside the list."""
    for i in range(6):
        sound(tmp_path / "data" / "in" / f"x{i}.wav", 1000 + 400 * i)
        sound(tmp_path / "data" / "out" / f"y{i}.wav", 1000 + 400 * i)
    sound(tmp_path / "data" / "beside.wav")
    return tmp_path / "data"


def stored(dataset: sk.Dataset, key: str, field: str = "audio") -> np.ndarray:
    sample = dataset[key]
    audio = sample.audio if field == "audio" else sample.fields[field].samples
    return np.rint(np.asarray(audio)[0] * 32768).astype(np.int16)


@pytest.mark.parametrize("name", ["list", "list.csv", "list.tsv"])
@pytest.mark.parametrize("form", ["{}", "\ufeff{}", "crlf"])
def test_labels_are_the_columns_of_ones_in_the_order_of_the_header(data, packed, name, form) -> None:
    text = "file,rain,dog,cat\nx0.wav,1,0,0\nx1.wav,0,1,1\nbeside.wav,0,0,0\n\nx2.wav,1.0,0.0,1\n"
    text = text.replace("\n", "\r\n") if form == "crlf" else form.format(text)
    (data / name).write_bytes(text.replace(",", "\t" if name.endswith("tsv") else ",").encode())
    dataset, _ = packed(data / name, "labels")
    assert dataset.labels == ("rain", "dog", "cat")
    labels = {key: dataset[key].labels for key in dataset.keys()}
    assert labels == {"beside": (), "x0": ("rain",), "x1": ("dog", "cat"), "x2": ("rain", "cat")}
    assert dataset["x0"].metadata["path"] == "in/x0.wav"


def test_a_list_without_a_header_loses_no_line_and_needs_no_further_file(data, packed) -> None:
    """[B] A dataset of one's own had no parameter file, and so could not be loaded."""
    (data / "list").write_text("x0.wav,0,1\nx1.wav,1,0\n")
    (data / "list2").write_text("x2.wav,0,1\n")  # [B] a sibling whose name begins alike was read along
    dataset, _ = packed(data / "list", "labels")
    assert (dataset.labels, dataset["x0"].labels, dataset["x1"].labels) == (("0", "1"), ("1",), ("0",))
    assert len(dataset) == 2
    batch = next(iter(sk.Stream({"x": dataset}, crop=None, batch_size=2, passes=1, rank=0, world_size=1)))
    by_key = dict(zip(batch.keys, batch.labels.tolist(), strict=True))
    assert by_key == {"x0": [0.0, 1.0], "x1": [1.0, 0.0]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x0.wav,1,0\nx1.wav,2,0\n", r"list:2: '2' for '0'; a label is 0 or 1"),
        ("f,dog\nx0.wav,yes\n", r"list:2: 'yes' for 'dog'"),
        ("f,dog,dog\nx0.wav,1,1\n", "the header names 'dog' twice"),
        ("f,dog\nx0.wav,1,1\n", "list:2: 3 cells, 2 expected"),
        ("f,dog\nx0.wav,\n", "list:2: cell 2 is empty"),
        ("x0.wav\n", "one cell a line"),
        ("f,dog\n", "no lines but a header"),
        ("", "list: empty"),
        ("f,dog\nx0.wav,nan\n", "'nan' for 'dog'"),
        ("f,dog\nx0.wav,1\nx0.wav,0\n", "share the key 'x0'"),
        ('f,dog\n"x0.wav,1\n', "list:2: .*does not end with"),
    ],
)
def test_labels_that_are_none_are_refused_with_their_line(data, packed, text, message) -> None:
    (data / "list").write_text(text)
    with pytest.raises(InputError, match=message):
        packed(data / "list", "labels")


def test_pairs_are_stored_exactly_and_whatever_their_length(data, packed) -> None:
    """[B] float16 lost bits of 16-bit PCM, and all recordings had to be of one length."""
    (data / "list").write_text("x,y\n" + "".join(f"x{i}.wav,y{i}.wav\n" for i in range(6)))
    dataset, _ = packed(data / "list", "pairs")
    for i in range(6):
        for field, name in (("audio", f"in/x{i}.wav"), ("target", f"out/y{i}.wav")):
            seed = np.random.default_rng(list(name[-6:].encode()))
            expected = seed.integers(-9000, 9000, 1000 + 400 * i, dtype=np.int16)
            np.testing.assert_array_equal(stored(dataset, f"x{i}", field), expected)


def test_the_parts_of_a_split_share_no_file_and_stay_when_files_are_added(data, packed) -> None:
    """[B] Shuffling before take and skip let each epoch train on the test set; (.7, .2, .1) was refused."""
    lines = [f"x{i}.wav,y{i}.wav\n" for i in range(6)]
    (data / "list").write_text("".join(lines[:5]))
    fractions = {"train": 0.7, "val": 0.2, "test": 0.1}
    packed(data / "list", "pairs", splits=fractions, output="few")
    (data / "list").write_text("".join(lines))
    packed(data / "list", "pairs", splits=fractions, output="more")
    parts = [
        {split: set(sk.open(data.parent / output, split=split).keys()) for split in fractions}
        for output in ("few", "more")
    ]
    for part in parts:
        assert sum(len(keys) for keys in part.values()) == len(set().union(*part.values()))
    assert set().union(*parts[1].values()) == {f"x{i}" for i in range(6)}
    assert parts[0]["train"] & parts[1]["train"]


def test_one_recording_may_have_several_targets_but_no_pair_is_there_twice(data, packed) -> None:
    """[B] A mode named twice in the generator's table made each of its pairs twice."""
    (data / "list").write_text("x0.wav,y0.wav\nx0.wav,y1.wav\nx1.wav,y1.wav\n")
    dataset, _ = packed(data / "list", "pairs", importer_options={"field": "clean"})
    assert sorted(dataset.keys()) == ["x0+y0", "x0+y1", "x1"]
    target = stored(dataset, "x1", "clean")[:1000]  # as much as its recording has
    np.testing.assert_array_equal(stored(dataset, "x0+y1", "clean"), target)
    (data / "list").write_text("x0.wav,y0.wav\nx1.wav,y1.wav\nx0.wav,y0.wav\n")
    with pytest.raises(InputError, match=r"list:3: the pair 'x0.wav', 'y0.wav' is also in .*list:1"):
        packed(data / "list", "pairs", output="other")
    (data / "list").write_text("x0.wav,y0.wav,1\n")
    with pytest.raises(InputError, match=r"list:1: 3 cells; a pair is"):
        packed(data / "list", "pairs", output="other")


def test_further_columns_of_pairs_are_metadata_if_a_header_names_them(data, packed) -> None:
    (data / "list").write_text("x,y,hz,take\nin/x0.wav,out/y0.wav,440.5,007\nx1.wav,y1.wav,330,012\n")
    dataset, _ = packed(data / "list", "pairs")
    found = [(dataset[key].metadata["hz"], dataset[key].metadata["take"]) for key in ("in/x0", "x1")]
    assert found == [(440.5, "007"), (330.0, "012")]
    (data / "list").write_text("x0.wav\n")
    with pytest.raises(InputError, match=r"list:1: 1 cells; a pair is the file of X and the file of Y$"):
        packed(data / "list", "pairs", output="other")


def test_a_pair_without_its_target_is_missing_and_not_silence(data, packed) -> None:
    """[B] What could not be read was left to fail in a child process, unheard."""
    (data / "list").write_text("x0.wav,y0.wav\nx1.wav,gone.wav\n")
    with pytest.raises(InputError, match=r"list:2: no file at .*out/gone\.wav or .*/gone\.wav"):
        packed(data / "list", "pairs")
    dataset, summary = packed(data / "list", "pairs", on_error="skip")
    assert (list(dataset.keys()), summary.missing) == (["x0"], 1)


FRAMES = "time,dog,rain\n0.05,1,0\n0.1,0,1\n0.18,0.5,0\n"


def frames(dataset: sk.Dataset, key: str) -> np.ndarray:
    return np.asarray(dataset[key].fields["frames"])


def test_timestamps_are_honoured(data, packed) -> None:
    """[B] The timestamps were discarded: row i stood for chunk i, wherever it was meant to be."""
    (data / "list").write_text("x5.wav,x5.csv\nbeside.wav,b.csv\n")  # 3000 and 2000 frames at 8 kHz: 0.375 and 0.25 s
    (data / "x5.csv").write_text(FRAMES)
    (data / "in" / "b.csv").write_text("time,dog,rain\n0,3,4\n")
    dataset, _ = packed(data / "list", "framed", hops_s={"frames": 0.05})
    expected = [[1, 0], [1, 0], [0, 1], [0, 1], [0.5, 0], [0.5, 0], [0.5, 0], [0.5, 0]]
    np.testing.assert_array_equal(frames(dataset, "x5"), np.array(expected, np.float32))
    np.testing.assert_array_equal(
        frames(dataset, "beside"), np.full((5, 2), [3, 4], np.float32)
    )  # [B] 6 rows, one of 0
    assert dataset["x5"].metadata["frames_columns"] == ["dog", "rain"]
    crop = dataset.read("x5", start_s=0.1, duration_s=0.1)
    np.testing.assert_array_equal(np.asarray(crop.fields["frames"]), np.array(expected[2:4], np.float32))


def test_other_ways_between_timestamps_and_other_units(data, packed) -> None:
    (data / "list").write_text("x5.wav,x5.csv\n")
    (data / "x5.csv").write_text("0,0\n100,10\n200,0\n")  # no header
    options = {"hops_s": {"frames": 0.075}}
    linear, _ = packed(data / "list", "framed", importer_options={"method": "linear", "unit_s": "0.001"}, **options)
    np.testing.assert_allclose(frames(linear, "x5")[:, 0], [0, 7.5, 5, 0, 0])
    unit = {"method": "nearest", "unit_s": "0.001"}
    nearest, _ = packed(data / "list", "framed", importer_options=unit, output="nearest", **options)
    np.testing.assert_array_equal(frames(nearest, "x5")[:, 0], [0, 10, 10, 0, 0])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("time,dog,rain\n0,1,0\n0,1,0\n", "line 3: timestamp 0 is not behind the one before"),
        ("time,dog,rain\n0,1,0\n0.1,x,0\n", "line 3: 'x' is not a number"),
        ("time,dog,rain\n0,1\n", "line 2: 2 cells, 3 expected"),
        ("time,dog,rain\n-1,1,1\n", "line 2: timestamp '-1' is negative"),
        ("time,dog,rain\n0,nan,1\n", "line 2: 'nan' is not a number"),
        ("time,dog,rain\n", "no rows of numbers"),
        ("time,dog\n0,1\n", "its features are dog, elsewhere dog, rain"),
        ("time,dog,rain\n0,1,0\n9,1,0\n", "its last timestamp is 9 s, the recording has 0.125 s.*unit_s"),
        ("time\n0\n", "one column"),
        ("\xff", "not a CSV in UTF-8"),
    ],
)
def test_tables_that_are_none_are_refused_by_name_or_reported(data, packed, table, message) -> None:
    (data / "list").write_text("x5.wav,x5.csv\nx0.wav,x0.csv\n")
    (data / "x5.csv").write_text(FRAMES)
    (data / "x0.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(FormatError, match=rf"list:2: field 'frames', .*x0\.csv: .*{message}"):
        packed(data / "list", "framed", hops_s={"frames": 0.05})
    _, summary = packed(data / "list", "framed", hops_s={"frames": 0.05}, on_error="skip", output="rest")
    assert [line.path for line in summary.unpacked] == ["in/x0.wav"]


def test_a_hop_is_needed_and_the_table_suggests_one(data, packed) -> None:
    (data / "list").write_text("x5.wav,x5.csv\n")
    (data / "x5.csv").write_text(FRAMES)
    with pytest.raises(InputError, match=r"--hop frames=SECONDS; the first table's rows are 0\.065 s apart"):
        packed(data / "list", "framed")
    with pytest.raises(InputError, match="choose hold, nearest, linear"):
        packed(data / "list", "framed", importer_options={"method": "cubic"}, hops_s={"frames": 0.1})
    with pytest.raises(InputError, match="hop of 'frames' is -1 s"):
        packed(data / "list", "framed", hops_s={"frames": -1.0})


def test_an_array_is_float32_without_pickles(data, packed) -> None:
    (data / "list").write_text("x5.wav,x5.csv\n")
    (data / "x5.csv").write_text(FRAMES)
    packed(data / "list", "framed", hops_s={"frames": 0.1})
    tar = next((data.parent / "packed" / "train").glob("*.tar")).read_bytes()
    assert b"x5.frames.npy" in tar
    array = np.load(io.BytesIO(tar[tar.index(b"\x93NUMPY") :]), allow_pickle=False)
    assert (array.dtype, array.shape) == (np.dtype("<f4"), (4, 2))


def test_processes_make_the_same_bytes_of_tables(data, packed, monkeypatch) -> None:
    (data / "list").write_text("".join(f"x{i}.wav,x{i}.csv\n" for i in range(6)))
    for i in range(6):
        (data / f"x{i}.csv").write_text(f"time,dog\n0,{i}\n0.05,1\n")
    one, _ = packed(data / "list", "framed", hops_s={"frames": 0.01}, name="same", shard_bytes=9000, output="one")
    monkeypatch.setattr(engine, "PROCESS_BYTES", 1)
    two, _ = packed(
        data / "list", "framed", hops_s={"frames": 0.01}, name="same", shard_bytes=9000, output="two", workers=2
    )
    assert len(one.catalog.manifest.shards) > 1
    assert one.catalog.manifest == two.catalog.manifest
