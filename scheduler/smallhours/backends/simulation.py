"""Whole nights in virtual time: drives a machine with a simulated backend, as the engine would."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias, assert_never

from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.timeline import Timeline
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import hours
from smallhours.core.machine import Machine
from smallhours.core.model import Study, Trial
from smallhours.core.spec import Dimension, Params, ParamValue, StudySpec
from smallhours.errors import SmallhoursError

#: A fact and the virtual time at which it was recorded.
Recorded: TypeAlias = tuple[float, f.Fact]

TICK_S = 1.0
_ASK_S = 0.01
_GIB = 2**30


class Suggester(Protocol):
    """Stands for the search."""

    def ask(self, study: Study, trial: int) -> Params:
        """Propose the configuration of a trial."""
        ...

    def introduce(self, action: a.Introduce) -> None:
        """Take note of a trial that was not proposed."""
        ...

    def tell(self, action: a.Tell) -> None:
        """Take note of how a trial ended."""
        ...

    def reopen(self, trial: Trial) -> None:
        """Take note of a trial that runs again."""
        ...


class RandomSuggester:
    """Draws from the declared space, each trial by a seed of its own."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def ask(self, study: Study, trial: int) -> Params:
        """Propose the configuration of a trial."""
        rng = random.Random(f"{self._seed}/{study.id}/{trial}")
        return {dimension.name: _draw(dimension, rng) for dimension in study.spec.space or ()}

    def introduce(self, action: a.Introduce) -> None:
        """Take no note."""

    def tell(self, action: a.Tell) -> None:
        """Take no note."""

    def reopen(self, trial: Trial) -> None:
        """Take no note."""


def _draw(dimension: Dimension, rng: random.Random) -> ParamValue:
    if dimension.kind == "choice":
        return rng.choice(dimension.choices)
    low, high = dimension.low, dimension.high
    assert low is not None
    assert high is not None
    if dimension.kind == "int":
        return rng.randrange(int(low), int(high) + 1, int(dimension.step or 1))
    if dimension.step is not None:
        return low + dimension.step * rng.randrange(int((high - low) / dimension.step + 1e-9) + 1)
    return low * (high / low) ** rng.random() if dimension.log else rng.uniform(low, high)


