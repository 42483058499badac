"""``smallhours run`` and ``smallhours resume``: see that an engine is up, ask it, and watch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from smallhours import exits, inbox, logind, processes, settings, submit
from smallhours.commands import asking, choosing, read
from smallhours.commands.board import StudyBoard
from smallhours.core.reasons import TAGS, Completed
from smallhours.errors import EngineError, LedgerError
from smallhours.explain.words import WORDS, in_brief
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.snapshot import Snapshot
from smallhours.text import Page, clean, count
from smallhours.when import parse_until

if TYPE_CHECKING:
    from smallhours.commands.live import Outcome

_ATTENTION = 1
_USAGE = 2
_ENGINE = 3
_INTERRUPTED = 130

#: How long an engine may take to answer, its start included.
_ANSWER_LIMIT_S = 90.0
#: Seconds between two looks at the engine while its answer is waited for.
_LOOK_S = 0.25
#: Seconds between two looks whether it is up: at two files only.
_UP_LOOK_S = 0.05
#: An engine may leave for want of work just as work comes: how often another is started.
_MOST_STARTS = 3


class Engine:
    """The engine of a state directory; started where it is needed and none lives."""

    def __init__(
        self, home: Home, *, stay: bool = False, more: Mapping[str, str] | None = None
    ) -> None:
        """Look at nothing yet.

        Args:
            home: The state directory.
            stay: Have an engine that is started here wait for more when the queue runs dry.
            more: Variables for the environment of an engine that is started here.
        """
        self._home = home
        self._stay = stay
        self._more = more or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def see_to(self) -> None:
        """Start an engine where none lives and none is on its way.

        Raises:
            EngineError: it can't be started, or died while it started.
            LedgerError: it can't use the ledger.
            UsageError: the settings are wrong.
        """
        if processes.owner(self._home) is not None:
            return
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            if code == exits.LEDGER:
                raise LedgerError(self._obituary("the engine can't use the ledger"))
            if code != exits.DONE or self._starts >= _MOST_STARTS:
                raise EngineError(self._obituary(f"the engine died while it started (code {code})"))
        else:
            wishes = settings.read()  # the engine would only log what is wrong with them
            if not self._more:
                choosing.check(wishes)
            print("starting the engine ...", flush=True)
        self._process = processes.start_engine(self._home, stay=self._stay, more=self._more)
        self._starts += 1

    def gave_up(self) -> bool:
        """Say whether the supervisor that was started here is gone, and its engine with it."""
        return self._process is not None and self._process.poll() is not None

    def ask(self, request: str) -> tuple[bool, str]:
        """Wait for the answer to a request.

        Raises:
            EngineError: no engine could be started, or it is silent.
            LedgerError: the engine can't use the ledger.
        """
        until = time.monotonic() + _ANSWER_LIMIT_S
        with working("waiting for the engine"):
            while time.monotonic() < until:
                self.see_to()
                answer = inbox.wait_for_answer(self._home, request, _LOOK_S)
                if answer is not None:
                    return answer
        silent = f"the engine did not answer within {_ANSWER_LIMIT_S:.0f} s"
        raise EngineError(self._obituary(silent))

    def ask_all(self, requests: Sequence[str]) -> list[tuple[bool, str]]:
        """Wait for the answers to requests; see `ask`. Where it fails, all are taken back."""
        try:
            return [self.ask(request) for request in requests]
        except BaseException:
            for request in requests:
                inbox.discard(self._home, request)
            raise

    def wait_until_read(self) -> None:
        """Wait until an engine is up (or came and left) and nothing lies in the inbox any more.

        Raises:
            EngineError: none could be started, or it does not read.
        """
        until = time.monotonic() + _ANSWER_LIMIT_S
        with working("waiting for the engine"):
            while True:
                lies = any(self._home.inbox.glob("*.json"))
                served = self._process is not None and self._process.poll() == exits.DONE
                if not lies and (served or processes.owner(self._home) is not None):
                    return
                self.see_to()
                if time.monotonic() > until:
                    raise EngineError(self._obituary("the engine does not come up"))
                time.sleep(_UP_LOOK_S)

    def _obituary(self, what: str) -> str:
        tail = processes.log_tail(self._home)
        lines = "".join(f"\n  {line}" for line in tail.splitlines())
        return f"{what}; {self._home.log} ends with:{lines}" if tail else what


def run(
    home: Home,
    path: Path,
    *,
    replace: bool = False,
    rename: str | None = None,
    detach: bool = False,
    until: str | None = None,
    devices: str | None = None,
) -> int:
    """Add the studies of a file, see that an engine runs, and watch them.

    Args:
        home: The state directory.
        path: The study file.
        replace: Put studies of the same names that differ aside, instead of being refused.
        rename: Another name for the file's only study.
        detach: Don't watch.
        until: When all must be over, as it was typed; None: as it was.
        devices: What an engine that is started may use, as it was typed; None: as set.

    Returns:
        The exit code.
    """
    deadline = None if until is None else parse_until(until, datetime.now().astimezone())
    more = choosing.environment(home, devices)
    _, added = submit.add(home, path, replace=replace, rename=rename)
    requests = [study.request for study in added]
    if deadline is not None:
        requests.append(ask_deadline(home, deadline))
    engine = Engine(home, more=more)
    refused, accepted = 0, []
    for number, (ok, text) in enumerate(engine.ask_all(requests)):
        print(clean(text), file=sys.stdout if ok else sys.stderr, flush=True)
        refused += not ok
        if ok and number < len(added):
            accepted.append(added[number].name)
    ids = [head.id for head in asking.heads(home) if head.name in accepted]
    if detach and ids:
        say_detached()
    code = watch(home, ids, engine) if ids and not detach else 0
    return _USAGE if refused else code


def resume(home: Home, name: str | None = None, *, devices: str | None = None) -> int:
    """Go on with everything that was interrupted, paused or halted, and watch it.

    Args:
        home: The state directory.
        name: Release and watch this study only; the others go on all the same.
        devices: What an engine that is started may use, as it was typed; None: as set.

    Returns:
        The exit code.

    Raises:
        NotFoundError: there is no study of that name.
        UsageError: there is no such device.
        EngineError: the engine can't be started, or died.
    """
    more = choosing.environment(home, devices)
    heads = asking.heads(home)
    if name is not None:
        with Snapshot(home) as snapshot:
            chosen = snapshot.resolve(name).study
        heads = [head for head in heads if head.id == chosen]
    held = [head for head in heads if head.held]
    wanted = [head.id for head in heads if not head.over]
    added = name is None and any(request.verb == "add" for request in inbox.pending(home))
    if not wanted and not added:
        what = f"{name} is done" if name else "nothing is left to do"
        print(f"{what}; `smallhours show` lists what there is")
        return 0
    engine = Engine(home, more=more)
    if held:
        only = held[0].id if name is not None else None
        body = {"study": only, "by": inbox.who()}
        ((_, text),) = engine.ask_all([inbox.submit(home, "release", body)])
        print(clean(text), flush=True)
    else:
        engine.wait_until_read()
    if added:
        wanted = [head.id for head in asking.heads(home) if not head.over]
    return watch(home, wanted, engine)


def ask_deadline(home: Home, until: float) -> str:
    """Ask for everything to be over by a time (Unix seconds); return the request's id."""
    return inbox.submit(home, "until", {"until": until, "by": inbox.who()})


