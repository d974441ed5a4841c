"""Parquet files read in parts, so that what they decode to is bounded.

A dictionary holds a value once, however many rows have it: a file of some KB can be a table of TB. What its metadata
say of sizes is its writer's word, so the table is counted as it comes.
"""

import pyarrow as pa
import pyarrow.parquet as pq

from shardkit.core.sizes import format_size

MAX_TABLE_BYTES = 8_000_000_000  # of one file, decoded
_ROWS = 1024  # at once; so many times its largest value is what a file can take before it is counted


def read_parquet(data: bytes, *, max_bytes: int = MAX_TABLE_BYTES) -> pa.Table:
    """Return the table that the bytes of a Parquet file hold.

    Raises:
        pa.ArrowException, OSError, ValueError: It is none, or one that decodes to more than ``max_bytes``.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    batches, num_bytes = [], 0
    # Without threads: at the exit of a process Arrow's now and then abort it (pyarrow 26).
    for batch in file.iter_batches(_ROWS, use_threads=False):
        num_bytes += batch.nbytes
        if num_bytes > max_bytes:
            raise ValueError(f"its columns decode to more than {format_size(max_bytes)}; make several files of it")
        batches.append(batch)
    return pa.Table.from_batches(batches, file.schema_arrow)
