"""Static int8 of an exported network, with the range of every activation taken from images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

INPUT = "image"


def quantize_onnx(path: Path, calibration: Tensor, batch: int) -> None:
    """Replace a file by one in QDQ form, with ranges from images."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(calibration.split(batch))

        def get_next(self) -> dict[str, np.ndarray] | None:
            images = next(self.batches, None)
            return None if images is None or len(images) < batch else {INPUT: images.numpy()}

    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)
    quantize_static(
        str(path),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # x86 without VNNI adds two 8-bit products in 16 bits; with 7-bit weights that never
        # saturates, so that the file computes the same on every processor.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def quantize_program(
    program: torch.export.ExportedProgram, calibration: Tensor, example_inputs: Tensor
) -> torch.export.ExportedProgram:
    """A program with static int8 for XNNPACK, with ranges from images."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True)
    )
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for images in calibration.split(len(example_inputs)):
            if len(images) == len(example_inputs):
                prepared(images)
    return torch.export.export(convert_pt2e(prepared), (example_inputs,))
