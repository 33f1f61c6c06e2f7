"""From a picture to the network's input, and from a map back onto the picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vggviz.images.errors import ImageError
from vggviz.images.opening import ImageSource, open_image

if TYPE_CHECKING:
    import torch

MAX_SIDE = 1024  # pixels that a network may ask for: VGG19 needs some 5 GB then
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, slots=True)
class Crop:
    """Where the network looked: a box in pixels of the upright original, and the latter's size."""

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int

    def paste(self, map: npt.NDArray[Any], fill: float = 0.0) -> npt.NDArray[np.float32]:
        """A map (h, w) over the crop laid back on the original: (height, width), float32.

        Bilinear between cell centres, constant beyond them; pixels centred outside are `fill`.
        """
        rows, columns = map.shape
        across, x0, x1, x = _axis(columns, self.left, self.right, self.width)
        down, y0, y1, y = _axis(rows, self.top, self.bottom, self.height)
        band = map.astype(np.float32)
        band = band[y0] * (1 - y[:, None]) + band[y1] * y[:, None]  # (rows inside, w)
        picture = np.full((self.height, self.width), fill, dtype=np.float32)
        picture[down, across] = band[:, x0] * (1 - x) + band[:, x1] * x
        return picture


def _axis(cells: int, low: float, high: float, pixels: int) -> tuple[slice, Any, Any, Any]:
    """Pixels whose centre lies in [low, high), their two neighbour cells, the second's weight."""
    inside = slice(max(0, int(np.ceil(low - 0.5))), min(pixels, int(np.ceil(high - 0.5))))
    centres = np.arange(inside.start, inside.stop) + 0.5
    position = ((centres - low) / (high - low) * cells - 0.5).clip(0, cells - 1)
    first = position.astype(np.intp)
    return inside, first, np.minimum(first + 1, cells - 1), (position - first).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Picture → network input: shorter side to `resize`, centre `size`, (x / 255 - mean) / std.

    By default torchvision's transforms of ImageNet weights. Raises ValueError on senseless values,
    and on more than `MAX_SIDE` pixels: settings come with weights of strangers, and memory grows
    with the square.
    """

    size: int = 224
    resize: int = 256
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        integers = type(self.size) is type(self.resize) is int  # True is an int, too
        if not (integers and 1 <= self.size <= self.resize <= MAX_SIDE):
            raise ValueError(
                f"expected 1 <= size <= resize <= {MAX_SIDE}, got {self.size} and {self.resize}"
            )
        numbers = (*self.mean, *self.std)
        real = all(isinstance(n, int | float) and abs(n) <= 1000 for n in numbers)  # NaN is not
        if not real or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) < 1e-3:
            raise ValueError(
                f"expected 3 means and 3 std from 0.001 up, got {self.mean} and {self.std}"
            )
        if self.interpolation not in _RESAMPLE:
            raise ValueError(f"expected one of {list(_RESAMPLE)}, got {self.interpolation!r}")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> Preprocess:
        """The inverse of `to_json`; absent keys take defaults, unknown ones raise TypeError."""
        values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return cls(**values)

    def crop(self, image: Image.Image) -> tuple[Image.Image, Crop]:
        """What the network sees of an RGB picture, and where that lies in it; raises ImageError."""
        if image.mode != "RGB":
            raise ImageError("image_mode", mode=image.mode)
        width, height = image.size
        short, side = min(width, height), self.size
        # torchvision's rounding: the longer side down, the corner half to even.
        wide, high = (int(self.resize * length / short) for length in (width, height))
        left, top = round((wide - side) / 2), round((high - side) / 2)
        x, y = width / wide, height / high
        box = (left * x, top * y, min((left + side) * x, width), min((top + side) * y, height))
        how = _RESAMPLE[self.interpolation]
        if max(width, height) > 32 * short:  # resized as a whole, 16 x 8000 is 33 megapixels
            square = image.resize((side, side), how, box=box)
        else:
            square = image.resize((wide, high), how).crop((left, top, left + side, top + side))
        return square, Crop(*box, width, height)

    def normalise(self, crop: Image.Image | npt.NDArray[np.uint8]) -> torch.Tensor:
        """(x / 255 - mean) / std: uint8 RGB (..., H, W, 3) → float32 (..., 3, H, W).

        Raises ImageError for what is no such picture.
        """
        import torch  # not at the top: a process that only decodes pictures needs no PyTorch

        pixels = np.array(crop)  # a copy, since torch wants memory that it may write to
        if pixels.dtype != np.uint8 or pixels.ndim < 3 or pixels.shape[-1] != 3:
            raise ImageError("image_pixel_array", dtype=pixels.dtype, shape=str(pixels.shape))
        unit = torch.from_numpy(pixels).to(torch.float32) / 255
        unit = (unit - unit.new_tensor(self.mean)) / unit.new_tensor(self.std)
        return unit.movedim(-1, -3).contiguous()

    def denormalise(self, tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
        """255 · (x · std + mean), rounded: (3, H, W) or (1, 3, H, W) → uint8 (H, W, 3)."""
        import torch

        unit = tensor.to("cpu", torch.float32).reshape(tensor.shape[-3:]).permute(1, 2, 0)
        unit = unit * unit.new_tensor(self.std) + unit.new_tensor(self.mean)
        return (unit * 255).round().clamp(0, 255).to(torch.uint8).numpy()

    def __call__(self, image: ImageSource) -> torch.Tensor:
        """Any picture as the network takes it: normalised float32 (1, 3, size, size)."""
        return self.normalise(self.crop(open_image(image))[0])[None]
