"""The commands of the command line, one entry each.

Everything that needs to know them (parser, help, completion, docs/commands.md) reads this table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from smallhours.verb import Group, Verb, arg, flag
from smallhours.verbs_looking import LOOKING

_STUDY_FILE = arg("path", type=Path, metavar="STUDY.py", names="study files")
_NAME = arg("name", metavar="NAME", names="studies")
_PRIORITY = arg(
    "--priority",
    metavar="WORD",
    help="urgent, normal or low",
    words=("urgent", "normal", "low"),
)
_WEIGHT = arg("--weight", metavar="N", help="share of slot time beside others of its priority")
_DETACH = flag("--detach", help="don't watch; it goes on after logout")
_UNTIL = arg("--until", metavar="TIME", help="be done by then, like 07:30")
_DEVICES = arg(
    "--devices",
    metavar="WORDS",
    help="what the engine may use: cpu, gpu, numbers or UUIDs of GPUs, with commas between them",
    words=("cpu", "gpu"),
)
_REPLACE = flag(
    "--replace",
    help="put a study of the same name that differs aside, as NAME@ID; nothing of it is lost",
)
_AS = arg("--as", dest="rename", metavar="NAME", help="another name for the study")

#: The groups, in the order of the help.
GROUPS: Final[tuple[Group, ...]] = ("run", "queue", "look", "keep house")

VERBS: Final[tuple[Verb, ...]] = (
    Verb(
        "run",
        "run",
        "add the studies of a file, run them and watch",
        "run:run",
        (_STUDY_FILE, _REPLACE, _AS, _DETACH, _UNTIL, _DEVICES),
    ),
    Verb(
        "start",
        "run",
        "start the engine and watch what it does",
        "start:start",
        (_DETACH, _UNTIL, _DEVICES),
    ),
    Verb(
        "attach",
        "run",
        "watch what runs; leaving ends nothing",
        "start:attach",
        (arg("name", nargs="?", metavar="NAME", help="this study only", names="studies"),),
    ),
    Verb(
        "resume",
        "run",
        "go on with everything that was interrupted, paused or halted",
        "run:resume",
        (
            arg(
                "name",
                nargs="?",
                metavar="NAME",
                help="watch and release this study only",
                names="studies",
            ),
            _DEVICES,
        ),
    ),
    Verb(
        "stop",
        "run",
        "stop the engine; `resume` goes on where it was",
        "stop:stop",
        (flag("--now", help="don't wait for checkpoints"),),
    ),
    Verb(
        "debug",
        "run",
        "run one trial here, in the foreground; pdb works",
        "debug:debug",
        (
            _STUDY_FILE,
            arg("--study", metavar="NAME", help="which study, where the file has several"),
            arg(
                "--set",
                dest="settings",
                action="append",
                default=[],
                metavar="KEY=VALUE",
                help="a parameter other than the baseline's; may be given again",
            ),
            arg(
                "--trial",
                metavar="TRIAL",
                help="take this trial's parameters and seed",
                names="trials",
            ),
        ),
        "bare",
    ),
    Verb(
        "add",
        "queue",
        "add the studies of a file to the queue; start nothing, watch nothing",
        "add:add",
        (
            arg("file", type=Path, metavar="STUDY.py", names="study files"),
            _REPLACE,
            _AS,
            _PRIORITY,
            _WEIGHT,
            flag("--first", help="before all others of its priority"),
        ),
    ),
    Verb(
        "ls",
        "queue",
        "list the queue, in the order in which studies get places",
        "listing:ls",
        (flag("--all", dest="everything", help="studies that are over, too"),),
        "prints",
    ),
    Verb(
        "status",
        "queue",
        "say what the machine does now, what waits and why",
        "status:status",
        output="prints",
    ),
    Verb(
        "move",
        "queue",
        "give a study another place in the queue",
        "queue:move",
        (
            _NAME,
            arg("place", nargs="?", metavar="first|last", words=("first", "last")),
            arg("--before", metavar="OTHER", help="right before this study", names="studies"),
            _PRIORITY,
            _WEIGHT,
            arg(
                "--hours",
                action="append",
                metavar="WINDOW",
                help="when it may run, like 22:00-07:00; may be given again, `always` lifts it",
            ),
        ),
    ),
    Verb(
        "pause",
        "queue",
        "take a study off until `resume NAME`",
        "queue:pause",
        (
            arg("name", nargs="?", metavar="NAME", names="studies"),
            flag("--all", dest="everything", help="all studies"),
        ),
    ),
    Verb(
        "cancel",
        "queue",
        "give a trial or a study up for good",
        "stop:cancel",
        (arg("target", metavar="TRIAL|STUDY", names="studies or trials"),),
    ),
    Verb(
        "continue",
        "queue",
        "take a stopped trial up again, to its end",
        "continuing:continue_",
        (arg("target", metavar="TRIAL", help="like wine/12", names="trials"),),
    ),
    Verb(
        "release",
        "queue",
        "run what waits as a known mistake: a trial, or all of a study",
        "release:release",
        (arg("target", metavar="TRIAL|STUDY", names="studies or trials"),),
    ),
    Verb(
        "note",
        "queue",
        "write a line about a study or a trial; `show` and `why` tell it",
        "note:note",
        (
            arg("target", metavar="TRIAL|STUDY", names="studies or trials"),
            arg("words", nargs="+", metavar="TEXT"),
        ),
    ),
    Verb(
        "yield",
        "queue",
        "give the machine back at once, for a while",
        "yielding:yield_",
        (
            arg("duration", nargs="?", metavar="DURATION", help="like 2h, or 90m"),
            arg("--until", metavar="TIME", help="until this time, like 18:00"),
            flag("--end", help="go on now"),
        ),
    ),
    Verb(
        "until",
        "queue",
        "set the time by which everything must be over, or lift it with `none`",
        "queue:until",
        (arg("when", metavar="TIME|none", help="like 07:30, or 8h", words=("none",)),),
    ),
    *LOOKING,
    Verb(
        "archive",
        "keep house",
        "put a study that is over out of the way: lists leave it out, its checkpoints go",
        "archive:archive",
        (_NAME,),
    ),
    Verb(
        "rm",
        "keep house",
        "remove a study that is over: its checkpoints, its logs, its name",
        "archive:remove",
        (_NAME, flag("--yes", help="don't ask")),
    ),
    Verb(
        "verify",
        "keep house",
        "check the ledger and derive every stop again",
        "verify:verify",
        output="prints",
    ),
    Verb(
        "doctor",
        "keep house",
        "say whether this machine is fit for smallhours",
        "doctor:doctor",
        output="prints",
    ),
    Verb(
        "service",
        "keep house",
        "have systemd go on with the queue after a reboot",
        "service:service",
        (
            arg(
                "action",
                metavar="install|uninstall|status|print",
                words=("install", "uninstall", "status", "print"),
            ),
        ),
    ),
    Verb(
        "completion",
        "keep house",
        "print what makes a shell complete commands, studies and trials",
        "completion:completion",
        (arg("shell", metavar="bash|zsh|fish", words=("bash", "zsh", "fish")),),
        "bare",
    ),
)

#: What the completion scripts call; no person needs to know it.
HIDDEN: Final = "__complete"

NAMES: Final = tuple(verb.name for verb in VERBS)


def find(name: str) -> Verb | None:
    """Return a command by its name; None: there is none."""
    return next((verb for verb in VERBS if verb.name == name), None)
