"""Our shards against the real webdataset, and our decode stage against our own reader."""

import gc
import io
import json
import pickle
import tarfile
import warnings

import numpy as np
import pytest
import webdataset

from shardkit.core.crops import CenterCrop, RandomCrop, Recording
from shardkit.core.errors import AudioError, FormatError, InputError
from shardkit.core.salient import SalientCrop
from shardkit.interop.webdataset import CROP, decoder
from shardkit.stream.dataset import open_dataset
from shardkit.stream.sample import Audio

# webdataset leaves its files to the garbage collector; ours are closed, and all else is still an error.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def no_files_left_to_other_tests():
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


CROPS = [RandomCrop(1.0), CenterCrop(0.5), SalientCrop(0.7, search="energy"), RandomCrop(60.0)]


def pipeline(packed):
    urls = [str(tar) for tar in open_dataset(packed).catalog.tars]
    return webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)


def test_webdataset_reads_each_member_that_the_index_lists_in_the_same_order(packed):
    catalog = open_dataset(packed).catalog
    samples = list(pipeline(packed))
    assert [sample["__key__"] for sample in samples] == open_dataset(packed).keys()
    for row, sample in enumerate(samples):
        tar = catalog.tars[catalog.shard_of_row[row]].local_path.read_bytes()
        entries = [fields.entry(row) for fields in catalog.fields.values() if fields.present[row]]
        members = {name: data for name, data in sample.items() if not name.startswith("__")}
        assert members == {
            entry["extension"]: tar[entry["offset"] : entry["offset"] + entry["size"]] for entry in entries
        }


def test_decoded_samples_are_those_of_our_reader(packed):
    dataset = open_dataset(packed)
    for sample in pipeline(packed).map(decoder()):
        own = dataset[sample["__key__"]]
        assert sample[CROP] == (0, own.audio.shape[1])
        found = [value for name, value in sample.items() if name in ("flac", "ogg", "mp3")]
        assert [audio.sample_rate for audio in found] == [own.sample_rate]
        assert np.array_equal(found[0].samples, own.audio)
        assert sample["json"] == own.fields["json"]
        assert sample["words.txt"] == own.fields["words"]
        assert np.array_equal(sample["f0.npy"], own.fields["f0"])
        assert ("vocals.flac" in sample) == ("vocals" in own.fields)
        if "vocals" in own.fields:
            assert np.array_equal(sample["vocals.flac"].samples, own.fields["vocals"].samples)


@pytest.mark.parametrize("crop", CROPS)
def test_a_crop_is_the_one_our_reader_cuts_from_audio_stem_and_array(packed, crop):
    dataset = open_dataset(packed)
    for sample in pipeline(packed).map(decoder(crop=crop, seed=3)):
        whole = dataset[sample["__key__"]]
        start, stop = sample[CROP]
        rate = whole.sample_rate
        assert stop - start == min(round(crop.duration_s * rate), whole.audio.shape[1])
        own = dataset.read(sample["__key__"], start_s=start / rate, duration_s=(stop - start) / rate)
        (audio,) = [value for name, value in sample.items() if name in ("flac", "ogg", "mp3")]
        assert np.array_equal(audio.samples, own.audio)
        assert np.array_equal(sample["f0.npy"], own.fields["f0"])
        if "vocals" in own.fields:
            assert np.array_equal(sample["vocals.flac"].samples, own.fields["vocals"].samples)


def test_a_salient_crop_is_chosen_as_from_the_index(packed):
    """The policy sees the same loudness, so it takes the same loudest window."""
    dataset, crop = open_dataset(packed), SalientCrop(0.7, search="loudest")
    for row, sample in enumerate(pipeline(packed).map(decoder(crop=crop))):
        audio = dataset.catalog.fields["audio"]
        frames, rate = int(audio.frames[row]), int(audio.sample_rate[row])
        expected = crop.place(Recording(frames, rate, energies=audio.energies(row)), 0.0)
        assert sample[CROP] == expected


