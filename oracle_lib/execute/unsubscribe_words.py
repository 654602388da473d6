"""What the page to unsubscribe and the footer of letters say, in each language that they are there in.

Another language is another `Words` in `_BY_TAG`. `{topic}` is what the e-mail was about, `{until}` a day.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Saying:
    """A title and a sentence."""

    title: str
    text: str


@dataclass(frozen=True)
class Words:
    """All that both say in one language; `asks` is what the page says while nothing was asked for."""

    language: str
    asks: Saying
    stopped: Saying
    paused: Saying
    no_topic: Saying
    fewer: Saying
    again: Saying
    unknown: Saying
    # The buttons.
    stop: str
    refuse_topic: str
    want_fewer: str
    pause: str
    resume: str
    # What stands before the link in a letter.
    leads_here: str
    # How a day is written, with `{day}`, `{month}` and `{year}`.
    date: str
    months: tuple[str, ...]

    def day(self, moment: datetime) -> str:
        """Return a moment's day."""
        return self.date.format(day=moment.day, month=self.months[moment.month - 1], year=moment.year)


ENGLISH = Words(
    language="en",
    asks=Saying(
        "Do you want fewer of these e-mails, or none?",
        "Messages that your account needs, such as receipts, still reach you either way.",
    ),
    stopped=Saying(
        "You are unsubscribed",
        "You will get no more of these e-mails. Messages that your account needs still reach you.",
    ),
    paused=Saying("You have paused these e-mails", "You will get none before {until}."),
    no_topic=Saying("No more about {topic}", "You will get no more e-mails about {topic}."),
    fewer=Saying("You get fewer of these e-mails", "You will get one a week at most."),
    again=Saying("You get these e-mails again", "You can change your mind at any time."),
    unknown=Saying("This link is not valid", "Open the link in the e-mail again, or copy all of it."),
    stop="Unsubscribe from all of them",
    refuse_topic="No more about {topic}",
    want_fewer="One a week at most",
    pause="Pause for 30 days",
    resume="Get these e-mails again",
    leads_here="Unsubscribe",
    date="{day} {month} {year}",
    months=(
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
)
GERMAN = Words(
    language="de",
    asks=Saying(
        "Möchten Sie weniger dieser E-Mails oder keine mehr?",
        "Was Ihr Konto betrifft, zum Beispiel Rechnungen, bekommen Sie in jedem Fall weiter.",
    ),
    stopped=Saying(
        "Sie sind abgemeldet",
        "Sie bekommen diese E-Mails nicht mehr. Was Ihr Konto betrifft, bekommen Sie weiter.",
    ),
    paused=Saying("Diese E-Mails machen Pause", "Vor dem {until} bekommen Sie keine."),
    no_topic=Saying("Nichts mehr zum Thema „{topic}“", "Sie bekommen keine E-Mails mehr zum Thema „{topic}“."),
    fewer=Saying("Sie bekommen weniger dieser E-Mails", "Es ist höchstens eine pro Woche."),
    again=Saying("Sie bekommen diese E-Mails wieder", "Sie können sich jederzeit umentscheiden."),
    unknown=Saying(
        "Dieser Link ist ungültig", "Öffnen Sie den Link in der E-Mail noch einmal, oder kopieren Sie ihn ganz."
    ),
    stop="Von allen abmelden",
    refuse_topic="Nichts mehr zum Thema „{topic}“",
    want_fewer="Höchstens eine pro Woche",
    pause="30 Tage Pause",
    resume="Diese E-Mails wieder bekommen",
    leads_here="Abmelden",
    date="{day}. {month} {year}",
    months=(
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ),
)
SPANISH = Words(
    language="es",
    asks=Saying(
        "¿Quiere recibir menos correos como este, o ninguno?",
        "Los mensajes que su cuenta necesita, como los recibos, le llegarán en cualquier caso.",
    ),
    stopped=Saying(
        "Su suscripción está cancelada",
        "No recibirá más correos como este. Los mensajes que su cuenta necesita le seguirán llegando.",
    ),
    paused=Saying("Estos correos están en pausa", "No recibirá ninguno antes del {until}."),
    no_topic=Saying("Nada más sobre {topic}", "No recibirá más correos sobre {topic}."),
    fewer=Saying("Recibirá menos correos como este", "Le llegará uno por semana como máximo."),
    again=Saying("Vuelve a recibir estos correos", "Puede cambiar de opinión en cualquier momento."),
    unknown=Saying("Este enlace no es válido", "Abra de nuevo el enlace del correo o cópielo entero."),
    stop="Cancelar todos",
    refuse_topic="Nada más sobre {topic}",
    want_fewer="Uno por semana como máximo",
    pause="Pausa de 30 días",
    resume="Volver a recibir estos correos",
    leads_here="Cancelar la suscripción",
    date="{day} de {month} de {year}",
    months=(
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ),
)
_BY_TAG = {words.language: words for words in (ENGLISH, GERMAN, SPANISH)}


def words_for(locale: str | None, accepted: str = "") -> Words:
    """Return the words in the language of the user's profile, else the best of an `Accept-Language`, else English."""
    tags = [locale or "", *_by_preference(accepted)]
    return next((_BY_TAG[main] for tag in tags if (main := tag.split("-")[0].lower()) in _BY_TAG), ENGLISH)


def _by_preference(accepted: str) -> Iterator[str]:
    """Yield the tags of an `Accept-Language`, the most welcome first; one of which nothing can be read is left out."""
    weighed = []
    for part in accepted.replace(" ", "").split(","):
        tag, _, weight = part.partition(";q=")
        try:
            weighed.append((float(weight or 1), tag))
        except ValueError:
            continue
    yield from (tag for weight, tag in sorted(weighed, key=lambda one: -one[0]) if weight > 0)
