"""What is stored: one file a subject, and no other place that says it. Alembic moves these tables."""

from oracle_lib.storage.tables.access import api_keys, audit_log, secrets
from oracle_lib.storage.tables.actions import (
    ACTION_STATUSES,
    ACTION_TYPES,
    LEGAL_MOVES,
    action_changes,
    action_versions,
    actions,
    fewer_wanted,
    group_edits,
    messages,
    outcomes,
    refused_topics,
    sending_stops,
    suppressions,
)
from oracle_lib.storage.tables.activity import WINDOWS, activity, habits, user_day_events, user_days, user_lessons
from oracle_lib.storage.tables.base import metadata
from oracle_lib.storage.tables.catalogue import courses, lessons
from oracle_lib.storage.tables.events import (
    dirty_user_days,
    dirty_users,
    event_keys,
    events,
    rejected_events,
    sealed_days,
    watermarks,
)
from oracle_lib.storage.tables.experiments import assignments, experiments, rule_effects
from oracle_lib.storage.tables.intake import event_tails, tailed_events, tracking_plan
from oracle_lib.storage.tables.models import checks, models, past_scores, predictions, value_forecasts
from oracle_lib.storage.tables.operations import imports, insights, reports, run_requests
from oracle_lib.storage.tables.push import push_subscriptions
from oracle_lib.storage.tables.rules import rule_versions, rules, skips, user_tags
from oracle_lib.storage.tables.segments import segment_changes, segment_counts, segments
from oracle_lib.storage.tables.users import aliases, profile_changes, users
from oracle_lib.storage.tables.webhooks import webhook_inbox

__all__ = [
    "ACTION_STATUSES",
    "ACTION_TYPES",
    "LEGAL_MOVES",
    "WINDOWS",
    "action_changes",
    "action_versions",
    "actions",
    "activity",
    "aliases",
    "api_keys",
    "assignments",
    "audit_log",
    "checks",
    "courses",
    "dirty_user_days",
    "dirty_users",
    "event_keys",
    "event_tails",
    "events",
    "experiments",
    "fewer_wanted",
    "group_edits",
    "habits",
    "imports",
    "insights",
    "lessons",
    "messages",
    "metadata",
    "models",
    "outcomes",
    "past_scores",
    "predictions",
    "profile_changes",
    "push_subscriptions",
    "refused_topics",
    "rejected_events",
    "reports",
    "rule_effects",
    "rule_versions",
    "rules",
    "run_requests",
    "sealed_days",
    "secrets",
    "segment_changes",
    "segment_counts",
    "segments",
    "sending_stops",
    "skips",
    "suppressions",
    "tailed_events",
    "tracking_plan",
    "user_day_events",
    "user_days",
    "user_lessons",
    "user_tags",
    "users",
    "value_forecasts",
    "watermarks",
    "webhook_inbox",
]
