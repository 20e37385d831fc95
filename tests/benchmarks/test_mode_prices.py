"""The table of modes: what each part found side by side, and a mode as a pipeline has it."""

from __future__ import annotations

import pytest
import torch

from benchmarks import mode_prices
from benchmarks.mode_prices import MODES, Mode, speed, table
from hyworld.bench.measure import Run
from hyworld.errors import InputError
from hyworld.modes import Modes


def test_parts_stand_side_by_side():
    shown = table(
        {"speed": {"exact": {"a chunk, ms": "9"}}, "returning": {"exact": {"returning": "30.00"}, "fast": {}}}
    )
    assert [column.header for column in shown.columns] == ["mode", "a chunk, ms", "returning"]
    assert [list(column.cells) for column in shown.columns] == [["exact", "fast"], ["9", "–"], ["30.00", "–"]]


def test_modes_of_a_pipeline():
    assert Mode().modes == Modes()
    fast = MODES["fast (all three)"].modes
    assert fast == Modes(attention="fp8", linears="fp8", convolutions="fp8")
    assert MODES["fp8 attention and linears, compact memory"].modes.kv == "compact"
    assert MODES["12 remembered"].modes.remembered == 12


def test_a_mode_that_cannot_run_here_is_said_and_left_out(monkeypatch: pytest.MonkeyPatch, capsys):
    asked = []

    def measured(_, setup, *__, **___):
        asked.append(setup)
        if setup.modes.linears == "fp8":
            raise InputError("not here")
        return Run("", {}, "plain", 0.0, True, {}, {"chunk_ms": 12.4}, {"peak_gb": 3.21}, None, [])

    monkeypatch.setattr(mode_prices, "measure", measured)
    modes = {name: MODES[name] for name in ("exact", "fp8 linears", "tiny decoder")}
    row = {"a chunk, ms": "12", "peak, GB": "3.2"}
    assert speed(torch.device("cpu"), modes) == {"exact": row, "tiny decoder": row}
    assert "fp8 linears: not here" in capsys.readouterr().out
    assert [setup.decoder for setup in asked] == ["full", "full", "tiny"]
