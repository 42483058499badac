"""A workload under the production core, beside the best schedule found and one trial a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smallhours.core.rule import RuleFactory
from smallhours.simulate.cards import Outcome, Run
from smallhours.simulate.night import CoreRun
from smallhours.simulate.oracle import TRIES, Oracle
from smallhours.simulate.policies import AllKnown, Packed, Slots
from smallhours.simulate.workload import Workload


@dataclass(frozen=True, slots=True)
class Result:
    """What is printed of a simulation."""

    workload: Workload
    outcome: Outcome
    exclusive: Outcome
    oracle_s: float
    #: Schedules that the oracle tried.
    tries: int

    @property
    def ratio(self) -> float:
        """Makespan, the oracle's being 1."""
        return self.outcome.makespan_s / self.oracle_s

    def as_json(self) -> dict[str, Any]:
        """Return all of it as data; docs/simulate.md says what the keys are."""
        outcome, span = self.outcome, self.outcome.makespan_s
        return {
            "makespan_s": span,
            "oracle_s": self.oracle_s,
            "ratio": self.ratio,
            "exclusive_s": self.exclusive.makespan_s,
            "speedup": self.exclusive.makespan_s / span,
            "overcommits": outcome.overcommits,
            "admissions": outcome.admissions,
            "oracle_tries": self.tries,
            "devices": [
                {
                    "name": card.name,
                    "bytes": card.total_bytes,
                    "mean_bytes": outcome.byte_s[card.name] / span,
                    "busy_share": outcome.busy_s[card.name] / span,
                    "progress": outcome.work_s[card.name] / span,
                }
                for card in self.workload.cards
            ],
            "studies": [
                {
                    "name": study.name,
                    "trials": len(self._own(study.name)),
                    "finished_s": max((outcome.finished_s[n] for n in self._own(study.name)),
                                      default=None),
                }
                for study in self.workload.studies
            ],
            "spans": [
                {
                    "trial": span.trial,
                    "device": span.card,
                    "start_s": span.start_s,
                    "end_s": span.end_s,
                    "ending": span.ending,
                }
                for span in outcome.spans
            ],
        }  # fmt: skip

    def _own(self, study: str) -> list[str]:
        done = self.outcome.finished_s
        return [t.name for t in self.workload.trials if t.study == study and t.name in done]


def simulate(workload: Workload, make_rule: RuleFactory, tries: int = TRIES) -> Result:
    """Run a workload.

    Args:
        workload: What to run.
        make_rule: Makes the rules of studies.
        tries: Schedules that the oracle may try.
    """
    outcome = CoreRun(workload, make_rule).go()
    packed = Run(workload, Packed(workload)).go()
    exclusive = Run(workload, Slots(workload, 1)).go()
    known = Run(workload, Packed(workload, AllKnown(workload))).go()
    best = Oracle(workload).search(tries)
    # What another policy found without running out of memory, the search might have found too.
    clean = [o.makespan_s for o in (outcome, packed, exclusive, known) if not o.overcommits]
    return Result(workload, outcome, exclusive, min([best.makespan_s, *clean]), best.tries)
