"""The streams' datasets serve here too."""

from tests.stream.conftest import datasets

__all__ = ["datasets"]
