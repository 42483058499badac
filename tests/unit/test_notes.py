"""Lines that people write about studies and trials."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import msgspec
import pytest

from fakes.core import Night, make_spec
from fakes.ledgers import Recording, record_small_night
from smallhours import inbox, requests
from smallhours.commands import note, show_study, show_trial, why_trial
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.errors import NotFoundError, UsageError
from smallhours.explain import news
from smallhours.snapshot import Snapshot

NOTED = f.StudyNoted(study=1, trial=3, text="lr too \x1b[2J big", by="ada@pts/1")


@pytest.fixture
def night(tmp_path: Path) -> Recording:
    return record_small_night(tmp_path / "state")


def test_a_note_is_kept_and_answered_and_changes_nothing() -> None:
    night = Night()
    night.begin()
    night.add(make_spec("wine"))
    before = len(night.facts)
    night.tell(
        e.NoteRequested(at=night.now, request="r", by="me", study=1, trial=None, text="too slow")
    )
    kept, answered = night.facts[before:]
    assert kept == f.StudyNoted(study=1, trial=None, text="too slow", by="me")
    assert isinstance(answered, f.RequestAnswered)
    assert (answered.ok, answered.text) == (True, "noted of wine")


@pytest.mark.parametrize(
    ("study", "trial", "text"),
    [(7, None, "there is no such study"), (1, 99, "there is no such trial")],
)
def test_a_note_of_nothing_is_refused(study: int, trial: int | None, text: str) -> None:
    night = Night()
    night.begin()
    night.add(make_spec("wine"))
    night.tell(
        e.NoteRequested(at=night.now, request="r", by="me", study=study, trial=trial, text="x")
    )
    answered = night.facts[-1]
    assert isinstance(answered, f.RequestAnswered)
    assert (answered.ok, answered.text) == (False, text)


def test_a_note_is_cleaned_at_the_door_and_may_not_be_empty() -> None:
    body = {"study": 1, "trial": 3, "text": "a\x1b[2Jb", "by": "me"}
    request = inbox.Request(id="1-a", verb="note", uid=0, pid=1, body=body)
    event = requests.event_of(request, 1.0)
    assert isinstance(event, e.NoteRequested)
    assert "\x1b" not in event.text
    with pytest.raises(ValueError, match="text"):
        requests.event_of(msgspec.structs.replace(request, body={**body, "text": ""}), 1.0)


def test_the_command_asks_for_it(night: Recording, capsys: pytest.CaptureFixture[str]) -> None:
    assert note.note(night.home, "wine/3", ["too", "slow"]) == 0
    assert "the note of wine is kept: it waits in the inbox" in capsys.readouterr().out
    (request,) = inbox.pending(night.home)
    assert request.verb == "note"
    assert (request.body["study"], request.body["trial"]) == (1, 3)
    assert request.body["text"] == "too slow"
    with pytest.raises(UsageError, match="1 to 1000 characters, got 0"):
        note.note(night.home, "wine", [" "])
    with pytest.raises(NotFoundError):
        note.note(night.home, "wine/999", ["x"])


def test_show_and_why_tell_notes_without_what_a_terminal_obeys(night: Recording) -> None:
    night.add(NOTED, f.StudyNoted(study=1, trial=None, text="of the study", by="ada"))
    with Snapshot(night.home) as snapshot:
        pages = []
        home = night.home
        for show in (show_trial.trial, partial(why_trial.why, home=home)):
            out = io.StringIO()
            show(snapshot=snapshot, study_id=1, number_=3, as_json=False, out=out)
            pages.append(out.getvalue())
        out = io.StringIO()
        show_study.study(snapshot, 1, as_json=False, out=out)
    for page in pages:
        assert "ada@pts/1: lr too" in page
        assert "\x1b[2J" not in page
        assert "of the study" not in page
    assert "ada@pts/1, of wine/3: lr too" in out.getvalue()
    assert "ada: of the study" in out.getvalue()


def test_notes_are_in_the_json_of_a_study_and_of_a_trial(night: Recording) -> None:
    night.add(NOTED)
    with Snapshot(night.home) as snapshot:
        of_trial, of_study = io.StringIO(), io.StringIO()
        show_trial.trial(snapshot, 1, 3, as_json=True, out=of_trial)
        show_study.study(snapshot, 1, as_json=True, out=of_study)
    for out in (of_trial, of_study):
        (note_,) = json.loads(out.getvalue())["notes"]
        assert (note_["by"], note_["trial"]) == ("ada@pts/1", 3)


def test_news_say_who_noted_what() -> None:
    said = news.sentence(NOTED, {1: "wine"}, 0.0)
    assert said.startswith("wine/3 has a note of ada@pts/1: lr too")
