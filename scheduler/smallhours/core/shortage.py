"""Failed allocations of GPU memory: known by their texts, and whose fault they were.

The texts are those of torch 1.x and 2.x and of the libraries below it. What a text doesn't say is
None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Fault: TypeAlias = Literal["own", "neighbour", "unknown"]

#: What else holds less of a card than this has no part in a shortage (a context left behind).
_NOISE_BYTES: Final = 64 * 2**20
#: A library that can't start itself with less free than this is short of memory.
_TIGHT_BYTES: Final = 512 * 2**20

_SIZE = r"([\d.]+ (?:bytes|[KMGT]iB))"
_UNITS: Final = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

#: Only ever said of GPU memory.
_SHORT = re.compile(
    r"\b(?:CUDA|HIP|XPU)(?: error:)? out of memory"  # torch's allocator; CUDA's own calls
    r"|would exceed allowed memory\. \(out of memory\)"  # torch's other allocator
    r"|\bcudaErrorMemoryAllocation\b|\bCUDA_ERROR_OUT_OF_MEMORY\b|\bhipErrorOutOfMemory\b"
    r"|\b(?:CU|HIP|ROC)[A-Z]+_(?:STATUS_)?(?:ALLOC_FAILED|INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)"
    r"|Cuda failure (?:\d+ )?'out of memory'|Failed to CUDA c?alloc"  # NCCL
    r"|RESOURCE_EXHAUSTED: Out of memory"  # XLA
)
#: Said when a library can't start itself, most often for want of memory.
_PERHAPS = re.compile(
    r"\bCU(?:BLAS|DNN)_STATUS_NOT_INITIALIZED\b|Unable to find a valid cuDNN algorithm"
    r"|(?:FIND|GET) was unable to find an engine|unable to find an engine to execute"
)

_REQUESTED = re.compile(
    rf"(?:Tried to allocate|Requested\s*:) {_SIZE}|Failed to CUDA c?alloc (?:async )?(\d+ bytes)"
)
_TOTAL = re.compile(rf"total capaci?ty of {_SIZE}|{_SIZE} total capacity|Device limit\s*: {_SIZE}")
_FREE = re.compile(rf"of which {_SIZE} is free|; {_SIZE} free;|Free \(according to CUDA\): {_SIZE}")
_ALLOWED = re.compile(rf"{_SIZE} allowed;|memory fraction\)\s*: {_SIZE}")
_ALLOCATED = re.compile(
    rf"{_SIZE} is allocated by PyTorch|{_SIZE} already allocated|Currently allocated\s*: {_SIZE}"
)
_IDLE = re.compile(rf"{_SIZE} is reserved by PyTorch but unallocated")
_RESERVED = re.compile(rf"{_SIZE} (?:reserved in total by PyTorch|cached)")
_OWN = re.compile(rf"this process has {_SIZE} memory in use")
_OTHERS = re.compile(rf"\bProcess (\d+) has {_SIZE} memory in use")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """What the text of a failed allocation says; None: it doesn't."""

    requested_bytes: int | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None
    #: What the process held of the card: all of it, or at least what torch had reserved.
    own_bytes: int | None = None
    #: What torch's allocator had reserved.
    reserved_bytes: int | None = None
    #: The cap that was set for the process; None: none.
    allowed_bytes: int | None = None
    #: What other processes held, by pid as the driver knows it.
    others: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another trial on the same card."""

    name: str
    pid: int | None = None
    #: What it holds; None: not known.
    used_bytes: int | None = None
    #: What it was believed to need at most; None: nothing was believed.
    predicted_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was known of the card when an attempt ran out of its memory."""

    #: What the trial was believed to need at most; None: nothing was believed.
    predicted_bytes: int | None = None
    neighbours: tuple[Neighbour, ...] = ()
    device: str = ""
    #: The latest fault of the card since the trial was started; None: none was told.
    xid: int | None = None


def is_shortage(type_: str, message: str, free_bytes: int | None) -> bool:
    """Say whether an error is a failed allocation of GPU memory.

    Args:
        type_: The error's type with its module.
        message: What it says.
        free_bytes: What was free on the card just after it; None: not known.
    """
    if type_.startswith("torch.") and type_.endswith(".OutOfMemoryError"):
        return True
    if _SHORT.search(message):
        return True
    tight = free_bytes is not None and free_bytes < _TIGHT_BYTES
    return tight and _PERHAPS.search(message) is not None


