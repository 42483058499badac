"""``smallhours doctor``: whether this machine is fit, and what to do where it isn't."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TextIO

from smallhours import logind, processes, settings
from smallhours.commands import doctor_devices, doctor_packing, doctor_state, documents
from smallhours.commands.finding import Finding, Verdict
from smallhours.devices import host
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.text import Page, Toned, clean, count, listing

_PYTHON = (3, 11)
_NEEDED = {"ray": (2, 59), "optuna": (5, 0), "torch": (2, 6)}
#: Ray's sockets lie below the session's directory, and a socket's path has at most 107 characters.
_SESSION_LENGTH = 43
_MARKS: dict[Verdict, Toned] = {
    "ok": Toned("ok", "green"),
    "note": Toned("note", "yellow"),
    "wrong": Toned("WRONG", "red"),
}


def doctor(home: Home, *, as_json: bool, out: TextIO) -> int:
    """Check this machine and print what was found.

    Args:
        home: The state directory; it need not exist.
        as_json: Print JSON instead of a table.
        out: Where to print.

    Returns:
        The exit code: 1 where something is wrong.
    """
    with working("looking at this machine", quiet=as_json):
        devices = doctor_devices.Look()
        findings = list(examine(home, devices))
    wrong = [finding.what for finding in findings if finding.verdict == "wrong"]
    if as_json:
        documents.write(out, {"fit": not wrong, "findings": findings, "devices": devices.found})
    else:
        _print(Page(out), findings, wrong)
    return 1 if wrong else 0


def examine(home: Home, devices: doctor_devices.Look | None = None) -> Iterator[Finding]:
    """Yield what each check finds, in the order a person would look.

    Args:
        home: The state directory; it need not exist.
        devices: What was seen of the devices; None: look.
    """
    devices = devices or doctor_devices.Look()
    yield _system()
    yield _python()
    for package in _NEEDED:
        yield _package(package)
    yield from devices.findings()
    yield from doctor_packing.examine([found.device for found in devices.found])
    yield from _settings(home)
    yield _sockets()
    yield _logout()
    yield _sleep()
    yield _engine(home)
    yield _leftovers()


def _print(writer: Page, findings: list[Finding], wrong: list[str]) -> None:
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = _MARKS[finding.verdict]
        head = Toned(mark.text.ljust(6), mark.tone)
        indent = width + 8
        found = textwrap.wrap(
            clean(finding.found),
            max(20, writer.width - indent),
            break_long_words=False,
            break_on_hyphens=False,
        )
        writer.line(head, finding.what.ljust(width + 2), found[0] if found else "")
        for line in found[1:]:
            writer.line(line, indent=indent)
        if finding.do:
            writer.paragraph(finding.do, indent=indent)
    writer.line()
    if wrong:
        writer.line(Toned(f"{count(len(wrong), 'thing is', 'things are')} wrong: ", "red"),
                    listing(wrong))  # fmt: skip
    else:
        writer.line("this machine is fit for smallhours")


def _system() -> Finding:
    release = platform.release()
    words = f"Linux {release} ({platform.machine()})"
    if host.in_wsl():
        return Finding(
            what="system",
            verdict="note",
            found=f"{words}, WSL2",
            do="Windows may suspend it or shut it down at night: keep the machine awake, and a"
            " terminal of this distribution open. Memory of single processes can't be read from"
            " the GPU.",
        )
    if platform.machine() != "x86_64":
        return Finding(
            what="system", verdict="note", found=words, do="only x86-64 has been tried so far"
        )
    return Finding(what="system", verdict="ok", found=words)


def _python() -> Finding:
    fits = sys.version_info >= _PYTHON
    return Finding(
        what="Python",
        verdict="ok" if fits else "wrong",
        found=f"{platform.python_version()} ({sys.executable})",
        do="" if fits else f"smallhours needs {'.'.join(map(str, _PYTHON))} or later",
    )


def _package(name: str) -> Finding:
    least = ".".join(map(str, _NEEDED[name]))
    mend = f'install it: {sys.executable} -m pip install "{name}>={least}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(what=name, verdict="wrong", found="not installed", do=mend)
    if _numbers(version) < _NEEDED[name]:
        return Finding(what=name, verdict="wrong", found=f"{version} is too old", do=mend)
    return Finding(what=name, verdict="ok", found=version)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``2.13.0+cpu`` is (2, 13)."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _settings(home: Home) -> Iterator[Finding]:
    """Check the settings file, then the state directory with what it grants."""
    budget_bytes = None
    where = settings.path()
    try:
        budget_bytes = settings.read(where).checkpoint_bytes
        found = str(where) if where.exists() else f"{where} (not there: all as usual)"
        yield Finding(what="settings", verdict="ok", found=found)
    except UsageError as error:
        do = "mend it: nothing is started with it, and a running engine keeps what it had"
        yield Finding(what="settings", verdict="wrong", found=clean(str(error)), do=do)
    yield from doctor_state.examine(home, budget_bytes)


def _logout() -> Finding:
    """Check whether a logout would end the night."""
    advice = logind.logout_advice()
    if advice is None:
        return Finding(what="logout", verdict="ok", found="ends nothing that is started here")
    return Finding(what="logout", verdict="note", found="would end the night", do=advice)


def _sleep() -> Finding:
    """Check whether suspending can be held up while trials run."""
    if shutil.which("systemd-inhibit") and Path("/run/systemd/system").is_dir():
        return Finding(what="sleep", verdict="ok", found="is put off while trials run")
    return Finding(
        what="sleep",
        verdict="note",
        found="can't be put off: there is no systemd-inhibit, or no systemd that it could ask",
        do="if this machine goes to sleep by itself, turn that off for the night",
    )


def _sockets() -> Finding:
    """Check the directory for sockets and Ray's files: writable, and its path short enough."""
    parent = "/tmp"
    try:
        with tempfile.TemporaryDirectory(prefix=f"sh-{os.getuid()}-", dir=parent) as made:
            length = len(made) + len("/r")
    except OSError as error:
        return Finding(
            what="sockets",
            verdict="wrong",
            found=f"{parent} can't be used: {error.strerror}",
            do=f"it must be a directory that everybody may write to: chmod 1777 {parent}",
        )
    fits = length <= _SESSION_LENGTH
    return Finding(
        what="sockets",
        verdict="ok" if fits else "wrong",
        found=f"{parent} ({length} of at most {_SESSION_LENGTH} characters)",
        do="" if fits else "paths below it are too long for Ray's sockets",
    )


def _engine(home: Home) -> Finding:
    engine = processes.owner(home)
    if engine is None:
        return Finding(what="engine", verdict="ok", found="not running")
    session = "" if engine.session is None else f", session {engine.session}"
    return Finding(what="engine", verdict="ok", found=f"running, process {engine.pid}{session}")


def _leftovers() -> Finding:
    left = processes.strays()
    if not left:
        return Finding(what="leftovers", verdict="ok", found="no process without an engine")
    pids = " ".join(str(stray.pid) for stray in left[:20])
    return Finding(
        what="leftovers",
        verdict="wrong",
        found=f"{count(len(left), 'process', 'processes')} without an engine",
        do=f"the next engine ends them (`smallhours resume`), or do it now: kill -9 {pids}",
    )
