"""The command line: reads arguments, calls the verb, and turns what comes back into an exit code.

Exit codes: 0 done; 1 it ended, but something needs attention (a study was halted, nothing
completed, a check failed); 2 the command line or the study file is wrong; 3 the engine could not be
started or died; 4 the ledger is damaged, or of another version; 70 an error of smallhours' own;
130 interrupted (``smallhours resume`` goes on); 141 nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from smallhours import paths
from smallhours.errors import SmallhoursError, UsageError

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
"""

_SHORT_HELP = """\
smallhours: overnight hyperparameter sweeps on one workstation

  smallhours run STUDY.py   run a study and watch it
  smallhours resume         go on with everything that was interrupted
  smallhours show           what there is, and where it stands
  smallhours best STUDY     the best parameters, their score and its spread
  smallhours why STUDY/3    why a trial ended as it did

`smallhours --help` lists the rest; `smallhours doctor` says whether this machine is fit for it.
"""

_INTERRUPTED = 130
_OWN_ERROR = 70
_NOBODY_READS = 141

#: Every command, in the order of the help.
VERBS = ("run", "resume", "stop", "cancel", "debug", "show", "best", "why", "log", "verify",
         "doctor")  # fmt: skip

#: Those that print once and end (`log` may follow for hours).
_PRINTING = frozenset({"show", "best", "why", "verify"})

