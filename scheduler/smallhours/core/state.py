"""The state of everything, as a function of the recorded facts.

`State.apply` is the only place that changes it: a running engine and one that reads the ledger
after a crash come to the same state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from smallhours.core import facts as f
from smallhours.core.failures import fingerprint
from smallhours.core.model import Live, Saved, Standing, Study, Trial
from smallhours.core.reasons import (
    PERHAPS_ITS_OWN,
    RESUMED,
    Completed,
    DiskFull,
    GpuFault,
    GpuOom,
    Interrupted,
    Lost,
    Reason,
    Refused,
    tag,
)
from smallhours.core.rule import RuleFactory
from smallhours.core.slots import lowest_free
from smallhours.core.trial import AttemptKey, Role, TrialState
from smallhours.core.variety import identity

#: After these the same configuration may be tried again: they say nothing of it.
_TELLS_NOTHING = (Refused, Lost, GpuFault, DiskFull)


class State:
    """Everything that the recorded facts say."""

    def __init__(self, rule_factory: RuleFactory) -> None:
        self._rule_factory = rule_factory
        self.studies: dict[int, Study] = {}
        #: Current owner of each name.
        self.names: dict[str, int] = {}
        self.live: dict[AttemptKey, Trial] = {}
        self.session: f.SessionStarted | None = None
        #: The machine is given back for a while; None: it isn't.
        self.yielded: f.Yielded | None = None
        #: When all must be over; None: no such time.
        self.deadline: f.DeadlineSet | None = None
        #: By device: what the compute of its trials stays below; None: nothing did harm yet.
        self.caps: dict[str, float | None] = {}
        #: Ids of requests that were answered: each is carried out once.
        self.answered: set[str] = set()

    def apply(self, fact: f.Fact, at: float) -> None:
        """Take a fact in.

        Args:
            fact: What happened.
            at: When, in seconds of the monotonic clock. Differences between facts of different
                sessions mean nothing and are never used.
        """
        match fact:
            case f.Reported():
                self._reported(fact, at)
            case f.SessionStarted():
                self.session = fact
            case f.SessionEnded():
                pass
            case f.StudyAdded():
                self._added(fact)
            case f.StudyAmended():
                study = self.studies[fact.study]
                study.standing.amend(study.spec, fact.spec)
                study.spec = fact.spec
                study.ended = study.ended_before = study.search_ended = None
                study.refused = study.repeated = 0
                study.archived = False
            case f.StudyRetired():
                self.studies[fact.study].retired = True
            case f.StudyEnded():
                self.studies[fact.study].ended = fact
            case f.StudyHalted():
                self.studies[fact.study].halted = fact
            case f.StudyReleased():
                study = self.studies[fact.study]
                study.halted = None
                study.paused = study.paused if fact.halt_only else None
                study.latest_ends.clear()
            case f.StudyPaused():
                self.studies[fact.study].paused = fact
            case f.StudyMoved():
                self.studies[fact.study].standing.move(fact)
            case f.StudyArchived():
                study = self.studies[fact.study]
                study.archived = True
                self._empty(study)
                study.rechecks.clear()
            case f.StudyRemoved():
                self._removed(self.studies[fact.study])
            case f.StudyNoted():
                pass  # for people
            case f.Yielded():
                self.yielded = fact
            case f.YieldEnded():
                self.yielded = None
            case f.DeadlineSet():
                self.deadline = fact if fact.until is not None else None
            case f.SearchEnded():
                self.studies[fact.study].search_ended = fact
            case f.TrialCreated():
                self._created(fact)
            case f.TrialHeld():
                study = self.studies[fact.study]
                del study.waiting[fact.trial]
                study.held[fact.trial] = fact
            case f.TrialReleased():
                study = self.studies[fact.study]
                del study.held[fact.trial]
                study.waiting[fact.trial] = None
            case f.AttemptStarted():
                self._started(fact, at)
            case f.AttemptRunning():
                trial = self._trial(f.key_of(fact))
                assert trial.live is not None
                trial.live.pid, trial.live.heard_at = fact.pid, at
                if trial.state is TrialState.STARTING:
                    trial.move(TrialState.RUNNING)
            case f.Restored():
                trial = self._trial(f.key_of(fact))
                assert trial.live is not None
                trial.live.resume_step, trial.live.heard_at = fact.step, at
                self._forget_checkpoints(trial, {path for path, _ in fact.rejected})
            case f.CheckpointSaved():
                trial = self._trial(f.key_of(fact))
                saved = Saved(fact.step, fact.path, fact.attempt, fact.size_bytes)
                trial.checkpoints.append(saved)
                study = self.studies[fact.study]
                study.saves, study.saved_bytes = True, study.saved_bytes + fact.size_bytes
                if trial.live is not None:
                    trial.live.saved_at = at
            case f.CheckpointRemoved():
                study = self.studies[fact.study]
                if study.loaded:
                    self._forget_checkpoints(study.trials[fact.trial], {fact.path})
            case f.Intended():
                trial = self._trial(f.key_of(fact))
                assert trial.live is not None
                trial.live.intent, trial.live.intended_at = fact.reason, at
                if trial.state is not TrialState.STOPPING:
                    trial.move(TrialState.STOPPING)
            case f.AttemptEnded():
                self._ended(fact)
            case f.TrialContinued():
                self._continued(fact)
            case f.RecheckDrawn():
                self.studies[fact.study].rechecks[fact.trial] = None
            case f.LoadLearned():
                study = self.studies[fact.study]
                study.learned[fact.sharing] = study.timed[fact.trial] = fact
            case f.CapLearned():
                self.caps[fact.device] = fact.cap
            case f.RequestAnswered():
                self.answered.add(fact.request)
            case _:
                assert_never(fact)

    def load(self, facts: Iterable[tuple[f.Fact, float]]) -> None:
        """Take a study in whose trials were left out, by applying all its facts from the first.

        Args:
            facts: With their times, as for `apply`.
        """
        names = dict(self.names)
        for fact, at in facts:
            self.apply(fact, at)
        self.names.clear()
        self.names.update(names)  # its own may be another's by now

    def _empty(self, study: Study) -> None:
        """All its checkpoints are gone."""
        for trial in study.trials.values():
            trial.checkpoints = []
        study.saved_bytes = 0

    def _forget_checkpoints(self, trial: Trial, paths: set[str]) -> None:
        gone = [saved for saved in trial.checkpoints if saved.path in paths]
        trial.checkpoints = [saved for saved in trial.checkpoints if saved.path not in paths]
        self.studies[trial.study].saved_bytes -= sum(saved.size_bytes for saved in gone)

    def _trial(self, key: AttemptKey) -> Trial:
        return self.studies[key.study].trials[key.trial]

    def _added(self, fact: f.StudyAdded) -> None:
        self.studies[fact.study] = Study(
            id=fact.study,
            spec=fact.spec,
            snapshot=fact.snapshot,
            digest=fact.digest,
            source=fact.source,
            module=fact.module,
            cwd=fact.cwd,
            rule=self._rule_factory(fact.spec),
            standing=Standing.of(fact.spec, place=float(fact.study)),
        )
        self.names[fact.spec.name] = fact.study

    def _removed(self, study: Study) -> None:
        study.removed = True
        self._empty(study)
        study.rechecks.clear()
        if self.names.get(study.spec.name) == study.id:
            del self.names[study.spec.name]

    def _created(self, fact: f.TrialCreated) -> None:
        study = self.studies[fact.study]
        study.trials[fact.trial] = Trial(
            study=fact.study,
            number=fact.trial,
            params=fact.params,
            seed=fact.seed,
            role=fact.role,
            of=fact.of,
            dimensions=fact.dimensions,
            attrs=fact.attrs,
        )
        study.last_number = max(study.last_number, fact.trial)
        study.waiting[fact.trial] = None
        if fact.of is not None:
            study.confirmed.add(fact.of)
        else:
            study.searched += 1
            study.tried.setdefault(identity(fact.params), fact.trial)

    def free_slot(self, device: str) -> int:
        """Return the lowest place of a device that no living attempt has."""
        lives = (trial.live for trial in self.live.values())
        return lowest_free({live.slot for live in lives if live and live.device == device})

    def _started(self, fact: f.AttemptStarted, at: float) -> None:
        study, key = self.studies[fact.study], f.key_of(fact)
        trial = study.trials[fact.trial]
        trial.move(TrialState.STARTING)
        trial.attempts, trial.predicted = fact.attempt, fact.predicted
        trial.live = Live(
            key=key,
            started_at=at,
            heard_at=at,
            resume_step=fact.resume_step,
            device=fact.device,
            slot=fact.slot,
        )
        study.waiting.pop(fact.trial, None)
        study.held.pop(fact.trial, None)
        study.living.add(fact.trial)
        self.live[key] = trial

    def _reported(self, fact: f.Reported, at: float) -> None:
        study = self.studies[fact.study]
        trial = study.trials[fact.trial]
        live = trial.live
        assert live is not None
        if live.reported:
            live.gaps.append(at - live.heard_at)
        live.reported, live.heard_at = True, at
        trial.curve[fact.step] = float(fact.metrics[study.spec.metric])
        trial.last_step, trial.last_metrics = fact.step, fact.metrics
        if trial.compared:
            study.rule.observe(trial.number, fact.step, trial.curve)

    def _ended(self, fact: f.AttemptEnded) -> None:
        study, key = self.studies[fact.study], f.key_of(fact)
        trial = study.trials[fact.trial]
        live = trial.live
        assert live is not None
        reason, reported = fact.reason, live.reported
        if fact.last_step > live.resume_step and reported:
            study.paces.append(fact.seconds / (fact.last_step - live.resume_step))
        trial.reason, trial.live = reason, None
        trial.seconds += fact.seconds
        study.seconds += fact.seconds
        study.peak_bytes = max(study.peak_bytes, fact.peak_bytes or 0)
        if fact.footprint is not None:
            known = study.footprints
            known[fact.trial] = fact.footprint.after(known.get(fact.trial))
        study.living.discard(fact.trial)
        del self.live[key]
        study.reasons[tag(reason)] += 1
        mark = fingerprint(reason)
        if mark is not None:
            study.fingerprints[mark] += 1
        if reported:
            trial.stalls = 0
        elif isinstance(reason, Interrupted) and reason.cause in PERHAPS_ITS_OWN:
            trial.stalls += 1
        if not isinstance(reason, RESUMED):  # these say nothing of the study's code
            study.latest_ends.append(mark)
        if fact.then == "over":
            trial.move(TrialState.ENDED)
            self._over(study, trial, reason)
            return
        trial.move(TrialState.QUEUED)
        study.waiting[trial.number] = None
        if fact.then == "retry":
            if not (isinstance(reason, GpuOom) and reason.fault == "neighbour"):
                trial.retries += 1
            trial.alone = tag(reason) in ("host_oom", "gpu_oom")

    def _continued(self, fact: f.TrialContinued) -> None:
        study = self.studies[fact.study]
        trial = study.trials[fact.trial]
        trial.move(TrialState.QUEUED)
        trial.continued, trial.seconds_before, trial.stalls = fact, trial.seconds, 0
        study.waiting[fact.trial] = None
        study.rechecks.pop(fact.trial, None)
        if study.ended is not None:
            study.ended_before, study.ended = study.ended, None
        study.archived = False

    def _over(self, study: Study, trial: Trial, reason: Reason) -> None:
        completed = isinstance(reason, Completed)
        if isinstance(reason, Refused):
            study.searched -= 1  # it is no answer to anything
            study.refused += 1
            study.repeated += reason.why == "duplicate"
        else:
            study.refused = study.repeated = 0
        if trial.role is Role.CONFIRMATION:
            sd = study.seed_sd()
            if sd is not None:
                study.rule.observe_noise(sd)
            return
        study.mistakes.add(trial.number, trial.params, reason)
        if isinstance(reason, _TELLS_NOTHING):
            known = identity(trial.params)
            if study.tried.get(known) == trial.number:
                del study.tried[known]
        if trial.compared:
            study.rule.close(trial.number, trial.curve, completed=completed)
        score = trial.score(study.spec)
        if completed and score is not None:
            better = study.best_score is None or study.spec.goal.better(score, study.best_score)
            if better:
                study.best, study.best_score = trial.number, score
