"""How far shardkit's features are from torchaudio's, configuration by configuration.

    python -m tools.bench.parity            prints the table
    python -m tools.bench.parity --write    and puts it into docs/features.md

The same cases are held to their bounds by ``tests/nn/test_parity.py``. torchaudio is given what it computes by default:
float32. In float64 its filters still are of float32, so there its spectrogram is multiplied by ours.
"""

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor

from shardkit.nn import MFCC, Fbank, Features, LogMel, MelSpectrogram, Spectrogram

DOCS = Path(__file__).resolve().parents[2] / "docs" / "features.md"
BEGIN, END = "<!-- parity: written by python -m tools.bench.parity --write -->", "<!-- end of parity -->"

HEAD = "| features | options | float32: of the greatest value | float32: of the value itself | float64 |"
KINDS = ("Spectrogram", "MelSpectrogram", "LogMel", "MFCC", "Fbank")

RATE, TIME = 16_000, 16_123
# (n_fft, win_length, hop_length)
SIZES = [
    (400, 400, 160),
    (512, 400, 160),
    (1024, 400, 160),
    (400, 321, 100),
    (255, 255, 64),
    (401, 300, 77),
    (1024, 1024, 256),
    (2048, 1200, 480),
]
WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window, "blackman": torch.blackman_window}


@dataclass(frozen=True)
class Case:
    """Two ways to the same features.

    Attributes:
        row: Of the table it belongs to.
        ours: The module.
        theirs: What it should equal, as a function of audio of the given dtype.
        in_db: Factor that makes decibels of a difference of logarithms; None: differences are of energies or
            magnitudes, and told as parts of them.
        power: 2 for powers, 1 for magnitudes.
    """

    row: tuple[str, str]
    ours: Features
    theirs: Callable[[Tensor], Tensor]
    in_db: float | None = None
    power: float = 2.0

    def difference(self, dtype: torch.dtype) -> tuple[float, float]:
        """Return the worst difference: as part of the clip's greatest value (of logarithms: in dB), and of the value.

        Of the value itself, only within 60 dB of the greatest; of logarithms and cepstra, which cross zero, not: 0.
        """
        audio = probe().to(dtype)
        found, expected = self.ours.to(dtype)(audio), self.theirs(audio)
        assert found.shape == expected.shape, (self.row, found.shape, expected.shape)
        assert found.dtype == dtype
        difference, values = (found - expected).abs(), expected.abs()
        if self.in_db is not None:
            return float(difference.max()) * self.in_db, 0.0
        if self.row[0] == "MFCC":
            return float(difference.max() / values.max()), 0.0
        heard = values > values.max() * 10 ** (-3 * self.power)
        return float(difference.max() / values.max()), float((difference / values)[heard].max())


