"""Which error a failure becomes, and whether trying again can help.

Storage clients raise errors of many families (those of botocore and gcsfs are not even OSErrors), one wrapped in
another. So a failure is judged by its marks, gathered along the chain of causes: the store's own code
("NoSuchBucket"), the HTTP status, the errno, and the names of the exception classes. By names, because that needs
none of the clients installed. The first rule with one of the marks speaks.

Sources: the error codes of Amazon S3's REST API; botocore.exceptions; aiohttp's client exceptions;
urllib3.exceptions; http.client; errno(3).
"""

import errno
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from shardkit.core.errors import AccessError, InputError, NotFoundError, ShardkitError, StorageError
from shardkit.storage.environment import s3_endpoint
from shardkit.storage.location import HTTP, S3, Location

# No connection came about: wrong host, wrong port, or a network that is down.
UNREACHABLE = frozenset(
    {
        *("EndpointConnectionError", "ClientConnectorError", "ConnectError"),
        *("ConnectTimeoutError", "ConnectionTimeoutError", "gaierror"),
    }
)
# The store or the network failed at something that it may well do the next time.
TRANSIENT = frozenset(
    {
        *("408", "429", "500", "502", "503", "504"),
        *("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestLimitExceeded", "Throttling"),
        *(
            "ReadTimeoutError",
            "SocketTimeoutError",
            "FSTimeoutError",
            "ConnectionClosedError",
            "ResponseStreamingError",
        ),
        *("ServerDisconnectedError", "ClientPayloadError", "IncompleteRead", "ECONNRESET", "EPIPE", "ECONNABORTED"),
        *("BadStatusLine", "WrongAnswerError"),
        *("ConnectionError", "ClientOSError", "HTTPClientError", "TimeoutError"),
        "ResponseParserError",  # a listing that was cut off
    }
)
# Credentials that were good once: whoever renews them may have done so by now.
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"})
# A wrong protocol or certificate fails the same way each time, though it looks like a broken connection.
_TLS = frozenset({"SSLError", "ClientSSLError", "SSLCertVerificationError"})
_TLS_CUT = frozenset({"SSLEOFError", "SSLZeroReturnError"})  # but these are connections that broke


class _Rule(NamedTuple):
    marks: frozenset[str]
    error: type[ShardkitError]
    text: str


def _rule(marks: str, error: type[ShardkitError], text: str) -> _Rule:
    return _Rule(frozenset(marks.split()), error, text)


_RULES = (
    _rule(" ".join(_TLS), StorageError, "no TLS connection to {endpoint}: {detail}; is it http:// rather than https://?"),
    _rule("gaierror", StorageError, "no such host: {endpoint}{tried}; {check}"),
    _rule("ConnectTimeoutError ConnectionTimeoutError", StorageError, "{endpoint} does not answer{tried}; {check}"),
    _rule(" ".join(UNREACHABLE), StorageError, "can't connect to {endpoint}: {detail}{tried}; {check}"),
    _rule("NoSuchBucket", NotFoundError, "there is no bucket {bucket!r} at {endpoint}; {create}"),
    _rule("NoCredentialsError PartialCredentialsError CredentialRetrievalError TokenRetrievalError SSOError "
          "DefaultCredentialsError", AccessError, "no credentials were found; {credentials}"),
    _rule("ProfileNotFound", AccessError, "{detail}; check AWS_PROFILE and --storage-option profile=…"),
    _rule("InvalidAccessKeyId", AccessError, "{endpoint} does not know this access key; {credentials}"),
    _rule("SignatureDoesNotMatch", AccessError, "the secret does not belong to the access key; {credentials}"),
    _rule(" ".join(EXPIRED), AccessError,
          "the session token has expired or is not valid{tried}; get new credentials"),
    _rule("RequestTimeTooSkewed", AccessError, "this machine's clock is wrong; set it and try again"),
    _rule("PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException 301", StorageError,
          "the bucket is in another region ({detail}); set AWS_DEFAULT_REGION"),
    _rule("ParamValidationError InvalidBucketName InvalidURL", InputError, "not a valid name: {detail}"),
    _rule("401 UnauthorizedAccess", AccessError, "the credentials were refused (401); {credentials}"),
    _rule("403 AccessDenied PermissionError EACCES EPERM EROFS", AccessError, "{refused}; {credentials}"),
    _rule("WrongAnswerError", StorageError,
          "{detail}, several times{tried}; a proxy or cache on the way may be at fault: try later, or go around it"),
    _rule(" ".join(TRANSIENT), StorageError, "the store failed at it, several times: {detail}{tried}; try again later"),
    _rule("404 NoSuchKey FileNotFoundError", NotFoundError, "nothing is stored there; check the name"),
    _rule("ELOOP", NotFoundError, "it is a link that leads in a circle; mend it or take it away"),
    _rule("NotADirectoryError", NotFoundError, "a part of the path is a file, not a folder; check the path"),
    _rule("FileExistsError", StorageError, "a part of the path is a file, not a folder; choose another path"),
    _rule("IsADirectoryError", StorageError, "it is a folder, not a file; name a file"),
    _rule("ENOSPC EDQUOT", StorageError, "no space is left; free some or choose another place"),
    _rule("EFBIG", StorageError, "the file is larger than its file system or ulimit -f allows; choose another place"),
    _rule("EMFILE ENFILE", StorageError, "too many open files; raise ulimit -n"),
)  # fmt: skip

