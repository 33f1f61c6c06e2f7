"""What stands before the page: counting, refusing, logging without names."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from starlette.middleware import Middleware

from vggviz.server.logs import JsonLines
from vggviz.server.metrics import Meters
from vggviz.server.rate_limit import QUICK, RateLimit, Traffic


def made(traffic: Traffic) -> TestClient:
    """A small app with routes named as the page's."""
    app = FastAPI(middleware=[Middleware(RateLimit, traffic=traffic)])

    @app.post("/gradio_api/queue/join")
    def join() -> int:
        return traffic.under_way

    @app.post("/gradio_api/run/predict")
    @app.post("/gradio_api/api/predict/")
    def run() -> None:
        pass

    @app.post("/gradio_api/upload")
    def upload() -> None:
        pass

    @app.post("/login/")
    @app.post("/login")
    def login() -> None:
        pass

    @app.post("/gradio_api/reset")
    @app.post("/gradio_api/cancel/")
    def end() -> None:
        pass

    @app.get("/gradio_api/heartbeat/{session}")
    def heartbeat(session: str) -> int:
        return traffic.under_way

    @app.get("/gradio_api/file={name:path}")
    def file(name: str) -> int:
        if name == "gone":
            raise HTTPException(404)
        if name == "broken":
            raise RuntimeError(name)
        return traffic.under_way

    return TestClient(app, raise_server_exceptions=False)


def test_requests_are_counted_while_they_run_and_heartbeats_are_not() -> None:
    traffic = Traffic()
    client = made(traffic)
    assert client.get("/gradio_api/file=a").json() == 1
    assert client.get("/gradio_api/heartbeat/x").json() == 0
    assert client.get("/gradio_api/file=broken").status_code == 500
    assert traffic.under_way == 0


def test_who_stops_takes_no_new_work_but_answers_all_else() -> None:
    traffic = Traffic()
    client = made(traffic)
    assert client.post("/gradio_api/queue/join").json() == 1
    traffic.stopping = True
    refused = client.post("/gradio_api/queue/join")
    assert refused.status_code == 503
    assert "try again" in refused.json()["detail"]
    assert client.get("/gradio_api/file=a").status_code == 200


def test_the_rate_is_of_each_address_and_of_the_last_minute() -> None:
    traffic = Traffic(rate=2)
    asked = [("a", 0.0), ("a", 30.0), ("a", 59.0), ("b", 59.0), ("a", 60.0), ("a", 61.0)]
    found = [traffic.exceeds_rate("work", address, now) for address, now in asked]
    # a's third is refused; at 60 its first is a minute old, and what was refused does not count.
    assert found == [False, False, True, False, False, True]
    assert not any(Traffic().exceeds_rate("work", "a", 0.0) for _ in range(1000))


def test_a_rate_is_told_to_the_one_who_meets_it() -> None:
    client = made(Traffic(rate=1))
    assert client.post("/gradio_api/queue/join").status_code == 200
    refused = client.post("/gradio_api/queue/join")
    assert refused.status_code == 429
    assert refused.json()["detail"].startswith("That was more than 1 in a minute")


def test_calls_over_mcp_are_work_too() -> None:
    traffic = Traffic(rate=1)
    client = made(traffic)
    client.post("/gradio_api/mcp/")
    for path in ("mcp/", "mcp/heartbeat/x"):  # MCP's server answers below its path, too
        assert client.post(f"/gradio_api/{path}").status_code == 429
    traffic.stopping = True
    assert client.post("/gradio_api/mcp/").status_code == 503


def test_uploads_have_a_rate_of_their_own_and_go_on_while_the_server_stops() -> None:
    traffic = Traffic(rate=2)
    client = made(traffic)
    asked = ["upload", "queue/join", "upload", "upload", "queue/join", "queue/join"]
    found = [client.post(f"/gradio_api/{path}").status_code for path in asked]
    assert found == [200, 200, 200, 429, 200, 429]
    traffic.stopping, traffic.rate = True, 0
    assert client.post("/gradio_api/upload").status_code == 200  # for what waits already


