"""What is predicted: of whom, and what has to happen within how many days for it to have come true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from oracle_lib.settings import Settings
from oracle_lib.storage.tables.activity import LIFETIME_COUNTS, WINDOWS

if TYPE_CHECKING:
    import ibis

# Users silent for longer are lost already: predicting them again would flatter every figure.
AT_RISK_DAYS = 30
# What a model may know of a user: what they did, and nothing of who they are. `active_weeks_4` stands for the windows
# that only it is made of. Logins are kept for rules: what a user did holds them already.
FEATURES = (
    "recency",
    "days_joined",
    "active_weeks_4",
    "revenue",
    "refunds",
    *(f"{measure}_{days}d" for measure, windows in WINDOWS.items() for days in windows if measure != "login"),
    *(f"{kind}_total" for kind in LIFETIME_COUNTS if kind != "unpriced"),
)


@dataclass(frozen=True)
class Target:
    """One thing that is predicted.

    `happens` is the column of `user_days` that shows it; with `absent` it has come true when nothing shows. `asked_of`
    says for rows of `features.state_expr` of whom it is asked.
    """

    name: str
    happens: str
    asked_of: Callable[[ibis.Table], ibis.Value]
    absent: bool = False

    def horizon(self, settings: Settings) -> timedelta:
        """Return how long it may take to come true."""
        return timedelta(days=settings.churn_horizon_days if self.absent else settings.prediction_horizon_days)


def _here(state: ibis.Table) -> ibis.Value:
    return (state.days_silent < AT_RISK_DAYS) & state.last_active_at.notnull()


CHURN = Target("churn", "acted", _here, absent=True)
COMPLETION = Target(
    "completion",
    "course_complete",
    lambda state: _here(state) & (state.lesson_complete_total > 0) & (state.course_complete_total == 0),
)
UPGRADE = Target(
    "upgrade", "upgrade", lambda state: _here(state) & (state.purchase_total > 0) & (state.upgrade_total == 0)
)
REFERRAL = Target("referral", "referral_shared", _here)
TARGETS = (CHURN, COMPLETION, UPGRADE, REFERRAL)
