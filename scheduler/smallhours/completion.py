"""What a shell may complete a command line with: commands, options, names of the ledger, files.

The scripts that `smallhours completion` prints ask ``smallhours __complete WORD ...``, with the
words after the program's name, the last one as far as it is typed (it may be empty). The answer is
a line for each word that fits: the word, and after a tab what it means, where that is known. A word
that ends in a slash is to be typed on. It reads only, starts nothing, and never complains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from smallhours import verbs
from smallhours.paths import Home, read_only
from smallhours.verb import Argument, Names, Verb

if TYPE_CHECKING:
    import sqlite3

#: A study file says what it imports in its first lines.
_HEAD_BYTES = 16_384
#: How long to wait for a ledger that is being written.
_BUSY_S = 0.05

_STUDIES = """
SELECT kind, study, json_extract(body, '$.spec.name') FROM event
WHERE kind IN ('study_added', 'study_amended', 'study_retired', 'study_archived', 'study_removed')
ORDER BY seq
"""
_TRIALS = "SELECT trial FROM event WHERE kind = 'trial_created' AND study = ? ORDER BY trial"


class Candidate(NamedTuple):
    """A word that fits."""

    word: str
    #: What it means; empty: that is clear.
    text: str = ""


class _Study(NamedTuple):
    id: int
    name: str
    #: Whether it is out of the way: it goes by ``name@id``, or was archived.
    aside: bool


def answer(home: Home, words: Sequence[str], out: TextIO) -> None:
    """Print what fits the last of `words`; nothing where something is wrong."""
    try:
        found = [*candidates(home, words)]
    except Exception:  # noqa: BLE001 - somebody is typing: a complaint would be in the way
        return
    for candidate in found:
        # A name or a file that a terminal could obey is not offered.
        if candidate.word.isprintable():
            out.write("\t".join(filter(None, candidate)) + "\n")


def candidates(home: Home, words: Sequence[str]) -> Iterator[Candidate]:
    """Yield what fits the last of the words after the program's name.

    Args:
        home: The state directory; it need not exist.
        words: All of them, the last one as far as it is typed.
    """
    *before, word = words or [""]
    if not before:
        offered = [Candidate(verb.name, verb.text) for verb in verbs.VERBS]
        offered += [Candidate("--help"), Candidate("--version")] if word.startswith("-") else []
        yield from _beginning(word, offered)
        return
    verb = verbs.find(before[0])
    if verb is not None:
        yield from _of_verb(home, verb, before[1:], word)


def _of_verb(home: Home, verb: Verb, before: Sequence[str], word: str) -> Iterator[Candidate]:
    """Yield what fits `word` after the words `before` of a command."""
    options = {name: arg for arg in verb.arguments if arg.is_option for name in arg.flags}
    asked = options.get(before[-1]) if before else None
    if asked is not None and asked.takes_value:
        yield from _values(home, asked, word)
        return
    option, equals, value = word.partition("=")
    if equals and option in options:
        for candidate in _values(home, options[option], value):
            yield candidate._replace(word=f"{option}={candidate.word}")
        return
    if word.startswith("-"):
        yield from _beginning(word, _options(verb, before))
        return
    places = [argument for argument in verb.arguments if not argument.is_option]
    given = sum(
        not typed.startswith("-") and not _is_value(options, before, i)
        for i, typed in enumerate(before)
    )
    if given < len(places):
        yield from _values(home, places[given], word)


def _is_value(options: dict[str, Argument], before: Sequence[str], index: int) -> bool:
    """Say whether a word belongs to the option before it."""
    owner = options.get(before[index - 1]) if index else None
    return owner is not None and owner.takes_value


def _options(verb: Verb, before: Sequence[str]) -> Iterator[Candidate]:
    """Yield the options that can still be given."""
    for argument in verb.arguments:
        again = argument.details.get("action") == "append"
        if argument.is_option and (again or not set(argument.flags) & set(before)):
            yield Candidate(argument.flags[-1], str(argument.details.get("help", "")))
    if verb.has_json and "--json" not in before:
        yield Candidate("--json", "print JSON")
    yield Candidate("--help")


def _values(home: Home, argument: Argument, word: str) -> Iterator[Candidate]:
    """Yield what an argument may be."""
    yield from _beginning(word, map(Candidate, argument.words))
    if argument.names == "study files":
        yield from _files(word)
    elif argument.names:
        yield from _names(home, argument.names, word)


def _beginning(word: str, offered: Iterable[Candidate]) -> Iterator[Candidate]:
    return (candidate for candidate in offered if candidate.word.startswith(word))


def _names(home: Home, kind: Names, word: str) -> Iterator[Candidate]:
    """Yield names of studies and trials."""
    import sqlite3  # not above: only names need the ledger

    if not home.ledger.exists():
        return
    database = sqlite3.connect(read_only(home.ledger), uri=True, timeout=_BUSY_S)
    try:
        studies = _studies(database)
        if "/" not in word:
            yield from _names_of_studies(studies, kind, word)
        elif kind != "studies":
            name = word.partition("/")[0]
            for study in (study.id for study in studies if study.name == name):
                trials = (f"{name}/{trial}" for (trial,) in database.execute(_TRIALS, (study,)))
                yield from _beginning(word, map(Candidate, trials))
    finally:
        database.close()


def _names_of_studies(studies: list[_Study], kind: Names, word: str) -> Iterator[Candidate]:
    meant = [study for study in studies if study.name.startswith(word)]
    # What was put aside is wanted only where nothing else can be meant.
    for study in [study for study in meant if not study.aside] or meant:
        if kind != "trials":
            yield Candidate(study.name)
        if kind != "studies":
            yield Candidate(f"{study.name}/", "its trials")


def _studies(database: sqlite3.Connection) -> list[_Study]:
    """Return the studies, by the names that they have now."""
    found: dict[int, _Study] = {}
    for kind, study, name in database.execute(_STUDIES):
        if kind == "study_added":
            found[study] = _Study(study, name, aside=False)
        elif kind == "study_removed":
            found.pop(study, None)
        elif kind == "study_retired":
            found[study] = _Study(study, f"{found[study].name}@{study}", aside=True)
        elif study in found:  # put out of the way, or taken up again
            found[study] = found[study]._replace(aside=kind == "study_archived")
    return list(found.values())


def _files(word: str) -> Iterator[Candidate]:
    """Yield directories, and the files that look like studies; where none does, all of Python."""
    directory, slash, begun = word.rpartition("/")
    python = []
    for path in sorted(Path(directory + slash).expanduser().iterdir()):
        if not path.name.startswith(begun) or (path.name.startswith(".") and not begun):
            continue
        if path.is_dir():
            yield Candidate(f"{directory}{slash}{path.name}/")
        elif path.suffix == ".py":
            python.append(path)
    for path in [path for path in python if _mentions_us(path)] or python:
        yield Candidate(f"{directory}{slash}{path.name}")


def _mentions_us(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"smallhours" in file.read(_HEAD_BYTES)
    except OSError:
        return False
