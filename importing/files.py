"""Opens whatever people have: plain or gzipped, in any usual encoding, or standard input.

A file is read twice: all its bytes tell which encoding it is in, then its lines are given one by
one. Memory does not grow with the file.
"""

import codecs
import gzip
import io
import os
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from importing.errors import ImportFailed, no_room
from importing.text_repair import mend_misread

HEAD_BYTES = 1024 * 1024
SAMPLE_BYTES = 256 * 1024
HEAD_LINES = 20
MAX_LINE = 4 * 1024 * 1024
"""Characters. What is longer is no row of tweets; its row is rejected."""

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_OTHER_KINDS = (
    (b"PK\x03\x04", "is a zip archive and no Excel workbook: unpack it, or save it as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook: save it as CSV (UTF-8)"),
    (b"PAR1", "is a Parquet file: export it as CSV or NDJSON"),
    (b"%PDF", "is a PDF"),
    (b"SQLite format 3", "is a database: export its table as CSV"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it first"),
)

_MULTI_BYTE = re.compile(  # UTF-8 as it should be, or broken off
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{1,2}|[\xf0-\xf4][\x80-\xbf]{1,3}"
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_ASCII = bytes(range(128))
_WESTERN = frozenset("àâäáãåæçèéêëìíîïñòóôöõøùúûüÿœßÉÖÄÜÇ“”‘’„‚–—…•€£¥©®™°´«»¿¡ ")
_FOREIGN_WORD = re.compile("[À-ÖØ-öø-ÿ]{3,}|[\x80-\u2fff]{6,}")
_WESTERN_ENCODINGS = ("cp1252", "mac-roman")
_OLD_ENCODINGS = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("mac-roman", "iso-8859-2", "koi8-r", "cp866", "cp874"),
    *("cp932", "euc_jis_2004", "cp949", "gb18030", "big5hkscs"),
)
"""In which people have files."""
_TWO_BYTES = frozenset(_OLD_ENCODINGS[-5:])
"""Of which much looks like UTF-8 that is broken."""
_LEAST_CONFIDENCE = 0.1
"""Of chardet: a line of any language has more, some signs of punctuation half of it."""
_SURE = 0.14
"""Words with an accent or two have less, in any encoding."""
_LIKE_WESTERN = frozenset({"cp1250", "cp1254", "cp1257", "cp1258", "iso-8859-2"})
"""Whose letters stand singly among others, too: any of them could be Western ones."""
_LEAST_LINE = 8
"""Bytes that tell an encoding: of fewer, a fifth may be a NUL that is there by mistake."""


@dataclass(slots=True)
class Source:
    """An opened file of text. `head` is its first lines, `size` its bytes on disk."""

    name: str
    lines: Iterator[str]
    head: list[str]
    encoding: str
    size: int
    _raw: BinaryIO
    is_guess: bool = False
    """Whether only the letters tell the encoding."""
    workbook: BinaryIO | None = None
    """The file itself where it is an Excel workbook, which has no lines."""

    def position(self) -> int:
        """Bytes of it that have been read."""
        return self._raw.tell()


@contextmanager
def opened(path: str, encoding: str | None) -> Iterator[Source]:
    """`path` "-" is standard input. Raises ImportFailed where nothing could be read. What goes
    wrong later, while it is open, is no fault of this file."""
    name = "standard input" if path == "-" else path
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(_seekable(path))
            source = _source(name, raw, encoding)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ImportFailed(f"{name}: the gzip file is damaged or breaks off: {error}") from None
        except OSError as error:
            raise ImportFailed(f"{name}: {error.strerror or error}") from None
        yield source


def _source(name: str, raw: BinaryIO, encoding: str | None) -> Source:
    """Raises ImportFailed, OSError, or what a damaged gzip file leads to."""
    if _is_workbook(raw):
        return Source(name, iter(()), [], "Excel", raw.seek(0, os.SEEK_END), raw, workbook=raw)
    first = _unpacked(raw).read(HEAD_BYTES)
    _check_kind(name, first)
    known = encoding or _by_signature(first)
    found = known or _judge(name, _unpacked(raw))
    source = _as_text(name, raw, raw.seek(0, os.SEEK_END), first, found)
    source.is_guess = not known and found != "utf-8"
    return source


@contextmanager
def _seekable(path: str) -> Iterator[BinaryIO]:
    """The opened file. A pipe, which cannot be read twice, is copied to a temporary file first."""
    if path == "-" and sys.stdin is None:
        raise ImportFailed("standard input is closed: name a file, or give it one with <")
    with sys.stdin.buffer if path == "-" else open(path, "rb") as raw:
        if raw.seekable():
            yield raw
            return
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(raw, copy)
                copy.flush()
            except OSError as error:
                raise ImportFailed(no_room(error)) from None
            yield copy


def _unpacked(raw: BinaryIO) -> BinaryIO:
    """The file's content from its start, decompressed where it is gzip."""
    raw.seek(0)
    magic = raw.read(2)
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw  # type: ignore[return-value]


def _is_workbook(file: BinaryIO) -> bool:
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        return False
    with suppress(zipfile.BadZipFile, OSError, ValueError), zipfile.ZipFile(file) as archive:
        return "xl/workbook.xml" in archive.namelist()
    return False


def _check_kind(path: str, head: bytes) -> None:
    if not head:
        raise ImportFailed(f"{path}: is empty")
    for magic, what in _OTHER_KINDS:
        if head.startswith(magic):
            raise ImportFailed(f"{path}: {what}")
    start = head[:4096]
    strange = sum(byte < 9 or 13 < byte < 32 for byte in start if byte)
    is_text = start.startswith((b"\xff\xfe", b"\xfe\xff")) or (0 not in start and _is_utf8(start))
    if strange > len(start) // 20 and not is_text:
        raise ImportFailed(f"{path}: is not text. Export it as CSV, TSV, JSON or NDJSON")


def _is_utf8(start: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(start)
        return True
    return False


# --- encodings ------------------------------------------------------------------------------------


def _by_signature(head: bytes) -> str | None:
    """By its byte order mark, or by where the zero bytes of ASCII in UTF-16 and UTF-32 are: in all
    of it, or in its first line, which has the names of columns."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    start = head[:4096]
    if len(start) >= 8:
        if not any(start[3::4]) and max(start[2::4]) <= 0x10 and 0 not in start[0::4]:
            return "utf-32-le"
        if not any(start[0::4]) and max(start[1::4]) <= 0x10 and 0 not in start[3::4]:
            return "utf-32-be"
    line = start.partition(b"\n")[0]
    for part in (start, line if len(line) >= _LEAST_LINE else b""):
        if part[1::2].count(0) > len(part) // 5 and not part[0::2].count(0):
            return "utf-16-le"
        if part[0::2].count(0) > len(part) // 5 and not part[1::2].count(0):
            return "utf-16-be"
    return None


def _judge(name: str, file: BinaryIO) -> str:
    """UTF-8, also with some broken bytes; else the old encoding in which its letters are those of a
    language; of the Western ones the one that makes sense of its signs, by which few lines tell."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    high = multi_byte = 0
    sample = b""
    while chunk := file.read(HEAD_BYTES):
        try:
            decoder.decode(chunk)
            count = len(chunk.translate(None, _ASCII))
            high, multi_byte = high + count, multi_byte + count
        except UnicodeDecodeError:
            decoder.reset()
            high += sum(map(len, _HIGH.findall(chunk)))
            multi_byte += sum(map(len, _MULTI_BYTE.findall(chunk)))
            if len(sample) < SAMPLE_BYTES:
                sample += b"\n".join(line for line in chunk.splitlines() if _HIGH.search(line))
    if multi_byte * 10 >= high * 9:
        return "utf-8"
    sample = sample[:SAMPLE_BYTES]
    senses = {each: _sense(sample.decode(each, "replace")) for each in _WESTERN_ENCODINGS}
    best = max(senses, key=senses.__getitem__)
    found = _by_language(sample, could_be_western=senses[best] > 0)
    if multi_byte * 2 >= high and found not in _TWO_BYTES:
        return "utf-8"
    if found is not None:
        return found
    if senses[best] <= 0:
        raise ImportFailed(
            f"{name}: its letters do not tell the encoding, which is not UTF-8. Say which it is,"
            " for example --encoding cp1252, cp1251, shift_jis or gb18030"
        )
    return best


def _by_language(sample: bytes, *, could_be_western: bool) -> str | None:
    """None where it is Western, or cannot be told."""
    import chardet  # 3 MB of models, which few files need

    detected = chardet.detect(
        sample, include_encodings=_OLD_ENCODINGS, prefer_superset=True, compat_names=False
    )
    found, confidence = detected["encoding"], detected["confidence"]
    if could_be_western:
        is_told = found in _LIKE_WESTERN | _TWO_BYTES and confidence >= _SURE
    else:
        is_told = found not in _WESTERN_ENCODINGS and confidence >= _LEAST_CONFIDENCE
    return found if is_told else None


def _sense(text: str) -> int:
    """Above 0 where most of what is not ASCII could be European writing: there such letters stand
    among others, while a word of Russian or Greek has nothing else. The same sign again and again
    (———, •••, nãããão) is no word."""
    text = mend_misread(text)[0]
    foreign = [letter for letter in text if letter > "\x7f"]
    sense = sum(1 if letter in _WESTERN or letter > "\u2fff" else -1 for letter in foreign)
    words = (word for word in _FOREIGN_WORD.findall(text) if len(set(word)) > 2)
    return sense - 2 * sum(map(len, words))


# --- lines ----------------------------------------------------------------------------------------


def _as_text(name: str, raw: BinaryIO, size: int, first: bytes, encoding: str) -> Source:
    """Lines end in LF, or in CR where the file has no LF; each is given with its end."""
    try:
        start = first.decode(encoding, "replace").lstrip("\ufeff")
    except (LookupError, UnicodeError):  # such as "idna", which is one of names
        raise ImportFailed(f"there is no encoding of texts called {encoding}") from None
    ending = "\r" if "\r" in start and "\n" not in start else "\n"
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    text = io.TextIOWrapper(
        _unpacked(raw),
        encoding=encoding,
        errors=_UNREADABLE if wide else "surrogateescape",
        newline=ending,
    )
    return Source(name, _lines(name, text), start.split(ending)[:HEAD_LINES], encoding, size, raw)


def _mark(error: UnicodeError) -> tuple[str, int]:
    """In the place of what cannot be decoded, what stands for broken bytes elsewhere: half a
    character. By single bytes, as Python would take them, all that follows were in disorder."""
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    raise error


_UNREADABLE = "importing.unreadable"
codecs.register_error(_UNREADABLE, _mark)


def _lines(name: str, text: io.TextIOWrapper) -> Iterator[str]:
    """Raises ImportFailed where the file breaks off."""
    first = True
    try:
        while line := text.readline(MAX_LINE):
            yield line.removeprefix("\ufeff") if first else line
            first = False
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeError, OSError) as error:
        raise ImportFailed(f"{name}: cannot be read any further: {error}") from None
    finally:
        with suppress(ValueError):  # closed meanwhile
            text.detach()  # the file belongs to who has opened it
