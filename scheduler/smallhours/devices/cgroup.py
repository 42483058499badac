"""What a control group allows this process of cores and memory, in versions 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
#: What version 1 writes for "no limit" is near 2**63.
_NO_LIMIT_BYTES = 2**62


class Allowed(NamedTuple):
    """What control groups allow."""

    #: Cores' worth of CPU time; None: as much as there is.
    cores: float | None = None
    memory_bytes: int | None = None
    #: What of it can't be had any more; None where there is no limit.
    used_bytes: int | None = None


def allowed(own: Path = _OWN, mount: Path = _MOUNT) -> Allowed:
    """Return the tightest limits of the groups that this process is in.

    Args:
        own: Says which groups these are (``/proc/self/cgroup``).
        mount: Where the groups' files are.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return Allowed()
    cores: list[float] = []
    memory: list[tuple[int, int]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if not controllers:
            for group in _upwards(mount, path):
                cores += _quota(_text(group / "cpu.max"))
                memory += _memory(group, "memory.max", "memory.current")
        if "cpu" in names:
            for group in _upwards(_root(mount, controllers, "cpu"), path):
                period = _text(group / "cpu.cfs_period_us")
                cores += _quota(f"{_text(group / 'cpu.cfs_quota_us')} {period}")
        if "memory" in names:
            for group in _upwards(mount / "memory", path):
                memory += _memory(group, "memory.limit_in_bytes", "memory.usage_in_bytes")
    limit, used = min(memory, key=lambda pair: pair[0] - pair[1], default=(None, None))
    return Allowed(min(cores, default=None), limit, used)


def _root(mount: Path, controllers: str, name: str) -> Path:
    """Return where a controller of version 1 is mounted: by itself, or with its companions."""
    together = mount / controllers
    return together if together.is_dir() else mount / name


def _upwards(root: Path, path: str) -> list[Path]:
    """Return a group and those that it is in: each of them may set a limit.

    Inside a container the path is the host's and leads nowhere; the root is the container's then.
    """
    group = root / path.strip("/")
    return [group, *(parent for parent in group.parents if parent.is_relative_to(root))]


def _quota(text: str) -> list[float]:
    """Return the cores that ``quota period`` allows, in microseconds; nothing: no limit."""
    words = text.split()
    try:
        quota, period = (int(word) for word in words)
    except ValueError:
        return []  # "max", or no such file
    return [quota / period] if quota > 0 and period > 0 else []


def _memory(group: Path, limit_file: str, used_file: str) -> list[tuple[int, int]]:
    """Return limit and use, where there is a limit. Cached files give way, so they don't count."""
    try:
        limit = int(_text(group / limit_file))
        used = int(_text(group / used_file))
    except ValueError:
        return []
    if limit >= _NO_LIMIT_BYTES:
        return []
    cached = 0
    for line in _text(group / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            cached = int(value)
    return [(limit, max(0, used - cached))]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
