"""``--engine ray``, on a real Ray cluster of two nodes, of which one is killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from shardkit.audio.options import TranscodeOptions
from shardkit.core.errors import InputError
from shardkit.pack.identity import made_with
from shardkit.pack.on_ray import _run, write_on_node
from shardkit.pack.plan import ShardPlan
from shardkit.pack.shard import ShardJob
from shardkit.storage.location import locate
from tests.conftest import ROOT, S3
from tests.pack.ray_cluster import __file__ as cluster_program

pytest.importorskip("ray")
SIZE = ["--shard-size", "3MB", "--flac-level", "8", "--name", "noise"]
DEADLINE_S = 240


class Cluster:
    """The process of ``ray_cluster.py``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = self._line()

    def kill_a_node(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._line() == "killed"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    program = [sys.executable, str(cluster_program)]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            yield Cluster(process)
        finally:
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def cluster(s3: S3) -> Iterator[Cluster]:
    """Of two nodes that find the S3 server in their environment."""
    with running_cluster() as found:
        assert found.address
        yield found


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    for i in range(24):
        samples = np.random.default_rng(i).uniform(-0.4, 0.4, (48_000 * 8 + i, 2))
        soundfile.write(folder / f"{i:03d}.wav", samples, 48_000)
    return folder


@pytest.fixture(scope="module")
def packed_here(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("here") / "out"
    shardkit("pack", noise, output, *SIZE)
    return output


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "shardkit", *map(str, arguments)]


def shardkit(*arguments: object) -> str:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: object) -> tuple[int, str]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return done.returncode, done.stderr


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bytes_are_those_of_one_machine(cluster: Cluster, noise: Path, packed_here: Path, s3: S3) -> None:
    told = json.loads(
        shardkit("pack", noise, f"{s3.url}/ray", *SIZE, "--engine=ray", "--ray-address", cluster.address, "--json")
    )
    assert told["samples"] == 24
    assert told["shards"] > 4
    assert content(s3.folder / "ray") == content(packed_here)


def test_an_input_that_fails_is_told_as_on_one_machine(cluster: Cluster, noise: Path, tmp_path: Path) -> None:
    broken = tmp_path / "in"
    broken.mkdir()
    for path in noise.iterdir():
        (broken / path.name).hardlink_to(path)
    (broken / "999.wav").write_bytes(b"no recording")
    here = refused("pack", broken, tmp_path / "here", *SIZE)
    there = refused("pack", broken, tmp_path / "there", *SIZE, "--engine=ray", "--ray-address", cluster.address)
    assert here == there
    assert "999.wav" in there[1]
    assert there[1].count("\n") == 1


def test_a_node_that_is_lost_costs_nothing(noise: Path, packed_here: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with (
        running_cluster() as cluster,
        subprocess.Popen(
            command("pack", noise, output, *SIZE, "--engine=ray", "--ray-address", cluster.address)
        ) as packing,
    ):
        until = time.monotonic() + DEADLINE_S
        while not list(output.glob("train/*.done")):
            assert packing.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        cluster.kill_a_node()
        assert packing.poll() is None, "it was over before the node was killed; pack more"
        assert packing.wait(DEADLINE_S) == 0
    assert content(output) == content(packed_here)


class TestWhatCanNotBe:
    def test_no_cluster_there(self, noise: Path, tmp_path: Path) -> None:
        code, line = refused("pack", noise, tmp_path / "out", "--engine=ray", "--ray-address=127.0.0.1:9")
        assert code == 2
        assert "no Ray cluster at 127.0.0.1:9: Connection refused" in line
        assert line.count("\n") == 1

    def test_no_address(self, noise: Path, tmp_path: Path) -> None:
        code, line = refused("pack", noise, tmp_path / "out", "--engine=ray", "--ray-address=head")
        assert (code, "write HOST:PORT" in line) == (2, True)

    def test_address_without_engine(self, noise: Path, tmp_path: Path) -> None:
        code, line = refused("pack", noise, tmp_path / "out", "--ray-address=head:1")
        assert (code, "--engine ray" in line) == (2, True)

    def test_ray_is_not_installed(self, noise: Path, tmp_path: Path) -> None:
        program = "import sys; sys.modules['ray'] = None; from shardkit.cli.main import main; main()"
        arguments = [sys.executable, "-c", program, "pack", str(noise), str(tmp_path / "out"), "--engine=ray"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 2
        assert "pip install 'shardkit[ray]'" in done.stderr

    def test_a_node_that_does_not_see_the_output(self, tmp_path: Path) -> None:
        job = ShardJob(
            plan=ShardPlan("all", "all/000000", ()),
            output=locate(tmp_path),
            transcode=TranscodeOptions(),
            schema=pa.schema([]),
            hops_s={},
            on_error="fail",
        )
        with pytest.raises(InputError, match=rf"{tmp_path}/shardkit.packing: not there on the node "):
            write_on_node(job, lambda _progress: None)

    def test_a_node_with_other_versions(self) -> None:
        versions = made_with()
        with pytest.raises(InputError, match=r"soxr .* on the node .*, 0\.0\.1 where this was started"):
            _run(write_on_node, None, 0, None, versions | {"soxr": "0.0.1"})
