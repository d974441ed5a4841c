"""Small synthetic data sets to try everything with, and tones, many and exact, in layouts that importers know.

    options ──► tones    (pure plan, then samples) ──┐
            ──► bursts ──► voice                   ──┼─► output (PCM bytes, manifests) ──► FOLDER
            ──► music  ──► score, instruments      ──┘

    options ──► pairs, labels ──► chords ──┬─► clip (samples, WAV) ──► kinds (processes, the list) ──► FOLDER
            ──► framed                   ──┘

Everything is drawn from one seed, nothing from the clock.
"""

from shardkit.synth.bursts import BurstsOptions
from shardkit.synth.dataset import SOURCES, synthesise
from shardkit.synth.framed import FramedOptions
from shardkit.synth.kinds import KINDS, WrittenKind, write_kind
from shardkit.synth.labels import LabelsOptions
from shardkit.synth.modes import MODES
from shardkit.synth.music import MusicOptions
from shardkit.synth.output import Written
from shardkit.synth.pairs import PairsOptions
from shardkit.synth.tones import TonesOptions
from shardkit.synth.waves import WAVES

__all__ = [
    "KINDS",
    "MODES",
    "SOURCES",
    "WAVES",
    "BurstsOptions",
    "FramedOptions",
    "LabelsOptions",
    "MusicOptions",
    "PairsOptions",
    "TonesOptions",
    "Written",
    "WrittenKind",
    "synthesise",
    "write_kind",
]
