"""The load test itself: it runs, and it would see what is wrong."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path

import pytest
from load import Check, honest, main, own_picture, summary
from PIL import Image
from student import Answer


@pytest.mark.slow
def test_a_small_lesson_passes_without_a_fault(tmp_path: Path) -> None:
    plan = {"students": 8, "seconds": 3, "rate": 3, "burst": 12, "identical": 20, "flood": 40}
    plan |= {"places": 20, "cold": 3, "cold-seconds": 2, "hour": 20}
    file = tmp_path / "load.json"
    words = [word for name, value in plan.items() for word in (f"--{name}", str(value))]
    found = main([*words, "--json", str(file)])
    rows = {name: row for name, row in found.items() if "asked" in row}
    assert len(rows) == 8
    assert [row["errors"] for row in rows.values()] == [{}] * 8
    assert all(row["ok"] + row["busy"] == row["asked"] for row in rows.values())
    assert found["full queue"]["busy"] >= 40 - 20 - 8  # more than wait and run are told so
    assert found["steady"]["busy"] == found["burst"]["busy"] == found["identical"]["busy"] == 0
    assert found["cold loads"]["busy"] == 0
    assert found["answers"] == {
        "broken": 0,
        "of_others": 0,
        "honest_places": True,
        "after_the_flood": "ok",
        "tracebacks": 0,
    }
    assert len(found["memory"]["over_the_hour"]) == 11
    assert 0 < found["cost"]["cpu_seconds_an_explanation"] < 5
    assert file.is_file()


def test_broken_and_exchanged_answers_would_be_seen() -> None:
    content, (red, green, blue) = own_picture(random.Random(3))
    good = Answer("ok", 1.0, pictures=(content,))
    cut = replace(good, pictures=(content[: len(content) // 2],))
    check = Check()
    check.own((red, green, blue), good)
    check.example(Path("a.jpg"), good)
    assert (check.broken, check.mixed) == (0, 0)
    check.own((red, green - 20, blue), good)
    assert (check.broken, check.mixed) == (0, 1)
    check.own((red, green, blue), cut)
    check.own((red, green, blue), replace(good, pictures=()))
    check.example(Path("a.jpg"), cut)
    check.example(Path("b.jpg"), cut)
    assert (check.broken, check.mixed) == (4, 1)


def test_everyone_has_a_picture_of_his_own() -> None:
    chance = random.Random(0)
    pairs = [own_picture(chance) for _ in range(20)]
    assert len({content for content, _ in pairs}) == 20
    for content, colour in pairs:
        mean = Image.open(io.BytesIO(content)).resize((1, 1)).getpixel((0, 0))
        assert isinstance(mean, tuple)
        assert max(abs(a - b) for a, b in zip(mean, colour, strict=True)) <= 2


def test_places_in_the_queue_must_fall_and_be_true() -> None:
    def told(*ranks: tuple[int, ...]) -> list[Answer]:
        return [Answer("ok", 1.0, one) for one in ranks]

    assert honest(told((0,), (1, 0), (2, 1, 0)))
    assert not honest(told((0,), (1, 2), (2, 1, 0)))  # back in the queue
    assert not honest(told((0,), (0,), (0,), (0,)))  # everyone is next
    assert not honest(told((50,), (51,)))  # more than there are
    assert not honest(told((), ()))  # nothing said


def test_the_summary_counts_by_hand() -> None:
    answers = [Answer("ok", seconds / 100) for seconds in range(1, 102)]
    found = summary([*answers, Answer("busy", 0.1), Answer("ReadError", 0.1)], 10.0)
    assert (found["asked"], found["ok"], found["busy"]) == (103, 101, 1)
    assert found["errors"] == {"ReadError": 1}
    assert found["per_second"] == 10.1
    assert (found["p50"], found["p95"], found["max"]) == (0.51, 0.96, 1.01)
