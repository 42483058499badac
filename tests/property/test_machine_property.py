"""The machine under anything that can happen, in any order; invariants after every step."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes.core import Night, check_invariants, make_spec
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.death import DeathNote
from smallhours.core.events import ProcessSample, WallTime
from smallhours.core.hours import WEEK_MINUTES, parse
from smallhours.core.reasons import TAGS, tag
from smallhours.core.settings import Settings
from smallhours.core.spec import Goal, Priority, ScoreKind
from smallhours.core.trial import AttemptKey, TrialState

_NOTE = DeathNote(
    type="ValueError", message="no", fingerprint="f1", where="w.py:3", traceback="", phase="train"
)
_FULL = DeathNote(
    type="OSError",
    message="full",
    fingerprint="f2",
    where="",
    traceback="",
    phase="train",
    errno=28,
)
_EXITS = st.sampled_from(
    [
        {"finished": True, "exit_code": 0},
        {"exit_code": 0},
        {"exit_code": 3},
        {"signal": 9},
        {"signal": 9, "kernel_oom_kills": 1},
        {"signal": 11, "fault": "Segmentation fault"},
        {"exit_code": 1, "note": _NOTE},
        {"exit_code": 1, "note": _FULL},
        {"lost_parent": "slot"},
        {"lost_parent": "zygote", "signal": 9},
        {"lost_parent": "zygote", "zygote_died": True, "signal": 11},
        {},
    ]
)
_LOSS = st.one_of(
    st.floats(0.0, 1.0, allow_nan=False), st.just(math.nan), st.just(math.inf), st.just(0.5)
)


class NightMachine(RuleBasedStateMachine):
    """Two studies, some slots, and everything that a night can bring."""

    @initialize(
        slots=st.integers(1, 4),
        confirm=st.integers(0, 2),
        score=st.sampled_from(["last", "best"]),
        goal=st.sampled_from(["minimize", "maximize"]),
    )
    def begin(self, slots, confirm, score, goal):
        self.slots = slots
        self.keys = {"confirm": confirm, "score": ScoreKind(score), "goal": Goal(goal), "steps": 7}
        self.night = Night(slots)
        self.night.begin()
        self.over = self.draining = False

    def live(self):
        return sorted(self.night.machine.state.live)

    def choose(self, data, keys) -> AttemptKey:
        return data.draw(st.sampled_from(keys))

    def steps(self, key: AttemptKey) -> int:
        live = self.night.machine.state.live[key].live
        reported = [
            x.step for x in self.night.facts if isinstance(x, f.Reported) and f.key_of(x) == key
        ]
        return max(reported, default=live.resume_step)

    @precondition(lambda self: not self.over)
    @rule(
        name=st.sampled_from(["wine", "digits"]),
        trials=st.integers(1, 12),
        digest=st.integers(1, 2),
        replace=st.booleans(),
    )
    def add(self, name, trials, digest, replace):
        spec = make_spec(name, trials=trials, **self.keys)
        request = f"r{len(self.night.facts)}"
        self.night.add(spec, digest=f"d{digest}", replace=replace, request=request)
        answers = [x for x in self.night.facts if isinstance(x, f.RequestAnswered)]
        assert answers[-1].request == request

    @precondition(lambda self: not self.over)
    @rule()
    def suggest(self):
        self.night.suggest()

    @precondition(lambda self: not self.over and self.night.machine.asked)
    @rule(data=st.data())
    def search_fails(self, data):
        study, numbers = data.draw(st.sampled_from(sorted(self.night.machine.asked.items())))
        self.night.tell(
            e.SuggestFailed(at=self.night.now, study=study, trial=min(numbers), message="no")
        )

    @precondition(lambda self: not self.over and self.live())
    @rule(data=st.data(), loss=_LOSS)
    def report(self, data, loss):
        key = self.choose(data, self.live())
        step = self.steps(key) + 1
        if step <= 7:
            if self.night.machine.state.live[key].state is TrialState.STARTING:
                self.night.run(key)
            self.night.report(key, step, loss)

    @precondition(lambda self: not self.over and self.live())
    @rule(data=st.data())
    def checkpoint(self, data):
        key = self.choose(data, self.live())
        step = self.steps(key)
        if step:
            path = f"trials/{key.study}/{key.trial}/checkpoints/{step}-{key.attempt}"
            known = [c.path for c in self.night.machine.state.live[key].checkpoints]
            if path not in known:
                self.night.tell(
                    e.CheckpointWritten(
                        at=self.night.now, key=key, step=step, path=path, size_bytes=1
                    )
                )

    @precondition(lambda self: not self.over and self.live())
    @rule(data=st.data(), how=_EXITS)
    def exit(self, data, how):
        self.night.exit(self.choose(data, self.live()), **how)

    @precondition(lambda self: not self.over and self.live())
    @rule(data=st.data())
    def notice_the_stop(self, data):
        self.night.tell(e.StopNoticed(at=self.night.now, key=self.choose(data, self.live())))

    @precondition(lambda self: not self.over)
    @rule(
        seconds=st.sampled_from([0.5, 5.0, 400.0]),
        free=st.sampled_from([None, 2**20, 2**33]),
        foreign=st.sampled_from([(), (), ("blender",)]),
        looks_at_clock=st.booleans(),
    )
    def time_passes(self, seconds, free, foreign, looks_at_clock):
        self.night.now += seconds
        samples = {
            key: ProcessSample(resident_bytes=10 + key.trial, cpu_s=1.0, state="R")
            for key in self.live()
        }
        self.night.tell(
            e.Tick(
                at=self.night.now, available_bytes=free, total_bytes=2**34, processes=samples,
                wall=self.wall() if looks_at_clock else None, foreign=foreign,
            )
        )  # fmt: skip
        if not self.over:
            self.everything_that_waits_says_why()

    def wall(self) -> WallTime:
        now = self.night.now
        return WallTime(unix=1e6 + now, week_minute=(22 * 60 + now / 60) % WEEK_MINUTES)

    def everything_that_waits_says_why(self):
        machine = self.night.machine
        if any(isinstance(x, a.Finish) for x in self.night.actions) or self.draining:
            return
        for study in machine.state.studies.values():
            if not (study.ended or study.retired):
                assert all((study.id, number) in machine.waits for number in study.waiting)

    def ask(self, make, **keys):
        """Ask for something, which must be answered once."""
        request = f"q{len(self.night.facts)}"
        self.night.tell(make(at=self.night.now, request=request, **keys))
        answers = [x.request for x in self.night.facts if isinstance(x, f.RequestAnswered)]
        assert answers.count(request) == 1

    @precondition(lambda self: not self.over)
    @rule(study=st.sampled_from([None, 1, 2, 3, 9]))
    def pause(self, study):
        self.ask(e.PauseRequested, by="me", study=study)

    @precondition(lambda self: not self.over)
    @rule(
        study=st.integers(1, 3),
        priority=st.sampled_from([None, *Priority]),
        weight=st.sampled_from([None, 0.1, 10.0]),
        hours=st.sampled_from([None, (), ("22:00-23:00",), ("mon-fri 09:00-18:00",)]),
        to=st.sampled_from([None, "first", "last"]),
        before=st.sampled_from([None, None, 1, 2]),
    )
    def move(self, **keys):
        self.ask(e.MoveRequested, by="me", **keys)

    @precondition(lambda self: not self.over)
    @rule(seconds=st.sampled_from([None, -10.0, 3.0, 300.0]))
    def yield_machine(self, seconds):
        until = None if seconds is None else self.wall().unix + seconds
        self.ask(e.YieldRequested, by="me", until=until)

    @precondition(lambda self: not self.over)
    @rule(seconds=st.sampled_from([None, -10.0, 3.0, 300.0]))
    def until(self, seconds):
        until = None if seconds is None else self.wall().unix + seconds
        self.ask(e.DeadlineRequested, by="me", until=until)

    @precondition(lambda self: not self.over)
    @rule(study=st.integers(1, 3), remove=st.booleans())
    def archive(self, study, remove):
        self.ask(e.ArchiveRequested, by="me", study=study, remove=remove)

    @precondition(lambda self: not self.over)
    @rule(quiet=st.sampled_from([(), ("22:00-22:10",)]))
    def settings_change(self, quiet):
        chosen = Settings(quiet={"cpu": tuple(parse(text) for text in quiet)})
        self.night.tell(e.SettingsRead(at=self.night.now, settings=chosen))

    @precondition(lambda self: not self.over)
    @rule()
    def what_runs_the_trials_answers(self):
        self.answer_for_backend()

    def answer_for_backend(self):
        """Do whatever was ordered of the backend."""
        state = self.night.machine.night.backend
        if state in ("opening", "renewing"):
            self.night.tell(e.BackendReady(at=self.night.now, device="cpu", slots=self.slots))
        elif state == "closing":
            self.night.tell(e.BackendClosed(at=self.night.now))

    @precondition(lambda self: not self.over)
    @rule(study=st.integers(1, 3), trial=st.one_of(st.none(), st.integers(0, 5)))
    def cancel(self, study, trial):
        self.night.tell(
            e.CancelRequested(
                at=self.night.now, request=f"c{len(self.night.facts)}", by="me", study=study,
                trial=trial,
            )
        )  # fmt: skip

    @precondition(lambda self: not self.over)
    @rule()
    def release(self):
        self.night.tell(
            e.ReleaseRequested(at=self.night.now, request=f"l{len(self.night.facts)}", study=None)
        )

    @precondition(lambda self: not self.over)
    @rule(cause=st.sampled_from(["ctrl-c", "sigterm", "stop"]), now=st.booleans())
    def shut_down(self, cause, now):
        self.draining = True
        self.night.tell(e.ShutdownRequested(at=self.night.now, cause=cause, now=now))
        self.note_the_end()

    @rule()
    def finish_when_dry(self):
        if not self.over:
            deeds = self.night.machine.finish_if_dry(self.night.now)
            self.night.facts += [x.fact for x in deeds if isinstance(x, a.Record)]
            self.night.actions += deeds
            self.note_the_end()

    @rule(before=st.sampled_from(["signal 9", "exit 70", ""]), reboot=st.booleans())
    def start_again(self, before, reboot):
        """Whatever happened, a new engine reads the facts and goes on."""
        over = {(x.study, x.trial) for x in self.night.ends if x.then == "over"}
        acknowledged = [x for x in self.night.facts if isinstance(x, f.Reported)]
        fresh = Night(self.slots, facts=self.night.facts)
        assert snapshot(fresh) == snapshot(self.night), "the facts do not give the state"
        fresh.now = self.night.now
        fresh.begin(before, boot_id="boot-2" if reboot else "boot-1")
        self.night, self.over, self.draining = fresh, False, False
        assert [x for x in fresh.facts if isinstance(x, f.Reported)] == acknowledged
        restarted = {(k.study, k.trial) for k in fresh.machine.state.live}
        assert not restarted & over

    def open_all_gates(self):
        self.night.tell(e.SettingsRead(at=self.night.now, settings=Settings()))
        for number, study in self.night.machine.state.studies.items():
            if not (study.ended or study.retired):
                self.ask(e.MoveRequested, by="me", study=number, hours=())
        self.night.now += 60.0  # processes that go first are gone
        for _ in range(2):
            self.night.tell(e.Tick(at=self.night.now, wall=self.wall()))
            self.night.now += 60.0

    def note_the_end(self):
        self.over = any(isinstance(x, a.Finish) for x in self.night.actions)

    @invariant()
    def holds(self):
        if not hasattr(self, "night"):
            return
        self.note_the_end()
        check_invariants(self.night)
        assert all(tag(end.reason) in TAGS for end in self.night.ends)

    def teardown(self):
        """Let everything end: nothing may be stuck."""
        if not hasattr(self, "night"):
            return
        night = self.night
        if not self.over:
            self.ask(e.YieldRequested, by="me", until=None)
            self.ask(e.DeadlineRequested, by="me", until=None)
            self.ask(e.ReleaseRequested, study=None)
            self.open_all_gates()
        for _ in range(400):
            if not self.over:
                self.answer_for_backend()
            self.holds()
            if self.over:
                return
            night.suggest()
            for key in self.live():
                trial = night.machine.state.live[key]
                if trial.state is TrialState.STARTING:
                    night.run(key)
                for step in range(self.steps(key) + 1, 8):
                    night.report(key, step, 0.5)
                if key in night.machine.state.live:
                    night.exit(key, finished=True, exit_code=0)
            self.note_the_end()
            self.finish_when_dry()
        raise AssertionError("the night never ends")


def snapshot(night: Night):
    """Return what two machines that know the same facts must agree on."""
    state = night.machine.state
    return state.yielded, state.deadline, {
        study.id: (
            study.spec, study.halted, study.ended, study.retired, study.searched, study.best,
            study.paused, study.standing, study.archived, study.removed, study.saved_bytes,
            dict(study.reasons), list(study.waiting), sorted(study.living),
            {n: (t.state, repr(t.curve), t.retries, t.reason, len(t.checkpoints)) for n, t in
             study.trials.items()},
        )
        for study in state.studies.values()
    }  # fmt: skip


TestNight = NightMachine.TestCase
TestNight.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
