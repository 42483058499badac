"""``smallhours service``: a systemd user unit that goes on with the queue after a reboot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from smallhours import exits, logind, processes
from smallhours.errors import UsageError
from smallhours.hints import expected
from smallhours.paths import Home
from smallhours.supervisor import END_LIMIT_S
from smallhours.text import Page

NAME = "smallhours.service"

_OURS = "# Written by `smallhours service install`; `smallhours service uninstall` removes it."
#: Variables of the terminal in which the unit is installed that its engine, and so the trials, get.
_PASSED_ON = (
    "SMALLHOURS_CONFIG",
    "SMALLHOURS_LAUNCHER",
    "XDG_CONFIG_HOME",
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
)
#: After its checkpoints the supervisor still sweeps.
_STOP_LIMIT_S = END_LIMIT_S + 30
#: After these, another start would come to the same end.
_FINAL = sorted({UsageError.exit_code, exits.ENGINE_FAILED, exits.LEDGER, exits.DISK_FULL})
_SYSTEMCTL_LIMIT_S = 30.0

_UNIT = """\
{ours}
[Unit]
Description=smallhours, overnight hyperparameter sweeps
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
{environment}
# After `smallhours stop` it leaves with 0, which is no failure: it stays stopped.
Restart=on-failure
RestartSec=10
RestartPreventExitStatus={final}
# SIGTERM goes to the supervisor alone: trials save their checkpoints first.
KillMode=mixed
TimeoutStopSec={stop_s:.0f}
# The kernel may kill a trial for its memory; the others go on.
OOMPolicy=continue

