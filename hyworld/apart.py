"""Work beside a walk, on a thread that ends with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


def apart(work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
    """Call `work` on a thread of its own; the future ends after the thread's work, and the thread with it.

    A thread on which PyTorch computes in parallel has OpenMP workers as long as it lives. GNU's OpenMP lets nobody spin
    at the end of a parallel piece once the workers of all threads outnumber the cores: everybody sleeps and is woken,
    9,000 times in a chunk of the built-in world, which then takes half as long again (two cores). So only the
    walking thread stays.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            result = work(*args, **kwargs)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name=f"hyworld-{getattr(work, '__name__', 'work')}", daemon=True).start()
    return future