def say_detached() -> None:
    """Say how to get at what runs from here on, and warn where a logout would end it."""
    page = Page(sys.stdout)
    page.paragraph(
        "it goes on in the background: `smallhours attach` watches it, `smallhours status` says"
        " where it stands, `smallhours stop` stops it"
    )
    advice = logind.logout_advice()
    if advice is not None:
        page.paragraph(advice)


def watch(home: Home, ids: list[int], engine: Engine, *, may_stop: bool = True) -> int:
    """Watch studies until nothing more happens to them, and say what came of them.

    Args:
        home: The state directory.
        ids: Of the studies.
        engine: The engine that runs them.
        may_stop: An interrupt may mean to stop everything; else it only means to leave.

    Returns:
        The exit code.
    """
    from smallhours.commands.live import Follower, Outcome

    follower = Follower(home, ids, engine, may_stop=may_stop)
    outcome = follower.follow()
    studies = list(follower.board.studies.values())
    if outcome is Outcome.LEFT and follower.stopped_here:
        print("it will end without you; `smallhours resume` goes on")
        return _INTERRUPTED
    if outcome is Outcome.LEFT:
        Page(sys.stdout).paragraph(
            "it goes on without you: `smallhours status` says where it stands, `smallhours attach`"
            " watches again, `smallhours stop` stops it"
        )
        return 0
    for study in studies:
        _summarise(home, study)
    return _code(home, outcome, studies, follower.board.session_ended)


