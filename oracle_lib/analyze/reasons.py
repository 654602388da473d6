"""What a prediction rests on: features put together to factors that people understand, and how much each adds.

The contribution of a factor is how far the logit of the model lies above what it would be if the factor's features were
typical: their median over the training rows to which it did not happen. It says what the model looks at, not what
causes what. Contributions of factors that a model weighs together need not add up to the whole.
"""

from dataclasses import dataclass

from oracle_lib.analyze import formulas
from oracle_lib.analyze.formulas import Parameters

# A risk under this is low, and needs no reason.
FROM_RISK = 0.25
# The temporary table of one scoring: why those are likely to leave who are.
TABLE = "reasons"


@dataclass(frozen=True)
class Factor:
    """One factor: its features, and a sentence on them with a place for each value it names."""

    name: str
    features: tuple[str, ...]
    sentence: str


FACTORS = (
    Factor(
        "inactivity",
        (
            "recency",
            "acted_1d",
            "acted_7d",
            "acted_30d",
            "acted_90d",
            "active_days_7d",
            "active_days_30d",
            "active_days_90d",
            "active_weeks_4",
            "seconds_7d",
            "seconds_30d",
        ),
        "Silent for {recency:.0f} days; active on {active_days_7d:.0f} of 7 and {active_days_30d:.0f} of 30 days",
    ),
    Factor(
        "lessons",
        (
            "lesson_complete_1d",
            "lesson_complete_7d",
            "lesson_complete_30d",
            "lesson_complete_90d",
            "lesson_complete_total",
            "module_complete_total",
        ),
        "{lesson_complete_7d:.0f} lessons completed in 7 days, {lesson_complete_30d:.0f} in 30,"
        " {lesson_complete_total:.0f} in all",
    ),
    Factor(
        "quizzes",
        ("quiz_pass_30d", "quiz_fail_7d", "quiz_fail_30d"),
        "{quiz_fail_30d:.0f} quizzes failed and {quiz_pass_30d:.0f} passed in 30 days",
    ),
    Factor("refunds", ("refunds",), "{refunds:.2f} paid back"),
    Factor(
        "messages",
        ("email_sent_90d", "email_open_90d", "email_click_90d", "dm_sent_90d", "dm_read_90d"),
        "Of {email_sent_90d:.0f} mails in 90 days {email_open_90d:.0f} opened and {email_click_90d:.0f} clicked;"
        " {dm_read_90d:.0f} of {dm_sent_90d:.0f} direct messages read",
    ),
    Factor(
        "purchases",
        ("revenue", "purchase_total", "upgrade_total"),
        "{purchase_total:.0f} purchases and {upgrade_total:.0f} upgrades, {revenue:.2f} in all",
    ),
    Factor("tenure", ("days_joined",), "Joined {days_joined:.0f} days ago"),
    Factor("community", ("community_30d",), "{community_30d:.0f} posts and comments in 30 days"),
    Factor(
        "courses",
        ("course_complete_total", "course_withdrawn_total"),
        "{course_complete_total:.0f} courses completed, {course_withdrawn_total:.0f} withdrawn from",
    ),
)
# `churn_reason` -> its factor, and when the word is true of a user whom that factor speaks against.
_WORDS = {
    "inactivity": ("inactivity", "TRUE"),
    "no_progress": ("lessons", "lesson_complete_total = 0"),
    "stuck": ("lessons", "lesson_complete_total > 0 AND lesson_complete_7d = 0"),
    "quiz_failures": ("quizzes", "quiz_fail_30d > 0"),
    "refund": ("refunds", "refunds > 0"),
    "unresponsive": ("messages", "email_sent_90d > 0 AND email_open_90d + email_click_90d = 0"),
}
WORDS = tuple(_WORDS)


def contributions_sql(parameters: Parameters) -> dict[str, str]:
    """Return each factor's contribution in logits, as SQL over the columns of `predictor.asked_expr`."""
    return {factor.name: formulas.contribution_sql(parameters, factor.features) for factor in FACTORS}


def sql(churn: Parameters | None) -> str:
    """Return the query (user_id, reason) of those likely to leave: the word whose factor adds most to their risk.

    Over `asked` and `scored`. Without a model there is none: silence is all that is judged then.
    """
    if churn is None:
        return "SELECT NULL::text AS user_id, NULL::text AS reason LIMIT 0"
    added = contributions_sql(churn)
    # No column at all where the word is not true of a user: GREATEST passes over what is unknown.
    columns = [f"CASE WHEN {true} THEN {added[factor]} END AS {word}" for word, (factor, true) in _WORDS.items()]
    # Worked out once each, before they are compared.
    weighed = (
        f"SELECT asked.user_id, {', '.join(columns)} FROM asked JOIN scored ON scored.user_id = asked.user_id"
        f" WHERE scored.asks_churn AND scored.churn_risk >= {FROM_RISK}"
    )
    most = f"greatest({', '.join(_WORDS)})"
    cases = " ".join(f"WHEN {word} = {most} THEN '{word}'" for word in _WORDS)
    return f"WITH weighed AS MATERIALIZED ({weighed}) SELECT user_id, CASE {cases} END AS reason FROM weighed"
