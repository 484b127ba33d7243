"""What a call costs the host: shard_map and pmap beside jit on a state of 200 leaves, and the loop's feeds.

    python -m scripts.benchmarks.dispatch [--devices 1 8] [--threads 1 --clock cpu] [--json FILE]

First, one small per-device function through `DeviceMap`, by either strategy, beside plain `jax.jit` on
the same placed arrays. Then steps of a tiny MLP on resident data, as the loop makes them, beside the bare
compiled step on arguments that are already on the device; the difference is what feed and metrics add.
Times are of one call or step; each measurement makes `CALLS` of them and waits for the last.
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from scripts.benchmarks import contenders
from scripts.benchmarks.contenders import OURS, Row

CALLS = 50


def main() -> None:
    parser = contenders.parser(__doc__)
    parser.add_argument("--devices", type=int, nargs="*", default=[1, 8], help="virtual devices")
    parser.add_argument("--leaves", type=int, default=200)
    options = parser.parse_args()
    contenders.prepare(options)
    import jax

    jax.config.update("jax_num_cpu_devices", max(options.devices))
    rows: list[Row] = []
    for devices in options.devices:
        case = f"{options.leaves} leaves, {devices} devices"
        rows += measure(mapped_calls(options.leaves, devices), "jit", case, options)
    rows += measure(training_steps(), "bare step", "MLP on resident data", options)
    contenders.finish(rows, options)


def measure(
    calls: dict[str, tuple[Callable[[int], Any], int]],
    base: str,
    case: str,
    options: argparse.Namespace,
) -> list[Row]:
    """Compares each of the calls, (call(number of steps), steps in it), with the base."""
    import jax

    def repeated(name: str) -> Callable[[], Any]:
        call, steps = calls[name]

        def run() -> None:
            for _ in range(CALLS // steps):
                result = call(steps)
            jax.block_until_ready(result)

        return run

    rows = []
    for name in calls:
        if name == base or not contenders.wanted(f"{name}, {case}", options):
            continue
        pair = {OURS: repeated(name), base: repeated(base)}
        row = contenders.compare("dispatch", f"{name}, {case}", pair, options)
        seconds = {name: value / CALLS for name, value in row.seconds.items()}
        rows.append(dataclasses.replace(row, seconds=seconds))
        contenders.show(rows[-1])
    return rows


def mapped_calls(leaves: int, devices: int) -> dict[str, tuple[Callable[[int], Any], int]]:
    """One update of `leaves` small arrays from a batch of 64 rows, state donated and kept."""
    import jax
    import numpy as np

    from jaxcv.train import AXIS, DeviceMap

    batch = {"x": np.ones((64, 8), np.float32), "mask": np.ones(64, bool)}

    def on_device(state: Any, batch: Any) -> Any:
        mean = jax.lax.pmean((batch["x"].mean(1) * batch["mask"]).mean(), AXIS)
        return jax.tree.map(lambda x: x * 0.999 + mean, state), mean

    def whole(state: Any, batch: Any) -> Any:
        mean = (batch["x"].mean(1) * batch["mask"]).mean()
        return jax.tree.map(lambda x: x * 0.999 + mean, state), mean

    def contender(mapped: Callable[..., Any], device_map: DeviceMap) -> Callable[[int], Any]:
        state = device_map.replicate([np.ones((8, 8), np.float32) for _ in range(leaves)])
        placed = device_map.split(batch)

        def call(_: int) -> Any:
            nonlocal state
            state, mean = mapped(state, placed)
            return mean

        return call

    calls = {}
    for strategy in ("shard_map", "pmap"):
        device_map = DeviceMap(jax.devices()[:devices], strategy)
        mapped = device_map.map(on_device, (None, 0), donate=(0,))
        calls[strategy] = (contender(mapped, device_map), 1)
    device_map = DeviceMap(jax.devices()[:devices])
    calls["jit"] = (contender(jax.jit(whole, donate_argnums=0), device_map), 1)
    return calls


def training_steps(many: int = CALLS) -> dict[str, tuple[Callable[[int], Any], int]]:
    """A step of a tiny MLP: bare, by the feed, and by the feed and the loop's window, 1 or many."""
    import jax

    from jaxcv.data import Batches, Synthetic, gather, materialize
    from jaxcv.models import MLP
    from jaxcv.tasks import Classification
    from jaxcv.train import DeviceMap, Optimizer, create_state, make_train_step
    from jaxcv.train.feed import ResidentFeed
    from jaxcv.train.window import Packing, Window

    data = Synthetic(num_examples=4096, num_test_examples=1, image_size=8, channels=1)
    model = MLP(num_classes=10, hidden=(8,))
    task = Classification(num_classes=10)
    device_map = DeviceMap(jax.devices()[:1])
    optimizer = Optimizer(learning_rate=0.01).transformation(10**6)
    batches = Batches(data.open("train"), 32, shuffle=True)
    arrays = materialize(batches)
    pack = Packing()
    step_function = make_train_step(model, task, optimizer)

    def packed(state: Any, batch: Any) -> Any:
        state, metrics = step_function(state, batch)
        return state, pack(metrics)

    def fresh() -> Any:
        return device_map.replicate(create_state(model, optimizer, (8, 8, 1), seed=0))

    def on_rows(state: Any, arrays: Any, rows: Any, mask: Any) -> Any:
        return packed(state, gather(arrays, rows, mask))

    bare = device_map.map(on_rows, (None, None, 0, 0), donate=(0,))
    placed = (device_map.replicate(arrays), *device_map.split(batches.indices(0)))

    def contender(run: Callable[[Any, int], Any], window: Window | None) -> Callable[[int], Any]:
        state, step = fresh(), 0

        def call(steps: int) -> Any:
            nonlocal state, step
            state, metrics = run(state, step)
            step += steps
            if window is not None:
                window.add(step, metrics)
                if step % 50 == 0:
                    window.row()
            return metrics

        return call

    feed = ResidentFeed(batches, arrays, device_map)
    one = feed.bind(packed, donate=True)
    several = ResidentFeed(batches, arrays, device_map).bind_many(packed, many)
    return {
        "bare step": (contender(lambda state, _: bare(state, *placed), None), 1),
        "feed": (contender(one, None), 1),
        "feed, window": (
            contender(
                ResidentFeed(batches, arrays, device_map).bind(packed, donate=True),
                Window(task, 10, pack.unpacked),
            ),
            1,
        ),
        f"{many} a dispatch": (contender(several, None), many),
        f"{many} a dispatch, window": (
            contender(
                ResidentFeed(batches, arrays, device_map).bind_many(packed, many),
                Window(task, 10, pack.unpacked),
            ),
            many,
        ),
    }


if __name__ == "__main__":
    main()
