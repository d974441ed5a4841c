"""What audax got wrong, one by one, and that it is not so here: docs/from-audax.md."""

import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import shardkit as sk
from shardkit.nn import Clips, LogMel, MelSpectrogram, Spectrogram
from shardkit.nn.augment import MixUp, SpecAugment
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

RATE = 16_000
ALONE = {"rank": 0, "world_size": 1}


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, shape, dtype=np.int16)


def packed(folder: Path, recordings: dict[str, np.ndarray], *, rate: int = RATE, **options: object) -> sk.Dataset:
    for name, samples in recordings.items():
        (folder / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "audio" / name, samples, rate, subtype="PCM_16")
    settings = PackOptions(**({"workers": 1} | options))
    pack(locate(folder / "audio"), locate(folder / "shards"), inputs=InputOptions(), options=settings)
    return sk.open(folder / "shards")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    return packed(tmp_path_factory.mktemp("clips"), {f"{i:02d}.wav": noise(i, 8000) for i in range(50)})


def test_log_mels_are_torchaudios_where_the_window_is_short():
    torchaudio = pytest.importorskip("torchaudio")
    audio = torch.from_numpy(noise(0, 2, 1, 5 * RATE) / np.float32(2**15))
    options = {"sample_rate": RATE, "n_fft": 1024, "win_length": 400, "hop_length": 160, "n_mels": 64}
    expected = torchaudio.transforms.MelSpectrogram(**options, f_min=60.0, f_max=7800.0)(audio)
    found = LogMel(**options, f_min=60.0, f_max=7800.0, floor=1e-8, frames="all")(audio)
    assert found.shape == (2, 1, 64, 501)  # 504 there
    assert torch.allclose(found, expected.clamp(min=1e-8).log(), atol=1e-4)
    click = torch.zeros(1, 1, RATE)
    click[..., 8000] = 1.0
    power = Spectrogram(sample_rate=RATE, n_fft=1024, win_length=400, hop_length=160)(click).sum(dim=2)[0, 0]
    assert int(power.argmax()) == 8000 // 160  # and not 312 samples beside it
    assert torch.allclose(power[49], power[51], rtol=1e-4)


def test_the_slaney_scale_is_used():
    torchaudio = pytest.importorskip("torchaudio")
    audio = torch.from_numpy(noise(1, 1, 1, RATE) / np.float32(2**15))
    options = {"sample_rate": RATE, "n_fft": 512, "hop_length": 160, "n_mels": 40, "norm": "slaney"}
    found = {}
    for scale in ("slaney", "htk"):
        expected = torchaudio.transforms.MelSpectrogram(**options, mel_scale=scale)(audio)
        found[scale] = MelSpectrogram(**options, mel_scale=scale, frames="all")(audio)
        assert torch.allclose(found[scale], expected, rtol=1e-4, atol=1e-9)
    assert not torch.allclose(found["slaney"], found["htk"], rtol=0.1)


