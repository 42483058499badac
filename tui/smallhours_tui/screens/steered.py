"""Screens from which the night can be changed: keys that ask, and what they say before."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar, Final, NamedTuple

from textual.binding import Binding, BindingType

from smallhours.core.spec import Priority
from smallhours.core.trial import TrialState
from smallhours.errors import UsageError
from smallhours.inbox import MOST_NOTE
from smallhours.snapshot import TrialView
from smallhours.snapshot.following import Following
from smallhours.snapshot.heads import Head
from smallhours.standing import read_weight
from smallhours.text import count, duration, number
from smallhours.when import parse_duration, parse_until
from smallhours_tui import wishes
from smallhours_tui.screens import questions
from smallhours_tui.screens.base import Look
from smallhours_tui.screens.questions import Question
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.wishes import Field, Wish

#: Actions that ask the engine for something; a dashboard that only looks has none of them.
CHANGING: Final = frozenset(
    {"pause", "cancel", "continue", "release", "budget", "place", "until", "yield", "note"}
)
#: Other studies that the menu offers to go before, at most; and trials that a question names.
_OTHERS: Final = 12
_NAMED: Final = 8


class Subject(NamedTuple):
    """What a key is about."""

    study: int | None
    #: None: the study as a whole.
    trial: int | None = None


class Steered(Look):
    """A screen with a study or a trial under its cursor, for which something can be asked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("P", "pause", "Pause", id="steer.pause", tooltip="pause or resume the study"),
        Binding("X", "cancel", "Cancel", id="steer.cancel"),
        Binding("C", "continue", "Continue", show=False, id="steer.continue",
                tooltip="let a stopped trial go on to its end"),
        Binding("A", "release", "Run after all", show=False, id="steer.release",
                tooltip="run what waits as a known mistake"),
        Binding("B", "budget", "Budget", show=False, id="steer.budget"),
        Binding("R", "place", "Place in the queue", show=False, id="steer.place"),
        Binding("V", "yield", "Yield the machine", show=False, id="steer.yield"),
        Binding("U", "until", "Deadline", show=False, id="steer.until"),
        Binding("n", "note", "Note", show=False, id="steer.note"),
        Binding("y", "copy", "Copy", show=False, id="steer.copy"),
    ]  # fmt: skip

    @property
    @abstractmethod
    def subject(self) -> Subject:
        """What is under the cursor."""

    @property
    def chosen(self) -> Sequence[int]:
        """The trials that are to be cancelled: those marked, else the one under the cursor."""
        trial = self.subject.trial
        return () if trial is None else (trial,)

    def row_text(self) -> str:
        """Return the row under the cursor as text; empty: there is none."""
        return ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave out what would change anything where one only looks."""
        if action in CHANGING and not self.dashboard.may_ask:
            return False
        return super().check_action(action, parameters)

    # -- asking

    def action_pause(self) -> None:
        """Ask for the study to be paused, or to go on."""
        found = self._study()
        if found is None:
            return
        _, head = found
        name = self.say(head.name)
        if gone := head.gone:
            self._tell(f"{gone}: there is nothing to pause")
        elif head.held:
            held = "halted: " + head.halted.sentence if head.halted else "paused"
            told = f"It is {held.rstrip('.')}. Its trials go on from their checkpoints."
            wish = wishes.resume(head)
            title = f"Let {name} go on?"
            self._confirm("pause", title, told, wish, yes="Let it go on", no="Leave it")
        else:
            told = (
                "What runs of it saves a checkpoint and leaves the machine; nothing of it starts"
                " until it is resumed. Others take its places."
            )
            wish = wishes.pause(head)
            self._confirm("pause", f"Pause {name}?", told, wish, yes="Pause", no="Let it run")

    def action_cancel(self) -> None:
        """Ask for trials, or a study, to be given up."""
        found = self._study()
        if found is None:
            return
        ledger, head = found
        if self.chosen:
            self._cancel_trials(ledger, head, self.chosen)
            return
        if gone := head.gone:
            self._tell(f"{gone}: there is nothing to cancel")
            return
        view = ledger.study(head.id)
        running = count(len(view.running_since), "running trial")
        told = (
            f"{view.ended} of {view.spec.trials} trials are over and stay. {running} will be"
            " ended, no other will start. This can't be taken back."
        )
        title = f"Cancel all of {self.say(head.name)}?"
        wish = wishes.cancel(head, None)
        self._confirm("cancel", title, told, wish, yes="Cancel the study", no="Keep it")

    def action_continue(self) -> None:
        """Ask for a stopped trial to go on."""
        self._question("continue", questions.continue_)

    def action_release(self) -> None:
        """Ask for what waits as a known mistake to be run."""
        self._question("release", questions.release)

    def action_budget(self) -> None:
        """Ask for more, or fewer, trials of the study, or another limit of time."""
        found = self._study()
        if found is None:
            return
        ledger, head = found
        if head.nameless:
            self._tell(f"{head.name} was put away: it has no budget any more")
            return
        told = f"{ledger.study(head.id).ended} of {head.spec.trials} trials are over."
        if head.held:
            told += " It is halted or paused: another budget lets it go on."
        elif head.ended is not None:
            told += " It is over: more trials, or more time, take it up again."
        limit = head.spec.study_time_s
        fields = (
            Field("trials", "trials in all", str(head.spec.trials)),
            Field("time", "time that they may run in all", _typed(limit), "10h, or none"),
        )
        read = partial(_read_budget, ledger, head)
        title = f"Budget of {self.say(head.name)}"
        self._form("budget", title, told, *fields, read=read, yes="Change it")

    def action_place(self) -> None:
        """Offer other places in the queue."""
        found = self._study()
        if found is None:
            return
        ledger, head = found
        if gone := head.gone:
            self._tell(f"{gone}: it has no place in the queue")
            return
        ids = [view.id for view in self.feed.night.studies if view.outcome is None]
        others = [ledger.head(i) for i in ids if i != head.id][:_OTHERS]
        choices = {
            "stay": "leave it where it is",
            "to first": "first of its priority",
            **{f"before {other.id}": f"before {self.say(other.name)}" for other in others},
            "to last": "last of its priority",
            **{f"priority {p}": f"priority {p}" for p in Priority if p is not head.place.priority},
            "weight": f"another weight than {number(head.place.weight)}",
        }
        title = f"place of {self.say(head.name)}"
        self.offer("place", title, choices, partial(self._place, ledger, head))

    def action_yield(self) -> None:
        """Ask for the machine, or give it back to the queue."""
        night = self.feed.night
        if not night.running:
            self._tell("no engine runs: nothing of smallhours is on the machine")
            return
        if night.plans is not None and night.plans.yielded_until is not None:
            told = "The queue goes on from its checkpoints."
            title, wish = "Take the machine back now?", wishes.take_back()
            self._confirm("yield", title, told, wish, yes="Take it back", no="Leave it")
            return
        running = count(len(night.runs), "running trial")
        told = f"{running} will be saved and taken off; all goes on by itself afterwards."
        line = Field("for", "for how long", hint="1h")
        self._form("yield", "Yield the machine", told, line, read=_read_yield, yes="Yield")

    def action_until(self) -> None:
        """Ask for a deadline."""
        told = "All is over by then; what does not make it is saved and goes on the next time."
        line = Field("when", "time", hint="07:30, 8h, or none")
        self._form("until", "Deadline", told, line, read=_read_until, yes="Set it")

    def action_note(self) -> None:
        """Write a line that is kept."""
        found = self._study()
        if found is None:
            return
        ledger, head = found
        trial = self.subject.trial
        name = self.say(head.name if trial is None else f"{head.name}/{trial}")
        known = ledger.notes(head.id, trial)[-_NAMED:]
        told = "\n".join(f"{self.say(note.by)}: {self.say(note.text)}" for note in known)

        def read(typed: dict[str, str]) -> Wish | None:
            if not typed["text"]:
                raise UsageError("write a line, or press esc")
            return wishes.note(head, trial, typed["text"][:MOST_NOTE])

        line = Field("text", "", hint="a line; `show` and `why` tell it", free=True)
        self._form("note", f"Note on {name}", told, line, read=read, yes="Keep it")

    # -- copying

    def action_copy(self) -> None:
        """Offer what can be copied."""
        found = self._study()
        if found is None:
            return
        _, head = found
        trial = self.subject.trial
        name = head.name if trial is None else f"{head.name}/{trial}"
        texts = {"name": name, "command": f"smallhours why {name}", "row": self.row_text()}
        choices = {key: f"{key}: {self.say(text)[:60]}" for key, text in texts.items() if text}
        self.offer("copy", "copy", choices, lambda key: self._copy(texts[key]) if key else None)

    def _copy(self, text: str) -> None:
        from smallhours_tui import copying

        self.app.copy_to_clipboard(text)
        file = copying.write(text)
        also = "" if file is None else f" It is in {file} as well."
        self._tell(f"Sent to the terminal's clipboard (OSC 52).{also}")

    # -- how; what pops up is imported when it does

    def offer(
        self,
        action: str,
        title: str,
        choices: Mapping[str, str],
        then: Callable[[str | None], None],
        current: str = "",
    ) -> None:
        """Offer a menu, and hand on the key of what is chosen, None where nothing is.

        Args:
            action: The action that does so; its keys close the menu, too.
            title: Inert; what is chosen.
            choices: Inert words by key.
            then: What to do with it.
            current: The key that is chosen now.
        """
        from smallhours_tui.screens.menu import Menu

        self.app.push_screen(Menu(title, choices, current, close_keys=self.keys(action)), then)

    def keys(self, action: str) -> list[str]:
        """Return the keys that an action has here."""
        known = self.active_bindings.items()
        return [key for key, active in known if active.binding.action == action]

    def _study(self) -> tuple[Following, Head] | None:
        ledger, study = self.feed.ledger, self.subject.study
        return None if ledger is None or study is None else (ledger, ledger.head(study))

    def _tell(self, text: str) -> None:
        self.dashboard.tell(text)

    def _question(
        self, action: str, about: Callable[[Following, Head, int | None], Question | str]
    ) -> None:
        """Ask what is to be asked about the subject, or tell why there is nothing to ask."""
        found = self._study()
        if found is None:
            return
        asked = about(*found, self.subject.trial)
        if isinstance(asked, str):
            self._tell(asked)
            return
        title = self.say(asked.title)
        self._confirm(action, title, asked.told, asked.wish, yes=asked.yes, no=asked.no)

    def _confirm(self, action: str, title: str, told: str, *asked: Wish, yes: str, no: str) -> None:
        from smallhours_tui.screens.dialogs import Confirm

        lines: list[list[Cell]] = [[(self.say(line), "")] for line in told.splitlines()]
        dialog = Confirm(title, lines, yes=yes, no=no, close_keys=self.keys(action))
        self.app.push_screen(dialog, lambda sure: self.dashboard.ask(*asked) if sure else None)

    def _form(
        self,
        action: str,
        title: str,
        told: str,
        *fields: Field,
        read: wishes.Reader,
        yes: str,
    ) -> None:
        from smallhours_tui.screens.dialogs import Form

        lines: list[list[Cell]] = [[(self.say(line), "")] for line in told.splitlines()]
        form = Form(title, lines, fields, read=read, yes=yes, close_keys=self.keys(action))
        self.app.push_screen(form, lambda wish: self.dashboard.ask(wish) if wish else None)

    def _cancel_trials(self, ledger: Following, head: Head, numbers: Sequence[int]) -> None:
        views = [ledger.trial(head.id, n) for n in numbers]
        open_ = [view for view in views if view.state is not TrialState.ENDED]
        if not open_:
            over = f"{views[0].name} is" if len(views) == 1 else "they are"
            self._tell(f"{over} over: there is nothing to cancel")
            return
        named = [f"{view.name}: {_spent(view)}" for view in open_[:_NAMED]]
        if len(open_) > _NAMED:
            named.append(f"and {len(open_) - _NAMED} more")
        what = self.say(open_[0].name) if len(open_) == 1 else count(len(open_), "trial")
        asked = [wishes.cancel(head, view.number) for view in open_]
        told = "\n".join([*named, "This can't be taken back."])
        self._confirm("cancel", f"Cancel {what}?", told, *asked, yes="Cancel", no="Keep")

    def _place(self, ledger: Following, head: Head, chosen: str | None) -> None:
        what, _, which = (chosen or "stay").partition(" ")
        match what:
            case "to":
                self.dashboard.ask(wishes.move(head, to=which))
            case "before":
                self.dashboard.ask(wishes.move(head, before=ledger.head(int(which))))
            case "priority":
                self.dashboard.ask(wishes.move(head, priority=which))
            case "weight":
                line = Field("weight", "weight", number(head.place.weight))
                told = "Its share of the machine beside others of its priority."
                read = partial(_read_weight, head)
                title = f"Weight of {self.say(head.name)}"
                self._form("place", title, told, line, read=read, yes="Change it")


def _spent(view: TrialView) -> str:
    """Return what of a trial would be thrown away."""
    if not view.attempts:
        return "it has not started"
    saved = max((saved.step for saved in view.checkpoints), default=0)
    kept = f"a checkpoint of step {saved}" if saved else "no checkpoint"
    return f"{duration(view.seconds)}, step {view.last_step}, {kept}"


def _typed(seconds: float | None) -> str:
    """Return a limit as somebody would type it."""
    return "none" if seconds is None else f"{seconds / 3600:g}h"


def _read_budget(ledger: Following, head: Head, typed: dict[str, str]) -> Wish | None:
    try:
        trials = int(typed["trials"])
    except ValueError:
        trials = 0
    if trials < 1:
        raise UsageError(f"trials: expected a number above 0, got {typed['trials']!r}")
    time_s = head.spec.study_time_s
    if typed["time"] != _typed(time_s):  # what is shown may be rounded
        time_s = None if typed["time"] in ("", "none") else parse_duration(typed["time"])
    if (trials, time_s) == (head.spec.trials, head.spec.study_time_s):
        return None
    return wishes.budget(ledger.added(head.id), head.spec, trials, time_s)


def _read_yield(typed: dict[str, str]) -> Wish | None:
    now = datetime.now().astimezone().timestamp()
    return wishes.yield_(now + parse_duration(typed["for"]), now)


def _read_until(typed: dict[str, str]) -> Wish | None:
    now = datetime.now().astimezone()
    at = None if typed["when"] == "none" else parse_until(typed["when"], now)
    return wishes.until(at, now.timestamp())


def _read_weight(head: Head, typed: dict[str, str]) -> Wish | None:
    weight = read_weight(typed["weight"])
    return None if weight == head.place.weight else wishes.move(head, weight=weight)
