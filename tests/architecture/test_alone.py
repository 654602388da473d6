"""Who asks for the machine alone gets it, also while others come and go."""

import threading
import time
from pathlib import Path

import pytest

from tests.alone import room


@pytest.mark.timeout(30)
def test_others_wait_for_who_is_alone_and_do_not_pass_who_waits_for_it(tmp_path: Path) -> None:
    door, inside = tmp_path / "door", tmp_path / "room"
    door.touch()
    inside.touch()
    order: list[str] = []

    def enter(name: str, alone: bool) -> None:
        with room(alone=alone, door=door, inside=inside):
            order.append(f"{name} in")
            time.sleep(0.2)
            order.append(f"{name} out")

    visitors = [threading.Thread(target=enter, args=(name, name == "alone")) for name in ("first", "alone", "second")]
    for visitor in visitors:
        visitor.start()
        time.sleep(0.05)
    for visitor in visitors:
        visitor.join()
    assert order == ["first in", "first out", "alone in", "alone out", "second in", "second out"]
    both = [threading.Thread(target=enter, args=(name, False)) for name in ("third", "fourth")]
    for visitor in both:
        visitor.start()
    for visitor in both:
        visitor.join()
    assert sorted(order[6:8]) == ["fourth in", "third in"]
