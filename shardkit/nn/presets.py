"""Features as others compute them, by name.

| name | kind | what it is equal to |
|---|---|---|
| ``torchaudio`` | MelSpectrogram | ``torchaudio.transforms.MelSpectrogram`` with its defaults; no logarithm |
| ``whisper`` | LogMel | ``log_mel_spectrogram`` of openai/whisper, 80 bands; 128 with ``n_mels=128`` |
| ``spgdataset`` | LogMel | the same, each clip then of mean 0 and standard deviation 1 |
| ``audax`` | LogMel | audax's log-mel, with the window where torch puts it, periodic |
| ``kaldi-like`` | Fbank | ``torchaudio.compliance.kaldi.fbank`` with 80 bands and no dither |
"""

from typing import Any

from shardkit.core.errors import InputError
from shardkit.nn.config import from_config
from shardkit.nn.features import Features

_WHISPER = {
    "kind": "LogMel",
    "sample_rate": 16_000,
    "n_fft": 400,
    "hop_length": 160,
    "frames": "whole",  # it drops the last of 1 + time // hop
    "n_mels": 80,
    "norm": "slaney",
    "mel_scale": "slaney",
    "log": "whisper",
    "floor": 1e-10,
}

PRESETS: dict[str, dict[str, Any]] = {
    "torchaudio": {
        "kind": "MelSpectrogram",
        "sample_rate": 16_000,
        "n_fft": 400,
        "hop_length": 200,
        "frames": "all",
        "n_mels": 128,
    },
    "whisper": _WHISPER,
    "spgdataset": {**_WHISPER, "normalize": True},
    "audax": {
        "kind": "LogMel",
        "sample_rate": 16_000,
        "n_fft": 1024,
        "win_length": 400,
        "hop_length": 160,
        "n_mels": 64,
        "f_min": 60.0,
        "f_max": 7_800.0,
        "floor": 1e-8,
    },
    "kaldi-like": {"kind": "Fbank", "sample_rate": 16_000, "win_length": 400, "hop_length": 160, "n_mels": 80},
}


def preset(name: str, **changes: Any) -> Features:
    """Return features as others compute them; this module's table says which there are.

    Args:
        name: Of the preset.
        changes: Options to be otherwise, such as ``n_mels=128`` or ``sample_rate=32_000``.

    Raises:
        InputError: There is no preset of that name, or its kind of features has no such option.

    >>> preset("whisper", n_mels=128).num_frames(480_000)
    3000
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return from_config({**PRESETS[name], **changes})
