"""AudioSet: counts equal an independent count over its published tables; ids, times and files as they really are."""

import collections
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from shardkit.core.errors import AudioError, InputError
from shardkit.core.ontology import Ontology
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes
from tests.pack.importers.conftest import spans

WEAK = ("balanced_train_segments.csv", "eval_segments.csv")
HEADER = "# Segments csv\n# num_ytids=2, num_segs={}, num_unique_labels=3\n# YTID, start_seconds, end_seconds, labels\n"
STRONG = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
FRAMED = STRONG.replace("label", "label\tpresent")
CLASSES = (
    'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n2,/t/dd00088,"Gargling"\n'
)
CLIP = "-_a_bc-d_ef"  # a leading dash, and underscores, the last of which no id is split at


@pytest.fixture(scope="module")
def published(data_dir: Path) -> Path:
    folder = data_dir / "audioset"
    if not folder.is_dir():
        pytest.skip(f"no tables of AudioSet at {folder}")
    return folder


def rows_of(folder: Path, name: str) -> list[list[str]]:
    """The rows of a weak table, read here and now with the csv module."""
    with (folder / name).open() as file:
        return list(csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True))


def make_clips(rows: list[list[str]], root: Path, sound) -> dict[str, Path]:
    """Noise for some clips, as the real folders hold them; return the file of each id."""
    files = {}
    for i, row in enumerate(rows):
        folder = ("part00", "part40/deeper", "unbalanced_train_segments/part07", "")[i % 4]
        name = row[0] if i % 5 == 0 else f"Y{row[0]}"
        files[row[0]] = root / folder / (name + (".wav" if i % 7 == 0 else ".flac"))
        sound(files[row[0]], 400)
    return files


def test_counts_on_the_published_tables_are_those_of_an_independent_count(published, tmp_path, packed, sound) -> None:
    """[B] Ids with ``_`` were cut there: one in seven clips was dropped as missing, and that was only printed."""
    rows = {name.removesuffix("_segments.csv"): rows_of(published, name) for name in WEAK}
    assert {name: len(found) for name, found in rows.items()} == {"balanced_train": 22160, "eval": 20371}
    every = [row for found in rows.values() for row in found]
    odd = [row for row in every if "_" in row[0] or row[0].startswith("-")]
    assert len(odd) > 6000
    chosen = list({row[0]: row for row in [*every[::200], *odd[::90]]}.values())
    files = make_clips(chosen, tmp_path / "audio", sound)
    sound(tmp_path / "audio" / "Yno_such_id.flac", 400)
    dataset, summary = packed(published, "audioset", root=tmp_path / "audio")

    present = [row for row in every if row[0] in files]
    assert sum("_" in row[0] for row in present) > 50
    assert len(dataset) == len(present) == len(files)
    assert summary.missing == len(every) - len(present)
    missing = [json.loads(line) for line in (tmp_path / "packed" / "missing.jsonl").read_text().splitlines()]
    assert collections.Counter(line["file"] for line in missing) == collections.Counter(
        f"Y{row[0]}" for row in every if row[0] not in files
    )
    assert any("1 recording below" in note and "named by no table" in note for note in summary.notes)

    with (published / "class_labels_indices.csv").open() as file:
        classes = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
    assert dataset.labels == tuple(classes.values())  # all 527, in the order of the published index
    table = dataset.table().to_pylist()
    by_id = {row["ytid"]: row for row in table}
    subsets = {row[0]: subset for subset, found in rows.items() for row in found}
    for video, start, stop, mids in present:
        row = by_id[video]
        assert row["labels"] == [classes[mid] for mid in mids.split(",")]
        assert row["key"] == f"{video}_{round(float(start) * 1000)}"
        assert (row["source_start_s"], row["source_stop_s"]) == (float(start), float(stop))
        assert (row["subset"], row["annotation"]) == (subsets[video], "weak")
        assert row["path"] == str(files[video].relative_to(tmp_path / "audio"))
    counted = collections.Counter(label for row in table for label in row["labels"])
    assert counted == collections.Counter(classes[mid] for row in present for mid in row[3].split(","))


