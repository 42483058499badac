"""Checkpoints on disk: whole and checked, or not there at all."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from smallhours.worker.limits import loaded
from smallhours.worker.pack import pack, unpack

_MANIFEST = "manifest.json"
_VERSION = 1
_CHUNK_BYTES = 1 << 20


class BadCheckpointError(Exception):
    """A checkpoint is missing, damaged, or not what it should be; the message says which."""


class StateMismatchError(ValueError):
    """The state given to `restore` is not the one that was saved."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was read and found good."""

    objects: dict[str, Any]
    rng: dict[str, Any]
    #: The trial's best value when it was saved; None: not known.
    best: float | None

    def fill(self, state: dict[str, Any]) -> None:
        """Put what was saved into the state, then set the random number generators.

        Raises:
            StateMismatchError: the names differ from those that were saved.
        """
        if set(state) != set(self.objects):
            raise StateMismatchError(
                f"the checkpoint holds {sorted(self.objects)}, restore() was given {sorted(state)}"
            )
        for name, value in self.objects.items():
            _fill_one(state, name, value)
        _set_rng(self.rng)


def save(
    state: dict[str, Any], target: Path, *, step: int, attempt: int, best: float | None
) -> int:
    """Write a checkpoint; it is there whole once this returns, and not at all before.

    Args:
        state: By name: things with ``state_dict``, random generators, plain data.
        target: Its directory, which must not exist yet.
        step: The step that was done last.
        attempt: Number of the attempt that saves.
        best: The trial's best value so far.

    Returns:
        Its size in bytes.

    Raises:
        OSError: it can't be written; nothing is left behind.
        CannotSaveError: the state holds something that a checkpoint can't.
    """
    torch = loaded("torch")
    content = {
        "objects": {
            name: pack(_get(value), f"state[{name!r}]", tensors=torch is not None)
            for name, value in state.items()
        },
        "rng": {
            name: pack(value, name, tensors=torch is not None) for name, value in _rng().items()
        },
        "best": best,
    }
    parent = target.parent
    if not parent.exists():
        parent.mkdir(mode=0o700, parents=True)
        _sync(parent.parent)
    temporary = parent / f"{target.name}.tmp"
    temporary.mkdir(mode=0o700)
    try:
        file = _write_content(content, temporary, torch)
        manifest = {
            "version": _VERSION,
            "step": step,
            "attempt": attempt,
            "torch": None if torch is None else str(torch.__version__),
            "files": [{"file": file.name, "size": file.size_bytes, "crc32": file.crc}],
        }
        with _Checked(temporary / _MANIFEST) as written:
            written.write(json.dumps(manifest).encode())
        _sync(temporary)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(parent)
    return file.size_bytes + written.size_bytes


def load(path: Path, step: int) -> Saved:
    """Read a checkpoint, after its size and checksum were found right.

    Raises:
        BadCheckpointError: it is missing or damaged.
    """
    try:
        file = _verified(path, step)
        if file.suffix == ".json":
            content = unpack(json.loads(file.read_bytes()))
        else:
            torch = importlib.import_module("torch")
            content = unpack(torch.load(file, map_location="cpu", weights_only=True))
        return Saved(content["objects"], content["rng"], content["best"])
    except BadCheckpointError:
        raise
    except FileNotFoundError as error:
        raise BadCheckpointError(f"{Path(str(error.filename)).name} is missing") from error
    except Exception as error:  # whatever is wrong with it, the one before may be good
        raise BadCheckpointError(f"{type(error).__name__}: {error}") from error


def verify(path: Path, step: int) -> None:
    """Check that a checkpoint is there whole, without loading it.

    Raises:
        BadCheckpointError: it is missing or damaged.
    """
    try:
        _verified(path, step)
    except BadCheckpointError:
        raise
    except FileNotFoundError as error:
        raise BadCheckpointError(f"{Path(str(error.filename)).name} is missing") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadCheckpointError(f"its manifest can't be read: {error!r}") from error


def _verified(path: Path, step: int) -> Path:
    """Return the state's file, once it is what the manifest says."""
    manifest = json.loads((path / _MANIFEST).read_bytes())
    if manifest["version"] != _VERSION:
        raise BadCheckpointError(f"it is of version {manifest['version']}")
    if manifest["step"] != step:
        raise BadCheckpointError(f"its manifest says step {manifest['step']}, not {step}")
    (entry,) = manifest["files"]
    file = path / Path(entry["file"]).name
    size_bytes = file.stat().st_size
    if size_bytes != entry["size"]:
        raise BadCheckpointError(f"{file.name} has {size_bytes} bytes, not {entry['size']}")
    crc = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    if crc != entry["crc32"]:
        raise BadCheckpointError(f"{file.name} has checksum {crc:08x}, not {entry['crc32']:08x}")
    return file


