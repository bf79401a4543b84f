"""A finished run as a folder that runs without redistill and without torch: ONNX, in float32 or int8."""

FORMS = ("onnx", "int8")
MODEL, SCORES, DESCRIPTION, README, RESOLVED = "model.onnx", "scores.json", "export.json", "README.md", "resolved.json"
