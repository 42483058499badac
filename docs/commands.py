"""Writes the reference in docs/commands.md from the table: `python docs/commands.py`."""  # noqa: INP001

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smallhours import verbs
from smallhours.verb import Argument, Verb

PAGE = Path(__file__).with_suffix(".md")
_BEGIN = "<!-- From here on written by docs/commands.py -->\n"


def reference() -> str:
    """Return the part of the page that is written by this script."""
    lines: list[str] = []
    for group in verbs.GROUPS:
        lines += [f"## {group[0].upper()}{group[1:]}", ""]
        for verb in verbs.VERBS:
            if verb.group == group:
                lines += _section(verb)
    return "\n".join(lines).rstrip() + "\n"


def page() -> str:
    """Return the whole page as it should be."""
    written, begin, _ = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    return f"{written}{begin}\n{reference()}"


def _section(verb: Verb) -> Iterator[str]:
    words = [_usage(argument) for argument in verb.arguments]
    words += ["[--json]"] if verb.has_json else []
    yield from (f"### {verb.name}", "")
    yield from (f"`{' '.join(['smallhours', verb.name, *words])}`", "")
    yield from (f"{verb.text[0].upper()}{verb.text[1:]}.", "")
    told = [argument for argument in verb.arguments if argument.details.get("help")]
    for argument in told:
        name = ", ".join(argument.flags) if argument.is_option else argument.details["metavar"]
        yield f"- `{name}`: {argument.details['help']}"
    yield from [""] if told else []


def _usage(argument: Argument) -> str:
    metavar = argument.details.get("metavar", "")
    if not argument.is_option:
        optional = {"?": f"[{metavar}]", "*": f"[{metavar} ...]"}
        return optional.get(argument.details.get("nargs", ""), metavar)
    value = f" {metavar}" if argument.takes_value else ""
    again = " ..." if argument.details.get("action") == "append" else ""
    word = f"{argument.flags[-1]}{value}{again}"
    return word if argument.details.get("required") else f"[{word}]"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
