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

from hyworld.batch import comfy, results, workflow
from hyworld.batch import server as asked
from hyworld.cli.main import main
from hyworld.errors import InputError

WORKFLOW = Path(__file__).parents[2] / "example_workflows" / "api" / "quick_start.json"


class Server(ThreadingHTTPServer):
    """Answers as ComfyUI does; runs nothing.

    forgets: prompts that it will lose, as a server started anew does.
    unsound: answers to come that end before they are whole.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.prompts: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.queued: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.forgets = self.unsound = 0
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
        if self.path != "/prompt":
            self.cancel(body)
            return
        seed = value_of(body["prompt"], "HYWorldStreamingSampler", "seed")
        if seed == 13:
            fault = {"message": "Value not in list", "details": "seed: 13"}
            told = {"error": {}, "node_errors": {"1": {"errors": [fault], "class_type": "Sampler"}}}
            self.answer(json.dumps(told).encode(), 400)
            return
        self.server.prompts.append(body["prompt"])
        status = {"status_str": "success", "messages": []}
        outputs = {
            "8": {"images": [{"filename": "seen.png", "subfolder": "", "type": "temp"}]},
            "9": {"images": [{"filename": f"{seed}.mp4", "subfolder": "a b", "type": "output"}], "animated": [True]},
        }
        if seed == 14:
            status = {"status_str": "error", "messages": [["execution_error", {"exception_message": "no memory\n"}]]}
            outputs = {}
        if self.server.forgets:
            self.server.forgets -= 1
        else:
            self.server.queued[body["prompt_id"]] = body["client_id"]
            self.server.jobs[body["prompt_id"]] = {"status": status, "outputs": outputs}
        self.answer(json.dumps({"prompt_id": body["prompt_id"], "node_errors": {}}).encode())

    def cancel(self, body: dict[str, Any]) -> None:
        if "/jobs/" in self.path:  # as in old versions
            self.answer(b"", 404)
            return
        for job in body.get("delete", []):
            self.server.cancelled.append(job)
            self.server.queued.pop(job, None)
        self.answer(b"")

    def do_GET(self) -> None:
        if self.path == "/queue":
            waiting = [[0, job, {}, {"client_id": owner}] for job, owner in self.server.queued.items()]
            self.answer(json.dumps({"queue_running": waiting[:1], "queue_pending": waiting[1:]}).encode())
        elif self.path.startswith("/history/"):
            job = self.path.rpartition("/")[2]
            runs = self.server.queued.pop(job, None) is not None  # it ends once it was asked for
            found = {job: self.server.jobs[job]} if job in self.server.jobs and not runs else {}
            self.answer(json.dumps(found).encode())
        elif self.path.startswith("/view") and self.server.unsound:
            self.server.unsound -= 1
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        else:
            self.answer(json.dumps(self.path).encode())


def value_of(prompt: dict[str, Any], kind: str, name: str) -> Any:
    return next(node["inputs"][name] for node in prompt.values() if node["class_type"] == kind)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started = [Server(), Server()]
    for server in started:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (comfy, asked):
        monkeypatch.setattr(module, "POLL", 0.01)
    monkeypatch.setattr(asked, "SILENT", 0.5)


def test_lines_are_prompts_of_several_servers(
    tmp_path: Path, servers: list[Server], capsys: pytest.CaptureFixture[str]
):
    walks: list[dict[str, Any]] = [{"seed": seed, "path": f"w-{seed}"} for seed in (3, 7, 11, 15)]
    walks += [{"seed": 13}, {"seed": 14}, {"speed": 1}, {"HYWorldStreamingSampler.chunks": 2, "seed": 19}]
    (tmp_path / "walks.jsonl").write_text("\n".join(map(json.dumps, walks)))
    addresses = [server.address for server in servers]
    first = run(tmp_path, addresses, capsys)
    assert first.code == 1
    assert "5 of 8 walks made, 3 failed, in" in first.out
    for words in ("line 5: Sampler: Value not in list: seed: 13", "line 6: no memory", "line 7: the workflow has no"):
        assert words in first.err
    prompts = [prompt for server in servers for prompt in server.prompts]
    paths = {
        value_of(prompt, "HYWorldStreamingSampler", "seed"): value_of(prompt, "HYWorldCameraTrajectory", "path")
        for prompt in prompts
    }
    assert {seed: path for seed, path in paths.items() if seed < 14 or seed == 15} == {
        3: "w-3", 7: "w-7", 11: "w-11", 15: "w-15"
    }  # fmt: skip
    assert videos(tmp_path) == {f"{seed}.mp4" for seed in (3, 7, 11, 15, 19)}
    before = len(prompts)
    again = run(tmp_path, addresses, capsys)
    assert "5 there before" in again.out
    assert sum(len(server.prompts) for server in servers) == before + 1  # the one that fails when it runs


def test_a_server_that_ends_leaves_its_walk_to_another(
    tmp_path: Path, servers: list[Server], capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "walks.jsonl").write_text("\n".join(json.dumps({"seed": seed}) for seed in range(4)))
    gone = "127.0.0.1:9"
    assert "4 of 4 walks made" in run(tmp_path, [gone, servers[0].address], capsys).out
    (tmp_path / "walks.jsonl").write_text('{"seed": 99}')
    alone = run(tmp_path, [gone], capsys)
    assert alone.code == 2
    assert "No ComfyUI server answers at http://127.0.0.1:9" in alone.err


def test_a_job_that_a_server_lost_is_put_in_again(
    tmp_path: Path, servers: list[Server], capsys: pytest.CaptureFixture[str]
):
    servers[0].forgets, servers[0].unsound = 2, 1
    (tmp_path / "walks.jsonl").write_text('{"seed": 3}')
    said = run(tmp_path, [servers[0].address], capsys)
    assert "1 of 1 walks made" in said.out
    assert said.err.count("is begun anew: ") == 2
    assert videos(tmp_path) == {"3.mp4"}
    servers[0].forgets = 3
    (tmp_path / "walks.jsonl").write_text('{"seed": 7}')
    assert "line 1: it was begun 3 times" in run(tmp_path, [servers[0].address], capsys).err


def test_only_what_this_batch_left_in_a_queue_goes(
    tmp_path: Path, servers: list[Server], capsys: pytest.CaptureFixture[str]
):
    with results.Results(tmp_path / "out") as kept:
        owner = f"{kept.token} {servers[0].address}"
    servers[0].queued.update({"left": owner, "other": "somebody"})
    (tmp_path / "walks.jsonl").write_text('{"seed": 3}')
    assert "1 of 1 walks made" in run(tmp_path, [servers[0].address], capsys).out
    assert servers[0].cancelled == ["left"]


def test_two_lines_of_one_name_do_not_meet(tmp_path: Path, servers: list[Server], capsys: pytest.CaptureFixture[str]):
    walks = [{"seed": 3, "name": "x"}, {"seed": 7, "name": "x"}]
    (tmp_path / "walks.jsonl").write_text("\n".join(map(json.dumps, walks)))
    said = run(tmp_path, [server.address for server in servers], capsys)
    assert "1 of 2 walks made, 1 failed" in said.out
    assert "line 2: the name x is that of " in said.err
    assert videos(tmp_path) == {"3.mp4"}


def test_options_go_where_the_sampler_has_them_from(tmp_path: Path):
    (tmp_path / "seen.png").write_bytes(b"")
    prompt = {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "negative"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "positive"}},
        "3": {"class_type": "Between", "inputs": {"conditioning": ["2", 0]}},
        "4": {"class_type": "HYWorldStreamingSampler", "inputs": {"positive": ["3", 0], "negative": ["1", 0]}},
        "5": {"class_type": "LoadImage", "inputs": {"image": "its own.png"}},
        "6": {"class_type": "Wired", "inputs": {"seed": ["9", 0]}},
    }
    (tmp_path / "workflow.json").write_text(json.dumps(prompt))
    sent = workflow.Workflow(tmp_path / "workflow.json", tmp_path)
    filled = sent.filled({"prompt": "rain", "negative": "sun", "picture": "seen.png", "crop": None})
    assert (filled["1"]["inputs"]["text"], filled["2"]["inputs"]["text"]) == ("sun", "rain")
    ((inputs, picture),) = sent.pictures(filled)
    assert (inputs["image"], picture) == ("seen.png", tmp_path / "seen.png")
    assert list(sent.pictures(sent.filled({}))) == []
    assert sent.filled({"1.text": "x"})["1"]["inputs"]["text"] == "x"
    for option, said in [
        ("seed", "no place for 'seed'"),
        ("Wired.seed", "no place"),
        ("CLIPTextEncode.text", "several places for 'CLIPTextEncode.text': write one of 1.text, 2.text"),
    ]:
        with pytest.raises(InputError, match=said):
            sent.filled({option: 1})
    for wrong in ("[]", '{"nodes": []}', "nonsense"):
        (tmp_path / "workflow.json").write_text(wrong)
        with pytest.raises(InputError, match="API form"):
            workflow.Workflow(tmp_path / "workflow.json", tmp_path)


def videos(folder: Path) -> set[str]:
    """What was asked for in their place."""
    paths = {file.read_text() for file in (folder / "out").glob("*.mp4")}
    return {path.partition("filename=")[2].partition("&")[0] for path in paths if "subfolder=a+b&type=output" in path}
