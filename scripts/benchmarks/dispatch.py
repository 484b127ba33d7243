"""What a call costs the host: jit, shard_map and pmap on a state of 200 leaves, and the loop's feeds.

    python scripts/benchmarks/dispatch.py [--devices 1 8] [--clock cpu]

The first table calls one small per-device function through `DeviceMap`, by either strategy, and through
plain `jax.jit` on the same placed arrays: microseconds per call and the ratio to jit. The second trains
a tiny MLP on resident data: microseconds per step, through the feed that the loop uses, and through the
bare compiled step on arguments that are already on the device; the difference is what the loop adds.
Contenders take turns; a ratio is the median over the rounds of the ratio within a round.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="*", default=[1, 8], help="virtual devices")
    parser.add_argument("--leaves", type=int, default=200)
    parser.add_argument("--calls", type=int, default=50, help="per contender and round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="cpu")
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    jax.config.update("jax_num_cpu_devices", max(options.devices))
    for devices in options.devices:
        contenders = mapped_calls(options.leaves, devices)
        show(f"{options.leaves} leaves, {devices} devices", contenders, "jit", options)
    show("MLP, resident data, per step", training_steps(), "bare step", options)


def show(
    title: str, contenders: dict[str, tuple[Callable[[int], Any], int]], base: str, options: Any
) -> None:
    """Times the contenders, each (call(number of steps), steps in a call), and prints the table."""
    import jax

    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.rounds + 1):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            call, steps = contenders[name]
            start = clock()
            for _ in range(max(1, options.calls // steps)):
                result = call(steps)
            jax.block_until_ready(result)
            each = (clock() - start) / (max(1, options.calls // steps) * steps)
            if turn:  # the first round compiles
                times[name].append(each)
    print(f"{title} ({options.clock} time)")
    for name, values in times.items():
        ratios = [own / other for own, other in zip(values, times[base], strict=True)]
        print(
            f"  {name:24}{statistics.median(values) * 1e6:9.1f} us"
            f"  {statistics.median(ratios):6.2f} x {base}",
            flush=True,
        )


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
        device_map = DeviceMap(jax.devices()[:devices], strategy)  # type: ignore[arg-type]
        mapped = device_map.map(on_device, (None, 0), donate=(0,))
        calls[strategy] = (contender(mapped, device_map), 1)
    device_map = DeviceMap(jax.devices()[:devices])
    calls["jit"] = (contender(jax.jit(whole, donate_argnums=0), device_map), 1)
    return calls


def training_steps(many: int = 50) -> dict[str, tuple[Callable[[int], Any], int]]:
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
