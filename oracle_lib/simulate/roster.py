"""The profiles of simulated people, as rows of table `users`: names, addresses at example.com, consent and traits."""

from datetime import date, timedelta

from oracle_lib.clock import start_of
from oracle_lib.simulate.people import CHANNELS, GOALS, STYLES, ZONES, People, user_id

# fmt: off
_FIRST_NAMES = (
    "Amara", "Ben", "Chloe", "Daniel", "Elena", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Kavya", "Liam",
    "Maria", "Noah", "Olivia", "Pedro", "Quinn", "Rosa", "Samir", "Tara", "Uma", "Victor", "Wendy", "Xavier",
    "Yara", "Zoe",
)
_LAST_NAMES = (
    "Adams", "Bauer", "Costa", "Diaz", "Evans", "Fischer", "Garcia", "Haddad", "Ito", "Jensen", "Khan",
    "Lopez", "Miller", "Nguyen", "Okafor", "Patel", "Reyes", "Silva", "Tanaka", "Ueda", "Vargas", "Weber",
    "Young", "Zhang", "Brown",
)
# fmt: on
_LOCALES = ("en-US", "en-US", "pt-BR", "en-GB", "de-DE", "en-NG", "en-IN", "ja-JP", "en-AU")


def profiles(block: People, start: date) -> list[dict[str, object]]:
    """Return one row a user of the block; days of the block count from `start`."""
    midnight = start_of(start)
    facts = zip(block.joined_at.tolist(), block.zone.tolist(), _traits(block), block.consent.tolist(), strict=True)
    found: list[dict[str, object]] = []
    for number, (joined_at, zone, traits, consent) in enumerate(facts, block.first):
        first, last = _name(number)
        found.append(
            {
                "id": user_id(number),
                "email": f"{first}.{last}.{number + 1}@example.com".lower(),
                "first_name": first,
                "last_name": last,
                "time_zone": ZONES[zone],
                "locale": _LOCALES[zone],
                "joined_at": midnight + timedelta(seconds=joined_at),
                "traits": traits,
                "consent": dict(zip(CHANNELS, consent, strict=True)),
            }
        )
    return found


def _traits(block: People) -> list[dict[str, str]]:
    """Return what each user told of themselves when they were asked: some answer, some do not."""
    goals = [{"goal": GOALS[goal]} if told else {} for goal, told in zip(block.goal, block.tells_goal, strict=True)]
    styles = [
        {"learningStyle": STYLES[style]} if told else {}
        for style, told in zip(block.style, block.tells_style, strict=True)
    ]
    return [goal | style for goal, style in zip(goals, styles, strict=True)]


def _name(number: int) -> tuple[str, str]:
    # Both lists have lengths without a common divisor: 650 pairs before one comes again.
    return _FIRST_NAMES[number % len(_FIRST_NAMES)], _LAST_NAMES[number % len(_LAST_NAMES)]