class _Checked:
    """A file that is synced at its end, and knows its size, its checksum and its first error."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.size_bytes = 0
        self.crc = 0
        self.error: OSError | None = None
        self._path = path

    def __enter__(self) -> Self:
        self._file: BinaryIO = self._path.open("xb")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                with self._named():
                    self._file.flush()
                    os.fsync(self._file.fileno())
        finally:
            # A buffer that can't be written fails once more when the file is closed.
            with contextlib.suppress(OSError):
                self._file.close()

    def write(self, data: Any) -> int:
        with self._named():
            count = self._file.write(data)
        self.size_bytes += count
        self.crc = zlib.crc32(data, self.crc)
        return count

    def flush(self) -> None:
        with self._named():
            self._file.flush()

    @contextlib.contextmanager
    def _named(self) -> Any:
        """Give an error the path, which the kernel doesn't."""
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            self.error = self.error or error
            raise


def _write_content(content: dict[str, Any], folder: Path, torch: Any) -> _Checked:
    if torch is None:
        with _Checked(folder / "state.json") as file:
            file.write(json.dumps(content).encode())
        return file
    file = _Checked(folder / "state.pt")
    try:
        with file:
            torch.save(content, file)
    except Exception:
        if file.error is not None:  # torch turns a full disk into an error without an errno
            raise file.error from None
        raise
    return file


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


#: Pairs of methods that take a state out and put it in, in the order they are looked for.
_METHODS = (("state_dict", "load_state_dict"), ("get_state", "set_state"), ("getstate", "setstate"))


def _setter(value: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """Return how an object's state is got and set; None: it is plain data."""
    for get, put in _METHODS:
        if hasattr(value, get) and hasattr(value, put):
            return getattr(value, get), getattr(value, put)
    numpy = loaded("numpy")
    if numpy is not None and isinstance(value, numpy.random.Generator):
        bits = value.bit_generator
        return (lambda: bits.state), (lambda state: setattr(bits, "state", state))
    return None


def _get(value: Any) -> Any:
    methods = _setter(value)
    return value if methods is None else methods[0]()


def _fill_one(state: dict[str, Any], name: str, value: Any) -> None:
    """Put one saved value into the state, in place where that is possible."""
    own = state[name]
    methods = _setter(own)
    if methods is not None:
        methods[1](value)
    elif type(own) is dict and isinstance(value, dict):
        own.clear()
        own.update(value)
    elif type(own) is list and isinstance(value, list):
        own[:] = value
    elif not _fill_array(own, value):
        state[name] = value


def _fill_array(own: Any, value: Any) -> bool:
    """Copy a tensor or array over one of the same shape; False: they are none, or differ."""
    torch, numpy = loaded("torch"), loaded("numpy")
    same = getattr(own, "shape", 0) == getattr(value, "shape", 1) and own.dtype == value.dtype
    if not same:
        return False
    if torch is not None and isinstance(own, torch.Tensor):
        with torch.no_grad():
            own.copy_(value)
        return True
    if numpy is not None and isinstance(own, numpy.ndarray):
        own[...] = value
        return True
    return False


def _rng() -> dict[str, Any]:
    """Return the states of the random number generators that the study uses."""
    states: dict[str, Any] = {"python": random.getstate()}
    numpy, torch = loaded("numpy"), loaded("torch")
    if numpy is not None:
        states["numpy"] = numpy.random.get_state()
    if torch is not None:
        states["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _set_rng(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    if "numpy" in states:
        importlib.import_module("numpy").random.set_state(states["numpy"])
    if "torch" in states:
        torch = importlib.import_module("torch")
        torch.set_rng_state(states["torch"])
        if "cuda" in states:
            torch.cuda.set_rng_state_all(states["cuda"])


def seed_all(seed: int) -> None:
    """Seed every random number generator that the study imported."""
    random.seed(seed)
    numpy, torch = loaded("numpy"), loaded("torch")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    if torch is not None:
        torch.manual_seed(seed)
