"""Which recipe a checkpoint is walked by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hyworld.config import WAN_5B, DiTConfig
from hyworld.errors import InputError
from hyworld.recipe_choice import adjusted, recipe_for
from hyworld.walk import WORLDPLAY
from hyworld.walk.recipes import SELF_FORCING, TI2V_5B, WAN22_I2V_14B

T2V_1_3B = DiTConfig(num_heads=12, num_layers=30, ffn_dim=8960, latent_channels=16, cameras=False)
T2V_14B = replace(T2V_1_3B, num_heads=40, num_layers=40, ffn_dim=13824)
TI2V = replace(WAN_5B.dit, cameras=False)


@pytest.mark.parametrize(
    ("config", "path", "two", "name"),
    [
        (WAN_5B.dit, "any.safetensors", False, "worldplay"),
        (TI2V, "any.safetensors", False, "ti2v_5b"),
        (T2V_1_3B, "checkpoints/self_forcing_dmd.pt", False, "self_forcing"),
        (T2V_1_3B, "Self-Forcing/model.pt", False, "self_forcing"),
        (T2V_1_3B, "causal_forcing.pt", False, "causal_forcing"),
        (T2V_1_3B, "Causal-Forcing/framewise.pt", False, "causal_forcing_framewise"),
        (T2V_1_3B, "wan2.1_t2v_1.3B_bf16.safetensors", False, "wan21_t2v"),
        (T2V_14B, "model.safetensors", False, "wan21_t2v_14b"),
        (replace(T2V_14B, image_channels=20, clip_dim=1280), "model.safetensors", False, "wan21_i2v"),
        (replace(T2V_14B, image_channels=20), "model.safetensors", True, "wan22_i2v_14b"),
    ],
)
def test_shapes_and_names_say_which(config: DiTConfig, path: str, two: bool, name: str):
    assert recipe_for(config, path, two=two).name == name


def test_it_is_asked_for_where_neither_says(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match=r"does not say which: add --recipe \(self_forcing, .*wan21_t2v\)"):
        recipe_for(T2V_1_3B, "model.safetensors")
    assert recipe_for(T2V_1_3B, "model.safetensors", asked="causal_forcing").name == "causal_forcing"


@pytest.mark.parametrize(
    ("config", "asked", "two", "said"),
    [
        (WAN_5B.dit, "self_forcing", False, "choose worldplay"),
        (T2V_1_3B, "worldplay", False, "choose self_forcing"),
        (replace(T2V_14B, image_channels=20), "wan22_i2v_14b", False, "give both of its networks"),
    ],
)
def test_another_kinds_recipe_is_refused(config: DiTConfig, asked: str, two: bool, said: str):
    with pytest.raises(InputError, match=said):
        recipe_for(config, "model.safetensors", asked=asked, two=two)


def test_settings_that_a_checkpoint_leaves_open():
    assert adjusted(TI2V_5B, steps=10).steps == 10
    assert adjusted(SELF_FORCING, shift=8.0).timesteps != SELF_FORCING.timesteps
    assert adjusted(WAN22_I2V_14B, guidance=1).is_guided is False
    assert adjusted(SELF_FORCING) == SELF_FORCING


@pytest.mark.parametrize("settings", [{"steps": 3}, {"guidance": 2.0}, {"shift": 3.0}])
def test_settings_that_it_fixes(settings: dict[str, float]):
    with pytest.raises(InputError, match="leave"):
        adjusted(WORLDPLAY, **settings)
