"""The page to unsubscribe says the same in each language, and picks the one that its reader knows best."""

from dataclasses import fields
from datetime import UTC, datetime
from string import Formatter

import pytest

from oracle_lib.execute.unsubscribe_words import ENGLISH, GERMAN, SPANISH, Saying, Words, words_for


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def texts(words: Words) -> dict[str, str]:
    found = {}
    for field in fields(Words):
        match getattr(words, field.name):
            case Saying(title, text):
                found |= {f"{field.name}.title": title, f"{field.name}.text": text}
            case str(text):
                found[field.name] = text
    return found


@pytest.mark.parametrize("words", [GERMAN, SPANISH])
def test_every_language_has_every_text_with_the_same_names_in_it(words: Words) -> None:
    here, there = texts(words), texts(ENGLISH)
    assert all(here.values())
    assert {place: names(text) for place, text in here.items()} == {place: names(text) for place, text in there.items()}
    assert len(set(words.months)) == 12


@pytest.mark.parametrize(
    ("words", "day"), [(ENGLISH, "4 March 2026"), (GERMAN, "4. März 2026"), (SPANISH, "4 de marzo de 2026")]
)
def test_a_day_is_written_as_the_language_writes_it(words: Words, day: str) -> None:
    assert words.day(datetime(2026, 3, 4, 12, tzinfo=UTC)) == day


@pytest.mark.parametrize(
    ("locale", "accepted", "found"),
    [
        ("de-CH", "es", GERMAN),
        ("DE", "es", GERMAN),
        ("fr", "es-MX,en", SPANISH),
        (None, "en;q=0.2, de; q=0.7, fr", GERMAN),
        (None, "de;q=0, es;q=0.1", SPANISH),
        (None, "", ENGLISH),
        (None, "*", ENGLISH),
        (None, ";q=;;,=,de;q=x,-", ENGLISH),
        (None, "de;q=nan", ENGLISH),
    ],
)
def test_the_profile_decides_then_the_browser_then_english(locale: str | None, accepted: str, found: Words) -> None:
    assert words_for(locale, accepted) is found
