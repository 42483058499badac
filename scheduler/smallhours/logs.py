"""What a trial printed: kept within a size while it is written, tidied when it is over, read back.

A trial writes its log itself (``attempt-<n>/log.txt``, opened for appending), so it survives
whatever dies. Where it grows too large, the middle is punched out of it: beginning and end stay
where they are, no writer notices, and the disk gets its blocks back. Readers pass over the hole and
say so. When the attempt is over the log is written anew, without the hole and with every line that
carriage returns drew over and over (a progress bar) as it was left.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

#: The log's name in the attempt's directory.
NAME = "log.txt"

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
#: A hole begins and ends at multiples of this, so that no block is left half in use.
_BLOCK_BYTES = 4096
_CHUNK_BYTES = 1 << 16
#: A line without an end is cut here.
_LINE_BYTES = 1 << 16
#: The share of the limit that the beginning of a log gets.
_HEAD_SHARE = 0.25


def cap(attempts: Iterable[Path], limit_bytes: int) -> None:
    """Keep the logs of running attempts within a size. A `stat` each while they are small.

    Between two calls a log may grow beyond it: by what the trial can write in that time.

    Args:
        attempts: The attempts' directories.
        limit_bytes: What a log may take on disk.
    """
    for attempt in attempts:
        with suppress(OSError):  # no log yet, or the disk's own trouble: the next call tries again
            if (attempt / NAME).stat().st_blocks * 512 > limit_bytes:
                _cut(attempt / NAME, limit_bytes)


def finish(attempt: Path, limit_bytes: int) -> None:
    """Write the log of an attempt that is over anew, where that makes it shorter.

    Reads all of it: up to `limit_bytes` and what came since the last `cap`. May run in a thread.

    Raises:
        OSError: it can't be written; the log is as it was.
    """
    path = attempt / NAME
    try:
        source = path.open("rb")
    except FileNotFoundError:
        return
    with source:
        size = os.fstat(source.fileno()).st_size
        if size <= limit_bytes and not _has_returns(source):
            return
        temporary = path.with_name(f"{NAME}.new")
        try:
            _write_anew(path, temporary, limit_bytes)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


class Tail:
    """Reads the lines that a log has gained since it was last asked.

    It holds the log open: what was written to it before it was written anew is still read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._offset = 0
        self._rest = b""
        self._ended = False

    def lines(self, *, ended: bool) -> Iterator[bytes]:
        """Yield the new lines, each as the last carriage return in it left it.

        Args:
            ended: Nothing will be added: yield a line that has no end, too, and let the file go.
        """
        if self._ended:
            return
        if self._file is None:
            try:
                self._file = self._path.open("rb", buffering=0)
            except FileNotFoundError:
                return
        if os.fstat(self._file.fileno()).st_size < self._offset:
            self._offset = 0  # it was cut short where no hole can be punched
        while (piece := _read(self._file, self._offset)) is not None:
            skipped, chunk, self._offset = piece
            if skipped:
                yield from self._flush()
                yield _left_out(skipped)
            yield from self._take(chunk)
        if ended:
            yield from self._flush()
            self._ended = True
            self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, chunk: bytes) -> Iterator[bytes]:
        *whole, rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            yield last_drawn(line)
        # What a carriage return overwrote will not be wanted.
        drawn = rest.rstrip(b"\r")
        self._rest = rest[drawn.rfind(b"\r") + 1 :]
        if len(self._rest) > _LINE_BYTES:
            yield from self._flush()

    def _flush(self) -> Iterator[bytes]:
        if self._rest:
            yield last_drawn(self._rest)
            self._rest = b""


def last_drawn(line: bytes) -> bytes:
    """Return what is left to see of a line that carriage returns went over."""
    shown = line.rstrip(b"\r")
    return shown[shown.rfind(b"\r") + 1 :]


