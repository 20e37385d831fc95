"""Prompt Schedule."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hyworld.errors import InputError
from .host.clip import AFTER, PROMPT
from .host.prompt import text_behind
from .schema import schema

_AFTER = {"min": 1, "max": 100_000, "optional": True}


class PromptSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldPromptSchedule",
            display_name="Prompt Schedule",
            description=(
                "New words on the way: what the walk is told first, and what it is told after some chunks. For more "
                "changes, wire one schedule into another."
            ),
            search_aliases=["hyworld", "prompt travel", "prompt schedule", "change prompt"],
            inputs=[
                io.Conditioning.Input("first", tooltip="What holds from the start; may be another Prompt Schedule."),
                io.Conditioning.Input("second", tooltip="What holds after that."),
                io.Int.Input(
                    "second_after",
                    default=4,
                    **_AFTER,
                    tooltip="Chunks the world has before the second prompt holds; 4 is after 61 frames.",
                ),
                io.Conditioning.Input("third", optional=True, tooltip="What holds after the second."),
                io.Int.Input(
                    "third_after", default=8, **_AFTER, tooltip="Chunks the world has before the third prompt holds."
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="schedule", tooltip="For the positive input of the Streaming Sampler."
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls, first: Any, second: Any, second_after: int = 4, third: Any = None, third_after: int = 8
    ) -> io.NodeOutput:
        schedule: dict[int, list[Any]] = {}
        for name, given, after in (
            ("first", first, 0),
            ("second", second, second_after),
            ("third", third, third_after),
        ):
            words = text_behind(cls.hidden.prompt, cls.hidden.unique_id, name)
            for text, more in given or ():
                chunk = more.get(AFTER, after)
                if chunk in schedule:
                    raise InputError(
                        f"Two prompts of the schedule hold after {chunk} chunks: give them different ones."
                    )
                schedule[chunk] = [text, {PROMPT: words, **more, AFTER: chunk}]
        return io.NodeOutput([schedule[chunk] for chunk in sorted(schedule)])
