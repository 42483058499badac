"""What engine and supervisor leave with, and what it means for the one who waits."""

from __future__ import annotations

#: The engine ended in good order (the queue is dry, or it was told to).
DONE = 0
#: The ledger can't be used: damaged, of another version, held by another engine.
LEDGER = 4
#: The engine died again and again, or could not start.
ENGINE_FAILED = 3
#: An error of ours.
BUG = 70
#: The ledger can't grow: no room on disk.
DISK_FULL = 74
#: What runs the trials was lost (Ray died): a fresh engine goes on.
AGAIN = 75

#: After these the engine is not started again.
FINAL = frozenset({DONE, LEDGER, DISK_FULL})
