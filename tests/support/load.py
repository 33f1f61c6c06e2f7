"""Load test of the page: `python tests/support/load.py --seconds 600 --json load.json`.

Simulated students in a process of their own against a server that this starts, on this machine
only. Everything is bounded: so many students, so many seconds, so many requests.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import random
import re
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from served import SERVE, Served, served
from student import Answer, Student, students

from vggviz.weights import assets_folder

EXAMPLES = sorted((assets_folder() / "examples").resolve().glob("*.jpg"))
Colour = tuple[int, int, int]


def own_picture(chance: random.Random) -> tuple[bytes, Colour]:
    """A JPEG that nobody else has, and its mean colour, so that its answer can be told apart."""
    colour = (chance.randrange(40, 216), chance.randrange(40, 216), chance.randrange(40, 216))
    generator = np.random.default_rng(chance.getrandbits(32))
    noise = generator.integers(-20, 21, (360, 480, 3))
    pixels = (np.array(colour) + noise - noise.mean((0, 1))).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=85)
    return file.getvalue(), colour


class Check:
    """Whether answers are whole, and the ones that their askers should have."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}  # the first answer to each example: all others equal it
        self.broken = 0
        self.mixed = 0

    def example(self, file: Path, answer: Answer) -> None:
        """An answer to a bundled picture."""
        seen = answer.fingerprint()
        if file.name not in self.seen:
            self.seen[file.name] = seen
            self.broken += not answer.whole()
        self.broken += self.seen[file.name] != seen

    def own(self, colour: Colour, answer: Answer) -> None:
        """An answer to a picture of one's own."""
        if not answer.whole():
            self.broken += 1
        elif not answer.shows(colour):
            self.mixed += 1


def summary(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    """Counts and quantiles of what came back in `seconds`."""
    good = sorted(answer.seconds for answer in answers if answer.said == "ok")
    said = Counter(answer.said for answer in answers)
    cuts = statistics.quantiles(good, n=100, method="inclusive") if len(good) > 1 else good * 99
    return {
        "asked": len(answers),
        "ok": said.pop("ok", 0),
        "busy": said.pop("busy", 0),
        "errors": dict(said),
        "per_second": round(len(good) / seconds, 2),
        "p50": round(cuts[49], 3) if cuts else None,
        "p95": round(cuts[94], 3) if cuts else None,
        "max": round(good[-1], 3) if good else None,
    }


async def paced(rate: float, count: int, ask: Callable[[int], Awaitable[Answer]]) -> dict[str, Any]:
    """Ask `count` times, `rate` a second at random moments, whether or not answers are there."""
    chance, begin, due, tasks = random.Random(0), time.perf_counter(), 0.0, []
    for index in range(count):
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, begin + due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(index)))
    answers = await asyncio.gather(*tasks)
    found = summary(answers, time.perf_counter() - begin)
    return {**found, "kilobytes_each": round(sum(one.size for one in answers) / count / 1e3)}


async def together(
    people: Sequence[Student], count: int, picture: Path
) -> tuple[Any, list[Answer]]:
    """`count` questions at the same moment."""
    tabs = [*people, *(people[i % len(people)].twin() for i in range(count - len(people)))]
    begin = time.perf_counter()
    asked = [one.explain(picture) for one in tabs[:count]]
    answers = await asyncio.gather(*asked)
    return summary(answers, time.perf_counter() - begin), answers


async def in_turn(people: Sequence[Student], count: int, picture: Path) -> tuple[Any, list[Answer]]:
    """`count` questions about one picture, everyone's one after the other, all people at once."""

    async def ask(one: Student, times: int) -> list[Answer]:
        return [await one.explain(picture) for _ in range(times)]

    each, left = divmod(count, len(people))
    begin = time.perf_counter()
    asked = [ask(one, each + (index < left)) for index, one in enumerate(people)]
    answers = [answer for some in await asyncio.gather(*asked) for answer in some]
    return summary(answers, time.perf_counter() - begin), answers


