"""What holds for the packer whatever the workload: capacity, no starvation, undoing restores."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from smallhours.packing.cards import Card, Start, Wish
from smallhours.packing.packer import Packer
from smallhours.simulate.cards import Begin, Order, Outcome, Run
from smallhours.simulate.interference import Interference, Load
from smallhours.simulate.policies import Packed, new_packer
from smallhours.simulate.workload import StudySpec, TrialSpec, Workload

GIB = 2**30


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Draw a small workload on one to three unequal cards."""
    sizes = draw(st.lists(st.sampled_from((4, 8, 12, 24)), min_size=1, max_size=3))
    names = [f"s{i}" for i in range(draw(st.integers(1, 3)))]
    trials = []
    for number in range(draw(st.integers(1, 14))):
        true = draw(st.floats(0.1, max(sizes) * 0.95))
        steps = draw(st.integers(1, 12))
        off = draw(st.none() | st.floats(0.4, 2.5))
        share = st.floats(0.05, 1.0)
        trials.append(
            TrialSpec(
                name=f"t{number}",
                study=draw(st.sampled_from(names)),
                arrival_s=draw(st.sampled_from((0.0, 0.0, 30.0, 200.0))),
                steps=steps,
                step_s=draw(st.floats(0.5, 40.0)),
                device_bytes=int(true * GIB),
                believed_bytes=None if off is None else int(true * off * GIB),
                load=Load(draw(share), draw(share), draw(st.floats(0, 1))),
                params={"width": draw(st.sampled_from((32, 64, 128)))},
                fails_at=draw(st.none() | st.integers(1, steps)),
            )
        )  # fmt: skip
    return Workload(
        cards=tuple(Card(name=f"g{i}", total_bytes=s * GIB) for i, s in enumerate(sizes)),
        studies=tuple(StudySpec(name=n, saves=draw(st.booleans())) for n in names),
        trials=tuple(trials),
        interference=Interference(draw(st.sampled_from(("time_slicing", "mps")))),
        jitter=draw(st.sampled_from((0.0, 0.05))),
        seed=draw(st.integers(0, 5)),
    )


class Checked(Packed):
    """Looks at the packer's promise at every start: what is bounded fits beside what is there."""

    def decide(self, at: float) -> list[Order]:
        decks = {deck.card.name: deck for deck in self.packer.decks}
        before = {name: (deck.free_bytes, len(deck.runners)) for name, deck in decks.items()}
        orders = list(super().decide(at))
        for order in orders:
            if isinstance(order, Begin):
                free, there = before[order.card]
                runner = decks[order.card].runners[order.trial]
                if there and not runner.takes_all:
                    assert runner.bound is not None
                    assert runner.bound.upper_bytes <= free
                unbounded = [r.charge_bytes is None for r in decks[order.card].runners.values()]
                assert sum(unbounded) <= 1
        return orders


def run(workload: Workload) -> Outcome:
    return Run(workload, Checked(workload)).go()


@settings(deadline=None, max_examples=60)
@given(workloads())
def test_bounds_never_exceed_a_card_and_every_trial_ends(workload: Workload):
    outcome = run(workload)
    assert outcome.left == []
    assert set(outcome.finished_s) == {trial.name for trial in workload.trials}


@settings(deadline=None, max_examples=20)
@given(workloads())
def test_the_same_workload_gives_the_same_run(workload: Workload):
    assert run(workload) == run(workload)


@settings(deadline=None, max_examples=30)
@given(workloads())
def test_what_was_learned_is_the_same_after_a_restart(workload: Workload):
    policy = Packed(workload)
    Run(workload, policy).go()
    fresh = new_packer(workload)
    again = Packer([deck.card for deck in fresh.decks], sharing=workload.interference.sharing,
                   learned=policy.packer.learned)  # fmt: skip
    assert again.learned == policy.packer.learned
    for trial in workload.trials:
        wish = Wish(key=trial.name, study=trial.study, params=trial.params, steps_left=3)
        assert again.know.bound(wish) == policy.packer.know.bound(wish)
        assert again.know.expected_s(wish) == policy.packer.know.expected_s(wish)
        assert again.know.demand(wish) == policy.packer.know.demand(wish)


@settings(deadline=None, max_examples=30)
@given(workloads(), st.integers(0, 13))
def test_taking_off_the_last_that_was_started_leaves_the_cards_as_they_were(
    workload: Workload, keep: int
):
    packer = new_packer(workload)
    wishes = [
        Wish(key=t.name, study=t.study, params=t.params, steps_left=t.steps)
        for t in workload.trials
    ]
    for study in {wish.study for wish in wishes}:
        packer.know.loads.probed(study, 0.3)
        packer.know.measure(study, {"width": 64}, GIB)
    for _ in range(keep):
        found = packer.next(wishes, 0.0)
        if not isinstance(found, Start):
            break
        packer.started(found, next(w for w in wishes if w.key == found.key), 0.0)
        wishes = [wish for wish in wishes if wish.key != found.key]
    before = [(deck.card.name, deck.free_bytes, [*deck.runners]) for deck in packer.decks]
    found = packer.next(wishes, 0.0)
    if isinstance(found, Start):
        wish = next(w for w in wishes if w.key == found.key)
        packer.started(found, wish, 0.0)
        assert before != [(d.card.name, d.free_bytes, [*d.runners]) for d in packer.decks]
        packer.ended(found.key, 0.0, peak_bytes=None, well=True)
    after = [(deck.card.name, deck.free_bytes, [*deck.runners]) for deck in packer.decks]
    assert after == before


def test_a_closed_card_gets_nothing():
    spec = Card(name="g0", total_bytes=8 * GIB)
    workload = Workload(
        cards=(spec,),
        studies=(StudySpec(name="s"),),
        trials=(TrialSpec(name="t", study="s", steps=1, step_s=1.0, device_bytes=GIB),),
    )
    packer = new_packer(workload)
    (deck,) = packer.decks
    packer.see(dataclasses.replace(deck.card, closed=True))
    wish = Wish(key="t", study="s", params={}, steps_left=1)
    assert packer.next([wish], 0.0) is None
    packer.see(dataclasses.replace(deck.card, closed=False))
    assert isinstance(packer.next([wish], 1.0), Start)
