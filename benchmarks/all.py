"""Run all benchmarks one after the other (`make bench`); arguments are passed on."""

from __future__ import annotations

import subprocess
import sys

from common import HERE, environment

NAMES = (
    "reading", "turnaround", "reporting", "throughput", "sharing", "nights", "endurance", "year",
    "told", "packing", "simtoreal", "cpu_slots", "stopping", "verifying", "dashboard", "gpu",
)  # fmt: skip
#: Those that leave with 2 on a machine without what they measure.
OPTIONAL = ("gpu",)


def main() -> int:
    """Run them; returns how many failed."""
    for key, value in environment().items():
        print(f"{key}: {value}")
    failed = 0
    for name in NAMES:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), *sys.argv[1:]]
        code = subprocess.run(command, check=False).returncode
        failed += code != 0 and not (code == 2 and name in OPTIONAL)
    return failed


if __name__ == "__main__":
    sys.exit(main())
