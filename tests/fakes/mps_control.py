# ruff: noqa: PTH100, PTH108, PTH110, PTH120, PTH123 - without pathlib it starts in 10 ms
"""Stands in for ``nvidia-cuda-mps-control`` as a program of its own; the real code is run on it.

Made after NVIDIA's documentation and what others recorded of the real one: the options, the files
in the pipe directory, the answers (``0`` for a client let go), the lines of ``control.log``. It
takes one connection at a time. A client is whoever connects, says ``CLIENT <pid> <session>`` and
stays (`fakes.mps.CLIENT` does); one that goes without ``BYE`` while its work has not been taken
away puts the server in fault, which the real one does at times.

``trouble`` in the directory of the program changes what it does: ``refuse`` (it won't start),
``silent`` (the daemon answers nothing), ``stubborn`` (it does not end), ``stale`` (no client is let
go), ``sticky`` (a server in fault stays so when its last client has gone; the real one recovers).
"""

import os
import select
import signal
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
PIPE = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
LOGS = os.environ.get("CUDA_MPS_LOG_DIRECTORY", "/var/log/nvidia-mps")
CONTROL, PID_FILE = f"{PIPE}/control", f"{PIPE}/nvidia-cuda-mps-control.pid"
NOT_THERE = "Cannot find MPS control daemon process"


def trouble():
    try:
        with open(f"{HERE}/trouble") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def log(text):
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    with open(f"{LOGS}/control.log", "a") as file:
        file.write(f"[{now}.000 Control {os.getpid()}] {text}\n")


class Daemon:
    def __init__(self, listener):
        self.listener, self.server, self.status = listener, None, "ACTIVE"
        self.clients, self.let_go = {}, set()  # connection: pid

    def serve(self):
        log(f"Starting control daemon using socket {CONTROL}")
        while True:
            ready, _, _ = select.select([self.listener, *self.clients], [], [])
            if "silent" in trouble():
                time.sleep(0.02)
                continue
            for link in ready:
                if link is self.listener:
                    self.accept(link.accept()[0])
                elif link in self.clients:
                    self.hear(link)

    def accept(self, link):
        log("Accepting connection...")
        words = link.recv(4096).decode().split()
        if not words:
            link.close()
        elif words[0] == "CLIENT":
            self.connect(link, int(words[1]))
        else:
            link.sendall(f"{self.answer(words)}\n".encode())
            link.close()
            if words[0] == "quit":
                self.end()

    def connect(self, link, pid):
        if self.server is None:
            self.server = self.start_server()
        if self.status == "FAULT":
            link.sendall(b"807\n")
            link.close()
            return
        log(f"NEW CLIENT {pid} from user {os.getuid()}: Server already exists")
        self.clients[link] = pid
        link.sendall(b"0\n")

    def start_server(self):
        pid = os.fork()
        if pid == 0:
            self.listener.close()
            while True:
                signal.pause()
        self.status = "ACTIVE"
        log(f"Starting new server {pid} for user {os.getuid()}")
        log(f"NEW SERVER {pid}: Ready")
        return pid

    def hear(self, link):
        word = link.recv(64)
        pid = self.clients.pop(link)
        link.close()
        if word != b"BYE" and pid not in self.let_go:
            self.status = "FAULT"
            log(f"Server {self.server} is in fault")
        if self.status == "FAULT" and not self.clients and "sticky" not in trouble():
            self.status = "ACTIVE"

    def answer(self, words):
        log(f"command: {' '.join(words)}")
        verb, rest = words[0], [int(w) for w in words[1:] if w.isdigit()]
        if verb == "get_server_list":
            return "" if self.server is None else self.server
        if rest and verb != "quit" and rest[0] != self.server:
            return f"Server {rest[0]} not found"
        if verb == "get_server_status":
            return self.status
        if verb == "get_client_list":
            return "\n".join(map(str, self.clients.values()))
        if verb == "terminate_client":
            if rest[1] not in self.clients.values():
                return f"Invalid process {rest[1]}!"
            if "stale" in trouble():
                return "201"  # CUDA_ERROR_INVALID_CONTEXT
            self.let_go.add(rest[1])
            return "0"
        if verb == "crash":  # only the fake's
            os.kill(self.server, signal.SIGKILL)
            os.waitpid(self.server, 0)
            log("Server encountered a fatal exception. Shutting down")
            log(f"Server {self.server} exited with status 1")
            self.server = None
            return ""
        return "" if verb == "quit" else "Unknown command"

    def end(self):
        if "stubborn" in trouble():
            return
        if self.server is not None:
            os.kill(self.server, signal.SIGKILL)
        os.unlink(PID_FILE)
        os.unlink(CONTROL)
        os._exit(0)


def start():
    if "refuse" in trouble():
        sys.exit("Failed to start the MPS control daemon: no permission")
    with socket.socket(socket.AF_UNIX) as link:
        if link.connect_ex(CONTROL) == 0:
            sys.exit("An instance of this daemon is already running")
    if os.path.exists(CONTROL):
        os.unlink(CONTROL)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(CONTROL)
    listener.listen(1)
    if os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    with open(PID_FILE, "w") as file:
        file.write(f"{os.getpid()}\n")
    Daemon(listener).serve()


def ask():
    for line in sys.stdin:
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(CONTROL)
            except OSError:
                print(NOT_THERE)
                sys.exit(1)
            link.sendall(line.encode())
            with link.makefile() as answer:
                sys.stdout.write(answer.read())


if sys.argv[1:] == ["-d"]:
    start()
else:
    ask()
