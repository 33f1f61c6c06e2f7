"""Load test of the tab 'Paint': `python tests/support/painters.py --painters 10 --seconds 20`.

Painters in a process of their own against a server that this starts, on this machine only. Each
has opened the page, sends one stroke at a time as the page's script does, at most one in 80 ms, and
waits for its answer: what is measured is the time from the request to the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from page import OPENING
from served import SERVE, Served, served
from student import API, Student, students

from vggviz.networks.paint_code import LETTERS

WAIT = 0.08  # seconds between strokes, as in paint.js
SIDE = 10  # cells of everyday's block4


class Painter:
    """A visitor who has the tab open."""

    def __init__(self, student: Student) -> None:
        self.student = student
        self.function = self.trigger = -1
        self.seconds: list[float] = []
        self.answers: set[str] = set()

    async def open(self) -> None:
        """Open the page and its tab, as a browser does; the server computes the features once."""
        student = self.student
        await student.open()
        config = (await student.client.get("/config")).raise_for_status().json()
        parts = {
            part["props"].get("elem_id"): part["id"]
            for part in config["components"]
            if part["props"].get("elem_id")
        }
        self.trigger = parts["paint-board"]
        on_stroke = [self.trigger, "select"]
        (stroke,) = [one for one in config["dependencies"] if on_stroke in one["targets"]]
        self.function = stroke["id"]
        (tab,) = stroke["inputs"]
        (opened,) = [  # the event that gives the tab its session
            one
            for one in config["dependencies"]
            if tab in one["outputs"] and len(one["outputs"]) > 4
        ]
        for one in config["dependencies"]:
            if [parts_id(config, "paint"), "select"] in one["targets"]:
                await self._queued(one["id"], [])
        assert (await student.explain(OPENING)).said == "ok"
        await self._queued(opened["id"], [None] * len(opened["inputs"]))

    async def _queued(self, function: int, data: list[Any]) -> None:
        student = self.student
        body = {"data": data, "fn_index": function, "session_hash": student.session}
        joined = await student.client.post(f"{API}/queue/join", json=body)
        event = joined.raise_for_status().json()["event_id"]
        url = f"{API}/queue/data?session_hash={student.session}"
        async with student.client.stream("GET", url) as messages:
            async for line in messages.aiter_lines():
                told = json.loads(line[5:]) if line.startswith("data:") else {}
                if told.get("event_id") == event and told["msg"] == "process_completed":
                    assert told["success"], told
                    return

    async def paint(self, until: float, chance: random.Random) -> None:
        """Paint strokes until then."""
        levels, number = [0] * SIDE**2, 0
        await asyncio.sleep(chance.random() * WAIT)
        while (start := time.perf_counter()) < until:
            number += 1
            levels[chance.randrange(SIDE**2)] = chance.randrange(len(LETTERS))
            code = "".join(LETTERS[level] for level in levels)
            body = {
                "data": [None],
                "event_data": {"stage": "block4", "code": code, "number": number},
                "fn_index": self.function,
                "trigger_id": self.trigger,
                "session_hash": self.student.session,
            }
            answer = await self.student.client.post(f"{API}/run/predict", json=body)
            said = answer.raise_for_status().json()["data"][0]
            assert f'data-number="{number}"' in said, said
            self.seconds.append(time.perf_counter() - start)
            self.answers.add(said.partition("<ol")[2])
            await asyncio.sleep(max(0.0, WAIT - (time.perf_counter() - start)))


def parts_id(config: dict[str, Any], tab: str) -> int:
    """The component of a tab by its id in links."""
    found = [
        part["id"]
        for part in config["components"]
        if part["type"] == "tabitem" and part["props"].get("id") == tab
    ]
    return int(found[0])


def cpu_seconds(server: Served) -> float:
    """The processor time of the server until now."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(server: Served, count: int, seconds: float) -> dict[str, Any]:
    """Quantiles of the seconds that a stroke takes, with so many painters at once, and the
    processor time that the server spends on one."""
    async with students(server.address, count) as people:
        painters = [Painter(one) for one in people]
        for one in painters:
            await one.open()
        load, start = os.getloadavg()[0], time.perf_counter()
        chance, cpu = random.Random(0), cpu_seconds(server)
        await asyncio.gather(
            *(one.paint(start + seconds, random.Random(chance.random())) for one in painters)
        )
        cpu = cpu_seconds(server) - cpu
    times = sorted(value for one in painters for value in one.seconds)
    assert all(len(one.answers) > 3 for one in painters), "the answer does not move"
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {
        "painters": count,
        "strokes": len(times),
        "per_second": round(len(times) / seconds, 1),
        "p50": round(cuts[49], 3),
        "p95": round(cuts[94], 3),
        "max": round(times[-1], 3),
        "cpu_each": round(cpu / len(times), 4),
        "load_before": round(load, 2),
        "cores": os.cpu_count(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--painters", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = (*SERVE, "--port", "{port}", "--host", "127.0.0.1")
        with served(Path(folder), command) as server:
            try:
                found = asyncio.run(measure(server, asked.painters, asked.seconds))
            except httpx.HTTPError:
                print(server.printed())
                raise
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
