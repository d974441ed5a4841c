"""Uploads of files to S3 in parts, each of which is tried again by itself: a large file outlives many failures.

create   ->  UploadId
parts    1 2 3 4 | 5 6 7 8 | ...      some at once; one that fails is sent again, alone
complete ->  the object is there, whole
abort        after an error, so that no parts are left that somebody pays for
"""

import mimetypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from shardkit.storage.location import S3, Location

PART_SIZE = 16 << 20  # S3 takes 5 MiB to 5 GiB
MAX_PARTS = 10_000  # S3's limit
PARTS_AT_ONCE = 4  # so an upload holds 64 MiB
SMALL = 2 * PART_SIZE  # bytes below which a file is one request

Attempt = Callable[[Callable[[Any], Any]], Any]  # calls with an s3fs file system, again after failures


def upload(path: str, location: Location, attempt: Attempt) -> None:
    """Store a local file at a location of S3, in parts if it is not small.

    Args:
        path: The file.
        location: Where to.
        attempt: Calls what it is given with the file system, again while that can help.
    """
    size = os.path.getsize(path)  # noqa: PTH202
    kind = mimetypes.guess_type(path)[0]
    told = {} if kind is None else {"ContentType": kind}
    bucket, _, key = location.path.partition("/")
    where = {"Bucket": bucket, "Key": key}
    if size < SMALL:
        data = Path(path).read_bytes()
        attempt(lambda fs: fs.call_s3("put_object", Body=data, **where, **told))
        return
    started = attempt(lambda fs: fs.call_s3("create_multipart_upload", **where, **told))
    where["UploadId"] = started["UploadId"]
    try:
        parts = _send_parts(path, size, where, attempt)
        _complete(where, parts, attempt)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell
            attempt(lambda fs: fs.call_s3("abort_multipart_upload", **where))
        raise


def _send_parts(path: str, size: int, where: dict[str, str], attempt: Attempt) -> list[dict[str, Any]]:
    part_size = max(PART_SIZE, -(-size // MAX_PARTS))

    def send(number: int) -> dict[str, Any]:
        with Path(path).open("rb") as file:
            file.seek((number - 1) * part_size)
            data = file.read(part_size)
        sent = attempt(lambda fs: fs.call_s3("upload_part", Body=data, PartNumber=number, **where))
        return {"PartNumber": number, "ETag": sent["ETag"]}

    with ThreadPoolExecutor(PARTS_AT_ONCE) as threads:
        sending = [threads.submit(send, number) for number in range(1, -(-size // part_size) + 1)]
        try:
            return [part.result() for part in sending]
        finally:
            for part in sending:
                part.cancel()


def _complete(where: dict[str, str], parts: list[dict[str, Any]], attempt: Attempt) -> None:
    tries = 0

    def complete(filesystem: Any) -> None:
        nonlocal tries
        tries += 1
        try:
            filesystem.call_s3("complete_multipart_upload", MultipartUpload={"Parts": parts}, **where)
        except FileNotFoundError:
            # What s3fs makes of NoSuchUpload: an earlier try did it, and only its answer was lost.
            if tries == 1:
                raise

    attempt(complete)


def abort_uploads(filesystem: Any, folder: Location) -> int:
    """End the uploads below a folder, and return how many there were; none may be going on.

    What may not be asked, or is not known to the store, is left to its rules for the life of such uploads.
    """
    if folder.protocol not in S3:
        return 0
    bucket, _, prefix = folder.path.partition("/")
    with suppress(PermissionError, NotImplementedError, OSError):
        found = filesystem.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "")
        uploads = [(upload["Key"], upload["UploadId"]) for upload in found.get("Uploads", ())]
        for key, upload in uploads:
            filesystem.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)
        return len(uploads)
    return 0
