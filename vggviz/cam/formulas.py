"""CAM methods as pure functions of an activation and its gradient.

`activation` (..., C, H, W) is a layer's output, `gradient` the gradient of the target's logit with
respect to it, of the same shape or one that broadcasts with it; each function returns the raw map
(..., H, W), after the method's own ReLU, at the layer's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.types import Grid, Kind

__all__ = [
    "attention_gradient",
    "attention_gradient_map",
    "eigencam",
    "eigengradcam",
    "gradcam",
    "gradcam_elementwise",
    "gradcam_plus_plus",
    "hirescam",
    "layercam",
    "refinecam",
    "shapleycam",
    "token_gradient",
    "xgradcam",
]


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(Σ_c w_c A_c), w_c the mean of the gradient over positions.

    Selvaraju et al. 2017, 'Grad-CAM', eq. 1 and 2.
    """
    weights = gradient.mean((-2, -1))  # (..., C)
    return torch.einsum("...c,...chw->...hw", weights, activation).relu()


def gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(Σ_c w_c A_c), w_c = Σ α relu(g), α = g² / (2 g² + g³ Σ_ab A_ab).

    Computed as α relu(g) = 1 / (2/g + Σ_ab A_ab) where g > 0, since cubes overflow. Where that
    denominator is 0, the weight is 0. The paper has activations behind a ReLU. Where they can be
    negative, as behind EfficientNet's projections, the denominator comes near 0, and rounding alone
    changes the map.

    Chattopadhay et al. 2018, 'Grad-CAM++', eq. 5 and 19 (the score is the exponential of the
    logit, whose common factor cancels on normalising).
    """
    total = activation.sum((-2, -1), keepdim=True)  # (..., C, 1, 1)
    denominator = 2 / gradient.relu() + total  # infinite where g <= 0
    safe = torch.where(denominator == 0, torch.full_like(denominator, torch.inf), denominator)
    weights = (1 / safe).sum((-2, -1))  # (..., C)
    return torch.einsum("...c,...chw->...hw", weights, activation).relu()


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(Σ_c g_c ⊙ A_c).

    Draelos, Carin 2020, 'Use HiResCAM instead of Grad-CAM', eq. 5. Departure: the ReLU, as for
    every other method; the paper keeps negative values, evidence against the class.
    """
    return (gradient * activation).sum(-3).relu()


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(Σ_c relu(g_c) ⊙ A_c).

    Jiang et al. 2021, 'LayerCAM', eq. 6 to 8.
    """
    return (gradient.relu() * activation).sum(-3).relu()


def gradcam_elementwise(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(g ⊙ A), summed over channels.

    Gildenblat et al. 2021, pytorch-grad-cam's GradCAMElementWise; there is no paper. Where A ≥ 0 it
    is LayerCAM.
    """
    return (gradient * activation).relu().sum(-3)


def shapleycam(activation: Tensor, gradient: Tensor, curvature: Tensor) -> Tensor:
    """relu(Σ_c w_c A_c), w_c the mean over positions of g_c − (H A)_c / 2.

    `curvature` is H A, H the second derivative of the score with respect to the activation, of the
    gradient's shape.

    Cai 2025, 'CAMs as Shapley Value-based Explainers' (ShapleyCAM: the Shapley values of a
    second-order Taylor expansion of the score).
    """
    return gradcam(activation, gradient - curvature / 2)


