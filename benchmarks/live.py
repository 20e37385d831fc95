"""A live walk beside an ordinary one: `python -m benchmarks.live --size 480 832`.

Starts the server of `hyworld play`, walks over a WebSocket with a key held, and then walks as long along a path given
beforehand, with the same networks in the same process. The client asks for more as soon as a chunk arrives, so that the
rate is that of the whole way and not of a screen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import get_context

import aiohttp

from hyworld import Pipeline, Trajectory, World
from hyworld.bench.measure import Memory
from hyworld.bench.workload import Setup, source_for, start
from hyworld.config import CHUNK_LATENTS, VAE_TEMPORAL_STRIDE
from hyworld.live.room import Room
from hyworld.live.server import Server
from hyworld.live.walking import Walking
from hyworld.modes import Modes

WARM_UP = 8
"""Chunks until memory is full and kernels are built."""


@dataclass
class Arrivals:
    """When chunks came, what they weigh, how long they were computed, and how long after its key the first came."""

    at: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    delay: float = 0.0


async def walked_live(pipeline: Pipeline, world: World, chunks: int) -> Arrivals:
    """A walk over the socket with `w` held; the client is a process of its own, as a browser is."""
    room = Room(asyncio.get_running_loop())
    walking = Walking(pipeline, room, autosave=4)
    server = Server(walking, room, size=world.size)
    await server.start()
    try:
        await asyncio.wrap_future(walking.begin(lambda: world))
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            client = process.submit(asked_for, server.address, chunks)
            return await asyncio.wrap_future(client)
    finally:
        await asyncio.to_thread(walking.close)
        await server.close()


def asked_for(address: str, chunks: int) -> Arrivals:
    """In the client's process: so many chunks from the server at this address."""
    return asyncio.run(_asked_for(address, chunks))


async def _asked_for(address: str, chunks: int) -> Arrivals:
    arrivals = Arrivals()
    async with aiohttp.ClientSession() as session:
        await session.get(address)
        async with session.ws_connect(f"{address}live", origin=address.rstrip("/"), max_msg_size=0) as ws:
            pressed = time.perf_counter()
            await ws.send_json({"type": "input", "at": 0, "keys": ["w"]})
            async for message in ws:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    continue
                length = int.from_bytes(message.data[:4], "little")
                header = json.loads(message.data[4 : 4 + length])
                if header["type"] != "chunk":
                    continue
                arrivals.at.append(time.perf_counter())
                arrivals.bytes.append(len(message.data))
                arrivals.seconds.append(header["seconds"])
                arrivals.delay = arrivals.delay or arrivals.at[0] - pressed
                if len(arrivals.at) == chunks:
                    break
                await ws.send_json({"type": "playing", "chunk": header["chunk"], "left": 0})
            await ws.send_json({"type": "input", "at": 1, "keys": []})
    return arrivals


def walked_ahead(pipeline: Pipeline, world: World, chunks: int) -> list[float]:
    """When the chunks of the same walk were there, along a path that is known."""
    path = Trajectory.from_tokens(f"w-{4 * chunks - 1}")
    return [time.perf_counter() for _ in pipeline.walk(world, path)]


def rate(at: list[float]) -> float:
    """Frames per second of the steady state."""
    seconds = statistics.median(after - before for before, after in pairwise(at[WARM_UP:]))
    return CHUNK_LATENTS * VAE_TEMPORAL_STRIDE / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="wan_5b")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 832), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--chunks", type=int, default=24)
    parser.add_argument("--linears", default="exact", choices=["exact", "fp8"])
    parser.add_argument("--decoder", default="full", choices=["full", "tiny"])
    args = parser.parse_args()
    source = source_for(args.preset, args.device, "auto", None, None, None)
    setup = Setup((args.size[0], args.size[1]), args.chunks, Modes(linears=args.linears), args.decoder)
    pipeline, memory = source.build(setup), Memory(source.device)
    world = start(pipeline, source, setup)

    ahead = rate(walked_ahead(pipeline, world, args.chunks))
    arrivals = asyncio.run(walked_live(pipeline, world, args.chunks))
    again = rate(walked_ahead(pipeline, world, args.chunks))
    live, known = rate(arrivals.at), statistics.mean((ahead, again))
    print(
        f"{setup.name}: {live:.1f} frames/s live, {known:.1f} ({ahead:.1f}, {again:.1f}) along a known path: "
        f"{live / known:.3f}; peak {memory.peak() or 0:.1f} GB; {threading.active_count()} thread(s) left"
    )
    print(
        f"first key to first chunk at the client: {arrivals.delay:.2f} s; computing takes "
        f"{statistics.median(arrivals.seconds[WARM_UP:]):.3f} s; a chunk is "
        f"{statistics.median(arrivals.bytes) / 1e6:.2f} MB of pictures"
    )


if __name__ == "__main__":
    main()
