"""Which channel each action type uses, as the settings say. Without credentials everything goes to the outbox.

A channel's libraries are loaded when it is used.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Protocol

from pydantic import SecretStr

from oracle_lib import clock
from oracle_lib.errors import Invalid, Permanent
from oracle_lib.execute import reply_addresses
from oracle_lib.execute.channels.letter import Sender, plain_address
from oracle_lib.execute.channels.outbox import Inbox, Outbox
from oracle_lib.execute.channels.protocol import Channel
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import ACTION_TYPES

# Lengths of a signing key in bytes, of Standard Webhooks.
_SHORTEST_SECRET, _LONGEST_SECRET = 24, 64
_SHORTEST_LINK_KEY = 32
_WEB_PUSH = "webpush"


class _Provider(Channel, Protocol):
    """A channel that keeps connections."""

    def close(self) -> None:
        """Close them."""
        ...


def chosen(settings: Settings) -> dict[str, str]:
    """Return the channel's name for each action type."""
    return {
        "email": settings.email_channel,
        "dm": settings.dm_channel,
        "push": settings.push_channel,
        "post": settings.post_channel,
        "alert": settings.alert_channel,
    }


def faults(settings: Settings) -> list[str]:
    """Return what keeps the chosen channels from working, as sentences that name the setting. Connects to nothing."""
    found = (fault(settings, name) for name in sorted(set(chosen(settings).values())))
    return [one for one in found if one is not None]


def fault(settings: Settings, name: str) -> str | None:
    """Return what keeps one channel from working; None: nothing that can be seen without connecting."""
    try:
        if name == _WEB_PUSH:
            _check_web_push(settings)
        elif name in _MAILERS:
            _MAILERS[name](settings, _sender(settings)).close()
        elif name in _PROVIDERS:
            _PROVIDERS[name](settings).close()
    except Invalid as error:
        return str(error)
    return None


@contextmanager
def opened(store: Store, settings: Settings) -> Iterator[Mapping[str, Channel]]:
    """Open the chosen channels, by action type, and close their connections at the end.

    Raises `Permanent` when a setting is missing or wrong: then nothing is taken, and what is approved waits.
    """
    if found := faults(settings):
        raise Permanent("Nothing is sent: " + " ".join(found) + " What is approved waits.")
    names = chosen(settings)
    made: dict[str, Channel] = {Outbox.name: Outbox(store), Inbox.name: Inbox(store)}
    with ExitStack() as open_ones:
        for name in set(names.values()) - made.keys():
            made[name] = open_ones.enter_context(closing(_provider(store, settings, name)))
        yield {action_type: made[names[action_type]] for action_type in ACTION_TYPES}


def _provider(store: Store, settings: Settings, name: str) -> _Provider:
    if name == _WEB_PUSH:
        return _web_push(store, settings)
    if name in _MAILERS:
        with store.transaction() as conn:
            replies = reply_addresses.of_installation(conn, settings)
        return _MAILERS[name](settings, replace(_sender(settings), replies=replies))
    return _PROVIDERS[name](settings)


def _resend(settings: Settings, sender: Sender) -> _Provider:
    from oracle_lib.execute.channels.resend import Resend

    key = _secret(settings.resend_api_key, "ORACLE_RESEND_API_KEY")
    with _named("ORACLE_RESEND_URL"):
        return Resend(key, sender, url=settings.resend_url, internal=settings.internal_endpoints)


def _sendgrid(settings: Settings, sender: Sender) -> _Provider:
    from oracle_lib.execute.channels.sendgrid import SendGrid

    key = _secret(settings.sendgrid_api_key, "ORACLE_SENDGRID_API_KEY")
    with _named("ORACLE_SENDGRID_URL"):
        return SendGrid(key, sender, url=settings.sendgrid_url, internal=settings.internal_endpoints)


