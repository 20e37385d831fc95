"""Wan's streaming cache rule: keys and values of a window of the past are kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..camera import Trajectory
from ..config import DiTConfig
from ..dit import RollingMemory, WanDiT
from ..memory import sample_points, select_clip
from .cache import Begun, tokens_per_frame
from .conditioning import Conditioning
from .handover import sent
from .networks import Branch, Networks
from .recipe import Recipe, Rolling, chunk_noise
from .world import Step, World


class RollingCache:
    """Each branch has a memory of its own.

    After a chunk, the network reads its clean latents once more, and that is what later chunks see of it. This is done
    when the next chunk begins, from the latents in the world. So a walk that goes on and a world that was loaded,
    rewound or branched do the same, but for how many chunks they have to read: the memories are those of the world
    walked last, and know how much of it they hold.

    fp8: for networks that attend in fp8.
    """

    def __init__(
        self,
        config: DiTConfig,
        recipe: Recipe,
        memory: Rolling,
        conditioning: Conditioning,
        networks: Networks,
        *,
        device: torch.device,
        dtype: torch.dtype,
        fp8: bool = False,
    ) -> None:
        self._config = config
        self._recipe = recipe
        self._rule = memory
        self._conditioning = conditioning
        self._networks = networks
        self._device = device
        self._dtype = dtype
        self._fp8 = fp8
        self._memories: list[RollingMemory] = []
        self._held = _Held()
        self._noise: WeakKeyDictionary[Step, Tensor] = WeakKeyDictionary()
        self._points = None if memory.recall is None else sample_points(memory.recall.points, memory.recall.radius)
        self._recalled: tuple[int, int] | None = None
        """The chunk that the memories are ready for, and the one they recall for it."""

    def begin(
        self, world: World, cameras: Trajectory, branches: Sequence[Branch], on_replay: Callable[[], None]
    ) -> Begun:
        self._make_room(world, branches)
        if not self._held.are_of(world):
            for memory in self._memories:
                memory.clear()
            self._held, self._recalled = _Held.nothing(world), None
        for chunk in range(self._held.chunks, world.chunks):
            if chunk < world.chunks - 1:
                on_replay()
            with self._changing() as held:
                self._begin_memories()
                self._recall(world, chunk, world.history[chunk].memory_frames)
                self._read(world, chunk)
                held.add(world.history[chunk])
        kept = self._kept_of(world, cameras)
        with self._changing():
            self._begin_memories()
            self._recall(world, world.chunks, kept)
        return kept, self._remembering(branches)

    def foresee(self, world: World, cameras: Trajectory, following: Trajectory) -> None:
        pass

    def noise_given(self, step: Step, noise: Tensor) -> None:
        self._noise[step] = noise

    def bytes_needed(self, tokens: int) -> tuple[int, int]:
        rule, n = self._rule, self._recipe.chunk_latents
        kv = RollingMemory.nbytes(
            self._config,
            frames=rule.window + rule.sink,
            tokens_per_frame=tokens,
            dtype=self._dtype,
            compact=not rule.rotated,
            fp8=self._fp8,
        )
        activations = WanDiT.activation_bytes(self._config, frames=n, tokens_per_frame=tokens, dtype=self._dtype)
        return kv * self._networks.branches, activations

    def _make_room(self, world: World, branches: Sequence[Branch]) -> None:
        tokens = tokens_per_frame(world)
        if self._memories and self._memories[0].tokens_per_frame == tokens:
            return
        self._memories = []  # freed before their successors are allocated
        self._held = _Held()
        rule = self._rule
        self._memories = [
            RollingMemory(
                self._config,
                window=rule.window,
                sink=rule.sink,
                chunk=self._recipe.chunk_latents,
                tokens_per_frame=tokens,
                rotated=rule.rotated,
                device=self._device,
                dtype=self._dtype,
                fp8=self._fp8,
            )
            for _ in branches
        ]

    @contextmanager
    def _changing(self) -> Iterator[_Held]:
        """Should the body fail, it is not known what the memories hold."""
        held, self._held = self._held, _Held()
        yield held
        self._held = held

    def _begin_memories(self) -> None:
        for memory in self._memories:
            memory.begin()

    def _remembering(self, branches: Sequence[Branch]) -> tuple[Branch, ...]:
        return tuple(branch._replace(memory=memory) for branch, memory in zip(branches, self._memories, strict=True))

    def _recall(self, world: World, chunk: int, kept: tuple[int, ...]) -> None:
        """Have the older chunk that is among those `kept` for chunk number `chunk` in the memories."""
        n, sink = self._recipe.chunk_latents, self._rule.sink
        if self._rule.recall is None or not self._may_recall(chunk):
            return
        older = kept[sink] // n
        if self._recalled == (chunk, older):
            return
        with ExitStack() as stack:
            for memory in self._memories:
                stack.enter_context(memory.behind_sink())
            self._forward(world, older)
        self._recalled = (chunk, older)

    def _read(self, world: World, chunk: int) -> None:
        """Let every branch read chunk number `chunk` of `world`, told what it was told then."""
        self._forward(world, chunk)
        for memory in self._memories:
            memory.commit()

    def _forward(self, world: World, chunk: int) -> None:
        """One forward of every branch over chunk number `chunk` of `world`."""
        step = world.history[chunk]
        text = world.text if step.words is None else step.words.text
        told = self._remembering(self._networks.told(text, world.negative, world.clip))
        given = self._conditioning.given(world, chunk, step.cameras)
        if self._recipe.picture_read_alike:
            given = given._replace(picture_timestep=None)
        clean = sent(step.latents, self._device).to(self._dtype)
        inputs = given.inputs(given.stamped(self._noisy(clean, step, chunk)), self._recipe.context_timestep)
        for branch in told:
            branch(inputs._replace(prefill=True))

    def _noisy(self, clean: Tensor, step: Step, chunk: int) -> Tensor:
        sigma = self._recipe.context_sigma
        if not sigma:
            return clean
        noise = self._noise.get(step)
        if noise is None:
            # Not of the world's seed, which may have been another one at the time.
            noise = chunk_noise(0, chunk, tuple(clean.shape), self._recipe.draws - 1)
        return (1 - sigma) * clean.float() + sigma * sent(noise.float(), self._device)

    def _kept_of(self, world: World, cameras: Trajectory) -> tuple[int, ...]:
        """Which latents the next chunk of `world`, seen by `cameras`, sees."""
        n, sink = self._recipe.chunk_latents, self._rule.sink
        past, room = world.chunks * n, self._rule.window - n
        kept = self._rule.seen(past, n)
        if self._rule.recall is None or self._points is None or not self._may_recall(world.chunks):
            return kept
        viewmats = torch.cat((world.viewmats, torch.from_numpy(cameras.viewmats)))
        starts = range(-(-sink // n) * n, past - room, n)
        clip = select_clip(viewmats, past, n, starts, self._points, self._rule.recall)
        return (*kept[:sink], *range(clip, clip + n), *kept[sink + n :])

    def _may_recall(self, chunk: int) -> bool:
        """Whether a whole chunk has left the window when chunk number `chunk` begins."""
        n = self._recipe.chunk_latents
        return chunk * n - (self._rule.window - n) >= -(-self._rule.sink // n) * n + n


class _Held:
    """Which chunks of which world the memories have read. Default: it is not known."""

    def __init__(self) -> None:
        self.chunks = 0
        self._last: weakref.ref[Step] | None = None
        self._told: tuple[Tensor | None, ...] | None = None

    @classmethod
    def nothing(cls, world: World) -> _Held:
        """Not a chunk yet, of `world`."""
        held = cls()
        held._told = _told_throughout(world)
        return held

    def are_of(self, world: World) -> bool:
        """Whether they are the first of `world`'s, with the picture and the negative prompt it has now."""
        told = _told_throughout(world)
        if self._told is None or any(mine is not theirs for mine, theirs in zip(self._told, told, strict=True)):
            return False
        if not self.chunks:
            return True
        return self.chunks <= world.chunks and self._last is not None and self._last() is world.history[self.chunks - 1]

    def add(self, step: Step) -> None:
        """One more chunk."""
        self.chunks += 1
        self._last = weakref.ref(step)


def _told_throughout(world: World) -> tuple[Tensor | None, ...]:
    return world.first_frame, world.clip, None if world.negative is None else world.negative.text
