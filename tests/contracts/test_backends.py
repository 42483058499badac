"""What every backend promises, whatever it runs attempts on; see `backends.base.Backend`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import pytest

from smallhours import rules
from smallhours.backends.base import Backend
from smallhours.backends.local import LocalLauncher
from smallhours.backends.places import Places
from smallhours.backends.process import ProcessBackend
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.workload import Dies, Hangs, NeverStarts, Raises, Script, Trouble
from smallhours.clock import SystemClock
from smallhours.core import events as e
from smallhours.core.actions import ResumePoint, Start, Stop
from smallhours.core.model import Standing, Study
from smallhours.core.spec import Goal, StudySpec
from smallhours.core.trial import AttemptKey
from smallhours.paths import Home

#: What an attempt does; all have five steps and would save a checkpoint at every second one.
#: The trouble comes at step 3.
Behaviour: TypeAlias = Literal["finishes", "raises", "exits", "crashes", "hangs", "never starts"]

STEPS = 5
E = TypeVar("E", bound=e.Event)


class Bench(ABC):
    """A backend with two slots, and a way to wait for what it posts."""

    backend: Backend

    def __init__(self) -> None:
        self.events: list[e.Event] = []
        self.on_event: Callable[[e.Event], None] = lambda event: None

    def post(self, event: e.Event) -> None:
        self.events.append(event)
        self.on_event(event)

    @abstractmethod
    def start(
        self, behaviour: Behaviour, trial: int = 0, resume: tuple[ResumePoint, ...] = ()
    ) -> AttemptKey:
        """Have an attempt started."""

    @abstractmethod
    def call(self, order: Callable[[], None]) -> None:
        """Have something called where the backend lives."""

    @abstractmethod
    def advance(self) -> bool:
        """Let a little happen; False: nothing will happen any more."""

    @abstractmethod
    def close(self) -> None:
        """Close the backend."""

    @abstractmethod
    def pause(self) -> None:
        """Give a process time to obey a signal."""

    def of(self, key: AttemptKey) -> list[e.Event]:
        """What was posted about an attempt."""
        return [event for event in self.events if getattr(event, "key", None) == key]

    def until(self, key: AttemptKey | None, kind: type[E], nth: int = 1) -> E:
        """Wait for the nth event of a kind."""
        while True:
            events = self.events if key is None else self.of(key)
            found = [event for event in events if isinstance(event, kind)]
            if len(found) >= nth:
                return found[nth - 1]
            assert self.advance(), f"{kind.__name__} never came: {self.events}"

    def drain(self) -> None:
        """Wait until nothing happens any more."""
        while self.advance():
            pass


TROUBLES: dict[Behaviour, Trouble | None] = {
    "finishes": None,
    "raises": Raises(step=3),
    "exits": Dies(step=3, exit_code=3),
    "crashes": Dies(step=3, signal=11),
    "hangs": Hangs(step=3),
    "never starts": NeverStarts(signal=11),
}


class SimulatedBench(Bench):
    """The simulated backend on its virtual clock."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.behaviours: dict[AttemptKey, Behaviour] = {}
        self.simulated = SimulatedBackend(2, self.script)
        self.backend = self.simulated
        asyncio.run(self.backend.open(self.post))
        self.backend.wake()
        self.backend.open_study(1)

    def script(self, order: Start) -> Script:
        return Script(
            curve=lambda step: {"loss": 1.0 / step},
            steps=STEPS,
            checkpoint_every=2,
            trouble=TROUBLES[self.behaviours[order.key]],
        )

    def start(
        self, behaviour: Behaviour, trial: int = 0, resume: tuple[ResumePoint, ...] = ()
    ) -> AttemptKey:
        key = AttemptKey(1, trial, 1 + sum(1 for known in self.behaviours if known.trial == trial))
        self.behaviours[key] = behaviour
        self.backend.start(Start(key=key, params={}, seed=0, resume=resume, best_known=None))
        return key

    def call(self, order: Callable[[], None]) -> None:
        order()

    def advance(self) -> bool:
        if self.simulated.timeline.next_at() == float("inf"):
            return False
        self.simulated.timeline.step()
        return True

    def close(self) -> None:
        asyncio.run(self.backend.close())

    def pause(self) -> None:
        pass


