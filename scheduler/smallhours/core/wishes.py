"""What people ask of the queue: pause, move, yield, a deadline, putting studies away, notes."""

from __future__ import annotations

from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.desk import Desk
from smallhours.core.model import Study


class Wishes:
    """Carries out what changes when and in which order studies run, and answers each wish once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def pause(self, event: e.PauseRequested) -> None:
        """Take a study off until it is released; what runs of it saves and ends."""
        studies = self._desk.state.studies
        if event.study is not None and event.study not in studies:
            self._desk.answer(event, "pause", ok=False, text="there is no such study")
            return
        chosen = [studies[event.study]] if event.study is not None else list(studies.values())
        paused = []
        for study in chosen:
            if not (study.ended or study.retired or study.paused):
                self._desk.record(f.StudyPaused(study=study.id, by=event.by), event.at)
                self._desk.night.asked.pop(study.id, None)
                self._desk.close_if_over(study)
                paused.append(study.label)
        if paused:
            self._desk.answer(event, "pause", ok=True, text=f"paused {', '.join(paused)}")
            return
        text = f"{chosen[0].label} is {_standing(chosen[0])}" if event.study else "nothing to pause"
        self._desk.answer(event, "pause", ok=True, text=text)

    def move(self, event: e.MoveRequested) -> None:
        """Give a study another place in the queue."""
        studies = self._desk.state.studies
        study = studies.get(event.study)
        before = None if event.before is None else studies.get(event.before)
        if study is None or (event.before is not None and before in (None, study)):
            self._desk.answer(event, "move", ok=False, text="there is no such study")
            return
        if study.ended or study.retired:
            self._desk.answer(
                event,
                "move",
                ok=False,
                text=f"{study.label} is {_standing(study)}: it waits for nothing",
            )
            return
        standing = study.standing
        priority = event.priority or (before.standing.priority if before else standing.priority)
        self._desk.record(
            f.StudyMoved(
                study=study.id,
                priority=priority,
                weight=standing.weight if event.weight is None else event.weight,
                hours=standing.hours if event.hours is None else event.hours,
                place=self._place(study, event.to, before),
                by=event.by,
            ),
            event.at,
        )
        self._desk.answer(event, "move", ok=True, text=f"{study.label} is {_place(study)} now")

    def _place(self, study: Study, to: str | None, before: Study | None) -> float:
        places = sorted(
            other.standing.place
            for other in self._desk.state.studies.values()
            if other is not study
        )
        if before is not None:
            own = before.standing.place
            return (own + max((p for p in places if p < own), default=own - 2.0)) / 2.0
        if to == "first":
            return min(places, default=1.0) - 1.0
        if to == "last":
            return max(places, default=-1.0) + 1.0
        return study.standing.place

    def yield_machine(self, event: e.YieldRequested) -> None:
        """Give the machine back at once, for a while; or take it again."""
        state, wall = self._desk.state, self._desk.night.wall
        if event.until is not None and wall is not None and event.until <= wall.unix:
            self._desk.answer(event, "yield", ok=True, text="that time is over already")
            return
        if event.until is not None:
            count = len(state.live)
            fact = f.Yielded(until=event.until, by=event.by, cause="operator")
            self._desk.record(fact, event.at)
            text = f"yielding; {count} running trial{'' if count == 1 else 's'} to pause"
        elif state.yielded is not None:
            self._desk.record(f.YieldEnded(by=event.by), event.at)
            text = "going on"
        else:
            text = "the machine was not yielded"
        self._desk.answer(event, "yield", ok=True, text=text)

    def deadline(self, event: e.DeadlineRequested) -> None:
        """Have all be over by a time, or lift that."""
        wall = self._desk.night.wall
        since = event.until or 0.0 if wall is None else wall.unix
        fact = f.DeadlineSet(until=event.until, since=since, by=event.by)
        self._desk.record(fact, event.at)
        text = "no deadline" if event.until is None else "the deadline is set"
        self._desk.answer(event, "until", ok=True, text=text)

    def archive(self, event: e.ArchiveRequested) -> None:
        """Put a study that is over out of the way, or remove its files."""
        study = self._desk.state.studies.get(event.study)
        if study is None or study.removed:
            self._desk.answer(event, "archive", ok=False, text="there is no such study")
            return
        if not (study.ended or study.retired) or study.living:
            text = f"{study.label} is not over: `smallhours cancel {study.label}` ends it"
            self._desk.answer(event, "archive", ok=False, text=text)
            return
        label = study.label
        ids = {"study": study.id, "by": event.by}
        fact = f.StudyRemoved(**ids) if event.remove else f.StudyArchived(**ids)  # type: ignore[arg-type]
        self._desk.record(fact, event.at)
        self._desk.out.append(a.RemoveFiles(study=study.id, checkpoints_only=not event.remove))
        text = f"{'removed' if event.remove else 'archived'} {label}"
        self._desk.answer(event, "archive", ok=True, text=text)

    def note(self, event: e.NoteRequested) -> None:
        """Keep a line that somebody wrote."""
        study = self._desk.state.studies.get(event.study)
        if study is None or study.removed:
            self._desk.answer(event, "note", ok=False, text="there is no such study")
            return
        if event.trial is not None and study.loaded and event.trial not in study.trials:
            self._desk.answer(event, "note", ok=False, text="there is no such trial")
            return
        fact = f.StudyNoted(study=study.id, trial=event.trial, text=event.text, by=event.by)
        self._desk.record(fact, event.at)
        name = study.label if event.trial is None else study.name_of(event.trial)
        self._desk.answer(event, "note", ok=True, text=f"noted of {name}")


def _standing(study: Study) -> str:
    if study.ended:
        return study.ended.outcome if study.ended.outcome != "budget" else "out of budget"
    return "retired" if study.retired else "paused already"


def _place(study: Study) -> str:
    standing = study.standing
    words = [f"{standing.priority} priority", f"weight {standing.weight:g}"]
    if standing.hours:
        words.append(f"hours {', '.join(standing.hours)}")
    return ", ".join(words)
