"""Pieces: together all frames, and of the values that the whole recording gives."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.errors import AudioError
from shardkit.features.pieces import PIECE_SAMPLES, Piece, audio_of, pieces_of
from shardkit.nn import Features, from_config, preset
from shardkit.nn.presets import PRESETS
from tests.features.conftest import LONG_S, RATE, sounds

KINDS = {
    "not centred": {"kind": "Spectrogram", "sample_rate": RATE, "center": False, "n_fft": 1000, "hop_length": 70},
    "hop beyond window": {"kind": "MelSpectrogram", "sample_rate": RATE, "n_fft": 256, "hop_length": 999, "n_mels": 20},
    "zeros at the ends": {"kind": "LogMel", "sample_rate": RATE, "n_fft": 512, "pad_mode": "constant", "frames": "all"},
    "decibels": {"kind": "LogMel", "sample_rate": RATE, "log": "db", "top_db": 60.0},
    "MFCC": {"kind": "MFCC", "sample_rate": RATE},
    "PCEN": {"kind": "PCEN", "sample_rate": RATE},
}
MODULES = {name: preset(name, n_mels=64) for name in PRESETS} | {
    name: from_config(config) for name, config in KINDS.items()
}


@pytest.mark.parametrize("name", MODULES)
def test_pieces_give_what_the_whole_recording_gives(name: str) -> None:
    module = MODULES[name]
    audio = torch.from_numpy(sounds(3, LONG_S, channels=2).T.astype(np.float32))
    num_samples = audio.shape[1]
    pieces = pieces_of(num_samples, module.num_frames(num_samples), hop_length=module.hop_length, reach=module.reach)
    assert len(pieces) > 2
    parts = [module.per_frame(audio[None, :, one.start : one.stop])[..., one.skip :] for one in pieces]
    together = torch.cat([part[..., : one.last - one.first] for part, one in zip(parts, pieces, strict=True)], -1)
    torch.testing.assert_close(module.per_clip(together), module(audio[None]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_a_clip_in_one_piece_is_computed_as_ever(name: str) -> None:
    module, audio = MODULES[name], torch.from_numpy(sounds(4, 1.234).T.astype(np.float32))[None]
    assert torch.equal(module.per_clip(module.per_frame(audio)), module(audio))
    assert module.is_per_frame is torch.equal(module.per_frame(audio), module(audio))


@given(
    num_samples=st.integers(1, 5_000_000),
    hop=st.integers(1, 5_000),
    reach=st.integers(1, 9_000) | st.none(),
)
def test_pieces_are_all_frames_once_and_no_larger_than_said(num_samples: int, hop: int, reach: int | None) -> None:
    num_frames = -(-num_samples // hop)
    pieces = pieces_of(num_samples, num_frames, hop_length=hop, reach=reach)
    assert [one.first for one in pieces] == [0, *(one.last for one in pieces[:-1])]
    assert pieces[-1].last == num_frames
    assert pieces[-1].stop == num_samples
    for one in pieces:
        assert one.start == (one.first - one.skip) * hop
        if reach is None:
            assert one == Piece(0, num_frames, 0, num_samples, 0)
            continue
        assert one.stop - one.start <= PIECE_SAMPLES + 2 * reach + 6 * hop
        assert one.start == 0 or one.start <= one.first * hop - reach
        assert one.stop == num_samples or one.stop >= (one.last - 1) * hop + reach


@given(sizes=st.lists(st.integers(0, 400_000), min_size=1, max_size=12).filter(any))
def test_blocks_of_any_size_make_the_same_pieces(sizes: list[int]) -> None:
    num_samples = sum(sizes)
    samples = np.arange(num_samples, dtype=np.float32)[None]
    cuts = np.cumsum([0, *sizes])
    blocks = [samples[:, first:last] for first, last in pairwise(cuts)]
    pieces = pieces_of(num_samples, -(-num_samples // 160), hop_length=160, reach=400)
    for one, audio in audio_of(pieces, blocks):
        np.testing.assert_array_equal(audio, samples[:, one.start : one.stop])


def test_a_recording_that_ends_too_early() -> None:
    with pytest.raises(AudioError, match="truncated: it has 90 samples, where the index says 100"):
        list(audio_of(pieces_of(100, 1, hop_length=160, reach=400), [np.zeros((1, 90), np.float32)]))


def test_a_module_that_does_not_say_what_a_frame_sees_gets_everything() -> None:
    assert Features.reach is None
    assert len(pieces_of(10**9, 10**6, hop_length=1000, reach=None)) == 1