_LOCAL_WRITE_RULES = (
    # Folders above are made or found before, so here it is their file system that takes no files: /proc, say.
    _rule("FileNotFoundError", StorageError, "no file can be made there; choose another folder"),
    _rule("NotADirectoryError", StorageError, "a part of the path is a file, not a folder; choose another path"),
)

_S3_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or --storage-option key=… secret=…, "
    "or anon=true for a public bucket; for a store other than AWS set AWS_ENDPOINT_URL too"
)
_S3_ENDPOINT = "check AWS_ENDPOINT_URL or --storage-option endpoint_url=…"
# Signed queries and passwords in URLs are secrets, and clients like to quote URLs.
_URL_SECRETS = re.compile(r"(?P<scheme>https?://)(?:[^\s/@'\"]*@)?(?P<rest>[^\s?'\"]*)(?:\?[^\s'\"]*)?")


def explain(err: BaseException, location: Location, doing: str) -> ShardkitError:
    """Return the error to raise for ``err``, which came up while ``doing`` (a verb) something to a location."""
    marks = _marks(err)
    if isinstance(err, TypeError) and "unexpected keyword argument" in str(err):
        name = str(err).rpartition("argument")[2].strip()
        return InputError(f"{location}: {location.protocol} storage has no option {name}; check --storage-option")
    if isinstance(err, ValueError) and "endpoint" in str(err):
        return InputError(f"{location}: {detail(err)}; an endpoint is a whole URL, such as http://HOST:9000")
    for rule in (*_LOCAL_WRITE_RULES, *_RULES) if location.is_local and doing == "write" else _RULES:
        if not marks.isdisjoint(rule.marks):
            return rule.error(f"{location}: can't {doing}: {rule.text.format_map(_words(err, location, doing))}")
    return StorageError(f"{location}: can't {doing}: {detail(err)}")


def is_missing(err: BaseException, location: Location) -> bool:
    """Return whether ``err`` says that nothing is there, in a place that is."""
    return "NoSuchBucket" not in _marks(err) and isinstance(explain(err, location, "read"), NotFoundError)


def is_past_end(err: BaseException) -> bool:
    """Return whether a range was asked that begins at or after the end of the object (HTTP 416, RFC 9110)."""
    return not _marks(err).isdisjoint({"416", "InvalidRange"})


def is_transient(err: BaseException, *, answered: bool) -> bool:
    """Return whether trying again can help.

    An endpoint that was never reached is most likely a wrong one, and is given up at once; one that has
    ``answered`` before is worth waiting for.
    """
    marks = _marks(err)
    if not marks.isdisjoint(_TLS):
        return answered and not marks.isdisjoint(_TLS_CUT)
    return answered if not marks.isdisjoint(UNREACHABLE) else not marks.isdisjoint(TRANSIENT)


