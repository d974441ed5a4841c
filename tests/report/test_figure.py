"""A batch becomes a picture; what can't be drawn is refused with what to do."""

import sys

import numpy as np
import pytest

from shardkit.core.errors import InputError, StorageError
from shardkit.report.figure import draw_batch

RATE, HOP, TIME = 8_000, 80, 8_000


def batch(size=3, channels=2):
    chance = np.random.default_rng(0)
    audio = chance.uniform(-0.3, 0.3, (size, channels, TIME)).astype(np.float32)
    audio[1, :, 6_000:] = 0.0
    masks = {"drums": np.zeros((size, TIME // HOP)), "sung": np.zeros((size, TIME // HOP))}
    masks["drums"][:, 10:30] = 1.0
    masks["sung"][:, 20:60] = 1.0
    return {
        "audio": audio,
        "features": chance.normal(-8, 2, (size, channels, 40, TIME // HOP)).astype(np.float32),
        "masks": masks,
        "lengths": np.array([TIME, 6_000, TIME][:size]),
        "titles": ["win/take_01 costs $5 and $6", "日本 " * 60, "x"][:size],
    }


def draw(path, **changes):
    values = {**batch(), **changes}
    audio, features = values.pop("audio"), values.pop("features")
    draw_batch(audio, features, sample_rate=RATE, hop_length=HOP, path=path, **values)
    return path


def pixels(path):
    image = pytest.importorskip("matplotlib.image").imread(path)
    return image[..., :3]


def test_a_picture_grows_with_the_samples_and_stops_at_the_most(tmp_path):
    heights = [pixels(draw(tmp_path / f"{most}.png", max_samples=most)).shape[0] for most in (1, 2, 3, 9)]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_a_mask_is_seen_and_only_where_it_is(tmp_path):
    """With and without the mask the picture differs inside the mask's second and nowhere else in the waveform."""
    with_mask = pixels(draw(tmp_path / "a.png", max_samples=1))
    masks = {name: np.zeros_like(mask) for name, mask in batch()["masks"].items()}
    without = pixels(draw(tmp_path / "b.png", max_samples=1, masks=masks))
    columns = np.flatnonzero(np.abs(with_mask - without).max(axis=(0, 2)) > 0.05)
    left, right = 0.065 * with_mask.shape[1], 0.92 * with_mask.shape[1]  # of the axes, which span the second
    seconds = (columns - left) / (right - left)
    assert seconds.min() == pytest.approx(0.10, abs=0.01)
    assert seconds.max() == pytest.approx(0.60, abs=0.01)


def test_without_features_only_waveforms_are_drawn(tmp_path):
    assert pixels(draw(tmp_path / "a.png", features=None)).shape[0] < pixels(draw(tmp_path / "b.png")).shape[0]


def test_silence_and_values_that_are_not_finite_are_drawn(tmp_path):
    features = np.full((3, 2, 40, TIME // HOP), -np.inf, dtype=np.float32)
    draw(tmp_path / "a.png", audio=np.zeros((3, 2, TIME), dtype=np.float32), features=features, masks={})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"audio": np.zeros((2, 8_000), dtype=np.float32)}, r"must be \(batch, channel, time\)"),
        ({"features": np.zeros((3, 40, 100))}, r"must be \(batch, channel, mel, frame\)"),
        ({"masks": {"sung": np.zeros(100)}}, r"'sung' has the shape \(100,\)"),
        ({"titles": ["one"]}, "titles: 1 rows for 3 rows of audio"),
        ({"lengths": [8_000]}, "lengths: 1 rows"),
        ({"max_samples": 0}, "max_samples 0: at least 1"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, change, text):
    with pytest.raises(InputError, match=text):
        draw(tmp_path / "a.png", **change)


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'shardkit\[demo\]'"):
        draw(tmp_path / "a.png")


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="can't be written"):
        draw(tmp_path / "none" / "a.png")
