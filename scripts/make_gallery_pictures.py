"""Write docs/pictures.md, a picture of every option with the command that makes it, and the pictures.

    python scripts/make_gallery_pictures.py                # runs every command: some minutes on a CPU
    python scripts/make_gallery_pictures.py --text-only    # the page alone, from the list below and the docstrings

Each table is one sweep, so that the model stays warm; alone, a command makes the same run.
"""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from PIL import Image

from interpret_runs import sweep

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "pictures.md"
PICTURES = ROOT / "docs" / "pictures"
HEIGHT, QUALITY = 96, 60  # of a picture in the page

DRAWN = "parameterisation.size=96 task.steps=64"
MAPPED = "task=attribute objective=logit objective.target=top1 images.item=10"
ON_CHANNEL = "objective=sum +objective@objective.terms.a=channel objective.terms.a.channel=35"
LOGITS = "layer=logits objective.direction="

# Of every option, what it is told beside its name; None where the embedded network cannot show it.
Told = Mapping[str, str | None]


def _penalty(name: str, weight: float) -> str:
    return f"{ON_CHANNEL} +objective@objective.terms.b={name} objective.weights.b={weight:g}"


OBJECTIVES: Told = {
    "channel": "objective.channel=35",
    "neuron": "objective.channel=35",
    "local_group": "objective.channel=35",
    "layer": "layer=middle",
    "deep_dream": "objective.paths=[early,late]",
    "direction": f"{LOGITS}[1,1,1,0,0,0,0,0,0,0,0,0]",
    "neuron_direction": f"{LOGITS}[0,0,1,0,0,0,0,1,0,0,0,0]",
    "logit": "objective.target='striped disc'",
    "probability": "objective.target='checked ring'",
    "contrast": "objective.target='striped ring' objective.against='striped disc'",
    "negative": "objective.of.channel=35",
    "sum": f"{ON_CHANNEL} +objective@objective.terms.b=channel objective.terms.b.channel=0",
    "product": "objective.left.channel=35 objective.right.channel=0",
    "diversity": f"{_penalty('diversity', 10)} parameterisation.images=4",
    "alignment": f"{_penalty('alignment', 1)} parameterisation.images=4",
    "interpolation": "objective.first.channel=0 objective.last.channel=35 parameterisation=shared "
    "parameterisation.images=4",
    "caricature": "layer=middle images.item=3",
    "inversion": "layer=early images.item=3",
    "style": "layer=early images.item=3",
    "activation_difference": "layer=middle images.item=3",
    "total_variation": _penalty("total_variation", -3),
    "l1": _penalty("l1", -10),
    "l2": _penalty("l2", -4),
    "blur": _penalty("blur", -500),
    "border": _penalty("border", -500),
    "transparency": "objective=product objective.left.channel=35 objective@objective.right=transparency "
    "parameterisation=rgba transform=none",
}
PARAMETERISATIONS: Told = {
    "fourier": "objective.channel=35",
    "pixel": "objective.channel=35",
    "laplacian": "objective.channel=35",
    "cppn": "objective.channel=35 transform=none",
    "maco": "objective.channel=35 transform=crops",
    "image": "objective=logit objective.target='striped disc' images.item=3",
    "rgba": "objective=logit objective.target='striped disc'",
    "shared": "objective=logit objective.target='striped disc' parameterisation.images=4",
}
TRANSFORMS: Told = {
    "standard": "objective.channel=35",
    "captum_long": "objective.channel=35",
    "crops": "objective.channel=35",
    "deterministic": "objective.channel=35",
    "lucid": "objective.channel=35",
    "blur": "objective.channel=35",
    "noise": "objective.channel=35",
    "colour_jitter": "objective.channel=35",
    "v2": "objective.channel=35",
    "chain": "+transform@transform.parts.a=crops +transform@transform.parts.b=noise objective.channel=35",
    "none": "objective.channel=35",
}
METHODS: Told = {
    "saliency": "",
    "input_x_gradient": "",
    "smooth_grad": "",
    "var_grad": "",
    "integrated_gradients": "",
    "gradient_shap": "",
    "deep_lift": "",
    "lrp": "",
    "guided_backprop": "",
    "deconvnet": "",
    "guided_grad_cam": "",
    "grad_cam": "",
    "grad_cam_plus_plus": "",
    "hi_res_cam": "",
    "x_grad_cam": "",
    "layer_cam": "",
    "score_cam": "",
    "finer_cam": "",
    "occlusion": "attribution.window=8 attribution.stride=4",
    "rise": "",
    "random": "",
    "centre": "",
    "sobel": "",
    "attention_rollout": None,
    "gradient_rollout": None,
}
# Group to what its table is called, what all its commands share, and its options.
TABLES: Mapping[str, tuple[str, str, Told]] = {
    "objective": ("Objectives", DRAWN, OBJECTIVES),
    "parameterisation": ("Parameterisations", DRAWN, PARAMETERISATIONS),
    "transform": ("Transforms", DRAWN, TRANSFORMS),
    "attribution": ("Attribution methods", MAPPED, METHODS),
}
HEAD = """# What each option looks like

Every objective, parameterisation, transform and attribution method, with a picture that the command below it made:
from the embedded network, offline, in seconds. Pictures are of 96 pixels and 64 steps here, which shows the kind of
thing rather than the best of it. Results differ slightly between machines. This page is written by
`python scripts/make_gallery_pictures.py`.
"""
WITHOUT = "No picture: it needs a network with attention, such as `model=vit_b_16`, whose weights are downloaded."