def test_a_weak_clip_that_starts_late_in_its_video_is_read_from_its_own_start(
    published, tmp_path, packed, sound
) -> None:
    """[B] The video's time was applied to the cut clip: nine in ten clips were read as silence."""
    late = [row for row in rows_of(published, WEAK[0]) if float(row[1]) >= 10][::2000]
    files = make_clips(late, tmp_path / "audio", sound)
    dataset, _ = packed(published / WEAK[0], "audioset", root=tmp_path / "audio")
    for video, path in files.items():
        (sample,) = (dataset[key] for key in dataset.keys() if key.startswith(video))
        expected = np.random.default_rng(list(path.name.encode())).integers(-9000, 9000, 400, dtype=np.int16)
        np.testing.assert_array_equal(np.rint(sample.audio[0] * 32768).astype(np.int16), expected)
        assert not sample.intervals


@pytest.fixture
def small(tmp_path: Path, sound) -> Path:
    """A folder with weak and strong tables that share a clip, and the recordings of two of their three clips."""
    folder = tmp_path / "meta"
    folder.mkdir()
    (folder / "class_labels_indices.csv").write_text(CLASSES)
    (folder / "mid_to_display_name.tsv").write_text("/m/09x0r\tTalk\n/m/0strong\tThud\n")
    weak = f'{CLIP}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\nZZZZZZZZZZZ, 0.000, 10.000, "/m/05zppz"\n'
    (folder / "balanced_train_segments.csv").write_text(HEADER.format(2) + weak)
    strong = (
        f"{CLIP}_30000\t0.5\t1.25\t/m/09x0r\n{CLIP}_30000\t1.0\t10.0\t/m/0strong\nabc_def_0\t0\t0.002\t/m/0strong\n"
    )
    (folder / "audioset_train_strong.tsv").write_text(STRONG + strong)
    sound(tmp_path / "audio" / "part00" / f"Y{CLIP}.wav", 16000)
    sound(tmp_path / "audio" / "part01" / "abc_def.flac", 16000)
    return folder


def test_weak_and_strong_tables_of_one_clip_are_one_sample(small, tmp_path, packed) -> None:
    dataset, summary = packed(small, "audioset", root=tmp_path / "audio")
    assert sorted(dataset.keys()) == [f"{CLIP}_30000", "abc_def_0"]
    assert dataset.labels == ("Speech", "Male speech, man speaking", "Gargling", "Thud")
    both, strong = dataset[f"{CLIP}_30000"], dataset["abc_def_0"]
    assert both.labels == ("Speech", "Gargling")
    assert spans(both) == [("Speech", 4000, 10000), ("Thud", 8000, 16000)]  # of the clip; cut where it ends
    assert (both.metadata["annotation"], both.metadata["subset"]) == ("weak+strong", "balanced_train")
    assert (both.metadata["source_start_s"], both.metadata["source_stop_s"]) == (30.0, 40.0)
    assert (strong.labels, spans(strong)) == (("Thud",), [("Thud", 0, 16)])
    assert (strong.metadata["annotation"], strong.metadata["subset"]) == ("strong", "train")
    assert strong.metadata["source_stop_s"] is None
    assert summary.missing == 1
    assert "1 interval cut where the recording ends" in summary.notes


def test_events_behind_the_end_of_a_clip_are_left_out_and_listed(small, tmp_path, packed) -> None:
    (small / "audioset_train_strong.tsv").write_text(
        STRONG + "abc_def_0\t0\t1\t/m/0strong\nabc_def_0\t5\t6\t/m/09x0r\n"
    )
    dataset, summary = packed(small / "audioset_train_strong.tsv", "audioset", root=tmp_path / "audio")
    assert spans(dataset["abc_def_0"]) == [("Thud", 0, 8000)]
    assert any("1 interval behind the end" in note for note in summary.notes)
    (line,) = map(json.loads, (tmp_path / "packed" / "report.jsonl").read_text().splitlines())
    assert line["path"] == "part01/abc_def.flac"
    assert line["reason"] == "interval 'Speech' from 5 s to 6 s lies outside the recording of 2 s"


