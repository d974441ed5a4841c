"""Recordings of speech-like bursts in near silence, by several speakers, with their bounds marked.

Each recording is divided into slots of about two seconds, and one burst lies somewhere within each:

    slot 0              slot 1              slot 2
    |····[speech]·······|··[speech____]·····|·······[speech]····|

so there is silence before the first, after the last and between any two.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shardkit.synth.checks import check_count, check_durations, check_rate, scaled_count
from shardkit.synth.output import SourceFolder, Written
from shardkit.synth.randomness import generator
from shardkit.synth.voice import Speaker, burst
from shardkit.synth.waves import Samples

SLOT_S = 2.0
MARGIN = 0.1  # of a slot, kept silent at each of its ends
BURST = (0.35, 0.70)  # of a slot: shortest and longest burst
LOWEST_DURATION_S = 0.5
LOWEST_RATE = 8000  # the third formant of the smallest speaker is at 3.6 kHz
WHISPERED_EVERY = 3  # every third recording of a speaker

# White noise at this level reads -79 LUFS (K-weighting adds 4 dB above 2 kHz, BS.1770's offset takes 0.7 off),
# far below the absolute gate of -70, and still is four steps of PCM16.
FLOOR_DBFS = -82.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstsOptions:
    """Which recordings of speech-like bursts to make.

    Attributes:
        num_files: Recordings.
        num_speakers: Voices, taking turns.
        min_duration_s: Of the shortest recording.
        max_duration_s: Of the longest recording.
        sample_rate: In Hz.
    """

    num_files: int = 60
    num_speakers: int = 6
    min_duration_s: float = 6.0
    max_duration_s: float = 12.0
    sample_rate: int = 22_050

    def __post_init__(self) -> None:
        """Refuse what can't be made, before anything is written."""
        check_count("num_files", self.num_files)
        check_count("num_speakers", self.num_speakers)
        check_rate(self.sample_rate, lowest=LOWEST_RATE)
        check_durations(self.min_duration_s, self.max_duration_s, lowest_s=LOWEST_DURATION_S)

    def scaled(self, factor: float) -> "BurstsOptions":
        """Return the same with ``factor`` times the recordings."""
        return replace(self, num_files=scaled_count(self.num_files, factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One recording before it is made: [start, stop) of each burst, in samples."""

    index: int
    speaker: Speaker
    whispered: bool
    frames: int
    bounds: tuple[tuple[int, int], ...]

    @property
    def path(self) -> str:
        """Where it goes, relative to ``bursts/``."""
        return f"{self.speaker.name}/take_{self.index:04d}.wav"


def speakers(options: BurstsOptions, seed: int) -> list[Speaker]:
    """Return the voices; their pitches are spread evenly, in octaves, from 85 to 260 Hz, and then moved a little."""
    found = []
    for index in range(options.num_speakers):
        rng = generator(seed, "speaker", index)
        height = (index + rng.uniform()) / options.num_speakers
        found.append(
            Speaker(
                name=f"speaker_{index:02d}",
                pitch_hz=85.0 * (260.0 / 85.0) ** height,
                formant_scale=0.9 + 0.25 * height + rng.uniform(-0.05, 0.05),
                breath=rng.uniform(0.02, 0.15),
            )
        )
    return found


def takes(options: BurstsOptions, seed: int) -> Iterator[Take]:
    """Yield the recordings that ``options`` ask for; recording i is the same however many there are."""
    voices = speakers(options, seed)
    for index in range(options.num_files):
        rng = generator(seed, "take", index)
        frames = round(rng.uniform(options.min_duration_s, options.max_duration_s) * options.sample_rate)
        turn, voice = divmod(index, options.num_speakers)
        yield Take(
            index=index,
            speaker=voices[voice],
            whispered=turn % WHISPERED_EVERY == WHISPERED_EVERY - 1,
            frames=frames,
            bounds=tuple(_bounds(rng, frames, options.sample_rate)),
        )


def recording(take: Take, *, seed: int, sample_rate: int) -> Samples:
    """Return the samples of one recording, (time)."""
    rng = generator(seed, "voice", take.index)
    samples: Samples = rng.standard_normal(take.frames) * 10.0 ** (FLOOR_DBFS / 20.0)
    for start, stop in take.bounds:
        samples[start:stop] += burst(
            rng, take.speaker, whispered=take.whispered, frames=stop - start, sample_rate=sample_rate
        )
    return samples


def write_bursts(root: Path, options: BurstsOptions, *, seed: int) -> Written:
    """Write ``bursts/SPEAKER/take_NNNN.wav`` and ``bursts/manifest.jsonl`` under ``root``."""
    folder = SourceFolder(root, "bursts")
    rows = []
    for take in takes(options, seed):
        samples = recording(take, seed=seed, sample_rate=options.sample_rate)
        folder.audio(take.path, samples, options.sample_rate)
        rows.append(_row(take, options.sample_rate))
    return folder.jsonl(rows)


def _bounds(rng: np.random.Generator, frames: int, sample_rate: int) -> Iterator[tuple[int, int]]:
    num_slots = max(1, round(frames / (SLOT_S * sample_rate)))
    for slot in range(num_slots):
        slot_start, slot_stop = frames * slot // num_slots, frames * (slot + 1) // num_slots
        length = slot_stop - slot_start
        margin, burst_frames = round(MARGIN * length), round(rng.uniform(*BURST) * length)
        start = int(rng.integers(slot_start + margin, slot_stop - margin - burst_frames, endpoint=True))
        yield start, start + burst_frames


def _row(take: Take, sample_rate: int) -> dict[str, object]:
    """Return the manifest's line; seconds are whole samples over the rate, so rounding gives the samples back."""
    return {
        "path": take.path,
        "speaker": take.speaker.name,
        "label": "whispered" if take.whispered else "voiced",
        "intervals": [
            {"name": "speech", "start_s": start / sample_rate, "stop_s": stop / sample_rate}
            for start, stop in take.bounds
        ],
    }
