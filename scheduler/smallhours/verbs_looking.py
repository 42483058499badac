"""The commands that look at what is there, one entry each; `verbs` has them all."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from smallhours.verb import Verb, arg, at_least_1, flag

LOOKING: Final[tuple[Verb, ...]] = (
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
)
