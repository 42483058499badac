"""What `gpu.py` finds out about CUDA itself, one question a process.

    python benchmarks/gpu_probes.py start|context|oom|mps_limit|kill UUID [TIMES]
    python benchmarks/gpu_probes.py ballast BYTES_TO_LEAVE

The answer is the last line, as JSON. The process that is started here never touches CUDA; those
that it forks do, as our trials are forked from a warm process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_card import GB, Card, held_by, newcomers, pids
from gpu_static import answer, fork, warm_up

from smallhours.core.shortage import is_shortage
from smallhours.worker import note
from smallhours.worker.limits import die_with_parent

MIB = 2**20
#: Left free of the card when a library starts.
_LEFT_MIB = (0, 64, 256)
#: What NVML says needs so long to settle after a process has made its context.
_SETTLE_S = 0.3
#: For the driver to be done with a process that was killed.
_GONE_S = 20.0
#: What is waited for after a process was killed.
_AFTER = ("reaped_s", "unlisted_s", "memory_back_s")
#: After which a ballast ends, whatever became of those who started it.
_BALLAST_LIMIT_S = 6 * 3600


def start(_card: Card, times: int) -> list[dict[str, float]]:
    """Return the seconds from the fork to the first kernel's end, and to a product's."""
    warm_up()

    def one(forked: float) -> dict[str, float]:
        torch.zeros(1, device="cuda").add_(1)
        torch.cuda.synchronize()
        kernel = time.perf_counter()
        square = torch.ones(256, 256, device="cuda")
        (square @ square).sum().item()
        return {"kernel_s": kernel - forked, "product_s": time.perf_counter() - forked}

    found = (answer(partial(one, time.perf_counter())) for _ in range(times))
    return [seconds for seconds in found if seconds is not None]


def context(card: Card, times: int) -> list[dict[str, int | None]]:
    """Return what contexts take, each beside the ones before: all that torch did not ask for."""
    found = []
    with contextlib.ExitStack() as all_held:
        for _ in range(times):
            before = card.read()
            pid, reserved = all_held.enter_context(_waiting(_make_context))
            time.sleep(_SETTLE_S)
            after = card.read()
            came = newcomers(before, after)
            listed_bytes = held_by(after, came)
            found.append(
                {
                    "card_bytes": _less(after.used_bytes, before.used_bytes, reserved),
                    "process_bytes": _less(listed_bytes, reserved),
                    "listed": len(came),
                    "by_its_own_pid": pid in came,
                }
            )
    return found


def _make_context(tell: Callable[[object], None]) -> None:
    """Make a context and have cuBLAS loaded, as every training does; tell what torch reserved."""
    square = torch.ones(256, 256, device="cuda")
    (square @ square).sum().item()
    tell(torch.cuda.memory_reserved())
    signal.pause()


def _less(whole: int | None, *parts: int | None) -> int | None:
    """Return what is left of a number; None where one of them is not known."""
    known = [part for part in parts if part is not None]
    return None if whole is None or len(known) < len(parts) else whole - sum(known)


@contextmanager
def _waiting(work: Callable[[Callable[[object], None]], None]) -> Iterator[tuple[int, Any]]:
    """Run a process that tells something and waits; it is killed in the end.

    Raises:
        RuntimeError: it ended without telling anything.
    """
    reading, writing = os.pipe()
    pid = fork(lambda: work(lambda told: _tell(writing, told)))
    os.close(writing)
    try:
        line = os.read(reading, 65536)
        if not line:
            raise RuntimeError("a process that should hold memory of the card ended")
        yield pid, json.loads(line)
    finally:
        os.close(reading)
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _tell(pipe: int, told: object) -> None:
    os.write(pipe, json.dumps(told).encode())


def oom(_card: Card, _times: int) -> dict[str, Any]:
    """Return what is raised where memory ends, case by case; None: the process died."""

    def over_own_share() -> object:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(0.05)
        return _refused(lambda: torch.empty(total // 16, dtype=torch.uint8, device="cuda"))

    def fill(tell: Callable[[object], None]) -> None:
        _held, refused = _fill()
        tell(refused)
        signal.pause()

    def use(work: Callable[[], object], left: int) -> object:
        spare = torch.empty(left, dtype=torch.uint8, device="cuda")
        _held, _ = _fill()
        del spare
        torch.cuda.empty_cache()
        return _refused(work)

    found = {"over its own share": answer(over_own_share)}
    with _waiting(fill) as (_, refused):
        found["the card is full"] = refused
        found["a process that starts on a full card"] = answer(
            lambda: _refused(lambda: torch.zeros(1, device="cuda").add_(1).item())
        )
    for library, work in (("cuBLAS", _product), ("cuDNN", _convolution)):
        for left in _LEFT_MIB:
            case = f"{library} starts with {left} MiB left"
            found[case] = answer(partial(use, work, left * MIB))
    return found


def _product() -> None:
    square = torch.ones(64, 64, device="cuda")
    (square @ square).sum().item()


def _convolution() -> None:
    image, kernel = torch.ones(1, 1, 8, 8, device="cuda"), torch.ones(1, 1, 3, 3, device="cuda")
    torch.nn.functional.conv2d(image, kernel).sum().item()


def mps_limit(_card: Card, _times: int) -> dict[str, Any]:
    """Return what is raised, and what CUDA says is free, under the limit of the environment."""

    def work() -> object:
        free, total = torch.cuda.mem_get_info()
        _held, refused = _fill()
        return {**refused, "free_bytes": free, "total_bytes": total}

    return {"over the limit of MPS": answer(work)}


def _fill() -> tuple[list[torch.Tensor], dict[str, Any]]:
    """Take all there is, in ever smaller pieces; returns it, and how the first was refused."""
    held: list[torch.Tensor] = []
    first: dict[str, Any] = {}
    size = 1024 * MIB
    while size >= 2 * MIB:
        refused = _refused(
            lambda: held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))  # noqa: B023
        )
        if refused["type"] is not None:
            first = first or refused
            size //= 4
    return held, first


def _refused(work: Callable[[], object]) -> dict[str, Any]:
    """Return the error that something raises, and whether we take it for a lack of memory.

    Its type is None where there is no error.
    """
    try:
        work()
    except Exception as error:
        said = note.describe(error, Path("/nowhere"), "train")
        free = said["memory"].get("gpu_free")
        shortage = is_shortage(said["type"], said["message"], free)
        return {"type": said["type"], "text": str(error), "seen_as_out_of_memory": shortage}
    return {"type": None, "text": "", "seen_as_out_of_memory": False}


def kill(card: Card, times: int) -> list[dict[str, Any]]:
    """Return what NVML still says of processes that were killed, with their work on the card."""

    def work(tell: Callable[[object], None]) -> None:
        _held = torch.zeros(2 * 1024 * MIB, dtype=torch.uint8, device="cuda")
        square = torch.ones(8192, 8192, device="cuda")
        torch.cuda.synchronize()
        for _ in range(50):
            square = square @ square
        tell("working")
        signal.pause()

    found = []
    for _ in range(times):
        before = card.read()
        with _waiting(work) as (pid, _):
            came = newcomers(before, card.read())
            about = {"listed": len(came), "by_its_own_pid": pid in came}
            found.append({**about, **_after_kill(card, pid, came, before.used_bytes)})
    return found


def _after_kill(card: Card, pid: int, came: set[int], before: int | None) -> dict[str, Any]:
    """Kill a process and look until it is gone and its memory is back, or for `_GONE_S`.

    Args:
        card: Where it holds memory.
        pid: The process.
        came: By which numbers NVML lists it.
        before: What was taken of the card before it came.
    """
    since: dict[str, float] = {}
    changes: list[dict[str, Any]] = []
    killed = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while len(since) < len(_AFTER) and (seconds := time.perf_counter() - killed) < _GONE_S:
        reading = card.read()
        used, listed = reading.used_bytes, came & pids(reading)
        now = {
            "reaped": "reaped_s" in since or os.waitpid(pid, os.WNOHANG)[0] == pid,
            "listed": len(listed),
            "listed_bytes": held_by(reading, listed),
            "used_mib": None if used is None else used // MIB,
        }
        if not changes or any(changes[-1][key] != value for key, value in now.items()):
            changes.append({"s": round(seconds, 4), **now})
        back = used is not None and before is not None and used <= before + 64 * MIB
        for event, true in zip(_AFTER, (now["reaped"], not listed, back), strict=True):
            if true:
                since.setdefault(event, seconds)
    return {**dict.fromkeys(_AFTER), **since, "said": changes}


def ballast(leave_bytes: int) -> None:
    """Hold all but so much of what is free, by allocations as a trial makes them."""
    signal.alarm(_BALLAST_LIMIT_S)
    held, piece = [], 256 * MIB
    while torch.cuda.mem_get_info()[0] >= leave_bytes + piece:
        held.append(torch.zeros(piece, dtype=torch.uint8, device="cuda"))
    torch.cuda.synchronize()
    print(len(held) * piece / GB, flush=True)
    sys.stdin.read()


PROBES = {probe.__name__: probe for probe in (start, context, oom, mps_limit, kill)}


def main() -> None:
    """Answer one question."""
    die_with_parent(os.getppid())
    name, about, *more = sys.argv[1:]
    if name == "ballast":
        ballast(int(about))
        return
    print(json.dumps(PROBES[name](Card(about), int(more[0]) if more else 1)))


if __name__ == "__main__":
    main()
