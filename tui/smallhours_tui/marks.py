"""The marks: five hues, a sign and a word for each state and reason, and their ASCII twins.

Colour is never the only cue: whatever has a hue has a mark and a word as well. No mark is one that
some terminal draws as a picture or two cells wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from smallhours.core.trial import TrialState
from smallhours.explain import kind
from smallhours.snapshot import StudyView
from smallhours.snapshot.lines import TrialLine
from smallhours.text import Kind
from smallhours_tui.widgets.cells import inert

#: The hues, by what they say; the themes have a colour for each.
HUES: Final[tuple[Kind, ...]] = ("running", "waiting", "done", "stopped", "failed")


class Mark(NamedTuple):
    """A sign with its word and its hue."""

    sign: str
    ascii: str
    word: str
    hue: Kind


RUNNING: Final = Mark("▸", ">", "running", "running")
STARTING: Final = Mark("▸", ">", "starts", "running")
STOPPING: Final = Mark("▸", ">", "is being stopped", "running")
WAITING: Final = Mark("…", ".", "waiting", "waiting")
DONE: Final = Mark("✓", "+", "done", "done")
STOPPED: Final = Mark("▽", "%", "stopped", "stopped")
CANCELLED: Final = Mark("■", "#", "cancelled", "stopped")
FAILED: Final = Mark("!", "!", "failed", "failed")
STARVED: Final = Mark("╳", "X", "out of memory or disk", "failed")

_OF_REASON: Final[Mapping[str, Mark]] = {
    "cancelled": CANCELLED,
    "gpu_oom": STARVED,
    "host_oom": STARVED,
    "disk": STARVED,
    "gpu_fault": STARVED,
}
_OF_HUE: Final[Mapping[Kind, Mark]] = {
    "running": RUNNING,
    "waiting": WAITING,
    "done": DONE,
    "stopped": STOPPED,
    "failed": FAILED,
}
_OF_STATE: Final[Mapping[TrialState, Mark]] = {
    TrialState.QUEUED: WAITING,
    TrialState.STARTING: STARTING,
    TrialState.RUNNING: RUNNING,
    TrialState.STOPPING: STOPPING,
}
_OF_STUDY: Final[Mapping[str, Mark]] = {
    "running": RUNNING,
    "waiting": WAITING,
    "paused": Mark("…", ".", "paused", "waiting"),
    "halted": Mark("!", "!", "halted", "failed"),
    "retired": Mark("■", "#", "put aside", "waiting"),
    "done": DONE,
    "exhausted": DONE,
    "enough": DONE,
    "cancelled": CANCELLED,
    "budget": Mark("▽", "%", "out of time", "stopped"),
}
_LEGEND: Final = (RUNNING, WAITING, DONE, STOPPED, CANCELLED, FAILED, STARVED)


def of_reason(reason: str) -> Mark:
    """Return the mark of a reason, given by its name."""
    return _OF_REASON.get(reason) or _OF_HUE[kind(reason)]


def of_state(state: TrialState, *, engine_runs: bool) -> Mark:
    """Return the mark of a trial that is not over; without an engine it waits."""
    return _OF_STATE[state] if engine_runs else WAITING


def of_line(line: TrialLine, *, engine_runs: bool) -> Mark:
    """Return the mark of a trial."""
    if line.over and line.reason is not None:
        return of_reason(line.reason)
    return of_state(line.state, engine_runs=engine_runs)


def of_study(view: StudyView) -> Mark:
    """Return the mark of a study."""
    return _OF_STUDY[view.outcome or view.state]


def legend() -> Iterable[Mark]:
    """Return the marks that the help explains."""
    return _LEGEND


#: What stands in texts and has a twin in ASCII.
_TWINS: Final = str.maketrans(
    {
        "–": "-", "—": "-", "…": "...", "±": "+-", "×": "x", "·": "|", "°": "", "‘": "'", "’": "'",
        "“": '"', "”": '"', "→": "->", "≤": "<=", "≥": ">=", "η": "eta",
    }
)  # fmt: skip


class Signs(NamedTuple):
    """The characters that screens draw with, beside text."""

    ascii: bool
    dot: str
    on: str
    off: str
    line: str

    @classmethod
    def of(cls, *, ascii_only: bool) -> Signs:
        """Return those for a terminal that shows everything, or ASCII only."""
        if ascii_only:
            return cls(ascii=True, dot="|", on="*", off="#", line="-")
        return cls(ascii=False, dot="·", on="●", off="■", line="─")

    def mark(self, mark: Mark) -> str:
        """Return a mark's sign."""
        return mark.ascii if self.ascii else mark.sign

    def say(self, text: str) -> str:
        """Return a text from anywhere inert, on one line, and in ASCII if nothing else may be."""
        said = inert(text)
        if not self.ascii or said.isascii():
            return said
        return said.translate(_TWINS).encode("ascii", "replace").decode("ascii")
