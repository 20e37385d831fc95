"""A few steps of each training: the loss falls, a run can be resumed, what comes out can be loaded and walked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyworld.config import DiTConfig
from hyworld.weights import load_dit, load_vae
from training.tiny_world import export, network, pool
from training.tiny_world.network import Trainee, flow_step
from training.tiny_world.optimise import Clock, Optimiser, load_shards, save_shards
from training.tiny_world.paths import draw_walks
from training.tiny_world.pool import LatentPool
from training.tiny_world.vae import fresh_vae, load_trained_vae, loss_of, save_vae

CPU = torch.device("cpu")
SMALL = DiTConfig(num_heads=2, head_dim=32, num_layers=2, ffn_dim=64, latent_channels=24, text_dim=64, freq_dim=64)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (network, export):
        monkeypatch.setattr(module, "DIT", SMALL)
    monkeypatch.setattr(pool, "LATENT_SIZE", (4, 4))


def _video() -> Tensor:
    ramp = torch.linspace(-0.8, 0.8, 32)
    return torch.stack((ramp.expand(5, 32, 32), ramp[:, None].expand(5, 32, 32), ramp.flip(0).expand(5, 32, 32)))[None]


def _filled_pool() -> LatentPool:
    filled = LatentPool(4, latents=24, device=CPU)
    _, walks = draw_walks(list(range(4)), 24)
    filled.latents.normal_(generator=torch.Generator().manual_seed(0))
    filled.latents[:] = filled.latents[:, :, :1] * 2  # what is remembered is what comes
    filled.viewmats[:] = torch.linalg.inv(walks.poses)
    filled.labels[:], filled.memory[:], filled.filled = walks.labels, walks.memory, 4
    return filled


def test_the_vae_learns() -> None:
    vae = fresh_vae(0, CPU, torch.float32)
    optimiser = Optimiser(vae, lr=2e-3, warm_up=5)
    losses = []
    for _ in range(10):
        loss, _ = loss_of(vae, _video())
        loss.backward()
        optimiser.step(0.0)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_vaes_gradients_are_right() -> None:
    """The decoder adds its shortcuts in place: gradients have to survive that."""
    vae = fresh_vae(0, CPU, torch.float32).double()

    def energy() -> Tensor:
        return vae.decode_stream(vae.encode_stream(_video().double())[0])[0].square().mean()

    energy().backward()
    for name in ("decoder.upsamples.0.upsamples.1.residual.2.weight", "encoder.conv1.weight"):
        weight = vae.get_parameter(name)
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        assert weight.grad is not None
        expected = (weight.grad * direction).sum().item()
        with torch.no_grad():
            weight += 1e-5 * direction
            above = energy().item()
            weight -= 2e-5 * direction
            below = energy().item()
            weight += 1e-5 * direction
        assert (above - below) / 2e-5 == pytest.approx(expected, rel=1e-4)


def test_the_network_learns() -> None:
    torch.manual_seed(0)
    filled = _filled_pool()
    trainee = Trainee(CPU, torch.float32, compiled=False)
    optimiser = Optimiser(trainee.network, lr=3e-3, warm_up=5)
    generator = torch.Generator().manual_seed(0)
    walks = torch.arange(4)
    losses = []
    for i in range(90):
        losses.append(flow_step(trainee, filled, walks, generator, reach=(0, 4, 16)[i % 3]).item())
        optimiser.step(0.0)
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_run_is_resumed(tmp_path: Path) -> None:
    trainee = Trainee(CPU, torch.float32, compiled=False)
    optimiser = Optimiser(trainee.network, lr=1e-3)
    filled, generator = _filled_pool(), torch.Generator().manual_seed(0)
    for _ in range(3):
        flow_step(trainee, filled, torch.arange(2), generator, reach=4)
        optimiser.step(0.0)
    optimiser.save(tmp_path, "network", minutes={"flow": 1.5})

    again = Trainee(CPU, torch.float32, compiled=False, seed=9)
    resumed = Optimiser(again.network, lr=1e-3)
    about = resumed.restore(tmp_path, "network")
    assert about is not None
    assert about["minutes"] == {"flow": 1.5}
    assert resumed.step_count == 3
    for ours, theirs in zip(resumed.master, optimiser.master, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)
        kept, lost = optimiser.adam.state[theirs]["exp_avg_sq"], resumed.adam.state[ours]["exp_avg_sq"]
        assert torch.allclose(lost, kept, rtol=0.1, atol=1e-12)
    assert torch.equal(
        again.network.get_parameter("head.head.weight"), resumed.master[resumed.names.index("head.head.weight")]
    )
    flow_step(again, filled, torch.arange(2), generator, reach=0)
    assert torch.isfinite(resumed.step(0.5))
    assert Clock(1.0, 4.0, used=2.0).progress == pytest.approx(0.5, abs=1e-3)


def test_shards_are_small_and_belong_together(tmp_path: Path) -> None:
    tensors = {str(i): torch.full((1_000_000,), float(i)) for i in range(6)}
    save_shards(tensors, tmp_path, "x", {"step": 1})
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["x-1-of-2.safetensors", "x-2-of-2.safetensors"]
    assert max(file.stat().st_size for file in files) < 16_000_000
    loaded = load_shards(tmp_path, "x")
    assert loaded is not None
    assert all(torch.equal(loaded[0][name], tensor) for name, tensor in tensors.items())
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2"):
        load_shards(tmp_path, "x")


def test_what_is_exported_is_what_was_trained(tmp_path: Path) -> None:
    trainee = Trainee(CPU, torch.float32, compiled=False)
    optimiser = Optimiser(trainee.network, lr=1e-3)
    optimiser.save(tmp_path / "training", "network", minutes={"flow": 1.0}, next_seed=4, loss=0.5)
    vae = fresh_vae(1, CPU, torch.float32)
    config = replace(vae.config, latents_mean=(0.25,) * 24, latents_std=(1.5,) * 24)
    save_vae(vae.state_dict(), config, tmp_path / "training")
    assert load_trained_vae(tmp_path / "training", CPU, torch.float32).config == config

    card = export.export([tmp_path / "training"], tmp_path / "files", first_frames=1)
    assert all(f"`{name}`" in card for name in (export.NETWORK, export.VAE_FILE))
    loaded = load_dit(tmp_path / "files" / export.NETWORK, dtype=torch.float32)
    ours = trainee.network.state_dict()
    ours["text_embedding.0.weight"] = torch.zeros_like(ours["text_embedding.0.weight"])  # deaf to prompts
    assert all(torch.equal(tensor, ours[name].half().float()) for name, tensor in loaded.state_dict().items())
    assert load_vae(tmp_path / "files" / export.VAE_FILE).config == config
    assert (tmp_path / "files" / "first_frames" / "0.png").is_file()


def test_mixed_networks_have_the_mean_weights(tmp_path: Path) -> None:
    for seed in (1, 2):
        trainee = Trainee(CPU, torch.float32, compiled=False, seed=seed)
        Optimiser(trainee.network, lr=1e-3).save(tmp_path / str(seed), "network")
    folders = [tmp_path / "1", tmp_path / "2"]
    one, other = (export.mixed([folder], [1.0]).state_dict() for folder in folders)
    mix = export.mixed(folders, [0.25, 0.75]).state_dict()
    assert all(torch.allclose(mix[name], 0.25 * one[name] + 0.75 * other[name]) for name in mix)
    assert not torch.allclose(mix["blocks.0.ffn.0.weight"], one["blocks.0.ffn.0.weight"], atol=1e-3)
    with pytest.raises(ValueError, match="one share for each of the 2 folders"):
        export.export(folders, tmp_path / "files", shares=[1.0])
