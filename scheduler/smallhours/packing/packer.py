"""Decides which trial starts next on which card, and which admission is undone.

Fed with what happens (`launched`, `reported`, `ended`, ...), asked with `next`. It keeps no clock
and draws no lots: same calls, same answers. What it learned is `learned`, plain data that another
session begins with.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from smallhours.packing import probes, rooms, timing, work
from smallhours.packing.cards import (
    SETTLED_REPORTS,
    Card,
    Deck,
    Obstacle,
    Pause,
    Runner,
    Start,
    Wish,
    total_compute,
)
from smallhours.packing.holds import Hold, Holds
from smallhours.packing.knowledge import Knowledge, Learned
from smallhours.packing.load import FEARED, HOPED, LEAST_GAIN, LIKELY, Demand, Doubt, Sharing
from smallhours.packing.order import Turns
from smallhours.packing.probes import first, is_over
from smallhours.packing.surplus import ready_for_more, surplus

#: By so much the cap rises when a trial ends well.
_CAP_RISES: Final = 1.02
#: Standard error (relative) of a pace that a process measured of itself.
_MEASURED_ERROR: Final = 0.05
#: Cards whose gains are this near are alike: the tightest fit decides.
_ALIKE: Final = 0.1


class Packer:
    """Packs trials onto cards."""

    def __init__(
        self,
        cards: Iterable[Card],
        *,
        sharing: Sharing = "time_slicing",
        learned: Learned | None = None,
        turns: Turns | None = None,
        know: Knowledge | None = None,
    ) -> None:
        """Begin a session.

        Args:
            cards: What there is.
            sharing: How the cards are shared.
            learned: What earlier sessions learned.
            turns: Whose turn it is; None: nobody was served yet.
            know: What is known of studies; None: what was learned.
        """
        self.know = know or Knowledge(sharing, learned)
        self.turns = turns or Turns()
        self._caps = learned.caps if learned is not None else {}
        self._decks: dict[str, Deck] = {}
        for card in cards:
            self._decks[card.name] = Deck(card, cap=self._caps.get(card.name))
        self._where: dict[str, Deck] = {}
        self._holds = Holds()
        self._settled_at = 0.0
        #: Progress and compute of what is on each card, while one question is answered.
        self._sums: dict[tuple[str, Hashable, Doubt], float] = {}
        #: Rises whenever `next` may have another answer than before, time apart.
        self.changes = 0
        #: Why each trial waits, as of the latest `next` that found nothing to do.
        self.obstacles: dict[str, Obstacle] = {}

    @property
    def learned(self) -> Learned:
        """What outlives the session."""
        caps = {name: deck.cap for name, deck in self._decks.items()}
        return replace(self.know.learned(), caps=caps)

    def deck(self, card: str) -> Deck:
        """Return a card with what is on it."""
        return self._decks[card]

    @property
    def busy(self) -> bool:
        """Whether anything is on the cards."""
        return any(deck.runners for deck in self._decks.values())

    @property
    def decks(self) -> list[Deck]:
        """The cards with what is on them."""
        return [*self._decks.values()]

    # --- what happens -----------------------------------------------------------------------

    def see(self, card: Card) -> None:
        """Take note of a card as it is now."""
        deck = self._decks.get(card.name)
        if deck is not None and deck.card == card:
            return
        self.changes += 1
        if deck is None:
            self._decks[card.name] = Deck(card, cap=self._caps.get(card.name))
        else:
            deck.card = card

    def started(self, start: Start, wish: Wish, at: float) -> None:
        """Take note that a trial was given its place."""
        self._settle(at)
        self.changes += 1
        deck = self._decks[start.card]
        runner = Runner(
            wish, start.bound, start.probe, start.kept_bytes, steps_left=wish.steps_left
        )
        deck.runners[start.key] = runner
        for other in self._decks.values():
            if other.kept_for == start.key:
                other.kept_for = None
        self._where[start.key] = deck
        self._holds.started(start.key)

    def launched(self, key: str, at: float) -> None:
        """Take note of a trial's first word."""
        self._settle(at)
        self.changes += 1
        deck = self._where[key]
        deck.runners[key].launched_at = at
        timing.take_in_rest(self.know, deck, at)
        deck.guard.came(key, at)

    def saves(self, key: str) -> None:
        """Take note that a trial can be paused to a checkpoint: its study was seen to save."""
        runner = self._where[key].runners[key]
        if not runner.wish.saves:
            runner.wish = replace(runner.wish, saves=True)
            self.changes += 1

    def reported(
        self, key: str, at: float, *, peak_bytes: int | None = None, busy: float | None = None
    ) -> Pause | None:
        """Take note of a report; answer with what must be undone now.

        Args:
            key: Whose.
            at: When.
            peak_bytes: The trial's peak so far; None: not measured.
            busy: Share of the time that the card is busy with it, where it is alone; None: unknown.
        """
        self._settle(at)
        deck = self._where[key]
        runner = deck.runners[key]
        runner.reports += 1
        runner.steps_left -= 1
        if peak_bytes is not None:
            runner.peak_bytes = max(peak_bytes, runner.peak_bytes or 0)
        if busy is not None:
            runner.busy = busy
        deck.guard.reported(key, at)
        if runner.settled and runner.reports == SETTLED_REPORTS:
            self.know.measured(runner)
            self.changes += 1
        over = runner.probe and is_over(runner, deck.card, at)
        if timing.take_in(self.know, deck, key, at, at_least=1 if over else None):
            self.changes += 1
        if over:
            self._probed(runner)
            runner.probe = False
            self.changes += 1
        return self._judge(deck, at) or self._surplus(deck)

    def ended(self, key: str, at: float, *, peak_bytes: int | None, well: bool) -> Runner:
        """Take note that a trial is off its card; return what was known of it there.

        Args:
            key: Whose.
            at: When.
            peak_bytes: Its peak; None: not measured.
            well: It did not run out of memory.
        """
        self._settle(at)
        self.changes += 1
        deck = self._where.pop(key)
        timing.take_in_rest(self.know, deck, at)
        runner = deck.runners.pop(key)
        self.know.forget(runner)
        deck.guard.went(key, at)
        deck.left_at = at
        deck.shut = False
        # Who never got through a step has not shown what it needs, unless it was too much.
        shown = not well or (runner.reports > 0 and not runner.settled)
        if peak_bytes is not None and shown:
            runner.peak_bytes = peak_bytes
            self.know.measured(runner)
        if well and runner.probe and runner.reports:  # it was over before it was watched for long
            self._probed(runner)
        if well and not runner.pausing and deck.cap is not None:
            deck.cap *= _CAP_RISES
        return runner

    def withdrawn(self, key: str) -> None:
        """Take note that a trial for which a place was kept will not come."""
        self.changes += 1
        self.know.forget(self._where.pop(key).runners.pop(key))

    def measured(self, key: str, busy: float, weight: float, step_s: float | None) -> None:
        """Take note of what a trial asks of cores.

        Args:
            key: Whose.
            busy: Share of the time that it computes.
            weight: Share of the cores that it fills meanwhile.
            step_s: Seconds that a step takes it alone; None: how long it waited for cores is not
                known, and what it asks for counts only if there were enough of them.
        """
        deck = self._where[key]
        runner = deck.runners[key]
        if step_s is not None:
            runner.paced = True
            self.know.timed([runner], runner, step_s * deck.card.speed, _MEASURED_ERROR)
        else:
            others = [other for name, other in deck.runners.items() if name != key]
            together = busy * weight + total_compute(self.know.demand(o.wish) for o in others)
            if deck.guard.trials != [key] and together > deck.card.sure:
                return
        runner.busy, runner.weight = busy, weight
        if not runner.probe:
            self._probed(runner)
        self.changes += 1

    # --- what to do -------------------------------------------------------------------------

    def next(self, wishes: Sequence[Wish], at: float) -> Start | list[Pause] | None:
        """Return what to do next; None: nothing now.

        Args:
            wishes: All trials that could be started, in any order.
            at: Now.
        """
        self._settle(at)
        self._sums.clear()
        self.obstacles = {}
        running = {r.wish.study for deck in self.decks for r in deck.runners.values()}
        there_is = work.of(self.decks, wishes, self.know)
        ordered = self.turns.order(wishes, running, there_is, self.know.known)
        rooms.claim(self.decks, ordered, self.know)
        unknown = {wish.key for wish in wishes if not self.know.known(wish.study)}
        for deck in self._decks.values():
            if deck.kept_for not in unknown:
                deck.kept_for = None
        hold: Hold | None = None
        probed: set[str] = set()
        for wish in ordered:
            if not self.know.known(wish.study):
                self._refuse(wish, hold)
                if wish.study in probed:
                    continue
                probed.add(wish.study)
                found = self._probe(first(wish, wishes, self._decks.values()), at)
                if found is not None:
                    return found
                continue
            decks = [d for d in self._decks.values() if self._admits(d, wish, hold, at)]
            if decks:
                deck = self._best(decks, wish)
                return Start(wish.key, deck.card.name, self.know.bound(wish), probe=False)
            self._refuse(wish, hold)
            if hold is None or wish.study in self.turns.owed:
                own = self._holds.hold(self.decks, wish, self.know, self.turns, at)
                if own is not None and own.pauses:
                    return [*own.pauses]
                hold = hold or own
        return None

    # --- inside -----------------------------------------------------------------------------

    def _refuse(self, wish: Wish, hold: Hold | None) -> None:
        bound = self.know.bound(wish)
        self.obstacles[wish.key] = rooms.obstacle(self.decks, wish, bound, hold)

    def _probed(self, runner: Runner) -> None:
        self.know.loads.probed(runner.wish.study, runner.busy, runner.weight)

    def _demands(self, deck: Deck) -> list[Demand]:
        return [self.know.demand(runner.wish) for runner in deck.runners.values()]

    def _progress(self, deck: Deck, newcomer: Wish | None, doubt: Doubt) -> float:
        """Return the progress of a card's trials, with one more if given."""
        what = deck.card.name, None if newcomer is None else self.know.kind(newcomer), doubt
        found = self._sums.get(what)
        if found is None:
            there = [runner.wish for runner in deck.runners.values()]
            there += [] if newcomer is None else [newcomer]
            found = self._sums[what] = self.know.progress(there, doubt)
        return found

    def _settle(self, at: float) -> None:
        """Count what each study was served since the last event: its part of the cards' time.

        Of compute and memory, that of which it has more counts (dominant resource fairness, A.
        Ghodsi and others, NSDI 2011): where memory is short, little compute is no excuse.
        """
        span = at - self._settled_at
        self._settled_at = at
        if span <= 0.0:
            return
        for deck in self._decks.values():
            running = [r for r in deck.runners.values() if r.launched_at is not None]
            slowdowns = self.know.slowdowns([runner.wish for runner in running])
            for runner, slow in zip(running, slowdowns, strict=True):
                compute = self.know.demand(runner.wish).compute / slow
                part = max(compute, runner.share_of(deck.card))
                self.turns.serve(runner.wish.study, span * part)

    def _judge(self, deck: Deck, at: float) -> Pause | None:
        alone = {key: r.alone for key, r in deck.runners.items() if r.alone is not None}
        verdict = deck.guard.judge(at, alone)
        if verdict is None:
            return None
        self.changes += 1
        newcomer = deck.runners[verdict.newcomer]
        if not verdict.fell or self._sure(deck):
            return None
        there = [r for r in deck.runners.values() if r is not newcomer]
        own = self.know.demand(newcomer.wish).compute
        deck.cap = max(total_compute(self.know.demand(runner.wish) for runner in there), own)
        if not newcomer.wish.saves:
            deck.shut = True
            return None
        if not newcomer.can_pause:
            return None
        newcomer.pausing = True
        fell = f"progress on the card fell from {verdict.before:.2f} to {verdict.after:.2f} with it"
        return Pause(verdict.newcomer, f"{fell} (a trial alone makes 1)")

    def _surplus(self, deck: Deck) -> Pause | None:
        """Undo what is known by now to cost more progress than it brings."""
        found = None if self._sure(deck) else surplus(deck, self.know, self.turns.behind)
        if found is None:
            return None
        found.pausing = True
        self.changes += 1
        return Pause(found.wish.key, "the card gets on better without it")

    def _sure(self, deck: Deck) -> bool:
        """Whether the trials on a card are known not to hurt each other."""
        return total_compute(self._demands(deck)) <= deck.card.sure

    def _admits(self, deck: Deck, wish: Wish, hold: Hold | None, at: float) -> bool:
        bound = self.know.bound(wish)
        if deck.card.closed or deck.shut or deck.full or bound is None:
            return False
        if deck.kept_for not in (None, wish.key) and (deck.clears or not wish.saves):
            return False
        if not deck.runners:
            fits = rooms.fits_empty(self.decks, deck, bound)
            return fits and rooms.leaves_claim(self.decks, deck, wish, self.know)
        if wish.alone or deck.free_bytes < bound.upper_bytes:
            return False
        if not rooms.leaves_claim(self.decks, deck, wish, self.know):
            return False
        if hold is not None and not hold.lets(deck, wish, bound, self.know, at):
            return False
        return self._pays(deck, wish, at)

    def _pays(self, deck: Deck, wish: Wish, at: float) -> bool:
        together = total_compute(self._demands(deck)) + self.know.demand(wish).compute
        if deck.cap is not None and together > deck.cap:
            return False
        if self.know.loads.sharing == "cores":  # what trials want of them is measured
            return self._gain(deck, wish, LIKELY) > LEAST_GAIN
        if self._gain(deck, wish, HOPED) <= LEAST_GAIN:
            return False
        if self._gain(deck, wish, FEARED) > LEAST_GAIN:
            return True
        return ready_for_more(deck, self._gain(deck, wish, LIKELY), at)

    def _gain(self, deck: Deck, wish: Wish, doubt: Doubt) -> float:
        """Return what a trial adds to the progress of a card."""
        return self._progress(deck, wish, doubt) - self._progress(deck, None, doubt)

    def _best(self, decks: list[Deck], wish: Wish) -> Deck:
        """Return the card where it adds most; of those that are alike, the tightest fit."""
        gains = [(self._gain(deck, wish, HOPED) * deck.card.speed, deck) for deck in decks]
        most = max(value for value, _ in gains)
        near = [deck for value, deck in gains if value >= most - _ALIKE]
        return min(near, key=lambda deck: deck.free_bytes)

    def _probe(self, wish: Wish, at: float) -> Start | list[Pause] | None:
        """Return how the first trial of a study comes to be watched; None: not now."""
        decks = [deck for deck in self._decks.values() if not deck.card.closed]
        if self.know.loads.sharing == "cores":
            return probes.on_cores(decks, wish, lambda deck: self._pays(deck, wish, at))
        return probes.alone(decks, wish, self.know)