def refinecam(activations: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """The product of the Grad-CAM++ maps of a layer and the layers after it, each scaled to [0, 1]
    and resized bilinearly to the first one's resolution.

    `activations` and `gradients` are those of the layer itself, then of the later ones; the result
    has the resolution of the first. A later map that is the same everywhere is left out.

    Domeniconi et al. 2026, 'How to Evaluate and Refine your CAM' (RefineCAM).
    """
    first, *later = map(gradcam_plus_plus, activations, gradients)
    maps: list[Tensor] = []
    size = (first.shape[-2], first.shape[-1])
    for raw in (first, *later):
        low, high = raw.amin((-2, -1), keepdim=True), raw.amax((-2, -1), keepdim=True)
        scaled = (raw - low) / torch.where(high > low, high - low, 1)
        resized = F.interpolate(scaled.flatten(0, -3)[:, None], size, mode="bilinear")
        resized = resized.reshape(first.shape)
        maps.append(resized if raw is first else torch.where(high > low, resized, 1))
    return torch.stack(maps).prod(0)


def xgradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(Σ_c w_c A_c), w_c = Σ g_c ⊙ A_c / Σ A_c.

    Fu et al. 2020, 'Axiom-based Grad-CAM', eq. 8. A channel that sums to 0 has weight 0.
    """
    total = activation.sum((-2, -1))  # (..., C)
    safe = torch.where(total == 0, torch.ones_like(total), total)
    share = torch.where(total == 0, torch.zeros_like(total), 1 / safe)
    weights = (gradient * activation).sum((-2, -1)) * share
    return torch.einsum("...c,...chw->...hw", weights, activation).relu()


def eigencam(activation: Tensor) -> Tensor:
    """relu(Σ_c v_c A_c), v the first right singular vector of the activation as (N, C).

    Muhammad, Yeasin 2020, 'Eigen-CAM', eq. 3: no gradient, no class. Departures: a singular
    vector's sign is free, and the paper leaves it open; here it is chosen so that the map's sum
    is not negative, and the ReLU is added.
    """
    flat = _first_component(activation)
    signed = np.where(flat.sum(-1, keepdims=True) < 0, -flat, flat)
    return _as_map(signed.clip(min=0), activation)


def eigengradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """relu(Σ_c v_c P_c), P = g ⊙ A with each channel's mean over positions taken off, v its first
    right singular vector as (N, C).

    Gildenblat et al. 2021, pytorch-grad-cam's EigenGradCAM; there is no paper. Departure: a
    singular vector's sign is free there; here the map rises with Σ_c g_c A_c.
    """
    product = gradient * activation
    flat = _first_component(product - product.mean((-2, -1), keepdim=True))
    evidence = _host(product.sum(-3).flatten(-2))
    signed = np.where((flat * evidence).sum(-1, keepdims=True) < 0, -flat, flat)
    return _as_map(signed.clip(min=0), product)


def _first_component(activation: Tensor) -> npt.NDArray[np.float64]:
    """X v for the tokens X (N, C) of an activation (..., C, H, W) and their first right singular
    vector v, of either sign: (..., N).

    X v = √λ u, with (λ, u) the first eigenpair of the (N, N) Gram matrix or v that of the (C, C)
    one, whichever is smaller.
    """
    tokens = _host(activation.flatten(-2).mT)  # (..., N, C)
    turned = np.swapaxes(tokens, -1, -2)
    if tokens.shape[-2] < tokens.shape[-1]:
        values, vectors = np.linalg.eigh(tokens @ turned)
        found = vectors[..., -1] * np.sqrt(values[..., -1:].clip(min=0))
    else:
        vectors = np.linalg.eigh(turned @ tokens).eigenvectors
        found = (tokens @ vectors[..., -1:])[..., 0]
    return np.asarray(found)


def _as_map(flat: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    """(..., N) as (..., H, W), of the type and on the device of `like` (..., C, H, W)."""
    wide = np.float64 if like.dtype is torch.float64 else np.float32
    found = flat.reshape(*like.shape[:-3], *like.shape[-2:]).astype(wide)
    return torch.from_numpy(found).to(like.device, like.dtype)


def _host(values: Tensor) -> npt.NDArray[np.float64]:
    """In NumPy's float64, which MPS lacks."""
    wide = values.to(torch.promote_types(values.dtype, torch.float32))  # NumPy has no bfloat16
    return wide.cpu().numpy().astype(np.float64)


def attention_gradient(weights: Tensor, gradient: Tensor) -> Tensor:
    """relu(a ⊙ ∂y/∂a) for attention weights over positions, of any shape.

    First-order effect of each weight on the logit (gradient × input of Shrikumar et al. 2016,
    eq. 1, on the attention weights instead of the pixels).
    """
    return (weights * gradient).relu()


def attention_gradient_map(
    weights: Tensor, gradient: Tensor, kind: Kind, grid: Grid, positions: Tensor | None = None
) -> Tensor:
    """relu(a ⊙ ∂y/∂a) as maps (T, B, h, w), for weights (B, ...) and gradients (T, B, ...).

    `kind` 'volume' (C, h, w): summed over channels before the ReLU. 'token' (heads, N, M): see
    `token_gradient`; a class token, which stands first among the keys, is left out. All others
    (h·w,) or (h, w): position by position. `grid` is (h, w), where the positions (for 'token' the
    keys) lie. `positions` (N, M), for 'token' in windows, says where each query's own keys lie.
    """
    height, width = grid
    if positions is not None:
        each = attention_gradient(weights, gradient).mean(-3).flatten(-2)  # (T, B, N·M)
        received = each.new_zeros(*each.shape[:2], height * width)
        received.index_add_(-1, positions.flatten().to(each.device), each).div_(len(positions))
    else:
        formula = {"volume": hirescam, "token": token_gradient}.get(kind, attention_gradient)
        received = formula(weights, gradient)
        if kind == "token":
            received = received[..., -height * width :]
    return received.reshape(*received.shape[:2], height, width)


def token_gradient(weights: Tensor, gradient: Tensor) -> Tensor:
    """(..., heads, N, M) → (..., M): what each key receives of mean over heads of relu(A ⊙ ∂y/∂A).

    Chefer, Gur, Wolf 2021, 'Generic Attention-model Explainability', eq. 5, then the mean over
    the queries.
    """
    return attention_gradient(weights, gradient).mean((-3, -2))
