"""The warm process of a study: imports its code once, and forks a process for every attempt.

It stays single-threaded and free of CUDA, since neither survives a fork. Where the study's code
starts a thread or uses CUDA while it is loaded, every attempt gets a fresh process instead.
"""

from __future__ import annotations

import os

from smallhours.worker.limits import ENVIRONMENT

os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})

# What follows may import numpy or torch, which read the environment once.
import contextlib
import gc
import importlib
import io
import json
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from typing import Any, NoReturn

from smallhours.study import Study
from smallhours.worker import attempt, forbidden, suggest
from smallhours.worker.attempt import Config, LoadError
from smallhours.worker.checkpoint import seed_all
from smallhours.worker.limits import (
    ParentGoneError,
    adopt_orphans,
    children,
    cuda_in_use,
    die_with_parent,
    give_way,
    loaded,
    threads,
)
from smallhours.worker.link import Lines, Message, encode
from smallhours.worker.order import Order

#: Exit code of a process that failed before the user's code had its turn (EX_SOFTWARE).
_OUR_FAULT = 70


@dataclass(eq=False, slots=True)
class _Slot:
    """A connection from a slot, and the attempt that it ordered."""

    socket: socket.socket
    lines: Lines = field(default_factory=Lines)
    #: The attempt's process; None: none was ordered yet.
    pid: int | None = None
    pidfd: int | None = None


