"""In which form people learn: beside lessons, videos, recordings, texts and exercises, mostly of the kind they like."""

import numpy as np
from numpy.random import Generator

from oracle_lib.observe.catalogue import STYLES
from oracle_lib.simulate.people import People
from oracle_lib.simulate.rows import NAMES, NONE, Rows, rows

_SHARE = 0.5
# Of four forms, how often it is the one they like; otherwise any.
_LIKED = 0.6
_EVENTS = tuple(STYLES)
_LESSON = NAMES.index("lesson_start")


def forms(people: People, events: Rows, rng: Generator) -> list[Rows]:
    """Return what half of the lessons among `events` were learned from, half a minute into them."""
    lessons = events.take((events.kind == _LESSON) & (events.lesson != NONE))
    lessons = lessons.take(rng.random(len(lessons)) < _SHARE)
    any_form = rng.integers(0, len(_EVENTS), len(lessons))
    form = np.where(rng.random(len(lessons)) < _LIKED, people.style[lessons.user], any_form)
    return [
        rows(
            name,
            lessons.user[form == place],
            lessons.at[form == place] + 30,
            course=lessons.course[form == place],
            lesson=lessons.lesson[form == place],
            session=lessons.session[form == place],
        )
        for place, name in enumerate(_EVENTS)
    ]
