"""Logs: kept within a size under real writers, tidied at the end, read with what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smallhours import logs

LIMIT, SMALL = 1_000_000, 200_000


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    folder = tmp_path / "attempt-1"
    folder.mkdir()
    return folder


def on_disk(attempt: Path) -> int:
    return (attempt / "log.txt").stat().st_blocks * 512


def read(attempt: Path) -> list[bytes]:
    return list(logs.Tail(attempt / "log.txt").lines(ended=True))


def write(attempt: Path, content: bytes) -> None:
    (attempt / "log.txt").write_bytes(content)


def numbered(lines: int) -> bytes:
    return b"".join(b"line %07d of a log that says much\n" % n for n in range(lines))


def test_a_log_without_lines_or_file_is_no_error(attempt: Path) -> None:
    logs.cap([attempt], LIMIT)
    logs.finish(attempt, LIMIT)
    assert read(attempt) == []


def test_a_small_log_is_left_as_it_is(attempt: Path) -> None:
    write(attempt, b"one\r\ntwo\n\0\xff binary")
    before = (attempt / "log.txt").stat()
    logs.cap([attempt], LIMIT)
    logs.finish(attempt, LIMIT)
    after = (attempt / "log.txt").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("punches", [True, False])
def test_a_large_log_loses_its_middle_and_keeps_both_ends(
    attempt: Path, monkeypatch: pytest.MonkeyPatch, *, punches: bool
) -> None:
    if not punches:

        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(logs, "_punch", refuse)
    content = numbered(100_000)
    write(attempt, content)
    logs.cap([attempt], LIMIT)
    assert on_disk(attempt) <= LIMIT
    lines = read(attempt)
    assert lines[0] == content[:36]
    assert lines[-1] == content[-37:-1]
    (marker,) = [line for line in lines if b"left out" in line]
    assert marker == b"[... 3.07 MB left out ...]"
    known = set(content.splitlines())
    assert sum(line not in known for line in lines) <= 3  # the marker, and a line cut on each side


@pytest.mark.processes
@pytest.mark.timeout(90)
def test_what_is_printed_while_the_log_is_cut_is_there(attempt: Path) -> None:
    """A real writer of another process, and cuts all the time."""
    code = """
import os, sys
flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
os.dup2(os.open(sys.argv[1], flags, 0o600), 1)
for n in range(80_000):
    print(f"line {n:07d} of a log that says much")
"""
    writer = subprocess.Popen([sys.executable, "-c", code, attempt / "log.txt"])
    follower, seen = logs.Tail(attempt / "log.txt"), []
    while writer.poll() is None:
        logs.cap([attempt], SMALL)
        seen += follower.lines(ended=False)
    logs.cap([attempt], SMALL)
    assert (attempt / "log.txt").stat().st_size == 80_000 * 37
    assert on_disk(attempt) <= SMALL
    assert read(attempt)[-1] == b"line 0079999 of a log that says much"
    logs.finish(attempt, SMALL)
    seen += follower.lines(ended=True)
    # The follower's file was replaced under its hands; it still sees the end.
    assert seen[-1] == b"line 0079999 of a log that says much"
    assert (attempt / "log.txt").stat().st_size <= SMALL
    lines = read(attempt)
    assert lines[0].startswith(b"line 0000000")
    assert lines[-1].startswith(b"line 0079999")
    numbers = [int(line[5:12]) for line in lines if len(line) == 36 and line.startswith(b"line ")]
    assert numbers == sorted(set(numbers))
    assert sum(b"left out" in line for line in lines) in (1, 2)


def test_megabytes_without_a_line_end_are_cut_like_others(attempt: Path) -> None:
    write(attempt, b"x" * 20_000_000)
    logs.cap([attempt], LIMIT)
    assert on_disk(attempt) <= LIMIT
    assert sum(map(len, read(attempt))) < LIMIT
    logs.finish(attempt, LIMIT)
    assert (attempt / "log.txt").stat().st_size <= LIMIT
    assert any(b"left out" in line for line in read(attempt))


def test_binary_garbage_is_cut_and_read(attempt: Path) -> None:
    write(attempt, bytes(range(256)) * 20_000)
    logs.cap([attempt], LIMIT)
    logs.finish(attempt, LIMIT)
    assert (attempt / "log.txt").stat().st_size <= LIMIT + 100
    assert read(attempt)


def test_a_progress_bar_is_a_line_once_the_attempt_is_over(attempt: Path) -> None:
    bar = b"".join(b"\r%3d%%|####  | %d/100 [00:01<00:09]" % (n, n) for n in range(101))
    write(attempt, b"begin\n" + bar + b"\nend\r\n")
    assert read(attempt) == [b"begin", b"100%|####  | 100/100 [00:01<00:09]", b"end"]
    logs.finish(attempt, LIMIT)
    assert (attempt / "log.txt").read_bytes() == (
        b"begin\n100%|####  | 100/100 [00:01<00:09]\nend\n"
    )


def test_a_bar_that_never_ends_is_kept_small(attempt: Path) -> None:
    write(attempt, b"".join(b"\r%8d of many" % n for n in range(200_000)))
    logs.cap([attempt], LIMIT)
    logs.finish(attempt, LIMIT)
    content = (attempt / "log.txt").read_bytes()
    assert content.endswith(b"  199999 of many\n")
    assert len(content) < 200


def test_a_log_that_can_not_be_written_anew_stays_as_it_was(
    attempt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = numbered(50_000)
    write(attempt, content)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logs, "_cut_finished", full)
    with pytest.raises(OSError, match="No space"):
        logs.finish(attempt, LIMIT)
    assert (attempt / "log.txt").read_bytes() == content
    assert [path.name for path in attempt.iterdir()] == ["log.txt"]


def test_a_log_cut_again_and_again_keeps_its_beginning(attempt: Path) -> None:
    with (attempt / "log.txt").open("ab") as file:
        for _ in range(20):
            file.write(numbered(20_000))
            file.flush()
            logs.cap([attempt], LIMIT)
            assert on_disk(attempt) <= LIMIT
    assert read(attempt)[1].startswith(b"line 0000001")
    assert sum(b"left out" in line for line in read(attempt)) == 1
