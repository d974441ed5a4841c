"""Recordings of every kind that is packed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

# name: (soundfile's format, subtype, channels, rate)
KINDS = {
    "u8.wav": ("WAV", "PCM_U8", 1, 8000),
    "s16.wav": ("WAV", "PCM_16", 2, 16000),
    "s24.wav": ("WAV", "PCM_24", 1, 44100),
    "s16.aiff": ("AIFF", "PCM_16", 1, 22050),
    "s16.flac": ("FLAC", "PCM_16", 2, 48000),
    "vorbis.ogg": ("OGG", "VORBIS", 1, 16000),
    "opus.opus": ("OGG", "OPUS", 1, 48000),
    "lame.mp3": ("MP3", "MPEG_LAYER_III", 1, 22050),
}


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one recording of each kind, half a second to a second each."""
    folder = tmp_path_factory.mktemp("kinds")
    for i, (name, (container, subtype, channels, rate)) in enumerate(KINDS.items()):
        samples = np.random.default_rng(i).uniform(-0.4, 0.4, (rate // 2 + 1000 * i, channels))
        soundfile.write(folder / f"{i} {name}", samples, rate, format=container, subtype=subtype)
    return folder