def test_framed_tables_give_what_is_there_and_what_is_not(small, tmp_path, packed) -> None:
    lines = [
        ("abc_def_0", "0.000", "0.960", "/m/09x0r", "PRESENT"),
        ("abc_def_0", "0.960", "1.920", "/m/09x0r", "PRESENT"),
        ("abc_def_0", "0.000", "0.960", "/m/0strong", "NOT_PRESENT"),
    ]
    framed = small / "audioset_eval_framed_posneg.tsv"
    framed.write_text(FRAMED + "".join("\t".join(line) + "\r\n" for line in lines))
    dataset, _ = packed(framed, "audioset", root=tmp_path / "audio")
    sample = dataset["abc_def_0"]
    assert (sample.labels, spans(sample)) == (("Speech",), [("Speech", 0, 7680), ("Speech", 7680, 15360)])
    assert sample.metadata["absent_events"] == [{"name": "Thud", "start_s": 0.0, "stop_s": 0.96}]
    assert (sample.metadata["subset"], sample.metadata["annotation"]) == ("eval", "framed")
    with pytest.raises(InputError, match="strong and framed tables; choose one with --from-option events="):
        packed(small, "audioset", root=tmp_path / "audio", output="both")
    chosen, _ = packed(
        small, "audioset", root=tmp_path / "audio", output="chosen", importer_options={"events": "framed"}
    )
    assert {chosen[key].metadata["annotation"] for key in chosen.keys()} == {"weak", "framed"}


def test_mids_are_kept_where_asked_and_names_needed_where_not(small, tmp_path, packed) -> None:
    options = {"root": tmp_path / "audio", "importer_options": {"labels": "mids"}}
    dataset, _ = packed(small, "audioset", **options)
    assert dataset.labels == ("/m/09x0r", "/m/05zppz", "/t/dd00088", "/m/0strong")
    (small / "mid_to_display_name.tsv").unlink()
    with pytest.raises(InputError, match=r"strong\.tsv:3: '/m/0strong' has no name; .*labels=mids"):
        packed(small, "audioset", root=tmp_path / "audio", output="unnamed")
    (small / "mid_to_display_name.tsv").write_text("/m/0strong\tSpeech\n")
    with pytest.raises(InputError, match="'/m/0strong' and '/m/09x0r' are both called 'Speech'"):
        packed(small, "audioset", root=tmp_path / "audio", output="merged")
    (small / "mid_to_display_name.tsv").unlink()
    (small / "class_labels_indices.csv").rename(tmp_path / "elsewhere.csv")
    with pytest.raises(InputError, match=r"names of classes are unknown; give one with --from-option classes=FILE"):
        packed(small, "audioset", root=tmp_path / "audio", output="none")
    elsewhere = {"classes": str(tmp_path / "elsewhere.csv")}
    weak = small / "balanced_train_segments.csv"
    dataset, _ = packed(weak, "audioset", root=tmp_path / "audio", importer_options=elsewhere, output="elsewhere")
    assert dataset.labels == ("Speech", "Male speech, man speaking", "Gargling")


def test_a_name_that_is_part_of_another_is_another_class(small, tmp_path, packed) -> None:
    """[B] Ids of classes were looked for as parts of text: /m/09x0r was found in /m/09x0rx."""
    (small / "class_labels_indices.csv").write_text(CLASSES + "3,/m/09x0rx,Speech synthesizer\n")
    text = f'{CLIP}, 30.000, 40.000, "/m/09x0rx"\n'
    (small / "balanced_train_segments.csv").write_text(HEADER.format(1) + text)
    dataset, _ = packed(small / "balanced_train_segments.csv", "audioset", root=tmp_path / "audio")
    assert dataset[f"{CLIP}_30000"].labels == ("Speech synthesizer",)
    assert len(dataset.where("'Speech' in labels")) == 0


