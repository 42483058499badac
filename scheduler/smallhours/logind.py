"""What systemd-logind does to a user's processes at logout, where there is one to ask."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

_LINGERING = Path("/var/lib/systemd/linger")
_ASK_LIMIT_S = 5.0

_LINGER = "when you log out, this machine ends what you run: `loginctl enable-linger` has it go on"
_SERVICE = (
    "this machine ends your processes when you log out (KillUserProcesses=yes): have systemd run"
    " the queue, with `smallhours service install` and `loginctl enable-linger`"
)


def logout_advice() -> str | None:
    """Return what to do so that what is started from here outlives the logout; None: nothing.

    There are two ways to be killed. What belongs to the user's service manager (a service, or most
    graphical terminals) ends with it, after the last logout, unless the user lingers. What belongs
    to the login itself ends with that where logind is set up so.
    """
    if in_service():
        return None if lingers() else _LINGER
    return _SERVICE if kills_at_logout() else None


def kills_at_logout() -> bool | None:
    """Say whether a user's processes are killed at logout; None: there is no logind to ask."""
    program = shutil.which("loginctl")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "show-session", "--property=KillUserProcesses", "--value"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip()) if done.returncode == 0 else None


def lingers() -> bool:
    """Say whether the user's services run without anyone being logged in."""
    try:
        return (_LINGERING / getpass.getuser()).exists()
    except (KeyError, OSError):
        return False


def in_service() -> bool:
    """Say whether this process belongs to the user's service manager, not to a login session."""
    try:
        text = Path(f"/proc/{os.getpid()}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return False
    return f"/user@{os.getuid()}.service/" in text