_STUDY = """
import os, signal, time
from smallhours import Choice, Study

study = Study("bench", metric="loss", goal="minimize", space={"x": Choice([1])}, baseline={"x": 1},
              trials=1, steps=5)

def die():
    os.kill(os.getpid(), signal.SIGSEGV)

def fail():
    raise ValueError("planned")

TROUBLES = {"raises": fail, "exits": lambda: os._exit(3), "crashes": die,
            "hangs": lambda: time.sleep(100), "finishes": lambda: None}

@study.train
def train(trial):
    state = {"step": 0}
    for step in range(trial.restore(state) + 1, 6):
        time.sleep(0.05)
        if step == 3:
            TROUBLES[trial.params["behaviour"]]()
        state["step"] = step
        trial.report(step, loss=1.0 / step)
        if step % 2 == 0:
            trial.checkpoint(state)
"""
_NEVER = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"


class ProcessBench(Bench):
    """The real backend with threads for slots: zygotes, forks, sockets, signals."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.home = Home(folder / "state")
        self.home.prepare()
        self.session = Path(tempfile.mkdtemp(prefix="bench-"))  # short: it is for sockets
        studies = {1: self._study(1, "bench", _STUDY), 2: self._study(2, "never", _NEVER)}
        self.process = ProcessBackend(
            self.home,
            self.session,
            LocalLauncher(),
            studies=studies,
            clock=SystemClock(),
            places=lambda: Places(2, packed=False),
            environment=dict(os.environ),
        )
        self.backend = self.process
        self.started: list[AttemptKey] = []
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.process.open(self.post))
        self.call(self.backend.wake)

    def _study(self, number: int, name: str, text: str) -> Study:
        source = self.home.root / f"{name}.py"
        snapshot = self.home.snapshots / name
        snapshot.mkdir()
        for path in (source, snapshot / source.name):
            path.write_text(text, encoding="utf-8")
        spec = StudySpec(
            name=name,
            metric="loss",
            goal=Goal.MINIMIZE,
            space=None,
            baseline={},
            trials=9,
            steps=STEPS,
            checkpoint_every_s=0.0,
        )
        return Study(
            id=number,
            spec=spec,
            snapshot=name,
            digest="",
            source=str(source),
            module=name,
            cwd=str(self.home.root),
            rule=rules.make(spec),
            standing=Standing.of(spec, 1.0),
        )

    def start(
        self, behaviour: Behaviour, trial: int = 0, resume: tuple[ResumePoint, ...] = ()
    ) -> AttemptKey:
        study = 2 if behaviour == "never starts" else 1
        number = 1 + sum(1 for known in self.started if known[:2] == (study, trial))
        key = AttemptKey(study, trial, number)
        self.started.append(key)
        params: dict[str, Any] = {"behaviour": behaviour}
        order = Start(key=key, params=params, seed=0, resume=resume, best_known=None)
        self.call(lambda: self.backend.start(order))
        return key

    def call(self, order: Callable[[], None]) -> None:
        async def in_loop() -> None:
            order()

        if self.loop.is_running():
            order()
        else:
            self.loop.run_until_complete(in_loop())

    def advance(self) -> bool:
        ended = sum(isinstance(event, e.ProcessExited) for event in self.events)
        busy = ended < len(self.started) or not self.events
        count, deadline = len(self.events), self.loop.time() + (20.0 if busy else 0.3)
        while len(self.events) == count and self.loop.time() < deadline:
            self.loop.run_until_complete(asyncio.sleep(0.005))
        return len(self.events) > count

    def pause(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0.5))

    def close(self) -> None:
        if not self.loop.is_closed():
            self.loop.run_until_complete(self.backend.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.session)
        self.started.clear()

    def drain(self) -> None:
        if not self.loop.is_closed():
            super().drain()


_BENCHES = [
    SimulatedBench,
    pytest.param(ProcessBench, marks=[pytest.mark.processes, pytest.mark.timeout(60)]),
]


@pytest.fixture(params=_BENCHES, ids=lambda kind: kind.__name__)
def bench(request: Any, tmp_path: Path) -> Iterator[Bench]:
    bench: Bench = request.param(tmp_path)
    bench.until(None, e.BackendReady)
    yield bench
    bench.close()


def steps(events: list[e.Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, e.ReportArrived)]


class TestReadiness:
    def test_ready_is_said_once_with_the_slots(self, bench: Bench) -> None:
        bench.drain()
        (ready,) = bench.events
        assert isinstance(ready, e.BackendReady)
        assert (ready.device, ready.slots) == ("cpu", 2)

    def test_nothing_is_posted_after_the_close(self, bench: Bench) -> None:
        key = bench.start("finishes")
        bench.until(key, e.ReportArrived)
        bench.close()
        count = len(bench.events)
        bench.drain()
        assert len(bench.events) == count


def told(bench: Bench) -> list[type[e.Event]]:
    """What was posted about the backend itself."""
    kinds = [type(event) for event in bench.events]
    return [kind for kind in kinds if kind in (e.BackendReady, e.BackendClosed, e.BackendLost)]


class TestRenewingAndResting:
    def call_all(self, bench: Bench, *orders: str) -> None:
        """Give orders before anything can come of the first."""
        bench.call(lambda: [getattr(bench.backend, order)() for order in orders][-1])

    def serves(self, bench: Bench, trial: int) -> bool:
        exit_ = bench.until(bench.start("finishes", trial=trial), e.ProcessExited)
        return exit_.finished

    def test_a_renewed_one_is_ready_again_and_serves(self, bench: Bench) -> None:
        assert self.serves(bench, 1)
        bench.call(bench.backend.renew)
        bench.until(None, e.BackendReady, nth=2)
        assert self.serves(bench, 2)
        assert told(bench) == [e.BackendReady] * 2

    def test_one_that_rests_says_so_and_comes_back_when_it_is_woken(self, bench: Bench) -> None:
        for turn in (1, 2):
            bench.call(bench.backend.rest)
            bench.until(None, e.BackendClosed, nth=turn)
            bench.call(bench.backend.wake)
            bench.until(None, e.BackendReady, nth=turn + 1)
            assert self.serves(bench, turn)
        assert told(bench) == [e.BackendReady] + [e.BackendClosed, e.BackendReady] * 2

    def test_waking_what_is_awake_does_nothing(self, bench: Bench) -> None:
        bench.call(bench.backend.wake)
        bench.call(bench.backend.wake)
        bench.drain()
        assert told(bench) == [e.BackendReady]

    def test_who_is_woken_while_it_lies_down_gets_up_again(self, bench: Bench) -> None:
        self.call_all(bench, "rest", "wake")
        bench.until(None, e.BackendReady, nth=2)
        assert told(bench) == [e.BackendReady, e.BackendClosed, e.BackendReady]
        assert self.serves(bench, 1)

    def test_the_last_word_counts_while_it_lies_down(self, bench: Bench) -> None:
        self.call_all(bench, "rest", "wake", "rest", "renew")
        bench.until(None, e.BackendClosed)
        bench.drain()
        assert told(bench) == [e.BackendReady, e.BackendClosed]

    def test_it_can_rest_while_it_is_renewed_or_started(self, bench: Bench) -> None:
        for turn, order in enumerate(("renew", "wake"), start=1):
            self.call_all(bench, order, "rest")
            bench.until(None, e.BackendClosed, nth=turn)
        bench.drain()
        assert told(bench) == [e.BackendReady] + [e.BackendClosed] * 2

    def test_who_rests_already_says_so_again_and_cannot_be_renewed(self, bench: Bench) -> None:
        bench.call(bench.backend.rest)
        bench.until(None, e.BackendClosed)
        bench.call(bench.backend.renew)
        bench.call(bench.backend.rest)
        bench.until(None, e.BackendClosed, nth=2)
        bench.drain()
        assert told(bench) == [e.BackendReady, e.BackendClosed, e.BackendClosed]

    @pytest.mark.parametrize("order", ["renew", "rest"])
    def test_closing_in_the_middle_of_it_is_the_end(self, bench: Bench, order: str) -> None:
        bench.call(getattr(bench.backend, order))
        bench.close()
        count = len(bench.events)
        bench.drain()
        assert len(bench.events) == count
        assert e.BackendLost not in told(bench)


class TestAnAttempt:
    def test_a_whole_run_is_told_in_order(self, bench: Bench) -> None:
        key = bench.start("finishes")
        exit_ = bench.until(key, e.ProcessExited)
        events = bench.of(key)
        assert isinstance(events[0], e.ProcessStarted)
        assert steps(events) == [1, 2, 3, 4, 5]
        assert events[-1] is exit_
        assert exit_.finished
        assert (exit_.exit_code, exit_.signal, exit_.note) == (0, None, None)
        times = [event.at for event in events]
        assert times == sorted(times)

    def test_a_checkpoint_follows_the_report_of_its_step(self, bench: Bench) -> None:
        key = bench.start("finishes")
        bench.until(key, e.ProcessExited)
        events = bench.of(key)
        saved = [event for event in events if isinstance(event, e.CheckpointWritten)]
        assert [event.step for event in saved] == [2, 4]
        for event in saved:
            before = events[events.index(event) - 1]
            assert isinstance(before, e.ReportArrived)
            assert before.step == event.step

    @pytest.mark.parametrize("behaviour", ["raises", "exits", "crashes", "never starts"])
    def test_whatever_happens_there_is_exactly_one_exit_and_it_is_the_last(
        self, bench: Bench, behaviour: Behaviour
    ) -> None:
        key = bench.start(behaviour)
        bench.until(key, e.ProcessExited)
        bench.drain()
        kinds = [type(event) for event in bench.of(key)]
        assert kinds.count(e.ProcessExited) == 1
        assert kinds[-1] is e.ProcessExited
        assert steps(bench.of(key)) == ([] if behaviour == "never starts" else [1, 2])

    def test_an_exception_comes_with_its_note(self, bench: Bench) -> None:
        exit_ = bench.until(bench.start("raises"), e.ProcessExited)
        assert exit_.note is not None
        assert (exit_.note.type, exit_.note.phase) == ("ValueError", "train")
        assert not exit_.finished

    def test_exit_code_and_signal_are_those_of_the_process(self, bench: Bench) -> None:
        exit_ = bench.until(bench.start("exits"), e.ProcessExited)
        assert (exit_.exit_code, exit_.signal, exit_.note) == (3, None, None)
        exit_ = bench.until(bench.start("crashes", trial=1), e.ProcessExited)
        assert (exit_.exit_code, exit_.signal, exit_.zygote_died) == (None, 11, False)

    def test_a_zygote_that_died_first_is_told_apart(self, bench: Bench) -> None:
        key = bench.start("never starts")
        exit_ = bench.until(key, e.ProcessExited)
        assert exit_.zygote_died
        assert exit_.signal == 11
        assert bench.of(key) == [exit_]

    def test_two_attempts_run_side_by_side(self, bench: Bench) -> None:
        one, two = bench.start("finishes", trial=1), bench.start("finishes", trial=2)
        bench.until(one, e.ProcessExited)
        bench.until(two, e.ProcessExited)
        order = [e_.key for e_ in bench.events if isinstance(e_, e.ReportArrived)]
        assert set(order[:3]) == {one, two}

    def test_the_slot_is_free_when_the_exit_is_told(self, bench: Bench) -> None:
        started: list[AttemptKey] = []

        def start_next(event: e.Event) -> None:
            if isinstance(event, e.ProcessExited) and len(started) < 3:
                started.append(bench.start("finishes", trial=10 + len(started)))

        bench.on_event = start_next
        bench.start("finishes", trial=1)
        bench.start("finishes", trial=2)
        bench.until(None, e.ProcessExited, nth=5)
        assert len(started) == 3


class TestResuming:
    def saved_by(self, bench: Bench) -> list[ResumePoint]:
        key = bench.start("crashes")
        bench.until(key, e.ProcessExited)
        saved = [event for event in bench.of(key) if isinstance(event, e.CheckpointWritten)]
        return [ResumePoint(step=event.step, path=event.path) for event in saved]

    def test_it_goes_on_after_the_checkpoint(self, bench: Bench) -> None:
        (point,) = self.saved_by(bench)
        key = bench.start("finishes", resume=(point,))
        bench.until(key, e.ProcessExited)
        restored = bench.until(key, e.StateRestored)
        assert (restored.step, restored.path, restored.rejected) == (2, point.path, ())
        assert steps(bench.of(key)) == [3, 4, 5]

    def test_a_checkpoint_that_is_gone_is_passed_over(self, bench: Bench) -> None:
        (point,) = self.saved_by(bench)
        gone = ResumePoint(step=4, path="trials/1/0/checkpoints/4-1")
        key = bench.start("finishes", resume=(gone, point))
        restored = bench.until(key, e.StateRestored)
        assert (restored.step, restored.path) == (2, point.path)
        assert [path for path, _ in restored.rejected] == [gone.path]
        assert restored.rejected[0][1], "and it says why"

    def test_without_a_good_one_it_begins_again(self, bench: Bench) -> None:
        gone = ResumePoint(step=4, path="trials/1/0/checkpoints/4-1")
        key = bench.start("finishes", resume=(gone,))
        restored = bench.until(key, e.StateRestored)
        bench.until(key, e.ProcessExited)
        assert (restored.step, restored.path) == (0, None)
        assert steps(bench.of(key)) == [1, 2, 3, 4, 5]


class TestEnding:
    @pytest.mark.parametrize("how", ["now", "checkpoint"])
    def test_an_order_is_noticed_and_followed(
        self, bench: Bench, how: Literal["now", "checkpoint"]
    ) -> None:
        key = bench.start("finishes")
        bench.until(key, e.ReportArrived)
        told = len(bench.of(key))
        bench.backend.stop(Stop(key=key, how=how, why="because"))
        exit_ = bench.until(key, e.ProcessExited)
        kinds = [type(event) for event in bench.of(key)]
        noticed = kinds.index(e.StopNoticed)
        saved = kinds[told:].count(e.CheckpointWritten)
        assert e.CheckpointWritten not in kinds[noticed:], "it is saved before it unwinds"
        assert saved == (1 if how == "checkpoint" else 0)
        assert e.ReportArrived not in kinds[noticed:]
        assert len(steps(bench.of(key))) < STEPS
        assert not exit_.finished
        assert exit_.exit_code == 0

    @pytest.mark.parametrize(("signal", "number"), [("SIGTERM", 15), ("SIGKILL", 9)])
    def test_a_signal_ends_it(
        self, bench: Bench, signal: Literal["SIGTERM", "SIGKILL"], number: int
    ) -> None:
        key = bench.start("finishes")
        bench.until(key, e.ReportArrived)
        bench.backend.signal(key, signal)
        exit_ = bench.until(key, e.ProcessExited)
        assert (exit_.exit_code, exit_.signal) == (None, number)

    def test_a_hang_gives_its_stacks_and_dies_of_a_signal(self, bench: Bench) -> None:
        key = bench.start("hangs")
        bench.until(key, e.ReportArrived, nth=2)
        bench.backend.dump_stack(key)
        bench.pause()
        bench.backend.signal(key, "SIGKILL")
        exit_ = bench.until(key, e.ProcessExited)
        assert exit_.fault
        assert steps(bench.of(key)) == [1, 2]

    def test_orders_for_an_attempt_that_is_gone_do_nothing(self, bench: Bench) -> None:
        key = bench.start("finishes")
        bench.until(key, e.ProcessExited)
        count = len(bench.of(key))
        bench.backend.stop(Stop(key=key, how="now", why="because"))
        bench.backend.dump_stack(key)
        bench.backend.signal(key, "SIGKILL")
        bench.drain()
        assert len(bench.of(key)) == count


class TestTheSimulatedOneOnly:
    def test_the_same_seed_gives_the_same_events(self) -> None:
        def events(seed: int) -> list[e.Event]:
            def script(order: Start) -> Script:
                return Script(curve=lambda step: {"loss": 1.0 / step}, steps=9, jitter=0.3)

            backend, posted = SimulatedBackend(1, script, seed), list[e.Event]()
            asyncio.run(backend.open(posted.append))
            backend.wake()
            while not posted:
                backend.timeline.step()
            backend.open_study(1)
            key = AttemptKey(1, 0, 1)
            backend.start(Start(key=key, params={}, seed=0, resume=(), best_known=None))
            while backend.timeline.next_at() < float("inf"):
                backend.timeline.step()
            return posted

        assert events(1) == events(1)
        assert events(1) != events(2)

    def test_more_attempts_than_slots_are_a_bug_of_the_caller(self) -> None:
        bench = SimulatedBench()
        bench.until(None, e.BackendReady)
        bench.start("finishes", trial=1)
        bench.start("finishes", trial=2)
        with pytest.raises(AssertionError, match="no slot is free"):
            bench.start("finishes", trial=3)

    def test_a_lost_backend_says_so_and_nothing_more(self) -> None:
        bench = SimulatedBench()
        bench.until(None, e.BackendReady)
        key = bench.start("finishes")
        bench.until(key, e.ReportArrived)
        bench.simulated.lose("raylet died")
        bench.drain()
        assert isinstance(bench.events[-1], e.BackendLost)
        assert not any(isinstance(event, e.ProcessExited) for event in bench.events)