class Simulation:
    """One session: a machine, its backend, its search and its requests, on one timeline.

    It makes the promises that the engine makes: actions are carried out in order, each event after
    all actions of the one before; a tick comes every second while something lives.
    """

    def __init__(
        self,
        machine: Machine,
        backend: SimulatedBackend,
        *,
        suggester: Suggester | None = None,
        session: int = 1,
        history: Iterable[Recorded] = (),
        total_bytes: int = 64 * _GIB,
        sink: Callable[[float, f.Fact], None] | None = None,
        began: e.WallTime | None = None,
        stay: bool = False,
    ) -> None:
        """Set a session up; nothing happens before `run`.

        Args:
            machine: A fresh one.
            backend: A fresh one; its timeline is used for everything.
            suggester: Answers for the search; None: random sampling.
            session: Number of the session.
            history: What the ledger holds of earlier sessions.
            total_bytes: Host memory.
            sink: Is handed every fact as it is recorded.
            began: What the clock on the wall says at virtual time 0; None: nobody looks at it.
            stay: The machine waits for more when the queue is dry.
        """
        self.machine = machine
        self.backend = backend
        self.timeline: Timeline = backend.timeline
        #: All facts of this session, in order, each with its time.
        self.facts: list[Recorded] = []
        #: How many of `facts` the ledger is sure to hold.
        self.durable = 0
        #: Answers to requests, in order.
        self.answers: list[a.Answer] = []
        #: Events taken in and actions carried out.
        self.events = self.actions = 0
        #: What the session ended with; None: it has not ended.
        self.finished: str | None = None
        #: Seconds between ticks.
        self.tick_s = TICK_S
        self._suggester = suggester or RandomSuggester()
        self._total_bytes = total_bytes
        self._sink = sink
        self._began_wall = began
        self._stay = stay
        self._session = session
        self._request_count = 0
        #: Requests that are still to come.
        self._requests = 0
        #: The machine dies with the action that brings this to nothing.
        self._actions_left = math.inf
        self._ticking = False
        for at, fact in history:
            machine.state.apply(fact, at)
        self.timeline.after(0.0, self._begin)

    def submit(self, spec: StudySpec, *, after_s: float = 0.0, digest: str = "code") -> str:
        """Have a study added later; return the id of the request."""
        return self.request(
            lambda at, request: e.StudySubmitted(
                at=at,
                request=request,
                spec=spec,
                snapshot=digest,
                digest=digest,
                source=f"/home/{spec.name}.py",
                module=spec.name,
                cwd="/home",
            ),
            after_s=after_s,
        )

    def request(self, make: Callable[[float, str], e.Event], *, after_s: float = 0.0) -> str:
        """Have something asked of the machine later; return the id of the request.

        Args:
            make: Makes the event out of the time and the request's id.
            after_s: How long from now.
        """
        self._requests += 1
        self._request_count += 1
        name = f"request-{self._session}-{self._request_count}"

        def arrive() -> None:
            self._requests -= 1
            self.feed(make(self.timeline.mono(), name))

        self.timeline.after(after_s, arrive)
        return name

    def run(self, *, until: float = math.inf, actions: float = math.inf) -> str | None:
        """Go on until the machine finishes.

        Args:
            until: Go no further than this virtual time.
            actions: The machine dies with this action carried out, whatever is left to do.

        Returns:
            What the session ended with; None: a limit was reached, or nothing is due any more.
        """
        self._actions_left = actions
        while self.finished is None and self._actions_left > 0:
            due = self.timeline.next_at()
            if due > until or due == math.inf:
                break
            self.timeline.step()
        return self.finished

    def feed(self, event: e.Event) -> None:
        """Hand an event to the machine, and carry out what it wants."""
        if self.finished is not None or self._actions_left <= 0:
            return
        self.events += 1
        self._carry_out(self.machine.handle(event))
        if not self._requests and self.finished is None and self._actions_left > 0:
            self._carry_out(self.machine.finish_if_dry(self.timeline.mono()))
        if self._must_tick and not self._ticking:
            self._ticking = True
            self.timeline.after(self.tick_s, self._tick)

    @property
    def wall(self) -> e.WallTime | None:
        """What the clock on the wall says; None: nobody looks at it."""
        began, passed = self._began_wall, self.timeline.mono()
        if began is None:
            return None
        minute = (began.week_minute + passed / 60.0) % hours.WEEK_MINUTES
        return e.WallTime(unix=began.unix + passed, week_minute=minute)

    @property
    def _must_tick(self) -> bool:
        """Whether time alone may change something."""
        if self.machine.state.live:
            return True
        studies = self.machine.state.studies.values()
        return self._began_wall is not None and any(study.open for study in studies)

    def _begin(self) -> None:
        self.backend.open_now(self.feed)
        devices = self.backend.devices
        self.feed(
            e.EngineStarted(
                at=self.timeline.mono(),
                session=self._session,
                pid=self._session,
                boot_id="simulated",
                version="simulated",
                directory="",
                backend="simulated",
                rules=rules.versions(),
                wall=self.wall,
                stay=self._stay,
            )
        )
        if devices is not None:
            self.feed(devices.seen())

    def _tick(self) -> None:
        self._ticking = False
        processes = self.backend.samples()
        if self.backend.devices is not None:
            self.feed(self.backend.devices.seen())
        used = sum(sample.resident_bytes for sample in processes.values())
        self.feed(
            e.Tick(
                at=self.timeline.mono(),
                available_bytes=max(0, self._total_bytes - used),
                total_bytes=self._total_bytes,
                processes=processes,
                wall=self.wall,
            )
        )

    def _carry_out(self, actions: list[a.Action]) -> None:
        for action in actions:
            if self._actions_left <= 0:
                return
            self._actions_left -= 1
            self.actions += 1
            if isinstance(action, a.Record):
                self._record(action.fact)
            else:
                self.durable = len(self.facts)
                self._do(action)

    def _record(self, fact: f.Fact) -> None:
        at = self.timeline.mono()
        self.facts.append((at, fact))
        if not isinstance(fact, a.LAZY):
            self.durable = len(self.facts)
        if self._sink is not None:
            self._sink(at, fact)

    def _do(self, action: a.Action) -> None:
        match action:
            case a.Ask():
                self._ask(action)
            case a.Introduce():
                self._suggester.introduce(action)
            case a.Tell():
                self._suggester.tell(action)
            case a.Reopen():
                study = self.machine.state.studies[action.study]
                self._suggester.reopen(study.trials[action.trial])
            case a.Start():
                self.backend.start(action)
            case a.Stop():
                self.backend.stop(action)
            case a.Signal():
                self.backend.signal(action.key, action.signal)
            case a.DumpStack():
                self.backend.dump_stack(action.key)
            case a.OpenBackend():
                self.backend.wake()
            case a.RenewBackend():
                self.backend.renew()
            case a.CloseBackend():
                self.backend.rest()
            case a.OpenStudy():
                self.backend.open_study(action.study)
            case a.CloseStudy():
                self.backend.close_study(action.study)
            case a.RemoveCheckpoint():
                self.backend.disk.discard(action.path)
            case a.RemoveFiles():
                below = f"trials/{action.study}/"
                self.backend.disk -= {p for p in self.backend.disk if p.startswith(below)}
            case a.Answer():
                self.answers.append(action)
            case a.Finish():
                self.finished = action.cause
            case a.Record():
                raise AssertionError("records are kept by _record")
            case _:
                assert_never(action)

    def _ask(self, action: a.Ask) -> None:
        def answer() -> None:
            study, at = self.machine.state.studies[action.study], self.timeline.mono()
            event: e.Event
            try:
                params = self._suggester.ask(study, action.trial)
                event = e.Suggested(at=at, study=study.id, trial=action.trial, params=params)
            except SmallhoursError as error:
                message = str(error)
                event = e.SuggestFailed(at=at, study=study.id, trial=action.trial, message=message)
            self.feed(event)

        self.timeline.after(_ASK_S, answer)
