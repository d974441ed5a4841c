"""Fixtures that all tests share: a real S3 server, and the recordings that some tests need."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tools.s3_server import Endpoint, serve

# Machines that run tests are shared; a slow moment is no failure.
settings.register_profile("shardkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shardkit")

ROOT = Path(__file__).resolve().parent.parent
# Left set, these would go before or along with the server's own credentials.
_OTHER_AWS_VARIABLES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3")


@dataclass(frozen=True, slots=True)
class S3:
    """A running server with one bucket; ``folder`` is what holds the bucket's objects on this machine."""

    endpoint: Endpoint
    bucket: str
    folder: Path

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"


@pytest.fixture(autouse=True)
def no_handler_left() -> Iterator[None]:
    """Fail the test that leaves a signal handler behind: forked processes of later tests would begin with it."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in signals]
    yield
    assert [signal.getsignal(number) for number in signals] == before


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server with an empty bucket, which s3fs and sub-processes find through the environment."""
    folder, bucket = tmp_path_factory.mktemp("s3"), "shardkit-tests"
    with serve(folder, buckets=[bucket]) as endpoint, pytest.MonkeyPatch.context() as patch:
        for name in _OTHER_AWS_VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in endpoint.environment().items():
            patch.setenv(name, value)
        yield S3(endpoint, bucket, folder / bucket)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("SHARDKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set SHARDKIT_TEST_DATA to a folder that has them")
    return folder
