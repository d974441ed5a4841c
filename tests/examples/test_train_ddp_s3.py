"""The example of several nodes, killed and resumed: delivered as if by one process, trained as if never killed."""

import importlib.util
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as dist

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.synth import BurstsOptions, TonesOptions, synthesise
from tests.conftest import S3
from tests.examples.nodes import ROOT, Launch

SCRIPT = ROOT / "examples" / "train_ddp_s3.py"
WEIGHTS = {"speech": 0.7, "tones": 0.3}
SAMPLE_RATE, CROP_S, GLOBAL_BATCH = 8_000, 0.5, 12
STEPS, EVERY = 120, 5

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in Linux's /proc")

Fact = tuple[int, str, str, int]  # position, source, key, start


@dataclass(frozen=True, slots=True)
class Run:
    """One training run, through all its launches."""

    urls: dict[str, str]
    folder: Path

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def launch(self, name: str, *, ranks: Sequence[int], **changes: object) -> Launch:
        return Launch([str(SCRIPT), *self.arguments(name, **changes)], ranks=ranks, folder=self.folder / name)

    def arguments(self, name: str, **changes: object) -> list[str]:
        options = {"steps": STEPS, "every": EVERY, "global-batch": GLOBAL_BATCH} | changes
        sources = [["--source", source, str(WEIGHTS[source]), url] for source, url in self.urls.items()]
        return [
            *(word for source in sources for word in source),
            *("--checkpoints", str(self.checkpoints), "--record", str(self.folder / f"{name}.txt")),
            *(word for option, value in options.items() for word in (f"--{option}", str(value))),
            *("--sample-rate", str(SAMPLE_RATE), "--crop-s", str(CROP_S)),
        ]

    def delivered(self, name: str) -> list[list[Fact]]:
        """Return what each rank of a launch was given."""
        records = sorted(self.folder.glob(f"{name}.txt.*"), key=lambda path: int(path.suffix[1:]))
        return [[_fact(line) for line in record.read_text().splitlines(keepends=True)] for record in records]

    def steps(self, name: str) -> int:
        """Return how many steps of a launch all its ranks have taken the batch of."""
        delivered = self.delivered(name)
        return min((len(facts) * len(delivered) // GLOBAL_BATCH for facts in delivered), default=0)

    def saved(self) -> dict[str, Any]:
        """Return the latest checkpoint."""
        return torch.load(max(self.checkpoints.glob("step-*.pt")), weights_only=True)


def _fact(line: str) -> Fact:
    position, source, key, start = line.removesuffix("\n").split("\t")
    assert line.endswith("\n")
    return int(position), source, key, int(start)


@pytest.fixture(scope="module")
def urls(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two datasets on S3 by name, of other rates and labels, each with the splits ``train`` and ``val``."""
    recordings = tmp_path_factory.mktemp("recordings") / "all"
    speech, tones = synthesise(
        recordings,
        sources=["bursts", "tones"],
        bursts=BurstsOptions(num_files=47, min_duration_s=0.8, max_duration_s=2.0, sample_rate=8_000),
        tones=TonesOptions(waves=("sin", "saw"), modes=("pure", "maj", "min"), num_steps=5),
    )
    found = {}
    for name, written, label in (("speech", speech, "label"), ("tones", tones, "wave")):
        found[name] = f"{s3.url}/ddp/{name}"
        options = PackOptions(workers=1, shard_bytes=200_000, splits={"train": 0.7, "val": 0.3})
        pack(locate(written.manifest), locate(found[name]), inputs=InputOptions(label=label), options=options)
    return found


@pytest.fixture(scope="module")
def expected(urls: dict[str, str], s3: S3) -> list[Fact]:
    """What one process is given that is never interrupted, read from the disk below the S3 server."""
    stream = sk.Stream(
        {name: sk.open(s3.folder / "ddp" / name, split="train") for name in urls},
        weights=WEIGHTS,
        crop=sk.SalientCrop(CROP_S, floor_lufs=-40.0),
        sample_rate=SAMPLE_RATE,
        channels=1,
        batch_size=GLOBAL_BATCH,
        seed=1,
    )
    return [
        fact
        for batch in islice(stream, STEPS)
        for fact in zip(batch.positions.tolist(), batch.sources, batch.keys, batch.starts.tolist(), strict=True)
    ]


@pytest.fixture(scope="module")
def steady(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    """A run on two nodes that nothing interrupts, and what it printed."""
    run = Run(urls, tmp_path_factory.mktemp("steady"))
    with run.launch("whole", ranks=[1, 1]) as launch:
        return run, launch.finish()


@pytest.fixture
def example() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("train_ddp_s3", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the example run in this process, as the only rank."""
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    if dist.is_initialized():
        dist.destroy_process_group()


def resumed(launch: Launch) -> tuple[int, int]:
    """Return the step and the position that a launch began at."""
    found = re.search(r"^step (\d+): (?:begun|resumed) at position=(\d+) ", launch.output, re.MULTILINE)
    assert found is not None, launch.output[-4000:]
    return int(found[1]), int(found[2])


def metrics(output: str) -> dict[str, float]:
    found = re.search(rf"^step {STEPS}: (accuracy .*)$", output, re.MULTILINE)
    assert found is not None, output[-4000:]
    return {name: float(value) for name, value in (item.split(" ") for item in found[1].split(", "))}


def check_delivered(run: Run, expected: list[Fact], names: Sequence[str], starts: Sequence[int]) -> None:
    """Check what was delivered: each launch's until the next one's start, put together, is the sequence, each once.

    And what a launch delivered beyond that, which no checkpoint kept, is the same too.
    """
    for name, start, stop in zip(names, starts, [*starts[1:], STEPS * GLOBAL_BATCH], strict=True):
        ranks = run.delivered(name)
        for rank, facts in enumerate(ranks):
            assert [position % len(ranks) for position, *_ in facts] == [rank] * len(facts)
        together = sorted(fact for facts in ranks for fact in facts)
        assert [fact for fact in together if fact[0] < stop] == expected[start:stop]
        assert all(fact == expected[fact[0]] for fact in together)


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    return max(float((one["model"][name] - value).abs().max()) for name, value in other["model"].items())


def test_two_nodes_are_given_the_sequence_of_one_process(steady, expected):
    run, _ = steady
    check_delivered(run, expected, ["whole"], [0])
    assert run.saved()["step"] == STEPS
    assert run.saved()["stream"]["position"] == STEPS * GLOBAL_BATCH


def test_preempted_and_killed_the_run_ends_as_if_nothing_had_happened(steady, urls, expected, tmp_path):
    run, starts = Run(urls, tmp_path), []
    with run.launch("preempted", ranks=[1, 1]) as launch:
        launch.until(lambda: run.steps("preempted") > 2 * EVERY)
        launch.nodes[0].launcher.terminate()  # this node alone: the other one has to be told by its ranks
        statuses = [node.wait() for node in launch.nodes]
        starts.append(resumed(launch)[1])
        ended = re.search(r"^step (\d+): ended by SIGTERM", launch.output, re.MULTILINE)
        assert ended is not None, launch.output[-4000:]
        assert statuses[0] != 0, "torchrun says by its status that it was ended by a signal"
        assert not re.search(r"^\[rank\d+\]:", launch.output, re.MULTILINE), "no rank ended with an exception"
        last = int(ended[1])
        assert run.saved()["step"] == last
        assert [len(facts) for facts in run.delivered("preempted")] == [last * GLOBAL_BATCH // 2] * 2, "no step is lost"
    with run.launch("killed", ranks=[1, 1]) as launch:
        launch.until(lambda: run.steps("killed") > EVERY + 2)
        launch.kill()
        starts.append(resumed(launch)[1])
        assert not [pid for node in launch.nodes for pid in node.processes()]
    with run.launch("last", ranks=[1, 1]) as launch:
        output = launch.finish()
        starts.append(resumed(launch)[1])
    assert 0 == starts[0] < starts[1] < starts[2], "each launch went on from where it was"
    check_delivered(run, expected, ["preempted", "killed", "last"], starts)
    assert run.saved()["step"] == STEPS
    assert largest_difference(run.saved(), steady[0].saved()) < 1e-6
    assert metrics(output) == metrics(steady[1])


def test_the_run_goes_on_with_other_numbers_of_ranks_and_after_the_loss_of_a_node(steady, urls, expected, tmp_path):
    run, starts = Run(urls, tmp_path), []
    with run.launch("four", ranks=[2, 2]) as launch:
        launch.until(lambda: run.steps("four") > 2 * EVERY)
        launch.kill()
        starts.append(resumed(launch)[1])
    with run.launch("three", ranks=[2, 1]) as launch:
        launch.until(lambda: run.steps("three") > EVERY + 2)
        launch.kill(launch.nodes[1])
        assert launch.nodes[0].wait() != 0, "the other launcher ends, and says so"
        starts.append(resumed(launch)[1])
    with run.launch("two", ranks=[1, 1], workers=1) as launch:
        output = launch.finish()
        starts.append(resumed(launch)[1])
    assert 0 == starts[0] < starts[1] < starts[2]
    check_delivered(run, expected, ["four", "three", "two"], starts)
    assert [len(run.delivered(name)) for name in ("four", "three", "two")] == [4, 3, 2]
    assert run.saved()["step"] == STEPS
    # Gradients of three ranks are added up in another order than those of two, and Adam divides by their size: where
    # one is next to nothing its rounding counts: 4e-4 was seen, the same each time. One step of Adam is 1e-3.
    assert largest_difference(run.saved(), steady[0].saved()) < 1e-3
    assert metrics(output)["loss"] == pytest.approx(metrics(steady[1])["loss"], rel=1e-3)


def test_one_rank_finds_the_metric_of_two(steady, example, alone, monkeypatch, capsys):
    run, output = steady
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *run.arguments("alone")])
    example.main()
    printed = capsys.readouterr().out
    assert f"step {STEPS}: resumed at position={STEPS * GLOBAL_BATCH} on 1 ranks" in printed
    assert run.steps("alone") == 0, "all steps were done already"
    assert metrics(printed) == metrics(output)
    num_rows = sum(len(sk.open(url, split="val")) for url in run.urls.values())
    assert num_rows % GLOBAL_BATCH, "the last batch has to be padded for this to show anything"
    assert metrics(printed)["clips"] == num_rows


def test_another_global_batch_has_to_be_meant_and_then_the_same_samples_follow(
    urls, expected, example, alone, monkeypatch, tmp_path
):
    run = Run(urls, tmp_path)

    def launch(**changes: object) -> None:
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *run.arguments("alone", **changes)])
        example.main()

    launch(steps=4)
    launch(steps=6, **{"global-batch": 2 * GLOBAL_BATCH, "new": "global_batch_size"})
    assert run.delivered("alone") == [expected[: 4 * GLOBAL_BATCH + 2 * 2 * GLOBAL_BATCH]]
    with pytest.raises(sk.StateError, match="global_batch_size"):
        launch(steps=8)
