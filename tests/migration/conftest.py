"""Recordings as spgdataset's users have them, made of real speech."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly


@pytest.fixture(scope="session")
def speech(data_dir: Path) -> NDArray[np.int16]:
    """Twelve seconds of spoken digits at 16 kHz."""
    paths = sorted(data_dir.glob("digits/?_george_?.wav"))[:40]
    samples = np.concatenate([soundfile.read(path)[0] for path in paths])
    return (resample_poly(samples, 2, 1)[: 12 * 16_000] * 0.9 * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
