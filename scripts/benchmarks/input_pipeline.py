"""From JPEG files to batches: images per second on one core, beside other input pipelines.

    PEER_PYTHON=PYTHON python -m scripts.benchmarks input_pipeline

Each contender reads the same JPEGs from a folder, in an order of its own, cuts a random rectangle out
of each (8% to 100% of the area, ratio 3/4 to 4/3), scales it to 224x224 by a bilinear filter, and
gives uint8 batches of 128. Each is a process of its own, held to one core, with one thread; they take
turns, and a ratio is the median over the rounds of the ratio of CPU seconds within a round. The
photos are noise with the spectrum of photographs, 500x375 at quality 90, some 90 kB each.

A filter is antialiased if it sees every pixel where it shrinks: Pillow's is, OpenCV's and by default
TensorFlow's are not, which is less work. A contender whose library is not found here is run by
PYTHON, for TensorFlow and JAX may want different environments, or else left out by name.
"""

import argparse
import importlib.util
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from scripts.benchmarks import contenders

IMAGES, PHOTO = 512, (375, 500)
SIZE, BATCH = 224, 128
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def run(options: argparse.Namespace) -> list[contenders.Row]:
    """Lets the contenders take turns; ratios are to our best."""
    with tempfile.TemporaryDirectory() as folder:
        write_photos(pathlib.Path(folder), IMAGES, PHOTO)
        workers = start(folder, options)
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for turn in range(options.rounds + 1):  # the first round warms up
            for name in list(workers) if turn % 2 else reversed(workers):
                images, cpu = workers[name].run()
                if turn:
                    seconds[name].append(cpu / images)
        for worker in workers.values():
            worker.stop()
    ratios = {}
    for name, theirs in seconds.items():
        if name != OURS:
            each = [own / other for own, other in zip(seconds[OURS], theirs, strict=True)]
            ratios[name] = (statistics.median(each), min(each), max(each))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    row = contenders.Row(
        benchmark="input_pipeline",
        case=f"JPEG {PHOTO[1]}x{PHOTO[0]} to {SIZE}x{SIZE}, per image, CPU time of one core",
        seconds=medians,
        ratios=ratios,
        notes={f"images/s, {name}": round(1 / each) for name, each in medians.items()},
    )
    contenders.show(row)
    return [row]


def start(folder: str, options: argparse.Namespace) -> dict[str, "Worker"]:
    """The contenders that can be run, by name."""
    workers = {}
    pythons = (sys.executable, os.environ.get("PEER_PYTHON"))
    for name, (_, module) in CONTENDERS.items():
        python = next((p for p in pythons if has(p, module)), None)
        if python is None:
            print(f"{name}: left out, there is no {module}")
        elif (worker := Worker(python, name, folder, options.core)).is_ready():
            workers[name] = worker
        else:
            print(f"{name}: left out, it does not start here")
    return workers


class Worker:
    """A contender in a process of its own, on one core."""

    def __init__(self, python: str, name: str, folder: str, core: int):
        command = [python, "-m", "scripts.benchmarks.input_pipeline", name, folder]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **ONE_THREAD},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def is_ready(self) -> bool:
        """Waits until the contender has been set up; False if it failed."""
        return bool(self._out.readline())

    def run(self) -> tuple[int, float]:
        """One pass over the images: how many there were, and the CPU seconds that they took."""
        self._in.write("go\n")
        self._in.flush()
        images, cpu = self._out.readline().split()
        return int(images), float(cpu)

    def stop(self) -> None:
        """Ends the process."""
        self._in.close()
        self._process.wait()


ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "PYTHONWARNINGS": "ignore",
}


def has(python: str | None, module: str) -> bool:
    """Whether a Python finds a module, and can so run a contender."""
    if python is None:
        return False
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def work(name: str, folder: str) -> None:
    """Makes a pass over the images each time that a line comes in."""
    passes = CONTENDERS[name][0](folder)
    print("ready", flush=True)
    for _ in sys.stdin:
        start, images = time.process_time(), 0
        for batch in passes():
            found = np.asarray(batch)
            assert found.shape == (BATCH, SIZE, SIZE, 3), found.shape
            assert found.dtype == np.uint8
            images += len(found)
        print(images, time.process_time() - start, flush=True)


def write_photos(folder: pathlib.Path, count: int, size: tuple[int, int]) -> None:
    """Writes JPEGs: noise of amplitude 1 / frequency^1.2, the colours correlated."""
    from PIL import Image

    rng = np.random.default_rng(0)
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width)
    frequency[0, 0] = 1
    (folder / "class").mkdir()
    for number in range(count):
        planes = []
        for fraction in (1, 0.35, 0.25):
            noise = rng.normal(size=(2, *frequency.shape)) / frequency**1.2
            plane = np.fft.irfft2(noise[0] + 1j * noise[1], size)
            planes.append(fraction * plane / plane.std())
        luma, first, second = planes
        colours = np.stack([luma + first, luma - first / 2 - second / 3, luma + second], -1)
        pixels = np.clip(118 + 45 * colours, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "class" / f"{number:05}.jpg", quality=90)


# ---- The contenders: of a folder a function that makes one pass, batch by batch ------------------

Passes = Callable[[], Iterator[Any]]


def ours(folder: str) -> Passes:
    """Decoded at the reduced scale that the rectangle allows, by Pillow."""
    from jaxcv.data import Batches, DecodeRandomResizedCrop, Folder

    cut = DecodeRandomResizedCrop(size=(SIZE, SIZE), scale=SCALE, ratio=RATIO)
    source = Folder(root=folder, test_fraction=0.0, random_resized_crop=cut).open("train")
    batches = Batches(source, BATCH, shuffle=True, num_threads=1)
    steps = len(source) // BATCH
    started = iter(range(10**9))

    def passes() -> Iterator[Any]:
        turn = next(started)
        return (batches[step]["image"] for step in range(turn * steps, (turn + 1) * steps))

    return passes


