"""The command line: reads arguments, calls the verb, and turns what comes back into an exit code.

Exit codes: 0 done; 1 it ended, but something needs attention (a study was halted, nothing
completed, a check failed); 2 the command line or the study file is wrong; 3 the engine could not be
started or died; 4 the ledger is damaged, or of another version; 70 an error of smallhours' own;
130 interrupted (``smallhours resume`` goes on); 141 nobody reads the output any more.

With ``--json`` standard output is one JSON object whatever happens. Where a command fails, or has
only sentences to say, that is ``{"ok": ..., "exit": ..., "text": ...}``, with ``exit`` the exit
code; an error is told on standard error too.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from smallhours import paths, verbs
from smallhours.errors import SmallhoursError, UsageError
from smallhours.verb import Verb

_DESCRIPTION = (
    "Overnight hyperparameter sweeps on one workstation, with a reason for every trial's end."
)

_EPILOG = """\
exit codes:
  0   done
  1   it ended, but something needs attention: a study was halted, nothing completed, a check failed
  2   the command line or the study file is wrong
  3   the engine could not be started, or died
  4   the ledger is damaged, or of another version
  70  an error of smallhours' own
  130 interrupted; `smallhours resume` goes on

State is kept in $SMALLHOURS_HOME, else in $XDG_STATE_HOME/smallhours (~/.local/state/smallhours).
NO_COLOR=1 turns colours off, FORCE_COLOR=1 turns them on where no terminal reads.
"""

_SHORT_HELP = """\
smallhours: overnight hyperparameter sweeps on one workstation

  smallhours run STUDY.py   run a study and watch it
  smallhours add STUDY.py   put it into the queue; `smallhours start --detach` runs that
  smallhours resume         go on with everything that was interrupted
  smallhours status         what runs, what waits and why
  smallhours show           what there is, and where it stands
  smallhours best STUDY     the best parameters, their score and its spread
  smallhours why STUDY/3    why a trial ended as it did

