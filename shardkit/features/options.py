"""Options of ``featurize``: frozen, validated when made."""

import dataclasses
import os
from dataclasses import dataclass

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.pack.fields import check_field_names
from shardkit.pack.options import OnError


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturizeOptions:
    """How to compute features, beside the module that computes them.

    Attributes:
        field: Name of the field that will hold them.
        channels: Mix recordings to this many channels first; None: features of each recording's own.
        resample: Whether recordings of another rate than the module's may be resampled; else they are an error.
        device: Where to compute: ``cpu``, ``cuda``, ``cuda:1``.
        on_error: What a recording that can't be read does: ``fail`` the run, or be ``skip``-ped and reported.
        overwrite: Whether other features in the output may be replaced.
        workers: Recordings that are read, decoded and computed at once.
        name: The dataset's name; None takes the recordings', so that streams of the two draw the same crops.
    """

    field: str = "features"
    channels: int | None = None
    resample: bool = False
    device: str = "cpu"
    on_error: OnError = "fail"
    overwrite: bool = False
    workers: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be done, before anything is read."""
        check_field_names({self.field: ""})
        if self.channels is not None:
            checked_whole(self.channels, "channels", most=2**10)
        if self.on_error not in ("fail", "skip"):
            raise InputError(f"on_error is {self.on_error!r}; choose fail or skip")
        checked_whole(self.workers, "workers", most=2**12)
