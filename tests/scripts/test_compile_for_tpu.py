"""What `scripts/compile_for_tpu.py` tells of programs, and that it compiles what a run would."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2]))

from jaxcv.data import Batches, Folder
from jaxcv.models import MLP
from jaxcv.train import Runtime, open_run
from jaxcv.train.feed import StreamFeed
from jaxcv.train.loop import make_advance
from jaxcv.train.window import Packing
from scripts import compile_for_tpu
from scripts.compile_for_tpu import load, merged, presets, table_lines, with_table
from scripts.tpu.described import STORED, described
from scripts.tpu.lowering import lowered_step, memory_wanted
from scripts.tpu.programs import CHIPS, Chip, collectives, loops, roofline_ms, slowest, type_bytes

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "compile_for_tpu.py"

# Cut down from what the TPU compiler prints.
HLO = """
  %while.3 = (s32[]{:T(128)}, u8[16,10,10,1]{2,0,3,1:T(8,128)(4,1)S(1)}) while(%tuple.1), body=%b
  %all-reduce.34 = (s32[1]{0}, f32[10]{0:T(128)S(1)}, /*index=2*/bf16[2,3]{1,0}) all-reduce(%a, %b)
  %get-tuple-element.147 = s32[1]{0:T(128)} get-tuple-element(%all-reduce.34), index=0
  ROOT %psum.7 = f32[256,512]{1,0:T(8,128)} all-reduce(%fusion), channel_id=1, to_apply=%region_2.3
  %all-gather-start = (f32[4,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%x), channel_id=2
  %all-gather-done = f32[16,8]{1,0} all-gather-done(%all-gather-start)
  %scatter.1 = f32[2,8]{1,0} reduce-scatter(%all-gather-done), dimensions={0}
  %fusion.1 = f32[8]{0} fusion(%x), metadata={op_name="jit(step)/relu"}, config={"estimated_cycles":"100"}
  %copy.2 = (f32[8]{0}, f32[]) copy-start(%x), config={"estimated_cycles":"300"}
"""


def test_the_longer_of_arithmetic_and_memory_decides():
    chip = Chip(flops=100e12, bandwidth=1e12)
    assert roofline_ms(chip, 100e12, 0.5e12) == 1000
    assert roofline_ms(chip, 1e12, 0.5e12) == 500
    assert roofline_ms(CHIPS["v5e"], 1.97e12, 0) == pytest.approx(10)
    assert roofline_ms(CHIPS["v5e"], 0, 8.19e9) == pytest.approx(10)


@pytest.mark.parametrize(
    ("hlo_type", "size"),
    [
        ("f32[64,128]{1,0:T(8,128)}", 4 * 64 * 128),
        ("(s32[]{:T(128)}, pred[3]{0}, /*index=2*/bf16[2,5]{1,0:T(8,128)(2,1)S(1)})", 4 + 3 + 20),
        ("f8e4m3fn[10]{0}", 10),
        ("(f64[2]{0}, c64[2]{0}, s4[4]{0}, token[])", 16 + 16 + 2),
    ],
)
def test_bytes_of_a_type(hlo_type, size):
    assert type_bytes(hlo_type) == size


def test_collectives_are_counted_once_each():
    assert collectives(HLO) == {
        "all-reduce": [2, 4 + 40 + 12 + 4 * 256 * 512],
        "all-gather": [1, 4 * 16 * 8],
        "reduce-scatter": [1, 4 * 2 * 8],
    }
    assert loops(HLO) == 1


def test_slowest_instructions_first():
    assert slowest(HLO, 1) == [(0.75, "copy-start (f32[8]{0}, f32[])  ")]
    assert slowest(HLO, 9)[1] == (0.25, "fusion f32[8]{0}  jit(step)/relu")


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
            "(16.00G) exceeds available HBM (15.75G).",
            (16 * 2**30, 15.75 * 2**30),
        ),
        ("Used 512.0M of 0.25G hbm. Exceeded hbm capacity", (2**29, 2**28)),
        ("INTERNAL: something else", None),
    ],
)
def test_a_program_that_is_too_large(message, wanted):
    assert memory_wanted(message) == wanted


ROW = {"preset": "net", "topology": "v5e:2x2", "batch": 2048, "strategy": "pmap"}
COSTS = {
    "seconds": 12.3,
    "arguments": 2**20,
    "temporaries": 1234 * 2**20,
    "total": 45.67 * 2**20,
    "flops": 386.8e9,
    "bytes": 3.3e9,
    "loops": 1,
    "collectives": {"all-reduce": [2, 2**21], "all-gather": [1, 2**19]},
    "roofline_ms": 4.029,
}


def test_rows_with_and_without_figures():
    report = {"rows": [], "versions": {"jax": "1", "libtpu": "2"}}
    _, _, figures, too_large, refused, left_out = table_lines(
        [
            {**ROW, **COSTS},
            {**ROW, "seconds": 7.0, "needs": 35 * 2**30, "of": 15.75 * 2**30},
            {**ROW, "error": "no | way"},
            {**ROW, "left_out": "why"},
        ]
    )
    first = "| `net` | v5e:2x2 | 2,048 | pmap |"
    sums = "all-gather 1, 0.500; all-reduce 2, 2.00"
    assert figures == f"{first} 12 | 1.00 | 1,234 | 45.7 | 387 | 3.30 | 1 | {sums} | 4.03 |"
    assert too_large == f"{first} 7{' | -' * 7} | does not fit: at least 35.00 GiB of 15.75 |"
    assert refused == f"{first}{' - |' * 8} no / way |"
    assert left_out == f"{first}{' - |' * 8} why |"
    for line in (figures, too_large, refused, left_out):
        assert line.count("|") == table_lines([])[0].count("|")
    text = "a\n<!-- compile_for_tpu: begin -->\nold\n<!-- compile_for_tpu: end -->\nb\n"
    page = with_table(text, report)
    assert page.startswith("a\n<!--")
    assert page.endswith("-->\nb\n")
    assert "old" not in page
    assert "Compiled with jax 1, libtpu 2." in page


def test_a_row_takes_the_place_of_the_one_of_the_same_conditions():
    rows = merged([], {**ROW, "seconds": 1})
    rows = merged(rows, {**ROW, "strategy": "shard_map"})
    rows = merged(rows, {**ROW, "batch": 4096})
    rows = merged(rows, {**ROW, "preset": "a"})
    rows = merged(rows, {**ROW, "seconds": 2})
    assert [(row["preset"], row["batch"], row["strategy"]) for row in rows] == [
        ("a", 2048, "pmap"), ("net", 4096, "pmap"), ("net", 2048, "shard_map"), ("net", 2048, "pmap"),
    ]  # fmt: skip
    assert rows[-1]["seconds"] == 2


def test_the_page_shows_the_report():
    page = compile_for_tpu.PAGE.read_text()
    assert with_table(page, json.loads(compile_for_tpu.REPORT.read_text())) == page


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_described_without_its_data(name, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    experiment = load(name)
    record = described(experiment)[0]
    annotations = {*experiment.task.annotations}
    # What a source of one's own may leave out, jaxcv's have.
    assert set(record) == {
        "image",
        *annotations,
        *(["image_size"] if "boxes" in annotations else []),
    }
    assert record["image"].dtype == np.uint8
    assert record["image"].ndim == 3
    size = getattr(experiment.data, "size", None)
    if size is not None:
        assert record["image"].shape[:2] == tuple(np.broadcast_to(size, 2))


@pytest.mark.parametrize("name", ["digits_lenet", "shapes_fcos"])
def test_a_description_is_like_the_data(name):
    experiment = load(name)
    real = experiment.data.open("train")[0]
    if name == "shapes_fcos":
        data = dataclasses.replace(load("bccd_fcos").data, size=96, max_boxes=6)
        experiment = dataclasses.replace(experiment, data=data)
    record = described(experiment, np.shape(real["image"]))[0]
    assert {k: (np.shape(v), np.asarray(v).dtype) for k, v in record.items()} == {
        k: (np.shape(v), np.asarray(v).dtype) for k, v in real.items()
    }


def test_stored_pictures_are_as_tfds_declares_them(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    for name in ("cifar10", "mnist", "fashion_mnist"):
        features = tfds.builder(name, data_dir=tmp_path).info.features
        assert features["image"].shape == STORED[name]


def test_a_data_set_that_does_not_say_its_size():
    experiment = dataclasses.replace(load("face_cnn_64"), data=Folder(root="nowhere"))
    with pytest.raises(ValueError, match="give --image-shape HEIGHT WIDTH CHANNELS"):
        described(experiment)
    assert described(experiment, (5, 6, 3))[0]["image"].shape == (5, 6, 3)


@pytest.mark.parametrize("strategy", compile_for_tpu.STRATEGIES)
def test_what_is_compiled_is_what_a_run_does(strategy):
    experiment = dataclasses.replace(load("digits_lenet"), model=MLP(hidden=(16,)))
    devices = jax.devices()[:4]
    shaped = dataclasses.replace(experiment, data=described(experiment))
    program = lowered_step(shaped, devices, strategy).compile()

    run = open_run(experiment, Runtime(devices=4, strategy=strategy))
    batches: Batches = run.train_batches()
    pack = Packing()
    advance = make_advance(run, StreamFeed(batches, run.device_map), 1, pack)
    state, metrics, _ = advance(run.create_state(), 0, 1)

    batch = run.device_map.split({**batches[0], **batches.origins(0)})
    ours, our_metrics = program(run.create_state(), batch)
    assert our_metrics.keys() == metrics.keys()
    for mine, theirs in zip(jax.tree.leaves(ours.params), jax.tree.leaves(state.params)):
        np.testing.assert_array_equal(mine, theirs)


def test_a_batch_that_the_devices_cannot_divide_among_them():
    experiment = load("bccd_fcos")
    experiment = dataclasses.replace(experiment, batch_size=8, accumulation=3)
    shaped = dataclasses.replace(experiment, data=described(experiment))
    with pytest.raises(ValueError, match="does not divide the 2 rows"):
        lowered_step(shaped, jax.devices()[:4], "shard_map")


def test_lines_for_what_is_not_there(capsys, monkeypatch):
    with pytest.raises(SystemExit, match="there is no preset 'digits'; there are bccd_fcos, "):
        compile_for_tpu.main(["digits"])
    with pytest.raises(SystemExit):
        compile_for_tpu.main([])
    assert "give names of presets" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=f"pip install 'jax\\[tpu\\]=={jax.__version__}'"):
        compile_for_tpu.main(["digits_lenet"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(SystemExit, match="topology 'v9z:2x2' is of no known chip"):
        compile_for_tpu.main(["digits_lenet", "--topology", "v9z:2x2"])


def compile_in_a_process(*words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason=f"no TPU compiler: pip install 'jax[tpu]=={jax.__version__}'",
)
def test_two_presets_compile_for_four_chips(tmp_path):
    report = tmp_path / "report.json"
    done = compile_in_a_process("mlp_28x28", "digits_lenet", "--json", str(report))
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text())["rows"]
    assert done.stdout.splitlines() == table_lines(
        sorted(rows, key=lambda row: row["preset"] == "digits_lenet")
    )
    assert [(row["preset"], row["strategy"]) for row in rows] == [
        ("digits_lenet", "shard_map"), ("digits_lenet", "pmap"),
        ("mlp_28x28", "shard_map"), ("mlp_28x28", "pmap"),
    ]  # fmt: skip
    for row in rows:
        # Weights and momentum, or Adam's two means, of less than a million parameters.
        assert 0 < row["arguments"] < row["total"] < 16 * 2**20
        assert row["collectives"]["all-reduce"][1] > 0
    first, second, third, fourth = rows
    assert first["flops"] == pytest.approx(second["flops"], rel=1e-3)
    # 784 x 128 and 128 x 10 weights, 32 rows, forwards, and backwards once but for the images' gradient.
    wanted = 2 * 32 * (2 * 784 * 128 + 3 * 128 * 10)
    assert wanted <= third["flops"] <= 1.3 * wanted
    assert fourth["flops"] == pytest.approx(third["flops"], rel=1e-3)

    unknown = compile_in_a_process("mlp_28x28", "--topology", "v5e:3x5")
    assert unknown.returncode == 1
    assert "the TPU compiler knows no topology 'v5e:3x5'" in unknown.stderr.splitlines()[-1]
