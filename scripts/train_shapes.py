"""Train the embedded network and write its weights and model card.

    python scripts/train_shapes.py --out interpret_runs/assets

The card is written from the same numbers as the weights' metadata, so the two agree. The augmentation and the
attacks are there for feature visualisation rather than for accuracy, which is no lower without them: a network
that has met noise, movement, other colours and attacks has features that survive them, and those are the ones a
person recognises (Engstrom et al., 2019, "Adversarial robustness as a prior for learned representations").
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from interpret_runs.shapes import CLASSES, SIZE, draw
from interpret_runs.shapes_network import ShapesNetwork

MEAN, STD = 0.5, 0.25  # of every colour channel; grey 0.5 is the network's zero
BATCH = 64
TEST_IMAGES = 2400
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
ATTACK = 4.0  # longest adversarial step: L2 norm over the 3 x 64 x 64 values in [0, 1]
CLEAN = 0.4  # the share of epochs before the attacks begin, which double the cost of a step


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(arguments.seed)
    start = time.perf_counter()
    network = train(*images_and_labels(arguments.images, "train"), epochs=arguments.epochs)
    seconds = time.perf_counter() - start
    correct = correct_answers(network, *images_and_labels(TEST_IMAGES, "test"))
    write(network, correct, arguments, seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the embedded shapes network.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=12000, help="number of training images")
    parser.add_argument("--out", type=Path, default=Path("interpret_runs/assets"), help="folder to write to")
    return parser.parse_args()


def images_and_labels(count: int, split: str) -> tuple[Tensor, Tensor]:
    """The first `count` images of a split, (count, 3, 64, 64) uint8 to save memory, and their labels, (count,)."""
    images = torch.empty(count, 3, SIZE, SIZE, dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.long)
    for index in range(count):
        shape = draw(index, split)
        images[index] = (shape.image * 255).round()
        labels[index] = shape.label
    return images, labels


def train(images: Tensor, labels: Tensor, epochs: int) -> ShapesNetwork:
    """Minimise cross-entropy with AdamW and one learning-rate cycle; from `CLEAN` on, on attacked images."""
    network = ShapesNetwork(len(CLASSES)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.split(torch.randperm(len(images)), BATCH):
            inputs = augment(images[batch] / 255)
            if epoch >= CLEAN * epochs:
                inputs = attacked(network, inputs, labels[batch])
            loss = loss_of(network, inputs, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += len(batch) * loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(images):.4f}", flush=True)
    return network.to(memory_format=torch.contiguous_format).eval()


def loss_of(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy; images are RGB in [0, 1]. Channels last with bfloat16 is three times as fast as float32."""
    inputs = normalise(images).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return functional.cross_entropy(network(inputs), labels)


def attacked(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Move each image up the loss by one step along its gradient, of a length drawn from 0 to `ATTACK`."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(network, images, labels), images)
    direction = functional.normalize(gradient.flatten(1)).view_as(images)
    return (images + uniform(0, ATTACK, len(images), 1, 1, 1) * direction).detach().clamp(0, 1)


def normalise(images: Tensor) -> Tensor:
    return (images - MEAN) / STD


def augment(images: Tensor) -> Tensor:
    """Flip, move, recolour and add noise to each image by its own draw. RGB in [0, 1] in and out."""
    return noisy(recoloured(moved(images))).clamp(0, 1)


def moved(images: Tensor) -> Tensor:
    """Flip half of the images, turn by up to 15 degrees, scale by 0.85 to 1.15, shift by up to 4 pixels.

    What comes in from outside is grey.
    """
    count = len(images)
    angle = uniform(-15, 15, count).deg2rad()
    scale = uniform(0.85, 1.15, count)
    flip = torch.randint(0, 2, (count,)) * 2 - 1
    shift = uniform(-4, 4, count, 2) / (SIZE / 2)  # affine_grid measures in half images
    rows = [flip * angle.cos() / scale, -angle.sin() / scale, shift[:, 0]]
    rows += [flip * angle.sin() / scale, angle.cos() / scale, shift[:, 1]]
    grid = functional.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images - MEAN, grid, align_corners=False) + MEAN


def recoloured(images: Tensor) -> Tensor:
    """Change contrast and brightness of each colour channel on its own."""
    gain, offset = uniform(0.6, 1.2, len(images), 3, 1, 1), uniform(-0.15, 0.15, len(images), 3, 1, 1)
    return gain * (images - MEAN) + MEAN + offset


