"""The loudness of crops: pyloudnorm on the decoded crop is the oracle, and nothing else of a stream changes."""

import warnings
from itertools import islice
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk
from shardkit.core.loudness import integrated_lufs, spans_lufs
from shardkit.format.index import PRIMARY
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.processes import read_in_processes
from tests.stream.conftest import noise, write_source

RANKS = {"rank": 0, "world_size": 1}
RATES = {"low": (11_025, 1), "high": (44_100, 2)}  # a hop of 100 ms is 1102.5 samples; of two channels that differ


@pytest.fixture(scope="module")
def swells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Datasets of noise that swells and fades by 30 dB, slowly and at times suddenly; ``silent``: noise, then none.

    ``unmeasured`` is ``low`` packed without loudness.
    """
    folder = tmp_path_factory.mktemp("swells")
    manifests = {}
    for name, (rate, channels) in RATES.items():
        rows, audio = [], {}
        for i in range(6):
            frames = round((7.3 + 0.77 * i) * rate)
            seconds = np.arange(frames) / rate
            decibels = -15 + 15 * np.sin((0.4 + 0.2 * i) * seconds + i) - 20 * (seconds % 3 > 2.6)
            audio[f"{i}.wav"] = (noise(i, frames, channels) * 10 ** (decibels[:, None] / 20)).astype(np.int16), rate
            rows.append({"path": f"{i}.wav"})
        manifests[name] = write_source(folder, name, rows, audio)
    hush = np.concatenate([noise(0, 8_000, 1), np.zeros((32_000, 1), np.int16)])
    rows = [{"path": "0.wav"}, {"path": "1.wav"}]
    manifests["silent"] = write_source(folder, "silent", rows, {"0.wav": (hush, 8_000), "1.wav": (hush * 0, 8_000)})
    for name, manifest in (*manifests.items(), ("unmeasured", manifests["low"])):
        options = PackOptions(workers=1, loudness=name != "unmeasured")
        pack(locate(manifest), locate(folder / name), inputs=InputOptions(), options=options)
    return {name: folder / name for name in (*manifests, "unmeasured")}


def metered(batch: sk.Batch) -> np.ndarray:
    """What a meter says of each crop as it was delivered."""
    meter = pyloudnorm.Meter(batch.sample_rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of silence
        return np.array([meter.integrated_loudness(audio.T.astype(np.float64)) for audio in batch.audio])


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("duration_s", [0.5, 1.0, 2.0])
def test_on_the_grid_it_is_what_a_meter_says_of_the_crop(swells, name, duration_s):
    stream = sk.Stream(sk.open(swells[name]), crop=sk.SalientCrop(duration_s), loudness=True, **RANKS)
    for batch in islice(stream, 2):
        errors = np.abs(batch.loudness - metered(batch))
        assert np.median(errors) <= 0.1
        assert np.quantile(errors, 0.9) <= 0.3  # where a block lies at the gate, the last bit decides of it
        assert batch.loudness.min() >= -40.0


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("duration_s", [1.0, 2.37])
def test_off_the_grid_it_is_nearly_what_a_meter_says(swells, name, duration_s):
    stream = sk.Stream(sk.open(swells[name]), crop=sk.RandomCrop(duration_s), loudness=True, **RANKS)
    batches = list(islice(stream, 4))
    errors = np.concatenate([np.abs(batch.loudness - metered(batch)) for batch in batches])
    assert np.median(errors) <= 0.1
    assert np.quantile(errors, 0.95) <= 0.5


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("duration_s", [0.2, 0.45, 3.0])
def test_on_the_grid_it_is_what_a_salient_crop_goes_by(swells, name, duration_s):
    view = sk.open(swells[name])
    crop = sk.SalientCrop(duration_s, floor_lufs=-30.0, fallback="skip")
    batch = next(iter(sk.Stream(view, crop=crop, loudness=True, **RANKS)))
    columns, rate = view.catalog.fields[PRIMARY], RATES[name][0]
    for key, start, found in zip(batch.keys, batch.starts, batch.loudness, strict=True):
        first = round(start * 10 / rate)
        energies = columns.energies(view.catalog.row_of(key))[first : first + round(duration_s * 10)]
        assert found == pytest.approx(integrated_lufs(energies), abs=1e-5)
        assert found >= -30.0


def test_of_a_whole_recording_it_is_the_stored_loudness(swells):
    view = sk.open(swells["high"])
    stored = dict(zip(view.keys(), view.table()["loudness_lufs"].to_pylist(), strict=True))
    for crop in (None, sk.RandomCrop(11.1)):  # the longest but one is shorter, and so delivered whole
        batch = next(iter(sk.Stream(view, crop=crop, batch_size=6, passes=1, loudness=True, **RANKS)))
        short = batch.lengths < round(11.1 * 44_100)
        assert short.sum() >= 5
        expected = np.array([stored[key] for key in batch.keys], dtype=np.float32)
        assert batch.loudness.dtype == np.float32
        assert batch.loudness[short] == pytest.approx(expected[short], abs=1e-5)


def test_silence_is_minus_infinity_and_what_was_not_measured_or_drawn_is_nan(swells):
    silent, unmeasured = sk.open(swells["silent"]), sk.open(swells["unmeasured"])
    stream = sk.Stream(
        {"s": silent, "u": unmeasured}, crop=sk.RandomCrop(1.0), sample_rate=8_000, loudness=True, **RANKS
    )
    batch = next(iter(stream))
    sources = np.array(batch.sources)
    assert np.isnan(batch.loudness[sources == "u"]).all()
    quiet = (sources == "s") & (batch.starts >= 8_000)
    assert quiet.any()
    assert np.isneginf(batch.loudness[quiet]).all()
    for crop in (None, sk.CenterCrop(1.0)):
        batch = next(iter(sk.Stream(silent, crop=crop, passes=1, batch_size=3, loudness=True, **RANKS)))
        whole = dict(zip(batch.keys, batch.loudness, strict=True))
        assert np.isneginf(whole["1"])
        assert np.isnan(whole[""])  # the third of two rows
        assert np.isfinite(whole["0"]) == (crop is None)


def test_it_is_of_what_is_stored_whatever_is_delivered(swells):
    view, options = sk.open(swells["high"]), {"crop": sk.RandomCrop(1.0), "loudness": True, **RANKS}
    plain = next(iter(sk.Stream(view, **options)))
    mixed = next(iter(sk.Stream(view, channels=1, **options)))
    resampled = next(iter(sk.Stream(view, sample_rate=16_000, **options)))
    assert plain.loudness.tolist() == mixed.loudness.tolist() == resampled.loudness.tolist()
    # Of two channels that have nothing in common, the mean has a quarter of the power that both together have.
    assert np.median(mixed.loudness - metered(mixed)) == pytest.approx(6.0, abs=0.2)


def test_each_view_has_the_loudness_of_its_own_crop(swells):
    stream = sk.Stream(sk.open(swells["low"]), crop=sk.SalientCrop(1.0), views=2, loudness=True, **RANKS)
    batch = next(iter(stream))
    assert batch.loudness.shape == (64,)
    assert np.median(np.abs(batch.loudness - metered(batch))) <= 0.1
    assert (batch.loudness[::2] != batch.loudness[1::2]).any()


def test_all_ranks_and_processes_say_the_same(swells):
    view, options = sk.open(swells["high"]), {"crop": sk.RandomCrop(0.7), "seed": 3, "loudness": True}
    whole = [batch.loudness for batch in islice(sk.Stream(view, batch_size=8, **options, **RANKS), 6)]
    ranks = [sk.Stream(view, batch_size=4, rank=rank, world_size=2, check_ranks=False, **options) for rank in (0, 1)]
    shares = [[batch.loudness for batch in islice(stream, 6)] for stream in ranks]
    stream = sk.Stream(view, batch_size=8, **options, **RANKS)
    batches = read_in_processes(stream, 0, num_processes=2)
    parallel = [batch.loudness for batch in islice(batches, 6)]
    batches.close()
    for expected, even, odd, found in zip(whole, *shares, parallel, strict=True):
        assert np.stack([even, odd], axis=1).ravel().tolist() == expected.tolist()
        assert found.tolist() == expected.tolist()


def test_asking_changes_nothing_else_and_reads_nothing_more(swells):
    options = {"crop": sk.RandomCrop(1.0), "passes": 1, "batch_size": 4, **RANKS}
    plain, told = (sk.Stream(sk.open(swells["low"]), loudness=asked, **options) for asked in (False, True))
    for without, with_it in zip(plain, told, strict=True):
        assert without.loudness is None
        assert with_it.loudness is not None
        assert np.array_equal(without.audio, with_it.audio)
        assert plain.state_dict() == told.state_dict()
    for count in ("requests", "bytes_read", "bytes_used"):
        assert plain.stats()[count] == told.stats()[count] > 0


def test_a_configuration_can_ask_for_it(swells, tmp_path):
    file = tmp_path / "mix.yaml"
    file.write_text(
        f"sources: {{low: {{url: {swells['low']}}}}}\ncrop: {{kind: random, duration_s: 1}}\nloudness: true\n"
    )
    batch = next(iter(sk.Stream.from_config(file, **RANKS)))
    assert np.isfinite(batch.loudness).all()


@given(
    tracks=st.lists(st.lists(st.sampled_from([0.0, 1e-9, 1e-7, 1e-3, 0.5]), max_size=12), min_size=1, max_size=5),
    beyond=st.integers(0, 3),
)
@settings(max_examples=100)
def test_spans_measured_together_are_as_each_alone(tracks, beyond):
    longest = max(map(len, tracks)) + beyond
    energies = np.full((len(tracks), longest), 0.25)
    for row, track in zip(energies, tracks, strict=True):
        row[: len(track)] = track
    found = spans_lufs(energies, np.array([len(track) for track in tracks]))
    assert found.tolist() == pytest.approx([integrated_lufs(np.array(track)) for track in tracks], abs=1e-9)
