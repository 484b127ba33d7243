"""detections.json: scored against the data set's own annotations, and for files of any other origin."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxcv.data import COCODetection
from jaxcv.tasks.detection.coco_results import CocoTable, known_images

SIZE = (40, 50)  # height, width


def write(root, names, first_id, name):
    """Pictures of (height, width) SIZE with a box each, under falling ids that are no file's number."""
    (root / name).mkdir(parents=True)
    images, annotations = [], []
    for i, file in enumerate(names):
        (root / name / file).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((*SIZE, 3), i, np.uint8)).save(root / name / file)
        image_id = first_id - 3 * i
        images.append({"id": image_id, "file_name": file, "height": SIZE[0], "width": SIZE[1]})
        annotations.append(
            {
                "id": i + 1,
                "image_id": image_id,
                "category_id": 7 + 2 * (i % 2),
                "bbox": [3 * i + 0.25, 2, 10 + i, 20],
                "area": 20 * (10 + i),
                "iscrowd": 0,
            }
        )
    categories = [{"id": 9, "name": "nine"}, {"id": 7, "name": "seven"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def data(tmp_path):
    """Training, validation and test files with ids 900.., 600.. and 500.., of names in no order."""
    write(tmp_path, ["t1.png", "t0.png"], 900, "train")
    write(tmp_path, ["d.png", "c.png"], 600, "val")
    write(tmp_path, ["c.png", "b.png", "a.png", "more/e.png"], 500, "test")
    return COCODetection(
        images=str(tmp_path / "train"),
        annotations=str(tmp_path / "train.json"),
        validation_images=str(tmp_path / "val"),
        validation_annotations=str(tmp_path / "val.json"),
        test_images=str(tmp_path / "test"),
        test_annotations=str(tmp_path / "test.json"),
    )


def perfect(data, files, truth_of):
    """The table of a perfect detector; `truth_of` says by which record a file is judged."""
    sources = [data.open(split) for split in ("train", "test", "validation")]
    table = CocoTable(sources[0].class_names, sources[0].category_ids, known_images(sources))
    for file in files:
        record = truth_of(file)
        found = record["classes"] >= 0
        boxes, classes = record["boxes"][found], record["classes"][found]
        table.add(file, SIZE, boxes, np.full(len(boxes), 0.9), classes)
    return json.loads(json.dumps(table.content()))


def records(data, split):
    source = data.open(split)
    return {source.record_name(i).rpartition("/")[2]: source[i] for i in range(len(source))}


def average_precision(annotation_file, detections):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotation_file)
        evaluation = COCOeval(truth, truth.loadRes(detections["annotations"]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_perfect_boxes_score_one_against_the_data_sets_own_annotations(data, split, tmp_path):
    truth = records(data, split)
    source = data.open(split)
    files = sorted(source.record_name(i) for i in range(len(source)))
    content = perfect(data, files, lambda file: truth[file.rpartition("/")[2]])
    own = {"train": "train", "validation": "val", "test": "test"}[split]
    assert average_precision(str(tmp_path / f"{own}.json"), content) == pytest.approx(1.0)
    assert f"{len(files)} images have their ids of {tmp_path / own}.json" in str(content["info"])


def spelt(file, tmp_path):
    return file.replace("/test/", "/test/../test/./")


def copied(file, tmp_path):
    where = tmp_path / "copy" / file.rpartition("/")[2]
    where.parent.mkdir(exist_ok=True)
    shutil.copyfile(file, where)
    return str(where)


def linked(file, tmp_path):
    where = tmp_path / "links" / f"x{file.rpartition('/')[2]}"
    where.parent.mkdir(exist_ok=True)
    where.symlink_to(file)
    return str(where)


@pytest.mark.parametrize("path_of", [spelt, copied, linked])
def test_pictures_are_known_by_any_path(data, path_of, tmp_path):
    """Of a copy of c.png, of which there is another in the validation set, the origin is unknown."""
    source, truth = data.open("test"), records(data, "test")
    files = [source.record_name(i) for i in range(len(source))]
    if path_of is copied:
        files = [file for file in files if not file.endswith("/c.png")]
    paths = {path_of(file, tmp_path): file for file in sorted(files)}
    content = perfect(data, list(paths), lambda path: truth[paths[path].rpartition("/")[2]])
    own = {source.record_name(i): int(source.image_ids[i]) for i in range(len(source))}
    assert [image["id"] for image in content["images"]] == [own[file] for file in paths.values()]


def test_foreign_files_have_numbers_that_the_data_set_does_not_use(data, tmp_path):
    """A file of a known name but another size, one of a name that two have, one of another name."""
    known = data.open("test").record_name(1)
    foreign = [str(tmp_path / name) for name in ("c.png", "z.png")]
    truth = records(data, "test")["b.png"]
    content = perfect(data, [foreign[0], known, foreign[1]], lambda file: truth)
    assert [image["id"] for image in content["images"]] == [901, 497, 902]
    assert "1 images have their ids of" in content["info"]["description"]
    assert "2 others are numbered from 901" in content["info"]["description"]
    assert {a["image_id"] for a in content["annotations"]} == {901, 497, 902}


def test_a_known_name_of_another_size_or_claimed_twice_is_foreign(data, tmp_path):
    known = known_images([data.open("test")])
    keys = ["key 1", "key 2", "key 3"]
    found = known.own_ids(["x/a.png", "y/b.png", "z/b.png"], keys, [(1, 1), SIZE, SIZE])
    assert found == [None, None, None]
    assert known.own_ids(["x/a.png"], ["key 1"], [SIZE]) == [(str(tmp_path / "test.json"), 494)]


def test_one_id_for_two_pictures_numbers_all_anew(data, tmp_path):
    content = json.loads((tmp_path / "train.json").read_text())
    for entry in content["images"]:
        entry["id"] -= 400  # 500 and 497 are in the test file too
    for entry in content["annotations"]:
        entry["image_id"] -= 400
    (tmp_path / "train.json").write_text(json.dumps(content))
    truth = records(data, "test")["b.png"]
    files = [data.open(split).record_name(i) for split in ("train", "test") for i in range(2)]
    content = perfect(data, files, lambda file: truth)
    assert [image["id"] for image in content["images"]] == [1, 2, 3, 4]
    said = content["info"]["description"]
    assert "numbered anew" in said
    assert f"{tmp_path / 'test.json'} and {tmp_path / 'train.json'}" in said


def test_a_file_that_comes_twice_is_one_image(data):
    file = data.open("test").record_name(1)
    truth = records(data, "test")["b.png"]
    content = perfect(data, [file, file.replace("/test/", "/test/./")], lambda file: truth)
    assert [image["id"] for image in content["images"]] == [497]
    assert len(content["annotations"]) == 1


def test_without_annotations_images_are_numbered_from_one():
    table = CocoTable(("a",), (1,))
    for name in ("x.png", "y.png"):
        table.add(name, SIZE, np.array([[1.0, 2, 3, 4]]), np.array([0.5]), np.array([0]))
    content = table.content()
    assert [image["id"] for image in content["images"]] == [1, 2]
    assert [a["image_id"] for a in content["annotations"]] == [1, 2]
    assert "none is known" in content["info"]["description"]
