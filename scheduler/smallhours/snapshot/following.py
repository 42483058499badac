"""The ledger as it grows: a snapshot that takes in only what is new, and says what it changed.

A display that looks every second can't read ten thousand trials each time. `Following` asks SQLite
whether anybody wrote (4 us), reads the rows that came, and folds them into what it holds. Like
`Snapshot` it holds no transaction; all of it belongs to one thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from smallhours.clock import Clock
from smallhours.core import facts as f
from smallhours.core.reasons import Reason
from smallhours.core.spec import StoredNumber
from smallhours.paths import Home
from smallhours.snapshot import EngineView, RunView, Snapshot, StudyView
from smallhours.snapshot import heads as _heads
from smallhours.snapshot import now as _now
from smallhours.snapshot import studies as _studies
from smallhours.snapshot.lines import TrialLine, TrialTable
from smallhours.snapshot.moments import sequence_at
from smallhours.snapshot.runs import Runs
from smallhours.snapshot.source import Source
from smallhours.snapshot.timeline import REACH_S, Timeline

#: What happened last is kept up to this many.
NEWS_KEPT: Final = 200
#: Curves that are kept, the ones asked for latest.
_CURVES_KEPT = 512
#: Tables of trials that are kept up: that of the study looked at, and of the one before.
_TABLES_KEPT = 2
#: Seconds between two looks whether a supervisor lives, where the engine died.
_SUPERVISED_S: Final = 5.0
#: A study is summed up anew at most for this share of the time.
_SHARE = 0.01

_EVENTS = (
    "SELECT seq, at, kind, body FROM event WHERE seq > ? AND seq <= ? AND kind NOT IN"
    " ('checkpoint_saved', 'checkpoint_removed', 'request_answered') ORDER BY seq"
)
_REPORTS = (
    "SELECT at, study, trial, attempt, step, metrics FROM report WHERE seq > ? AND seq <= ?"
    " ORDER BY seq"
)
_CURVE = "SELECT step, metrics FROM report WHERE study = ? AND trial = ? AND seq <= ? ORDER BY seq"
_LAST_AT = "SELECT at FROM event ORDER BY seq DESC LIMIT 1"
_LAST_REPORT_AT = "SELECT at FROM report ORDER BY seq DESC LIMIT 1"
_SESSION = (
    "SELECT at, body FROM event WHERE kind = 'session_started' AND seq <= ? ORDER BY seq DESC"
    " LIMIT 1"
)
_SESSION_ENDS = "SELECT body FROM event WHERE kind = 'session_ended' AND seq > ? AND seq <= ?"
_HEAD_FACTS = (
    f.StudyAdded | f.StudyAmended | f.StudyRetired | f.StudyEnded | f.StudyHalted | f.StudyReleased
    | f.StudyPaused | f.StudyMoved | f.StudyArchived | f.StudyRemoved | f.SearchEnded
    | f.TrialContinued
)  # fmt: skip
_NEWS = _HEAD_FACTS | (
    f.SessionStarted | f.SessionEnded | f.Yielded | f.YieldEnded | f.DeadlineSet | f.AttemptEnded
    | f.TrialHeld | f.TrialReleased | f.StudyNoted
)  # fmt: skip
_METRICS = msgspec.json.Decoder(dict[str, StoredNumber])


class _Stopped(NamedTuple):
    """A clock that stands at a moment gone by."""

    at: float

    def wall(self) -> float:
        return self.at

    def mono(self) -> float:
        return self.at


class Changed(NamedTuple):
    """What a look at the ledger found new."""

    #: Studies of which something was recorded other than reports.
    studies: frozenset[int]
    #: Trials by study of which anything was recorded.
    trials: Mapping[int, frozenset[int]]
    #: Whether the engine came, went, or began another session.
    engine: bool

    def __bool__(self) -> bool:
        return bool(self.studies or self.trials or self.engine)


class _Summed(NamedTuple):
    """A study's sum, when it was made and what that cost."""

    view: StudyView
    made_at: float
    cost_s: float


