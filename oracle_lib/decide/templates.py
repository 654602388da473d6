"""Subject, preheader and body from templates and facts of the user: Jinja in a sandbox, checked at publish.

The result is plain text; a channel that needs HTML escapes it there. A name that is no fact is refused at publish, so
nothing half-filled is ever proposed. A fact may be unknown: the template says what stands in its place,
`{{ first_name or "there" }}`, or leaves the sentence out, `{% if progress is not none %}..{% endif %}`. One that would
show a hole is refused too: it is tried with each fact it names unknown, alone and together with the others.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from oracle_lib.errors import Invalid

# Fact -> what it means: of the user, and of what fired the rule. Plain texts and whole numbers, None where unknown.
FACTS: dict[str, str] = {
    "first_name": "first name from the profile",
    "last_name": "last name from the profile",
    "course_title": "title of the course with the newest completed lesson",
    "progress": "0-100, share of that course's lessons completed",
    "lessons_done": "lessons completed in that course",
    "lessons_left": "lessons of that course still open",
    "lessons_this_week": "lessons completed in the last 7 days",
    "days_silent": "whole days since the user last did anything",
    "engagement_level": "new, active, moderate, dormant or lost",
    "lifecycle": "lead, new, active, engaged, graduate or alumni",
    "event": "name of the event that fired the rule",
    "event_course": "title of the course that this event names",
    "event_amount": "amount of this event, in the academy's currency",
    "days_since": "whole days since the event that a time rule looks back to",
    "changed_from": "what the segment field that fired the rule was before",
    "changed_to": "what this field is now",
}
_NUMBERS = frozenset({"progress", "lessons_done", "lessons_left", "lessons_this_week", "days_silent", "days_since"})
MAX_SUBJECT = MAX_PREHEADER = 255
MAX_CONTENT = 20_000
_MAX_SOURCE = 20_000
_FILTERS = ("capitalize", "default", "first", "int", "join", "length", "lower", "round", "title", "trim", "upper")


class _Missing(jinja2.Undefined):
    """A fact nobody knows: false in a condition, none in a test, and an error wherever it would be shown."""

    __str__ = __len__ = __iter__ = jinja2.Undefined._fail_with_undefined_error

    def __bool__(self) -> bool:
        return False


class _Sandbox(ImmutableSandboxedEnvironment):
    # "x" * 10**9 is a sentence in Jinja; nobody needs it in a message.
    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
        raise jinja2.TemplateRuntimeError(f"`{operator}` is not allowed in a message")


def _shown(value: object) -> object:
    if value is None:
        raise jinja2.UndefinedError("`none` would be shown")
    return value


def _environment() -> _Sandbox:
    made = _Sandbox(undefined=jinja2.StrictUndefined, finalize=_shown, autoescape=False, keep_trailing_newline=False)
    made.filters = {name: made.filters[name] for name in _FILTERS}
    made.tests["none"] = lambda value: value is None or isinstance(value, _Missing)
    made.globals.clear()
    return made


_ENVIRONMENT = _environment()


def check(source: str, *, field: str) -> None:
    """Refuse a template that does not parse, names something that is no fact, or fails for a user we know nothing of.

    Raises `Invalid` with `field`.
    """
    if len(source) > _MAX_SOURCE:
        raise Invalid(
            f"`{field}` has {len(source)} characters; at most {_MAX_SOURCE}.", field=field, code="bad_template"
        )
    try:
        tree = _ENVIRONMENT.parse(source)
        _refuse_loops(tree)
        named = meta.find_undeclared_variables(tree)
        if unknown := sorted(named - FACTS.keys()):
            known = ", ".join(FACTS)
            raise Invalid(
                f"`{field}` names {', '.join(unknown)}; known facts are {known}.", field=field, code="bad_template"
            )
        for sample in _samples(sorted(named)):
            _filled_in(source, sample)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise Invalid(f"`{field}` cannot be filled in: {error}.", field=field, code="bad_template") from error


def line(source: str, facts: Mapping[str, object]) -> str:
    """Fill in a subject or a preheader: one line without control characters, at most 255 characters."""
    text = " ".join(_text(source, facts).split())
    return (text if text.isprintable() else "".join(filter(str.isprintable, text)))[:MAX_SUBJECT]


def body(source: str, facts: Mapping[str, object]) -> str:
    """Fill in a body. Raises `Invalid` when it comes out empty or longer than 20,000 characters."""
    text = _text(source, facts).replace("\x00", "").strip()
    if not 1 <= len(text) <= MAX_CONTENT:
        raise Invalid(f"The message has {len(text)} characters; 1 to {MAX_CONTENT} are allowed.", code="bad_template")
    return text


def _samples(named: list[str]) -> Iterator[dict[str, object]]:
    """Yield users of whom everything is known, nothing, all but one fact, and one fact alone."""
    known: dict[str, object] = {name: 3 if name in _NUMBERS else "Sample" for name in FACTS}
    unknown: dict[str, object] = dict.fromkeys(FACTS)
    yield known
    yield unknown
    for name in named:
        yield {**known, name: None}
        yield {**unknown, name: known[name]}


def _filled_in(source: str, facts: Mapping[str, object]) -> str:
    return _rendered(source, tuple(facts.get(name) for name in _named_in(source)))


@lru_cache(maxsize=4096)
def _rendered(source: str, values: tuple[object, ...]) -> str:
    """Fill in the facts that a template names, in their order. Of many users these few are often the same."""
    there = {
        name: _Missing(f"`{name}` may be unknown and has no fallback; write {{{{ {name} or 'something' }}}}")
        if value is None
        else value
        for name, value in zip(_named_in(source), values, strict=True)
    }
    return _compiled(source).render(there)


def _text(source: str, facts: Mapping[str, object]) -> str:
    try:
        return _filled_in(source, facts)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise Invalid(f"The message cannot be filled in: {error}.", code="bad_template") from error


@lru_cache(maxsize=256)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(source)


@lru_cache(maxsize=256)
def _named_in(source: str) -> tuple[str, ...]:
    return tuple(sorted(meta.find_undeclared_variables(_ENVIRONMENT.parse(source))))


def _refuse_loops(tree: nodes.Template) -> None:
    if next(tree.find_all((nodes.For, nodes.Macro, nodes.Include, nodes.Import, nodes.Extends)), None) is not None:
        raise jinja2.TemplateRuntimeError("loops, macros and imports are not allowed in a message")
