"""Alerts to people who keep ORACLE running: always in the log, and to `ORACLE_ALERT_WEBHOOK_URL` if it is set.

An alert that cannot be delivered is logged and never breaks what it reports on.
"""

import logging
from collections.abc import Mapping

import httpx

from oracle_lib.settings import Settings

_SECONDS = 5.0
_log = logging.getLogger("oracle.alerts")


def alert(settings: Settings, title: str, facts: Mapping[str, object]) -> bool:
    """Log an alert and post it as JSON (`text` is what Slack-compatible receivers show); say whether it arrived."""
    text = f"{title}. " + " ".join(f"{name}: {value}." for name, value in facts.items())
    _log.warning(text)
    if not settings.alert_webhook_url:
        return False
    body = {"text": text, "title": title, "facts": {name: str(value) for name, value in facts.items()}}
    try:
        httpx.post(settings.alert_webhook_url, json=body, timeout=_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        _log.warning("The alert did not reach ORACLE_ALERT_WEBHOOK_URL: %s", type(error).__name__)
        return False
    return True
