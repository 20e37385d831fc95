"""Forwards of the engine's own network over the host's tensors, as CUDA graphs where there are such."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from ...hyworld.dit import Inputs, WanDiT
from ...hyworld.dit.graphs import GraphedNetwork
from ...hyworld.modes import Modes, wants_graphs
from .resident import Resident


class Forwards:
    """Of one MODEL, for the length of a walk: recordings end with it, and whenever a tensor has moved."""

    def __init__(self, patcher: Any) -> None:
        self._patcher = patcher
        self._device: torch.device = patcher.load_device
        self._resident = Resident(self._device, _made)
        self._graphs = wants_graphs(Modes(), self._device)
        self._graphed: GraphedNetwork | None = None

    def run(self, inputs: Inputs, dtype: torch.dtype) -> tuple[bool, Tensor | None]:
        """Whether a forward in `dtype` could run so, and its flow."""
        hosted = self._patcher.model.diffusion_model
        if not isinstance(hosted, WanDiT):  # compiled as a whole
            return False, None
        try:
            with self._resident.of(hosted, dtype) as network:
                if network is None:
                    self._graphed = None
                    return False, None
                return True, self._forward(network, inputs)
        except torch.OutOfMemoryError:
            self._graphed = None
            if not self._resident.give_up():
                raise
            return False, None

    def _forward(self, network: WanDiT, inputs: Inputs) -> Tensor | None:
        if self._graphs:
            if self._graphed is None or self._graphed.model is not network:
                self._graphed = GraphedNetwork(network)
            try:
                # A recording that fails leaves its own stream current.
                with torch.cuda.stream(torch.cuda.current_stream(self._device)):
                    return self._graphed(inputs)
            except RuntimeError as error:  # too little memory for it, above all
                logging.warning("HY-WorldPlay: CUDA graphs are left out: %s", error)
                self._graphs, self._graphed = False, None
        return network(inputs)


def _made(hosted: Any) -> WanDiT:
    network = WanDiT(hosted.config, device="meta").eval().requires_grad_(False)
    network.kernels, network.fingerprint = hosted.kernels, hosted.fingerprint
    return network
