"""Every figure of the report once more, in SQL written from the figure's definition and the sources alone.

Nothing here reads a rollup: what people did comes from raw events, what ORACLE did from the history of moves, what
followed from raw events that name an action or reach a goal. `:start` and `:stop` are the ends of the week (UTC),
`:last` its last day, `:after` the day after it.
"""

_OWN_ACTS = """(
    'login', 'logout', 'page_view', 'session_start', 'signup', 'lesson_start', 'lesson_complete', 'module_complete',
    'course_complete', 'quiz_pass', 'quiz_fail', 'certificate_download', 'note_created', 'community_post',
    'community_comment', 'dm_read', 'purchase', 'upgrade', 'feedback_given', 'referral_shared', 'support_ticket'
)"""
_IN_WEEK = "created_at >= :start AND created_at < :stop"

_JOINED = """
    SELECT u.id, COALESCE(
        CAST(u.joined_at AS date),
        (SELECT CAST(min(e.created_at) AS date) FROM events e WHERE e.user_id = u.id),
        CAST(u.created_at AS date)) AS joined
    FROM users u
"""


def _happened(event: str) -> str:
    return f"SELECT count(*) FROM events WHERE event = '{event}' AND {_IN_WEEK}"


def _money(*names: str) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return f"""
        SELECT COALESCE(sum(CAST(metadata ->> 'amount' AS numeric)), 0)
        FROM events WHERE event IN ({listed}) AND {_IN_WEEK}
    """


def _engagement(level: str) -> str:
    return f"""
        WITH people AS (
            SELECT joined.joined, max(CAST(e.created_at AS date)) FILTER (WHERE e.event IN {_OWN_ACTS}) AS acted,
                count(*) FILTER (WHERE e.event = 'lesson_complete'
                    AND CAST(e.created_at AS date) > CAST(:last AS date) - 7) AS lessons
            FROM ({_JOINED}) joined LEFT JOIN events e ON e.user_id = joined.id AND e.created_at < :stop
            WHERE joined.joined <= :last GROUP BY joined.id, joined.joined
        ), said AS (
            SELECT CASE
                WHEN CAST(:last AS date) - COALESCE(acted, joined) > 30 THEN 'lost'
                WHEN CAST(:last AS date) - COALESCE(acted, joined) > 14 THEN 'dormant'
                WHEN lessons >= 5 THEN 'active'
                WHEN lessons >= 2 THEN 'moderate'
                WHEN CAST(:last AS date) - joined < 14 THEN 'new'
                ELSE 'moderate' END AS level
            FROM people
        )
        SELECT count(*) FROM said WHERE level = '{level}'
    """


def _became(level: str) -> str:
    return f"""
        SELECT count(DISTINCT user_id) FROM (
            SELECT user_id, new, as_of, lag(new) OVER (PARTITION BY user_id ORDER BY id) AS was
            FROM segment_changes WHERE field = 'engagement_level'
        ) change
        WHERE new = '{level}' AND was <> new AND as_of >= CAST(:start AS date) AND as_of < :after
    """


def _churn(level: str) -> str:
    return f"""
        SELECT count(*) FROM segment_changes c
        WHERE field = 'churn_level' AND new = '{level}' AND as_of < :after AND NOT EXISTS (
            SELECT FROM segment_changes later
            WHERE later.user_id = c.user_id AND later.field = c.field AND later.as_of < :after AND later.id > c.id)
    """


def _moved(*to: str, since: str = "true") -> str:
    listed = ", ".join(f"'{status}'" for status in to)
    return f"""
        SELECT count(DISTINCT action_id) FROM action_changes
        WHERE new_status IN ({listed}) AND {since} AND at >= :start AND at < :stop
    """


# When each executed action was first answered by one of some events that name it.
def _answered(*names: str) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return f"""
        SELECT a.id, a.action_type, a.executed_at, min(e.created_at) AS at
        FROM actions a LEFT JOIN events e ON e.user_id = a.user_id AND e.event IN ({listed})
            AND CAST(a.id AS text) IN (e.metadata ->> 'actionId', e.metadata ->> 'emailId')
            AND e.created_at BETWEEN a.executed_at - interval '1 day' AND a.executed_at + interval '30 days'
        WHERE a.status = 'executed' GROUP BY a.id
    """


_OPENED = _answered("email_open", "dm_read")
_CLICKED = _answered("email_click")