_Handler = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Gives mistakes to `main` instead of leaving on its own."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"smallhours {version('smallhours')}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program's name; None: those of this process.
    """
    os.umask(0o077)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    except SmallhoursError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: users get a sentence and a file
        return _own_error(error)
    return code


def _run(arguments: list[str]) -> int:
    if sys.platform != "linux":
        raise UsageError(f"smallhours runs on Linux (WSL2 included), this is {sys.platform}")
    if not arguments:
        print(_SHORT_HELP, end="")
        return 0
    first = arguments[0]
    if not first.startswith("-") and first not in VERBS:
        raise UsageError(_no_such_verb(first))
    parser = _parser()
    try:
        parsed = parser.parse_args(arguments)
    except SystemExit:  # after --help and --version; mistakes are raised
        return 0
    if parsed.verb is None:
        parser.error("say what to do")
    handler: _Handler = parsed.handler
    if parsed.verb in _PRINTING:
        gc.disable()  # thousands of rows and then the end: a collection would only cost time
    return handler(parsed)


def _no_such_verb(word: str) -> str:
    from smallhours.hints import did_you_mean
    from smallhours.text import listing

    if word.endswith(".py"):
        return f"{word!r} is no command; did you mean `smallhours run {word}`?"
    hint = did_you_mean(word, VERBS) or f"; there are {listing(VERBS, 20)}"
    return f"{word!r} is no command{hint}"


def _complain(message: str) -> None:
    """Print an error; what it quotes from files is cleaned line by line."""
    from smallhours.text import Page, clean_lines

    sys.stdout.flush()
    page = Page(sys.stderr)
    first, *more = clean_lines(f"smallhours: {message}")
    if sys.stderr.isatty():
        page.paragraph(first)
    else:
        page.line(first)  # whoever reads it by program wants one line
    for line in more:
        page.line(line)


def _own_error(error: Exception) -> int:
    """Put the traceback where it can be found and say so on one line."""
    import traceback

    trace = "".join(traceback.format_exception(error))
    if os.environ.get("SMALLHOURS_TRACEBACK") == "1":
        print(trace, end="", file=sys.stderr)
        return _OWN_ERROR
    home = paths.home()
    path = home.root / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    command = " ".join(sys.argv)
    try:
        home.prepare()
        path.write_text(f"{command}\n\n{trace}", encoding="utf-8", errors="backslashreplace")
    except (OSError, SmallhoursError):
        print(trace, end="", file=sys.stderr)
        return _OWN_ERROR
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    _complain(f"an error of smallhours' own, not yours: {what}; the traceback is in {path}")
    return _OWN_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="smallhours",
        description="Overnight hyperparameter sweeps on one workstation, with a reason for every"
        " trial's end.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    # Without `prog` argparse would format a usage only to find out the program's name.
    subparsers = parser.add_subparsers(
        dest="verb", metavar="COMMAND", title="commands", prog=parser.prog
    )

    def verb(name: str, handler: _Handler, text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=_sentence(text))
        sub.set_defaults(handler=handler)
        return sub

    _add_changing(verb)
    _add_printing(verb)
    assert tuple(subparsers.choices) == VERBS
    return parser


_Verb = Callable[[str, _Handler, str], argparse.ArgumentParser]


def _add_changing(verb: _Verb) -> None:
    """Add the verbs that start or change something."""
    sub = verb("run", _do_run, "add the studies of a file, run them and watch")
    sub.add_argument("file", type=Path, metavar="STUDY.py")
    sub.add_argument(
        "--replace",
        action="store_true",
        help="put a study of the same name that differs aside, as NAME@ID; nothing of it is lost",
    )
    sub.add_argument("--as", dest="rename", metavar="NAME", help="another name for the study")
    sub = verb("resume", _do_resume, "go on with everything that was interrupted or halted")
    sub.add_argument("name", nargs="?", metavar="NAME", help="watch and release this study only")
    sub = verb("stop", _do_stop, "stop the engine; `resume` goes on where it was")
    sub.add_argument("--now", action="store_true", help="don't wait for checkpoints")
    sub = verb("cancel", _do_cancel, "give a trial or a study up for good")
    sub.add_argument("target", metavar="TRIAL|STUDY")
    sub = verb("debug", _do_debug, "run one trial here, in the foreground; pdb works")
    sub.add_argument("file", type=Path, metavar="STUDY.py")
    sub.add_argument("--study", metavar="NAME", help="which study, where the file has several")
    sub.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter other than the baseline's; may be given again",
    )
    sub.add_argument("--trial", metavar="TRIAL", help="take this trial's parameters and seed")


def _add_printing(verb: _Verb) -> None:
    """Add the verbs that only print."""
    sub = verb("show", _do_show, "print what there is: all studies, a study or a trial")
    sub.add_argument(
        "target", nargs="?", metavar="STUDY|TRIAL", help="like wine, or wine/12; all without it"
    )
    _add_json(sub)
    sub = verb("best", _do_best, "print a study's best parameters, their score and its spread")
    sub.add_argument("target", nargs="?", metavar="STUDY", help="not needed where there is one")
    _add_json(sub)
    sub = verb("why", _do_why, "say why a trial ended as it did, or what became of a study")
    sub.add_argument(
        "target",
        nargs="?",
        metavar="TRIAL|STUDY",
        help="like wine/12, or wine; a beginning that only one has is enough",
    )
    _add_json(sub)
    sub = verb("log", _do_log, "print what a trial wrote")
    sub.add_argument("target", metavar="TRIAL", help="like wine/12")
    sub.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    sub.add_argument("-n", "--lines", type=_count, metavar="N", help="the last N lines only")
    sub.add_argument(
        "--attempt", type=_count, metavar="N", help="of the N-th attempt only; else of all"
    )
    sub = verb("verify", _do_verify, "check the ledger and derive every stop again")
    _add_json(sub)
    sub = verb("doctor", _do_doctor, "say whether this machine is fit for smallhours")
    _add_json(sub)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _do_run(args: argparse.Namespace) -> int:
    from smallhours.commands import run

    return run.run(paths.home(), args.file, replace=args.replace, rename=args.rename)


def _do_resume(args: argparse.Namespace) -> int:
    from smallhours.commands import run

    return run.resume(paths.home(), args.name)


def _do_stop(args: argparse.Namespace) -> int:
    from smallhours.commands import stop

    return stop.stop(paths.home(), now=args.now)


def _do_cancel(args: argparse.Namespace) -> int:
    from smallhours.commands import stop

    return stop.cancel(paths.home(), args.target)


def _do_debug(args: argparse.Namespace) -> int:
    from smallhours.commands import debug

    return debug.debug(
        paths.home(), args.file, study=args.study, settings=args.settings, trial=args.trial
    )


def _do_show(args: argparse.Namespace) -> int:
    from smallhours.commands import read

    return read.show(paths.home(), target=args.target, as_json=args.as_json, out=sys.stdout)


def _do_best(args: argparse.Namespace) -> int:
    from smallhours.commands import read

    return read.best(paths.home(), target=args.target, as_json=args.as_json, out=sys.stdout)


def _do_why(args: argparse.Namespace) -> int:
    from smallhours.commands import read

    return read.why(paths.home(), target=args.target, as_json=args.as_json, out=sys.stdout)


def _do_log(args: argparse.Namespace) -> int:
    from smallhours.commands import read

    return read.log(
        paths.home(),
        target=args.target,
        follow=args.follow,
        lines=args.lines,
        attempt=args.attempt,
        out=sys.stdout,
    )


def _do_verify(args: argparse.Namespace) -> int:
    from smallhours.commands import verify

    return verify.verify(paths.home(), as_json=args.as_json, out=sys.stdout)


def _do_doctor(args: argparse.Namespace) -> int:
    from smallhours.commands import doctor

    return doctor.doctor(paths.home(), as_json=args.as_json, out=sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
