"""A way to a server that is long, loses, or ends: a proxy for tests on the loopback."""
import contextlib
import random
import select
import socket
import threading
import time


class Far:
    """Passes connections on to a port of this machine. `delay` is in seconds each way; `loss` is how likely a piece ends its
    connection; `hides` replaces words of requests by others as long; `cut()` ends all and refuses new ones, `stall()` lets them hang, until `heal()`."""

    def __init__(self, port, delay=0.0, loss=0.0, seed=1, hides=()):
        self.target, self.delay, self.loss, self.random = port, delay, loss, random.Random(seed)
        self.hides = dict(hides)
        self.busy = self.most = 0  # pieces on their way at once, and the most there were
        self.state, self.open, self.lock = "well", set(), threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            if self.state == "cut":
                here.close()
                continue
            threading.Thread(target=self.serve, args=(here,), daemon=True).start()

    def serve(self, here):
        with contextlib.suppress(OSError), here, socket.create_connection(("127.0.0.1", self.target)) as there:
            with self.lock:
                self.open |= {here, there}
            for end in (here, there):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.pass_on(here, there)
            finally:
                with self.lock:
                    self.open -= {here, there}

    def pass_on(self, here, there):
        while True:
            for end in select.select([here, there], [], [], 1)[0]:
                piece = end.recv(1 << 18)
                while self.state == "stalled":
                    time.sleep(0.05)
                if not piece or self.state == "cut" or self.random.random() < self.loss:
                    return
                for word, other in self.hides.items():
                    piece = piece.replace(word, other)
                if self.delay:
                    self.count(1)
                    time.sleep(self.delay)
                    self.count(-1)
                (there if end is here else here).sendall(piece)

    def count(self, change):
        with self.lock:
            self.busy += change
            self.most = max(self.most, self.busy)

    def cut(self):
        self.state = "cut"
        with self.lock:
            for end in self.open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def stall(self):
        self.state = "stalled"

    def heal(self):
        self.state = "well"

    def close(self):
        self.cut()
        self.listener.close()
