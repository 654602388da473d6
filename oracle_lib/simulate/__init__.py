"""A simulated academy with known truth: who leaves and when, who opens when, what each message really changes.

`Academy.make` draws it from a seed; `load` posts it through the real door; `respond` plays what people do after a
delivery. The same arguments give the same bytes.
"""

from oracle_lib.simulate.academy import Academy, Outlook
from oracle_lib.simulate.loading import LoadReport, load
from oracle_lib.simulate.people import Truth
from oracle_lib.simulate.reactions import LIFTS, Delivery, Lift, Reaction, RespondReport, delivered, react, respond

__all__ = [
    "LIFTS",
    "Academy",
    "Delivery",
    "Lift",
    "LoadReport",
    "Outlook",
    "Reaction",
    "RespondReport",
    "Truth",
    "delivered",
    "load",
    "react",
    "respond",
]
