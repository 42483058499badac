"""The table of commands: it fits what carries the commands out, the help, and the documentation."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path
from typing import Any, get_args

import pytest

from smallhours import cli, verbs
from smallhours.verb import Group, Verb

ROOT = Path(__file__).resolve().parents[2]

each_verb = pytest.mark.parametrize("verb", verbs.VERBS, ids=verbs.NAMES)


def destinations(verb: Verb) -> set[str]:
    """The names under which the function gets its arguments."""
    parsed = vars(cli._parser(verb).parse_args(_least(verb)))
    return set(parsed) - {"as_json"}


def _least(verb: Verb) -> list[str]:
    """The shortest command line that is complete."""
    words = []
    for arg in verb.arguments:
        if arg.is_option:
            words += [arg.flags[0], "word"] if arg.details.get("required") else []
        elif arg.details.get("nargs") not in ("?", "*"):
            words.append("word")
    return words


@each_verb
def test_what_carries_a_command_out_takes_its_arguments(verb: Verb) -> None:
    keys: dict[str, Any] = dict.fromkeys(destinations(verb))
    if verb.output == "prints":
        keys |= {"as_json": False, "out": None}
    inspect.signature(verb.load()).bind(object(), **keys)


@each_verb
def test_every_argument_has_words_for_the_help(verb: Verb) -> None:
    assert verb.text[0].islower()
    assert not verb.text.endswith(".")
    for argument in verb.arguments:
        assert argument.details.get("metavar") or not (
            argument.takes_value or not argument.is_option
        )
        assert argument.details.get("help") or not argument.is_option


def test_names_are_unique_and_every_group_has_commands() -> None:
    assert len(set(verbs.NAMES)) == len(verbs.NAMES)
    assert {verb.group for verb in verbs.VERBS} == set(verbs.GROUPS) == set(get_args(Group))
    assert verbs.find("show") is verbs.VERBS[verbs.NAMES.index("show")]
    assert verbs.find("shwo") is None


def test_the_help_names_every_command_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for verb in verbs.VERBS:
        assert f"{verb.name} {verb.text}" in printed


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["show", "--jsno"], "there is no option '--jsno'; did you mean '--json'?"),
        (["run", "x.py", "--replcae"], "; did you mean '--replace'?"),
        (["log", "a/1", "-n", "many"], "argument -n/--lines: expected 1 or more, got 'many'"),
        (["log", "a/1", "-n", "0"], "argument -n/--lines: expected 1 or more, got '0'"),
        (["best", "wine", "beer"], "unexpected argument 'beer'"),
        (["stop", "--now=1"], "argument --now: ignored explicit argument '1'"),
    ],
)
def test_a_wrong_argument_is_answered_with_what_would_be_right(
    line: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line) == 2
    message = capsys.readouterr().err
    assert said in message
    assert f"(see `smallhours {line[0]} --help`)" in message


def test_the_documentation_is_what_the_table_says() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "commands.py"))
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == script["page"](), "run `python docs/commands.py`"
    assert all(f"\n### {name}\n" in page for name in verbs.NAMES)