class Zygote:
    """Serves one study: forks its attempts, reaps them, and runs its space function."""

    def __init__(self, config: Config, config_json: str, listener: socket.socket) -> None:
        self._config, self._config_json = config, config_json
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._slots: set[_Slot] = set()
        #: Processes that serve a space function.
        self._servers: set[int] = set()
        self._study: Study | None = None
        self._data: object = None
        self._failed: LoadError | None = None
        self._starts = forbidden.ThreadStarts()

    def load(self) -> None:
        """Import and prepare the study; a failure is kept for those who order attempts."""
        try:
            with self._starts:
                self._study, self._data = attempt.load_study(self._config)
        except LoadError as error:
            self._failed = error
            print(error.text, file=sys.stderr, flush=True)

    def warm_up(self) -> None:
        """Do once what every attempt would have to do for itself."""
        if loaded("torch") is not None and self._failed is None:
            _warm_up(loaded("torch"))
        gc.collect()
        gc.freeze()

    def listen(self) -> None:
        """Start whoever waits already, one of them: all others gain by waiting for `warm_up`."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        while ready := self._selector.select(0):
            for key, _ in ready:
                key.data()
                if any(slot.pid is not None for slot in self._slots):
                    return

    def serve(self) -> NoReturn:
        """Take orders for ever; the engine's death ends it."""
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        slot = _Slot(connection)
        self._slots.add(slot)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(slot))

    def _read(self, slot: _Slot) -> None:
        try:
            data = slot.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            self._lost(slot)
            return
        for message in slot.lines.feed(data):
            if "start" in message:
                self._start(slot, message["start"])
            elif "space" in message:
                self._serve_space(slot, message)
                return

    def _lost(self, slot: _Slot) -> None:
        """The slot is gone: its attempt may not go on without it."""
        if slot.pid is not None:
            _kill(slot.pid)
        self._close(slot)

    def _close(self, slot: _Slot) -> None:
        """Let the connection go; a running attempt stays watched until it is reaped."""
        if slot.socket.fileno() >= 0:
            self._selector.unregister(slot.socket)
            slot.socket.close()
        if slot.pid is None:
            self._slots.discard(slot)

    def _start(self, slot: _Slot, data: dict[str, Any]) -> None:
        order = Order.parse(data)
        if self._failed is not None:
            self._refuse(slot, order, self._failed)
            return
        obstacle = self._obstacle()
        slot.pid = self._fork(order) if obstacle is None else self._spawn(order, data, obstacle)
        slot.pidfd = os.pidfd_open(slot.pid)
        self._selector.register(slot.pidfd, selectors.EVENT_READ, lambda: self._exited(slot))
        self._send(slot, {"pid": slot.pid})

    def _refuse(self, slot: _Slot, order: Order, error: LoadError) -> None:
        with contextlib.suppress(OSError):  # the answer below matters more than the log
            order.attempt_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (order.attempt_dir / "log.txt").open("a", encoding="utf-8") as log:
                log.write(error.text)
        self._send(slot, {"failed": error.note})
        self._close(slot)

    def _obstacle(self) -> str | None:
        """Say why a fork of this process could not be trusted; None: it can."""
        if cuda_in_use():
            return "it uses CUDA while it is imported or prepared"
        return self._starts.describe(threads())

    def _fork(self, order: Order) -> int:
        own = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        status = _OUR_FAULT
        try:
            os.setsid()
            die_with_parent(own)
            self._forget()
            assert self._study is not None
            status = _run(self._study, self._data, order, self._config)
        except ParentGoneError:
            pass  # nobody is left to tell
        except BaseException:  # noqa: BLE001 - a failure of ours must not run on into the zygote's loop
            traceback.print_exc()
        finally:
            attempt.leave(status)

    def _forget(self) -> None:
        """Close, in a forked process, everything that is the zygote's."""
        self._selector.close()
        self._listener.close()
        for slot in self._slots:
            slot.socket.close()
            if slot.pidfd is not None:
                os.close(slot.pidfd)

    def _spawn(self, order: Order, data: dict[str, Any], obstacle: str) -> int:
        """Start a fresh process for an attempt; slower, but nothing is inherited."""
        order.attempt_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (order.attempt_dir / "log.txt").open("ab") as log:
            log.write(
                f"smallhours: the study can't be forked: {obstacle}. This trial runs in a fresh"
                " process, which takes seconds to start. What does that while the file is imported"
                " or in prepare() belongs into train().\n".encode()
            )
            log.flush()
            process = subprocess.Popen(
                [
                    sys.executable, "-P", "-m", "smallhours.worker.zygote", "--fresh",
                    str(os.getpid()), self._config_json, json.dumps(data),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        process.returncode = 0  # it is reaped here, by its pidfd
        return process.pid

    def _exited(self, slot: _Slot) -> None:
        assert slot.pid is not None
        assert slot.pidfd is not None
        # The group first: while its leader isn't reaped, its number can't be anybody else's.
        _kill(slot.pid)
        _, status = os.waitpid(slot.pid, 0)
        self._selector.unregister(slot.pidfd)
        os.close(slot.pidfd)
        slot.pid = slot.pidfd = None
        code = os.waitstatus_to_exitcode(status)
        ended = {"code": code if code >= 0 else None, "signal": -code if code < 0 else None}
        if slot.socket.fileno() >= 0:
            self._send(slot, {"exit": ended})
        self._close(slot)
        self._sweep()

    def _sweep(self) -> None:
        """Reap adopted orphans; those that still run are killed once no attempt can own them."""
        attempts = {slot.pid for slot in self._slots if slot.pid is not None}
        progress = True
        while progress:
            progress = False
            for pid in children():
                if pid in attempts:
                    continue
                orphan = pid not in self._servers
                if orphan and not attempts:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    progress |= self._reap(pid, 0)
                else:
                    progress |= self._reap(pid, os.WNOHANG)

    def _reap(self, pid: int, options: int) -> bool:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, options)[0] == pid:
                self._servers.discard(pid)
                return True
        return False

    def _serve_space(self, slot: _Slot, message: Message) -> None:
        """Hand the connection to a forked process that runs the study's space function on it."""
        if self._failed is not None:
            self._send(slot, {"failed": self._failed.note})
            return
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                die_with_parent(own)
                connection = slot.socket.dup()
                self._forget()
                assert self._study is not None
                suggest.serve(connection, slot.lines, message, self._study, self._config.folder)
            except BaseException:  # noqa: BLE001 - a failure of ours must not run on into the zygote's loop
                traceback.print_exc()
            finally:
                attempt.leave(0)
        self._servers.add(pid)
        self._close(slot)

    def _send(self, slot: _Slot, message: Message) -> None:
        # A slot that is gone by now is noticed where its end of the connection is read.
        with contextlib.suppress(OSError):
            slot.socket.sendall(encode(message))


def _warm_up(torch: Any) -> None:
    """Do once what every attempt would else do for its first time: it starts 1.5 s earlier."""
    importlib.import_module("torch._dynamo")  # the first optimizer step imports it
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    optimizer.zero_grad()
    optimizer.step()
    torch.save({}, io.BytesIO())
    seed_all(0)


def _kill(pid: int) -> None:
    """Kill an attempt's process and its group (it may not have become the group's leader yet)."""
    for deed in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            deed(pid, signal.SIGKILL)


def _run(study: Study, data: object, order: Order, config: Config) -> int:
    os.environ.update(order.environment)  # before anything asks CUDA
    give_way()
    attempt.redirect(order.attempt_dir)
    link = attempt.connect(order)
    return attempt.run(study, data, order, link, config.folder)


def _run_fresh(parent_pid: int, config: Config, order: Order) -> int:
    """Load the study and run one attempt in this process."""
    die_with_parent(parent_pid)
    os.environ.update(order.environment)
    give_way()
    attempt.redirect(order.attempt_dir)
    link = attempt.connect(order)
    try:
        with forbidden.NativeStarts(config.folder) as starts:
            study, data = attempt.load_study(config)
    except LoadError as error:
        return attempt.fail(error.note, error.text, order)
    if starts.place:
        print(f"smallhours: {starts.place} started the library's threads.", flush=True)
    return attempt.run(study, data, order, link, config.folder)


def main(arguments: list[str]) -> None:
    """Serve the study of the JSON config in `arguments`, or run one attempt (``--fresh``)."""
    if arguments[0] == "--fresh":
        _, parent_pid, config, order = arguments
        attempt.leave(
            _run_fresh(
                int(parent_pid), Config.parse(json.loads(config)), Order.parse(json.loads(order))
            )
        )
    settings = json.loads(arguments[0])
    try:
        die_with_parent(settings["engine_pid"])
    except ParentGoneError:
        sys.exit(_OUR_FAULT)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the engine's to answer
    listener = socket.socket(fileno=settings["fd"])
    zygote = Zygote(Config.parse(settings), arguments[0], listener)
    zygote.load()
    zygote.listen()
    zygote.warm_up()
    zygote.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
