"""ResNet-50, a whole training step in images per second, beside PyTorch on the same device.

    python -m scripts.benchmarks.resnet50                                 # one GPU, bfloat16, 224x224
    python -m scripts.benchmarks.resnet50 --platform cpu --image-size 64 --rounds 3

Both sides do the same work on the same synthetic batch, which is on the device from the start: forward,
softmax cross-entropy with label smoothing 0.1, backward, Nesterov's momentum with weight decay, running
statistics of BatchNorm. Weights are float32; convolutions compute in bfloat16 on an accelerator (on
PyTorch's side under autocast) and in float32 on a CPU. Ours also counts accuracy and checks for finite
gradients, as every jaxcv step does. The peer is torchvision's network, else timm's, else the same written
here; channels last; with torch.compile on a GPU, and on a CPU as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from scripts.benchmarks import contenders
from scripts.benchmarks.contenders import OURS, Row

CLASSES, SMOOTHING, RATE, MOMENTUM, DECAY = 1000, 0.1, 0.1, 0.9, 1e-4


def main() -> None:
    parser = contenders.parser(__doc__)
    parser.add_argument(
        "--platform", choices=("cpu",), help="default: the accelerator that JAX finds"
    )
    parser.add_argument("--batch-size", type=int, help="default: 256, on a CPU 4")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--steps", type=int, help="in a row, per call; default: 20, on a CPU 1")
    options = parser.parse_args()
    if options.platform == "cpu":
        contenders.prepare(options)
    row = run(options)
    contenders.show(row)
    contenders.finish([row], options)


def run(options: argparse.Namespace) -> Row:
    """Times both sides in turns."""
    import jax

    from jaxcv.models import ResNet
    from jaxcv.train import AXIS
    from scripts.benchmarks.operations import ceiling, device, forward_operations

    on_cpu = jax.default_backend() == "cpu"
    batch, steps = (
        options.batch_size or (4 if on_cpu else 256),
        options.steps or (1 if on_cpu else 20),
    )
    size, dtype = options.image_size, "float32" if on_cpu else "bfloat16"
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, size, size, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, batch)
    model = ResNet(num_classes=CLASSES, depth=50, dtype=dtype, axis_name=AXIS)
    sides = {OURS: our_side(model, images, labels)}
    peer, name = torch_side(images, labels, dtype, options.threads)
    if peer is not None:
        sides["torch"] = peer
    calls = {side: lambda step=step: step(steps) for side, step in sides.items()}
    row = contenders.compare("resnet50", f"{dtype}, {size}x{size}, batch {batch}", calls, options)

    seconds = {side: value / steps for side, value in row.seconds.items()}
    operations = 3 * forward_operations(model, (size, size, 3))
    rate = ceiling(dtype)
    notes = {
        **{f"images/s, {side}": round(batch / value, 2) for side, value in seconds.items()},
        "peer": name,
        "device": device(),
        "training GFLOP per image, by count": round(operations / 1e9, 2),
        "TFLOP/s of a matrix product here": round(rate / 1e12, 3),
        "ours, fraction of that": round(operations * batch / seconds[OURS] / rate, 4),
    }
    return replace(row, seconds=seconds, notes=notes)


def our_side(model: Any, images: np.ndarray, labels: np.ndarray) -> Callable[[int], None]:
    """A function that makes so many steps and waits for the last."""
    import jax

    from jaxcv.convolution.compiler import compiler_options
    from jaxcv.tasks import Classification, CrossEntropy
    from jaxcv.train import SGD, DeviceMap, Optimizer, create_state, make_train_step

    task = Classification(num_classes=CLASSES, objective=CrossEntropy(label_smoothing=SMOOTHING))
    algorithm = SGD(momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    optimizer = Optimizer(learning_rate=RATE, algorithm=algorithm, decay_all=True)
    transformation = optimizer.transformation(1_000_000)
    devices = DeviceMap(jax.devices()[:1], compiler_options=compiler_options(jax.devices()[:1]))
    step = devices.map(make_train_step(model, task, transformation), (None, 0), donate=(0,))
    batch = {
        "image": images,
        "label": labels.astype(np.int32),
        "mask": np.ones(len(labels), bool),
    }
    placed = devices.split(batch)
    state = devices.replicate(create_state(model, transformation, images.shape[1:], seed=0))

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, metrics = step(state, placed)
        jax.block_until_ready((state, metrics))

    return run


def torch_side(
    images: np.ndarray, labels: np.ndarray, dtype: str, threads: int
) -> tuple[Callable[[int], None] | None, str]:
    """The same in PyTorch, on its GPU where ours has one; None where PyTorch or its GPU is absent."""
    import jax

    try:
        import torch
    except ImportError:
        return None, "PyTorch is not installed"
    on_gpu = jax.default_backend() == "gpu"
    if jax.default_backend() == "tpu" or (on_gpu and not torch.cuda.is_available()):
        return None, "PyTorch sees no such device"
    device = torch.device("cuda" if on_gpu else "cpu")
    torch.backends.cudnn.benchmark = True
    if not on_gpu:
        torch.set_num_threads(threads)
    network, name = torch_network()
    model = network.to(device, memory_format=torch.channels_last).train()
    if on_gpu:
        model, name = torch.compile(model), f"{name}, torch.compile"
    optimizer = torch.optim.SGD(
        model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True, fused=on_gpu
    )
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device, memory_format=torch.channels_last)
    y = torch.from_numpy(labels).to(device)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        loss.item()  # waits

    return run, f"{name}, PyTorch {torch.__version__}, channels last"


def torch_network() -> tuple[Any, str]:
    """ResNet-50 of 1000 classes: torchvision's, else timm's, else `plain_resnet50`."""
    try:
        from torchvision.models import resnet50

        return resnet50(weights=None), "torchvision"
    except Exception:  # A build that does not fit PyTorch's fails in its own ways.
        pass
    try:
        import timm

        return timm.create_model("resnet50", pretrained=False), "timm"
    except Exception:
        return plain_resnet50(), "written out here"


def plain_resnet50() -> Any:
    """ResNet-50 v1.5 (He et al. 2016, table 1; the 3x3 convolution carries the stride) in PyTorch."""
    import torch
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = 4 * width
            self.body = nn.Sequential(
                *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)),
                nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
                *(nn.BatchNorm2d(width), nn.ReLU(True)),
                *(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
            )
            same = stride == 1 and inputs == outputs
            self.shortcut = (
                nn.Identity()
                if same
                else nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )
            )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.shortcut(x))

    layers: list[Any] = [nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)]
    layers += [nn.ReLU(True), nn.MaxPool2d(3, 2, padding=1)]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for i in range(blocks):
            width = 64 * 2**stage
            layers.append(Bottleneck(inputs, width, 2 if i == 0 and stage > 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


if __name__ == "__main__":
    main()
