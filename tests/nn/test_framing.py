"""One timebase: frames are counted as they come out, and lie where a batch's masks have them."""

import json

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.nn import Fbank, LogMel, Spectrogram
from shardkit.nn.framing import Framing
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

RATE, HOP = 8_000, 80


@given(
    time=st.integers(0, 1_500),
    hop=st.integers(1, 700),
    n_fft=st.sampled_from([1, 2, 16, 255, 400]),
    center=st.booleans(),
    pad_mode=st.sampled_from(["reflect", "constant"]),
    frames=st.sampled_from(["aligned", "whole", "all"]),
)
@settings(max_examples=150)
def test_num_frames_is_what_forward_gives(time, hop, n_fft, center, pad_mode, frames):
    options = {"n_fft": n_fft, "hop_length": hop, "center": center, "pad_mode": pad_mode, "frames": frames}
    module = Spectrogram(sample_rate=RATE, **options)
    found = module(torch.ones(2, 1, time))
    assert found.shape == (2, 1, n_fft // 2 + 1, module.num_frames(time))
    assert torch.isfinite(found).all()
    if center and frames == "aligned":
        assert module.num_frames(time) == -(-time // hop)
    if center and frames == "whole":
        assert module.num_frames(time) == time // hop
    if time > n_fft // 2 and frames == "all" and (center or time >= n_fft):
        stft = torch.stft(torch.ones(time), n_fft, hop, window=torch.ones(n_fft), center=center, return_complex=True)
        assert module.num_frames(time) == stft.shape[-1]


@given(time=st.integers(0, 1_500), hop=st.integers(1, 700), win_length=st.sampled_from([1, 2, 255, 400]))
@settings(max_examples=60)
def test_num_frames_of_fbank_is_what_forward_gives(time, hop, win_length):
    module = Fbank(sample_rate=RATE, win_length=win_length, hop_length=hop, n_fft=512, n_mels=8)
    assert module(torch.ones(1, 2, time)).shape == (1, 2, 8, module.num_frames(time))
    assert module.num_frames(time) == (0 if time == 0 else 1 + max(0, time - win_length) // hop)


@given(time=st.integers(1, 1_000), hop=st.integers(1, 300), n_fft=st.integers(1, 400), center=st.booleans())
@settings(max_examples=100)
def test_frame_i_is_made_of_the_samples_it_says(time, hop, n_fft, center):
    """Samples are numbered from 1, so that what was made up, zeros here, can be told from them."""
    framing = Framing(n_fft=n_fft, hop_length=hop, center=center, pad_mode="constant", frames="all")
    numbers = torch.arange(1, time + 1).float().unsqueeze(0)
    frames = framing.padded(numbers)[0].unfold(-1, n_fft, hop)
    assert len(frames) == framing.num_frames(time)
    starts = torch.arange(len(frames)).unsqueeze(-1) * hop - (n_fft // 2 if center else 0)
    expected = starts + torch.arange(n_fft) + 1
    expected[(expected < 1) | (expected > time)] = 0
    assert torch.equal(frames, expected.float())


@pytest.mark.parametrize("place", [0, 1, 39, 40, 41, 79, 80, 400, 777, 4_000])
def test_a_click_is_loudest_in_the_centred_frame_nearest_to_it(place):
    audio = torch.zeros(1, 1, RATE)
    audio[..., place] = 1.0
    energies = Spectrogram(sample_rate=RATE, n_fft=256, hop_length=HOP, pad_mode="constant")(audio).sum(dim=-2)
    distances = (torch.arange(energies.shape[-1]) * HOP - place).abs()
    assert distances[energies[0, 0].argmax()] == distances.min()


def test_a_click_is_in_just_those_frames_whose_samples_have_it():
    audio, place, n_fft = torch.zeros(1, 1, 4_000), 1_234, 256
    audio[..., place] = 1.0
    options = {"sample_rate": RATE, "n_fft": n_fft, "hop_length": HOP, "window": "rectangular"}
    for center, first in ((True, -(n_fft // 2)), (False, 0)):
        energies = Spectrogram(center=center, **options)(audio).sum(dim=-2)[0, 0]
        starts = torch.arange(len(energies)) * HOP + first
        assert torch.equal(energies > 1e-6, (starts <= place) & (place < starts + n_fft))


def test_masks_of_a_stream_mark_the_frames_that_hear_the_event(tmp_path):
    """Clicks that are packed with their intervals, as a stream delivers them."""
    places = [HOP * frame for frame in (20, 47, 90)]
    samples = np.zeros(RATE, dtype=np.float32)
    samples[places] = 0.9
    soundfile.write(tmp_path / "clicks.wav", samples, RATE)
    intervals = [["click", place / RATE, (place + 1) / RATE] for place in places]
    (tmp_path / "in.jsonl").write_text(json.dumps({"path": "clicks.wav", "intervals": intervals}))
    pack(
        locate(tmp_path / "in.jsonl"),
        locate(tmp_path / "dataset"),
        inputs=InputOptions(),
        options=PackOptions(workers=1),
    )
    stream = sk.Stream(sk.open(tmp_path / "dataset"), crop=None, batch_size=1, mask_hop=HOP, rank=0, world_size=1)
    batch = next(iter(stream))
    energies = LogMel(sample_rate=RATE, n_fft=256, hop_length=HOP, n_mels=20)(torch.from_numpy(batch.audio))
    mask = torch.from_numpy(batch.masks["click"])[0]
    assert energies.shape[-1] == len(mask)
    loudest = energies[0, 0].mean(dim=0).topk(3).indices.sort().values
    assert torch.equal(loudest, mask.nonzero().flatten())


def test_audio_too_short_for_a_frame_that_is_not_centred_is_as_if_followed_by_zeros():
    module = Spectrogram(sample_rate=RATE, n_fft=256, center=False)
    audio = torch.randn(2, 1, 100)
    torch.testing.assert_close(module(audio), module(torch.nn.functional.pad(audio, (0, 156))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 0}, "n_fft is 0"),
        ({"hop_length": 1.5}, "hop_length is 1.5; it must be a whole number"),
        ({"center": "yes"}, "center is 'yes'"),
        ({"pad_mode": "circular"}, "pad_mode is 'circular'; choose one of reflect, constant"),
        ({"frames": "some"}, "frames is 'some'; choose one of aligned, whole, all"),
    ],
)
def test_options_that_can_not_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Framing(**{"n_fft": 400, "hop_length": 160, **options})
