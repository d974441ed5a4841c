"""Long stereo pieces of music-like sound, in one folder a style, with a quiet beginning and end.

    |      intro      |     body     |      outro      |
    |  quiet  | swell |     loud     | fade  |  quiet  |

The body reads about -12 LUFS and the quiet of intro and outro about -48, below the -40 that is a usual floor for
salient crops.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.synth.checks import check_choices, check_count, check_durations, check_rate, scaled_count
from shardkit.synth.instruments import Band
from shardkit.synth.output import SourceFolder, Written
from shardkit.synth.randomness import generator
from shardkit.synth.score import BEATS_A_BAR, KEYS, STYLES, compose
from shardkit.synth.waves import Samples

QUIET = 0.12  # of a piece: the intro, and the outro
QUIET_DB = -36.0
SWELL = 0.25  # of the intro, right before the body, in which the level rises; the outro falls likewise
PEAK = 0.89  # -1 dBFS
ECHO_GAIN = 0.25
COLUMNS = ("path", "style", "key", "tempo_bpm", "body_start_s", "body_stop_s")
LOWEST_RATE = 16_000  # hats are hiss above 6 kHz
LOWEST_DURATION_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MusicOptions:
    """Which pieces to make.

    Attributes:
        num_pieces: Taking turns among the styles.
        styles: Of ``calm`` and ``bright``; each is a folder.
        min_duration_s: Of the shortest piece.
        max_duration_s: Of the longest piece.
        sample_rate: In Hz.
        container: ``flac`` or ``wav``, both PCM16.
    """

    num_pieces: int = 4
    styles: tuple[str, ...] = tuple(STYLES)
    min_duration_s: float = 60.0
    max_duration_s: float = 90.0
    sample_rate: int = 44_100
    container: str = "flac"

    def __post_init__(self) -> None:
        """Refuse what can't be made, before anything is written."""
        check_count("num_pieces", self.num_pieces)
        check_choices("styles", self.styles, tuple(STYLES))
        check_rate(self.sample_rate, lowest=LOWEST_RATE)
        check_durations(self.min_duration_s, self.max_duration_s, lowest_s=LOWEST_DURATION_S)
        if self.container not in ("flac", "wav"):
            raise InputError(f"container is {self.container!r}; choose flac or wav")

    def scaled(self, factor: float) -> "MusicOptions":
        """Return the same with ``factor`` times the pieces."""
        return replace(self, num_pieces=scaled_count(self.num_pieces, factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece before it is made; [body_start, body_stop) is what lies between intro and outro, in samples."""

    index: int
    style: str
    key: int
    tempo_bpm: int
    frames: int
    body_start: int
    body_stop: int

    def path(self, container: str) -> str:
        """Return where it goes, relative to ``music/``; with a space, as people's recordings have."""
        return f"{self.style}/Piece {self.index + 1:02d}.{container}"


def pieces(options: MusicOptions, seed: int) -> Iterator[Piece]:
    """Yield the pieces that ``options`` ask for; piece i is the same however many there are."""
    for index in range(options.num_pieces):
        rng = generator(seed, "piece", index)
        name = options.styles[index % len(options.styles)]
        frames = round(rng.uniform(options.min_duration_s, options.max_duration_s) * options.sample_rate)
        quiet = round(QUIET * frames)
        yield Piece(
            index=index,
            style=name,
            key=int(rng.integers(12)),
            tempo_bpm=int(rng.integers(*STYLES[name].tempo_bpm, endpoint=True)),
            frames=frames,
            body_start=quiet,
            body_stop=frames - quiet,
        )


def perform(piece: Piece, *, seed: int, sample_rate: int) -> NDArray[np.float32]:
    """Return the samples of a piece, (time, channel) in stereo, its peak at ``PEAK``."""
    style = STYLES[piece.style]
    beat = 60.0 / piece.tempo_bpm * sample_rate
    num_bars = int(np.ceil(piece.frames / (beat * BEATS_A_BAR)))
    notes = compose(style, key=piece.key, num_bars=num_bars, rng=generator(seed, "score", piece.index))
    band = Band(style, tempo_bpm=piece.tempo_bpm, sample_rate=sample_rate, seed=seed)
    mix = np.zeros((piece.frames, 2), dtype=np.float32)
    for note in notes:
        start, sound = round(note.start * beat), note.gain * band.play(note)
        # Constant-power panning: the squares of the two gains add up to 1.
        angle = (note.pan + 1.0) * np.pi / 4.0
        _add(mix, start, sound, left=np.cos(angle), right=np.sin(angle))
        if note.part == "lead":  # an echo from the other side, three quarters of a beat later
            _add(mix, start + round(0.75 * beat), ECHO_GAIN * sound, left=np.sin(angle), right=np.cos(angle))
    mix *= _level(piece)[:, np.newaxis]
    mix *= PEAK / np.abs(mix).max()
    return mix


def write_music(root: Path, options: MusicOptions, *, seed: int) -> Written:
    """Write ``music/STYLE/Piece NN.flac`` and ``music/manifest.csv`` under ``root``."""
    folder = SourceFolder(root, "music")
    rows = []
    for piece in pieces(options, seed):
        path, rate = piece.path(options.container), options.sample_rate
        folder.audio(path, perform(piece, seed=seed, sample_rate=rate), rate)
        body = (piece.body_start / rate, piece.body_stop / rate)
        rows.append((path, piece.style, f"{KEYS[piece.key]} major", piece.tempo_bpm, *body))
    return folder.csv(COLUMNS, rows)


def _add(mix: NDArray[np.float32], start: int, sound: Samples, *, left: float, right: float) -> None:
    """Add a sound to both channels of a mix; what goes beyond its end is cut off."""
    fitting = sound[: max(mix.shape[0] - start, 0)]
    if fitting.size:
        mix[start : start + fitting.size, 0] += left * fitting
        mix[start : start + fitting.size, 1] += right * fitting


def _level(piece: Piece) -> NDArray[np.float32]:
    """Return the gain over the piece: quiet, a swell in decibels, full, and the same backwards."""
    quiet = piece.body_start
    rest = round(quiet * (1.0 - SWELL))
    at = [0, rest, quiet, piece.body_stop, piece.frames - rest, piece.frames]
    decibels = np.interp(np.arange(piece.frames), at, [QUIET_DB, QUIET_DB, 0.0, 0.0, QUIET_DB, QUIET_DB])
    return np.asarray(10.0 ** (decibels / 20.0), dtype=np.float32)
