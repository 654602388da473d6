"""Every setting, read from the environment here and nowhere else.

Each is an environment variable with the prefix `ORACLE_`. Bad values are refused at start with the variable's name.
"""

import base64
import binascii
import os
import re
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, PositiveInt, SecretStr, StringConstraints, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from oracle_lib.observe import catalogue

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_HOURS = r"^$|^([01]?\d|2[0-3])-([01]?\d|2[0-3])$"
# A star stands for what is below two names or more: never for a whole top-level domain.
_HOST = r"(?i)(\*\.[a-z0-9-]+\.)?([a-z0-9-]+\.)*[a-z0-9-]+"
# How every public key on the curve P-256 begins, in base64.
_P256_KEY = r"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
# What is sent along with every request and never changes has to be long.
_SHORTEST_PASSWORD = 24
EventName = Annotated[str, StringConstraints(pattern=catalogue.NAME_PATTERN)]


class Settings(BaseSettings):
    """One installation's settings; an installation serves one academy."""

    model_config = SettingsConfigDict(env_prefix="ORACLE_", extra="ignore", frozen=True)

    home: Path = Field(Path("~/.oracle"), description="Where the embedded database, Dagster's files and logs live.")
    database_url: str | None = Field(
        None, description="A PostgreSQL 18 server, `postgresql://user@host/oracle`. Unset: the embedded one under home."
    )
    dagster_database_url: str | None = Field(
        None, description="Dagster's own database. Unset: a database `dagster` on the same server."
    )
    environment: Literal["production", "staging", "test"] = Field(
        "production", description="Part of every idempotency key; only production may mail people."
    )
    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8000, ge=1, le=65535, description="Port of the API and the panel.")
    api_hosts: str = Field(
        "",
        description="Names the API answers to, with commas between them; `*` for any. Empty: this machine's own names "
        "if it listens on loopback, otherwise any. That of `ORACLE_PUBLIC_URL` is always one.",
    )
    dagster_host: str = Field("127.0.0.1", description="Address of the Dagster web server, which has no login.")
    dagster_port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster web server.")
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="The installation's one currency, ISO 4217.")
    retention_days: int | None = Field(
        90, ge=8, description="Raw events are kept this many days; their rollups stay. Empty: for ever."
    )
    events_per_second: int = Field(
        2000,
        ge=1,
        description="How many events a second an API key may send to each API process, over any ten seconds.",
    )
    segment_names: dict[str, EventName] = Field(
        {},
        description='Names of events that Segment\'s clients send, and ours for them, as JSON: `{"Kurs beendet": '
        '"course_complete"}`. They go before the names ORACLE knows.',
    )
    new_days: int = Field(14, ge=1, description="Days after joining in which a user counts as new.")
    alumni_days: int = Field(60, ge=1, description="Days of silence after which a graduate counts as alumni.")
    prediction_horizon_days: int = Field(
        30, ge=1, le=180, description="Completion, upgrade and referral are predicted for so many days."
    )
    churn_horizon_days: int = Field(14, ge=1, le=90, description="Churn = no activity of one's own in so many days.")
    ltv_horizon_days: int = Field(
        180,
        ge=7,
        le=730,
        description="What customers pay is forecast for so many days, once it held on as many past ones.",
    )
    value_high: int = Field(500, ge=0, description="LTV from which a user is of high value, in the currency.")
    value_medium: int = Field(100, ge=0, description="LTV from which a user is of medium value, in the currency.")
    conversion_days: int = Field(7, ge=1, description="An action is credited with its goal for so many days.")
    action_expiry_hours: int = Field(72, ge=1, description="A pending action expires after so many hours.")
    undo_seconds: int = Field(
        30, ge=0, le=3600, description="What a person approves waits so many seconds in case they take it back."
    )
    messages_per_user_per_day: int = Field(
        2, ge=1, description="Rules send a user at most so many messages in a UTC day; the most urgent win."
    )
    messages_per_user_per_week: int | None = Field(
        6, ge=1, description="The same for the last seven days. Empty: no such limit."
    )
    channel_caps: dict[Literal["email", "dm", "push", "post"], dict[Literal["day", "week"], PositiveInt]] = Field(
        {}, description='The same for single channels, as JSON: `{"email": {"day": 1, "week": 3}}`.'
    )
    hourly_caps: dict[Literal["email", "dm", "push", "post"], PositiveInt] = Field(
        {}, description='A channel sends at most so many marketing messages in any hour, as JSON: `{"email": 5000}`.'
    )
    slow_start: int | None = Field(
        1000,
        ge=1,
        description="A new version of a rule sends at most so many messages in the hour of its first, and twice as "
        "many in each hour after. Empty: all at once.",
    )
    quiet_hours: str = Field(
        "21-8",
        pattern=_HOURS,
        description="Marketing messages wait while the user's clock is between these hours. Empty: never.",
    )
    time_zone: str = Field("UTC", description="IANA time zone that counts for users of whom none is known.")
    consent_by_default: bool = Field(
        True, description="Whether rules may use a channel of which a profile's consent says nothing."
    )
    propose_next_best: bool = Field(
        False, description="Whether the daily run also proposes the next best action to users for whom nothing waits."
    )
    senders: int = Field(32, ge=1, le=128, description="How many messages an executor sends at once.")
    lease_seconds: int = Field(60, ge=5, description="How long a claimed action belongs to its executor.")
    first_day: date = Field(date(2012, 1, 1), description="The first day that can be computed; nothing older is.")
    email_channel: Literal["outbox", "resend", "smtp", "sendgrid"] = Field(
        "outbox", description="How e-mail leaves. `outbox` keeps it where the panel shows it and mails nobody."
    )
    dm_channel: Literal["outbox", "inbox", "webhook"] = Field(
        "outbox",
        description="The same for direct messages. With `inbox` the product reads them from the API and shows them.",
    )
    push_channel: Literal["outbox", "webpush"] = Field("outbox", description="The same for push messages.")
    post_channel: Literal["outbox", "webhook"] = Field("outbox", description="The same for posts.")
    alert_channel: Literal["outbox", "webhook", "slack"] = Field("outbox", description="The same for alerts.")
    email_address: str = Field("", description="The address that e-mail comes from, on a domain the provider knows.")
    email_sender: str = Field("", description="The name beside it. Empty: the address stands alone.")
    dm_sender: str = Field("Coach Sarah", description="The name that direct messages are signed with.")
    push_sender: str = Field("Coach Sarah", description="The title of push messages that have no subject.")
    post_sender: str = Field("Coach Sarah", description="The name that posts are signed with.")
    alert_sender: str = Field("ORACLE", description="The name that alerts are signed with.")
    public_url: str = Field(
        "",
        description="Where people reach this installation, `https://oracle.academy.example`: links in e-mails begin "
        "so. Only `/unsubscribe/`, `/t/` and `/api/oracle/webhooks/` need to be open to everybody.",
    )
    postal_address: str = Field("", description="The academy's postal address, which marketing e-mail has to show.")
    secret: SecretStr | None = Field(
        None,
        description="What links in e-mails are signed with, 32 characters or more; another one breaks every link that "
        "was sent. Unset: made once and kept in the database.",
    )
    resend_api_key: SecretStr | None = Field(None, description="Key of Resend, `re_...`.")
    resend_url: str = Field("https://api.resend.com", description="Where Resend's API is.")
    sendgrid_api_key: SecretStr | None = Field(None, description="Key of SendGrid, `SG....`.")
    sendgrid_url: str = Field(
        "https://api.sendgrid.com", description="Where SendGrid's API is; `https://api.eu.sendgrid.com` in the EU."
    )
    resend_webhook_secret: SecretStr | None = Field(
        None, description="What Resend signs its webhooks with, `whsec_...`. Unset: they are not taken."
    )
    sendgrid_webhook_key: str = Field(
        "",
        pattern=rf"^$|^{_P256_KEY}[A-Za-z0-9+/]{{86}}==$",
        description="The verification key that SendGrid shows for its signed event webhook. Empty: it is not taken.",
    )
    reply_address: str = Field(
        "",
        pattern=r"^$|^[A-Za-z0-9._-]{1,18}@([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+$",
        description="Where answers to e-mails go, `reply@inbound.academy.example`, each under an address of its own "
        "(`reply+...@`), so that `replied` is known. A provider has to post what comes there. Empty: answers go to "
        "`ORACLE_EMAIL_ADDRESS`, and nobody knows of them.",
    )
    sendgrid_inbound_password: SecretStr | None = Field(
        None,
        description="The password, 24 characters or more, in the URL that SendGrid's Inbound Parse posts to. Unset: it "
        "is not taken.",
    )
    smtp_host: str = Field("", description="Name of the mail server for `smtp`.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port: usually 587 with `starttls`, 465 with `tls`.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection to it is encrypted; `none` only for a server on this machine."
    )
    smtp_user: str = Field("", description="Name to log in with. Empty: no login.")
    smtp_password: SecretStr | None = Field(None, description="Password to log in with.")
    webhook_url: str = Field("", description="Where the product takes messages: they are posted there, signed.")
    webhook_secret: SecretStr | None = Field(
        None, description="What they are signed with, `whsec_` and base64 (Standard Webhooks)."
    )
    slack_webhook_url: SecretStr | None = Field(
        None, description="Incoming webhook of Slack or of anything that speaks like it, for `slack`."
    )
    vapid_private_key: SecretStr | None = Field(
        None,
        description="What web push is signed with, the base64url of 32 bytes; browsers subscribe to its public half, "
        "so another one ends every subscription. Unset: made once and kept in the database.",
    )
    vapid_subject: str = Field(
        "",
        description="Whom push services write to about what we send, `mailto:` or `https://`. Empty: "
        "`ORACLE_EMAIL_ADDRESS`.",
    )
    push_link: str = Field(
        "/",
        pattern=r"^(/|https://)",
        description="The page that a click on a push message opens: a path of the product, or `https://`.",
    )
    push_hours: int = Field(
        24, ge=1, le=672, description="A push message that reached no device after so many hours is dropped."
    )
    tracking: bool = Field(
        False,
        description="Whether marketing e-mail by SMTP is tracked: a picture tells who opened it, links who clicked.",
    )
    tracked_hosts: str = Field(
        "",
        description="Only links to these hosts are tracked, and tracked links lead nowhere else: "
        "`academy.example, *.academy.example`. Empty: none are.",
    )
    internal_endpoints: bool = Field(
        False,
        description="Whether providers and webhooks may be at private addresses, other ports than 443 and over HTTP: "
        "for a product on the same network.",
    )
    webhook_retention_days: int = Field(
        90, ge=8, description="What providers' webhooks said is kept word for word this many days."
    )
    remind_hours: int = Field(
        24, ge=1, description="People are reminded, once a day, of pending actions older than so."
    )
    run_log_days: int = Field(30, ge=1, description="Dagster's own records of finished runs are kept so many days.")
    alert_webhook_url: str | None = Field(None, description="Where alerts go besides the log: any URL that takes JSON.")

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is no IANA time zone, such as Europe/Berlin") from error

    @field_validator("tracked_hosts")
    @classmethod
    def _are_hosts(cls, hosts: str) -> str:
        for host in _listed(hosts):
            if not re.fullmatch(_HOST, host):
                raise ValueError(f"{host!r} is no host's name, such as academy.example or *.academy.example")
        return hosts.lower()

    @field_validator("resend_webhook_secret")
    @classmethod
    def _is_base64(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None or not secret.get_secret_value():
            return None
        try:
            base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise ValueError("it must be whsec_ and base64, as Resend shows it") from error
        return secret

    @field_validator("sendgrid_inbound_password")
    @classmethod
    def _is_long(cls, password: SecretStr | None) -> SecretStr | None:
        if password is None or not password.get_secret_value():
            return None
        if len(password.get_secret_value()) < _SHORTEST_PASSWORD:
            raise ValueError(f"it must have {_SHORTEST_PASSWORD} characters or more")
        return password

    def __hash__(self) -> int:
        """Return the same for equal settings, dictionaries among them: what is composed for them can be kept."""
        return hash(self.model_dump_json())

    @property
    def home_path(self) -> Path:
        """The home folder, absolute, with `~` expanded."""
        return self.home.expanduser().absolute()

    @property
    def on_loopback(self) -> bool:
        """Whether the API can be reached from this machine only."""
        return self.api_host in LOOPBACK

    @property
    def tracked_host_names(self) -> list[str]:
        """The hosts that tracked links may lead to; one that begins with `*.` is all below it."""
        return _listed(self.tracked_hosts)

    @property
    def host_names(self) -> list[str]:
        """The names in `api_hosts`, or what stands for an empty one, and that of `public_url`."""
        named = _listed(self.api_hosts)
        public = urlsplit(self.public_url).hostname
        return [*(named or (list(LOOPBACK) if self.on_loopback else ["*"])), *([public] if public else [])]


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def inherited() -> dict[str, str]:
    """Return the whole environment of this process, for the children it starts."""
    return dict(os.environ)


@lru_cache(maxsize=1)
def get() -> Settings:
    """Return this process's settings; read once."""
    return Settings()
