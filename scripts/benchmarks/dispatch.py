"""What a call costs the host: shard_map and pmap beside jit on a state of 200 leaves, and the loop's feeds.

    python -m scripts.benchmarks.dispatch [--devices 1 8] [--threads 1 --clock cpu] [--json FILE]

First, one small per-device function through `DeviceMap`, by either strategy, beside plain `jax.jit` on
the same placed arrays. Then steps of a tiny MLP on resident data, as the loop makes them, 1, 10 or 50 in
a dispatch, beside bare ones: the compiled program of as many steps, on arguments that are already on the
device. What feed, window and rows of the log add to that is printed in microseconds per step.
Times are of one call or step; each measurement makes `CALLS` of them and waits for the last.
"""

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.benchmarks import contenders
from scripts.benchmarks.contenders import OURS, Row

# Also the steps between two rows of the log.
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
    with tempfile.TemporaryDirectory() as room:
        for many in (1, 10, 50):
            case = f"{many} steps a dispatch of an MLP on resident data"
            rows += measure(training_steps(many, Path(room)), "bare", case, options)
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
        more = round(1e6 * (seconds[OURS] - seconds[base]), 2)
        notes = {f"microseconds more than {base}": more}
        rows.append(dataclasses.replace(row, seconds=seconds, notes=notes))
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


def training_steps(many: int, room: Path) -> dict[str, tuple[Callable[[int], Any], int]]:
    """Steps of a tiny MLP, `many` a dispatch: bare, then with one more part of the loop each."""
    import jax
    import numpy as np

    from jaxcv.data import Batches, Synthetic, materialize
    from jaxcv.models import MLP
    from jaxcv.tasks import Classification
    from jaxcv.train import DeviceMap, Optimizer, create_state, make_train_step
    from jaxcv.train.feed import ResidentFeed, gathered
    from jaxcv.train.logging import MetricLog, ProgressLine
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

    def on_rows(state: Any, arrays: Any, order: Any) -> Any:
        def body(state: Any, chosen: Any) -> Any:
            return packed(state, gathered(arrays, chosen))

        return jax.lax.scan(body, state, order) if many > 1 else body(state, order[0])

    bare = device_map.map(on_rows, (None, None, 2), donate=(0,))
    order = np.stack([*batches.index_table(0, many), batches.epoch_table(0, many)], axis=1)
    placed = (device_map.replicate(arrays), device_map.split(order, axis=2))

    def contender(
        run: Callable[[Any, int], Any],
        window: Window | None = None,
        log: MetricLog | None = None,
        progress: ProgressLine | None = None,
    ) -> tuple[Callable[[int], Any], int]:
        state = device_map.replicate(create_state(model, optimizer, (8, 8, 1), seed=0))
        step = 0

        def call(steps: int) -> Any:
            nonlocal state, step
            state, metrics = run(state, step)
            step += steps
            if window is not None:
                window.add(step, metrics)
                row = window.row() if step % CALLS == 0 else None
                if row and log is not None and progress is not None:
                    progress.step(step, metrics)
                    log.write(step, "train", {**row, **progress.speed()})
                    progress.show(row)
            return metrics

        return call, many

    def fed() -> Callable[[Any, int], Any]:
        feed = ResidentFeed(batches, arrays, device_map)
        return feed.bind_many(packed, many) if many > 1 else feed.bind(packed, donate=True)

    # Lines of progress go to a file, as those of a job in a queue do.
    with contextlib.redirect_stderr((room / "progress.txt").open("w")):
        progress = ProgressLine(10**6, 0, batches.rows)
    log = MetricLog(room, 0)
    return {
        "bare": contender(lambda state, _: bare(state, *placed)),
        "feed": contender(fed()),
        "feed, window": contender(fed(), Window(task, 10, pack)),
        "feed, window, log": contender(fed(), Window(task, 10, pack), log, progress),
    }


if __name__ == "__main__":
    main()
