"""What the Comfy registry asks of a node pack, as far as it does not need a public address.

The rules are those of https://docs.comfy.org/registry/specifications and /registry/standards (August 2026), in our
words, and what comfy-cli's `comfy node publish` makes of the file (comfy_cli/registry/config_parser.py).
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parents[1]
ICON, BANNER = (ROOT / "docs" / "images" / f"{name}.png" for name in ("icon", "banner"))

ACCELERATORS = {
    "Environment :: GPU :: NVIDIA CUDA",
    "Environment :: GPU :: AMD ROCm",
    "Environment :: GPU :: Intel Arc",
    "Environment :: NPU :: Huawei Ascend",
    "Environment :: GPU :: Apple Metal",
}
OPERATING_SYSTEM = re.compile(r"Operating System :: (OS Independent|Microsoft|POSIX|MacOS)\b")
VERSIONS = re.compile(r"(==|>=|<=|!=|~=|>|<|<>)?\s*\d+\.\d+\.\d+(-[a-zA-Z0-9]+)?")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(pyproject: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pyproject["project"]
    return found


@pytest.fixture(scope="module")
def comfy(pyproject: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pyproject["tool"]["comfy"]
    return found


def test_name(project: dict[str, Any]) -> None:
    """Letters, digits, single - _ and . between them, a letter first, under 100 characters, no "comfyui"."""
    name = project["name"]
    assert len(name) < 100
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", name)
    assert "comfy" not in name.lower()


def test_version_has_three_numbers_and_a_changelog(project: dict[str, Any]) -> None:
    version = project["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_license_is_a_table(project: dict[str, Any]) -> None:
    """With `text` or `file`; a bare string is the form the specification calls incorrect."""
    assert isinstance(project["license"], dict)
    assert project["license"].keys() <= {"text", "file"}
    assert project["license"].get("text") == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_recommended_fields(project: dict[str, Any]) -> None:
    assert 20 < len(project["description"]) < 200
    assert project["requires-python"].startswith(">=")
    classifiers = project["classifiers"]
    assert any(OPERATING_SYSTEM.match(entry) for entry in classifiers)
    accelerators = {entry for entry in classifiers if entry.startswith("Environment ::")}
    assert accelerators
    assert accelerators <= ACCELERATORS


def test_comfy_section(comfy: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", comfy["PublisherId"])
    assert comfy["DisplayName"].strip()
    assert all(VERSIONS.fullmatch(part.strip()) for part in comfy["requires-comfyui"].split(","))
    oldest = comfy["requires-comfyui"].removeprefix(">=")
    assert f"ComfyUI {oldest} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("field", "picture"), [("Icon", ICON), ("Banner", BANNER)])
def test_picture_addresses(comfy: dict[str, Any], field: str, picture: Path) -> None:
    """Empty until the repository has a public address, then that of our file."""
    address = comfy[field]
    assert address == "" or (address.startswith("https://") and address.endswith(f"/docs/images/{picture.name}"))


def test_icon_is_square_and_at_most_400_pixels() -> None:
    with Image.open(ICON) as icon:
        assert icon.format == "PNG"
        assert icon.width == icon.height <= 400


def test_banner_is_21_by_9() -> None:
    with Image.open(BANNER) as banner:
        assert banner.format == "PNG"
        assert banner.width * 9 == banner.height * 21


def published_sources() -> list[Path]:
    return [ROOT / "__init__.py", *(file for folder in ("hyworld", "nodes") for file in (ROOT / folder).rglob("*.py"))]


STARTS_PROCESSES = ROOT / "hyworld" / "parallel" / "hired.py"
"""Only here, and only of the engine's own."""


def test_no_code_is_made_or_installed_at_run_time() -> None:
    """The standards forbid eval, exec and pip in a subprocess."""
    assert STARTS_PROCESSES.read_text(encoding="utf-8").count("subprocess.Popen(") == 1
    files = published_sources()
    assert len(files) > 50
    for file in files:
        for entry in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(entry, ast.Call) and isinstance(entry.func, ast.Name):
                assert entry.func.id not in ("eval", "exec", "__import__"), f"{file}:{entry.lineno}"
            if isinstance(entry, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in entry.names] if isinstance(entry, ast.Import) else [entry.module or ""]
                forbidden = {"pip"} if file == STARTS_PROCESSES else {"subprocess", "pip"}
                assert not forbidden & {name.split(".")[0] for name in names}, f"{file}:{entry.lineno}"


def test_nothing_is_installed_with_the_pack() -> None:
    """ComfyUI-Manager installs `requirements.txt` and runs `install.py`; what the pack needs, ComfyUI has."""
    assert not (ROOT / "requirements.txt").exists()
    assert not (ROOT / "install.py").exists()
