"""Studies, events and a driver for tests of the core: events in, actions out, no processes."""

from __future__ import annotations

from typing import Any

from smallhours import rules
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.core.spec import Dimension, Goal, Stopping, StudySpec
from smallhours.core.trial import AttemptKey, TrialState


def make_spec(name: str = "wine", **changes: Any) -> StudySpec:
    """Return a small study: one parameter, ten steps, eight trials, no confirmations."""
    keys: dict[str, Any] = {
        "name": name,
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": (Dimension(name="x", kind="float", low=0.0, high=1.0),),
        "baseline": {"x": 0.5},
        "trials": 8,
        "steps": 10,
        "stopping": Stopping(rule="median"),
        "seed": 3,
    }
    return StudySpec(**(keys | changes))


def submitted(spec: StudySpec, at: float = 0.0, **changes: Any) -> e.StudySubmitted:
    """Return the event of somebody adding a study."""
    keys: dict[str, Any] = {
        "at": at,
        "request": f"add-{spec.name}-{at}",
        "spec": spec,
        "snapshot": "abc",
        "digest": "d1",
        "source": f"/studies/{spec.name}.py",
        "module": spec.name,
        "cwd": "/studies",
    }
    return e.StudySubmitted(**(keys | changes))


class Night:
    """A machine with a clock, its facts, and short ways to tell it what happens."""

    def __init__(self, slots: int = 2, *, facts: list[f.Fact] | None = None) -> None:
        self.machine = Machine(rules.make)
        self.facts: list[f.Fact] = []
        self.actions: list[a.Action] = []
        self.now = 0.0
        self.slots = slots
        for fact in facts or []:
            self.machine.state.apply(fact, self.now)
            self.facts.append(fact)

    def begin(self, before: str = "", boot_id: str = "boot-1") -> list[a.Action]:
        """Start the session and make the slots ready."""
        last = self.machine.state.session
        out = self.tell(
            e.EngineStarted(
                at=self.now,
                session=last.session + 1 if last else 1,
                pid=100,
                boot_id=boot_id,
                version="0",
                directory="/tmp/s",
                backend="test",
                before=before,
                rules=rules.versions(),
            )
        )
        return out + self.tell(e.BackendReady(at=self.now, device="cpu", slots=self.slots))

    def tell(self, event: e.Event) -> list[a.Action]:
        """Hand an event in; return what is to be done besides recording."""
        out = self.machine.handle(event)
        self.facts += [action.fact for action in out if isinstance(action, a.Record)]
        deeds = [action for action in out if not isinstance(action, a.Record)]
        self.actions += deeds
        return deeds

    def add(self, spec: StudySpec, **changes: Any) -> list[a.Action]:
        """Add a study."""
        return self.tell(submitted(spec, self.now, **changes))

    def suggest(self, **params: Any) -> list[a.Action]:
        """Answer every open ask; returns the deeds of all answers."""
        deeds: list[a.Action] = []
        for study, numbers in list(self.machine.asked.items()):
            for number in sorted(numbers):
                values = params or {"x": number / 100}
                deeds += self.tell(
                    e.Suggested(at=self.now, study=study, trial=number, params=values)
                )
        return deeds

    def run(self, key: AttemptKey) -> list[a.Action]:
        """Let an attempt's process speak for the first time."""
        return self.tell(
            e.ProcessStarted(at=self.now, key=key, pid=1000 + key.trial, pid_started=1)
        )

    def report(self, key: AttemptKey, step: int, loss: float, **more: float) -> list[a.Action]:
        """Let an attempt report; a second passes."""
        self.now += 1.0
        return self.tell(
            e.ReportArrived(at=self.now, key=key, step=step, metrics={"loss": loss, **more})
        )

    def exit(self, key: AttemptKey, **how: Any) -> list[a.Action]:
        """Let an attempt's process end."""
        return self.tell(e.ProcessExited(at=self.now, key=key, **how))

    def whole_trial(self, key: AttemptKey, losses: list[float]) -> list[a.Action]:
        """Run an attempt from its first word to its good end."""
        deeds = self.run(key)
        for step, loss in enumerate(losses, start=1):
            deeds += self.report(key, step, loss)
        return deeds + self.exit(key, finished=True, exit_code=0)

    def key(self, study: int, trial: int) -> AttemptKey:
        """Return the latest attempt of a trial."""
        return AttemptKey(study, trial, self.machine.state.studies[study].trials[trial].attempts)

    @property
    def ends(self) -> list[f.AttemptEnded]:
        """Every end so far."""
        return [fact for fact in self.facts if isinstance(fact, f.AttemptEnded)]

    @property
    def started(self) -> list[AttemptKey]:
        """Every attempt that was ordered so far."""
        return [action.key for action in self.actions if isinstance(action, a.Start)]


def check_invariants(night: Night) -> None:
    """Check what must hold after every event, from the facts alone and against the state."""
    state = night.machine.state
    open_attempts: set[AttemptKey] = set()
    finished: set[tuple[int, int]] = set()
    intended: dict[AttemptKey, f.Intended] = {}
    for fact in night.facts:
        match fact:
            case f.AttemptStarted():
                key = f.key_of(fact)
                assert (key.study, key.trial) not in finished, f"{key} runs though it is over"
                assert not any(k[:2] == key[:2] for k in open_attempts), f"{key} runs twice"
                open_attempts.add(key)
            case f.Intended():
                assert f.key_of(fact) in open_attempts
                intended[f.key_of(fact)] = fact
            case f.TrialContinued():
                finished.remove((fact.study, fact.trial))
            case f.AttemptEnded():
                key = f.key_of(fact)
                assert key in open_attempts, f"{key} ended without running, or twice"
                open_attempts.remove(key)
                if fact.then == "over":
                    finished.add((key.study, key.trial))
            case _:
                pass
    assert open_attempts == set(state.live)
    assert len(state.live) <= night.slots
    wanted: dict[int, int] = {}
    for fact in night.facts:
        if isinstance(fact, (f.StudyAdded, f.StudyAmended)):
            wanted[fact.study] = max(wanted.get(fact.study, 0), fact.spec.trials)
    for study in state.studies.values():
        assert study.searched <= wanted[study.id], "more trials than were ever asked for"
        for trial in study.trials.values():
            assert (trial.live is not None) == (
                trial.state in (TrialState.STARTING, TrialState.RUNNING, TrialState.STOPPING)
            )
            waits = trial.number in study.waiting or trial.number in study.held
            assert waits == (trial.state is TrialState.QUEUED)
            assert not (trial.number in study.waiting and trial.number in study.held)
        if study.trials:
            assert study.trials[0].role == "baseline"
    for action in night.actions:
        if isinstance(action, a.Stop):
            assert action.key in intended, "stopped without an intent on record"
