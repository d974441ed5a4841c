"""What the commands print of the library's log."""

import logging
from enum import StrEnum

from shardkit.logs import JsonLines


class LogLevel(StrEnum):
    """Values of ``--log-level``."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def start_logging(level: LogLevel, *, as_json: bool) -> None:
    """Print messages of the library on stderr, from this level on: bare, as Python does, or as lines of JSON."""
    logger = logging.getLogger("shardkit")
    logger.setLevel(level.upper())
    for handler in [one for one in logger.handlers if one.name == "shardkit-cli"]:
        logger.removeHandler(handler)  # of a call before, where a program calls several commands
    handler = logging.StreamHandler()
    handler.name = "shardkit-cli"
    if as_json:
        handler.setFormatter(JsonLines())
    logger.addHandler(handler)