def test_a_second_recording_of_a_clip_is_reported_and_two_clips_of_one_recording_refused(
    small, tmp_path, packed, sound
) -> None:
    """[B] A clip's id did not tell its row."""
    sound(tmp_path / "audio" / "part02" / f"Y{CLIP}.flac", 16000)
    dataset, summary = packed(small, "audioset", root=tmp_path / "audio")
    assert dataset[f"{CLIP}_30000"].metadata["path"] == f"part00/Y{CLIP}.wav"
    assert [line.path for line in summary.unpacked] == [f"part02/Y{CLIP}.flac"]
    text = f'{CLIP}, 30.000, 40.000, "/m/09x0r"\n{CLIP}, 50.000, 60.000, "/m/05zppz"\n'
    weak = small / "balanced_train_segments.csv"
    weak.write_text("\ufeff" + (HEADER.format(3) + text).replace("\n", "\r\n"))
    with pytest.raises(
        InputError, match=rf"csv:5: .*would be this clip and that of .*csv:4; name .*Y{CLIP}_50000\.flac"
    ):
        packed(weak, "audioset", root=tmp_path / "audio", output="one")
    sound(tmp_path / "audio" / f"Y{CLIP}_50000.flac", 16000)
    dataset, summary = packed(weak, "audioset", root=tmp_path / "audio", output="two")
    assert sorted(dataset.keys()) == [f"{CLIP}_30000", f"{CLIP}_50000"]
    assert any("its comment says 3 segments, it has 2" in note for note in summary.notes)


def test_a_whole_video_is_not_taken_for_its_clip(small, tmp_path, packed, sound) -> None:
    sound(tmp_path / "audio" / "part00" / f"Y{CLIP}.wav", 12 * 8000)
    with pytest.raises(AudioError, match=r"balanced_train_segments\.csv:4: .*has 12 s, longer than .* at most 11 s"):
        packed(small, "audioset", root=tmp_path / "audio")


def test_no_recording_at_all_says_what_was_looked_for_and_what_is_there(small, tmp_path, packed, sound) -> None:
    """[B] Without the audio folder all rows were filtered out, and an error spoke of something else."""
    sound(tmp_path / "other" / "x.wav", 80)
    with pytest.raises(InputError, match=r"none of 3 files .*/\*\*/Y-_a_bc-d_ef\.\*.*; 1 file there, such as x\.wav"):
        packed(small, "audioset", root=tmp_path / "other")
    with pytest.raises(InputError, match="there is no folder .*nothing"):
        packed(small, "audioset", root=tmp_path / "nothing")


WEAK_FAULTS = [
    ("abc, 0.0, 10.0, /m/09x0r,/m/05zppz\n", r"csv:4: 5 cells; YTID"),
    ('a bc, 0.0, 10.0, "/m/09x0r"\n', r"csv:4: 'a bc' is no id of a video"),
    ('abc, x, 10.0, "/m/09x0r"\n', r"csv:4: 'x' is no time in seconds"),
    ('abc, 10.0, 10.0, "/m/09x0r"\n', r"csv:4: the clip from 10 s to 10 s ends before"),
    ('abc, 0.0, 10.0, ""\n', r"csv:4: no labels"),
    ('abc, 0.0, 10.0, "/m/09x0r\n', r"csv:4: .*does not end with"),
    ('abc, 0, 10, "/m/none"\n', r"csv:4: '/m/none' has no name"),
    ('abc, 0, 10, "/m/09x0r"\nabc, 0.0, 10.0, "/m/09x0r"\n', r"csv:5: abc from 0 s is also .*csv:4"),
]
STRONG_FAULTS = [
    ("abc\t0\t1\t/m/09x0r\n", "tsv:2: 'abc' is no segment id; YTID_STARTMS"),
    ("abc_x\t0\t1\t/m/09x0r\n", "tsv:2: 'abc_x' is no segment id"),
    ("abc_0\t2\t1\t/m/09x0r\n", "tsv:2: the event from 2 s to 1 s ends before"),
    ("abc_0\t-2\t1\t/m/09x0r\n", "tsv:2: '-2' is no time"),
    ("abc_0\t0\t1\n", "tsv:2: 3 cells, the header has 4"),
    ("abc_0\t0\t1\t\n", "tsv:2: no label"),
]