`smallhours --help` lists the rest; `smallhours doctor` says whether this machine is fit for it.
"""

_INTERRUPTED = 130
_OWN_ERROR = 70
_NOBODY_READS = 141

#: What people type who know other tools.
_OTHER_WORDS = {
    "list": "ls",
    "queue": "ls",
    "ps": "status",
    "kill": "cancel",
    "remove": "rm",
    "delete": "rm",
    "logs": "log",
    "continue": "resume",
    "submit": "add",
}


class _Parser(argparse.ArgumentParser):
    """Gives mistakes to `main` instead of leaving on its own."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program's name; None: those of this process.
    """
    os.umask(0o077)
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if arguments[:1] == [verbs.HIDDEN]:
        from smallhours import completion

        completion.answer(paths.home(), arguments[1:], sys.stdout)
        return 0
    try:
        try:
            code = _run(arguments)
        except SmallhoursError as error:
            code = _fail(arguments, error.exit_code, str(error))
        except KeyboardInterrupt:
            print(file=sys.stderr)
            code = _fail(arguments, _INTERRUPTED, "")
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: users get a sentence and a file
            code = _own_error(arguments, error)
        sys.stdout.flush()
        if argv is None:
            gc.freeze()  # the interpreter's own end need not look through it all
    except BrokenPipeError:
        # Python would flush again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    return code


def _run(arguments: list[str]) -> int:
    if sys.platform != "linux":
        raise UsageError(f"smallhours runs on Linux (WSL2 included), this is {sys.platform}")
    if not arguments:
        print(_SHORT_HELP, end="")
        return 0
    first, *rest = arguments
    if first.startswith("-"):
        return _general(first)
    verb = verbs.find(first)
    if verb is None:
        raise UsageError(_no_such_verb(first))
    try:
        parsed = _parse(verb, rest)
    except SystemExit:  # after --help; mistakes are raised
        return 0
    as_json = parsed.pop("as_json", False)
    # Thousands of new objects and then the end: collections would only cost time.
    gc.disable()
    function = verb.load()
    home = paths.home()
    if verb.output != "prints" or parsed.get("follow"):
        gc.enable()  # this one may live for hours
    if verb.output == "prints":
        return function(home, **parsed, as_json=as_json, out=sys.stdout)
    if as_json:
        return _in_json(lambda: function(home, **parsed))
    return function(home, **parsed)


def _general(option: str) -> int:
    """Obey an option that stands where a command would."""
    if option in ("-h", "--help"):
        _print_help()
        return 0
    if option == "--version":
        from importlib.metadata import version

        print(f"smallhours {version('smallhours')}")
        return 0
    from smallhours.hints import did_you_mean

    hint = did_you_mean(option, ("--help", "--version"))
    raise UsageError(f"say what to do before {option!r}{hint} (see `smallhours --help`)")


def _print_help() -> None:
    from smallhours.text import Page, Toned

    page = Page(sys.stdout)
    page.line("usage: smallhours COMMAND ...")
    page.line()
    page.paragraph(_DESCRIPTION)
    width = max(map(len, verbs.NAMES)) + 2
    for group in verbs.GROUPS:
        page.line()
        page.line(Toned(f"{group}:", "bold"))
        for verb in verbs.VERBS:
            if verb.group == group:
                page.paragraph(verb.name.ljust(width) + verb.text, indent=2, hang=2 + width)
    page.line()
    page.line("`smallhours COMMAND --help` says more.")
    page.line()
    print(_EPILOG, end="")


def _no_such_verb(word: str) -> str:
    from smallhours.hints import did_you_mean
    from smallhours.text import listing

    hint = did_you_mean(word, verbs.NAMES)
    meant = _OTHER_WORDS.get(word, "")
    if word.endswith(".py"):
        hint = f"; did you mean `smallhours run {word}`?"
    elif meant in verbs.NAMES:
        hint = f"; did you mean {meant!r}?"
    elif "/" in word:
        hint = f"; did you mean `smallhours show {word}`?"
    return f"{word!r} is no command{hint or f'; there are {listing(verbs.NAMES, 40)}'}"


def _parse(verb: Verb, words: list[str]) -> dict[str, object]:
    """Read the arguments of a command.

    Raises:
        UsageError: they are wrong.
        SystemExit: help was asked for, and printed.
    """
    parser = _parser(verb)
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        from smallhours.hints import did_you_mean

        word = next((word for word in unknown if word.startswith("-")), unknown[0])
        if word.startswith("-"):
            parser.error(f"there is no option {word!r}{did_you_mean(word, verb.options)}")
        parser.error(f"unexpected argument {word!r}")
    return vars(parsed)


def _parser(verb: Verb) -> argparse.ArgumentParser:
    from smallhours.text import Page

    parser = _Parser(
        prog=f"smallhours {verb.name}",
        description=f"{verb.text[0].upper()}{verb.text[1:]}.",
        allow_abbrev=False,
        # Told the width, argparse imports nothing to find it out, for every argument anew.
        formatter_class=partial(argparse.HelpFormatter, width=Page(sys.stdout).width - 2),
    )
    for argument in verb.arguments:
        parser.add_argument(*argument.flags, **argument.details)
    if verb.has_json:
        parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    return parser


def _in_json(call: Callable[[], int]) -> int:
    """Carry out a command that speaks in sentences, and print these as JSON.

    It can ask nobody: it has no terminal to read from.
    """
    from contextlib import redirect_stderr, redirect_stdout

    said, stdin = io.StringIO(), sys.stdin
    try:
        with Path(os.devnull).open() as sys.stdin, redirect_stdout(said), redirect_stderr(said):
            code = call()
    except BaseException:
        sys.stderr.write(said.getvalue())  # the error itself is what the JSON tells
        raise
    finally:
        sys.stdin = stdin
    _print_json(code, said.getvalue())
    return code


def _print_json(code: int, text: str) -> None:
    import json

    print(json.dumps({"ok": code == 0, "exit": code, "text": text.strip()}))


def _fail(arguments: list[str], code: int, message: str) -> int:
    """Tell what went wrong, to people and (where they asked for it) to programs."""
    sys.stdout.flush()
    if message:
        _complain(message)
    if "--json" in arguments:
        _print_json(code, message or "interrupted")
    return code


def _complain(message: str) -> None:
    """Print an error; what it quotes from files is cleaned line by line."""
    from smallhours.text import Page, clean_lines

    page = Page(sys.stderr)
    first, *more = clean_lines(f"smallhours: {message}")
    if sys.stderr.isatty():
        page.paragraph(first)
    else:
        page.line(first)  # whoever reads it by program wants one line
    for line in more:
        page.line(line)


def _own_error(arguments: list[str], error: Exception) -> int:
    """Put the traceback where it can be found and say so on one line."""
    import traceback

    trace = "".join(traceback.format_exception(error))
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    said = f"an error of smallhours' own, not yours: {what}"
    path = None if os.environ.get("SMALLHOURS_TRACEBACK") == "1" else _keep(trace)
    if path is None:
        print(trace, end="", file=sys.stderr)
        if "--json" in arguments:
            _print_json(_OWN_ERROR, said)
        return _OWN_ERROR
    return _fail(arguments, _OWN_ERROR, f"{said}; the traceback is in {path}")


def _keep(trace: str) -> str | None:
    """Write a traceback to a file and return its path; None: it can't be written."""
    home = paths.home()
    path = home.root / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    command = " ".join(sys.argv)
    try:
        home.prepare()
        path.write_text(f"{command}\n\n{trace}", encoding="utf-8", errors="backslashreplace")
    except (OSError, SmallhoursError):
        return None
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
