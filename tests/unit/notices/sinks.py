"""Receivers of notifications for tests: HTTP and SMTP servers in threads of the test, and certificates for them."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from cdcd.notices.occurrences import Occurrence

NOW = 1_795_300_000_000_000
SECOND = 1_000_000
STOPPED = Occurrence(
    NOW - 60 * SECOND,
    "critical",
    "worker-stopped",
    "deliver:shop",
    "deliver:shop has stopped",
    None,
    "cdcd resume shop",
    7,
)


class HttpSink:
    """Keeps what was posted; answers with `answers` in turn, the last for ever; None hangs until the sink is closed."""

    def __init__(self, *, tls: tuple[Path, Path] | None = None, answers: tuple[int | None, ...] = (204,)) -> None:
        self.posted: list[tuple[dict[str, str], bytes]] = []
        self.answers = list(answers)
        self.arrived = threading.Condition()
        self._closing = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with sink.arrived:
                    sink.posted.append((dict(self.headers), body))
                    answer = sink.answers.pop(0) if len(sink.answers) > 1 else sink.answers[0]
                    sink.arrived.notify_all()
                if answer is None:
                    sink._closing.wait(60)
                    return
                self.send_response(answer)
                if answer in (301, 302, 307, 308):
                    self.send_header("Location", f"http://127.0.0.1:{sink.port}/elsewhere")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def wait_for(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.posted) >= count, 20), f"{len(self.posted)} of {count} came"
            return list(self.posted)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def http_sink(**options: Any) -> Iterator[HttpSink]:
    sink = HttpSink(**options)
    try:
        yield sink
    finally:
        sink.close()


class Mailbox:
    """An aiosmtpd handler that keeps what it is given."""

    def __init__(self, refusal: str = "") -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refusal = refusal

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refusal:
            return self.refusal
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: LoginPassword) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"mail-s3cret", handled=False)


class _Smtp(Controller):
    def __init__(self, handler: Mailbox, tls: tuple[Path, Path] | None, auth: bool) -> None:
        self._context = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls)
        self._auth = auth
        super().__init__(handler, hostname="127.0.0.1", port=0)

    def factory(self) -> SMTP:
        return SMTP(
            self.handler,
            hostname="sink",
            tls_context=self._context,
            require_starttls=self._context is not None,
            authenticator=self.handler.login if self._auth else None,
            auth_required=self._auth,
            auth_require_tls=self._auth,
        )

    @property
    def taken(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])

    def _trigger_server(self) -> None:
        """The parent connects to see whether it runs; with port 0 it would not know where."""
        self.port = self.taken
        super()._trigger_server()


@contextmanager
def smtp_sink(
    *, tls: tuple[Path, Path] | None = None, auth: bool = False, refusal: str = ""
) -> Iterator[tuple[int, Mailbox]]:
    mailbox = Mailbox(refusal)
    controller = _Smtp(mailbox, tls, auth)
    controller.start()
    try:
        yield controller.port, mailbox
    finally:
        controller.stop()


def certificate(directory: Path, name: str = "localhost") -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key; for `name` and 127.0.0.1."""
    found, key = directory / f"{name}.pem", directory / f"{name}.key"
    names = f"subjectAltName=DNS:{name}" + (",IP:127.0.0.1" if name == "localhost" else "")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run(
        [*command, "-subj", f"/CN={name}", "-addext", names, "-keyout", str(key), "-out", str(found)],
        check=True,
        capture_output=True,
    )
    return found, key
