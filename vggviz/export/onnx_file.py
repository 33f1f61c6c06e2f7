"""ONNX files of networks: logits, attention and CAMs from pixels and a class."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim
from torch.export import export as export_program

from vggviz.export.trace import ExportError, Traceable
from vggviz.files import atomic_write

__all__ = ["write_onnx"]

LARGEST_HALF = 65504
LARGEST_FILE = 2**31 - 1  # bytes of a protocol buffer
OPERATOR = re.compile(r"aten[.:]+(\w+)")


def write_onnx(
    network: Traceable, out: Path, metadata: Mapping[str, Any], *, half: bool = False
) -> None:
    """Write a network to an ONNX file with its inputs and outputs, for batches of any length N.

    `metadata` become the file's properties, values in JSON, beside 'attention', which describes the
    attention outputs. `half` stores the weights of layers in float16; it is computed in float32
    all the same.

    Raises ExportError where packages of the extra 'onnx' are missing, for a network that can't be
    traced, an operator that ONNX lacks, and a file of 2 GB; OSError where it can't be written.
    """
    if not all(map(find_spec, ("onnx", "onnxscript"))):
        raise ExportError("needs_onnx")
    with _worded():
        graph, outputs = network.graph()
        program = export_program(
            graph,
            tuple(network.inputs.values()),
            dynamic_shapes=tuple({0: Dim.DYNAMIC} for _ in network.inputs),
        )
        # Its optimiser takes minutes, and onnxruntime optimises what it loads.
        written = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False)
    assert written is not None
    file = written.model_proto
    _cast(file.graph)
    _name(file.graph, [*network.inputs], outputs)
    if half:
        _halve(file.graph)
    described = {name: asdict(one) for name, one in network.attention.items()}
    for key, value in {**metadata, "attention": described}.items():
        file.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    if file.ByteSize() > LARGEST_FILE:
        raise ExportError("export_large", size=f"{file.ByteSize() / 1e9:.1f}")
    with atomic_write(out) as part:
        part.write_bytes(file.SerializeToString())


@contextmanager
def _worded() -> Iterator[None]:
    """Errors of PyTorch's exporters as an ExportError of one sentence; no warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # whatever the network's own code and the exporters raise
        cause: BaseException | None = error
        while cause is not None:
            missing = OPERATOR.search(str(cause)) if "No ONNX function" in str(cause) else None
            if missing:
                raise ExportError("export_operator", operator=missing[1]) from error
            cause = cause.__cause__
        if "Constraints violated" in str(error):
            raise ExportError("export_batch") from error
        reason = str(error).strip().partition("\n")[0]
        raise ExportError("export_trace", why=f"{type(error).__name__}: {reason}") from error


def _cast(graph: Any) -> None:
    """Replace CastLike, for which runtimes have no kernel, by Cast where the type is known."""
    from onnx import helper

    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1]):
            to = types[node.input[1]]
            node.CopyFrom(helper.make_node("Cast", [node.input[0]], [*node.output], to=to))


def _name(graph: Any, inputs: list[str], outputs: tuple[str, ...]) -> None:
    """Give a graph's inputs and outputs these names, and their batch axis the name N; drop what
    only the exporter has use for."""
    renamed = {
        value.name: name
        for values, names in ((graph.input, inputs), (graph.output, outputs))
        for value, name in zip(values, names, strict=True)
    }
    for value in (*graph.input, *graph.output):
        value.name = renamed[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
        node.ClearField("metadata_props")  # stack traces, with the names of local files
        node.ClearField("doc_string")
    graph.ClearField("value_info")


def _halve(graph: Any) -> None:
    """Store parameters of two axes or more in float16, with a cast to float32 at their use."""
    from onnx import TensorProto, helper, numpy_helper

    casts: list[Any] = []
    for tensor in graph.initializer:
        learned = "_param_constant" in tensor.name  # as `make_fx` names parameters
        if not learned or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        if abs(values).max(initial=0) <= LARGEST_HALF:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
