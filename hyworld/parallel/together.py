"""Building a pipeline in every process of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..pipeline import Pipeline
from . import orders
from .job import joined, own_device, ranks
from .lead import Crew, SharedDecoder, SharedNetwork
from .share import networks, share_networks, strip_decoder
from .split import SplitChoice


def together(
    make: Callable[..., Pipeline], *given: Any, device: Any, split: SplitChoice = "auto", **options: Any
) -> Pipeline:
    """`make(*given, device=device, **options)`, here and in the other processes, if any, which share its work.

    make: a function of a module.
    split: of the weights, see `split_feed_forwards`.

    Raises what it raises, and `InputError` for a model or a device that cannot be shared.
    """
    if ranks() == 1:
        return make(*given, device=device, **options)
    device = own_device(device)
    crew = Crew(joined())
    with crew.job.watched():
        crew.tell(orders.Build(make, given, options, "cpu" if device == "cpu" else "cuda", split))
    pipeline = make(*given, device=device, **options)
    walker = pipeline.walker
    share_networks(walker, split)
    shared = [SharedNetwork(network, side, crew) for side, network in enumerate(networks(walker))]
    walker.network = shared[0]
    walker.verify = crew.job.verify
    if len(shared) > 1:
        walker.second = shared[1]
    vae = strip_decoder(walker)
    if vae is not None and walker.decoding is not None:
        walker.decoding.decoder = SharedDecoder(vae, walker.decoding.decoder, crew)
    return pipeline
