"""What storage takes from the environment; nothing else in the package reads it for storage.

botocore reads its own variables and files (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ENDPOINT_URL,
AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION, ~/.aws); every s3fs that pyproject.toml allows hands them through. What is
read here is only for messages: which endpoint was asked.
"""

import os
from collections.abc import Mapping


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
