"""Run studies/digits.py from an empty state directory, and read what came out (`make demo`)."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

STUDY = Path(__file__).resolve().with_name("digits.py")
#: Each kind of end, and the steps of a whole trial for those that were cut short by a rule.
ENDS = """
    SELECT reason, count(*) FROM event WHERE kind = 'attempt_ended' GROUP BY reason ORDER BY 2 DESC
"""
CUT = """
    SELECT e.trial, json_extract(e.body, '$.last_step'), json_extract(e.body, '$.seconds')
    FROM event e WHERE e.kind = 'attempt_ended' AND e.reason IN ('rule_cut', 'rung_cut')
    ORDER BY 2
"""
#: The rarest reason that is neither an ordinary end nor a rule's, else the winner.
OTHER = """
    SELECT trial FROM event WHERE kind = 'attempt_ended'
    AND reason NOT IN ('completed', 'rule_cut', 'rung_cut')
    UNION ALL SELECT json_extract(body, '$.winner') FROM event WHERE kind = 'study_ended'
"""


class Demo:
    """A state directory of its own, and the commands a user would type in it."""

    def __init__(self, home: str) -> None:
        self._env = {**os.environ, "SMALLHOURS_HOME": home}
        self._ledger = f"file:{home}/ledger.db?mode=ro"

    def type(self, *words: str) -> int:
        """Show a command as a user would type it, run it, and return its exit code."""
        print(f"\n$ smallhours {shlex.join(words)}", flush=True)
        command = Path(sys.executable).with_name("smallhours")
        return subprocess.run([command, *words], env=self._env, check=False).returncode

    def query(self, sql: str) -> list[tuple[str | int | float, ...]]:
        """Read the ledger, a documented SQLite file."""
        with closing(sqlite3.connect(self._ledger, uri=True)) as db:
            return db.execute(sql).fetchall()

    def sum_up(self) -> None:
        """Print how the trials ended and what stopping them early saved."""
        ends = ", ".join(f"{count} {reason}" for reason, count in self.query(ENDS))
        print(f"\nHow the trials ended: {ends}.")
        ((steps,),) = self.query(
            "SELECT json_extract(body, '$.spec.steps') FROM event WHERE kind = 'study_added'"
        )
        ((done,),) = self.query("SELECT count(*) FROM report")
        cut = self.query(CUT)
        saved = sum(int(steps) - int(last) for _, last, _ in cut)
        seconds = sum(float(spent) * (int(steps) - int(last)) / int(last) for _, last, spent in cut)
        print(
            f"Stopping {len(cut)} trials early saved {saved} of {saved + int(done)} epochs:"
            f" about {seconds:.0f} s on one core."
        )

    def tell_why(self) -> None:
        """Have two ends explained: the trial that was stopped last, and one of another kind."""
        cut = [trial for trial, *_ in self.query(CUT)]
        others = [trial for (trial,) in self.query(OTHER) if trial is not None]
        for trial in (*cut[-1:], *others[:1]):
            self.type("why", f"digits/{trial}")


def main() -> int:
    """Run the study, which ends with best against baseline, and ask why; returns its exit code."""
    home = tempfile.mkdtemp(prefix="smallhours-demo-")
    demo = Demo(home)
    code = demo.type("run", os.path.relpath(STUDY))
    if code:
        print(f"\nThe run left with {code}. What there is of it lies in {home}.")
        return code
    demo.sum_up()
    demo.tell_why()
    print(f"\nLook around: SMALLHOURS_HOME={home} smallhours show digits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