# When each executed action with a goal reached it, and for how much: every goal event belongs to the newest action
# before it that asked for it in time, and an action has the first that belongs to it.
_CONVERTED = """
    WITH asked AS MATERIALIZED (
        SELECT a.id, a.user_id, a.executed_at, v.definition #>> '{goal,event}' AS goal,
            a.executed_at + CAST(v.definition #>> '{goal,within_days}' AS int) * interval '1 day' AS until
        FROM actions a JOIN rule_versions v ON v.rule_id = a.rule_id AND v.version = a.rule_version
        WHERE a.status = 'executed' AND v.definition #>> '{goal,event}' IS NOT NULL
    ), reached AS MATERIALIZED (
        SELECT e.created_at AS at, CAST(e.metadata ->> 'amount' AS numeric) AS amount, (
            SELECT id FROM asked WHERE asked.user_id = e.user_id AND asked.goal = e.event
                AND e.created_at > asked.executed_at AND e.created_at <= asked.until
            ORDER BY executed_at DESC, id DESC LIMIT 1) AS id
        FROM events e WHERE e.user_id IN (SELECT user_id FROM asked) AND e.event IN (SELECT goal FROM asked)
    )
    SELECT asked.id, asked.executed_at, first.at, first.amount FROM asked LEFT JOIN LATERAL (
        SELECT at, amount FROM reached WHERE reached.id = asked.id ORDER BY at LIMIT 1) first ON true
"""


def _in_week(answers: str) -> str:
    return f"SELECT count(*) FROM ({answers}) answers WHERE at >= :start AND at < :stop"


def _share(answers: str, among: str = "true") -> str:
    return f"""
        SELECT CAST(round(100.0 * count(at) FILTER (WHERE at < :stop) / NULLIF(count(*), 0), 1) AS float)
        FROM ({answers}) answers WHERE executed_at >= :start AND executed_at < :stop AND {among}
    """


SQL: dict[str, str] = {
    "active_users": f"SELECT count(DISTINCT user_id) FROM events WHERE event IN {_OWN_ACTS} AND {_IN_WEEK}",
    "new_users": f"SELECT count(*) FROM ({_JOINED}) joined WHERE joined >= CAST(:start AS date) AND joined < :after",
    "engagement_active": _engagement("active"),
    "engagement_moderate": _engagement("moderate"),
    "engagement_new": _engagement("new"),
    "engagement_dormant": _engagement("dormant"),
    "engagement_lost": _engagement("lost"),
    "became_dormant": _became("dormant"),
    "became_lost": _became("lost"),
    "churn_low": _churn("low"),
    "churn_medium": _churn("medium"),
    "churn_high": _churn("high"),
    "churn_critical": _churn("critical"),
    "lessons_completed": _happened("lesson_complete"),
    "courses_completed": _happened("course_complete"),
    "quiz_pass_rate": f"""
        SELECT CAST(round(100 * avg(CASE event WHEN 'quiz_pass' THEN 1 ELSE 0 END), 1) AS float)
        FROM events WHERE event IN ('quiz_pass', 'quiz_fail') AND {_IN_WEEK}
    """,
    "revenue": _money("purchase", "upgrade"),
    "refunds": _money("refund"),
    "net_revenue": f"""
        SELECT sum(CAST(metadata ->> 'amount' AS numeric) * CASE event WHEN 'refund' THEN -1 ELSE 1 END)
        FROM events WHERE event IN ('purchase', 'upgrade', 'refund') AND {_IN_WEEK}
    """,
    "actions_proposed": f"SELECT count(*) FROM actions WHERE {_IN_WEEK}",
    "actions_approved": _moved("approved", since="old_status = 'pending'"),
    "actions_rejected": _moved("rejected"),
    "actions_executed": _moved("executed"),
    "actions_failed": _moved("failed", "unknown"),
    "opened": _in_week(_OPENED),
    "clicked": _in_week(_CLICKED),
    "converted": _in_week(_CONVERTED),
    "converted_revenue": f"""
        SELECT COALESCE(sum(amount), 0) FROM ({_CONVERTED}) answers WHERE at >= :start AND at < :stop
    """,
    "open_rate": _share(_OPENED, "action_type IN ('email', 'dm')"),
    "click_rate": _share(_CLICKED, "action_type = 'email'"),
    "conversion_rate": _share(_CONVERTED),
    "rejected_events": "SELECT count(*) FROM rejected_events WHERE received_at >= :start AND received_at < :stop",
}