def test_quick_requests_have_a_rate_of_their_own_that_suits_strokes() -> None:
    client = made(Traffic(rate=1))
    paths = ("run/predict", "api/predict/")
    asked = [client.post(f"/gradio_api/{paths[n % 2]}").status_code for n in range(QUICK + 1)]
    assert asked == [200] * QUICK + [429]
    assert client.post("/gradio_api/queue/join").status_code == 200
    refused = client.post("/gradio_api/run/predict").json()
    assert refused["detail"].startswith(f"That was more than {QUICK} in a minute")


def test_guesses_of_the_password_have_a_rate() -> None:
    client = made(Traffic(rate=2))
    found = [client.post(path).status_code for path in ("/login", "/login/", "/login", "/login/")]
    assert found == [200, 200, 429, 429]
    assert client.post("/gradio_api/queue/join").status_code == 200


def test_ending_things_has_a_rate() -> None:
    client = made(Traffic(rate=2))
    found = [client.post(f"/gradio_api/{path}").status_code for path in ("reset", "cancel/") * 2]
    assert found == [200, 200, 429, 429]
    assert client.post("/gradio_api/queue/join").status_code == 200


def test_meters_say_how_many_of_which_route_and_what_is_now() -> None:
    pytest.importorskip("prometheus_client", reason="needs the extra 'serve'")
    from prometheus_client.parser import text_string_to_metric_families

    traffic = Traffic()
    traffic.meters = Meters(lambda: 7, lambda: traffic.under_way)
    client = made(traffic)
    for name in ("a", "b", "gone", "broken"):
        client.get(f"/gradio_api/file={name}")
    text, kind = traffic.meters.read()
    assert kind.startswith("text/plain")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    route = "/gradio_api/file={name:path}"
    assert found["vggviz_requests_total", route, "200"] == 2
    assert found["vggviz_requests_total", route, "404"] == 1
    assert found["vggviz_requests_total", route, "500"] == 1
    assert found["vggviz_request_seconds_count", route] == 4
    assert found["vggviz_request_seconds_sum", route] > 0
    assert found["vggviz_queue_length",] == 7
    assert found["process_resident_memory_bytes",] > 1e7


def test_the_log_has_routes_and_no_file_names(caplog: pytest.LogCaptureFixture) -> None:
    client = made(Traffic())
    with caplog.at_level(logging.INFO, "vggviz"):
        client.get("/gradio_api/file=/tmp/my-sister.jpg")
    (line,) = [JsonLines().format(record) for record in caplog.records if "vggviz" in record.name]
    told = json.loads(line)
    assert told["route"] == "/gradio_api/file={name:path}"
    assert (told["event"], told["method"], told["status"]) == ("request", "GET", 200)
    assert told["seconds"] >= 0
    assert "sister" not in line
    assert "testclient" not in line


def test_an_error_is_logged_by_type_and_place_without_its_words() -> None:
    def record() -> logging.LogRecord:
        try:
            try:
                raise OSError("my-sister.jpg is no picture")
            except OSError as error:
                raise KeyError("my-sister.jpg") from error
        except KeyError as error:
            info: Any = (type(error), error, error.__traceback__)
            return logging.LogRecord(
                "vggviz", logging.ERROR, __file__, 1, "no %s", ("my-sister.jpg",), info
            )

    line = JsonLines().format(record())
    told = json.loads(line)
    assert "\n" not in line
    assert "sister" not in line
    assert (told["event"], told["level"]) == ("no %s", "error")
    assert [one["type"] for one in told["error"]] == ["KeyError", "OSError"]
    assert told["error"][0]["at"][0].startswith("test_rate_limit.py:")


def test_of_what_another_library_says_in_whole_only_the_place_is_told() -> None:
    said = "Task exception was never retrieved: my-sister.jpg is broken"
    record = logging.LogRecord("asyncio", logging.ERROR, "base_events.py", 7, said, None, None)
    assert json.loads(JsonLines().format(record))["event"] == "base_events.py:7"
