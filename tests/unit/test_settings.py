"""The host's settings: read from the environment in one place, refused in one sentence."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

import vggviz
from vggviz.server.settings import Settings, SettingsError, variable


def test_nothing_set_is_what_stands_in_the_class() -> None:
    assert Settings.from_environ({"PATH": "/bin", "VGGVIZ_PORT": " "}) == Settings()


def test_every_field_is_read_from_its_variable() -> None:
    wanted = {
        "host": "0.0.0.0",
        "port": 8080,
        "password": "chalk",
        "hosts": "vggviz.example.org 192.0.2.7 2001:db8::7",
        "origins": "https://example.org http://[2001:db8::7]:8080",
        "frames": "https://*.example.org",
        "preload": "imagenet",
        "device": "cpu",
        "attention": "mine.py:Mine",
        "engine": "ray",
        "replicas": 3,
        "cluster": "192.0.2.7:6379",
        "places": 17,
        "at_once": 4,
        "sessions": 50,
        "rate": 9,
        "uploads": 70,
        "seconds": 20,
        "grace": 5,
        "log": "json",
    }
    assert {*wanted, "mcp"} == {field.name for field in fields(Settings)}
    assert Settings.from_environ({"VGGVIZ_MCP": "1"}) == Settings(mcp=1)
    found = Settings.from_environ({f"VGGVIZ_{k.upper()}": f"{v} " for k, v in wanted.items()})
    assert asdict(found) == {**wanted, "mcp": 0}
    assert all(asdict(Settings())[name] != value for name, value in wanted.items())


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("VGGVIZ_PORT", "http", "VGGVIZ_PORT must be a whole number from 0 to 65535, not 'http'"),
        ("VGGVIZ_PORT", "-1", "VGGVIZ_PORT must be a whole number from 0 to 65535, not '-1'"),
        ("VGGVIZ_PORT", "65536", "VGGVIZ_PORT must be a whole number from 0 to 65535, not 65536"),
        ("VGGVIZ_AT_ONCE", "0", "VGGVIZ_AT_ONCE must be a whole number from 1 to 1000000, not 0"),
        ("VGGVIZ_PLACES", "²", "VGGVIZ_PLACES must be a whole number from 1 to 1000000, not '²'"),
        ("VGGVIZ_ENGINE", "spark", "VGGVIZ_ENGINE must be local or ray, not 'spark'"),
        ("VGGVIZ_LOG", "xml", "VGGVIZ_LOG must be text or json, not 'xml'"),
        (
            "VGGVIZ_HOSTS",
            "a.org https://b.org",
            "VGGVIZ_HOSTS must be host names, not 'https://b.org'",
        ),
        (
            "VGGVIZ_ORIGINS",
            "*",
            "VGGVIZ_ORIGINS must be origins such as https://example.org, not '*'",
        ),
        (
            "VGGVIZ_ORIGINS",
            "https://a.org/b",
            "VGGVIZ_ORIGINS must be origins such as https://examp",
        ),
        (
            "VGGVIZ_FRAMES",
            "'none'; x",
            "VGGVIZ_FRAMES must be * or origins such as https://example.org,",
        ),
        ("VGGVIZ_PASWORD", "chalk", "there is no setting VGGVIZ_PASWORD: known are VGGVIZ_HOST"),
    ],
)
def test_what_can_not_be_is_one_sentence(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environ({name: value})
    assert str(refused.value).startswith(sentence)
    assert "chalk" not in str(refused.value)


def test_no_one_comes_in_by_mcp_without_the_password() -> None:
    with pytest.raises(SettingsError, match=r"^VGGVIZ_MCP can't be used with a password$"):
        Settings(password="chalk", mcp=1)


def test_a_classroom_has_limits_and_keeps_what_was_set() -> None:
    room = Settings(places=40, password="chalk", port=9).for_classroom()
    assert (room.host, room.places, room.password, room.port) == ("0.0.0.0", 40, "chalk", 9)
    assert 0 < room.rate <= 60
    assert Settings().for_classroom().places < Settings().places
    assert Settings(host="192.0.2.7", rate=5).for_classroom().host == "192.0.2.7"
    assert Settings(host="192.0.2.7", rate=5).for_classroom().rate == 5
    found = [Settings(seconds=seconds).for_classroom().seconds for seconds in (0, 20, 300)]
    assert found == [60, 20, 60]


@pytest.mark.parametrize(
    ("name", "hosts"), [("lab-7", "lab-7 lab-7.local"), ("my_laptop", ""), ("张三的电脑", "")]
)
def test_a_classroom_starts_on_a_computer_of_any_name(
    name: str, hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: name)
    assert Settings().for_classroom().hosts == hosts
    assert Settings(hosts="demo.example").for_classroom().hosts == "demo.example"


def test_a_password_is_not_shown() -> None:
    assert "chalk" not in repr(Settings(password="chalk"))


def test_the_environment_is_read_nowhere_else() -> None:
    """Only the border knows of variables: app.py and the command line hand them over."""
    package = Path(vggviz.__file__).parent
    naming = [
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if "VGGVIZ_" in file.read_text("utf-8")
    ]
    assert sorted(naming) == ["cli/serve.py", "server/settings.py"]
    assert variable("at_once") == "VGGVIZ_AT_ONCE"


def test_the_limits_that_are_told_are_those_of_the_code() -> None:
    from vggviz import images
    from vggviz.app import api, own
    from vggviz.server import request_limits, structure
    from vggviz.weights import card, hub, tensors

    room, usual = Settings().for_classroom(), Settings()
    told = (Path(vggviz.__file__).parents[1] / "SECURITY.md").read_text("utf-8")
    for row in (
        f"| {own.SIZE >> 20} MB |",
        f"| {images.MAX_PIXELS // 10**6} megapixels, and {images.MAX_SCANS} scans of a JPEG |",
        f"| {own.HEADER >> 20} MB in the page, {tensors.HEADER >> 20} MB elsewhere |",
        f"| {own.CLASSES:,}, and {own.SIDES[-1]} |",
        f"| {images.MAX_SIDE:,} |",
        f"| {hub.MOST / 1e9:.1f} GB |",
        f"| {api.MAPS} |",
        f"| {card.LABEL} characters, no control characters |",
        f"| {usual.seconds} s (a classroom: {room.seconds} s) | `{variable('seconds')}` |",
        f"| {usual.at_once}, and {usual.places} (a classroom: {room.places}) | `VGGVIZ_AT_ONCE`",
        f"| any (a classroom: {room.rate}) | `{variable('rate')}` |",
        f"| {structure.ELEMENTS:,} elements, {structure.DEPTH} deep |",
        f"| {request_limits.SMALL >> 10} kB |",
        f"| {usual.uploads:,} MB, and a quarter | `{variable('uploads')}` |",
        f"| {usual.sessions:,} (a classroom: {room.sessions}) | `{variable('sessions')}` |",
    ):
        assert row in told, row


def test_the_table_of_settings_has_each_with_its_default() -> None:
    """A row may hold several variables; its second cell has their defaults with commas."""
    page = Path(vggviz.__file__).parents[1] / "docs" / "reference" / "settings.md"
    told = page.read_text("utf-8")
    assert "`GRADIO_ROOT_PATH`" in told
    rows = [line.split("|")[1:3] for line in told.splitlines() if line.startswith("| `VGGVIZ_")]
    defaults = {
        name: cell.strip()
        for names, cells in rows
        for name, cell in zip(
            re.findall("`(VGGVIZ_[A-Z_]+)`", names), cells.split(","), strict=False
        )
    }
    assert set(defaults) == {variable(field.name) for field in fields(Settings)}
    for name, value in asdict(Settings()).items():
        if value and name not in ("host", "port"):
            assert re.match(rf"{value}\b", defaults[variable(name)]), name