def honest(answers: Sequence[Answer]) -> bool:
    """Whether people were told a place, it only ever fell, and the last one's was near the end."""
    told = [one.ranks for one in answers if one.ranks]
    falling = all(list(ranks) == sorted(ranks, reverse=True) for ranks in told)
    waited = max((ranks[0] for ranks in told), default=-1) + 1
    return falling and bool(told) and 0.5 * len(told) <= waited <= len(answers)


async def lasting(
    count: int, ask: Callable[[int, bool], Awaitable[Answer]], cost: Cost
) -> tuple[dict[str, Any], list[float]]:
    """So many questions as fast as they are answered, each second one about a picture that nobody
    showed before; and the server's megabytes at the start and after each tenth."""
    held, answers, begin = [cost.memory()], list[Answer](), time.perf_counter()

    async def some(indices: range) -> None:
        for index in indices:
            answer = await ask(index, True)
            answers.append(replace(answer, details=None, pictures=()))

    for tenth in range(10):
        first, end = tenth * count // 10, (tenth + 1) * count // 10
        await asyncio.gather(*(some(range(first + lane, end, 4)) for lane in range(4)))
        held.append(round(cost.memory(), 1))
    return summary(answers, time.perf_counter() - begin), held


async def first_visit(address: str) -> list[str]:
    """What a browser with an empty cache fetches to draw the page: Chromium's own list.

    Where there is no Chromium, the page, its config, and what the page's head names: far less.
    """
    try:
        from playwright.async_api import async_playwright
    except ModuleNotFoundError:
        async_playwright = None
    chromium = shutil.which("chromium")
    if async_playwright is None or chromium is None:
        page = httpx.get(address).text
        named = re.findall(r'"\.?(/(?:assets|static)/[^"]+|/theme\.css[^"]*)"', page)
        return ["/", "/config", *dict.fromkeys(named)]
    seen: list[str] = []
    async with async_playwright() as api:
        browser = await api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page()
        page.on("request", lambda one: seen.append(one.url) if one.method == "GET" else None)
        await page.goto(address, wait_until="load")
        await page.wait_for_selector("#examples img", state="attached", timeout=60_000)
        await asyncio.sleep(2)
        await browser.close()
    paths = [url.removeprefix(address) for url in seen if url.startswith(address)]
    streams = ("/heartbeat/", "/queue/data")  # these end with the visit, not with an answer
    return [path for path in dict.fromkeys(paths) if not any(one in path for one in streams)]


async def cold(address: str, count: int, rate: float) -> dict[str, Any]:
    """Page loads with an empty cache, over six connections as a browser has them."""
    paths = await first_visit(address)
    browser = httpx.Limits(max_connections=6)

    async def load(_: int) -> Answer:
        start, size = time.perf_counter(), 0
        packed = {"Accept-Encoding": "gzip, br"}
        try:
            transport = httpx.AsyncHTTPTransport(verify=False, limits=browser)
            async with httpx.AsyncClient(
                base_url=address, timeout=60, transport=transport, headers=packed
            ) as client:
                for answer in await asyncio.gather(*map(client.get, paths)):
                    answer.raise_for_status()
                    size += answer.num_bytes_downloaded
        except httpx.HTTPError as error:
            return Answer(f"{type(error).__name__}: {error}", time.perf_counter() - start)
        return Answer("ok", time.perf_counter() - start, size=size)

    found = await paced(rate, count, load)
    return {**found, "requests_each": len(paths)}


