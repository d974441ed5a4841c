"""``JsonLines``: shardkit's log records, or any others, as lines of JSON for machines to read.

The library logs through Python's own ``logging``, to loggers named after its modules below ``shardkit``, and installs
no handler. What happened is in the record's attribute ``event``, and what it is about in others:

| event | level | further attributes |
|---|---|---|
| ``stall`` | WARNING | ``waited_s``, ``waits_for``, ``since_s``, ``stacks``; ``shard``, ``start`` and ``stop``, or ``shard``, ``key`` and ``field``; ``num_requests``, ``num_decodes``; ``worker``, ``worker_pid`` |
| ``stall_over`` | WARNING | ``waited_s`` |
| ``sample_left_out`` | WARNING | ``position``, ``source``, ``error`` |
| ``wrong_seek_table`` | WARNING | ``shard``, ``key`` |
| ``damaged_on_the_way`` | WARNING | ``shard``, ``key`` |
| ``cache_off`` | WARNING | ``folder``, ``reason`` |
"""  # noqa: E501  a table

import json
import logging
from datetime import UTC, datetime

# What every record has: anything else was given with ``extra``.
_USUAL = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message, and all that was given with ``extra``.

    >>> record = logging.LogRecord("shardkit.x", logging.INFO, "x.py", 1, "%d found", (3,), None)
    >>> record.event = "found"
    >>> sorted(json.loads(JsonLines().format(record)))
    ['event', 'level', 'logger', 'message', 'process', 'time']
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; what JSON does not know is written as text."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
