"""The two seams below the core: a `Backend` runs attempts, a `Launcher` gives them a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from smallhours.core.actions import Start, Stop
from smallhours.core.events import Event
from smallhours.core.trial import AttemptKey

#: Hands an event to the core; may be called from any thread.
Post = Callable[[Event], None]


class Sharing(Protocol):
    """What processes of attempts share beyond themselves, and could spoil for each other."""

    def environment(self, device: str, memory_bytes: int | None) -> dict[str, str]:
        """Return what an attempt on a device needs in its environment to share it.

        Args:
            device: The device's name.
            memory_bytes: The most that torch may take of it; None: no limit.
        """
        ...

    def before_signal(self, pid: int, then: Callable[[], None]) -> None:
        """Free what a process and those of its session hold, then go on.

        Args:
            pid: Leads the session.
            then: Called once, now or after a bounded time, whatever came of it.
        """
        ...

    def ended_badly(self) -> None:
        """Look after what is shared: a process was signalled, crashed or failed."""
        ...


class NothingShared:
    """Processes that share nothing (see `Sharing`)."""

    def environment(self, device: str, memory_bytes: int | None) -> dict[str, str]:
        """Return nothing."""
        return {}

    def before_signal(self, pid: int, then: Callable[[], None]) -> None:
        """Go on at once."""
        then()

    def ended_badly(self) -> None:
        """Do nothing."""


class Backend(Protocol):
    """Runs attempts and says what became of them.

    For every `start` there is exactly one `ProcessExited`, last of all events of that attempt,
    whatever happens to the processes in between, unless `BackendLost` was posted.
    """

    async def open(self, post: Post) -> None:
        """Listen to trials; nothing that runs them is started yet."""
        ...

    def wake(self) -> None:
        """Start what runs the trials; posts `BackendReady` once attempts can be started.

        Does nothing where it is there; waits for its end where it is being let go.
        """
        ...

    def renew(self) -> None:
        """Have what runs the trials begin afresh; posts `BackendReady` again.

        Only called while no attempt lives. What studies keep warm stays.
        """
        ...

    def rest(self) -> None:
        """Let what runs the trials go, with its processes and files; posts `BackendClosed`.

        Only called while no attempt lives. What studies keep warm stays; `wake` brings it back.
        """
        ...

    def open_study(self, study: int) -> None:
        """Warm up what the study's attempts will need."""
        ...

    def close_study(self, study: int) -> None:
        """Let go of what the study's attempts needed."""
        ...

    def start(self, order: Start) -> None:
        """Run an attempt; posts what happens to it."""
        ...

    def stop(self, order: Stop) -> None:
        """Pass on to the attempt's process that it must end."""
        ...

    def dump_stack(self, key: AttemptKey) -> None:
        """Have the process write the stacks of its threads."""
        ...

    def signal(self, key: AttemptKey, signal: Literal["SIGTERM", "SIGKILL"]) -> None:
        """Send a signal to the process group of the attempt."""
        ...

    async def close(self) -> None:
        """Let everything go; afterwards no process of the backend lives."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What a launcher hands to a slot: where the study's zygote listens, and the order for it."""

    key: AttemptKey
    #: Address of the zygote (``unix:/path``).
    zygote: str
    #: The order as the zygote takes it: JSON-able, see docs/internals.md.
    order: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReturn:
    """What a slot knows of how an attempt's process ended (worker/slot.py makes it)."""

    key: AttemptKey
    exit_code: int | None = None
    signal: int | None = None
    lost_parent: Literal["slot", "zygote", "raylet"] | None = None
    zygote_died: bool = False
    #: The death note as JSON data, where there is one.
    note: dict[str, Any] | None = None
    stderr: str = ""
    fault: str = ""
    detail: str = ""
    #: Facts for debugging and benchmarks: monotonic times of start, fork, exit.
    times: dict[str, float] = field(default_factory=dict)


class Launcher(Protocol):
    """Gives processes a place: Ray Tune's slots, or threads of the engine."""

    #: Name for people and the ledger: ``ray`` or ``local``.
    name: str

    def open(
        self,
        slots: int,
        directory: str,
        ready: Callable[[], None],
        returned: Callable[[SlotReturn], None],
        lost: Callable[[str], None],
    ) -> None:
        """Start up in the background; returns at once. May be called again after `close`.

        Args:
            slots: How many attempts may run at a time.
            directory: A private directory (short path) for sockets and temporary files.
            ready: Called once, from any thread, when `start` will be served.
            returned: Called once for each started attempt, from any thread.
            lost: Called with words when the launcher can't go on.
        """
        ...

    def start(self, placed: Placed) -> None:
        """Give the attempt the next free slot; the caller never starts more than `slots`."""
        ...

    def renew(self, ready: Callable[[], None]) -> None:
        """Begin afresh in the background, with no attempt given; what is kept per attempt goes.

        Args:
            ready: Called once, from any thread, when `start` will be served again.
        """
        ...

    def dead(self) -> str | None:
        """Say what died of what the launcher stands on; None: all is well. Cheap; asked often."""
        ...

    def close(self) -> None:
        """Let all slots go; blocks until their processes and files are gone (some seconds)."""
        ...
