"""Running the server: in the foreground until a signal, or in a thread beside a test.

uvicorn does the sockets and HTTP. SIGTERM and SIGINT end it cleanly: no new connections, requests under way are
answered, waits for notifications end, open streams are committed, the store is closed.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dissector.errors import DissectorError
from replay.recording import Recorder
from replay.server.app import PATH, Server
from replay.server.directory import Directory
from replay.server.faults import Fault
from replay.server.store import Store
from replay.server.tape import Tape

GRACE = 10
"""Seconds that requests under way get when the server is told to end."""


class ServerError(DissectorError):
    """The server cannot start: one line for the user."""


class _Uvicorn(uvicorn.Server):
    """Tells the application that the end is near before it waits for requests under way."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self.mapi = server

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.mapi.closing.set()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        raise ServerError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return made


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _uvicorn(server: Server, tape: Tape | None) -> _Uvicorn:
    application = server.application if tape is None else tape.application(server.application)
    protocol = H11Protocol if tape is None else tape.protocol()
    config = uvicorn.Config(
        application, log_config=None, access_log=False, lifespan="off", http=protocol, ws="none",
        timeout_graceful_shutdown=GRACE, server_header=False, timeout_keep_alive=60, interface="asgi3",
        proxy_headers=False,
    )  # fmt: skip
    return _Uvicorn(config, server)


@contextlib.contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """SIGTERM and SIGINT end `server` and nothing else, so that what follows it still runs.

    uvicorn has handlers of its own while it runs, and raises what it caught again when it has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(
    listen_host: str,
    listen_port: int,
    store_path: str | Path | None,
    users: Sequence[str],
    password: str,
    *,
    mailbox_dn: str | None = None,
    any_dn: bool = True,
    ready: Callable[[str], None] | None = None,
    faults: Iterable[Fault] = (),
    recorder: Recorder | None = None,
    **options: float,
) -> None:
    """Serve until SIGTERM or SIGINT.

    store_path: a SQLite file, or None for memory. users: who may log on, all with one password; each has a mailbox.
    mailbox_dn: the name of the first user's mailbox (made up from the user otherwise); any_dn: take every name that a
    client logs on with, and that is nobody's, for the user's own. ready: called with the URL of the endpoint once
    the socket listens. faults: what it is to do wrong. recorder: where to write down what is said. options:
    pending_period, expiration, wait, in seconds (see app.Server). Raises ServerError or store.StoreError where it
    cannot start.
    """
    listener = _listen(listen_host, listen_port)
    with contextlib.closing(listener), contextlib.closing(Store(store_path)) as store:
        server = Server(Directory(store, users, mailbox_dn, any_dn), password, faults=faults, **options)
        tape = Tape(recorder) if recorder is not None else None
        http = _uvicorn(server, tape)
        with _ended_by_signals(http), contextlib.closing(server), contextlib.ExitStack() as stack:
            if tape is not None:
                stack.callback(tape.close)
            if ready is not None:
                listener.listen()
                ready(_url(listener) + PATH)
            http.run(sockets=[listener])


class RunningServer:
    """A server on 127.0.0.1 with a port of its own, in a thread. A context manager.

    url: the endpoint. store, server: for tests that look behind it. others: more users. Options as for serve().
    """

    def __init__(
        self,
        user: str = "user",
        password: str = "password",
        store_path: str | Path | None = None,
        *,
        mailbox_dn: str | None = None,
        any_dn: bool = True,
        others: Sequence[str] = (),
        faults: Iterable[Fault] = (),
        recorder: Recorder | None = None,
        **options: float,
    ) -> None:
        self.user, self.password = user, password
        self._listener = _listen("127.0.0.1", 0)
        self.base_url = _url(self._listener)
        self.url = self.base_url + PATH
        self.store = Store(store_path)
        directory = Directory(self.store, (user, *others), mailbox_dn, any_dn)
        self.server = Server(directory, password, faults=faults, **options)
        self._tape = Tape(recorder) if recorder is not None else None
        self._uvicorn = _uvicorn(self.server, self._tape)
        self._thread = threading.Thread(target=self._run, name="replay-server", daemon=True)

    def _run(self) -> None:
        self._uvicorn.run(sockets=[self._listener])

    def __enter__(self) -> RunningServer:
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server as a signal would and close the store."""
        self._uvicorn.should_exit = True
        if self._thread.is_alive():
            self._thread.join(GRACE + 5)
        if self._tape is not None:
            self._tape.close()
        self.server.close()
        self.store.close()
        self._listener.close()


__all__ = ["RunningServer", "ServerError", "serve"]
