"""The comparison with other systems, on seconds of noise: each row does the work, and the figures are what they say."""

import json
import math
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tools.bench import compare
from tools.bench.comparison.data import make_data
from tools.bench.comparison.environments import InstallError, python_of
from tools.bench.comparison.goals import goal_table
from tools.bench.comparison.members import members
from tools.bench.comparison.plan import Row, planned
from tools.bench.comparison.report import OURS, tables
from tools.bench.comparison.results import Results, cpu_ms
from tools.bench.comparison.watched import RunError, run
from tools.bench.systems import checks, cutting, floors, ours
from tools.bench.systems.contract import MODULES, SOURCES, WORKLOADS, Batch, Job, System, described
from tools.bench.systems.log_mel import HOP, MELS, N_FFT, log_mel
from tools.bench.systems.processes import used

RATE = 48_000
HERE = ("shardkit", "webdataset", "files", "floor")  # what the environment of the tests has


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of 20 s and 36 spoken digits of noise, and all that is made of them."""
    made, noise = tmp_path_factory.mktemp("compare"), np.random.default_rng(0)
    for name, number, frames, rate in (("music", 3, 20 * RATE, RATE), ("digits", 36, 2_000, 8_000)):
        (made / name).mkdir()
        for index in range(number):
            samples = noise.normal(scale=0.1, size=(frames + 700 * index, 2 if name == "music" else 1))
            speaker = ("ann", "bob", "cyd")[index % 3]
            soundfile.write(made / name / f"0_{speaker}_{index}.wav", samples, rate, subtype="PCM_16")
    make_data(made / "data", music=made / "music", digits=made / "digits")
    return made


def measured(folder: Path, *more: str) -> Results:
    """Run the command with little time; all systems in this environment."""
    given = [f"--python={name}={sys.executable}" for name in HERE]
    places = ["--music", str(folder / "music"), "--digits", str(folder / "digits")]
    compare.main([str(folder), "--rounds=1", "--seconds=0.05", *given, *places, *more])
    return Results(folder / "results.json")


def test_all_systems_at_hand_do_the_work_and_are_written_down(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")  # so that it is as it was afterwards
    markdown, pictures = tmp_path / "compare.md", tmp_path / "plots"
    measured(folder, "--workloads", "D", "F", "--systems", *HERE)
    wanted = ["--workloads", "C-A", "E", "G-paced", "--systems", "shardkit", "floor"]
    results = measured(folder, *wanted, "--markdown", str(markdown), "--plots", str(pictures))
    failed = {key: row["error"] for key, row in results.rows.items() if "error" in row}
    assert not failed
    text = markdown.read_text()
    for name in HERE:
        assert f"| {name}, " in text
    for name in ("F-cpu", "D-speed", "F-memory"):
        assert (pictures / f"{name}.png").stat().st_size > 10_000
        assert f"plots/{name}.png" in text
    checked = [row for row in results.rows.values() if row["workload"] == "F"]
    assert all(row["checked"]["samples"] >= 1_200 for row in checked)
    first = results.rows[OURS["C-A"].id]["counted"]
    assert first["reads"] > 0
    assert 0 < first["read_bytes"] / first["samples"] < 960_000  # less than a whole clip of noise
    resume = results.rows[OURS["E"].id]["resume"]
    assert resume["same"] == "the same crops"
    assert resume["missed"] == resume["twice"] == 0
    steps = {
        row["pace"]: one["step_s"] for row in results.rows.values() for one in row["rounds"].values() if row["pace"]
    }
    assert steps[2.0] == pytest.approx(1.6 * steps[1.25])
    assert len(tables(results)) == 5

    before = (folder / "results.json").read_text()
    again = measured(folder, *wanted, "--resume")
    assert again.rows == json.loads(before)["rows"]  # there is nothing left to measure


def test_a_row_that_fails_says_why_and_the_rest_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "python_of", lambda system, *_: _python(system))
    results = measured(
        folder, "--workloads", "F", "--systems", "shardkit", "files", "--results", str(folder / "f.json")
    )
    results = Results(folder / "f.json")
    (row,) = [row for row in results.of("F") if row.system == "files"]
    assert results.rows[row.id]["error"] == "ended with status 1"
    assert results.rounds(OURS["F"])
    assert any("failed: " in cell for table in tables(results) for line in table.rows for cell in line)


def _python(system: System) -> Path:
    if system.name == "files":
        return Path("/bin/false")
    return Path(sys.executable)


def test_shards_hold_the_files_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    ours.build(folder / "data/tracks", tmp_path / "tracks", "tracks")
    packed = dict(members(tmp_path / "tracks"))
    files = {path.stem: path.read_bytes() for path in (folder / "data/tracks").iterdir()}
    assert packed == files


def test_each_file_of_a_system_can_be_read_without_its_library() -> None:
    for name in MODULES:
        if not (Path(ours.__file__).with_name(f"{MODULES[name]}.py")).exists():
            continue
        system = described(name)
        assert system.settings
        for workloads in system.variants.values():
            assert set(workloads) <= set(WORKLOADS)
        assert set(system.caches) <= set(system.variants)
        assert not any(set(planned([system], workload)) - set(planned([system], workload)) for workload in WORKLOADS)


def batch(audio: np.ndarray, *crops: tuple[str, int, int]) -> Batch:
    return Batch(audio, *(list(column) for column in zip(*crops, strict=True)))


def test_a_check_finds_what_is_not_the_files_samples(folder: Path) -> None:
    source = folder / "data/clips"
    job = Job(workload="A", variant="tuned", workers=0, where="", local=source)

    def given(change: float = 0.0, shift: int = 0) -> Iterator[Batch]:
        while True:
            items = [cutting.sample(path.stem, path, job) for path in sorted(source.iterdir(), reverse=True)]
            made = cutting.collated(items)
            made.audio[0, 0, 0] += change
            made.starts[-1] += shift
            yield made

    assert checks.check_batches(given(), job, source, num_samples=20)["samples"] >= 20
    for wrong in (given(change=2.0**-15), given(shift=1)):
        with pytest.raises(checks.WrongError, match="not the samples"):
            checks.check_batches(wrong, job, source, num_samples=20)
    with pytest.raises(checks.WrongError, match="float64"):
        checks.check_form(batch(np.zeros((1, 1, 4)), ("a", 0, 4)))


def test_the_floor_decodes_exactly_the_frames_of_a_crop(folder: Path, tmp_path: Path) -> None:
    ours.build(folder / "data/clips", tmp_path / "clips", "clips")
    job = Job(workload="A", variant="1 thread", workers=0, where=str(tmp_path / "clips"), local=tmp_path / "clips")
    found, read = floors._recordings(job, "")
    recording, asked = found[0], []
    fetch = recording.fetch
    recording = recording._replace(fetch=lambda start, stop: asked.append((start, stop)) or fetch(start, stop))
    first, second = int(recording.samples[1]), int(recording.samples[2])
    out = np.empty((1, second - first + 2), np.float32)
    read(recording, first - 1, second + 1, out)
    assert asked == [(int(recording.offsets[0]), int(recording.offsets[3]))]
    expected, _ = soundfile.read(folder / f"data/clips/{recording.key}.flac", dtype="float32", always_2d=True)
    assert np.array_equal(out, expected[first - 1 : second + 1].T)


def test_features_are_those_of_torchaudio() -> None:
    torchaudio = pytest.importorskip("torchaudio")
    audio = torch.randn(2, 1, RATE)
    mel = torchaudio.transforms.MelSpectrogram(RATE, n_fft=N_FFT, hop_length=HOP, n_mels=MELS)(audio)
    assert torch.allclose(log_mel(RATE)(audio), mel.clamp(min=1e-10).log(), atol=1e-3)


def test_processor_time_of_processes_that_live_is_counted() -> None:
    before = used()
    with get_context("fork").Pool(1) as pool:
        pool.map(_busy, [0])
        alive = used() - before
    ended = used() - before
    assert alive.cpu_s >= 0.15
    assert ended.cpu_s >= alive.cpu_s - 0.02


def _busy(_: int) -> int:
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    return 0


def test_ratios_are_those_of_rounds_that_ran_together(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    peer = Row(workload="A", system="webdataset", variant="tuned", workers=0)
    for row, costs in ((OURS["A"], {"0": 1.0, "1": 2.0, "2": 9.0}), (peer, {"0": 3.0, "1": 7.0, "x": 1.0})):
        rounds = results.begin(row, keep=False)["rounds"]
        memory = {"peak_bytes": 10, "private_bytes": 10}
        for name, cpu_s in costs.items():
            rounds[name] = {"samples": 10, "wall_s": 1.0, "cpu_s": cpu_s, "read_bytes": 0, "reads": 0, **memory}
    assert results.ratio(peer, OURS["A"], cpu_ms) == pytest.approx((3.0 + 3.5) / 2)
    assert results.value(OURS["A"], cpu_ms) == pytest.approx(200.0)
    goals = {row[0]: row for row in goal_table(results).rows}
    assert goals["A, in process: CPU per sample, peers tuned / shardkit"][1:] == ["≥ 1.7", "3.25", "yes", peer.title]
    assert goals["F: µs of CPU a sample"][3] == "not measured"
    results.save()
    assert Results(tmp_path / "results.json").rows == results.rows
    assert math.isnan(results.value(OURS["B"], cpu_ms))


def test_packers_are_compared_with_what_does_their_work(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    seconds = {
        ("shardkit", "default"): 4.0,
        ("shardkit", "no loudness"): 2.5,
        ("energon", "ShardWriter"): 3.0,
        ("floor", "encoder alone"): 2.0,
    }
    for (system, variant), wall_s in seconds.items():
        row = Row(workload="D", system=system, variant=variant, workers=0)
        cost = {"samples": 100, "wall_s": wall_s, "cpu_s": 1.0, "peak_bytes": 10, "private_bytes": 10}
        results.begin(row, keep=False)["rounds"]["0"] = cost
    goals = [row[1:] for row in goal_table(results).rows if row[0].startswith("D: files/s")]
    assert goals == [
        ["≥ 1", "1.2", "yes", "energon, ShardWriter"],
        ["≥ 1", "0.75", "NO", "energon, ShardWriter"],
        ["≥ 0.5", "0.5", "yes", "floor, encoder alone"],
        ["≥ 0.85", "0.8", "NO", "floor, encoder alone"],
    ]
    assert {row.variant for row in planned([described("shardkit")], "D")} == {"default", "no loudness"}


def test_what_can_not_be_installed_or_run_says_why(tmp_path: Path) -> None:
    system = System(name="x", requirements=("no such ! requirement",), settings="", variants={}, caches=(), reads="x")
    with pytest.raises(InstallError, match=r"(?i)invalid requirement|error"):
        python_of(system, tmp_path, {})
    assert python_of(system, tmp_path, {"x": Path(sys.executable)}) == Path(sys.executable)
    with pytest.raises(RunError, match="KeyError"):
        run(Path(sys.executable), {"task": "measure", "system": "nobody", "job": {}, "seconds": 1})
    assert set(SOURCES) == {"one", "two", "three"}
