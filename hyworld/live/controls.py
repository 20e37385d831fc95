"""What a person holds, with time stamps → the motions of the next chunk's latents. No torch, no network, no threads."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..camera.tokens import DEFAULT_SPEEDS, KEYS, Motion, Speeds, compatible, motion_of
from ..config import CHUNK_LATENTS
from ..errors import InputError

Stick = tuple[float, float]
"""Deflection to the right and forward or up, each -1 to 1."""

DEAD_ZONE = 0.1
"""Deflection up to which a stick is at rest; from there to 1 it scales the speed."""

MOST_CHANGES = 1024
"""Changes kept between two chunks."""

REST: Stick = (0.0, 0.0)


@dataclass(frozen=True)
class Held:
    """All that is held from a moment on: a full state, which replaces the one before.

    at: seconds on the sender's clock; None: not of the sender's doing, such as keys released because it is gone.
    keys: of `camera.tokens.KEYS`, oldest first.
    move, turn: sticks.

    Raises `InputError` for another key, one given twice, and a deflection or time that is no number in range.
    """

    at: float | None
    keys: tuple[str, ...] = ()
    move: Stick = REST
    turn: Stick = REST

    def __post_init__(self) -> None:
        for key in self.keys:
            if key not in KEYS or self.keys.count(key) > 1:
                raise InputError(f"The keys are {', '.join(KEYS)}, each at most once, got {key!r:.40}.")
        if not all(-1 <= share <= 1 for share in (*self.move, *self.turn)):
            raise InputError(f"A stick's deflection is -1 to 1 both ways, got {self.move} and {self.turn}.")
        if self.at is not None and not math.isfinite(self.at):
            raise InputError(f"The time of an input must be a number of seconds, got {self.at}.")

    @property
    def idle(self) -> bool:
        """Whether nothing moves: no key is down and the sticks are at rest."""
        return not self.keys and at_rest(self.move) and at_rest(self.turn)


class LatentInput(NamedTuple):
    """What one latent is given.

    keys: in the order of `KEYS`, none opposed.
    since: time stamp (of `Held.at`) of the newest change that it shows; None if there was none.
    """

    motion: Motion
    keys: tuple[str, ...] = ()
    since: float | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is held."""
        return not self.keys and self.motion == Motion()


class Clock:
    """Moments on a sender's clock → moments on ours, which only differ by a constant and the time of the way.

    The smallest difference seen is the constant. A sender's clock that goes back, or falls `NEW_CLOCK` behind, is taken
    for a new one: another sender, a page loaded again, a computer that slept.
    """

    NEW_CLOCK = 2.0

    def __init__(self) -> None:
        self._last = -math.inf
        self._difference = math.inf

    def here(self, at: float | None, now: float) -> float:
        """The moment `at`, heard `now`, on our clock; at most `now`."""
        if at is None:
            return now
        difference = now - at
        if at < self._last or difference > self._difference + self.NEW_CLOCK:
            self._difference = difference
        self._difference = min(self._difference, difference)
        self._last = at
        return at + self._difference


class Controls:
    """What is held, over time; from any thread.

    The time since the last chunk was taken is cut into equal parts, one per latent. A latent has what is held at the
    end of its part, and what was pressed within it, so that a tap counts. After standing still, all latents have what
    was pressed since. Of opposite keys the last one pressed counts, as in the path editor.
    """

    def __init__(self, speeds: Speeds = DEFAULT_SPEEDS) -> None:
        self.speeds = speeds
        self._lock = threading.Lock()
        self._before = Held(None)
        self._changes: deque[tuple[float, Held]] = deque(maxlen=MOST_CHANGES)
        self._from: float | None = None  # when the last chunk was taken; None while standing still

    def hold(self, held: Held, at: float | None = None) -> None:
        """Hold this from now on. at: that moment on the clock of `take`; default `held.at`."""
        at = held.at if at is None else at
        if at is None:
            raise ValueError("a change without a time stamp needs its moment")
        with self._lock:
            self._changes.append((at, held))

    def stand(self) -> None:
        """Stand still: what was pressed before counts no longer, what is held counts for the whole next chunk."""
        with self._lock:
            if self._changes:
                self._before = self._changes.pop()[1]
                self._changes.clear()
            self._from = None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to show: nothing is held, and nothing was pressed since the last chunk."""
        with self._lock:
            return self._before.idle and all(held.idle for _, held in self._changes)

    def take(
        self, now: float, latents: int = CHUNK_LATENTS, *, goes_on: bool = False
    ) -> tuple[LatentInput, ...] | None:
        """The inputs of the next chunk's latents; None if all are idle, so that time stands still unless it `goes_on`.

        now: not before the last `take`.
        """
        with self._lock:
            if self._from is None:
                inputs = (self._shown(list(self._changes)),) * latents
            else:
                inputs = tuple(self._shown(part) for part in self._parts(self._from, now, latents))
            self._changes.clear()
            if not goes_on and all(given.idle for given in inputs):
                self._from = None
                return None
            self._from = now
            return inputs

    def _parts(self, start: float, now: float, latents: int) -> Iterator[list[tuple[float, Held]]]:
        """The changes within each part of the time from `start` to `now`.

        What comes from before is of the first part, what comes from beyond of the last: nothing is lost.
        """
        changes = list(self._changes)
        for n in range(1, latents):
            end = start + (now - start) * n / latents
            split = next((i for i, (at, _) in enumerate(changes) if at > end), len(changes))
            yield changes[:split]
            changes = changes[split:]
        yield changes

    def _shown(self, changes: list[tuple[float, Held]]) -> LatentInput:
        """What a latent shows in whose part these changes fall."""
        pressed: list[str] = []
        move = turn = REST
        for _, held in changes:
            pressed += [key for key in held.keys if key not in self._before.keys]
            move = _flicked(move, self._before.move, held.move)
            turn = _flicked(turn, self._before.turn, held.turn)
            self._before = held
        down = self._before
        keys = compatible([*(key for key in pressed if key not in down.keys), *down.keys])
        motion = motion_of_held(
            keys,
            move if at_rest(down.move) else down.move,
            turn if at_rest(down.turn) else down.turn,
            self.speeds,
        )
        return LatentInput(motion, keys, down.at)


def at_rest(stick: Stick) -> bool:
    """Whether a stick counts as not deflected."""
    return math.hypot(*stick) <= DEAD_ZONE


def motion_of_held(keys: Sequence[str], move: Stick, turn: Stick, speeds: Speeds) -> Motion:
    """Motion of one latent: keys at full speed, sticks by their deflection, together at most full speed."""
    held, angle = motion_of(keys, speeds), math.radians(speeds.turn_deg)
    (right, forward), (yaw, pitch) = _share(move), _share(turn)
    return Motion(
        forward=_within(held.forward + forward * speeds.move, speeds.move),
        right=_within(held.right + right * speeds.move, speeds.move),
        yaw=_within(held.yaw + yaw * angle, angle),
        pitch=_within(held.pitch + pitch * angle, angle),
        orbit=held.orbit,
    )


def _share(stick: Stick) -> Stick:
    """Of full speed, to the right and forward or up."""
    deflection = math.hypot(*stick)
    if at_rest(stick):
        return REST
    scale = min(1.0, (deflection - DEAD_ZONE) / (1 - DEAD_ZONE)) / deflection
    return stick[0] * scale, stick[1] * scale


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _flicked(flicked: Stick, before: Stick, now: Stick) -> Stick:
    """The furthest a stick went since it left its rest."""
    if at_rest(flicked) and not at_rest(before):
        return flicked  # it was held already
    return max(flicked, now, key=lambda stick: math.hypot(*stick))
