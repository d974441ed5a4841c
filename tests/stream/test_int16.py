"""Audio as int16: half the bytes, and the same values."""

from itertools import islice

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.conftest import noise


def both(view, **options):
    """Yield the batches of two streams that differ in their type alone."""
    floats, integers = (sk.Stream(view, batch_size=4, dtype=dtype, **options) for dtype in ("float32", "int16"))
    assert floats.state_dict() == integers.state_dict()
    return islice(zip(floats, integers, strict=False), 8)


@pytest.fixture(scope="module")
def eight_bits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eight")
    for i in range(6):
        soundfile.write(folder / f"{i}.wav", noise(i, 3000 + i, 3), 8000, subtype="PCM_U8")
    out = {}
    for codec in ("flac", "wav"):
        out[codec] = folder / codec
        options = PackOptions(codec=codec, workers=1)
        pack(locate(folder), locate(out[codec]), inputs=InputOptions(), options=options)
    return out


@pytest.mark.parametrize("name", ["clips", "tracks"])
@pytest.mark.parametrize("crop", [None, sk.RandomCrop(0.2), sk.RandomCrop(0.4)])
def test_times_a_power_of_two_it_is_float32(datasets, name, crop):
    fields = ["vocals"] if name == "tracks" else []
    for one, other in both(sk.open(datasets[name]), crop=crop, fields=fields):
        assert (one.audio.dtype, other.audio.dtype) == (np.float32, np.int16)
        assert list(one.keys) == list(other.keys)
        assert np.any(other.audio)
        np.testing.assert_array_equal(one.audio, other.audio * np.float32(2.0**-15))
        for field in fields:
            np.testing.assert_array_equal(one.fields[field], other.fields[field] * np.float32(2.0**-15))
            np.testing.assert_array_equal(one.present[field], other.present[field])


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_eight_bits_and_three_channels_too(eight_bits, codec):
    for one, other in both(sk.open(eight_bits[codec]), crop=sk.RandomCrop(0.1)):
        np.testing.assert_array_equal(one.audio, other.audio * np.float32(2.0**-15))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"sample_rate": 8000}, "16000 Hz; the stream has 2 channels at 8000 Hz"),
        ({"channels": 1}, "2 channels; the stream has 1 channels at 16000 Hz"),
        ({"dtype": "int8"}, "dtype is 'int8'; choose float32 or int16"),
    ],
)
def test_what_would_have_to_be_computed_is_float32(datasets, options, found):
    with pytest.raises(sk.InputError, match=found):
        sk.Stream(sk.open(datasets["tracks"]), **{"dtype": "int16", **options})


@pytest.mark.parametrize(
    ("subtype", "extension", "found"),
    [("PCM_24", "wav", "24 bits"), ("FLOAT", "wav", "floats or a lossy codec"), ("VORBIS", "ogg", "lossy codec")],
)
def test_what_int16_can_not_hold_is_refused(tmp_path, subtype, extension, found):
    soundfile.write(tmp_path / f"a.{extension}", noise(1, 8000, 1) / 40000, 8000, subtype=subtype)
    options = PackOptions(codec="keep" if extension == "ogg" else "wav", workers=1)
    pack(locate(tmp_path), locate(tmp_path / "out"), inputs=InputOptions(), options=options)
    with pytest.raises(sk.InputError, match=found + ".*choose dtype='float32'"):
        sk.Stream(sk.open(tmp_path / "out"), dtype="int16")


def test_a_loader_makes_float32_of_it(datasets, tmp_path):
    pytest.importorskip("torch")
    from shardkit.train.loader import Loader  # noqa: PLC0415  (torch is optional)

    view = sk.open(datasets["tracks"])
    options = {"crop": sk.RandomCrop(0.4), "batch_size": 4, "fields": ["vocals"]}
    for workers in (0, 1):
        loaders = [
            Loader(sk.Stream(view, dtype=dtype, **options), device="cpu", workers=workers)
            for dtype in ("float32", "int16")
        ]
        for one, other in islice(zip(*loaders, strict=False), 4):
            assert other.audio.dtype == one.audio.dtype
            assert other.audio.equal(one.audio)
            assert other.fields["vocals"].equal(one.fields["vocals"])