def parse(message: str) -> Shortage:
    """Read what the text of a failed allocation says."""
    allocated, idle = _bytes(_ALLOCATED, message), _bytes(_IDLE, message)
    reserved = _bytes(_RESERVED, message)
    if reserved is None and allocated is not None:
        reserved = allocated + (idle or 0)
    total, allowed = _bytes(_TOTAL, message), _bytes(_ALLOWED, message)
    own = _bytes(_OWN, message)
    if own is None or (reserved is not None and own < reserved):
        own = reserved  # in a container the driver may not know which process it is
    # Without a "this process" among them, one of those that are named is this very process.
    named = _OTHERS.findall(message) if _OWN.search(message) else []
    return Shortage(
        requested_bytes=_bytes(_REQUESTED, message),
        free_bytes=_bytes(_FREE, message),
        total_bytes=total,
        own_bytes=own,
        reserved_bytes=reserved,
        # Without a cap the other allocator calls its limit 2^64 bytes.
        allowed_bytes=None if allowed is not None and allowed > (total or 2**62) else allowed,
        others={int(pid): _size(text) for pid, text in named},
    )


def blame(shortage: Shortage, own_peak_bytes: int | None, surroundings: Surroundings) -> Fault:
    """Say whose fault it was that an allocation failed, as far as the evidence goes.

    Args:
        shortage: What is known of the failed allocation.
        own_peak_bytes: The most that the process held; None: not known.
        surroundings: What was believed of the trial and of its neighbours.
    """
    own = shortage.own_bytes if shortage.own_bytes is not None else own_peak_bytes
    need = None if own is None else own + (shortage.requested_bytes or 0)
    if _past_its_walls(shortage, need):
        return "own"
    outgrown = _excess(need, surroundings.predicted_bytes)
    grown = [_excess(n.used_bytes, n.predicted_bytes) for n in surroundings.neighbours]
    theirs = sum(excess for excess in grown if excess is not None and excess > 0)
    if not surroundings.neighbours:
        return "own" if _was_alone(shortage) or (outgrown or 0) > 0 else "unknown"
    if outgrown is None:
        return "unknown"
    if outgrown > 0:
        return "own" if outgrown >= theirs else "neighbour"
    return "neighbour" if theirs else "unknown"


def _past_its_walls(shortage: Shortage, need: int | None) -> bool:
    """Whether it wanted more than the whole card, or more than its own cap."""
    if need is not None and shortage.total_bytes and need > shortage.total_bytes:
        return True
    allowed, reserved = shortage.allowed_bytes, shortage.reserved_bytes
    if allowed is None or reserved is None:
        return False
    return reserved + (shortage.requested_bytes or 0) > allowed


def _was_alone(shortage: Shortage) -> bool:
    """Whether nothing else that counts was on the card."""
    total, free, own = shortage.total_bytes, shortage.free_bytes, shortage.own_bytes
    if total is None or free is None or own is None:
        return False
    # What torch had not reserved is not told apart from others: a context takes some of it, too.
    return total - free - own < _NOISE_BYTES + total // 20


def _excess(used: int | None, predicted: int | None) -> int | None:
    return None if used is None or predicted is None else used - predicted


def known(neighbours: Iterable[Neighbour], others: dict[int, int]) -> tuple[Neighbour, ...]:
    """Return the neighbours with what the driver said that their processes held."""
    return tuple(
        Neighbour(
            name=n.name,
            pid=n.pid,
            used_bytes=others.get(n.pid, n.used_bytes) if n.pid is not None else n.used_bytes,
            predicted_bytes=n.predicted_bytes,
        )
        for n in neighbours
    )


def _bytes(pattern: re.Pattern[str], message: str) -> int | None:
    found = pattern.search(message)
    return None if found is None else _size(next(filter(None, found.groups())))


def _size(text: str) -> int:
    number, unit = text.split()
    return round(float(number) * _UNITS[unit])
