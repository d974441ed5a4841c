"""ID3v2 tags, which taggers put in front of MP3 and, against all specifications, FLAC."""

ID3_HEADER = 10
_FOOTER_FLAG = 0x10


def skip_id3v2(data: bytes | memoryview, start: int = 0) -> int:
    """Return the offset of the first byte at or after ``start`` that no ID3v2 tag covers.

    Source:
        ID3v2.4.0 main structure, 3.1: the size is four bytes of seven bits, without the header and the footer.
    """
    while bytes(data[start : start + 3]) == b"ID3":
        head = bytes(data[start : start + ID3_HEADER])
        if len(head) < ID3_HEADER or max(head[6:10]) > 0x7F:
            return start  # not a tag: the bytes of a size never have their top bit set
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        start += ID3_HEADER + size + (ID3_HEADER if head[5] & _FOOTER_FLAG else 0)
    return start