@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_every_mode_of_padding_works(mode):
    audio = torch.from_numpy(noise(2, 1, 1, RATE) / np.float32(2**15))
    found = Spectrogram(sample_rate=RATE, n_fft=512, hop_length=160, pad_mode=mode, frames="all")(audio)
    window = torch.hann_window(512)
    expected = torch.stft(audio[0], 512, 160, window=window, pad_mode=mode, return_complex=True).abs() ** 2
    assert torch.allclose(found[0], expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(sk.InputError, match="pad_mode is 'mirror'; choose one of reflect, constant"):
        Spectrogram(sample_rate=RATE, n_fft=512, hop_length=160, pad_mode="mirror")


def clips_of(rows: int, first: int = 0) -> Clips:
    return Clips(
        audio=torch.zeros(rows, 1, 16_000),
        sample_rate=RATE,
        features=torch.ones(rows, 1, 64, 100),
        labels=torch.eye(rows),
        positions=torch.arange(first, first + rows),
    )


def test_a_masks_place_does_not_follow_from_its_width():
    step = SpecAugment(max_bands=20, max_frames=50)
    drawn = step.draw(clips_of(4000))
    width = (drawn["frame_stop"] - drawn["frame_start"]).double()
    place = drawn["frame_start"] / (100 - width)  # of all places where it fits: 0 first, 1 last
    assert abs(float(torch.corrcoef(torch.stack([width.flatten(), place.flatten()]))[0, 1])) < 0.05
    wide = place[width >= 40]
    assert float(wide.mean()) == pytest.approx(0.5, abs=0.05)  # there, near 1
    assert width.max() == 50


def test_each_position_draws_masks_and_mixup_of_its_own():
    whole = clips_of(64)
    masked = SpecAugment()(whole).features
    assert len({row.numpy().tobytes() for row in masked}) == 64
    shares = MixUp(alpha=0.4, on="features").draw(whole)["share"]
    assert len(set(shares.tolist())) > 60
    for rank in range(4):  # what a device draws is its positions', not its number's
        mine = torch.arange(rank, 64, 4)
        part = Clips(audio=whole.audio[mine], sample_rate=RATE, features=whole.features[mine], positions=mine)
        assert torch.equal(SpecAugment()(part).features, masked[mine])


def test_two_views_differ_in_evaluation_too(clips):
    for passes in (None, 1):
        stream = sk.Stream(clips, crop=sk.RandomCrop(0.1), views=2, batch_size=10, passes=passes, **ALONE)
        batch = next(iter(stream))
        assert batch.keys[0::2] == batch.keys[1::2]
        assert (batch.starts[0::2] != batch.starts[1::2]).all()


@pytest.mark.parametrize("world_size", [2, 5])
def test_ranks_share_the_recordings(clips, world_size):
    streams = [sk.Stream(clips, passes=1, batch_size=5, rank=r, world_size=world_size) for r in range(world_size)]
    parts = [[key for batch in stream for key in np.array(batch.keys)[batch.valid]] for stream in streams]
    assert sorted(key for part in parts for key in part) == sorted(clips.keys())
    read = [stream.stats()["bytes_used"] for stream in streams]
    assert max(read) < 2 * min(read)


def test_samples_are_shuffled_and_not_only_files(clips):
    assert clips.manifest.totals.shards == 1  # one file, the order in which would be that of each epoch
    stream = sk.Stream(clips, batch_size=50, **ALONE)
    epochs = [batch.keys for batch in islice(stream, 3)]
    assert all(Counter(keys) == Counter(clips.keys()) for keys in epochs)
    assert len({tuple(keys) for keys in [*epochs, clips.keys()]}) == 4


@pytest.mark.parametrize("batch_size", [7, 16, 64])
def test_evaluation_has_every_recording_once(clips, batch_size):
    batches = list(sk.Stream(clips, passes=1, batch_size=batch_size, **ALONE))
    found = [key for batch in batches for key in np.array(batch.keys)[batch.valid]]
    assert sorted(found) == sorted(clips.keys())
    assert {len(batch) for batch in batches} == {batch_size}


def test_two_channels_are_mixed_and_not_interleaved(tmp_path):
    samples = noise(3, 4000, 2)
    dataset = packed(tmp_path, {"a.flac": samples})
    (both,) = sk.Stream(dataset, passes=1, batch_size=1, **ALONE)
    assert np.array_equal(both.audio[0], samples.T / np.float32(2**15))
    (one,) = sk.Stream(dataset, channels=1, passes=1, batch_size=1, **ALONE)
    assert one.audio.shape == (1, 1, 4000)
    assert np.allclose(one.audio[0, 0], samples.mean(axis=1) / 2**15, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_short_recordings_are_padded_and_not_tiled(tmp_path, channels):
    samples = noise(4, 1000, channels)
    dataset = packed(tmp_path, {"a.wav": samples, "long.wav": noise(5, 9000, channels)})
    batch = next(iter(sk.Stream(dataset, crop=sk.CenterCrop(0.25), batch_size=2, passes=1, **ALONE)))
    (row,) = (i for i, key in enumerate(batch.keys) if key == "a")
    assert np.array_equal(batch.audio[row, :, :1000], samples.T / np.float32(2**15))
    assert batch.lengths[row] == 1000
    assert not batch.audio[row, :, 1000:].any()


def test_other_rates_are_resampled(tmp_path):
    tone = np.sin(2 * np.pi * 440.0 * np.arange(44_100) / 44_100)
    dataset = packed(tmp_path, {"a.wav": (tone * 2**14).astype(np.int16)}, rate=44_100)
    (batch,) = sk.Stream(dataset, sample_rate=RATE, passes=1, batch_size=1, **ALONE)
    power = np.abs(np.fft.rfft(batch.audio[0, 0] * np.hanning(batch.audio.shape[2])))
    assert batch.audio.shape == (1, 1, RATE)
    assert power.argmax() == 440


def test_flac_lies_in_the_tar_as_it_is(tmp_path):
    packed(tmp_path, {"a.flac": noise(6, 9000)})
    with tarfile.open(tmp_path / "shards/train/000000.tar", "r:") as tar:  # no compression
        (member,) = (member for member in tar if member.name.endswith(".flac"))
        assert tar.extractfile(member).read() == (tmp_path / "audio/a.flac").read_bytes()  # type: ignore[union-attr]