@pytest.mark.parametrize(("text", "message"), WEAK_FAULTS)
def test_faulty_lines_of_weak_tables_are_told_by_their_line(small, tmp_path, packed, text, message) -> None:
    (small / "balanced_train_segments.csv").write_text(HEADER.format(1) + text)
    with pytest.raises(InputError, match=message):
        packed(small, "audioset", root=tmp_path / "audio")


@pytest.mark.parametrize(("text", "message"), STRONG_FAULTS)
def test_faulty_lines_of_strong_tables_are_told_by_their_line(small, tmp_path, packed, text, message) -> None:
    (small / "audioset_train_strong.tsv").write_text(STRONG + text)
    with pytest.raises(InputError, match=message):
        packed(small, "audioset", root=tmp_path / "audio")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("audioset_x_strong.tsv", "segment_id\tlabel\n", "no column 'start_time_seconds'; it has segment_id, label"),
        ("audioset_x_framed.tsv", FRAMED + "abc_0\t0\t1\t/m/09x0r\tYES\n", "present is 'YES'; write PRESENT"),
        ("notes.csv", "a,b\n1,2\n", "begins with 'a, b'; three lines of comments"),
        ("empty.csv", "", "begins with ''; three lines"),
        ("class_labels_indices.csv", "mid,name\n", "the header is mid, name; index, mid, display_name"),
        ("class_labels_indices.csv", CLASSES + "7,/m/1,x\n", "csv:5: found 7, /m/1, x; index 3"),
        ("class_labels_indices.csv", CLASSES + "3,/m/09x0r,x\n", "csv:5: '/m/09x0r' is there twice"),
        ("mid_to_display_name.tsv", "/m/1,Dog\n", "tsv:1: 1 cells; a mid and its name"),
        ("ontology.json", '[{"id": "/m/1"}]', "ontology.json: class 1 has no 'id' and 'name'"),
        ("ontology.json", '[{"id": "/m/1", "name": "x", "child_ids": ["/m/2"]}]', "child '/m/2', which is not there"),
    ],
)
def test_tables_that_are_none_are_refused(small, tmp_path, packed, name, text, message) -> None:
    (small / name).write_text(text)
    with pytest.raises(InputError, match=message):
        packed(small, "audioset", root=tmp_path / "audio", importer_options={"events": "framed"})


def test_descendants_in_the_published_ontology_are_those_of_a_walk_over_it(published) -> None:
    content = json.loads((published / "ontology.json").read_text())
    ontology = Ontology.from_json(content)
    children = {item["id"]: set(item["child_ids"]) for item in content}
    for item in content:
        below = {item["id"]}
        while more := set().union(*(children[identity] for identity in below)) - below:
            below |= more
        found = ontology.descendants(item["id"])
        assert (set(found), len(found)) == (below, len(below))
    names = {ontology.names[identity] for identity in ontology.descendants("Human voice")}
    assert {"Speech", "Baby cry, infant cry", "Laughter"} < names
    with pytest.raises(InputError, match="'Nothing' names no classes"):
        ontology.descendants("Nothing")


def test_a_ring_of_classes_ends() -> None:
    assert Ontology({"a": "x", "b": "y"}, {"a": ("b",), "b": ("a",)}).descendants("y") == ("b", "a")


def test_recordings_in_a_bucket_are_listed_and_found(small, tmp_path, packed, s3) -> None:
    root = f"{s3.url}/audioset/audio"
    for path in (tmp_path / "audio").rglob("*.*"):
        write_bytes(locate(f"{root}/{path.relative_to(tmp_path / 'audio')}"), path.read_bytes())
    local, _ = packed(small, "audioset", root=tmp_path / "audio", output="local", name="same")
    remote, summary = packed(small, "audioset", root=root, output="remote", name="same")
    assert summary.missing == 1
    assert remote.catalog.manifest == local.catalog.manifest
    with pytest.raises(InputError, match=r"looked below s3://.*/nothing, for the first"):
        packed(small, "audioset", root=f"{s3.url}/nothing", output="nothing")