def _code(
    home: Home, outcome: Outcome, studies: list[StudyBoard], session_ended: str | None
) -> int:
    from smallhours.commands.live import Outcome

    match outcome:
        case Outcome.STOPPED if session_ended == "deadline":
            print("the time is up: what is not done is paused; `smallhours resume` goes on")
            return _ATTENTION if any(study.halted for study in studies) else 0
        case Outcome.STOPPED:
            print("stopped; `smallhours resume` goes on")
            return _INTERRUPTED
        case Outcome.DIED:
            tail = "".join(f"\n  {line}" for line in processes.log_tail(home).splitlines())
            raise EngineError(
                f"the engine is gone without a word; `smallhours resume` goes on. {home.log} ends"
                f" with:{tail}"
            )
        case _:
            fine = all(study.best is not None and not study.halted for study in studies)
            return 0 if fine else _ATTENTION


def _summarise(home: Home, study: StudyBoard) -> None:
    """Print what came of a study, and what to type next."""
    page = Page(sys.stdout)
    page.line()
    if study.open:
        standing = (
            "" if study.best is None else f"; the best so far is {study.label}/{study.best[0]}"
        )
        done = f"{study.searched} of {count(study.spec.trials, 'trial')} done"
        page.paragraph(f"{study.label}: {done}{standing}")
    elif study.best is not None:
        read.best(home, target=study.label, as_json=False, out=sys.stdout)
        page.line()
    else:
        page.line(f"{study.label}: no trial completed")
    if study.reasons:
        page.paragraph(f"{count(sum(study.reasons.values()), 'attempt')}: {_counts(study.reasons)}")
    if study.paused:
        page.paragraph(
            f"{study.label} was paused by {study.paused.by}: `smallhours resume {study.label}`"
            " goes on"
        )
    if study.halted:
        page.paragraph(f"{study.label} is halted: {study.halted.sentence}{_failure(study)}")
        page.paragraph(_mend(study))
    if study.ends:
        page.line(f"next: `smallhours why {study.label}/{_telling(study)}`")


def _failure(study: StudyBoard) -> str:
    """Return what its latest failure was."""
    failed = [end.reason for end in study.ends if not isinstance(end.reason, Completed)]
    return f" ({in_brief(failed[-1])})" if failed else ""


def _mend(study: StudyBoard) -> str:
    """Return what to do about a halted study."""
    again = f"`smallhours resume {study.label}`"
    match study.halted.cause if study.halted is not None else None:
        case "disk":
            return f"make room, then {again}"
        case "no_device":
            return f"`smallhours doctor` says what there is; {again} tries again"
        case "space_exhausted":
            return (
                "make the parameters that drive memory smaller in the file, then `smallhours run"
                f" {study.source}`; {again} asks the search for more as it is"
            )
        case _:
            pass
    return (
        f"trials run from a copy of the code: mend the file, then `smallhours run {study.source}`;"
        f" {again} tries again as it is"
    )


def _counts(reasons: Counter[str]) -> str:
    # These are attempts, not trials: what became of an interrupted one is told elsewhere.
    words = {tag: WORDS[tag].removesuffix(", not resumed") for tag in TAGS}
    return ", ".join(f"{reasons[tag]} {words[tag]}" for tag in TAGS if reasons[tag])


def _telling(study: StudyBoard) -> int:
    """Return the trial whose end is most worth a question: the latest that did not complete."""
    odd = [end.trial for end in study.ends if not isinstance(end.reason, Completed)]
    return odd[-1] if odd else study.ends[-1].trial
