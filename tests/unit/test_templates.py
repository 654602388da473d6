"""A message never shows a hole: what may be unknown has a fallback, or the rule is not published."""

import pytest

from oracle_lib.decide import templates
from oracle_lib.errors import Invalid


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
