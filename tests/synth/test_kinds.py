"""Laws of all kinds: bytes follow from the options, not from processes, durations are exact, nothing is overwritten."""

import pytest
import soundfile

from shardkit.core.errors import InputError
from shardkit.synth import FramedOptions, LabelsOptions, PairsOptions, kinds, write_kind

SMALL = {
    "pairs": PairsOptions(num_steps=11, modes=("pure", "maj"), duration_s=0.05, seed=5),
    "labels": LabelsOptions(num_steps=11, modes=("pure", "maj"), duration_s=0.05, seed=5),
    "framed": FramedOptions(num_files=13, duration_s=0.5, hop_s=0.05, seed=5),
}


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("kind", "workers"), [("pairs", 2), ("labels", 1), ("framed", 1)])
def test_the_bytes_are_the_same_again_however_the_work_is_shared_out(tmp_path, monkeypatch, kind, workers):
    first = write_kind(tmp_path / "one", SMALL[kind])
    monkeypatch.setattr(kinds, "PROCESS_FRAMES", 1)  # so that little work starts processes too
    monkeypatch.setattr(kinds, "JOB_FRAMES", 5_000)
    shown = []
    other = write_kind(
        tmp_path / "two", SMALL[kind], workers=workers, show=lambda done, total: shown.append((done, total))
    )
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert shown[-1] == (SMALL[kind].num_items, SMALL[kind].num_items)
    assert (first.kind, first.num_bytes, first.num_rows) == (kind, other.num_bytes, other.num_rows)


@pytest.mark.parametrize(("sample_rate", "duration_s"), [(8_000, 1.0), (11_025, 0.5), (44_100, 0.333), (96_000, 2.0)])
def test_durations_are_exact(tmp_path, sample_rate, duration_s):
    form = {"sample_rate": sample_rate, "duration_s": duration_s, "waves": ("saw",)}
    hop_s = round(0.01 * sample_rate) / sample_rate
    for options in (
        PairsOptions(num_steps=1, modes=("maj",), **form),
        FramedOptions(num_files=1, hop_s=hop_s, **form),
    ):
        written = write_kind(tmp_path / options.kind, options)
        found = [soundfile.info(path) for path in written.folder.rglob("*.wav")]
        assert {(info.samplerate, info.frames) for info in found} == {(sample_rate, round(duration_s * sample_rate))}
        assert written.audio_s == pytest.approx(sum(info.duration for info in found), rel=1e-12)


def test_only_an_empty_folder_is_written(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"holds 'mine\.txt' already"):
        write_kind(tmp_path, SMALL["pairs"])
    assert set(files(tmp_path)) == {"mine.txt"}
    with pytest.raises(InputError, match="workers is 0"):
        write_kind(tmp_path / "new", SMALL["pairs"], workers=0)
    assert not (tmp_path / "new").exists()