class Cost:
    """What the server has used: CPU seconds and resident memory, from /proc."""

    def __init__(self, server: Served) -> None:
        self.folder = Path(f"/proc/{server.process.pid}")

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident megabytes."""
        pages = int((self.folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(server: Served, plan: argparse.Namespace) -> dict[str, Any]:
    """All scenarios against one server."""
    chance, check, cost = random.Random(1), Check(), Cost(server)
    found: dict[str, Any] = {}
    async with students(server.address, plan.students) as people, AsyncExitStack() as stack:
        for one in people:
            await one.open()
            await stack.enter_async_context(one.present())
        total = max(1, round(plan.rate * plan.seconds))
        mine = [own_picture(chance) for _ in range(min(plan.students, 40))]

        async def ask(index: int, new: bool = False) -> Answer:
            one = people[index % len(people)]
            if index % 2:
                content, colour = own_picture(chance) if new else mine[index // 2 % len(mine)]
                answer = await one.explain(await one.upload(content))
                if answer.said == "ok":
                    check.own(colour, answer)
            else:
                file = EXAMPLES[index // 2 % len(EXAMPLES)]
                answer = await one.explain(file)
                if answer.said == "ok":
                    check.example(file, answer)
            return answer

        found["warm-up"] = await paced(plan.rate, max(20, total // 10), ask)
        memory, cpu = cost.memory(), cost.cpu()
        found["steady"] = await paced(plan.rate, total, ask)
        used, grown = cost.cpu() - cpu, cost.memory() - memory
        ok = max(1, found["steady"]["ok"])

        found["30 at once"], _ = await together(people, min(30, len(people)), EXAMPLES[0])
        found["burst"], answers = await together(people, plan.burst, EXAMPLES[1])
        honest_places = honest(answers)
        found["identical"], answers = await in_turn(people[:30], plan.identical, EXAMPLES[2])
        for answer in answers:
            if answer.said == "ok":
                check.example(EXAMPLES[2], answer)
        found["full queue"], _ = await together(people, plan.flood, EXAMPLES[3])
        after = await people[0].explain(EXAMPLES[0])
        if plan.hour:
            found["an hour's worth"], held = await lasting(plan.hour, ask, cost)
    found["cold loads"] = await cold(server.address, plan.cold, plan.cold / plan.cold_seconds)
    found["answers"] = {
        "broken": check.broken,
        "of_others": check.mixed,
        "honest_places": honest_places,
        "after_the_flood": after.said,
    }
    found["memory"] = {"megabytes": round(cost.memory()), "grown_in_steady": round(grown, 1)}
    if plan.hour:
        found["memory"] |= {"over_the_hour": held, "grown": round(held[-1] - held[1], 1)}
    found["cost"] = {
        "cpu_seconds_an_explanation": round(used / ok, 4),
        "kilobytes_an_explanation": found["steady"]["kilobytes_each"],
        "kilobytes_a_first_visit": found["cold loads"]["kilobytes_each"],
        "requests_a_first_visit": found["cold loads"]["requests_each"],
    }
    found["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_before": plan.load,
        "date": time.strftime("%Y-%m-%d"),
    }
    return found


def table(found: dict[str, Any]) -> str:
    """The scenarios as a Markdown table, and the rest below it."""
    columns = ("asked", "ok", "busy", "per_second", "p50", "p95", "max")
    lines = [f"| | {' | '.join(columns)} | errors |", f"|---|{'---|' * (len(columns) + 1)}"]
    for name, row in found.items():
        if "asked" in row:
            cells = [str(row[column]) for column in columns]
            lines.append(f"| {name} | {' | '.join(cells)} | {sum(row['errors'].values())} |")
    rest = {name: row for name, row in found.items() if "asked" not in row}
    return "\n".join([*lines, "", *(f"{name}: {json.dumps(row)}" for name, row in rest.items())])


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Start a server, measure, stop it; the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=600, help="of the steady part")
    parser.add_argument("--rate", type=float, default=10, help="explanations a second")
    parser.add_argument("--burst", type=int, default=100)
    parser.add_argument("--identical", type=int, default=300)
    parser.add_argument("--flood", type=int, default=400, help="at once, more than the queue holds")
    parser.add_argument("--cold", type=int, default=300)
    parser.add_argument("--cold-seconds", type=float, default=60)
    parser.add_argument("--places", type=int, default=200, help="in the server's queue")
    parser.add_argument(
        "--hour", type=int, default=0, help="questions of an hour, to watch the memory: 36000"
    )
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    plan = parser.parse_args(arguments)
    plan.load = os.getloadavg()[0]
    env = {"VGGVIZ_PLACES": str(plan.places), "VGGVIZ_SESSIONS": str(max(1000, plan.students))}
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), SERVE, env) as server,
    ):
        found = asyncio.run(measure(server, plan))
        found["answers"]["tracebacks"] = server.printed().count("Traceback")
    print(table(found))
    if plan.json is not None:
        plan.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
