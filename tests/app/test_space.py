"""What a Space and a container are given, and the page as both start it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from served import PATIENT, ROOT, SPACE, Served, served

from vggviz.weights import assets_folder

EXAMPLES = assets_folder() / "examples"
DEPLOY = ROOT / "deploy"


def tracked() -> list[Path]:
    """The files that a push to a Space would hold."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout: a source archive does not say what a push would hold")
    files = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [file for file in files if file.is_file()]


def front_matter() -> dict[str, str]:
    """The Space's front matter, whose values are all on one line."""
    head = (DEPLOY / "space.yml").read_text("utf-8")
    return {
        k: v.strip().strip('"') for k, _, v in (line.partition(":") for line in head.splitlines())
    }


def needs(name: str) -> dict[str, str]:
    """What pyproject.toml asks for: specifiers by package, of 'dependencies' or an extra."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = project.get(name) or project["optional-dependencies"][name]
    found = [re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", line) for line in lines]
    return {one[1].lower().replace("_", "-"): one[2] for one in found if one}


def test_the_front_matter_is_what_a_space_wants() -> None:
    head = front_matter()
    assert head["sdk"] == "gradio"
    assert head["sdk_version"].startswith(needs("app")["gradio"].removeprefix("~=")[:4])
    assert (ROOT / head["app_file"]).is_file()
    assert head["python_version"] == "3.11"
    assert 0 < len(head["short_description"]) <= 60  # more is refused
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {head["colorFrom"], head["colorTo"]} <= colours


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `deploy/space.py` writes."""
    pytest.importorskip("tomllib", reason="needs Python 3.11")
    folder = tmp_path_factory.mktemp("space")
    command = [sys.executable, str(DEPLOY / "space.py"), str(folder)]
    subprocess.run(command, check=True, cwd=folder)
    return folder


def test_a_space_installs_what_the_page_needs(space: Path) -> None:
    lines = (space / "requirements.txt").read_text("utf-8").splitlines()
    wanted = [line.lower().replace("_", "-") for line in lines]
    every = needs("dependencies") | needs("app") | needs("heic")
    assert sorted(wanted) == sorted(f"{k}{v}" for k, v in every.items())


def test_a_space_gets_its_front_matter_and_all_that_the_page_opens(space: Path) -> None:
    head = (space / "README.md").read_text("utf-8").split("---\n")[1]
    assert head == (DEPLOY / "space.yml").read_text("utf-8")
    assert (space / front_matter()["app_file"]).is_file()
    for folder in ("vggviz", "assets"):
        files = [file.relative_to(ROOT) for file in tracked() if (ROOT / folder) in file.parents]
        assert len(files) > 10
        assert [file for file in files if not (space / file).is_file()] == []


def test_no_file_is_too_large_for_a_push(space: Path) -> None:
    files = [file for file in space.rglob("*") if file.is_file()]
    assert [file for file in files if file.stat().st_size >= 10 << 20] == []


@pytest.mark.parametrize("password", ["", "<chalk>"])
def test_the_sheet_for_the_wall_leads_to_the_page(password: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("segno", reason="needs the extra 'serve'")
    import segno
    from poster import poster

    address = "http://192.168.1.20:7860"
    sheet = poster(address, password)
    assert address in sheet
    assert ("&lt;chalk&gt;" in sheet) == ("Password" in sheet) == bool(password)
    assert not re.search(r"(src|href|url)\s*[=(]", sheet)  # it fetches nothing
    drawn = re.search(r'<path[^>]* d="([^"]+)"', sheet)
    code = segno.make(address, error="m")
    code.save(str(tmp_path / "code.svg"), border=2, xmldecl=False, omitsize=True)
    assert drawn
    assert drawn[1] in (tmp_path / "code.svg").read_text()
    code.save(str(tmp_path / "code.png"), scale=8)
    assert (
        cv2.QRCodeDetector().detectAndDecode(cv2.imread(str(tmp_path / "code.png")))[0] == address
    )


def test_the_locks_pin_and_hash_all_that_the_page_needs() -> None:
    from packaging.specifiers import SpecifierSet

    pinned: dict[str, str] = {}
    for lock in sorted(DEPLOY.glob("*.lock")):
        text = lock.read_text("utf-8")
        assert "://" not in text  # no address of anything
        for package in text.replace("\\\n", " ").splitlines():
            first, *hashes = package.split()
            name, version = first.split("==")
            assert hashes
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)
            assert name not in pinned
            pinned[name] = version
    for name, specifier in {**needs("dependencies"), **needs("app"), **needs("serve")}.items():
        assert pinned[name] in SpecifierSet(specifier), name
    assert front_matter()["sdk_version"] == pinned["gradio"]


