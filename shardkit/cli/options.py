"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from shardkit.core.errors import InputError


class Command(TyperCommand):
    """A command that refuses an option given twice, of which click would silently take the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as click does, but for that."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        single = [item for item in order if isinstance(item, TyperOption) and not (item.multiple or item.is_flag)]
        for item in single:
            if single.count(item) > 1:
                raise InputError(f"{item.opts[0]} is given more than once; give it once")
        return super().parse_args(ctx, args)


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
Hops = Annotated[
    list[str] | None,
    typer.Option(
        "--hop", metavar="NAME=SECONDS", help="Time from row to row of an array field. Repeatable.", show_default=False
    ),
]
DatasetUrl = Annotated[str, typer.Argument(metavar="DATASET", help="Folder or URL of a dataset.", show_default=False)]


def local(text: str) -> Path:
    """Return the path of a local file or folder that is to be written.

    Raises:
        InputError: It is a URL of some other storage, which as a path would name a folder such as ``s3:``.
    """
    from shardkit.storage.location import locate

    if "://" not in text:
        return Path(text)
    location = locate(text)
    if not location.is_local:
        raise InputError(f"{location}: only a local file or folder can be written here; name one, and copy it there")
    return location.local_path


def pairs(texts: list[str] | None, *, option: str) -> dict[str, str]:
    """Return the NAME=VALUE texts of a repeatable option as a dict.

    Raises:
        InputError: A text is no such pair, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        if not name or not value:
            raise InputError(f"{option} {text}: not NAME=VALUE; write it like {option} NAME=VALUE")
        if name in found:
            raise InputError(f"{option} {name} is given twice, as {found[name]!r} and as {value!r}; give it once")
        found[name] = value
    return found


def seconds(hops: list[str] | None) -> dict[str, float]:
    """Return the NAME=SECONDS texts of ``--hop`` as a dict.

    Raises:
        InputError: A text is no such pair, or a value no number.
    """
    found = {}
    for name, text in pairs(hops, option="--hop").items():
        try:
            found[name] = float(text)
        except ValueError:
            raise InputError(f"--hop {name}={text}: not a number of seconds") from None
    return found
