"""A dataset in which everything tells its own time: what is cropped together can be seen to be of one instant."""

from pathlib import Path

import numpy as np

from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.conftest import noise, write_source

RATE, STEM_RATE, TARGET_RATE = 16_000, 24_000, 8_000
FRAME_HOP_S, MASK_HOP_S = 0.01, 0.0125
NUM_SCENES = 12
FULL_SCALE_S = 10.0  # a sample t seconds into its recording is t / FULL_SCALE_S


def duration_s(scene: int) -> float:
    """Return the length of a scene."""
    return 4.0 + 0.25 * scene


def clock(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Return a recording whose samples tell their time, (time, channel), int16."""
    times = np.arange(round(seconds * rate)) / rate
    return np.repeat(np.rint(times / FULL_SCALE_S * 32768).astype(np.int16)[:, None], channels, axis=1)


def pack_scenes(folder: Path, *, noisy: bool = False) -> Path:
    """Pack them: 16 kHz stereo, a 24 kHz stem that some lack, an 8 kHz target, frame labels, a dense mask, intervals.

    With ``noisy`` the first is noise, loud in all of it, and tells no time.
    """
    rows, audio = [], {}
    for i in range(NUM_SCENES):
        seconds = duration_s(i)
        audio[f"{i}.wav"] = (noise(i, round(seconds * RATE), 2) if noisy else clock(seconds, RATE, 2)), RATE
        audio[f"stem {i}.wav"] = clock(seconds, STEM_RATE), STEM_RATE
        audio[f"target {i}.wav"] = clock(seconds, TARGET_RATE), TARGET_RATE
        intervals = [["speech", 0.5 + 0.1 * i, 1.5 + 0.1 * i], ["bark", 3.0, 3.2], ["bark", 3.5, 3.9]]
        rows.append({
            "path": f"{i}.wav", "target": f"target {i}.wav", "frames": f"frames {i}.npy", "mask": f"mask {i}.npy",
            "n": i, "intervals": intervals if i % 4 else [],
        } | ({"stem": f"stem {i}.wav"} if i % 3 else {}))  # fmt: skip
    manifest = write_source(folder, "scenes", rows, audio)
    for i in range(NUM_SCENES):
        num_frames = round(duration_s(i) / FRAME_HOP_S)
        frames = np.repeat(np.arange(num_frames, dtype=np.float32)[:, None], 16, axis=1)
        np.save(manifest.parent / f"frames {i}.npy", frames)
        np.save(manifest.parent / f"mask {i}.npy", np.arange(round(duration_s(i) / MASK_HOP_S)) % 2 == 0)
    members = {name: name for name in ("stem", "target", "frames", "mask")}
    pack(
        locate(manifest),
        locate(folder / "scenes"),
        inputs=InputOptions(members=members),
        options=PackOptions(shard_bytes=800_000, workers=1),
        hops_s={"frames": FRAME_HOP_S, "mask": MASK_HOP_S},
    )
    return folder / "scenes"
