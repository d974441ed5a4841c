"""A packed dataset of a few hundred clips of noise, and as many copies of it as make segments for all lanes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.bench.counting import CountedS3, bypass_proxies, counted_s3
from tools.bench.datasets import make_dataset, multiply

ROWS, TIMES = 384, 16  # 6,144 rows: 96 in each lane's segment, three windows of 32


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bucket ``data`` that holds the datasets ``few`` and ``many``."""
    bucket = tmp_path_factory.mktemp("bench") / "data"
    few = make_dataset(bucket / "few", num_rows=ROWS, duration_s=0.25, sample_rate_hz=8_000, shard_bytes=2_000_000)
    multiply(few, bucket / "many", TIMES)
    return bucket


@pytest.fixture(scope="session")
def counted(served: Path) -> Iterator[CountedS3]:
    """The bucket on S3, behind a proxy that counts."""
    with pytest.MonkeyPatch.context() as patch, counted_s3(served.parent) as s3:
        patch.setenv("NO_PROXY", "")  # so that it is as it was afterwards
        bypass_proxies()
        yield s3
