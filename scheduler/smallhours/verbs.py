"""The commands of the command line, one entry each.

Everything that needs to know them (parser, help, completion, docs/commands.md) reads this table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from smallhours.verb import Group, Verb, arg, at_least_1, flag

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
    Verb(
        "watch",
        "look",
        "show the night in a dashboard; leaving ends nothing",
        "watch:watch",
        (
            arg(
                "name",
                nargs="?",
                metavar="STUDY|TRIAL",
                help="begin with it",
                names="studies or trials",
            ),
            flag("--readonly", help="only look: no key changes anything"),
            flag("--ascii", dest="ascii_only", help="draw with ASCII only"),
            arg(
                "--theme",
                metavar="NAME",
                help="dark, light, contrast, or ansi (the terminal's own colours)",
                words=("dark", "light", "contrast", "ansi"),
            ),
            flag("--no-mouse", help="leave the mouse to the terminal, for selecting text"),
            flag("--once", help="print the night as text and leave"),
            flag("--plain", help="print it as text, then a line for whatever happens"),
            arg("--at", metavar="TIME", help="as it was then, like 02:41, or 3h (ago)"),
            arg("--since", metavar="TIME", help="what happened from then on"),
        ),
        "bare",
    ),
    Verb(
        "show",
        "look",
        "print what there is: all studies, a study or a trial",
        "read:show",
        (
            arg(
                "target",
                nargs="?",
                metavar="STUDY|TRIAL",
                help="like wine, or wine/12; all without it",
                names="studies or trials",
            ),
        ),
        "prints",
    ),
    Verb(
        "best",
        "look",
        "print a study's best parameters, their score and its spread",
        "read:best",
        (
            arg(
                "target",
                nargs="?",
                metavar="STUDY",
                help="not needed where there is one",
                names="studies",
            ),
        ),
        "prints",
    ),
    Verb(
        "why",
        "look",
        "say why a trial ended as it did, or what became of a study",
        "read:why",
        (
            arg(
                "target",
                nargs="?",
                metavar="TRIAL|STUDY",
                help="like wine/12, or wine; a beginning that only one has is enough",
                names="studies or trials",
            ),
            arg("--against", metavar="TRIAL", help="compare the two", names="trials"),
        ),
        "prints",
    ),
    Verb(
        "log",
        "look",
        "print what a trial wrote",
        "read:log",
        (
            arg("target", metavar="TRIAL", help="like wine/12", names="trials"),
            flag("-f", "--follow", help="go on as it grows"),
            arg("-n", "--lines", type=at_least_1, metavar="N", help="the last N lines only"),
            arg(
                "--attempt",
                type=at_least_1,
                metavar="N",
                help="of the N-th attempt only; else of all",
            ),
        ),
        "prints",
    ),
    Verb(
        "forecast",
        "look",
        "simulate the queue: when each study will be done, how sure that is, what runs where",
        "forecast:forecast",
        (),
        "prints",
    ),
    Verb(
        "simulate",
        "look",
        "run a described workload on simulated devices: when it is done, what runs where",
        "simulate:simulate",
        (
            arg("path", type=Path, metavar="WORKLOAD.json"),
            arg(
                "--tries",
                type=at_least_1,
                metavar="N",
                help="schedules that the search for the best one may try (500)",
            ),
        ),
        "prints",
    ),
    Verb(
        "replay",
        "look",
        "measure stopping rules on recorded curves: what they would have saved and lost",
        "replay:replay",
        (
            arg("path", type=Path, metavar="TABLE.npz"),
            arg(
                "--rule",
                dest="named",
                action="append",
                default=[],
                metavar="NAME[:KEY=VALUE,...]",
                help="like asha:eta=4,grace=1; may be given again; without, every rule as it comes",
            ),
            arg("--trials", type=at_least_1, metavar="N", help="trials of each study (48)"),
            arg(
                "--workers",
                type=at_least_1,
                default=4,
                metavar="W",
                help="trials that run at the same time (4)",
            ),
            arg(
                "--studies",
                type=at_least_1,
                default=300,
                metavar="S",
                help="studies that are drawn (300)",
            ),
            arg("--seed", type=int, default=0, metavar="K", help="what they are drawn from (0)"),
        ),
        "prints",
    ),
    Verb(
        "export",
        "look",
        "write the learning curves of finished trials as a table for `replay`",
        "export:export",
        (
            arg("what", metavar="curves", words=("curves",)),
            arg(
                "names",
                nargs="*",
                metavar="STUDY",
                help="studies of one metric, goal and number of steps; all without",
                names="studies",
            ),
            arg(
                "-o",
                "--output",
                dest="path",
                type=Path,
                required=True,
                metavar="FILE.npz",
                help="where to write; what is there is replaced",
            ),
        ),
    ),
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
