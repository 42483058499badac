"""Requests: complete or not there, in order, answered through the ledger."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from smallhours import inbox
from smallhours.core import facts as f
from smallhours.errors import UsageError
from smallhours.ledger.store import Ledger
from smallhours.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "state")


def answer(home: Home, request: str, *, ok: bool, text: str) -> None:
    home.prepare()
    ledger = Ledger(home.ledger, home.lock, reserve=False)
    fact = f.RequestAnswered(request=request, verb="stop", uid=0, ok=ok, text=text)
    ledger.append(fact, at=time.time(), mono=1.0)
    ledger.close()


def test_a_request_comes_back_as_it_was_submitted(home: Home) -> None:
    identity = inbox.submit(home, "stop", {"now": True, "cause": "stop"})
    (request,) = inbox.pending(home)
    assert request.id == identity
    assert (request.verb, request.body) == ("stop", {"now": True, "cause": "stop"})
    assert (request.uid, request.pid) == (os.getuid(), os.getpid())


def test_the_file_is_what_the_internals_page_says(home: Home) -> None:
    identity = inbox.submit(home, "release", {"study": None})
    data = json.loads((home.inbox / f"{identity}.json").read_bytes())
    assert data == {
        "id": identity,
        "verb": "release",
        "uid": os.getuid(),
        "pid": os.getpid(),
        "body": {"study": None},
    }


def test_nobody_else_can_look_into_the_inbox(home: Home) -> None:
    identity = inbox.submit(home, "stop", {})
    assert stat.S_IMODE(home.inbox.stat().st_mode) == 0o700
    assert stat.S_IMODE((home.inbox / f"{identity}.json").stat().st_mode) == 0o600


def test_requests_are_listed_oldest_first(home: Home) -> None:
    ids = [inbox.submit(home, "stop", {"n": n}) for n in range(20)]
    assert [request.id for request in inbox.pending(home)] == ids


def test_a_discarded_request_is_gone_and_may_be_discarded_again(home: Home) -> None:
    identity = inbox.submit(home, "stop", {})
    inbox.discard(home, identity)
    inbox.discard(home, identity)
    assert inbox.pending(home) == []


def test_a_half_written_request_is_not_seen(home: Home) -> None:
    home.prepare()
    (home.inbox / "1-a.tmp").write_text('{"id": "1-a"')
    assert inbox.pending(home) == []
    assert (home.inbox / "1-a.tmp").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"id": "1-bad", "verb": "explode", "uid": 0, "pid": 1, "body": {}}',
        '{"id": "1-bad", "verb": "stop", "uid": 0, "pid": 1, "body": []}',
        '{"id": "another", "verb": "stop", "uid": 0, "pid": 1, "body": {}}',
    ],
)
def test_what_is_no_request_is_put_aside_and_the_others_are_read(
    home: Home, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = inbox.submit(home, "stop", {})
    (home.inbox / "1-bad.json").write_text(content)
    assert [request.id for request in inbox.pending(home)] == [good]
    assert (home.inbox / "rejected" / "1-bad.json").read_text() == content
    assert "1-bad.json is no request" in caplog.text


def test_a_link_out_of_the_inbox_is_not_followed(home: Home, tmp_path: Path) -> None:
    identity = inbox.submit(home, "stop", {})
    file = home.inbox / f"{identity}.json"
    elsewhere = tmp_path / "elsewhere.json"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert inbox.pending(home) == []
    assert elsewhere.exists()


def test_the_owner_of_the_file_counts_not_what_it_says(home: Home) -> None:
    identity = inbox.submit(home, "stop", {})
    file = home.inbox / f"{identity}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "uid": 4242}))
    (request,) = inbox.pending(home)
    assert request.uid == os.getuid()


def test_a_directory_that_others_can_write_to_takes_no_request(home: Home) -> None:
    home.prepare()
    home.root.chmod(0o777)
    with pytest.raises(UsageError, match="can be written by others"):
        inbox.submit(home, "stop", {})


def test_an_answer_is_read_from_the_ledger(home: Home) -> None:
    answer(home, "1-a", ok=False, text="it differs in metric")
    assert inbox.wait_for_answer(home, "1-a", 0.0) == (False, "it differs in metric")


def test_the_answer_to_another_request_is_not_taken(home: Home) -> None:
    answer(home, "1-a", ok=True, text="added digits")
    assert inbox.wait_for_answer(home, "1-b", 0.0) is None


def test_without_a_ledger_there_is_no_answer_in_time(home: Home) -> None:
    begun = time.monotonic()
    assert inbox.wait_for_answer(home, "1-a", 0.12) is None
    assert 0.12 <= time.monotonic() - begun < 2


def test_an_answer_that_comes_while_it_is_waited_for_is_seen(home: Home) -> None:
    later = threading.Timer(0.15, answer, (home, "1-a"), {"ok": True, "text": "stopping"})
    later.start()
    try:
        assert inbox.wait_for_answer(home, "1-a", 5.0) == (True, "stopping")
    finally:
        later.join()
