"""The headers of letters that Resend received, asked of it: its webhook says only that something came."""

from collections.abc import Mapping
from types import TracebackType

import msgspec

from oracle_lib.errors import Invalid
from oracle_lib.execute.channels.line import check_url
from oracle_lib.execute.channels.outward import OutwardAnywhere, Reply
from oracle_lib.settings import Settings

# Several are asked for in one look, and the next look waits for them.
_SECONDS = 5.0


class _Letter(msgspec.Struct):
    headers: dict[str, str | list[str]] = {}


class ReceivedLetters:
    """Asks with the key that letters are sent with; it needs full access. Use it as a context."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.resend_api_key.get_secret_value().strip() if settings.resend_api_key else ""
        self._url = f"{settings.resend_url.rstrip('/')}/emails/receiving/"
        self._internal = settings.internal_endpoints
        self._out = OutwardAnywhere(secret=self._key, internal=settings.internal_endpoints)

    def __call__(self, email_id: str) -> Mapping[str, str] | None:
        """Return a letter's headers by name in lower case; None: Resend did not tell."""
        if not self._key or not email_id.replace("-", "").isalnum():
            return None
        try:
            url = check_url(f"{self._url}{email_id}", internal=self._internal)
        except Invalid:
            return None
        reply = self._out.get(url, {"Authorization": f"Bearer {self._key}"}, _SECONDS)
        if not isinstance(reply, Reply) or reply.status != 200:
            return None
        try:
            found = msgspec.json.decode(reply.body, type=_Letter).headers
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return {name.lower(): text if isinstance(text, str) else " ".join(text) for name, text in found.items()} or None

    def __enter__(self) -> "ReceivedLetters":
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connections."""
        self._out.close()