[Install]
WantedBy=default.target
"""


class Systemd(NamedTuple):
    """The user's service manager."""

    program: str

    def __call__(self, *words: str) -> tuple[int, str]:
        """Run ``systemctl --user``; return its exit status and what it said."""
        try:
            done = subprocess.run(
                [self.program, "--user", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SYSTEMCTL_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return 1, str(error)
        return done.returncode, (done.stdout + done.stderr).strip()


def service(home: Home, action: str) -> int:
    """Install, remove, look at or print the unit.

    Args:
        home: The state directory that the unit is for.
        action: ``install``, ``uninstall``, ``status`` or ``print``.

    Returns:
        The exit code.

    Raises:
        UsageError: there is no such action, or a file that is not ours is in the way.
    """
    actions: dict[str, Callable[[Home], int]] = {
        "install": install,
        "uninstall": uninstall,
        "status": status,
        "print": print_unit,
    }
    if action not in actions:
        raise UsageError(expected(action, actions))
    return actions[action](home)


def unit_path() -> Path:
    """Return where the unit belongs."""
    config = os.environ.get("XDG_CONFIG_HOME")
    base = Path(config) if config and Path(config).is_absolute() else Path.home() / ".config"
    return base / "systemd" / "user" / NAME


def unit(home: Home, environment: Mapping[str, str]) -> str:
    """Return the unit for a state directory.

    Raises:
        UsageError: a path can't be written in a unit.
    """
    kept = {"SMALLHOURS_HOME": str(home.root)}
    kept |= {name: environment[name] for name in _PASSED_ON if environment.get(name)}
    program, *arguments = [*processes.supervisor_command(stay=True), "--log"]
    return _UNIT.format(
        ours=_OURS,
        command=" ".join([_program(program), *arguments]),
        environment="\n".join(
            f"Environment={_quoted(f'{name}={text}')}" for name, text in kept.items()
        ),
        final=" ".join(map(str, _FINAL)),
        stop_s=_STOP_LIMIT_S,
    )


def install(home: Home) -> int:
    """Write the unit, and have it started with the machine (or with the first login)."""
    path = unit_path()
    before, text = _read(path), unit(home, os.environ)
    if before == text:
        print(f"{path} is there already, and up to date")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        print(f"{'written' if before is None else 'renewed'}: {path}")
    home.prepare()
    systemd = _systemd()
    if systemd is None:
        _say_typed("daemon-reload", f"enable {NAME}")
        return 0
    for words in (("daemon-reload",), ("enable", NAME)):
        code, said = systemd(*words)
        if code:
            raise UsageError(f"`systemctl --user {' '.join(words)}` failed: {said}")
    page = Page(sys.stdout)
    page.paragraph(
        "enabled: it goes on with the queue after a reboot; `systemctl --user start smallhours`"
        " starts it now, `smallhours stop` stops it"
    )
    _say_linger(page)
    return 0


def uninstall(home: Home) -> int:
    """Remove the unit; an engine that runs goes on."""
    path = unit_path()
    if _read(path) is None:
        print(f"there is no {path}")
        return 0
    systemd = _systemd()
    if systemd is not None:
        systemd("disable", NAME)
    path.unlink()
    if systemd is None:
        # What `enable` made.
        (path.parent / "default.target.wants" / NAME).unlink(missing_ok=True)
    else:
        systemd("daemon-reload")
    print(f"removed: {path}")
    if processes.owner(home) is not None:
        print("the engine goes on until its queue is dry, or until `smallhours stop`")
    return 0


def status(home: Home) -> int:
    """Say whether the unit is installed, enabled and running."""
    path = unit_path()
    text = _read(path)
    page = Page(sys.stdout)
    systemd = _systemd()
    if text is None:
        installed = "no: `smallhours service install` writes the unit"
    elif text == unit(home, os.environ):
        installed = f"yes: {path}"
    else:
        installed = f"{path} differs from what would be written now: `smallhours service install`"
    page.line("the service")
    page.pairs(
        [
            ("installed", installed),
            ("enabled", "" if text is None else _asked(systemd, "is-enabled")),
            ("systemd", "" if text is None else _asked(systemd, "is-active")),
            ("lingers", "yes" if logind.lingers() else "no: it runs while you are logged in only"),
            ("engine", _engine(home)),
        ]
    )
    return 0


def print_unit(home: Home) -> int:
    """Print the unit, and change nothing."""
    print(unit(home, os.environ), end="")
    return 0


def _engine(home: Home) -> str:
    engine = processes.owner(home)
    return "none runs" if engine is None else f"runs (process {engine.pid})"


def _asked(systemd: Systemd | None, what: str) -> str:
    if systemd is None:
        return "systemctl --user can't be used from here"
    _, said = systemd(what, NAME)
    return said


def _read(path: Path) -> str | None:
    """Return the unit that is there; None: there is none.

    Raises:
        UsageError: it is not ours.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if path.is_symlink():
            raise UsageError(f"{path} is a link that leads nowhere: remove it first") from None
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from error
    if not text.startswith(_OURS):
        raise UsageError(f"{path} was not written by smallhours: move it away first")
    return text


def _program(path: str) -> str:
    """Return a program as the first word of ``ExecStart``.

    Raises:
        UsageError: systemd would refuse it.
    """
    if any(special in path for special in "\\\"'"):
        raise UsageError(
            f"systemd starts no program with quotes or backslashes in its path: {path}"
        )
    # After a colon, it looks for no variables.
    return (":" if "$" in path else "") + _quoted(path)


def _quoted(text: str) -> str:
    """Return a text as one word of a unit file, without specifiers.

    Raises:
        UsageError: it holds what no unit file can hold.
    """
    if not text.isprintable():  # undecodable bytes are no printable text, either
        raise UsageError(f"{text!r} can't be written in a systemd unit")
    for special in ("\\", '"'):
        text = text.replace(special, "\\" + special)
    return '"' + text.replace("%", "%%") + '"'


def _systemd() -> Systemd | None:
    """Return the user's service manager; None: there is none that would answer."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    systemd = Systemd(program)
    code, _ = systemd("show-environment")
    return systemd if code == 0 else None


def _say_typed(*words: str) -> None:
    print("systemctl --user can't be used from here; where it can, type:")
    for word in words:
        print(f"  systemctl --user {word}")


def _say_linger(page: Page) -> None:
    if not logind.lingers():
        page.paragraph(
            "without `loginctl enable-linger` it starts when you log in, and ends when you log out"
        )
