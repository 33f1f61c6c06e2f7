"""Attention modules: each takes `channels` and maps (B, C, H, W) to (B, C, H, W).

A new type is a module in a file of its own, an entry in `ATTENTION` and a slow reference
implementation in `tests/support/reference.py`.
"""

from __future__ import annotations

from vggviz.attention.attention_type import AttentionType
from vggviz.attention.bam import BAM
from vggviz.attention.cbam import CBAM
from vggviz.attention.coordinate import CoordinateAttention
from vggviz.attention.eca import EfficientChannelAttention
from vggviz.attention.gate import Gate
from vggviz.attention.se import SqueezeExcitation
from vggviz.attention.selective_kernel import SelectiveKernel
from vggviz.attention.self_attention import SelfAttention
from vggviz.attention.simam import SimAM
from vggviz.attention.softmax import SoftmaxPooling
from vggviz.attention.spatial import SpatialAttention
from vggviz.attention.triplet import TripletAttention

__all__ = ["ATTENTION", "AttentionType"]

ATTENTION: dict[str, AttentionType] = {
    "gate": AttentionType(
        Gate,
        title="Gate",
        explanation="Two linear layers at every place weigh each of its features.",
        start="Random layers, biases 0: every weight is around 1/2.",
        diagram="W₁ > ReLU > W₂ > σ : ×",
        gate_biases=("out.bias",),
    ),
    "se": AttentionType(
        SqueezeExcitation,
        title="Squeeze-and-excitation",
        explanation="One weight per channel, from the means of all channels.",
        paper="Hu et al. 2018",
        start="Random layers, biases 0: every weight is around 1/2.",
        diagram="mean H,W > W₁ > ReLU > W₂ > σ : ×",
        gate_biases=("excite.bias",),
    ),
    "eca": AttentionType(
        EfficientChannelAttention,
        title="Efficient channel attention",
        explanation="One weight per channel, from its nearest neighbours.",
        paper="Wang et al. 2020",
        start="A random kernel without bias: every weight is around 1/2.",
        diagram="mean H,W > conv k > σ : ×",
    ),
    "spatial": AttentionType(
        SpatialAttention,
        title="Spatial attention",
        explanation="One weight per place, from mean and maximum over channels.",
        paper="Woo et al. 2018",
        start="A blurred map of the channel mean: strong activations weigh more.",
        diagram="mean, max C > conv 7×7 > norm > σ : ×",
        gate_biases=("norm.bias",),
    ),
    "cbam": AttentionType(
        CBAM,
        title="CBAM",
        explanation="First one weight per channel, then one weight per place.",
        paper="Woo et al. 2018",
        start="Channel weights around 1/2, then a blurred map of the channel mean.",
        diagram="mean, max H,W > W₂ ReLU W₁ > σ : ×; mean, max C > conv 7×7 > σ : ×",
        gate_biases=("channel.mlp.2.bias", "spatial.norm.bias"),
    ),
    "self_attention": AttentionType(
        SelfAttention,
        title="Self-attention",
        explanation="Every place gathers from all others, as in a Transformer.",
        paper="Vaswani et al. 2017",
        start="Random projections: every place attends to all others, at random.",
        diagram="q, k > softmax q·k > · v > W : +",
    ),
    "softmax": AttentionType(
        SoftmaxPooling,
        title="Softmax pooling",
        explanation="Places compete; their weighted average is added everywhere.",
        paper="Cao et al. 2019",
        start="A random projection: the weights are spread over all places, at random.",
        diagram="w · x > softmax > Σ a x > W₂ ReLU W₁ : +",
    ),
    "simam": AttentionType(
        SimAM,
        title="SimAM",
        explanation="Weighs up what stands out of its channel. Nothing is learned.",
        paper="Yang et al. 2021",
        start="As it stays: it has no parameters.",
        diagram="(x − mean)² > / 4(v + λ) > + ½ > σ : ×",
    ),
    "coordinate": AttentionType(
        CoordinateAttention,
        title="Coordinate attention",
        explanation="One weight per channel and row, and one per channel and column.",
        paper="Hou et al. 2021",
        start="Random layers, biases 0: both weights are around 1/2.",
        diagram="mean W > F₁ > F₂ > σ | mean H > F₁ > F₃ > σ => × : ×",
        gate_biases=("row.bias", "column.bias"),
    ),
    "triplet": AttentionType(
        TripletAttention,
        title="Triplet attention",
        explanation="Three gates: of places, of channels by rows, and of channels by columns.",
        paper="Misra et al. 2021",
        start="Random kernels without bias: every gate is around 1/2.",
        diagram="mean, max C > 7×7 > σ | mean, max W > 7×7 > σ | mean, max H > 7×7 > σ => mean : ×",
        gate_biases=("position.norm.bias", "row.norm.bias", "column.norm.bias"),
    ),
    "bam": AttentionType(
        BAM,
        title="BAM",
        explanation="A score of the channel and one of the place amplify each feature together.",
        paper="Park et al. 2018",
        start="Random layers, biases 0: every weight is around 1/2.",
        diagram="mean H,W > W₂ ReLU W₁ > norm | 1×1 > 3×3 > 3×3 > 1×1 > norm => + > σ > 1 + a : ×",
    ),
    "selective_kernel": AttentionType(
        SelectiveKernel,
        title="Selective kernels",
        explanation="Each channel chooses between a small and a large convolution.",
        paper="Li et al. 2019",
        start="Random layers: both convolutions count for around 1/2 in each channel.",
        diagram="conv 3×3 | conv 5×5 => + > mean H,W > V ReLU W > softmax : Σ",
    ),
}
"""The attention types by key, in the order in which they are listed everywhere."""