def is_wrong_answer(err: BaseException) -> bool:
    """Return whether a server answered, with other bytes than those asked for."""
    return "WrongAnswerError" in _marks(err)


def is_expired(err: BaseException) -> bool:
    """Return whether credentials were refused that were good until some moment."""
    return not _marks(err).isdisjoint(EXPIRED)


def retry_after_s(err: BaseException) -> float:
    """Return the seconds after which the server wants to be asked again (RFC 9110, 10.2.3); 0: it does not say."""
    for link in _chain(err):
        response = getattr(link, "response", None)  # botocore's, and RefusedError's
        known = response.get("ResponseMetadata", {}).get("HTTPHeaders") if isinstance(response, dict) else None
        headers = known if known is not None else getattr(link, "headers", None)  # aiohttp's
        text = headers.get("retry-after", "") if isinstance(headers, Mapping) else ""
        if text:
            return _seconds(text)
    return 0.0


def _seconds(text: str) -> float:
    """Return how far off a Retry-After is: seconds, or a date of HTTP."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _chain(err: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, as a traceback would show them.

    fsspec's HTTP looks things up by wrapping whatever goes wrong in a FileNotFoundError; that one is left out.
    """
    link: BaseException | None = err
    if isinstance(err, FileNotFoundError) and type(err.__cause__).__module__.startswith("aiohttp"):
        link = err.__cause__
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _marks(err: BaseException) -> frozenset[str]:
    marks: set[str] = set()
    for link in _chain(err):
        marks.update(base.__name__ for base in type(link).__mro__)
        if isinstance(link, OSError) and link.errno is not None:
            marks.add(errno.errorcode.get(link.errno, ""))
        response = getattr(link, "response", None)  # botocore.exceptions.ClientError
        if isinstance(response, dict):
            marks.add(str(response.get("Error", {}).get("Code")))
            marks.add(str(response.get("ResponseMetadata", {}).get("HTTPStatusCode")))
        marks.add(str(_http_status(link)))
    return frozenset(marks)


def _http_status(err: BaseException) -> object:
    """Return the status that aiohttp's ClientResponseError (``status``) or gcsfs's HttpError (``code``) carries."""
    return getattr(err, "status", None) if hasattr(err, "status") else getattr(err, "code", None)


def detail(err: BaseException) -> str:
    """Return what the first cause says, in one line and without secrets."""
    *_, cause = _chain(err)
    text = getattr(cause, "strerror", None) or getattr(cause, "message", None) or str(cause) or type(cause).__name__
    status = _http_status(cause)
    response = getattr(cause, "response", None)
    if isinstance(response, dict) and "Error" in response:  # botocore's, without what it says of its own retries
        status, text = response["Error"].get("Code"), response["Error"].get("Message", "")
    line = " ".join(f"{status or ''} {text}".split())
    return _URL_SECRETS.sub(r"\g<scheme>\g<rest>", line)[:300]


def _words(err: BaseException, location: Location, doing: str) -> dict[str, str]:
    """Return what the texts of rules may mention."""
    bucket = location.path.partition("/")[0]
    told = "".join(f" ({link.told})" for link in _chain(err) if hasattr(link, "told"))  # of GaveUpError
    words = {"detail": detail(err), "bucket": bucket, "create": "check the name, or create it", "tried": told}
    if location.protocol in S3:
        endpoint = s3_endpoint(location.options)
        return words | {
            "endpoint": endpoint or "AWS",
            "credentials": _S3_CREDENTIALS,
            "check": _S3_ENDPOINT,
            "create": f"create it, or {_S3_ENDPOINT}" if endpoint else f"it is AWS that was asked: {_S3_ENDPOINT}",
            "refused": f"access was refused: the credentials are wrong, or do not allow to {doing}",
        }
    if location.is_local:
        return words | {"refused": "permission denied", "credentials": "check the permissions of file and folders"}
    host = bucket.rpartition("@")[2] if location.protocol in HTTP else location.protocol
    return words | {
        "endpoint": host,
        "credentials": f"check the credentials for {host}",
        "check": "check the URL and the network",
        "refused": "access was refused",
    }
