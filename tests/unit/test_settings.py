"""The settings file: what it may say, what is said of mistakes, and when it is read again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from smallhours import settings
from smallhours.core.hours import parse
from smallhours.errors import UsageError
from smallhours.settings import Settings, Watcher

WHOLE = """
slots = 2
mps = "on"

[quiet]
cpu = ["mon-fri 09:00-18:00", "sat 10:00-12:00"]

[yield]
to = ["blender", "steam*"]

[storage]
checkpoints = "20 GB"
log = "1 MiB"

[hooks]
on_event = ["/home/me/notify", "--quiet"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_a_file_that_says_everything_is_read(file: Path) -> None:
    file.write_text(WHOLE)
    assert settings.read(file) == Settings(
        slots=2,
        mps="on",
        quiet={"cpu": (parse("mon-fri 09:00-18:00"), parse("sat 10:00-12:00"))},
        yield_to=("blender", "steam*"),
        checkpoint_bytes=20_000_000_000,
        log_bytes=2**20,
        on_event=("/home/me/notify", "--quiet"),
    )


def test_without_a_file_all_is_as_usual(file: Path) -> None:
    assert settings.read(file) == Settings()


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("[quiet]\n[yield]\n")
    assert settings.read(file) == Settings()


def test_one_text_will_do_where_a_list_could_be(file: Path) -> None:
    file.write_text(
        'quiet.cpu = "22:00-07:00"\nyield.to = "blender"\nhooks.on_event = "say \'a b\'"'
    )
    read = settings.read(file)
    assert read.quiet == {"cpu": (parse("22:00-07:00"),)}
    assert read.yield_to == ("blender",)
    assert read.on_event == ("say", "a b")


def test_the_core_gets_what_it_needs(file: Path) -> None:
    file.write_text(WHOLE)
    core = settings.read(file).core()
    assert core.checkpoint_bytes == 20_000_000_000
    assert core.quiet["cpu"][0] == parse("mon-fri 09:00-18:00")


def test_the_users_directory_is_filled_in_for_a_command(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    file.write_text('hooks.on_event = "~/notify"')
    assert settings.read(file).on_event == ("/home/me/notify",)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("slot = 2", "slot", "there is no such key; did you mean 'slots'?"),
        ("xyzzy = 2", "xyzzy", '"slots" or "mps" or "devices" or "quiet" or "yield" or "storage"'),
        ("on_event = 'x'", "on_event", "it belongs under [hooks]"),
        ("[hooks]\nslots = 2", "hooks.slots", "it belongs above all tables"),
        ("[storage]\nto = 'x'", "storage.to", "it belongs under [yield]"),
        ("[storage]\ncheckpoint = 1", "storage.checkpoint", "did you mean 'checkpoints'?"),
        ("[quiet]\ngpux = '22:00-07:00'", "quiet.gpux", "no such device; did you mean 'gpu'?"),
        ("slots = 0", "slots", "expected a whole number from 1 to 1024, got 0"),
        ("slots = true", "slots", "got True"),
        ("slots = '2'", "slots", "got '2'"),
        ("slots = 1.5", "slots", "got 1.5"),
        ("mps = true", "mps", 'expected "auto" or "on" or "off", got True'),
        ("mps = ['on']", "mps", "got ['on']"),
        ("slots = 5000", "slots", "got 5000"),
        ("quiet = 1", "quiet", "expected a table, [quiet], got 1"),
        ("quiet.cpu = 9", "quiet.cpu", "expected hours like"),
        ("quiet.cpu = ['9-18']", "quiet.cpu", "got '9-18'"),
        ("quiet.cpu = ['xyz 09:00-18:00']", "quiet.cpu", "there is no day 'xyz'"),
        ("quiet.cpu = [9]", "quiet.cpu", "got 9"),
        ("yield.to = 1", "yield.to", "expected names of processes"),
        ("yield.to = ['']", "yield.to", "got ''"),
        ("storage.checkpoints = '20 potatoes'", "storage.checkpoints", "got '20 potatoes'"),
        ("storage.checkpoints = 0", "storage.checkpoints", "expected bytes or text"),
        ("storage.log = 1.5", "storage.log", "got 1.5"),
        ("hooks.on_event = []", "hooks.on_event", "expected a command like"),
        ("hooks.on_event = ''", "hooks.on_event", "expected a command like"),
        ("hooks.on_event = [1]", "hooks.on_event", "got [1]"),
        ("hooks.on_event = 'say \"'", "hooks.on_event", "No closing quotation"),
        ("hooks.on_event = 'bin/notify'", "hooks.on_event", "expected a whole path"),
        ('hooks.on_event = "a\\u0000b"', "hooks.on_event", "expected a command like"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_remedy(
    file: Path, text: str, key: str, words: str
) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        settings.read(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: {key}: ")
    assert words in message
    assert "\n" not in message


def test_what_is_no_toml_is_named_with_its_line(file: Path) -> None:
    file.write_text("slots = 2\nslots 3\n")
    with pytest.raises(UsageError, match=r"config\.toml: it is no TOML: .*line 2"):
        settings.read(file)


def test_what_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"slots = \xff")
    with pytest.raises(UsageError, match="no UTF-8"):
        settings.read(file)


def test_a_directory_in_its_place_is_refused(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UsageError, match="it can't be read"):
        settings.read(file)


def test_a_file_that_everybody_can_write_to_is_refused(file: Path) -> None:
    file.write_text(WHOLE)
    file.chmod(0o666)
    with pytest.raises(UsageError, match="chmod o-w"):
        settings.read(file)


def test_the_environment_says_where_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SMALLHOURS_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert settings.path() == tmp_path / ".config/smallhours/config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert settings.path() == tmp_path / "xdg/smallhours/config.toml"
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "own.toml"))
    assert settings.path() == tmp_path / "own.toml"


def change(file: Path, text: str, turn: list[int]) -> None:
    """Write a file whose time differs from all before, however coarse the file system's clock."""
    file.write_text(text)
    turn[0] += 1
    os.utime(file, ns=(turn[0], turn[0]))


def test_a_change_is_noticed_once(file: Path) -> None:
    turn = [0]
    watcher = Watcher(file)
    assert watcher.changed() is None
    change(file, "slots = 3", turn)
    assert watcher.changed() == Settings(slots=3)
    assert watcher.changed() is None
    change(file, "slots = 3 # as before", turn)
    assert watcher.changed() is None
    file.unlink()
    assert watcher.changed() == Settings()


def test_a_broken_file_is_logged_once_and_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turn = [0]
    change(file, "slots = 3", turn)
    watcher = Watcher(file)
    change(file, "slots = -3", turn)
    with caplog.at_level(logging.ERROR):
        assert watcher.changed() is None
        assert watcher.changed() is None
    assert watcher.settings == Settings(slots=3)
    assert [record.message.count("slots: expected") for record in caplog.records] == [1]
    change(file, "slots = 4", turn)
    assert watcher.changed() == Settings(slots=4)


def test_a_file_that_is_broken_from_the_start_leaves_all_as_usual(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("slots = -3")
    with caplog.at_level(logging.ERROR):
        watcher = Watcher(file)
    assert watcher.settings == Settings()
    assert "slots: expected" in caplog.text
