"""E-mail through any SMTP server.

Promise: at most once by itself. SMTP knows no idempotency keys: what failed before the letter was on the wire is tried
again if the server's answer is a temporary one (4xx); once it was on the wire, only the server's own no counts, and a
lost answer leaves the action `unknown`.
"""

import re
import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from oracle_lib.execute.channels.letter import Letter, Sender, compose, mime, one_line
from oracle_lib.execute.channels.protocol import Ambiguous, Answer, Broken, Delivered, Message, Refused

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 20.0
# Servers take few at once from one place; Google and Microsoft some ten to twenty.
MOST_CONNECTIONS = 8
_LINES_WITH_A_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True)
class Server:
    """Where letters are handed in. `user` empty: without a login."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    user: str = ""
    password: str = ""


class Smtp:
    """Hands letters to one SMTP server over a few connections that are kept."""

    name = "smtp"
    idempotent = False
    key_lives: timedelta | None = None
    reaches_people = True

    def __init__(
        self, server: Server, sender: Sender, *, clock: Callable[[], datetime], trusted: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._sender = sender
        self._clock = clock
        self._trusted = trusted
        # Appending and popping are atomic.
        self._idle: list[smtplib.SMTP] = []
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def deliver(self, message: Message, key: str) -> Answer:
        """Send the message as an e-mail."""
        letter = compose(message, self._sender)
        if isinstance(letter, Refused):
            return letter
        if not self._free.acquire(timeout=TOTAL_SECONDS):
            return Refused("no connection: all are busy", permanent=False)
        try:
            return self._send(letter, message.action_id, time.monotonic() + TOTAL_SECONDS)
        finally:
            self._free.release()

    def _send(self, letter: Letter, action_id: UUID, until: float) -> Answer:
        try:
            with self._connection(until) as server:
                return self._hand_in(server, letter, action_id, until)
        except smtplib.SMTPNotSupportedError as error:
            answer: Answer = Broken(f"the server cannot do what the settings ask: {error}")
        except ssl.SSLCertVerificationError as error:
            answer = Broken(f"the server's certificate is not trusted: {error.verify_message}")
        except smtplib.SMTPResponseException as error:
            step = "login" if isinstance(error, smtplib.SMTPAuthenticationError) else "greeting"
            said = _said(step, error.smtp_code, error.smtp_error)
            answer = Broken(said) if error.smtp_code >= 500 else Refused(said, permanent=False)
        except (OSError, smtplib.SMTPException) as error:
            # Before the letter was on the wire; what comes after is answered in `_hand_in`.
            answer = Refused(f"no connection: {type(error).__name__}", permanent=False)
        return answer

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _connection(self, until: float) -> Iterator[smtplib.SMTP]:
        """Lend a connection, which is kept afterwards unless something was wrong with it."""
        server = self._connected(until)
        try:
            yield server
        except BaseException:
            server.close()
            raise
        self._idle.append(server)

    def _connected(self, until: float) -> smtplib.SMTP:
        """Return a connection that was kept, if it still answers, or a new one."""
        while self._idle:
            kept = self._idle.pop()
            try:
                if _timed(kept, until).rset()[0] == 250:
                    return kept
            except (OSError, smtplib.SMTPException):
                pass
            kept.close()
        return self._connect(until)

    def _connect(self, until: float) -> smtplib.SMTP:
        server, trusted = self._server, self._trusted or ssl.create_default_context()
        if server.security == "tls":
            made: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=CONNECT_SECONDS, context=trusted)
        else:
            made = smtplib.SMTP(server.host, server.port, timeout=CONNECT_SECONDS)
        try:
            if server.security == "starttls":
                _timed(made, until).starttls(context=trusted)
            _timed(made, until).ehlo_or_helo_if_needed()
            if server.user:
                _timed(made, until).login(server.user, server.password)
        except BaseException:
            made.close()
            raise
        return made

    def _hand_in(self, server: smtplib.SMTP, letter: Letter, action_id: UUID, until: float) -> Answer:
        """Go through MAIL, RCPT and DATA; each answer of the server means what it says."""
        message_id = f"<{action_id}@{letter.sender.address.rpartition('@')[2]}>"
        made = mime(letter, message_id, self._clock())
        code, said = _timed(server, until).mail(letter.sender.address)
        if code != 250:
            return _no("MAIL", code, said)
        code, said = _timed(server, until).rcpt(letter.to)
        if code not in (250, 251):
            return _no("RCPT", code, said)
        code, said = _timed(server, until).docmd("DATA")
        if code != 354:
            return _no("DATA", code, said)
        try:
            _timed(server, until).send(_LINES_WITH_A_DOT.sub(b"..", made.as_bytes()) + b".\r\n")
            code, said = _timed(server, until).getreply()
        except (OSError, smtplib.SMTPException) as error:
            server.close()
            return Ambiguous(f"no answer to the letter: {type(error).__name__}")
        return Delivered(message_id) if code == 250 else _no("the letter", code, said)


def _timed(server: smtplib.SMTP, until: float) -> smtplib.SMTP:
    """Give the next step what is left of the delivery's time."""
    left = until - time.monotonic()
    if left <= 0 or server.sock is None:
        raise TimeoutError
    server.sock.settimeout(left)
    return server


def _no(step: str, code: int, said: bytes) -> Answer:
    """Read a server's no: 5xx to a recipient or a letter is for good; to the sender it is about us, not the letter."""
    reason = _said(step, code, said)
    if code in (530, 534, 535) or (step == "MAIL" and code >= 500):
        return Broken(reason)
    return Refused(reason, permanent=code >= 500)


def _said(step: str, code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return one_line(f"{code} to {step}: {text[:200]}")
