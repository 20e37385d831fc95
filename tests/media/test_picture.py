"""Pictures of any size and format become the tensor the model was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hyworld.config import check_size
from hyworld.errors import InputError
from hyworld.picture import CROPS, LONGEST_SIDE, fill_and_crop, open_picture, size_like, to_video_tensor


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("size", [(640, 352), (300, 900), (1000, 97), (7, 5), (641, 353), (1279, 703)])
def test_any_size_fills_the_frame(size: tuple[int, int]):
    tensor = to_video_tensor(gradient(*size), 64, 96)
    assert tensor.shape == (1, 3, 1, 64, 96)
    assert tensor.dtype == torch.float32
    assert -1 <= tensor.min() < tensor.max() <= 1
    # A black edge would show as -1 in all three channels; the gradient never has that.
    assert (tensor.max(dim=1).values > -0.9).all()


def test_the_centre_is_kept():
    wide = Image.new("RGB", (300, 100), "black")
    wide.paste((255, 255, 255), (100, 0, 200, 100))
    assert np.asarray(fill_and_crop(wide, 64, 64)).min() > 240


def test_scaling_is_lanczos_then_crop_like_the_original():
    picture = gradient(200, 100)
    want = picture.resize((256, 128), Image.Resampling.LANCZOS).crop((32, 0, 224, 128))
    assert fill_and_crop(picture, 128, 192).tobytes() == want.tobytes()


def test_rgb_values_survive(tmp_path: Path):
    Image.new("RGB", (64, 32), (255, 0, 51)).save(tmp_path / "a.png")
    tensor = to_video_tensor(open_picture(tmp_path / "a.png"), 32, 64)
    torch.testing.assert_close(tensor[0, :, 0, 5, 5], torch.tensor([1.0, -1.0, -0.6]))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "RGBA", "LA"])
def test_formats_and_modes(tmp_path: Path, suffix: str, mode: str):
    file = tmp_path / f"a.{suffix}"
    picture = gradient(80, 60).convert(mode)
    try:
        picture.save(file)
    except (OSError, ValueError):
        pytest.skip(f"Pillow writes no {mode} {suffix}")
    assert open_picture(file).mode == "RGB"
    assert open_picture(file).size == (80, 60)


def test_sixteen_bit_greys_are_scaled(tmp_path: Path):
    Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_picture(tmp_path / "a.png"))[0, 0].tolist() == [127, 127, 127]


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_greys_of_32_bits_are_scaled(tmp_path: Path, white: float):
    ramp = np.linspace(0, white, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "a.tiff")
    levels = np.asarray(open_picture(tmp_path / "a.tiff"))[..., 0]
    assert np.abs(levels - np.linspace(0, 255, 64).reshape(8, 8)).max() <= 1


def test_transparent_parts_turn_white(tmp_path: Path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert np.asarray(open_picture(tmp_path / "a.png")).min() == 255


def test_photos_are_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient(80, 60).save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == (60, 80)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no picture at"), (b"", "not a picture"), (b"<html>", "not a picture"), ("truncated", "cannot be read")],
)
def test_unreadable_pictures_are_refused(tmp_path: Path, content, message: str):
    file = tmp_path / "a.png"
    if content == "truncated":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[:3000])
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_picture(file)


def test_a_folder_is_no_picture(tmp_path: Path):
    with pytest.raises(InputError, match="is a folder"):
        open_picture(tmp_path)


def test_a_line_of_pixels_is_refused_before_it_fills_memory():
    assert fill_and_crop(gradient(1500, 10), 64, 96).size == (96, 64)
    with pytest.raises(InputError, match="100000x1 pixels, too long and thin"):
        fill_and_crop(Image.new("RGB", (100_000, 1)), 64, 96)


@pytest.mark.parametrize(
    ("height", "width", "said"),
    [
        (32, 33, "The width must be a multiple of 32 pixels, got 33: choose 32 or 64."),
        (33, 32, "The height must be a multiple of 32 pixels, got 33: choose 32 or 64."),
        (64, 31, "The width must be a multiple of 32 pixels, got 31: choose 32."),
        (-64, 64, "The height must be a multiple of 32 pixels, got -64: choose 32."),
    ],
)
def test_the_side_that_is_wrong_is_named(height: int, width: int, said: str):
    with pytest.raises(InputError) as error:
        check_size(height, width)
    assert str(error.value) == said


def marked(width: int, height: int) -> Image.Image:
    """A picture in black, with a white band at the left and a red one at the top."""
    picture = Image.new("RGB", (width, height), "black")
    picture.paste((255, 255, 255), (0, 0, width // 4, height))
    picture.paste((255, 0, 0), (0, 0, width, height // 4))
    return picture


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("shape", [(400, 100), (100, 400)], ids=["wide", "tall"])
def test_an_edge_can_be_kept(shape: tuple[int, int], crop: str):
    picture = marked(*shape)
    filled = picture.resize((256, 64) if shape[0] > shape[1] else (64, 256), Image.Resampling.LANCZOS)
    spare = {"left": (0, 96), "right": (192, 96), "top": (96, 0), "bottom": (96, 192)}.get(crop, (96, 96))
    x, y = (spare[0], 0) if shape[0] > shape[1] else (0, spare[1])
    assert fill_and_crop(picture, 64, 64, crop).tobytes() == filled.crop((x, y, x + 64, y + 64)).tobytes()


def test_another_crop_is_refused():
    with pytest.raises(InputError, match="one of center, top, bottom, left, right, got 'middle'"):
        fill_and_crop(gradient(64, 64), 64, 64, "middle")


@pytest.mark.parametrize(
    ("picture", "like", "size"),
    [
        ((1280, 704), (704, 1280), (704, 1280)),
        ((1920, 1080), (704, 1280), (704, 1248)),
        ((1080, 1920), (704, 1280), (1248, 704)),
        ((500, 500), (704, 1280), (960, 960)),
        ((1920, 1080), (160, 288), (160, 288)),
        ((20_000, 10), (704, 1280), (32, LONGEST_SIDE)),
        ((1, 9999), (160, 288), (1472, 32)),
    ],
)
def test_the_pictures_own_shape(picture: tuple[int, int], like: tuple[int, int], size: tuple[int, int]):
    assert size_like(Image.new("L", picture), like) == size


def test_a_size_that_is_no_multiple_of_32_names_the_nearest():
    with pytest.raises(InputError, match="got 100: choose 96 or 128"):
        to_video_tensor(gradient(64, 64), 100, 96)
