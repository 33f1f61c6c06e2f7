"""Works are timed beside each other, each round in an order of its own."""

from __future__ import annotations

import gc
from time import sleep

import pytest

from vggviz.platform.timing import interleaved


def test_each_round_runs_every_work_once_in_an_order_of_its_own() -> None:
    ran: list[str] = []
    works = {name: lambda name=name: ran.append(name) for name in "abcdef"}
    told: list[tuple[int, int]] = []
    seconds = interleaved(works, 4, progress=lambda *now: told.append(now))
    rounds = ["".join(ran[start : start + 6]) for start in range(0, len(ran), 6)]
    assert len(rounds) == 5  # the first is the warm-up, which is not kept
    assert all(sorted(order) == list("abcdef") for order in rounds)
    assert len(set(rounds)) > 1
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abcdef", 4)
    assert told == [(done, 30) for done in range(1, 31)]


def test_seconds_are_those_of_the_work() -> None:
    seconds = interleaved({"long": lambda: sleep(0.05), "none": lambda: None}, 3)
    assert min(seconds["long"]) >= 0.05
    assert min(seconds["none"]) < min(seconds["long"])


@pytest.mark.parametrize("collecting", [True, False])
def test_nothing_is_collected_meanwhile_and_the_collector_comes_back(collecting: bool) -> None:
    seen: list[bool] = []

    def work() -> None:
        seen.append(gc.isenabled())
        raise RuntimeError("broken")

    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with pytest.raises(RuntimeError, match="broken"):
            interleaved({"one": work}, 1)
        assert seen == [False]
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()
