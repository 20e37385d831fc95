"""Interrupting a walk: at once, and without harm to the model. Previews beside a walk, after it, and failing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
from workbench import counted, latents_of, load_tiny, pack, require, same, small_vae, walk

INTERRUPT = comfy.model_management.InterruptProcessingException
IN_THE_SECOND_CHUNK = 7
"""Number of a forward: 4 steps, a prefill, and then the second step of the second chunk."""


def press_stop() -> None:
    comfy.model_management.interrupt_current_processing(True)


def pending() -> bool:
    return comfy.model_management.processing_interrupted()


@contextmanager
def screen(show: Callable[[], bool]) -> Iterator[None]:
    """Previews on a screen of the test's instead of a server's."""
    module = pack("nodes.sampler")
    before = module.NodeScreen

    class Screen:
        def show(self, picture: Any) -> bool:
            return show()

    module.NodeScreen = Screen
    try:
        yield
    finally:
        module.NodeScreen = before


def preview_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "hyworld-preview"]


def wait_until(condition: Callable[[], Any], what: str) -> None:
    limit = time.monotonic() + 10
    while not condition():
        require(time.monotonic() < limit, f"within 10 s {what}")
        time.sleep(0.005)


def stopped(model: Any, before: Any, *, preview: bool) -> list[str]:
    """The forwards until the walk was interrupted."""
    with counted(model, before) as calls:
        try:
            latents_of(model, preview=preview)
        except INTERRUPT:
            return calls
    raise AssertionError(f"The walk was not interrupted, it ran to its end: {calls}")


def check_an_interrupt_stops_within_one_step() -> str:
    model = load_tiny()
    exact = latents_of(model)
    evidence = []
    for when in (1, 3, 5, IN_THE_SECOND_CHUNK):
        calls = stopped(model, lambda call, when=when: press_stop() if call == when else None, preview=False)
        require(len(calls) == when, f"no forward begins after the interrupt in forward {when}: {calls}")
        require(not pending(), "the interrupt is used up")
        require(model.model.current_patcher is None, "the host knows that the model no longer runs")
        evidence.append(f"stopped in forward {when} ({calls[-1]})")
    return ", ".join(evidence) + "; " + same(latents_of(model), exact, "then a walk to the end")


def check_the_preview_thread_ends_with_an_interrupted_walk() -> str:
    model = load_tiny()
    shown: list[int] = []
    seen: list[int] = []

    def show() -> bool:
        shown.append(1)
        return True

    def late(call: int) -> None:
        if call == IN_THE_SECOND_CHUNK:
            wait_until(lambda: shown, "the preview shows a frame of the first chunk")
            seen.append(len(preview_threads()))
            press_stop()

    with screen(show):
        stopped(model, late, preview=True)
        require(seen == [1], f"one preview thread ran meanwhile: {seen}")
        require(not preview_threads(), "no preview thread is left")
    return f"{len(shown)} frames were shown, then the thread ended with the walk."


def check_the_last_chunk_plays_to_its_end_after_the_node() -> str:
    model = load_tiny()
    shown: list[float] = []

    def show() -> bool:
        shown.append(time.monotonic())
        return True

    with screen(show):
        walk(model, "w-3", preview=True)
        ended = time.monotonic()
        wait_until(lambda: not preview_threads(), "the preview has played")
    require(len(shown) == 13, f"13 frames of the only chunk were shown: {len(shown)}")
    return require(shown[-1] > ended, f"the node ended {shown[-1] - ended:.2f} s before the preview did.")


def check_an_interrupt_during_the_last_decoding_is_not_lost() -> str:
    """No step follows that could notice it."""
    model, vae = load_tiny(), small_vae(24)
    decode = vae.first_stage_model.decode_stream
    decoded: list[int] = []

    def slow(latents: Any, cache: Any = None) -> Any:
        decoded.append(latents.shape[2])
        if sum(decoded) == 8:  # the last latent of the second and last chunk
            press_stop()
        return decode(latents, cache)

    vae.first_stage_model.decode_stream = slow
    try:
        walk(model, vae=vae)
    except INTERRUPT:
        return f"the walk ended as interrupted while latent {sum(decoded)} of 8 was decoded."
    return require(pending(), "the walk had its frames already; the interrupt still stands, for the host's next node")


def check_a_preview_that_fails_does_not_end_the_walk() -> str:
    model = load_tiny()
    exact = latents_of(model)
    failures: list[int] = []

    def show() -> bool:
        failures.append(1)
        raise OSError("no screen")

    def late(call: int) -> None:
        if call == IN_THE_SECOND_CHUNK:
            wait_until(lambda: not preview_threads(), "the preview thread ends")

    with screen(show), counted(model, late):
        walked = latents_of(model, preview=True)
    require(len(failures) == 1, f"the preview ended with its first picture: {len(failures)} were tried")
    return same(walked, exact, "latents beside a preview that fails and without")
