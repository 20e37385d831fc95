"""The files of the page: those of two folders that were there at the start, and nothing else."""

from __future__ import annotations

from pathlib import Path

from .. import builtin
from ..errors import InputError

PAGE = "play/index.html"

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",  # on Windows, mimetypes may say something else, and browsers then refuse modules
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""By ending; files with other endings are not served."""


def page_files() -> dict[str, Path]:
    """The files that are served, by their address without the first slash.

    Raises `InputError` if the page is not among them.
    """
    package = Path(__file__).parents[1]
    folders = (package / "web", package.parent / "web")  # in a wheel; in a checkout
    web = next((folder for folder in folders if (folder / PAGE).is_file()), None)
    if web is None:
        raise InputError(f"The page's files are missing from {folders[0]}: install hyworld again.")
    files = {
        file.relative_to(web).as_posix(): file
        for folder in ("js", "play")
        for file in sorted((web / folder).rglob("*"))
        if file.suffix in TYPES and file.is_file() and not file.is_symlink()
    }
    scenes = (builtin.FOLDER / "first_frames").glob("*.png")
    return files | {f"scenes/{scene.name}": scene for scene in scenes}