def _smtp(settings: Settings, sender: Sender) -> _Provider:
    from oracle_lib.execute.channels.smtp import Server, Smtp

    host = settings.smtp_host.strip()
    if not host:
        raise Invalid("ORACLE_SMTP_HOST is not set.")
    password = _secret(settings.smtp_password, "ORACLE_SMTP_PASSWORD") if settings.smtp_user else ""
    if settings.smtp_user and settings.smtp_security == "none" and not settings.internal_endpoints:
        raise Invalid("ORACLE_SMTP_SECURITY is none: a password would be sent in the clear.")
    server = Server(host, settings.smtp_port, settings.smtp_security, settings.smtp_user, password)
    return Smtp(server, sender, clock=clock.now)


def _webhook(settings: Settings) -> _Provider:
    from oracle_lib.execute.channels.webhook import Webhook

    secret = _secret(settings.webhook_secret, "ORACLE_WEBHOOK_SECRET")
    _check_signing_key(secret)
    senders = {"dm": settings.dm_sender, "post": settings.post_sender, "alert": settings.alert_sender}
    with _named("ORACLE_WEBHOOK_URL"):
        return Webhook(
            settings.webhook_url,
            secret,
            senders=senders,
            clock=clock.now,
            internal=settings.internal_endpoints,
        )


def _slack(settings: Settings) -> _Provider:
    from oracle_lib.execute.channels.slack import Slack

    url = _secret(settings.slack_webhook_url, "ORACLE_SLACK_WEBHOOK_URL")
    with _named("ORACLE_SLACK_WEBHOOK_URL"):
        return Slack(url, sender=settings.alert_sender, internal=settings.internal_endpoints)


def _check_web_push(settings: Settings) -> None:
    from oracle_lib.execute.channels import vapid

    vapid.check(settings)


def _web_push(store: Store, settings: Settings) -> _Provider:
    from oracle_lib.execute.channels.web_push import WebPush

    return WebPush(store, settings, clock=clock.now)


_MAILERS: dict[str, Callable[[Settings, Sender], _Provider]] = {
    "resend": _resend,
    "sendgrid": _sendgrid,
    "smtp": _smtp,
}
_PROVIDERS: dict[str, Callable[[Settings], _Provider]] = {
    "webhook": _webhook,
    "slack": _slack,
}


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Put a setting's name before what is wrong with it."""
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{setting}: {error}") from error


def _secret(value: SecretStr | None, setting: str) -> str:
    """Return a secret fit for a header; what is wrong is said without it."""
    text = value.get_secret_value().strip() if value else ""
    if not text:
        raise Invalid(f"{setting} is not set.")
    if not text.isascii() or not text.isprintable():
        raise Invalid(f"{setting} holds characters that no key has.")
    return text


def _sender(settings: Settings) -> Sender:
    address = plain_address(settings.email_address)
    if address is None:
        raise Invalid("ORACLE_EMAIL_ADDRESS must be the one address that e-mail comes from.")
    if not settings.postal_address.strip():
        raise Invalid("ORACLE_POSTAL_ADDRESS is not set: marketing e-mail has to show one.")
    _check_public_url(settings)
    if settings.secret is not None and 0 < len(settings.secret.get_secret_value()) < _SHORTEST_LINK_KEY:
        raise Invalid(f"ORACLE_SECRET must have {_SHORTEST_LINK_KEY} characters or more.")
    return Sender(settings.email_sender, address, settings.postal_address)


def _check_public_url(settings: Settings) -> None:
    """Refuse what no link in an e-mail can begin with. Mail programs unsubscribe over HTTPS only (RFC 8058)."""
    if not settings.public_url:
        raise Invalid("ORACLE_PUBLIC_URL is not set: marketing e-mail has to carry a link to unsubscribe.")
    schemes = "https?" if settings.internal_endpoints else "https"
    if not re.fullmatch(rf"{schemes}://[A-Za-z0-9.-]+(:\d{{1,5}})?(/[A-Za-z0-9._~-]+)*/?", settings.public_url):
        raise Invalid("ORACLE_PUBLIC_URL must be https://, a name and at most a path.")


def _check_signing_key(secret: str) -> None:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not _SHORTEST_SECRET <= len(key) <= _LONGEST_SECRET:
        raise Invalid("ORACLE_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 random bytes.")
