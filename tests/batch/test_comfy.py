"""`hyworld batch --comfyui`: lines as prompts of an API workflow, to several servers; the servers are played here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hyworld.batch import comfy
from hyworld.cli.main import main

WORKFLOW = Path(__file__).parents[2] / "example_workflows" / "api" / "quick_start.json"


class Server(ThreadingHTTPServer):
    """Answers as ComfyUI does; runs nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.prompts: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seed = value_of(body["prompt"], "HYWorldStreamingSampler", "seed")
        if seed == 13:
            fault = {"message": "Value not in list", "details": "seed: 13"}
            self.answer(json.dumps({"error": {}, "node_errors": {"1": {"errors": [fault]}}}).encode(), 400)
            return
        self.server.prompts.append(body["prompt"])
        status = {"status_str": "success", "messages": []}
        outputs = {"9": {"images": [{"filename": f"{seed}.mp4", "subfolder": "", "type": "output"}]}}
        if seed == 14:
            status = {"status_str": "error", "messages": [["execution_error", {"exception_message": "no memory\n"}]]}
            outputs = {}
        self.server.jobs[body["prompt_id"]] = {"status": status, "outputs": outputs}
        self.answer(json.dumps({"prompt_id": body["prompt_id"]}).encode())

    def do_GET(self) -> None:
        if self.path.startswith("/history/"):
            job = self.path.rpartition("/")[2]
            self.answer(json.dumps({job: self.server.jobs[job]}).encode())
        else:
            self.answer(self.path.encode())


def value_of(prompt: dict[str, Any], kind: str, name: str) -> Any:
    return next(node["inputs"][name] for node in prompt.values() if node["class_type"] == kind)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started = [Server(), Server()]
    for server in started:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield started
    for server in started:
        server.shutdown()
        server.server_close()


def run(folder: Path, addresses: list[str], capsys: pytest.CaptureFixture[str]) -> SimpleNamespace:
    options = [option for address in addresses for option in ("--comfyui", address)]
    file, out = str(folder / "walks.jsonl"), str(folder / "out")
    with pytest.raises(SystemExit) as left:
        main(["batch", file, "--out", out, "--workflow", str(WORKFLOW), *options])
    said = capsys.readouterr()
    return SimpleNamespace(code=left.value.code, out=said.out, err=said.err)


def test_lines_are_prompts_of_several_servers(
    tmp_path: Path, servers: list[Server], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(comfy, "POLL", 0.01)
    walks: list[dict[str, Any]] = [{"seed": seed, "path": f"w-{seed}"} for seed in (3, 7, 11, 15)]
    walks += [{"seed": 13}, {"seed": 14}, {"speed": 1}, {"HYWorldStreamingSampler.chunks": 2, "seed": 19}]
    (tmp_path / "walks.jsonl").write_text("\n".join(map(json.dumps, walks)))
    addresses = [server.address for server in servers]
    first = run(tmp_path, addresses, capsys)
    assert first.code == 1
    assert "5 of 8 walks made, 3 failed" in first.out
    for words in ("line 5: Value not in list: seed: 13", "line 6: no memory", "line 7: the workflow has no place"):
        assert words in first.err
    prompts = [prompt for server in servers for prompt in server.prompts]
    paths = {
        value_of(prompt, "HYWorldStreamingSampler", "seed"): value_of(prompt, "HYWorldCameraTrajectory", "path")
        for prompt in prompts
    }
    assert {seed: path for seed, path in paths.items() if seed < 14 or seed == 15} == {
        3: "w-3", 7: "w-7", 11: "w-11", 15: "w-15"
    }  # fmt: skip
    videos = {file.read_text().partition("filename=")[2].partition("&")[0] for file in (tmp_path / "out").glob("*.mp4")}
    assert videos == {f"{seed}.mp4" for seed in (3, 7, 11, 15, 19)}
    asked = len(prompts)
    again = run(tmp_path, addresses, capsys)
    assert "5 there before" in again.out
    assert sum(len(server.prompts) for server in servers) == asked + 1  # the one that fails when it runs


def test_a_server_that_ends_leaves_its_walk_to_another(
    tmp_path: Path, servers: list[Server], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(comfy, "POLL", 0.01)
    monkeypatch.setattr(comfy, "SILENT", 0.1)
    (tmp_path / "walks.jsonl").write_text("\n".join(json.dumps({"seed": seed}) for seed in range(4)))
    gone = "http://127.0.0.1:9"
    assert "4 of 4 walks made" in run(tmp_path, [gone, servers[0].address], capsys).out
    (tmp_path / "walks.jsonl").write_text('{"seed": 99}')
    alone = run(tmp_path, [gone], capsys)
    assert alone.code == 2
    assert "No ComfyUI server answers any more" in alone.err
