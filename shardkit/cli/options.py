"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OnError(StrEnum):
    """Values of ``--on-error``."""

    fail = "fail"
    skip = "skip"


StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="KEY=VALUE",
        help="For the storage behind a URL, such as endpoint_url=http://127.0.0.1:9000. Repeatable.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
Split = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Only this split.", show_default="all splits")
]
DatasetUrl = Annotated[str, typer.Argument(metavar="DATASET", help="Folder or URL of a dataset.", show_default=False)]


def local(text: str) -> Path:
    """Return the path of a local file or folder that is to be written.

    Raises:
        InputError: It is a URL of some other storage, which as a path would name a folder such as ``s3:``.
    """
    from shardkit.core.errors import InputError
    from shardkit.storage.location import locate

    if "://" not in text:
        return Path(text)
    location = locate(text)
    if not location.is_local:
        raise InputError(f"{location}: only a local file or folder can be written here; name one, and copy it there")
    return location.local_path


def pairs(texts: list[str] | None, *, option: str) -> dict[str, str]:
    """Return the NAME=VALUE texts of a repeatable option as a dict."""
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found