class Following(Snapshot):
    """The ledger as of now, kept up; or as of a moment gone by, which stays."""

    def __init__(self, home: Home, clock: Clock | None = None, at: float | None = None) -> None:
        """Open the ledger.

        Args:
            home: The state directory.
            clock: The machine's clocks.
            at: Wall time (Unix seconds) to look at; None: now, and on from there.

        Raises:
            UsageError: no study has been run yet.
            LedgerError: the ledger can't be read.
        """
        #: None: the present.
        self.at = at
        self._file = _file(home)
        #: When it was looked for a supervisor last (monotonic seconds), and whether there was one.
        self._supervised = (-_SUPERVISED_S, False)
        super().__init__(home, clock if at is None else _Stopped(at))
        self._version = self._data_version()
        self._tables: dict[int, TrialTable] = {}
        self._curves: dict[tuple[int, int, str], dict[int, float]] = {}
        self._sums: dict[int, _Summed] = {}
        #: Studies of which more is known than their sums have.
        self._outdated: set[int] = set()
        self._runs = Runs(self.running() if self._engine.running else [])
        self._timeline: Timeline | None = None
        self._news = deque(_now.latest(self._source, NEWS_KEPT), maxlen=NEWS_KEPT)

    @property
    def replaced(self) -> bool:
        """Whether another ledger lies where this one was opened, or none."""
        return _file(self._home) != self._file

    @property
    def behind(self) -> bool:
        """Whether a study that was asked for has changed since it was summed up."""
        return not self._outdated.isdisjoint(self._sums)

    @property
    def last_at(self) -> float | None:
        """Wall time of the last thing recorded; None: nothing is."""
        rows = [*self._source.rows(_LAST_AT), *self._source.rows(_LAST_REPORT_AT)]
        return max((at for (at,) in rows), default=None) if self.at is None else self.at

    @property
    def news(self) -> list[tuple[float, f.Fact]]:
        """What happened last that is worth a line, oldest first, with its wall time."""
        return list(self._news)

    def follow(self) -> Changed:
        """Take in what happened since; a moment gone by has nothing new.

        Raises:
            LedgerError: it can't be read.
        """
        if self.at is not None:
            return Changed(frozenset(), {}, engine=False)
        engine = self._engine
        version, before = self._data_version(), self._source.upto
        studies: set[int] = set()
        trials: dict[int, set[int]] = {}
        if version != self._version:
            self._version = version
            if self._source.refresh():
                self._take_events(before, studies, trials)
                self._take_reports(before, trials)
        self._engine = self._read_engine()
        flipped = engine != self._engine
        if flipped:
            self._runs = Runs(self.running())
            self._outdated |= self._sums.keys()
        return Changed(
            frozenset(studies), {s: frozenset(t) for s, t in trials.items()}, engine=flipped
        )

    def runs(self) -> tuple[RunView, ...]:
        """Return all trials that have a living attempt, first the one that started first."""
        return self._runs.views() if self._engine.running else ()

    def study(self, study: int) -> StudyView:
        """Return a study and where it stands; what is costly to sum up may be some moments old."""
        known = self._sums.get(study)
        now = time.monotonic()
        if known is not None and (
            study not in self._outdated or now < known.made_at + known.cost_s / _SHARE
        ):
            return known.view
        self._outdated.discard(study)
        view = super().study(study)
        self._sums[study] = _Summed(view, now, time.monotonic() - now)
        return view

    def trials(self, study: int) -> Mapping[int, TrialLine]:
        """Return every trial of a study on a line of its own; the mapping is kept up by `follow`.

        The first call reads them all: 0.1 s for 10,000.
        """
        table = self._tables.pop(study, None)
        if table is None:
            table = TrialTable.read(self._source, self._heads[study])
        self._tables[study] = table
        while len(self._tables) > _TABLES_KEPT:
            del self._tables[next(iter(self._tables))]
        return table.lines

    def timeline(self, since: float | None = None) -> Timeline:
        """Return what ran where and when; it is kept up by `follow`.

        Args:
            since: Wall time (Unix seconds) that it reaches back to; None: a day. The first call
                says so.
        """
        if self._timeline is None:
            begin = self._clock.wall() - REACH_S if since is None else since
            self._timeline = Timeline.read(self._source, begin, self.runs())
        return self._timeline

    def reason(self, line: TrialLine) -> Reason | None:
        """Return why the latest attempt of a trial that ended did so; None: none has."""
        return self.end(line.end_seq).reason if line.end_seq else None

    def end(self, seq: int) -> f.AttemptEnded:
        """Return the end of an attempt, by where the ledger has it."""
        fact = self._source.fact(self._source.rows(_studies.BODY, seq)[0][0])
        assert isinstance(fact, f.AttemptEnded)
        return fact

    def curve(self, study: int, trial: int, metric: str | None = None) -> Mapping[int, float]:
        """Return a metric by step; later attempts supersede earlier ones. Kept up by `follow`.

        Args:
            study: The study.
            trial: Number of the trial.
            metric: Which metric; None: the study's own.
        """
        name = metric or self._heads[study].spec.metric
        key = (study, trial, name)
        known = self._curves.pop(key, None)
        if known is None:
            known = {}
            for step, metrics in self._source.rows(_CURVE, study, trial, self._source.upto):
                value = _METRICS.decode(metrics).get(name)
                if value is not None:
                    known[step] = float(value)
        self._curves[key] = known
        while len(self._curves) > _CURVES_KEPT:
            del self._curves[next(iter(self._curves))]
        return known

    def _take_events(self, after: int, studies: set[int], trials: dict[int, set[int]]) -> None:
        heads_changed = False
        for seq, at, _, body in self._source.rows(_EVENTS, after, self._source.upto):
            fact = self._source.fact(body)
            heads_changed = heads_changed or isinstance(fact, _HEAD_FACTS)
            if isinstance(fact, f.StudyAdded):
                self._heads = _heads.heads(self._source)
            if isinstance(fact, _NEWS):
                self._news.append((at, fact))
            study = getattr(fact, "study", None)
            if study is None:
                continue
            studies.add(study)
            trial = getattr(fact, "trial", None)
            if trial is not None:
                trials.setdefault(study, set()).add(trial)
            table = self._tables.get(study)
            if table is not None:
                table.take(fact, seq, at)
            self._runs.take(fact, at, self._heads[study])
            if self._timeline is not None:
                self._timeline.take(fact, seq, at)
        if heads_changed:
            self._heads = _heads.heads(self._source)
        self._outdated |= studies

    def _take_reports(self, after: int, trials: dict[int, set[int]]) -> None:
        rows = self._source.rows(_REPORTS, after, self._source.upto)
        for at, study, trial, attempt, step, body in rows:
            trials.setdefault(study, set()).add(trial)
            metrics = _METRICS.decode(body)
            stored = metrics.get(self._heads[study].spec.metric)
            value = None if stored is None else float(stored)
            self._runs.report((study, trial, attempt), at, step, value)
            table = self._tables.get(study)
            if table is not None:
                table.report(trial, step, value)
            for name, of in metrics.items():
                curve = self._curves.get((study, trial, name))
                if curve is not None:
                    curve[step] = float(of)

    def _look_around(self) -> None:
        if self.at is not None:
            self._source.upto = sequence_at(self._source, self.at)
        super()._look_around()

    def _read_engine(self) -> EngineView:
        """Return the engine; of a moment gone by what the ledger knows of it."""
        if self.at is None:
            return super()._read_engine()
        return _engine_then(self._source)

    def _supervisor_lives(self) -> bool:
        """Look at all processes (4 ms) now and then only, not at each look."""
        now = time.monotonic()
        if now - self._supervised[0] >= _SUPERVISED_S:
            self._supervised = now, super()._supervisor_lives()
        return self._supervised[1]

    def _data_version(self) -> int:
        return int(self._source.rows("PRAGMA data_version")[0][0])


def _engine_then(source: Source) -> EngineView:
    """Return the engine as of the source's last row: it runs unless its end is recorded."""
    rows = source.rows(_SESSION, source.upto)
    if not rows:
        return EngineView(
            running=False, pid=None, session=None, started_at=None, ended=None, restarting=False
        )
    started_at, body = rows[0]
    fact = source.fact(body)
    assert isinstance(fact, f.SessionStarted)
    ends = [
        end
        for (text,) in source.rows(_SESSION_ENDS, 0, source.upto)
        if isinstance(end := source.fact(text), f.SessionEnded) and end.session == fact.session
    ]
    return EngineView(
        running=not ends,
        pid=None if ends else fact.pid,
        session=fact.session,
        started_at=started_at,
        ended=ends[-1].cause if ends else None,
        restarting=False,
    )


def _file(home: Home) -> tuple[int, int] | None:
    """Return what tells the ledger's file from another of its name; None: there is none."""
    try:
        found = home.ledger.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
