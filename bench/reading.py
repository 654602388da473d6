"""What people wait for: the lists and pages a panel asks for, over HTTP, on the large academy."""

import random

from bench.academy import LAST, NOW, Academy
from bench.result import Result, Say
from bench.service import Service, api, send

_ASKED = 200
_BUDGET = {"users list": 100, "users list, one level": 100, "panel overview": 100}


def measure(academy: Academy, *, say: Say) -> list[Result]:
    """Ask for each page again and again, one request after another, each about somebody else."""
    rnd = random.Random(1)
    somebody = [f"u{rnd.randrange(academy.users)}" for _ in range(_ASKED)]
    since = f"{LAST}T00:00:00Z"
    pages = {
        "users list": [f"/api/oracle/segments?limit=50&cursor={user}" for user in somebody],
        "users list, one level": [f"/api/oracle/segments?churnLevel=high&cursor={user}" for user in somebody],
        "one user's segment": [f"/api/oracle/segments/{user}" for user in somebody],
        "one user's events": [f"/api/oracle/events?userId={user}&since={since}" for user in somebody],
        "pending actions": ["/api/oracle/actions?status=pending"] * _ASKED,
        "panel overview": ["/admin/oracle"] * (_ASKED // 4),
    }
    with api(academy.store, NOW) as service:
        return [
            Result(f"{name}, p95", _p95(service, name, paths, say), "ms", _BUDGET.get(name))
            for name, paths in pages.items()
        ]


def _p95(service: Service, name: str, paths: list[str], say: Say) -> float:
    requests = [service.request("GET", path) for path in paths]
    send(service, requests[:5], clients=1)
    milliseconds = send(service, requests, clients=1).at(95)
    say(f"  {name}: p95 {milliseconds:.1f} ms")
    return milliseconds
