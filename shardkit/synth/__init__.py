"""Small synthetic data sets to try everything with: pairs of tones, bursts of speech-like sound, pieces of music.

    options ──► tones    (pure plan, then samples) ──┐
            ──► bursts ──► voice                   ──┼─► output (PCM bytes, manifests) ──► FOLDER
            ──► music  ──► score, instruments      ──┘

Everything is drawn from one seed, nothing from the clock.
"""

from shardkit.synth.bursts import BurstsOptions
from shardkit.synth.dataset import SOURCES, synthesise
from shardkit.synth.music import MusicOptions
from shardkit.synth.output import Written
from shardkit.synth.tones import MODES, TonesOptions
from shardkit.synth.waves import WAVES

__all__ = ["MODES", "SOURCES", "WAVES", "BurstsOptions", "MusicOptions", "TonesOptions", "Written", "synthesise"]
