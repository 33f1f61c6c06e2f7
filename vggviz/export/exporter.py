"""What an explainer can be written to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.platform.machine import library_versions
from vggviz.weights import Card

__all__ = ["Exporter"]


class Exporter:
    """The base class of `Explainer` that writes files."""

    model: Network
    card: Card[Any]
    preprocess: Preprocess

    @abstractmethod
    def names(self, stages: str | Sequence[str]) -> tuple[str, ...]:
        """The names of stages, layers or modules in `stages`."""

    def export(
        self,
        out: str | Path,
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        uint8: bool = False,
        half: bool = False,
        attention_in: bool = False,
    ) -> dict[str, float]:
        """Write an ONNX file that explains pictures without PyTorch. Returns the largest
        difference of each output from PyTorch's (see `differences`), {} without onnxruntime.

        Inputs: `pixels` (N, 3, S, S), normalised float32, or with `uint8` RGB from 0 to 255;
        `target` (N,), int64, class indices, −1 for the predicted class. Outputs: `logits` (N, K);
        `attention/{stage}/{kind}` (N, ...), weights as in `AttentionRecord`, a second one of a kind
        named `…/{kind}.2`; `{method}/{stage}` (N, h, w), raw maps, not negative. `stages` and
        `methods` as for `explain`, without methods that run the network many times. With
        `attention_in`, attention is an input of the same shape as well,
        `attention_in/{stage}/{kind}`: its numbers take the place of the network's own weights, NaN
        keeps these. `half` stores weights in float16. The file's properties are labels,
        preprocessing, provenance, licence, and what the attention outputs are, in JSON.

        Raises ExportError for what can't be exported, in one sentence; otherwise as `explain`.
        """
        # Not at the top: tracing imports SymPy and more, which takes seconds.
        from vggviz.export.check import differences
        from vggviz.export.onnx_file import write_onnx
        from vggviz.export.trace import Traceable

        layers = {name: self.model.path(name) for name in self.names(stages)}
        network = Traceable(
            self.model,
            self.preprocess.size,
            layers,
            methods,
            uint8=self.preprocess if uint8 else None,
            attention_in=attention_in,
        )
        metadata = {
            "labels": self.card.labels,
            "preprocess": self.preprocess.to_json(),
            "provenance": {
                "weights": self.card.weights,
                "trained": self.card.trained,
                "fingerprint": self.card.fingerprint,
                "config": self.card.config.to_json(),
                "versions": library_versions(),
            },
            "licence": self.card.facts.get("licence", "unknown"),
        }
        write_onnx(network, Path(out), metadata, half=half)
        return differences(Path(out), network) if find_spec("onnxruntime") else {}