def test_crops_depend_on_key_seed_and_epoch_and_on_nothing_else(packed):
    def crops(samples, **options):
        sent = pickle.dumps(decoder(crop=RandomCrop(0.5), **options))  # as a worker process gets it
        stage = pickle.loads(sent)  # noqa: S301 (our own bytes)
        return {sample["__key__"]: sample[CROP] for sample in stage.stage(samples)}

    samples = list(pipeline(packed))
    first = crops(samples, seed=1)
    assert crops(reversed(samples), seed=1) == first
    assert crops(samples[4:5], seed=1) == {samples[4]["__key__"]: first[samples[4]["__key__"]]}
    others = [crops(samples, seed=2), crops(samples, seed=1, epoch=1), crops(samples, seed=0, epoch=1)]
    assert len({tuple(sorted(other.items())) for other in [first, *others]}) == 4
    assert len({start for start, _ in first.values()}) == len(first)


def test_rate_and_channels_are_as_asked(packed):
    for sample in pipeline(packed).compose(decoder(sample_rate=12_000, channels=2, crop=CenterCrop(0.5)).stage):
        audio = [value for value in sample.values() if isinstance(value, Audio)]
        assert audio[0].samples.shape == (2, 6_000)
        # A stem of another rate is cut at whole samples of its own, outwards.
        assert all(abs(item.samples.shape[1] - 6_000) <= 2 for item in audio)
        assert all((item.sample_rate, item.samples.shape[0]) == (12_000, 2) for item in audio)
        assert all(item.samples.dtype == np.float32 for item in audio)


def test_the_stage_changes_neither_its_input_nor_what_it_does_not_know():
    sample = {"__key__": "a", "__url__": "u", "cls": b"7", "json": b'{"a": 1}', "__custom__": 3}
    before = dict(sample)
    assert decoder()(sample) == before | {"json": {"a": 1}}
    assert sample == before


@pytest.mark.parametrize(
    ("member", "data", "error", "text"),
    [
        ("flac", b"fLaC but not really", AudioError, "damaged"),
        ("wav", b"", AudioError, "empty file"),
        ("json", b"{", FormatError, "Expecting"),
        ("f0.npy", b"\x80\x04.", FormatError, "not a plain .npy array"),
        ("txt", b"\xff\xff", FormatError, "utf-8"),
        ("flac", np.zeros(3), InputError, "put this stage before any other decoder"),
    ],
)
def test_an_error_says_which_member_of_which_sample_of_which_tar(member, data, error, text):
    sample = {"__key__": "win/take 1", "__url__": "s3://bucket/000000.tar", member: data}
    with pytest.raises(error, match=text) as caught:
        decoder()(sample)
    assert str(caught.value).startswith(f"s3://bucket/000000.tar: key 'win/take 1', member '{member}': ")


def test_nothing_is_unpickled():
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    sink = io.BytesIO()
    np.save(sink, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="not a plain"):
        decoder()({"__key__": "a", "__url__": "u", "x.npy": sink.getvalue()})


@pytest.mark.parametrize("options", [{"sample_rate": 0}, {"channels": 0}, {"seed": -1}, {"seed": 1.5}])
def test_options_are_checked_when_the_stage_is_made(options):
    with pytest.raises(InputError):
        decoder(**options)


def test_shards_of_webdatasets_own_writer_are_decoded(packed, tmp_path):
    sample = next(iter(pipeline(packed)))
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        writer.write({"__key__": "x", **{name: data for name, data in sample.items() if not name.startswith("__")}})
    dataset = webdataset.WebDataset([str(tmp_path / "a.tar")], shardshuffle=False, empty_check=False)
    (decoded,) = dataset.map(decoder())
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert json.load(archive.extractfile("x.json")) == decoded["json"]
    assert np.array_equal(decoded["f0.npy"], np.load(io.BytesIO(sample["f0.npy"])))
