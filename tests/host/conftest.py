"""A real ComfyUI for these tests. Without one they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from .installation import MISSING, Installation, find_comfyui
from .server import ComfyServer

if TYPE_CHECKING:
    from .client import Client

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_comfyui() is None:
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="session")
def comfyui() -> Installation:
    """The ComfyUI of this machine."""
    found = find_comfyui()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def server(comfyui: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A running server that all tests share."""
    yield from _serve(comfyui, tmp_path_factory.mktemp("comfyui"))


@pytest.fixture
def fresh_server(comfyui: Installation, tmp_path: Path) -> Iterator[ComfyServer]:
    """A server that has run nothing yet."""
    yield from _serve(comfyui, tmp_path)


def _serve(comfyui: Installation, folder: Path) -> Iterator[ComfyServer]:
    with ComfyServer(comfyui, folder / "base") as running:
        street_picture().save(running.input / "street.png")
        yield running


@pytest.fixture
def client(server: ComfyServer) -> Iterator[Client]:
    """A front end of that server."""
    from .client import Client

    connected = Client(server.url)
    yield connected
    connected.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the end of the server's log with a test that failed."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and server is not None:
        report.sections.append(("ComfyUI", "\n".join(server.log().splitlines()[-30:])))
    return report


def street_picture() -> Image.Image:
    """A picture with some structure, larger than any walk here and of another shape."""
    y, x = np.mgrid[0:240, 0:400]
    pixels = np.stack((x * 255 // 400, y * 255 // 240, (x // 20 + y // 20) % 2 * 255), axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))
