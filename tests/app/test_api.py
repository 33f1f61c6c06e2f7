"""The named API, as a program and as a language model's host call it, against the Explainer."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from served import PATIENT, ROOT, free_port, served

from vggviz import Explainer
from vggviz.metrics.faithfulness import curves
from vggviz.weights import assets_folder

KOALA = assets_folder() / "examples" / "koala.jpg"
MANY = ",".join(f"conv{block}_{layer}" for block in (3, 4, 5) for layer in (1, 2, 3, 4))
SOME = "gradcam,gradcam++,hirescam,layercam,xgradcam,eigencam"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        import mcp  # noqa: F401

        setting = {"VGGVIZ_MCP": "1"}
    except ModuleNotFoundError:
        setting = {}
    folder = tmp_path_factory.mktemp("api")
    with served(folder, env=setting) as server:
        yield server.address
        assert "Traceback" not in server.printed(), server.printed()


@pytest.fixture(scope="module")
def client(app: str) -> Any:
    return pytest.importorskip("gradio_client").Client(app, verbose=False, httpx_kwargs={**PATIENT})


@pytest.fixture(scope="module")
def koala() -> Any:
    return pytest.importorskip("gradio_client").handle_file(KOALA)


def test_explain_gives_what_the_command_line_writes(client: Any, koala: Any) -> None:
    told = client.predict(
        image=koala, weights="everyday", attention="se", stages="block4, conv5_4",
        methods="layercam,eigencam", target="pizza", api_name="/explain",
    )  # fmt: skip
    explained = Explainer.load("everyday", "se").explain(
        KOALA, ("block4", "conv5_4"), ("layercam", "eigencam"), "pizza"
    )
    wanted = json.loads(json.dumps(explained.to_json()))
    assert told.keys() == wanted.keys()
    assert told["provenance"] == wanted["provenance"]
    assert told["target"]["probability"] == pytest.approx(wanted["target"]["probability"], rel=1e-3)
    for stage in ("block4", "conv5_4"):
        assert told["stages"][stage].keys() == wanted["stages"][stage].keys()
        for method, map in wanted["stages"][stage]["maps"].items():
            found = told["stages"][stage]["maps"][method]
            assert (found["shape"], found["flat"]) == (map["shape"], map["flat"])
            for end in ("low", "high"):
                assert found[end] == pytest.approx(map[end], rel=1e-3, abs=1e-6)


def test_only_the_picture_must_be_given(client: Any, koala: Any) -> None:
    told = client.predict(koala, api_name="/explain")
    assert told["attention"] == "cbam"
    assert told["target"] == told["top"][0]
    assert all("gradcam" in stage["maps"] for stage in told["stages"].values())


def test_figure(client: Any, koala: Any) -> None:
    head, _, body = client.predict(koala, stages="block5", api_name="/figure").partition(",")
    assert head == "data:image/png;base64"
    Image.open(BytesIO(base64.b64decode(body))).verify()
    head, _, body = client.predict(koala, format="html", api_name="/figure").partition(",")
    assert head == "data:text/html;base64"
    assert base64.b64decode(body).startswith(b"<!doctype html>")


def test_pixel(client: Any, koala: Any) -> None:
    told = client.predict(koala, row=2, column=7, head=1, api_name="/pixel")
    record = Explainer.load("everyday", "self_attention").explain(KOALA).attention["block4"][0]
    assert (told["grid"], told["heads"]) == ([10, 10], 4)
    np.testing.assert_allclose(told["map"], record.query(2, 7, 1), atol=1e-5)
    told = client.predict(koala, row=9, stage="block4", api_name="/pixel")
    np.testing.assert_allclose(told["map"], record.query(9, 0), atol=1e-5)


def test_paint(client: Any, koala: Any) -> None:
    explainer = Explainer.load("everyday", "spatial")
    crop = explainer.explain(KOALA, methods=()).image
    rows = [[(row * column) / 81 for column in range(10)] for row in range(10)]

    def change(path: str, kind: str, weights: torch.Tensor) -> torch.Tensor:
        first = path.startswith("attention.block4.")
        return torch.tensor(rows).expand_as(weights).clone() if first else weights

    with torch.no_grad(), explainer.model.intervene(change):
        (logits,) = explainer.model(explainer.preprocess.normalise(crop)[None])
    wanted = [one._asdict() for one in explainer.prediction(logits).top(5)]
    told = client.predict(koala, attention="spatial", mask=rows, api_name="/paint")
    assert (told["stage"], told["kind"], told["size"]) == ("block4", "spatial", [10, 10])
    assert told["learned"][0]["label"] == "koala"
    assert [one["label"] for one in told["painted"]] == [one["label"] for one in wanted]
    for one, other in zip(told["painted"], wanted, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    assert told["painted"] != told["learned"]
    again = client.predict(koala, attention="spatial", mask=told["code"], api_name="/paint")
    assert again["code"] == told["code"]
    assert again["painted"][0]["probability"] == pytest.approx(wanted[0]["probability"], abs=0.02)
    bare = client.predict(koala, attention="spatial", api_name="/paint")
    assert bare["painted"] == bare["learned"] == told["learned"]


def test_faithfulness(client: Any, koala: Any) -> None:
    told = client.predict(koala, attention="none", api_name="/faithfulness")
    explainer = Explainer.load("everyday", "none")
    explained = explainer.explain(KOALA)
    pixels = explainer.preprocess.normalise(explained.image)[None]
    map = explained.heatmaps["block5", "gradcam"].raw[None]
    targets = explained.prediction.logits.argmax()[None]
    for kind in ("deletion", "insertion"):
        found = told["curves"]["gradcam"][kind]
        wanted = curves(explainer.model, pixels, map, targets, kind)[0]
        np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-3)
        assert found["fractions"] == pytest.approx(np.linspace(0, 1, 51))
        assert found["area"] == pytest.approx(np.trapezoid(wanted, dx=1 / 50), abs=1e-3)
    assert set(told["curves"]) == {"gradcam", "random"}


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("/explain", {"attention": "magic"}, "no network 'everyday' with attention 'magic'"),
        ("/explain", {"weights": "/etc/passwd"}, "There is no network '/etc/passwd' here"),
        ("/explain", {"target": "piza"}, "did you mean 'pizza'"),
        ("/explain", {"stages": "block9"}, "No layer 'block9'"),
        ("/explain", {"methods": "cam"}, "No method 'cam'"),
        ("/explain", {"weights": "random", "methods": "scorecam"}, "Score-CAM"),
        ("/explain", {"stages": MANY, "methods": SOME}, "stages × methods may be 64 maps at most"),
        ("/figure", {"stages": MANY, "methods": SOME}, "stages × methods may be 64 maps at most"),
        ("/figure", {"format": "exe"}, "choose from png, svg, html"),
        ("/pixel", {"row": 10}, "outside the 10×10 grid"),
        ("/pixel", {"head": 4}, "Head 4 does not exist"),
        ("/pixel", {"attention": "cbam"}, "No self-attention at block4"),
        ("/faithfulness", {"stage": "conv5_4"}, "One stage of block1"),
        ("/faithfulness", {"method": "gradcam,layercam"}, "one method"),
        ("/paint", {"stage": "block1"}, "choose from block4, block5"),
        ("/paint", {"attention": "self_attention"}, "choose from no stage"),
        ("/paint", {"mask": [[0, 1]]}, "10 rows of 10 numbers from 0 to 1"),
        ("/paint", {"mask": [[2] * 10] * 10}, "10 rows of 10 numbers from 0 to 1"),
        ("/paint", {"mask": "A+"}, "no text of 100 letters"),
        ("/paint", {"attention": "softmax", "mask": "A" * 100}, "Nothing is painted"),
    ],
)
def test_what_can_not_be_is_a_sentence(
    client: Any, koala: Any, name: str, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(Exception, match=said):
        client.predict(koala, **wrong, api_name=name)


def test_what_is_refused_is_said_in_the_callers_language(app: str, koala: Any) -> None:
    client = pytest.importorskip("gradio_client").Client(
        app, verbose=False, headers={"Accept-Language": "zh-CN,en;q=0.5"}
    )
    for name, wrong, said in (
        ("/figure", {"format": "exe"}, "没有格式 exe"),
        ("/explain", {"target": "piza"}, "没有“piza”这个类别：您是指“pizza”吗"),
        ("/explain", {"methods": "cam"}, "没有方法 cam：可选 gradcam, "),
        ("/pixel", {"row": 10}, r"位置 \(10, 0\) 在 10×10 的网格之外"),
    ):
        with pytest.raises(Exception, match=said):
            client.predict(koala, **wrong, api_name=name)


def test_each_endpoint_is_documented_and_no_other_is_public(client: Any) -> None:
    known = client.view_api(return_format="dict")["named_endpoints"]
    assert set(known) == {"/explain", "/figure", "/pixel", "/faithfulness", "/paint"}
    asked = [part["parameter_name"] for part in known["/explain"]["parameters"]]
    assert asked == ["image", "weights", "attention", "stages", "methods", "target"]


def test_the_same_over_mcp(app: str) -> None:
    mcp = pytest.importorskip("mcp", reason="needs the extra 'mcp'")
    from mcp.client.streamable_http import streamable_http_client

    async def talk() -> tuple[list[Any], Any]:
        picture = base64.b64encode(KOALA.read_bytes()).decode()
        async with (
            streamable_http_client(f"{app}/gradio_api/mcp/") as (reads, writes, _),
            mcp.ClientSession(reads, writes) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            given = {"image": f"data:image/jpeg;base64,{picture}", "attention": "se"}
            return tools, await session.call_tool("explain", given)

    tools, answer = asyncio.run(talk())
    assert {tool.name for tool in tools} == {"explain", "figure", "pixel", "faithfulness", "paint"}
    for tool in tools:
        described = tool.inputSchema["properties"]
        assert all(part.get("description") for part in described.values()), described
    assert not answer.isError
    told = json.loads(answer.content[0].text)
    wanted = Explainer.load("everyday", "se").explain(KOALA)
    assert told["target"]["label"] == wanted.target.label


def test_mcp_checks_hosts_and_origins_of_its_own(app: str) -> None:
    pytest.importorskip("mcp", reason="needs the extra 'mcp'")
    httpx = pytest.importorskip("httpx")
    head = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    def asked(**more: str) -> int:
        sent = {**head, **{name.replace("_", "-"): value for name, value in more.items()}}
        status = httpx.post(f"{app}/gradio_api/mcp/", json=ping, headers=sent).status_code
        return int(status)

    assert asked() == 200
    assert asked(Origin=app) == 200
    assert asked(Host="evil.example") == 421
    assert asked(Origin="https://evil.example") == 403
    # What no browser sends gets past `origin`, and not past MCP's own check.
    assert asked(Origin="https://evil.example", Sec_Fetch_Site="same-origin") == 403
    assert httpx.get(f"{app}/gradio_api/mcp/sse").status_code == 404


def test_mcp_that_gradio_cannot_use_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("")  # lacks all that Gradio needs, like other versions do
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "VGGVIZ_MCP": "1"}
    command = [sys.executable, "-m", "vggviz.cli", "serve", "--port", str(free_port())]
    ended = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert "pip install 'vggviz[mcp]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_the_switch_there_is_no_mcp(tmp_path: Path) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    with served(tmp_path, env={"VGGVIZ_MCP": "0", "GRADIO_MCP_SERVER": "True"}) as server:
        with pytest.raises(HTTPError) as error:
            urlopen(f"{server.address}/gradio_api/mcp/schema")
        assert error.value.code == 404
        error.value.close()
        assert "Traceback" not in server.printed(), server.printed()