def shown(group: str) -> list[str]:
    """The options of a group that have a picture."""
    return [option for option, asked in TABLES[group][2].items() if asked is not None]


def overrides(group: str, option: str) -> list[str]:
    """What follows ``python run.py`` to show an option; the option itself first, where no other carries it."""
    shared, told = TABLES[group][1:]
    own = shlex.split(told[option] or "")
    chosen = [] if any(word.startswith(f"{group}=") for word in own) else [f"{group}={option}"]
    return [*shlex.split(shared), *chosen, *own]


def command(group: str, option: str) -> str:
    """The line that a shell takes."""
    words = (f"'{word}'" if " " in word else word for word in overrides(group, option))
    return " ".join(["python", "run.py", *words])


def target(group: str, option: str) -> str:
    """What an option builds."""
    return str(yaml.safe_load((ROOT / "conf" / group / f"{option}.yaml").read_text())["_target_"])


def law(group: str, option: str) -> str:
    """The first paragraph of the docstring of what an option builds."""
    package, module, *names = target(group, option).split(".")
    # `Sum.of` is told of by its class, `Sum.negative` by itself.
    found = attrgetter(".".join(name for name in names if name != "of"))(import_module(f"{package}.{module}"))
    text = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for group, (title, _, told) in TABLES.items():
        parts.append(f"## {title}\n")
        for option, asked in told.items():
            parts.append(f"### {option}\n\n{law(group, option)}\n")
            if asked is None:
                parts.append(f"{WITHOUT}\n")
                continue
            parts.append(f"![{group} {option}](pictures/{group}-{option}.webp)\n")
            parts.append(f"```\n{_wrapped(command(group, option))}\n```\n")
    return "\n".join(parts)


def _wrapped(line: str) -> str:
    """A command on lines of at most about 80 characters."""
    rows = [""]
    for word in re.findall(r"'[^']*'|\S+", line):
        if len(rows[-1]) + len(word) > 80:
            rows.append("   ")
        rows[-1] += f" {word}" if rows[-1] else word
    return " \\\n".join(rows)


def draw(group: str, outputs: Path) -> None:
    """Run the commands of a group as one sweep, and write their pictures."""
    options = shown(group)
    grids = [dict(word.split("=", 1) for word in overrides(group, option)) for option in options]
    text = ", ".join("{" + ", ".join(f"{key}: {_quoted(value)}" for key, value in grid.items()) + "}" for grid in grids)
    rows = sweep([f"sweep.grids=[{text}]", f"outputs={outputs}", f"name={group}", "compute.per_device=0"])
    failed = rows[rows["status"] != "ok"]
    if len(rows) != len(options) or len(failed):
        raise SystemExit(f"{group}: {len(rows)} runs of {len(options)}; failed: {failed.get('error', []).tolist()}")
    for option, image in zip(options, rows["image"], strict=True):
        with Image.open(outputs / group / image) as opened:
            picture = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
        picture.thumbnail((10 * HEIGHT, HEIGHT), Image.Resampling.LANCZOS)
        picture.save(PICTURES / f"{group}-{option}.webp", quality=QUALITY, method=6)


def _quoted(value: str) -> str:
    """A value inside of Hydra's braces, where a list would be several values."""
    return f'"{value}"' if " " in value else f"[{value}]" if value.startswith("[") else value


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("groups", nargs="*", default=list(TABLES), help="which tables to draw; all by default")
    arguments.add_argument("--text-only", action="store_true", help="write the page, run nothing")
    asked = arguments.parse_args()
    if not asked.text_only:
        PICTURES.mkdir(exist_ok=True)
        with TemporaryDirectory() as folder:
            for group in asked.groups:
                draw(group, Path(folder))
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
