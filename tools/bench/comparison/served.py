"""What was built, served as S3 on this machine, with what counts and what each process needs to know of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec

from tools.bench.counting import COUNTS, CountedS3, bypass_proxies, counted_s3
from tools.bench.systems.processes import cpu_of


@dataclass(frozen=True, slots=True)
class Served:
    """A running server; the sub-folders of what it serves are buckets."""

    s3: CountedS3

    def environment(self, *, counted: bool) -> dict[str, str]:
        """Return the variables that lead a process to the server, through the proxy or past it."""
        options = self.s3.options if counted else self.s3.uncounted
        return {
            "AWS_ENDPOINT_URL": options["endpoint_url"],
            "S3_ENDPOINT_URL": options["endpoint_url"],  # mosaicml-streaming's name for it
            "AWS_ACCESS_KEY_ID": options["key"],
            "AWS_SECRET_ACCESS_KEY": options["secret"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
        }

    @property
    def counts_url(self) -> str:
        """Where the proxy tells what it counted."""
        return self.s3.options["endpoint_url"] + COUNTS

    def touch(self, bucket: Path, prefix: str) -> None:
        """Read a byte of each file of a bucket's sub-folder: the server is slow at the first read of each."""
        store = fsspec.filesystem("s3", skip_instance_cache=True, **self.s3.uncounted)
        for path in sorted((bucket / prefix).rglob("*")):
            if path.is_file() and path.stat().st_size:
                store.cat_file(f"{bucket.name}/{path.relative_to(bucket).as_posix()}", start=0, end=1)

    @staticmethod
    def cpu_s() -> float:
        """Return the processor time of the server so far; it is started by a shell that watches it."""
        return cpu_of("rclone", grandparent=os.getpid())


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Serve a folder for the time of the ``with`` block."""
    bypass_proxies()
    with counted_s3(folder) as s3:
        yield Served(s3)
