"""The figures of the week's report by name: each with its words, its unit and its definition in a sentence."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Unit = Literal["count", "money", "percent"]
# Counts are int, money is Decimal in the installation's currency, percent is a float 0-100 with one decimal.
Value = int | float | Decimal | None
SECTIONS = ("People", "Learning", "Money", "What ORACLE did", "What followed", "Input")
ENGAGEMENT = ("active", "moderate", "new", "dormant", "lost")
CHURN = ("low", "medium", "high", "critical")


@dataclass(frozen=True)
class Kind:
    """A figure's name, words and unit."""

    id: str
    label: str
    unit: Unit
    section: str
    definition: str


@dataclass(frozen=True)
class Figure:
    """One counted figure. `change` is `value` less `before` (points for a percent); None where either has no data."""

    id: str
    label: str
    section: str
    unit: Unit
    value: Value
    before: Value
    change: Value
    definition: str


KINDS: tuple[Kind, ...] = (
    Kind("active_users", "Active users", "count", "People", "Users who did something themselves on a day of the week."),
    Kind(
        "new_users",
        "New users",
        "count",
        "People",
        "Users who joined in the week: by their profile, else by their first event, else by when the profile was made.",
    ),
    *(
        Kind(
            f"engagement_{level}",
            f"Engagement: {level}",
            "count",
            "People",
            f"Users whose engagement level was {level} at the end of the week.",
        )
        for level in ENGAGEMENT
    ),
    Kind(
        "became_dormant",
        "Became dormant",
        "count",
        "People",
        "Users whose engagement level changed to dormant on a day of the week.",
    ),
    Kind(
        "became_lost",
        "Became lost",
        "count",
        "People",
        "Users whose engagement level changed to lost on a day of the week.",
    ),
    *(
        Kind(
            f"churn_{level}",
            f"Churn risk: {level}",
            "count",
            "People",
            f"Users whose churn risk was {level} at the end of the week; in the newest week, if no risk was recorded by"
            " its end, when the report was made.",
        )
        for level in CHURN
    ),
    Kind("lessons_completed", "Lessons completed", "count", "Learning", "Completions of a lesson in the week."),
    Kind("courses_completed", "Courses completed", "count", "Learning", "Completions of a course in the week."),
    Kind(
        "quiz_pass_rate",
        "Quiz pass rate",
        "percent",
        "Learning",
        "Of the quizzes passed or failed in the week, the share passed.",
    ),
    Kind("revenue", "Revenue", "money", "Money", "Amounts of purchases and upgrades in the week."),
    Kind("refunds", "Refunds", "money", "Money", "Amounts refunded in the week."),
    Kind("net_revenue", "Net revenue", "money", "Money", "Revenue less refunds."),
    Kind("actions_proposed", "Proposed", "count", "What ORACLE did", "Actions made in the week."),
    Kind("actions_approved", "Approved", "count", "What ORACLE did", "Actions approved in the week."),
    Kind("actions_rejected", "Rejected", "count", "What ORACLE did", "Actions rejected in the week."),
    Kind("actions_executed", "Executed", "count", "What ORACLE did", "Actions executed in the week."),
    Kind("actions_failed", "Failed", "count", "What ORACLE did", "Actions that became failed or unknown in the week."),
    Kind("opened", "Opened", "count", "What followed", "Actions first opened in the week, whenever executed."),
    Kind("clicked", "Clicked", "count", "What followed", "Actions first clicked in the week, whenever executed."),
    Kind("converted", "Converted", "count", "What followed", "Actions whose goal was reached in the week."),
    Kind(
        "converted_revenue",
        "Money of conversions",
        "money",
        "What followed",
        "Amounts of the goal events credited to actions in the week.",
    ),
    Kind(
        "open_rate",
        "Open rate",
        "percent",
        "What followed",
        "Of the emails and DMs executed in the week, the share opened before it ended.",
    ),
    Kind(
        "click_rate",
        "Click rate",
        "percent",
        "What followed",
        "Of the emails executed in the week, the share clicked before it ended.",
    ),
    Kind(
        "conversion_rate",
        "Conversion rate",
        "percent",
        "What followed",
        "Of the actions with a goal executed in the week, the share whose goal was reached before it ended.",
    ),
    Kind("rejected_events", "Rejected events", "count", "Input", "Events refused at the door in the week."),
)
