"""What storage takes from the environment; nothing else in the package reads it for storage.

botocore reads its own variables and files (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ENDPOINT_URL,
AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION, ~/.aws); every s3fs that pyproject.toml allows hands them through. What is
read here is only for messages: which endpoint was asked. And what people write into files of their own: paths with
variables.
"""

import os
import re
from collections.abc import Mapping

from shardkit.core.errors import InputError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")


def s3_endpoint(options: Mapping[str, object]) -> str | None:
    """Return the S3 endpoint that options or variables name, in botocore's order; None: AWS, or a profile's."""
    group = options.get("client_kwargs")
    nested = group.get("endpoint_url") if isinstance(group, Mapping) else None
    for endpoint in (options.get("endpoint_url"), nested):
        if isinstance(endpoint, str) and endpoint:
            return endpoint
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def requests_ca_bundle() -> str | None:
    """Return the bundle of certificates that botocore trusts where nothing of its own is set."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or None


def expanded_path(path: str) -> str:
    """Return a path or URL that a file names with ``~`` and ``$NAME`` or ``${NAME}`` replaced.

    Raises:
        InputError: A variable is not set, or there is no such user.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        found = os.environ.get(name)
        if found is None:
            raise InputError(f"{path!r}: the environment has no variable {name!r}; set it, or write the path in full")
        return found

    found = os.path.expanduser(_VARIABLE.sub(value, path))  # noqa: PTH111  a URL is no Path
    if found.startswith("~"):
        raise InputError(f"{path!r}: there is no home folder of that user; write ./ in front of a name that has a ~")
    return found
