"""Uploads in parts to S3 that were begun and never ended: no listing of objects shows them, and they are paid for."""

from contextlib import suppress
from typing import Any

from shardkit.storage.location import S3, Location


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
