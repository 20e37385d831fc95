"""Queue an API workflow on a running ComfyUI, follow it, save its video. Needs `pip install websocket-client`.

python queue_walk.py --server http://127.0.0.1:8188 --workflow quick_start.json --seed 7 --path "w-7, right-8"
"""

import argparse
import json
import sys
import uuid
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import websocket


def call(url, body=None):
    """GET or POST; what ComfyUI refuses, it explains."""
    try:
        with urlopen(Request(url, body and json.dumps(body).encode(), {"Content-Type": "application/json"})) as answer:
            return answer.read()
    except HTTPError as refusal:
        told = json.load(refusal)
        faults = [(node["class_type"], fault) for node in told["node_errors"].values() for fault in node["errors"]]
        lines = [f"{kind}: {fault['message']}: {fault['details']}" for kind, fault in faults]
        sys.exit(f"ComfyUI refused the workflow ({refusal.code}).\n" + "\n".join(lines or [told["error"]["message"]]))


def follow(socket, prompt_id):
    """Print the progress until the workflow has run."""
    while True:
        message = socket.recv()
        event = json.loads(message) if isinstance(message, str) else {"type": "preview"}
        kind, data = event["type"], event.get("data", {})
        if data.get("prompt_id") != prompt_id:
            continue
        if kind == "progress":
            print(f"node {data['node']}: {data['value']} of {data['max']}", flush=True)
        elif kind == "execution_error":
            sys.exit(f"{data['node_type']} failed: {data['exception_message'].strip()}")
        elif kind == "execution_interrupted":
            sys.exit("The run was interrupted in ComfyUI.")
        elif kind == "execution_success":
            return


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
for node_type, name, value in (
    ("HYWorldStreamingSampler", "seed", args.seed),
    ("HYWorldCameraTrajectory", "path", args.path),
):
    for node in prompt.values():
        if value is not None and node["class_type"] == node_type:
            node["inputs"][name] = value
try:
    client = uuid.uuid4().hex
    socket = websocket.create_connection(f"{server.replace('http', 'ws', 1)}/ws?clientId={client}", timeout=3600)
    prompt_id = json.loads(call(f"{server}/prompt", {"prompt": prompt, "client_id": client}))["prompt_id"]
    follow(socket, prompt_id)
    outputs = json.loads(call(f"{server}/history/{prompt_id}"))[prompt_id]["outputs"].values()
    videos = [file for output in outputs for file in output.get("images", []) if file["filename"].endswith(".mp4")]
    if not videos:
        sys.exit("The workflow saved no mp4: add a Save Video node.")
    video = call(f"{server}/view?{urlencode(videos[-1])}")
except (OSError, ValueError, websocket.WebSocketException) as error:
    sys.exit(f"No connection to ComfyUI at {server} ({error}): start it, or give its address with --server.")
target.write_bytes(video)
print(f"{target}: {len(video):,} bytes")
