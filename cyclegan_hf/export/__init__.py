"""Exported graphs: ONNX, OpenVINO and 8-bit integers."""
