"""Run all benchmarks one after the other (`make bench`); arguments are passed on."""

from __future__ import annotations

import subprocess
import sys

from common import HERE, environment

NAMES = (
    "reading", "turnaround", "reporting", "throughput", "sharing", "nights", "endurance", "year",
    "told", "packing", "simtoreal", "cpu_slots", "stopping", "verifying", "dashboard",
)  # fmt: skip


def main() -> int:
    """Run them; returns how many failed."""
    for key, value in environment().items():
        print(f"{key}: {value}")
    failed = 0
    for name in NAMES:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), *sys.argv[1:]]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
