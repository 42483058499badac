"""Fills the machine: carries out what the queue says, asks searches, makes room for the urgent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import assert_never

from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import guards, items, preempt, queue, variety
from smallhours.core.desk import Desk
from smallhours.core.items import Item, Place, Waiter
from smallhours.core.model import Study, Trial
from smallhours.core.outcomes import StudyOutcome
from smallhours.core.reasons import Refused
from smallhours.core.trial import AttemptKey, Role
from smallhours.core.waiting import Why

#: A trial that must make room for an urgent one hears of it at its next report; where that takes
#: longer it is signalled, and killed, this long after the order.
_ROOM_TERM_S = 2.0
_ROOM_KILL_S = 3.0
#: A study whose search proposes so many configurations in a row that can't be run is halted.
_REFUSED_AT_MOST = 50


def trial_seed(study_seed: int, purpose: str, number: int) -> int:
    """Return the seed of a trial: 31 bits of SHA-256 over the study's seed and its place."""
    digest = hashlib.sha256(f"{study_seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Scheduler:
    """Decides what runs next, and remembers why the rest waits."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._night = desk.night
        self._held_since: dict[Waiter, float] = {}
        #: What `look_at_waits` saw last.
        self._waits: dict[Waiter, tuple[Why, float]] = {}

    def fill(self) -> None:
        """Start, ask for, create and end whatever it is time for."""
        night = self._night
        everything = night.state.studies.values()
        studies = [s for s in everything if s.living or queue.could_run(s, night)]
        night.shares.settle(studies, night.at)
        night.placement.let_go(night.asked_lately)
        while True:
            plan = queue.next_item(night, self._held_since)
            self._held_since = plan.held_since
            if plan.item is None:
                break
            self._do(plan.item)
        self._make_room()

    def look_at_waits(self) -> Mapping[Waiter, tuple[Why, float]]:
        """Return why each trial waits, and since when it was seen to (monotonic seconds)."""
        before, at = self._waits, self._night.at
        self._waits = {}
        for waiter, why in queue.waits(self._night, self._held_since).items():
            known = before.get(waiter, (None, at))
            self._waits[waiter] = why, known[1] if known[0] is why else at
        return self._waits

    def suggested(self, event: e.Suggested) -> None:
        """Create the trial that a search was asked for."""
        if not self._answered_ask(event.study, event.trial):
            return
        study, placement = self._night.state.studies[event.study], self._night.placement
        placement.let_go(self._night.asked_lately)
        if not study.unproposed:
            return  # fewer trials are wanted than when it was asked for
        first = study.tried.get(variety.identity(event.params))
        mistake = study.mistakes.region_of(event.params)
        self._desk.record(
            f.TrialCreated(
                study=study.id,
                trial=event.trial,
                params=event.params,
                seed=trial_seed(study.spec.seed, "trial", event.trial),
                role=Role.SEARCH,
                dimensions=event.dimensions,
                attrs=dict(event.attrs),
            ),
            event.at,
        )
        too_large = placement.too_large(study, event.params)
        trial = study.trials[event.trial]
        if first is not None:
            self._refuse(study, trial, Refused(why="duplicate", duplicate_of=first))
        elif too_large is not None:
            needed, there = too_large
            reason = Refused(why="memory", needed_bytes=needed, available_bytes=there)
            self._refuse(study, trial, reason)
        elif mistake is not None:
            region, like = mistake
            fact = f.TrialHeld(study=study.id, trial=trial.number, region=region, like=like)
            self._desk.record(fact, event.at)

    def _refuse(self, study: Study, trial: Trial, reason: Refused) -> None:
        """End a trial without a process. The search is asked again, but not for ever."""
        at = self._night.at
        self._desk.end_unstarted(study, trial, reason, at)
        there, tried = variety.size(study.spec.space), len(study.tried)
        if there is not None and tried >= there:
            text = f"all {there} configurations of the space have been tried"
            self._desk.end_search(study, "exhausted", text, at)
        elif study.refused < _REFUSED_AT_MOST:
            return
        elif study.repeated == study.refused:
            text = f"{study.refused} proposals in a row repeat configurations that were tried"
            if there is not None:
                text += f" ({tried} of {there} were)"
            self._desk.end_search(study, "exhausted", text, at)
        else:
            repeat = f", {study.repeated} repeat earlier ones" if study.repeated else ""
            sentence = (
                f"{study.refused - study.repeated} of {study.refused} configurations in a row need"
                f" more memory than any device has{repeat}: narrow the space"
            )
            if not study.repeated:
                sentence = (
                    f"{study.refused} configurations in a row need more memory than any device"
                    " has: narrow the space"
                )
            self._desk.halt(study, "space_exhausted", sentence, at)

    def halt_without_device(self) -> None:
        """Halt the studies that no device here may run."""
        for study in self._night.state.studies.values():
            if study.active and self._night.placement.kind_of(study) is None:
                wanted = {"gpu": "GPU", "cpu": "CPU", "auto": "device"}[study.spec.device]
                sentence = (
                    f'{study.label} has device="{study.spec.device}", and there is no {wanted} that'
                    " may be used"
                )
                self._desk.halt(study, "no_device", sentence, self._night.at)

    def suggest_failed(self, event: e.SuggestFailed) -> None:
        """Halt a study whose search can't go on."""
        if not self._answered_ask(event.study, event.trial):
            return
        study = self._night.state.studies[event.study]
        sentence = f"the search could not propose trial {event.trial}: {event.message}"
        self._desk.halt(study, "search_failed", sentence, event.at)

    def _answered_ask(self, study: int, trial: int) -> bool:
        """Take back an `Ask`; False where nobody wants the answer any more."""
        asked = self._night.asked
        numbers = asked.get(study, {})
        if trial not in numbers:
            return False
        del numbers[trial]
        if not numbers:
            del asked[study]
        return True

    def _make_room(self) -> None:
        night = self._night
        for trial in preempt.victims(night):
            live = trial.live
            assert live is not None
            self._desk.pause(trial, "study", "an urgent study goes first", night.at)
            if preempt.killed_lost_s(trial) <= preempt.MOST_LOST_S:
                at = night.at
                self._desk.ladders.needed(live.key, at + _ROOM_TERM_S, at + _ROOM_KILL_S)

    def _do(self, item: Item) -> None:
        night = self._night
        match item:
            case items.StartWaiting():
                self._start(item.study, item.trial, item.place)
            case items.CreateBaseline():
                self._create_baseline(item.study)
            case items.AskForTrial():
                asked = item.study.id, item.number
                night.asked.setdefault(item.study.id, {})[item.number] = night.at
                if item.place is not None:
                    kind, start, wish = item.place.kind, item.place.start, item.place.wish
                    night.placement.keep(kind, asked, start, wish, night.at)
                self._desk.out.append(a.Ask(study=item.study.id, trial=item.number))
            case items.CreateConfirmations():
                self._create_confirmations(item.study, item.of)
            case items.EndStudy():
                self._end_study(item.study)
            case items.WaitForWord():
                self._wait_for_word(item.study)
            case items.TakeOff():
                for pause in item.trials:
                    self._desk.take_off(pause, night.at)
            case _:
                assert_never(item)

    def _start(self, study: Study, trial: Trial, place: Place | None) -> None:
        points = trial.resume_points()
        key = AttemptKey(study.id, trial.number, trial.attempts + 1)
        step = points[0].step if points else 0
        placement, at = self._night.placement, self._night.at
        device = self._night.device if place is None else place.start.card
        predicted = None if place is None else placement.promised(place.kind, place.start)
        self._desk.record(
            f.AttemptStarted(
                **key._asdict(),
                device=device,
                resume_step=step,
                predicted=predicted,
                probe=place is not None and place.start.probe,
                slot=self._desk.state.free_slot(device),
            ),
            at,
        )
        if place is not None:
            placement.started(place.kind, key, place.start, place.wish, at)
        if self._night.available_bytes is not None:  # as of the last tick: it will take its part
            self._night.available_bytes -= study.peak_bytes
        # One that is alone has no neighbour to be kept from: it may have all there is.
        capped = place is not None and place.kind == "gpu" and not trial.alone
        self._desk.out.append(
            a.Start(
                key=key,
                params=trial.params,
                seed=trial.seed,
                resume=tuple(a.ResumePoint(step=p.step, path=p.path) for p in points),
                best_known=study.best_score,
                device=device,
                memory_bytes=predicted.upper_bytes if predicted is not None and capped else None,
            )
        )

    def _create_baseline(self, study: Study) -> None:
        self._desk.record(
            f.TrialCreated(
                study=study.id,
                trial=0,
                params=study.spec.baseline,
                seed=trial_seed(study.spec.seed, "trial", 0),
                role=Role.BASELINE,
            ),
            self._night.at,
        )
        self._desk.out.append(a.Introduce(study=study.id, trial=0, params=study.spec.baseline))

    def _create_confirmations(self, study: Study, of: Trial) -> None:
        first = study.last_number + 1
        for index in range(study.spec.confirm):
            self._desk.record(
                f.TrialCreated(
                    study=study.id,
                    trial=first + index,
                    params=of.params,
                    # The same fresh seeds for baseline and winner: their difference is paired.
                    seed=trial_seed(study.spec.seed, "confirm", index),
                    role=Role.CONFIRMATION,
                    of=of.number,
                ),
                self._night.at,
            )

    def _wait_for_word(self, study: Study) -> None:
        """Say what a study waits for that has nothing left but known mistakes."""
        held = [study.name_of(number) for number in study.held]
        names = ", ".join(held[:3]) + (f" and {len(held) - 3} more" if len(held) > 3 else "")
        which = (
            "1 trial waits as a known mistake"
            if len(held) == 1
            else (f"{len(held)} trials wait as known mistakes")
        )
        sentence = f"all else is done, and {which} ({names}): run them, or `cancel` each of them"
        self._desk.halt(study, "known_mistakes", sentence, self._night.at)

    def _end_study(self, study: Study) -> None:
        at = self._night.at
        over = guards.study_time(study.spec, study.seconds_used(at)) is not None
        outcome: StudyOutcome = study.search_ended.outcome if study.search_ended else "done"
        if study.ended_before is not None:
            outcome = study.ended_before.outcome
        elif over and study.unproposed:
            outcome = "budget"
        fact = {"study": study.id, "outcome": outcome, "winner": study.best}
        self._desk.record(f.StudyEnded(**fact), at)  # type: ignore[arg-type]
        self._desk.close_if_over(study)
