"""A power cut, on a real ext4 in a file: what was acknowledged is there when the light is on again.

Needs root and loop devices; elsewhere it is skipped, loudly.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallhours.core import facts as f
from smallhours.ledger.store import open_to_read, read_all
from smallhours.worker import checkpoint

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]

#: Writes commits (or checkpoints), then cuts the power: the file system stops where it is, its
#: journal not flushed (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH).
_CUT = """
import fcntl, os, sqlite3, struct, sys
from pathlib import Path
from smallhours.core import facts as f
from smallhours.ledger import store
from smallhours.worker import checkpoint

place, what = Path(sys.argv[1]), sys.argv[2]
acknowledged = 0
if what == "checkpoints":
    for step in range(1, 6):
        target = place / "checkpoints" / f"{step}-1"
        checkpoint.save({"n": step}, target, step=step, attempt=1, best=None)
        acknowledged += 1
else:
    ledger = store.Ledger(place / "ledger.db", place / "engine.lock", reserve=False)
    if what == "without sync":
        ledger._db.execute("PRAGMA synchronous=NORMAL")
    for number in range(40):
        ledger.append(f.StudyReleased(study=number), at=1.0, mono=1.0)
        ledger.commit()
        acknowledged += 1
folder = os.open(place, os.O_RDONLY)
fcntl.ioctl(folder, 0x8004587D, struct.pack("I", 2))
print(acknowledged)
os._exit(0)
"""


def _possible() -> str:
    if os.geteuid() != 0:
        return "power cuts need root"
    if not shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        return "power cuts need mkfs.ext4"
    if not Path("/dev/loop-control").exists():
        return "power cuts need loop devices"
    return ""


class Disk:
    """An ext4 in a file."""

    def __init__(self, folder: Path) -> None:
        self._image, self.place = folder / "disk.img", folder / "disk"
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(48 * 2**20)
        self._do("mkfs.ext4", "-q", "-F", str(self._image))
        self.plug_in()

    def plug_in(self) -> None:
        self._do("mount", "-o", "loop", str(self._image), str(self.place))

    def unplug(self) -> None:
        subprocess.run(["umount", str(self.place)], capture_output=True)

    def run_until_cut(self, what: str) -> int:
        """Write until the power goes; return how much was acknowledged. It is on again after."""
        done = subprocess.run(
            [sys.executable, "-c", _CUT, str(self.place), what],
            capture_output=True,
            text=True,
            check=True,
        )
        self.unplug()
        self.plug_in()
        return int(done.stdout)

    def _do(self, *words: str) -> None:
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        subprocess.run(words, check=True, capture_output=True, env={**os.environ, "PATH": path})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if reason := _possible():
        pytest.skip(reason)
    try:
        disk = Disk(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop device could be mounted: {error.stderr!r}")
    yield disk
    disk.unplug()


def found(disk: Disk) -> list[int]:
    db = open_to_read(disk.place / "ledger.db")
    try:
        facts = [entry.fact for entry in read_all(db)]
    finally:
        db.close()
    return [fact.study for fact in facts if isinstance(fact, f.StudyReleased)]


def test_every_acknowledged_commit_survives(disk):
    acknowledged = disk.run_until_cut("ledger")
    assert found(disk) == list(range(acknowledged))


def test_the_cut_is_real_without_syncing_commits_are_lost(disk):
    acknowledged = disk.run_until_cut("without sync")
    try:
        left = len(found(disk))
    except Exception:
        left = 0
    assert left < acknowledged


def test_every_acknowledged_checkpoint_survives_whole(disk):
    acknowledged = disk.run_until_cut("checkpoints")
    for step in range(1, acknowledged + 1):
        saved = checkpoint.load(disk.place / "checkpoints" / f"{step}-1", step)
        assert saved.objects == {"n": step}