def _read(file: BinaryIO, offset: int) -> tuple[int, bytes, int] | None:
    """Read on in a log: how many bytes were left out before, what follows, where to go on.

    None: nothing follows.
    """
    try:
        begin = os.lseek(file.fileno(), offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None  # at the end
    # The blocks at the edges of a hole may be larger than thought, and partly cleared.
    chunk = os.pread(file.fileno(), _CHUNK_BYTES, begin)
    if not chunk:
        return None
    skipped, end = begin - offset, begin + len(chunk)
    if skipped:
        visible = chunk.lstrip(b"\0")
        skipped, chunk = skipped + len(chunk) - len(visible), visible
    hole = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
    if hole < end and hole < os.fstat(file.fileno()).st_size:
        chunk, end = chunk[: max(0, len(chunk) - (end - hole))], hole  # perhaps just punched
    return skipped, chunk, end


def _cut(path: Path, limit_bytes: int) -> None:
    """Take the middle out of a log that may be growing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size
        head = _down(int(limit_bytes * _HEAD_SHARE))
        # Half of what is left for the end, so that it is not cut again at every call.
        begin_tail = _down(size - (limit_bytes - head) // 2)
        if begin_tail <= head:
            return
        try:
            _punch(descriptor, head, begin_tail - head)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            _cut_short(descriptor, path, head, begin_tail)
    finally:
        os.close(descriptor)


def _down(size_bytes: int) -> int:
    return size_bytes - size_bytes % _BLOCK_BYTES


def _punch(descriptor: int, begin: int, length: int) -> None:
    """Give the blocks of a range back; it reads as zeros from then on, and nothing moves.

    Raises:
        OSError: the file system can't.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    mode = _KEEP_SIZE | _PUNCH_HOLE
    offsets = (ctypes.c_int64(begin), ctypes.c_int64(length))
    if libc.fallocate(descriptor, mode, *offsets) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _cut_short(descriptor: int, path: Path, head: int, begin_tail: int) -> None:
    """Do the same where no hole can be punched; what is printed meanwhile may be lost."""
    tail = os.pread(descriptor, os.fstat(descriptor).st_size - begin_tail, begin_tail)
    os.ftruncate(descriptor, head)
    with path.open("ab") as file:
        file.write(b"\n" + _left_out(begin_tail - head) + b"\n" + tail)


def _has_returns(file: BinaryIO) -> bool:
    """Whether a carriage return is in it that does more than end a line."""
    file.seek(0)
    before = b""
    while chunk := file.read(_CHUNK_BYTES):
        text = before + chunk
        if text.count(b"\r") > text.count(b"\r\n") + text.endswith(b"\r"):
            return True
        before = b"\r" if text.endswith(b"\r") else b""
    return False


def _write_anew(source: Path, target: Path, limit_bytes: int) -> None:
    tail = Tail(source)
    try:
        with target.open("wb") as file:
            target.chmod(0o600)
            for line in tail.lines(ended=True):
                file.write(line + b"\n")
            size = file.tell()
    finally:
        tail.close()
    if size > limit_bytes:
        _cut_finished(target, size, limit_bytes)


def _cut_finished(path: Path, size: int, limit_bytes: int) -> None:
    """Shorten a log that nobody writes to, at the ends of lines where there are some."""
    head = int(limit_bytes * _HEAD_SHARE)
    with path.open("r+b") as file:
        begin = file.read(head)
        begin = begin[: begin.rfind(b"\n") + 1] or begin + b"\n"
        file.seek(size - (limit_bytes - head))
        end = file.read()
        end = end[end.find(b"\n", 0, _LINE_BYTES) + 1 :]
        file.seek(0)
        file.write(begin + _left_out(size - len(begin) - len(end)) + b"\n" + end)
        file.truncate()


def _left_out(size_bytes: int) -> bytes:
    size, unit = size_bytes / 1e6, "MB"
    if size < 1:
        size, unit = size_bytes / 1e3, "kB"
    return f"[... {size:.3g} {unit} left out ...]".encode()
