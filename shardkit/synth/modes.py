"""Which voices a chord has, and the frequencies that chords begin at.

The TF2 Audio Dataset's list of fifteen modes named both an interval and a chord ``maj7``, so that the chord was made
twice and the interval never; here the interval is ``maj7dyad``.
"""

from types import MappingProxyType

# Frequency ratios of the voices in just intonation, as in the TF2 Audio Dataset (Soundbendor/Deep-Audio-Dataset).
MODES = MappingProxyType(
    {
        "pure": (1.0,),
        "oct": (1.0, 2.0),
        "per5": (1.0, 3 / 2),
        "per4": (1.0, 4 / 3),
        "maj3": (1.0, 5 / 4),
        "maj6": (1.0, 5 / 3),
        "maj2": (1.0, 9 / 8),
        "maj7dyad": (1.0, 15 / 8),
        "maj": (1.0, 5 / 4, 3 / 2),
        "min": (1.0, 6 / 5, 3 / 2),
        "dim": (1.0, 6 / 5, 11 / 8),
        "aug": (1.0, 5 / 4, 128 / 81),
        "maj7": (1.0, 5 / 4, 3 / 2, 15 / 8),
        "majmin7": (1.0, 5 / 4, 3 / 2, 16 / 9),
        "min7": (1.0, 6 / 5, 3 / 2, 16 / 9),
    }
)


def step_hz(step: int, *, lo_hz: float, hi_hz: float, num_steps: int) -> float:
    """Return a frequency of equal musical steps from ``hi_hz`` down to ``lo_hz``: f_k = hi · (lo / hi)^(k / (N - 1)).

    >>> [step_hz(step, lo_hz=100, hi_hz=400, num_steps=3) for step in range(3)]
    [400.0, 200.0, 100.0]
    >>> step_hz(0, lo_hz=100, hi_hz=400, num_steps=1)
    400.0
    """
    last = max(num_steps - 1, 1)  # one step is hi alone, not 0 / 0
    return float(hi_hz * (lo_hz / hi_hz) ** (step / last))
