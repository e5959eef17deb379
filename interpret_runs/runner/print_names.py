"""What values of an index are called in print: published names of methods, and words in place of names in code."""

from __future__ import annotations

from pathlib import PurePath

RANDOM = "random weights"
# Columns whose values are names in code, which stay as they are.
CODE = ("model", "model.name", "model.factory", "layer", "layer.path")
METHODS = ("attribution", "parameterisation", "task", "problem")
PUBLISHED = {
    "cppn": "CPPN",
    "maco": "MACO",
    "input_x_gradient": "input × gradient",
    "smooth_grad": "SmoothGrad",
    "var_grad": "VarGrad",
    "gradient_shap": "GradientSHAP",
    "deep_lift": "DeepLIFT",
    "lrp": "LRP",
    "deconvnet": "DeconvNet",
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "hi_res_cam": "HiResCAM",
    "x_grad_cam": "XGrad-CAM",
    "layer_cam": "LayerCAM",
    "score_cam": "Score-CAM",
    "finer_cam": "Finer-CAM",
    "guided_grad_cam": "guided Grad-CAM",
    "rise": "RISE",
    "difull": "DiFull",
    "grid_pg": "GridPG",
    "tris": "XAI-TRIS",
    "visualise": "visualisation",
    "examples": "dataset examples",
}


def in_words(name: str) -> str:
    return name.replace("_", " ")


def in_print(column: str, value: str) -> str:
    """A value of a column."""
    if column in CODE:
        return value
    if column == "model.weights":
        return PurePath(value).stem or RANDOM
    if column in METHODS and value in PUBLISHED:
        return PUBLISHED[value]
    return in_words(value.removesuffix(PurePath(value).suffix) if column == "picture" else value)