def dockerfile(instruction: str) -> list[str]:
    """The arguments of an instruction of the Dockerfile, each time that it stands there."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.*)$", text, re.MULTILINE)


def test_a_container_gets_the_files_it_needs_and_no_root() -> None:
    sources = [word for line in dockerfile("COPY") for word in line.split()[:-1]]
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for source in sources:
        assert list(ROOT.glob(source)), source
        assert f"!{source.split('/')[0]}" in allowed, source
    assert dockerfile("USER") == ["vggviz"]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The Dockerfile's command with its variables and files, in an empty folder, as a Space's env.

    Nothing can be downloaded, so that the network that is asked for can't be had.
    """
    folder = tmp_path_factory.mktemp("container")
    for line in dockerfile("COPY")[1:]:
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target)
            else:
                shutil.copy(ROOT / source, folder / target)
    pairs = [pair.split("=", 1) for line in dockerfile("ENV") for pair in line.split()]
    own = {name: value for name, value in pairs if name not in ("VGGVIZ_HOST", "VGGVIZ_PORT")}
    env = {**own, **SPACE, "TORCH_HOME": str(folder / "torch"), "VGGVIZ_PRELOAD": "imagenet"}
    env |= {"GRADIO_TEMP_DIR": str(folder / "uploads"), "PYTHONPATH": ""}
    (command,) = dockerfile("CMD")
    python, *rest = json.loads(command)
    assert python == "python"
    with served(folder, rest, env, cwd=folder) as server:
        yield server


def check(server: Served) -> dict[str, Any]:
    """A client of the page's API, as a Space's visitors have it, explains a picture."""
    client = Client(server.address, verbose=False, httpx_kwargs={**PATIENT})
    picture = handle_file(str(EXAMPLES / "koala.jpg"))
    return client.predict(image=picture, api_name="/explain")


def test_it_starts_as_a_space_does_and_falls_back_where_weights_can_not_be_had(
    container: Served,
) -> None:
    told = check(container)
    assert (told["weights"], told["target"]["label"]) == ("everyday", "koala")
    lines = [line for line in container.printed().splitlines() if "could not be loaded" in line]
    assert len(lines) == 1
    logged = json.loads(lines[0])
    assert (logged["level"], logged["preload"]) == ("warning", "imagenet")
    assert "not on this machine" in logged["reason"]


def test_the_how_to_of_the_api_works_as_it_stands(
    container: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "how-to" / "api.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "http://127.0.0.1:7860" in code
    monkeypatch.chdir(ROOT)
    exec(compile(code.replace("http://127.0.0.1:7860", container.address), "api.md", "exec"), {})
    assert "'label': 'tabby'" in capsys.readouterr().out


def test_who_opens_the_page_is_told_that_it_fell_back(container: Served) -> None:
    """Every event of opening the page is run, and one of them says so."""
    with httpx.Client(base_url=container.address, **PATIENT) as browser:
        config = browser.get("/config").json()
        opening = [one for one in config["dependencies"] if "load" in str(one["targets"])]
        told = ""
        for one in opening:
            session = f"visit{one['id']}"
            values = [None] * len(one["inputs"])
            body = {"data": values, "fn_index": one["id"], "session_hash": session}
            browser.post("/gradio_api/queue/join", json=body).raise_for_status()
            told += browser.get(f"/gradio_api/queue/data?session_hash={session}").text
    assert told.count("The network imagenet could not be loaded just now: this is everyday.") == 1


def test_the_containers_health_check_sees_whether_it_serves(container: Served) -> None:
    (check,) = dockerfile("HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])
    for port, wanted in ((container.port, 0), (9, 1)):
        env = {**os.environ, "VGGVIZ_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
        env["no_proxy"] = ""  # it asks no proxy
        run = subprocess.run([sys.executable, *command[1:]], env=env, capture_output=True)
        assert run.returncode == wanted


def test_it_stops_with_all_its_processes(container: Served) -> None:
    """The last test of this container: where Node renders pages, it must not outlive the app."""
    container.process.terminate()
    assert container.process.wait(20) == 0
    with socket.socket() as knocking:
        assert knocking.connect_ex(("127.0.0.1", container.port)) != 0


@pytest.mark.skipif(not os.environ.get("TEST_SPACE"), reason="minutes and gigabytes: TEST_SPACE=1")
def test_it_starts_from_requirements_alone(space: Path, tmp_path: Path) -> None:
    """A fresh environment as a Space's builder makes it, and only what a push would hold."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    head = front_matter()
    install = [python, "-m", "pip", "install", "-q", "-r", space / "requirements.txt"]
    sdk = [f"gradio[oauth,mcp]=={head['sdk_version']}", "spaces"]
    subprocess.run([*map(str, install), *sdk], check=True, timeout=1500)
    env = {**SPACE, "PYTHONPATH": ""}
    with served(tmp_path, [head["app_file"]], env, python=str(python), cwd=space) as server:
        assert check(server)["target"]["label"] == "koala"
