"""Files that are not opened as weights: their kind, the reason, and how to convert them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from vggviz.weights.card import WeightsError

__all__ = ["explain_refusal"]

PICKLE = b"\x80"  # protocol 2 and up begin so
HDF5 = b"\x89HDF\r\n\x1a\n"
CHECKPOINTS = (".pth", ".pt", ".ckpt")


def explain_refusal(path: Path) -> WeightsError:
    """The error that says what `path` is, why it is not opened, and what to do instead.

    For a PyTorch checkpoint that includes three lines of Python that convert it. Only a file's
    first bytes and a zip archive's list of names are read.
    """
    name = path.name
    if path.is_dir():
        return WeightsError("weights_folder", name=name)
    if not path.is_file():  # a pipe would be waited for
        return WeightsError("weights_no_file", name=name)
    try:
        kind = _kind(path)
    except OSError as error:
        return WeightsError("weights_unreadable", name=name, why=error.strerror)
    if kind == "safetensors":
        return WeightsError("weights_ending", name=name)
    if kind is None:
        return WeightsError("weights_unknown", name=name)
    if kind == "Keras":
        return WeightsError("weights_keras", name=name)
    recipe = convert(path, scripted=kind.startswith("TorchScript"))
    return WeightsError("weights_pickle", name=name, kind=kind, recipe=recipe)


def convert(path: Path, *, scripted: bool = False) -> str:
    """Three lines of Python that convert the checkpoint `path` to .safetensors beside it."""
    source, target = str(path), str(path.with_suffix(".safetensors"))
    state = f"torch.load({source!r}, map_location='cpu', weights_only=True)"
    if scripted:
        state = f"torch.jit.load({source!r}, map_location='cpu').state_dict()"
    return (
        "import torch; from vggviz import NetworkConfig, images, networks, weights\n"
        f"state = {state}; labels = ('first class', 'second class'); "
        "config = NetworkConfig(num_classes=len(labels), architecture='vgg19')\n"
        "model = networks.build_network(config); "
        "model.load_state_dict(state.get('state_dict', state)); "
        "card = weights.Card('', config, images.Preprocess(224, 256), labels); "
        f"weights.save_network(model, card, {target!r})"
    )


def _kind(path: Path) -> str | None:
    """'safetensors', 'Keras', a description of a PyTorch checkpoint, or None for anything else."""
    with path.open("rb") as opened:
        start = opened.read(16)
    if start.startswith(HDF5):
        return "Keras"
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = [entry.rpartition("/")[2] for entry in archive.namelist()]
        except (zipfile.BadZipFile, OSError):
            names = []
        if "model.weights.h5" in names:
            return "Keras"
        if "data.pkl" in names:
            scripted = "constants.pkl" in names
            return "TorchScript archive" if scripted else "PyTorch checkpoint (a zipped pickle)"
    if start.startswith(PICKLE):
        return "pickle, as older versions of PyTorch save checkpoints"
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and length <= path.stat().st_size:
        return "safetensors"
    return "broken PyTorch checkpoint" if path.suffix.lower() in CHECKPOINTS else None