def probe() -> Tensor:
    """Return noise, a tone and a click over a second and an odd bit, float64, (1, 1, time)."""
    audio = 0.05 * torch.randn(TIME, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    audio += 0.3 * torch.sin(2 * torch.pi * 1_234.5 * torch.arange(TIME) / RATE)
    audio[9_000] += 0.9
    return audio.reshape(1, 1, -1)


def cases() -> Iterator[Case]:
    """Yield all comparisons; several may belong to a row."""
    for sizes, center, power in itertools.product(SIZES, (True, False), (2.0, 1.0)):
        yield from _mel_cases(sizes, center=center, power=power)
    for window, pad_mode in itertools.product(WINDOWS, ("reflect", "constant")):
        yield _windowed(window, pad_mode)
    yield from _log_cases()
    yield from _kaldi_cases()


def _mel_cases(sizes: tuple[int, int, int], *, center: bool, power: float) -> Iterator[Case]:
    n_fft, win_length, hop = sizes
    stft = {"n_fft": n_fft, "win_length": win_length, "hop_length": hop, "power": power, "center": center}
    told = f"n_fft {n_fft}, win {win_length}, hop {hop}"
    spectrogram = torchaudio.transforms.Spectrogram(**stft)
    ours = Spectrogram(sample_rate=RATE, frames="all", **stft)
    yield Case(("Spectrogram", told), ours, lambda audio: spectrogram.to(audio.dtype)(audio), power=power)
    for norm, scale in itertools.product((None, "slaney"), ("htk", "slaney")):
        mel = {"n_mels": 40, "norm": norm, "mel_scale": scale, "f_min": 30.0}
        ours = MelSpectrogram(sample_rate=RATE, frames="all", **stft, **mel)
        theirs = torchaudio.transforms.MelSpectrogram(sample_rate=RATE, **stft, **mel)
        yield Case(("MelSpectrogram", told), ours, _mels_of_torchaudio(ours, theirs), power=power)


def _mels_of_torchaudio(ours: MelSpectrogram, theirs: Any) -> Callable[[Tensor], Tensor]:
    """Return torchaudio's mels; of an odd n_fft and in float64 those of its spectrogram and our filters."""

    def mels(audio: Tensor) -> Tensor:
        module = theirs.to(audio.dtype)
        if audio.dtype == torch.float32 and theirs.n_fft % 2 == 0:
            return module(audio)
        return ours.filters.to(audio.dtype) @ module.spectrogram(audio)

    return mels


def _windowed(window: str, pad_mode: str) -> Case:
    stft = {"n_fft": 512, "win_length": 400, "hop_length": 160, "pad_mode": pad_mode}
    theirs = torchaudio.transforms.Spectrogram(window_fn=WINDOWS[window], **stft)
    ours = Spectrogram(sample_rate=RATE, frames="all", window=window, **stft)
    told = f"n_fft 512, win 400, hop 160, {window}, ends: {pad_mode}"
    return Case(("Spectrogram", told), ours, lambda audio: theirs.to(audio.dtype)(audio))


def _log_cases() -> Iterator[Case]:
    stft = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40, "f_min": 30.0}
    mels = torchaudio.transforms.MelSpectrogram(sample_rate=RATE, **stft)
    decibels = torchaudio.transforms.AmplitudeToDB("power", top_db=60.0)
    logs: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor], float]] = {
        "ln": ({}, torch.log, 10 / 2.302585),
        "log10": ({"log": "log10"}, torch.log10, 10.0),
        "db, top_db 60": ({"log": "db", "top_db": 60.0}, decibels, 1.0),
    }
    for told, (options, logarithm, in_db) in logs.items():
        ours = LogMel(sample_rate=RATE, frames="all", **stft, **options)
        energies = _mels_of_torchaudio(ours, mels)
        yield Case(
            ("LogMel", told),
            ours,
            lambda audio, logarithm=logarithm, energies=energies: logarithm(energies(audio).clamp(min=1e-10)),
            in_db,
        )
    for norm in ("ortho", None):
        ours = MFCC(sample_rate=RATE, frames="all", n_mfcc=20, dct_norm=norm, **stft)
        yield Case(("MFCC", f"db, top_db 80, 20 of 40, dct_norm {norm}"), ours, _mfcc_of_torchaudio(ours, stft, norm))


def _mfcc_of_torchaudio(ours: MFCC, stft: dict[str, Any], norm: str | None) -> Callable[[Tensor], Tensor]:
    theirs = torchaudio.transforms.MFCC(RATE, n_mfcc=20, norm=norm, melkwargs=stft)

    def mfcc(audio: Tensor) -> Tensor:
        module = theirs.to(audio.dtype)
        if audio.dtype == torch.float32:
            return module(audio)
        mels = ours.filters.double() @ module.MelSpectrogram.spectrogram(audio)
        return ours.dct.double() @ module.amplitude_to_DB(mels)

    return mfcc


def _kaldi_cases() -> Iterator[Case]:
    windows = {"povey": "povey", "hann": "hanning", "hamming": "hamming"}
    for (ours_called, called), num_bands in itertools.product(windows.items(), (80, 23)):
        ours = Fbank(sample_rate=RATE, window=ours_called, n_mels=num_bands)
        yield Case(
            ("Fbank", f"25 ms, 10 ms, {ours_called}, {num_bands} bands"),
            ours,
            lambda audio, called=called, num_bands=num_bands: torchaudio.compliance.kaldi.fbank(
                audio[0], dither=0.0, window_type=called, num_mel_bins=num_bands
            ).T.reshape(1, 1, num_bands, -1),
            10 / 2.302585,
        )


def table() -> str:
    """Return the table of worst differences, in Markdown."""
    worst: dict[tuple[str, str], list[float]] = {}
    in_db: dict[tuple[str, str], bool] = {}
    for case in cases():
        differences = *case.difference(torch.float32), case.difference(torch.float64)[0]
        worst[case.row] = [max(pair) for pair in zip(worst.get(case.row, (0.0,) * 3), differences, strict=True)]
        in_db[case.row] = case.in_db is not None
    lines = [HEAD, "|---|---|---|---|---|"]
    for row in sorted(worst, key=lambda row: KINDS.index(row[0])):
        unit = " dB" if in_db[row] else ""
        single, of_itself, double = worst[row]
        told = f"{of_itself:.0e}" if of_itself else ""
        lines.append(f"| {' | '.join(row)} | {single:.0e}{unit} | {told} | {double:.0e}{unit} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or put it where it belongs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/features.md")
    write = parser.parse_args().write
    warnings.simplefilter("error")
    made = table()
    print(made)
    if write:
        before, rest = DOCS.read_text().split(BEGIN)
        after = rest.split(END)[1]
        DOCS.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")


if __name__ == "__main__":
    main()