def noisy(images: Tensor) -> Tensor:
    """Add Gaussian noise; its standard deviation is drawn per image, 0 to 0.2."""
    return images + uniform(0, 0.2, len(images), 1, 1, 1) * torch.randn_like(images)


def uniform(low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape)


@torch.no_grad()
def correct_answers(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The share of right answers for each class, (classes,). Labels are balanced, so its mean is the accuracy."""
    answers = torch.cat([network(normalise(batch / 255)).argmax(1) for batch in torch.split(images, 200)])
    return torch.stack([(answers[labels == label] == label).double().mean() for label in range(len(CLASSES))])


def write(network: nn.Module, correct: Tensor, arguments: argparse.Namespace, seconds: float) -> None:
    """Write ``shapes.safetensors`` and ``shapes.md``, each aside first and then renamed."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    metadata = {
        "accuracy": f"{correct.mean():.4f}",
        "seed": str(arguments.seed),
        "classes": json.dumps(CLASSES),
        "mean": str(MEAN),
        "std": str(STD),
    }
    weights, card = arguments.out / "shapes.safetensors", arguments.out / "shapes.md"
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    aside = weights.with_suffix(".part")
    save_file(state, aside, metadata)
    aside.chmod(0o644)  # safetensors lets only the owner read
    aside.replace(weights)
    aside.write_text("\n".join(card_lines(network, correct, arguments, seconds, metadata)) + "\n", encoding="utf-8")
    aside.replace(card)
    print(f"accuracy {metadata['accuracy']} after {seconds:.0f} s; wrote {weights} and {card}")


def card_lines(
    network: nn.Module, correct: Tensor, arguments: argparse.Namespace, seconds: float, metadata: dict[str, str]
) -> Iterator[str]:
    """The model card, line by line."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    command = f"python scripts/train_shapes.py --seed {arguments.seed} --epochs {arguments.epochs}"
    command += f" --images {arguments.images} --out {arguments.out.as_posix()}"
    yield CARD.format(
        accuracy=metadata["accuracy"],
        parameters=parameters,
        classes=len(CLASSES),
        images=arguments.images,
        epochs=arguments.epochs,
        tests=TEST_IMAGES,
        command=command,
        seed=arguments.seed,
        attack=ATTACK,
        robust=1 - CLEAN,
        minutes=seconds / 60,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    yield "| class | accuracy |"
    yield "|---|---|"
    yield from (f"| {name} | {share:.4f} |" for name, share in zip(CLASSES, correct.tolist(), strict=True))


CARD = """\
# shapes: the embedded network

Written by `scripts/train_shapes.py` together with `shapes.safetensors`; do not edit by hand.

**Architecture.** `interpret_runs.shapes_network.ShapesNetwork`: six blocks of 3 x 3 convolution, batch norm and
ReLU with 32, 64, 64, 128, 128, 128 channels and three max poolings, the mean over positions, one linear layer to
{classes} logits. {parameters:,} parameters, float32.

**Input.** RGB in [0, 1], minus 0.5, divided by 0.25, per channel; trained on 64 x 64 pixels, accepts 16 x 16 and more.

**Data.** `interpret_runs.shapes`: {classes} classes, four shapes (disc, square, triangle, ring) times three textures
(plain, striped, checked), on 1/f noise with a distractor. {images} images of the split "train", {epochs} epochs;
random flips, rotations (15 degrees), scales (0.85 to 1.15), shifts (4 pixels), colours and Gaussian noise.
The images are drawn by this project; no photograph, person or third-party data is involved.

**Training.** `{command}`

Seed {seed}; AdamW, one learning-rate cycle, cross-entropy, bfloat16 autocast; adversarial
steps of L2 norm up to {attack:g} in the last {robust:.0%} of epochs, so that features are recognisable; {minutes:.1f}
minutes on two CPU cores ({threads} threads), torch {torch}. Another machine or version gives other weights of the
same quality, not the same bytes.

**Intended use.** Examples, tests and benchmarks of feature visualisation and attribution that run offline in seconds,
and whose right answer is known: the mask of the object.

**Limits.** One object of 27 to 56 pixels across, wholly inside the image, never hidden. The network has no class for
"nothing" and says nothing about photographs. The distractor never predicts the class, so the set does not test
whether a method finds a spurious cue.

**Accuracy.** {accuracy} on {tests} images of the split "test", without augmentation; per class:
"""


if __name__ == "__main__":
    main()