def tensorflow(folder: str, antialias: bool = False) -> Passes:
    """The fused operation that decodes the rectangle alone, as big_vision and others use it."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def image(path: Any) -> Any:
        data = tf.io.read_file(path)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(data),
            tf.zeros((1, 0, 4)),
            area_range=SCALE,
            aspect_ratio_range=RATIO,
            min_object_covered=0,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], extent[:2]], 0)
        cut = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        scaled = tf.image.resize(cut, (SIZE, SIZE), antialias=antialias)
        return tf.cast(tf.clip_by_value(tf.round(scaled), 0, 255), tf.uint8)

    data = tf.data.Dataset.list_files(folder + "/class/*.jpg", shuffle=True)
    data = data.map(image, num_parallel_calls=1).batch(BATCH, drop_remainder=True)
    threads = tf.data.Options()
    threads.threading.private_threadpool_size = 1
    threads.threading.max_intra_op_parallelism = 1
    return data.with_options(threads).as_numpy_iterator


def torch_loader(folder: str, read: Callable[[str], Any]) -> Passes:
    """PyTorch's DataLoader in the process itself: no time goes into sending batches between two."""
    import torch

    torch.set_num_threads(1)
    paths = sorted(map(os.fspath, pathlib.Path(folder, "class").iterdir()))

    class Photos(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.as_tensor(read(paths[index]))

    loader = torch.utils.data.DataLoader(
        Photos(), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=0
    )
    return loader.__iter__


def torch_pillow(folder: str) -> Passes:
    """Torchvision's default backend, its transform written plainly."""
    from PIL import Image

    def read(path: str) -> np.ndarray:
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
        top, left, height, width = rectangle(image.height, image.width)
        image = image.crop((left, top, left + width, top + height))
        return np.array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    return torch_loader(folder, read)


def torch_torchvision(folder: str) -> Passes:
    """Torchvision's own reader and transform of tensors."""
    import torchvision
    from torchvision.transforms import v2

    cut = v2.RandomResizedCrop((SIZE, SIZE), scale=SCALE, ratio=RATIO, antialias=True)

    def read(path: str) -> Any:
        image = torchvision.io.decode_jpeg(torchvision.io.read_file(path))
        return cut(image).permute(1, 2, 0).contiguous()

    return torch_loader(folder, read)


def torch_opencv(folder: str) -> Passes:
    import cv2

    cv2.setNumThreads(1)

    def read(path: str) -> np.ndarray:
        image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
        return opencv_scaled(cv2, image)

    return torch_loader(folder, read)


def torch_simplejpeg(folder: str) -> Passes:
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)

    def read(path: str) -> np.ndarray:
        with open(path, "rb") as file:
            return opencv_scaled(cv2, simplejpeg.decode_jpeg(file.read(), "RGB"))

    return torch_loader(folder, read)


def opencv_scaled(cv2: Any, image: np.ndarray) -> np.ndarray:
    """A random rectangle by OpenCV's bilinear filter."""
    top, left, height, width = rectangle(*image.shape[:2])
    return cv2.resize(image[top : top + height, left : left + width], (SIZE, SIZE))


def grain_pillow(folder: str) -> Passes:
    """Grain's chain of a source, shuffle, map with a random generator, and batch."""
    import grain
    from PIL import Image

    paths = sorted(map(os.fspath, pathlib.Path(folder, "class").iterdir()))

    def read(path: str, rng: np.random.Generator) -> np.ndarray:
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
        top, left, height, width = rectangle(image.height, image.width, rng)
        image = image.crop((left, top, left + width, top + height))
        return np.array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    data = grain.MapDataset.source(paths).seed(0).shuffle().random_map(read)
    data = data.batch(BATCH, drop_remainder=True)
    return lambda: iter(data.to_iter_dataset(grain.ReadOptions(num_threads=1)))


def rectangle(
    height: int, width: int, rng: np.random.Generator | None = None
) -> tuple[int, int, int, int]:
    """Torchvision's random rectangle: (top, left, height, width) in whole pixels."""
    rng = rng or GENERATOR
    for _ in range(10):
        area = height * width * rng.uniform(*SCALE)
        ratio = np.exp(rng.uniform(np.log(RATIO[0]), np.log(RATIO[1])))
        across, down = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            top = int(rng.integers(0, height - down + 1))
            return top, int(rng.integers(0, width - across + 1)), down, across
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


OURS = contenders.OURS + ", antialiased"
GENERATOR = np.random.default_rng(0)

CONTENDERS: dict[str, tuple[Callable[[str], Passes], str]] = {
    OURS: (ours, "jaxcv"),
    "tf.data": (tensorflow, "tensorflow"),
    "tf.data, antialiased": (lambda folder: tensorflow(folder, antialias=True), "tensorflow"),
    "PyTorch DataLoader, Pillow, antialiased": (torch_pillow, "torch"),
    "PyTorch DataLoader, torchvision, antialiased": (torch_torchvision, "torchvision"),
    "PyTorch DataLoader, OpenCV": (torch_opencv, "cv2"),
    "PyTorch DataLoader, simplejpeg and OpenCV": (torch_simplejpeg, "simplejpeg"),
    "Grain, Pillow, antialiased": (grain_pillow, "grain"),
}


if __name__ == "__main__":
    work(*sys.argv[1:])
