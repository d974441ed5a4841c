"""A written clip gives back exactly the samples that were given."""

import numpy as np
import pytest
import soundfile

from shardkit.core.errors import InputError, StorageError
from shardkit.report.clip import write_audio

CHANCE = np.random.default_rng(0)
PCM_16 = (CHANCE.integers(-(2**15), 2**15, (2, 500)) / 2**15).astype(np.float32)
PCM_24 = (CHANCE.integers(-(2**23), 2**23, (2, 500)) / 2**23).astype(np.float32)
FLOAT = CHANCE.uniform(-2, 2, (2, 500)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "name", "subtype"),
    [
        (PCM_16, "a.wav", "PCM_16"),
        (PCM_16, "a.flac", "PCM_16"),
        (PCM_24, "a.wav", "PCM_24"),
        (PCM_24, "a.FLAC", "PCM_24"),
        (FLOAT, "a.wav", "FLOAT"),
        (PCM_16[:1, :1], "a.flac", "PCM_16"),
    ],
)
def test_the_file_holds_the_samples_in_the_smallest_format_that_can(tmp_path, samples, name, subtype):
    path = write_audio(samples, 44_100, str(tmp_path / name))
    assert soundfile.info(path).subtype == subtype
    again, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == 44_100
    assert np.array_equal(again.T, samples)


def test_what_a_flac_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"write a \.wav"):
        write_audio(FLOAT, 44_100, tmp_path / "a.flac")


@pytest.mark.parametrize("name", ["a.mp3", "a"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"\.wav or \.flac"):
        write_audio(PCM_16, 44_100, tmp_path / name)


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="can't be written"):
        write_audio(PCM_16, 44_100, tmp_path / "none" / "a.wav")
