"""A member of a sample beside its recording: a file as it is, or what is made of one when its sample is packed."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from shardkit.storage.location import Location


class Recipe(Protocol):
    """Makes a member of the bytes of a file, always the same of the same; it goes to other processes, so it pickles."""

    @property
    def extension(self) -> str:
        """Extension of the member, without a dot: ``npy``."""
        ...

    def make(self, data: bytes, *, duration_s: float) -> bytes:
        """Return the member.

        Args:
            data: The file.
            duration_s: Of the sample's recording, as it is stored.

        Raises:
            FormatError: The file is not what it should be; the packer puts its name in front.
        """
        ...


@dataclass(frozen=True, slots=True)
class Derived:
    """A member that ``recipe`` makes of the file at ``location``."""

    location: Location
    recipe: Recipe


Member: TypeAlias = Location | Derived


def file_of(member: Member) -> Location:
    """Return the file that a member is, or is made of."""
    return member.location if isinstance(member, Derived) else member


def extension_of(member: Member) -> str:
    """Return the extension that a member gets, in lower case."""
    if isinstance(member, Derived):
        return member.recipe.extension
    return member.name.rpartition(".")[2].lower()
