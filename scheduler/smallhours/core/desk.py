"""What every part of the machine may do: record, act, decide to end, end, halt."""

from __future__ import annotations

from smallhours.core import actions as a
from smallhours.core import classify, enough, guards, recheck, regions
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.failures import cause, fingerprint
from smallhours.core.ladder import Ladders
from smallhours.core.model import Study, Trial
from smallhours.core.night import Night
from smallhours.core.outcomes import Enough, SearchOutcome
from smallhours.core.placement import Placement
from smallhours.core.reasons import (
    Budget,
    Crash,
    Diverged,
    Failure,
    GpuOom,
    Paused,
    Reason,
    RuleCut,
    RungCut,
    tag,
)
from smallhours.core.rule import RuleFactory
from smallhours.core.shares import Shares
from smallhours.core.spec import stored
from smallhours.core.state import State
from smallhours.core.trial import Role
from smallhours.packing.cards import Pause


class Desk:
    """The state, and the only hands that change it or ask for something to be done."""

    def __init__(self, rule_factory: RuleFactory) -> None:
        self.state = State(rule_factory)
        self.ladders = Ladders()
        self.night = Night(self.state, Shares(), asked={}, placement=Placement(self.state))
        #: What is to be done about the event at hand, in order.
        self.out: list[a.Action] = []
        self._opened: set[int] = set()

    def record(self, fact: f.Fact, at: float) -> None:
        """Put a fact on record, and let the state follow from it."""
        self.out.append(a.Record(fact=fact))
        self.state.apply(fact, at)

    def answer(self, event: e.Request, verb: str, *, ok: bool, text: str) -> None:
        """Answer whoever asked; a signal needs no answer."""
        if event.request:
            fact = f.RequestAnswered(
                request=event.request, verb=verb, uid=event.uid, ok=ok, text=text
            )
            self.record(fact, event.at)
            self.out.append(a.Answer(request=event.request, ok=ok, text=text))

    def open(self, study: Study) -> None:
        """Have a study's processes and its search warmed up, once."""
        if study.id not in self._opened:
            self._opened.add(study.id)
            self.out.append(a.OpenStudy(study=study.id))

    def reopen_in_search(self, study: Study, trial: Trial) -> None:
        """Let a search that is warm know that a trial runs again; else it will be read so."""
        if study.id in self._opened and trial.role is not Role.CONFIRMATION:
            self.out.append(a.Reopen(study=study.id, trial=trial.number))

    def close(self, study: Study) -> None:
        """Let a study's processes and its search go; nothing of it runs."""
        self.night.asked.pop(study.id, None)
        if study.id in self._opened:
            self._opened.discard(study.id)
            self.out.append(a.CloseStudy(study=study.id))

    def close_if_over(self, study: Study) -> None:
        """Let a study's processes and its search go where it starts and runs nothing more.

        A halted one gets fresh ones when it is released: what it failed of may lie in them.
        """
        if not study.active and not study.living:
            self.close(study)

    def halt(self, study: Study, cause: str, sentence: str, at: float) -> None:
        """Let a study start nothing more until it is released."""
        self.night.asked.pop(study.id, None)
        if not study.halted:
            fact = {"study": study.id, "cause": cause, "sentence": sentence}
            self.record(f.StudyHalted(**fact), at)  # type: ignore[arg-type]
        self.close_if_over(study)

    def go_on(self, study: Study, by: str, at: float) -> None:
        """Let a study go on that had nothing left but known mistakes: now it has."""
        if study.halted and study.halted.cause == "known_mistakes":
            self.record(f.StudyReleased(study=study.id, halt_only=True, by=by), at)

    def end_search(
        self,
        study: Study,
        outcome: SearchOutcome,
        sentence: str,
        at: float,
        evidence: Enough | None = None,
    ) -> None:
        """Ask for no more configurations of a study; what it has runs on."""
        self.night.asked.pop(study.id, None)
        fact = f.SearchEnded(study=study.id, outcome=outcome, sentence=sentence, evidence=evidence)
        self.record(fact, at)

    def intend(self, trial: Trial, reason: Reason, at: float, *, how: str, why: str) -> None:
        """Decide to end an attempt: on record first, then the order, then ever less politely."""
        live = trial.live
        assert live is not None
        self.record(f.Intended(**live.key._asdict(), reason=reason), at)
        order = "checkpoint" if how == "checkpoint" else "now"
        self.out.append(a.Stop(key=live.key, how=order, why=why))  # type: ignore[arg-type]
        self.ladders.ordered(live.key, at, guards.notice_limit_s(live.gap_s))

    def pause(self, trial: Trial, by: str, why: str, at: float) -> None:
        """Take a trial off its place to its latest checkpoint; it goes on later by itself."""
        assert trial.live is not None
        if trial.live.intent is None:
            reason = {"by": by, "why": why, "checkpoint": None, "steps_repeated": 0}
            self.intend(trial, Paused(**reason), at, how="checkpoint", why=f"paused: {why}")  # type: ignore[arg-type]

    def take_off(self, named: Pause, at: float) -> None:
        """Take a trial off that the packer named; whoever is leaving anyway leaves as it is."""
        trial = self.night.placement.trial(named.key)
        if trial is not None:
            self.pause(trial, "packer", named.why, at)

    def end(
        self,
        study: Study,
        trial: Trial,
        sentence: classify.Sentence,
        at: float,
        *,
        seconds: float,
        peak_bytes: int | None = None,
    ) -> None:
        """File the end of an attempt, tell the search, and see what it means for the study."""
        assert trial.live is not None
        key, score = trial.live.key, trial.score(study.spec)
        placement = self.night.placement
        footprint = placement.footprint_of(key, self.night.footprints.pop(key, None))
        self.record(
            f.AttemptEnded(
                **key._asdict(),
                reason=sentence.reason,
                seconds=round(seconds, 6),
                last_step=trial.last_step,
                score=None if score is None else stored(score),
                then=sentence.then,
                peak_bytes=peak_bytes,
                footprint=footprint,
            ),
            at,
        )
        if recheck.due(study, trial):
            self.record(f.RecheckDrawn(study=study.id, trial=trial.number), at)
        reason = sentence.reason
        short = reason.wanted_bytes if isinstance(reason, GpuOom) else None
        for fact in placement.ended(key, at, footprint, short_of=short):
            self.record(fact, at)
        self.ladders.forget(key)
        if sentence.then == "over" and trial.role is not Role.CONFIRMATION:
            outcome, value, step = classify.for_search(study, trial)
            self.out.append(
                a.Tell(study=study.id, trial=trial.number, outcome=outcome, value=value, step=step)
            )
            self._end_search_if_enough(study, at)
        self._halt_on_failures(study, sentence.reason, at)
        self.close_if_over(study)

    def end_unstarted(self, study: Study, trial: Trial, reason: Reason, at: float) -> None:
        """End a trial that waits: the refusal to start it is an attempt of its own."""
        fact = f.AttemptStarted(
            study=study.id,
            trial=trial.number,
            attempt=trial.attempts + 1,
            device="",
            resume_step=0,
        )
        self.record(fact, at)
        self.end(study, trial, classify.Sentence(reason, "over"), at, seconds=0.0)

    def _end_search_if_enough(self, study: Study, at: float) -> None:
        if study.ended or study.retired or not study.unproposed:
            return
        found = enough.judge(study)
        if found is not None:
            self.end_search(study, "enough", enough.sentence(study, found), at, found)

    def _halt_on_failures(self, study: Study, reason: Reason, at: float) -> None:
        if tag(reason) == "disk":
            text = f"{study.label} has no room on disk: free some, then smallhours resume"
            self.halt(study, "disk", text, at)
            return
        mark, ends = fingerprint(reason), study.latest_ends
        if mark is None or set(ends) != {mark}:
            return
        needed = guards.SAME_FAILURES_AT_FIRST if study.best is None else ends.maxlen
        assert needed is not None
        if len(ends) >= needed:
            text = (
                f"the last {len(ends)} attempts all failed in the same way: {_in_short(reason)};"
                f" {in_common(study, mark)}"
            )
            self.halt(study, "same_failure", text, at)


def in_common(study: Study, mark: str) -> str:
    """Return what the trials with a failure share and the others have not, in a few words."""
    ended = [t for t in study.trials.values() if t.reason is not None and t.role != "confirmation"]
    failed = [t.params for t in ended if t.reason is not None and cause(t.reason) == mark]
    others = [t.params for t in ended if t.reason is not None and cause(t.reason) is None]
    return regions.in_common(failed[-regions.COMPARED :], others[-regions.COMPARED :])


def _in_short(reason: Reason) -> str:
    match reason:
        case Failure():
            place = f" ({reason.where})" if reason.where else ""
            return f"{reason.type}: {reason.message[:200]}{place}"
        case Crash():
            by = f"signal {reason.signal}" if reason.signal else f"exit code {reason.exit_code}"
            return f"the process died with {by}"
        case _:
            return tag(reason)


def why_stopped(reason: Reason) -> str:
    """Return what a trial is told when it must end."""
    match reason:
        case RuleCut() | RungCut():
            return f"stopped by the {reason.rule} rule at step {reason.step}"
        case Diverged():
            return f"{reason.metric} is {reason.value} at step {reason.step}"
        case Budget():
            return f"budget {reason.budget} of {reason.limit:g} s is used up"
        case _:
            return tag(reason)
