"""Resend as far as its clients see it: one letter a key, the same answer again, 409 for a key with other bytes."""

import json
from datetime import timedelta
from threading import Lock
from uuid import uuid4

from tests.providers.wire import Provider, Request, Says

KEY = "re_test_key"


class ResendProvider(Provider):
    """`sent` are the letters that left, `in_progress` the keys whose first request has not ended.

    `received` are the headers of letters that came in.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, object]] = []
        self.in_progress: set[str] = set()
        self.received: dict[str, dict[str, str]] = {}
        self._known: dict[str, tuple[bytes, bytes]] = {}
        self._one_at_a_time = Lock()

    def let_time_pass(self, time: timedelta) -> None:
        """Keys live a day."""
        if time >= timedelta(hours=24):
            self._known.clear()

    def take(self, request: Request) -> Says:
        folder, _, name = request.path.rpartition("/")
        if request.path != "/emails" and (folder, name in self.received) != ("/emails/receiving", True):
            return _error(404, "not_found")
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "invalid_api_key", f"API key is invalid: {request.headers.get('authorization')}")
        if folder == "/emails/receiving":
            return Says(200, json.dumps({"object": "email", "id": name, "headers": self.received[name]}).encode())
        key = request.headers.get("idempotency-key", "")
        if key in self.in_progress:
            return _error(409, "concurrent_idempotent_requests")
        with self._one_at_a_time:
            return self._deliver(key, request)

    def _deliver(self, key: str, request: Request) -> Says:
        if key in self._known:
            body, answer = self._known[key]
            return Says(200, answer) if body == request.body else _error(409, "invalid_idempotent_request")
        letter = json.loads(request.body)
        if not {"from", "to", "subject"} <= letter.keys():
            return _error(422, "missing_required_field")
        answer = json.dumps({"id": str(uuid4())}).encode()
        self.sent.append(letter)
        if key:
            self._known[key] = (request.body, answer)
        return Says(200, answer)


def _error(status: int, name: str, message: str = "") -> Says:
    return Says(status, json.dumps({"statusCode": status, "name": name, "message": message}).encode())
