"""A message never shows a hole: what may be unknown has a fallback, or the rule is not published."""

import random
import string

import pytest

from oracle_lib.decide import templates
from oracle_lib.errors import Invalid
from tests.conftest import FULL


@pytest.mark.parametrize(
    "text",
    [
        "Hi {{ first_name }}",
        "Hi {{ first_name ~ '!' }}",
        "{{ first_name | upper }}",
        "{{ [first_name] | join }}",
        "{{ first_name | length }}",
        "{{ lessons_left | int }}",
        "{% if first_name %}{{ last_name }}{% endif %}",
        "{% set name = first_name %}{{ name }}",
        "{% if progress > 3 %}Nearly there{% endif %}",
        "{{ first_name or none }}",
        "{{ nickname or 'there' }}",
    ],
)
def test_a_fact_without_a_fallback_is_refused_when_the_rule_is_published(text: str) -> None:
    with pytest.raises(Invalid, match=r"text"):
        templates.check(text, field="text")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Hi {{ first_name or 'there' }}", "Hi there"),
        ("Hi {{ first_name | default('you') | upper }}", "Hi YOU"),
        ("{% if progress is not none %}{{ progress }} %{% else %}A start{% endif %}", "A start"),
        ("{% if event == 'purchase' %}Thank you{% endif %}Hello", "Hello"),
        ("{% if lessons_left is none or lessons_left > 3 %}Go on{% endif %}.", "Go on."),
    ],
)
def test_a_stated_fallback_stands_where_nothing_is_known(text: str, read: str) -> None:
    templates.check(text, field="text")
    assert templates.body(text, dict.fromkeys(templates.FACTS)) == read


def test_what_a_stored_template_cannot_fill_in_is_an_error_and_never_a_hole() -> None:
    with pytest.raises(Invalid, match="first_name"):
        templates.body("Hi {{ first_name }}", dict.fromkeys(templates.FACTS))


PIECES = (
    "{{ 7 * 7 }}",
    "{% for x in range(10**9) %}x{% endfor %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{% include '/etc/passwd' %}",
    "{# #}",
    "'; DROP TABLE users; --",
    '"\\x00',
    "\u202e\u200b",
    "☃ é \U0001f600",
    "<script>alert(1)</script>",
    "%s %(name)s {name} ${name}",
    "{{",
    "%}",
)


def hostile(count: int) -> list[str]:
    drawn = random.Random(4)
    letters = string.printable + "äß漢\u202e{}%"
    made = ["".join(drawn.choices(letters, k=drawn.randrange(1, 60))) for _ in range(count)]
    return [drawn.choice(PIECES) + one + drawn.choice(PIECES) for one in made]


def test_what_a_fact_says_is_shown_as_it_is_and_never_run() -> None:
    for value in hostile(10_000 if FULL else 500):
        read = templates.body("<{{ first_name or 'you' }}>", {**dict.fromkeys(templates.FACTS), "first_name": value})
        assert read == f"<{value}>".replace("\x00", "")


def test_a_hostile_template_is_refused_or_shows_text_and_reaches_nothing() -> None:
    unknown = dict.fromkeys(templates.FACTS)
    refused = 0
    for source in hostile(10_000 if FULL else 500):
        try:
            templates.check(source, field="text")
            shown = templates.body(source, unknown)
        except Invalid:
            refused += 1
            continue
        assert "uid=" not in shown
        assert "root:" not in shown
    assert refused > 0


@pytest.mark.parametrize("source", PIECES[:5])
def test_what_would_reach_out_or_run_long_is_refused(source: str) -> None:
    with pytest.raises(Invalid):
        templates.check(source, field="text")
