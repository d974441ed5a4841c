"""Taking secrets out of what is shown: errors of clients quote URLs, and those hold passwords and signatures."""

import re

_URL = re.compile(
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.\-]*://)(?:[^\s/@'\"<>]*@)?(?P<rest>[^\s?'\"<>)]*)"
    r"(?P<query>(?:\?[^\s'\"<>)]*)?)"
)
_NAMED = re.compile(
    r"(?i)\b(authorization|x-amz-security-token|aws_secret_access_key)(['\"]?\s*[:=]\s*['\"]?)"
    r"(?:(?:bearer|basic) )?[^\s'\",}]+"
)


def without_secrets(text: str) -> str:
    """Return a text without the user names, passwords and queries of its URLs, and without headers that authorise.

    >>> without_secrets("GET https://me:pw@host/a.tar?X-Amz-Signature=5f, Authorization: Bearer abc")
    'GET https://host/a.tar?…, Authorization: …'
    """
    text = _URL.sub(_shown, text)
    return _NAMED.sub(r"\1\2…", text)


def _shown(match: re.Match[str]) -> str:
    query = match["query"]
    # Only HTTP has queries; elsewhere a question mark is part of a name.
    if not match["scheme"].lower().startswith("http"):
        return match["scheme"] + match["rest"] + query
    end = "," if query.endswith(",") else ""
    return match["scheme"] + match["rest"] + (f"?…{end}" if query else "")
