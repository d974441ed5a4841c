"""libsndfile reads from a descriptor, which neither a success nor a failure leaves open."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from shardkit.audio.whole import SequentialFile, open_stream, read_block
from shardkit.core.errors import AudioError

linux = pytest.mark.skipif(sys.platform != "linux", reason="descriptors of memory are Linux's")


def vorbis(seconds=2):
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, (seconds * 48_000, 2))
    soundfile.write(file, noise, 48_000, format="OGG", subtype="VORBIS")
    return file.getvalue()


@linux
def test_no_descriptor_stays_open():
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    raw, before = vorbis(), count()
    for data in (raw, b"nonsense" * 10, b""):
        for _ in range(5):
            try:
                with open_stream(data) as file:
                    read_block(file, 1000, "float32")
            except AudioError:
                assert data != raw
    assert count() == before


@linux
def test_decoding_makes_no_call_into_python():
    """Each would wait for its turn beside a thread that is busy."""
    called = []
    with open_stream(vorbis()) as file:
        sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
        try:
            block = read_block(file, 96_000, "float32")
        finally:
            sys.setprofile(None)
    assert len(block) == 96_000
    assert not [name for name in called if name.startswith("vio")]
    with SequentialFile(io.BytesIO(vorbis())) as file:
        sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
        try:
            file.read(96_000)
        finally:
            sys.setprofile(None)
    assert [name for name in called if name.startswith("vio")]
