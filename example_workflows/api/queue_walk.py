"""Queue an API workflow on a running ComfyUI, follow it, save its video. Needs `pip install websocket-client`.

python queue_walk.py --server http://127.0.0.1:8188 --workflow quick_start.json --seed 7 --path "w-7, right-8"
Ctrl-C cancels it on the server too.
"""

import argparse
import json
import shutil
import sys
import uuid
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import websocket

TEXT = 3  # a binary message: its kind, the length of the node's id, the id, what the node says


def call(path, body=None):
    """GET or POST."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(server + path, data, {"Content-Type": "application/json"})) as answer:
        return answer.read()


def queue():
    """What ComfyUI refuses, it explains."""
    try:
        call("/prompt", {"prompt": prompt, "client_id": client, "prompt_id": job})
    except HTTPError as refusal:
        told = json.load(refusal)
        faults = [(node["class_type"], fault) for node in told["node_errors"].values() for fault in node["errors"]]
        lines = [f"{kind}: {fault['message']}: {fault['details']}" for kind, fault in faults]
        sys.exit(f"ComfyUI refused the workflow ({refusal.code}).\n" + "\n".join(lines or [told["error"]["message"]]))


def cancel():
    """Take this job out of the queue, or interrupt it; leave others alone."""
    try:
        call(f"/api/jobs/{job}/cancel", {})
    except HTTPError:  # an older ComfyUI
        call("/queue", {"delete": [job]})
        call("/interrupt", {"prompt_id": job})


def show(*parts):
    """One line that changes, on a terminal."""
    if sys.stdout.isatty():
        line = " - ".join(filter(None, parts))[: shutil.get_terminal_size().columns - 1]
        print(f"\r\x1b[K{line}", end="", flush=True)


def follow():
    """Show the progress until the workflow has run; where there is no terminal, a line for all that nodes say."""
    running, title, steps, said = None, "in the queue", "", ""
    while True:
        show(title, steps, said)
        message = socket.recv()
        if isinstance(message, bytes):
            end = 8 + int.from_bytes(message[4:8], "big")
            speaks = int.from_bytes(message[:4], "big") == TEXT and message[8:end].decode() == running
            if speaks and message[end:].decode() != said:
                said = message[end:].decode()
                if not sys.stdout.isatty():
                    print(f"{title}: {said}", flush=True)
            continue
        event = json.loads(message)
        kind, data = event["type"], event.get("data", {})
        if data.get("prompt_id") != job:
            continue
        if kind == "executing" and data["node"] is None:
            return show()
        if kind == "executing":
            running, node = data["node"], prompt[data["node"]]
            title, steps, said = node.get("_meta", {}).get("title", node["class_type"]), "", ""
        elif kind == "progress":
            steps = f"{data['value']} of {data['max']}"
        elif kind == "execution_error":
            sys.exit(f"\n{data['node_type']} failed: {data['exception_message'].strip()}")
        elif kind == "execution_interrupted":
            sys.exit("\nThe run was cancelled in ComfyUI.")


parser = argparse.ArgumentParser(description="Queue an API workflow on a running ComfyUI and save its video.")
parser.add_argument("--server", default="http://127.0.0.1:8188", help="address of ComfyUI")
parser.add_argument("--workflow", type=Path, default=Path(__file__).with_name("quick_start.json"), help="in API form")
parser.add_argument("--seed", type=int, help="seed of the Streaming Sampler")
parser.add_argument("--path", help="path of the Camera Trajectory")
parser.add_argument("--output", type=Path, help="the video to write (default: beside the workflow)")
args = parser.parse_args()
server, target = args.server.rstrip("/"), args.output or args.workflow.with_suffix(".mp4")
try:
    prompt = json.loads(args.workflow.read_text(encoding="utf-8"))
except (OSError, ValueError) as error:
    sys.exit(f"The workflow cannot be read: {error}")
if "nodes" in prompt:
    sys.exit(f"{args.workflow} is not in API form: use Workflow > Export (API) in ComfyUI.")
for kind, name, value in (("StreamingSampler", "seed", args.seed), ("CameraTrajectory", "path", args.path)):
    for node in prompt.values():
        if value is not None and node["class_type"] == f"HYWorld{kind}":
            node["inputs"][name] = value
client, job = uuid.uuid4().hex, str(uuid.uuid4())
try:
    socket = websocket.create_connection(f"{server.replace('http', 'ws', 1)}/ws?clientId={client}", timeout=3600)
    try:
        queue()
        follow()
    except KeyboardInterrupt:
        cancel()
        sys.exit("\nCancelled, on the server too.")
    outputs = json.loads(call(f"/history/{job}"))[job]["outputs"].values()
    videos = [file for output in outputs for file in output.get("images", []) if file["filename"].endswith(".mp4")]
    if not videos:
        sys.exit("The workflow saved no mp4: add a Save Video node.")
    video = call(f"/view?{urlencode(videos[-1])}")
except (OSError, ValueError, websocket.WebSocketException) as error:
    sys.exit(f"No connection to ComfyUI at {server} ({error}): start it, or give its address with --server.")
target.write_bytes(video)
print(f"{target}: {len(video):,} bytes")
