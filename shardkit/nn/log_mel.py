"""Log-mel features, with frames that line up with a batch's masks (``framing.py`` has the picture)."""

from typing import Literal, Unpack, get_args

import torch
from torch import Tensor

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.nn.framing import Frames, Framing, PadMode
from shardkit.nn.mel_spectrogram import MelOptions, MelSpectrogram
from shardkit.nn.spectra import Log, OutDtype, as_dtype, spectra

LogKind = Literal["ln", "log10", "db", "whisper"]

_WHISPER_RANGE = 8.0  # powers of ten below a clip's loudest value; openai/whisper, audio.py, log_mel_spectrogram
# Standard deviations below this are rounding of a constant: float32 near 2 has steps of 2.4e-7.
_LEAST_STD = 1e-5


class LogMelOptions(MelOptions, total=False):
    """Options of ``LogMel``, and of all that is made of one; its documentation says what they are."""

    log: LogKind
    floor: float
    top_db: float | None
    normalize: bool


class LogMel(MelSpectrogram):
    """Log-mel energies of audio.

    Shape: (batch, channel, time) to (batch, channel, mel, frame); ``num_frames`` says how many: ceil(time /
    hop_length), unless ``frames`` or ``center`` say otherwise.

    A clip, below, is a row: one batch item's one channel, with what it was padded with. What is done per clip depends
    on where a recording is cropped, and on nothing else in its batch.

    Args:
        log: ``ln``: natural logarithm. ``log10``. ``db``: 10 · log10 of powers, 20 · log10 of magnitudes.
            ``whisper``: log10, no less than 8 below the clip's greatest value, then (x + 4) / 4.
        floor: Least energy; what is below it becomes it, so that silence has a logarithm.
        top_db: With ``db``: what lies further than this below the clip's greatest value is raised to it; None: as is.
        normalize: Give each clip mean 0 and standard deviation 1 (of a sample, dividing by n - 1), over all bands and
            frames. A constant clip, such as silence, becomes 0.
        options: As ``MelSpectrogram`` has them, ``n_mels``, ``f_min``, ``f_max``, ``norm``, ``mel_scale``, and as
            ``Spectrogram`` has them, ``sample_rate``, ``n_fft``, ``win_length``, ``hop_length``, ``window``,
            ``center``, ``pad_mode``, ``frames``, ``power``, ``out_dtype``.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        ``ln``: equal, but for rounding, to the logarithm of ``torchaudio.transforms.MelSpectrogram`` with the same
        options. ``db`` with ``top_db``: to ``AmplitudeToDB`` of it, which takes the greatest value of all of an item's
        channels. ``whisper``: to ``log_mel_spectrogram`` of openai/whisper, a clip at a time.

    >>> LogMel(sample_rate=16_000)(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 80, 200])
    """

    def __init__(
        self,
        *,
        log: LogKind = "ln",
        floor: float = 1e-10,
        top_db: float | None = None,
        normalize: bool = False,
        **options: Unpack[MelOptions],
    ) -> None:
        super().__init__(**options)
        _check(log, floor, top_db, normalize)
        self.log, self.floor, self.top_db, self.normalize = log, float(floor), top_db, normalize
        self._options |= {"log": log, "floor": self.floor, "normalize": bool(normalize)}
        self._options["top_db"] = None if top_db is None else float(top_db)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the log-mel energies of audio, (batch, channel, mel, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        return self.per_clip(self.per_frame(audio))

    @property
    def is_per_frame(self) -> bool:
        """Whether nothing looks at whole clips."""
        return self.log != "whisper" and self.top_db is None and not self.normalize

    def per_frame(self, audio: Tensor) -> Tensor:
        """Return the log-mel energies before anything looks at whole clips, (batch, channel, mel, frame)."""
        return self._log_mels(audio, self.out_dtype if self.is_per_frame else None)

    def per_clip(self, features: Tensor) -> Tensor:
        """Return the log-mel energies of what ``per_frame`` made of whole clips."""
        return as_dtype(self._leveled(features), self.out_dtype)

    def _log_mels(self, audio: Tensor, out_dtype: OutDtype | None) -> Tensor:
        return spectra(
            audio,
            framing=self.framing,
            window=self.window,
            power=self.power,
            filters=self.filters,
            log="log10" if self.log == "whisper" else self.log,
            floor=self.floor,
            out_dtype=out_dtype,
            fused=self.fused,
        )

    def _leveled(self, features: Tensor) -> Tensor:
        """Return log-mel energies after what looks at whole clips."""
        if self.is_per_frame or features.numel() == 0:
            return features
        if self.log == "whisper":
            features = (_raised(features, _WHISPER_RANGE) + 4.0) / 4.0
        if self.top_db is not None:
            features = _raised(features, self.top_db)
        return _normalized(features) if self.normalize else features


def log_mel(
    audio: Tensor,
    *,
    window: Tensor,
    filters: Tensor,
    hop_length: int,
    log: Log = "ln",
    floor: float = 1e-10,
    power: float = 2.0,
    center: bool = True,
    pad_mode: PadMode = "reflect",
    frames: Frames = "aligned",
    out_dtype: OutDtype | None = None,
) -> Tensor:
    """Return log-mel energies, one column a hop; what ``LogMel`` computes before it looks at whole clips.

    Args:
        audio: (batch, channel, time), floats in [-1, 1].
        window: (n_fft,) float32 or float64; what is computed is of this dtype, under autocast too.
        filters: (mel, n_fft // 2 + 1), as ``mel_filters`` gives them.
        hop_length: Samples from frame to frame.
        log: ``ln``, ``log10`` or ``db``.
        floor: Least energy.
        power: 2: of powers; 1: of magnitudes.
        center: As ``Spectrogram`` has it, and so are the next two.
        pad_mode: What centred frames see beyond the ends.
        frames: How many centred frames there are.
        out_dtype: Of the result; None: the window's.

    Returns:
        Logarithms, (batch, channel, mel, frame).

    Raises:
        InputError: The audio is not (batch, channel, time) of floats, or the window is of half precision.
    """
    framing = Framing(n_fft=len(window), hop_length=hop_length, center=center, pad_mode=pad_mode, frames=frames)
    return spectra(
        audio,
        framing=framing,
        window=window,
        power=power,
        filters=filters,
        log=log,
        floor=floor,
        out_dtype=out_dtype,
    )


def _raised(features: Tensor, depth: float) -> Tensor:
    """Return features with what lies more than ``depth`` below a clip's greatest value raised to that."""
    return torch.maximum(features, features.amax(dim=(-2, -1), keepdim=True) - depth)


def _normalized(features: Tensor) -> Tensor:
    """Return each clip with mean 0 and standard deviation 1, or 0 where it is constant."""
    centred = features - features.mean(dim=(-2, -1), keepdim=True)
    count = features.shape[-2] * features.shape[-1]
    variance = centred.square().sum(dim=(-2, -1), keepdim=True) / max(1, count - 1)
    return centred / variance.clamp(min=_LEAST_STD**2).sqrt()


def _check(log: object, floor: object, top_db: object, normalize: object) -> None:
    if log not in get_args(LogKind):
        raise InputError(f"log is {log!r}; choose one of {', '.join(get_args(LogKind))}")
    if not is_number(floor) or not floor > 0.0:  # type: ignore[operator]
        raise InputError(f"floor is {floor}; it must be a positive energy, like 1e-10")
    if top_db is not None and (log != "db" or not is_number(top_db) or not top_db > 0.0):  # type: ignore[operator]
        raise InputError(f"top_db is {top_db} with log={log!r}; give decibels above 0, with log='db', or None")
    if normalize not in (True, False):
        raise InputError(f"normalize is {normalize!r}; choose True or False")
