"""The VAEs' convolution is torch's, the short way."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from hyworld.config import VAEConfig
from hyworld.vae import Wan22VAE
from hyworld.vae.convolution import Conv3d, by_onednn

SHAPES = {
    "causal": ((6, 8, 3), {"padding": (0, 1, 1)}),
    "every second": ((6, 6, (3, 1, 1)), {"stride": (2, 1, 1)}),
    "one cell": ((6, 4, 1), {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_torchs(shape: str, dtype: torch.dtype):
    sizes, options = SHAPES[shape]
    ours = Conv3d(*sizes, **options, dtype=dtype)
    torchs = nn.Conv3d(*sizes, **options, dtype=torch.float64)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 6, 5, 7, 9, dtype=dtype)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        y = ours(x.contiguous(memory_format=layout))
        torch.testing.assert_close(y.double(), torchs(x.double()), rtol=1e-5, atol=1e-5)
        assert dtype == torch.float64 or y.is_contiguous(memory_format=layout)


@torch.enable_grad()
@pytest.mark.parametrize("frozen", [False, True])
def test_it_learns(frozen: bool):
    convolution = Conv3d(2, 2, 3).requires_grad_(not frozen)
    x = torch.randn(1, 2, 3, 3, 3, requires_grad=frozen)
    convolution(x).sum().backward()
    assert (x if frozen else convolution.weight).grad is not None


class HostConv3d(nn.Conv3d):
    """As a host's: its weights may lie elsewhere until they are used."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight.to(x), self.bias.to(x), autopad=None)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, autopad: str | None = None) -> Tensor:
        return super()._conv_forward(x if autopad is None else 2 * x, weight, bias)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("layer", [nn.Conv3d, HostConv3d])
def test_small_videos_do_not_take_the_long_way(layer: type[nn.Conv3d]):
    operations = SimpleNamespace(**{**vars(nn), "Conv3d": layer})
    config = VAEConfig(encoder_dim=4, decoder_dim=4, z_dim=4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4)
    vae = Wan22VAE(config, operations=operations).requires_grad_(False)
    with profile(activities=[ProfilerActivity.CPU]) as ran, torch.enable_grad():
        latents, _ = vae.encode_stream(torch.zeros(1, 3, 5, 32, 32))
        vae.decode_stream(latents)
    names = {event.key for event in ran.key_averages()}
    assert "aten::mkldnn_convolution" in names
    assert not any("slow_conv3d" in name for name in names)


def test_a_hosts_own_arguments_reach_the_host():
    layer = by_onednn(HostConv3d)(2, 2, 3)
    x = torch.randn(1, 2, 3, 3, 3)
    padded = layer._conv_forward(x, layer.weight, layer.bias, autopad="causal_zero")
    torch.testing.assert_close(padded, layer(2 * x))
