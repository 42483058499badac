"""Which GPUs may be used: what ``CUDA_VISIBLE_DEVICES`` or the user's own list says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from smallhours.devices.base import CPU, Device
from smallhours.errors import UsageError
from smallhours.hints import did_you_mean

_NUMBER = re.compile(r"[+-]?[0-9]+")
#: ``MIG-GPU-<uuid>/<gpu instance>/<compute instance>``, as drivers before R470 named parts.
_OLD_PART = re.compile(r"MIG-(GPU-[0-9a-fA-F-]+)/[0-9]+/[0-9]+")


def visible(devices: Sequence[Device], value: str | None) -> tuple[Device, ...]:
    """Return the devices that a CUDA program would see, in its order.

    What CUDA does: unset is all; numbers, UUIDs or the beginnings of UUIDs (``GPU-8f``), parts of
    cards (``MIG-...``), not mixed; the first entry that fits no device, or several, ends the list;
    one that comes twice empties it. So an empty value, ``-1`` and ``NoDevFiles`` are none.
    Numbers are taken to count in the order of the PCI bus. A number that names a card that is
    split into parts stands for all of them: each process will be given one of them by name.

    Args:
        devices: All GPUs and parts, in the order of the PCI bus.
        value: What the variable says; None: it is not set.
    """
    if value is None:
        return tuple(devices)
    prefix = value[:4]
    seen: list[Device] = []
    for entry in value.split(","):
        if prefix in ("GPU-", "MIG-"):
            found = _by_name(devices, entry) if entry.startswith(prefix) else []
        else:
            found = _by_number(devices, entry)
        if not found:
            break
        if any(device in seen for device in found):
            return ()
        seen += found
    return tuple(seen)


def _by_number(devices: Sequence[Device], entry: str) -> list[Device]:
    # CUDA reads the number that an entry begins with, and goes by that.
    number = _NUMBER.match(entry.strip())
    return [d for d in devices if number is not None and d.index == int(number[0])]


def _by_name(devices: Sequence[Device], entry: str) -> list[Device]:
    old = _OLD_PART.fullmatch(entry)
    if old is not None:
        # Which of the card's parts it was can't be told from a driver that names them otherwise.
        parts = [d for d in devices if d.card == old[1]]
        return parts if len(parts) == 1 else []
    found = [d for d in devices if d.name.startswith(entry)]
    if not found and entry.startswith("GPU-"):
        found = [d for d in devices if d.card.startswith(entry)]
        return found if len({d.card for d in found}) == 1 else []
    return found if len(found) == 1 else []


def ambiguous(devices: Sequence[Device], environment: Mapping[str, str]) -> bool:
    """Say whether numbers in ``CUDA_VISIBLE_DEVICES`` may mean other cards to CUDA than to us.

    Unless ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` is set, CUDA puts the fastest card first, by a rule that
    it doesn't tell.
    """
    value = environment.get("CUDA_VISIBLE_DEVICES", "")
    numbered = any(_NUMBER.match(entry.strip()) for entry in value.split(","))
    unequal = len({device.label for device in devices}) > 1
    return numbered and unequal and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"


def chosen(devices: Sequence[Device], words: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices that a user names: ``cpu``, ``gpu`` (all), numbers, UUIDs or beginnings.

    Args:
        devices: Those that may be used.
        words: The user's list.

    Raises:
        UsageError: a word fits none, or several.
    """
    found: list[Device] = []
    for word in words:
        fitting = _fitting(devices, word)
        if not fitting and word == "gpu":
            raise UsageError(
                "--devices: there is no GPU that may be used; `smallhours doctor` says more"
            )
        if not fitting:
            known = [str(d.name if d.index is None else d.index) for d in devices]
            names = [*known, *(d.name for d in devices if d.index is not None)]
            hint = did_you_mean(word, names) or f"; there is {', '.join(known) or 'none'}"
            raise UsageError(f"--devices: there is no device {word!r}{hint}")
        if len(fitting) > 1 and word != "gpu" and len({d.card for d in fitting} - {""}) != 1:
            raise UsageError(f"--devices: {word!r} fits {len(fitting)} devices: give more of it")
        found += [device for device in fitting if device not in found]
    return tuple(found)


def _fitting(devices: Sequence[Device], word: str) -> list[Device]:
    if word == CPU:
        return [d for d in devices if d.kind == "cpu"]
    if word == "gpu":
        return [d for d in devices if d.kind != "cpu"]
    if word.isdecimal():
        return [d for d in devices if d.index == int(word)]
    if not word.upper().startswith(("GPU-", "MIG-")):
        return []
    start = word.upper()
    return [d for d in devices if d.name.upper().startswith(start)] or [
        d for d in devices if d.card and d.card.upper().startswith(start)
    ]
