"""Interrupting a walk: at once, without harm to the model, and whoever notices it first. A failing preview does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.utils
from workbench import counted, latents_of, load_tiny, require, same, small_vae, walk

INTERRUPT = comfy.model_management.InterruptProcessingException
IN_THE_SECOND_CHUNK = 7
"""Number of a forward: 4 steps, a prefill, and then the second step of the second chunk."""


def press_stop() -> None:
    comfy.model_management.interrupt_current_processing(True)


def pending() -> bool:
    return comfy.model_management.processing_interrupted()


def listen_like_main() -> list[Any]:
    """Hook the progress bar as the host's main.py does: the hook is one of the places that notice an interrupt."""
    shown: list[Any] = []

    def hook(value: int, total: int, preview: Any, **_: Any) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        shown.append(preview)

    comfy.utils.set_progress_bar_global_hook(hook)
    return shown


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
    model, shown = load_tiny(), listen_like_main()
    seen: list[int] = []

    def frames() -> int:
        return sum(preview is not None for preview in shown)

    def late(call: int) -> None:
        if call == IN_THE_SECOND_CHUNK:
            wait_until(frames, "the preview shows a frame of the first chunk")
            seen.append(len(preview_threads()))
            press_stop()

    stopped(model, late, preview=True)
    require(seen == [1], f"one preview thread ran meanwhile: {seen}")
    require(not preview_threads(), "no preview thread is left")
    return f"{frames()} frames were shown, then the thread ended with the walk."


def wait_until_noticed(shown: list[Any]) -> None:
    """Press stop while the preview plays, and let its thread be the one that notices: it ends then."""
    already = len(shown)
    wait_until(lambda: len(shown) > already, "the preview shows another frame")
    press_stop()
    wait_until(lambda: not preview_threads(), "the preview thread notices the interrupt and ends")


def check_an_interrupt_that_the_preview_notices_stops_the_walk() -> str:
    model, shown = load_tiny(), listen_like_main()
    exact = latents_of(model)

    def late(call: int) -> None:
        if call == IN_THE_SECOND_CHUNK:
            wait_until_noticed(shown)

    calls = stopped(model, late, preview=True)
    require(len(calls) == IN_THE_SECOND_CHUNK, f"no forward begins after it: {calls}")
    require(not pending(), "the interrupt is used up")
    return f"stopped in forward {len(calls)}; " + same(latents_of(model), exact, "then a walk to the end")


def check_an_interrupt_during_the_last_decoding_is_not_lost() -> str:
    """No step follows that could notice it: what the preview's thread notices meanwhile must reach the host still."""
    model, vae, shown = load_tiny(), small_vae(24), listen_like_main()
    decode = vae.first_stage_model.decode_stream
    decoded: list[int] = []

    def slow(latents: Any, cache: Any = None) -> Any:
        decoded.append(latents.shape[2])
        if sum(decoded) == 8:  # the last latent of the second and last chunk
            wait_until_noticed(shown)
        return decode(latents, cache)

    vae.first_stage_model.decode_stream = slow
    try:
        walk(model, vae=vae, preview=True)
    except INTERRUPT:
        return f"the walk ended as interrupted while latent {sum(decoded)} of 8 was decoded."
    return require(pending(), "the walk had its frames already; the interrupt still stands, for the host's next node")


def check_a_preview_that_fails_does_not_end_the_walk() -> str:
    model = load_tiny()
    exact = latents_of(model)
    failures: list[int] = []

    def hook(value: int, total: int, preview: Any, **_: Any) -> None:
        if preview is not None:
            failures.append(value)
            raise OSError("no screen")

    comfy.utils.set_progress_bar_global_hook(hook)

    def late(call: int) -> None:
        if call == IN_THE_SECOND_CHUNK:
            wait_until(lambda: not preview_threads(), "the preview thread ends")

    with counted(model, late):
        walked = latents_of(model, preview=True)
    require(len(failures) == 1, f"the preview ended with its first picture: {len(failures)} were tried")
    return same(walked, exact, "latents beside a preview that fails and without")
