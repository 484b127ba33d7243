"""Folders of images and masks, TFDS masks, and label maps in batches."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from jaxcv.data import (
    CAMVID,
    CITYSCAPES,
    PETS,
    TFDS,
    VOC,
    Batches,
    DecodeError,
    MaskFolder,
    TFDSSegmentation,
    class_colors,
    encode_mask,
    materialize,
)
from jaxcv.data.orientation import upright_pixels
from tests.data.painted import encoded
from tests.data.written_images import tiff

CLASSES = ("sky", "road", "car")


def write_pair(root, name, mask=None, size=(6, 8), images="images", masks="masks", ends=("", "")):
    """One image whose red is 80 times its class, and the mask; returns the mask's path."""
    if mask is None:
        mask = np.random.default_rng(len(name)).integers(0, 3, size).astype(np.uint8)
    image_path = root / images / f"{name}{ends[0]}.png"
    mask_path = root / masks / f"{name}{ends[1]}.png"
    for path in (image_path, mask_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    red = np.where(mask < 3, mask * 80, 0).astype(np.uint8)
    Image.fromarray(np.dstack([red, red, red])).save(image_path)
    mask_path.write_bytes(encode_mask(mask))
    return mask_path


def folder(root, **options):
    given = {"images": str(root / "images"), "masks": str(root / "masks"), "class_names": CLASSES}
    return MaskFolder(**{**given, **options})


def names(source):
    return [source.record_name(i).split("/")[-1].split(".")[0] for i in range(len(source))]


# ---- MaskFolder --------------------------------------------------------------------------------


def test_images_and_masks_are_paired_by_name(tmp_path):
    for i in range(10):
        write_pair(tmp_path, f"{'ab'[i % 2]}/{i}")
    write_pair(tmp_path, "masked_only")
    (tmp_path / "images" / "masked_only.png").unlink()
    data = folder(tmp_path)
    train, test = data.open("train"), data.open("test")
    assert (len(train), len(test)) == (8, 2)
    assert sorted(names(train) + names(test)) == [str(i) for i in range(10)]
    for source in (train, test):
        assert source.class_names == CLASSES
        for i in range(len(source)):
            record = source[i]
            assert record["label"].dtype == np.uint8
            np.testing.assert_array_equal(record["label"] * 80, record["image"][..., 0])
    # Where a record is depends on its name alone.
    write_pair(tmp_path, "a/10")
    assert len(set(names(data.open("test"))) & set(names(test))) >= 1


def test_folders_of_their_own_and_lists(tmp_path):
    for i in range(6):
        write_pair(tmp_path, str(i))
        write_pair(tmp_path, f"t{i}", images="test_images", masks="test_masks")
    own = {"test_images": str(tmp_path / "test_images"), "test_masks": str(tmp_path / "test_masks")}
    data = folder(tmp_path, **own)
    assert names(data.open("train")) == list("012345")
    assert names(data.open("test")) == [f"t{i}" for i in range(6)]
    (tmp_path / "test.txt").write_text("3\n5.png\n\n")
    (tmp_path / "val.txt").write_text("1\n")
    lists = {"test_list": str(tmp_path / "test.txt"), "validation_list": str(tmp_path / "val.txt")}
    data = folder(tmp_path, **lists)
    assert [names(data.open(s)) for s in ("train", "validation", "test")] == [
        list("024"),
        ["1"],
        list("35"),
    ]
    (tmp_path / "train.txt").write_text("0 1\n4 1\n")  # what follows the name is passed over
    data = folder(tmp_path, train_list=str(tmp_path / "train.txt"), **lists)
    assert names(data.open("train")) == list("04")


def test_layout_of_pascal_voc(tmp_path):
    """Palette masks with 255, images without masks, lists of names."""
    mask = np.asarray([[0, 15, 255], [20, 1, 0]], np.uint8)
    write_pair(tmp_path, "2007_000001", mask, images="JPEGImages", masks="SegmentationClass")
    write_pair(tmp_path, "2007_000002", mask[::-1], images="JPEGImages", masks="SegmentationClass")
    write_pair(tmp_path, "2007_000003", mask, images="JPEGImages", masks="elsewhere")
    for name, number in (("train", 1), ("val", 2)):
        (tmp_path / f"{name}.txt").write_text(f"2007_00000{number}\n")
    data = folder(
        tmp_path,
        images=str(tmp_path / "JPEGImages"),
        masks=str(tmp_path / "SegmentationClass"),
        class_names=VOC.class_names,
        train_list=str(tmp_path / "train.txt"),
        test_list=str(tmp_path / "val.txt"),
    )
    np.testing.assert_array_equal(data.open("train")[0]["label"], mask)
    np.testing.assert_array_equal(data.open("test")[0]["label"], mask[::-1])


def test_layout_of_cityscapes(tmp_path):
    """Suffixes, folders of cities, other files beside the masks, ids to classes."""
    mask = np.asarray([[7, 8, 33], [0, 4, 30]], np.uint8)
    for part in ("train", "val"):
        where = {"images": f"leftImg8bit/{part}", "masks": f"gtFine/{part}"}
        write_pair(tmp_path, "ulm/ulm_1", mask, **where, ends=("_leftImg8bit", "_gtFine_labelIds"))
        beside = tmp_path / where["masks"] / "ulm"
        (beside / "ulm_1_gtFine_color.png").write_bytes(b"")
        (beside / "ulm_1_gtFine_polygons.json").write_text("{}")
    data = MaskFolder(
        images=str(tmp_path / "leftImg8bit" / "train"),
        masks=str(tmp_path / "gtFine" / "train"),
        test_images=str(tmp_path / "leftImg8bit" / "val"),
        test_masks=str(tmp_path / "gtFine" / "val"),
        image_suffix="_leftImg8bit",
        mask_suffix="_gtFine_labelIds",
        class_names=CITYSCAPES.class_names,
        class_values=CITYSCAPES.class_values,
        ignore_values=CITYSCAPES.ignore_values,
    )
    for split in ("train", "test"):
        assert data.open(split)[0]["label"].tolist() == [[0, 1, 18], [255, 255, 255]]


def test_masks_beside_their_images_in_one_folder(tmp_path):
    for i in range(5):
        write_pair(tmp_path, str(i), images="all", masks="all", ends=("", "_mask"))
    both = str(tmp_path / "all")
    data = folder(tmp_path, images=both, masks=both, mask_suffix="_mask", test_fraction=0.2)
    assert len(data.open("train")) == 4


def test_colour_masks_need_their_palette(tmp_path):
    palette = tuple(tuple(map(int, color)) for color in class_colors(4)[1:])
    mask = np.asarray([[0, 1], [2, 255]], np.uint8)
    for name in "abcde":
        path = write_pair(tmp_path, name, mask)
        colors = np.where(mask[..., None] == 255, 0, class_colors(4)[np.minimum(mask + 1, 3)])
        Image.fromarray(colors.astype(np.uint8)).save(path)
    data = folder(tmp_path, palette=palette, ignore_colors=((0, 0, 0),))
    np.testing.assert_array_equal(data.open("train")[0]["label"], mask)
    with pytest.raises(ValueError, match=r"masks/a\.png: is a colour mask .*palette"):
        folder(tmp_path).open("train")
    with pytest.raises(ValueError, match=r"masks/.\.png: colour \(0, 0, 0\) at row 1, column 1"):
        folder(tmp_path, palette=palette).open("train")[0]


def test_sizes(tmp_path):
    for i, size in enumerate([(6, 8), (8, 6), (9, 9), (30, 10)]):
        write_pair(tmp_path, str(i), size=size)
    with pytest.raises(ValueError, match=r"image is uint8 .* give the data set a size"):
        materialize(folder(tmp_path, test_fraction=0.0).open("train"))
    data = folder(tmp_path, test_fraction=0.0, size=(12, 16), fit="pad", channels=1)
    arrays = materialize(Batches(data.open("train"), 2, shuffle=False, ignore_label=255))
    assert arrays["image"].shape == (4, 12, 16, 1)
    assert arrays["label"].shape == (4, 12, 16)
    # The first is enlarged as it is, the others have black and ignored sides.
    assert [(label == 255).mean() for label in arrays["label"]] == [0, 0.4375, 0.25, 0.75]


def test_exif_orientation_turns_the_image_and_so_the_size_that_is_compared(tmp_path):
    write_pair(tmp_path, "0", size=(8, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "images" / "0.png"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    record = folder(tmp_path, test_fraction=0.0).open("train")[0]
    np.testing.assert_array_equal(record["label"] * 80, record["image"][..., 0])
    with pytest.raises(ValueError, match="of one size"):
        folder(tmp_path, test_fraction=0.0, apply_exif=False).open("train")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_tiffs_and_their_masks(tmp_path, orientation):
    """Both are turned once, at every size: each label lies where its level does."""
    rng = np.random.default_rng(orientation)
    levels = rng.integers(0, 3, (6, 9)).astype(np.uint16)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    image = tiff(levels * 1285, 12, orientation=orientation, rows_per_strip=4)
    (tmp_path / "images" / "0.tif").write_bytes(image)
    for white_is_zero in (False, True):
        photometric = 0 if white_is_zero else 1
        mask = tiff(levels.astype(np.uint8), 4, orientation=orientation, photometric=photometric)
        (tmp_path / "masks" / "0.tif").write_bytes(mask)
        for size in (None, 18, (12, 18), (5, 4)):
            data = folder(tmp_path, test_fraction=0.0, size=size, fit="stretch", channels=1)
            record = data.open("train")[0]
            shown = record["image"][..., 0]
            assert record["label"].shape == shown.shape
            if size is None:
                np.testing.assert_array_equal(record["label"] * 80, shown)  # 1285 of 4095
                turned = orientation >= 5
                assert shown.shape == ((9, 6) if turned else (6, 9))


def test_bad_files_are_named(tmp_path):
    for i in range(3):
        write_pair(tmp_path, str(i))
    data = folder(tmp_path, test_fraction=0.0)
    masks, images = tmp_path / "masks", tmp_path / "images"

    def message(error=ValueError, index=None, **options):
        with pytest.raises(error) as caught:
            dataclasses.replace(data, **options).open("train")[index]
        assert "\n" not in str(caught.value)
        return str(caught.value)

    good = (masks / "1.png").read_bytes()
    (masks / "1.png").unlink()
    assert f"{images / '1.png'}: its mask is missing; wanted {masks / '1'}.png" in message()
    assert "1 of 3 images have none" in message()
    (masks / "1.png").write_bytes(encode_mask(np.zeros((6, 9), np.uint8)))
    wanted = f"{masks / '1.png'}: the mask is 6 x 9 pixels (height x width), but its image is 6 x 8"
    assert wanted in message()
    assert wanted in message(check_files=False, index=1)
    (masks / "1.png").write_bytes(encode_mask(np.full((6, 8), 3, np.uint8)))
    assert f"{masks / '1.png'}: value 3 at row 0, column 0 (48 of 48" in message(index=1)
    (masks / "1.png").write_bytes(good[:-30])
    assert f"{masks / '1.png'}: the PNG is cut off" in message(DecodeError, index=1)
    (masks / "1.png").write_bytes(good)
    source = data.open("train")
    (masks / "1.png").unlink()
    with pytest.raises(DecodeError, match=r"masks/1\.png: cannot be read"):
        source[1]
    (masks / "1.png").write_bytes(good)
    (masks / "1.gif").write_bytes(good)
    assert "there is 1.gif of the same name" in message()


def test_wrong_settings(tmp_path):
    write_pair(tmp_path, "one")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "list.txt").write_text("one\nonn\n")

    def message(split="train", **options):
        with pytest.raises(ValueError) as caught:
            folder(tmp_path, **options).open(split)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "nowhere: no such folder" in message(images=str(tmp_path / "nowhere"))
    assert "there are no images in it" in message(images=str(tmp_path / "empty"))
    assert "whose names end with '_rgb'" in message(image_suffix="_rgb")
    assert "line 2: there is no image 'onn'; did you mean 'one'?" in message(
        "test", test_list=str(tmp_path / "list.txt")
    )
    assert "no names in it" in message("test", test_list=str(tmp_path / "empty.txt"))
    assert "cannot be read as a list" in message("test", test_list=str(tmp_path / "no.txt"))
    assert "both test_images and test_masks" in message(test_images=str(tmp_path / "images"))
    assert "the test set must be too" in message(train_list=str(tmp_path / "list.txt"))
    assert "no split 'validation'; it has 'train' and 'test'" in message("validation")
    assert "class_values has 1 entries for 3 classes" in message(class_values=(1,))


def test_names_with_blanks_in_lists(tmp_path):
    every = ("img", "img 1", "img 2", "Jose\u0301", "other")
    for name in every:
        write_pair(tmp_path, name)
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("\ufeffimg 1.png\r\nimg 2.png\r\nJos\u00e9.png\r\n", encoding="utf-8")
    test.write_text("other\n")
    data = folder(tmp_path, train_list=str(train), test_list=str(test))
    assert names(data.open("train")) == ["Jose\u0301", "img 1", "img 2"]
    assert names(data.open("test")) == ["other"]
    rest = dataclasses.replace(data, train_list=None)
    assert sorted(names(rest.open("train"))) == sorted(set(every) - {"other"})
    train.write_text("img 3.png\n")
    with pytest.raises(ValueError, match=r"train\.txt: line 1: there is no image 'img 3\.png'"):
        data.open("train")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_image_in_two_parts_is_refused(tmp_path, split):
    for i in range(5):
        write_pair(tmp_path, str(i))
        write_pair(tmp_path, f"inner/{i}")
    lists = {}
    for part, text in (("train", "0\n1\n2\n"), ("validation", "3\n"), ("test", "2.png\n4\n1\n")):
        (tmp_path / f"{part}.txt").write_text(text)
        lists[f"{part}_list"] = str(tmp_path / f"{part}.txt")
    with pytest.raises(
        ValueError, match=r"train .* and test .* have 2 of 3 and 3 names in common: '1', '2'"
    ):
        folder(tmp_path, **lists).open(split)
    (tmp_path / "test.txt").write_text("3\n")
    for train_list in (lists["train_list"], None):
        given = {**lists, "train_list": train_list}
        with pytest.raises(ValueError, match=r"validation .* and test .* in common: '3'"):
            folder(tmp_path, **given).open(split)
    if split == "validation":
        return
    # Folders: the same, one in the other, one that links to the other.
    (tmp_path / "link").symlink_to(tmp_path / "images")
    for images, masks in (("images", "masks"), ("images/inner", "masks/inner"), ("link", "masks")):
        own = {"test_images": str(tmp_path / images), "test_masks": str(tmp_path / masks)}
        with pytest.raises(ValueError, match=r"train \(.*images\) and test \(.*\) have \d+ of 10"):
            folder(tmp_path, **own).open(split)
    # A list of each makes them two.
    (tmp_path / "test.txt").write_text("3\n4\n")
    own = {
        "test_images": str(tmp_path / "images/inner"),
        "test_masks": str(tmp_path / "masks/inner"),
    }
    data = folder(tmp_path, train_list=lists["train_list"], test_list=lists["test_list"], **own)
    assert len(data.open(split)) == {"train": 3, "test": 2}[split]


def test_files_that_are_no_images_are_said(tmp_path, caplog):
    for i in range(4):
        write_pair(tmp_path, str(i))
    for file in ("images/a.psd", "images/Thumbs.db", "masks/0.json", "masks/._0.png"):
        (tmp_path / file).write_bytes(b"")
    assert len(folder(tmp_path, test_fraction=0.0).open("train")) == 4
    (record,) = caplog.records
    assert record.getMessage() == f"{tmp_path / 'images'}: 1 file passed over: 1 .psd (a.psd)"


# ---- label maps in batches ---------------------------------------------------------------------


class Maps:
    """Label maps given in memory."""

    class_names = CLASSES

    def __init__(self, maps):
        self.maps = maps

    def __len__(self):
        return len(self.maps)

    def __getitem__(self, index):
        return {"image": np.zeros((4, 5, 3), np.uint8), "label": self.maps[index]}

    def record_name(self, index):
        return f"maps[{index}]"


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_label_maps_are_checked(dtype):
    labels = np.zeros((3, 4, 5), dtype)
    labels[0] = 255  # all ignored: valid
    labels[1, 2, 3] = 2
    batch = Batches(Maps(labels), 3, shuffle=False, ignore_label=255)[0]
    np.testing.assert_array_equal(batch["label"], labels)
    assert batch["label"].dtype == dtype
    labels[2, 1:3, 4] = 3
    with pytest.raises(
        ValueError,
        match=r"^maps\[2\]: label 3 at \[1, 4\] \(2 of 20; ignored is 255\) is outside",
    ):
        Batches(Maps(labels), 3, shuffle=False, ignore_label=255)[0]
    with pytest.raises(ValueError, match=r"^maps\[0\]: label 255 at .*ignored is None\)"):
        Batches(Maps(labels), 3, shuffle=False)[0]


def test_classes_of_boxes_are_checked():
    class Boxes(Maps):
        def __getitem__(self, index):
            return {"image": np.zeros((4, 5, 3), np.uint8), "classes": self.maps[index]}

    assert Batches(Boxes(np.asarray([[2, 0, -1]])), 1, shuffle=False)[0]["classes"].shape == (1, 3)
    with pytest.raises(ValueError, match=r"^maps\[0\]: class 3 at \[1\] \(1 of 3; ignored is -1\)"):
        Batches(Boxes(np.asarray([[2, 3, -1]])), 1, shuffle=False)[0]


# ---- TFDS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared_masks(tmp_path_factory):
    """Folder of prepared data sets with "tiny_masks": 4 + 2 records, masks 1, 2, 3 of two kinds."""
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)

    class TinyMasks(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(None, None, 3)),
                        "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
                        "plain": tfds.features.Tensor(shape=(6, 8), dtype=np.uint8),
                        "label": tfds.features.ClassLabel(names=["a"]),
                    }
                ),
            )

        def _split_generators(self, download_manager):
            return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

        def _generate_examples(self, count):
            for i in range(count):
                mask = rng.integers(1, 4, (6, 8, 1)).astype(np.uint8)
                picture = io.BytesIO()
                Image.fromarray(np.repeat(mask * 80, 3, -1)).save(picture, "PNG")
                values = {
                    "image": picture.getvalue(),
                    "segmentation_mask": encode_mask(mask[..., 0]),
                }
                yield i, {**values, "plain": mask[..., 0], "label": 0}

    data_dir = tmp_path_factory.mktemp("prepared_masks")
    builder = TinyMasks(data_dir=str(data_dir), file_format="array_record")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    return str(data_dir)


@pytest.mark.parametrize("key", ["segmentation_mask", "plain"])
def test_tfds_masks(prepared_masks, key):
    data = TFDSSegmentation(
        name="tiny_masks",
        data_dir=prepared_masks,
        label_key=key,
        class_names=PETS.class_names,
        class_values=PETS.class_values,
    )
    for split, count in (("train", 4), ("test", 2)):
        source = data.open(split)
        assert (len(source), source.class_names) == (count, PETS.class_names)
        for record in source.__getitems__(range(count)):
            np.testing.assert_array_equal((record["label"] + 1) * 80, record["image"][..., 0])
    padded = dataclasses.replace(data, size=8, fit="pad").open("test")[0]
    assert (padded["label"][[0, -1]] == 255).all()
    assert not (padded["label"][1:-1] == 255).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_values": None}, r"tiny_masks:1\.0\.0 train\[0\]: value 3 at row"),
        ({"label_key": "label"}, "feature 'label' of 'tiny_masks' is not a label map"),
        ({"label_key": "segmentation_labels"}, "no feature 'segmentation_labels'; it has image,"),
        ({"class_names": ("a",)}, "class_values has 3 entries for 1 classes"),
    ],
)
def test_tfds_masks_wrong(prepared_masks, options, message):
    settings = {
        "name": "tiny_masks",
        "data_dir": prepared_masks,
        "label_key": "segmentation_mask",
        "class_names": PETS.class_names,
        "class_values": PETS.class_values,
        **options,
    }
    with pytest.raises(ValueError, match=message):
        materialize(TFDSSegmentation(**settings).open("train"))


def test_a_mask_is_no_class_for_tfds(prepared_masks):
    data = TFDS(name="tiny_masks", data_dir=prepared_masks, label_key="segmentation_mask")
    with pytest.raises(ValueError, match="read by TFDSSegmentation"):
        data.open("train")


def test_camvid(real_data):
    data = TFDSSegmentation(
        name="camvid",
        data_dir=real_data("camvid"),
        class_names=CAMVID.class_names,
        ignore_values=CAMVID.ignore_values,
    )
    validation = dataclasses.replace(data, test_split="val")
    sources = data.open("train"), validation.open("test"), data.open("test")
    assert [len(source) for source in sources] == [367, 101, 233]
    batch = Batches(sources[0], 16, shuffle=True, ignore_label=255)[2]
    assert batch["image"].shape == (16, 180, 240, 3)
    assert batch["label"].shape == (16, 180, 240)
    assert set(np.unique(batch["label"])) <= {*range(11), 255}
    # Sky is above, road below.
    rows = np.indices(batch["label"].shape)[1]
    road, sky = (rows[batch["label"] == CAMVID.class_names.index(c)] for c in ("road", "sky"))
    assert sky.mean() < 60 < 120 < road.mean()


# ---- Image and mask turn together ----------------------------------------------------------------

# No turn of it looks like another, nor of its first 32 columns.
STEPS = np.repeat(np.repeat(np.array([[1, 2, 2], [3, 2, 1]], np.uint8), 16, 0), 16, 1)


def level(mask):
    """The picture of a mask: grey levels by which its classes are told."""
    return np.repeat(mask[..., None] * np.uint8(80), 3, -1)


@pytest.fixture(scope="module")
def prepared_turned_masks(tmp_path_factory):
    """ "turned_masks": pictures with the EXIF orientations 1 to 8, and masks of the stored pixels."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
        "plain": tfds.features.Tensor(shape=(None, None), dtype=np.uint8, encoding="zlib"),
    }

    class TurnedMasks(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features_dict = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features_dict)

        def _split_generators(self, download_manager):
            return {
                "train": self._generate_examples(STEPS),
                "test": self._generate_examples(STEPS[:, :32]),
            }

        def _generate_examples(self, mask):
            for orientation in range(1, 9):
                values = {"image": encoded(level(mask), orientation), "plain": mask}
                yield orientation, {**values, "segmentation_mask": encode_mask(mask)}

    data_dir = str(tmp_path_factory.mktemp("prepared_turned_masks"))
    builder = TurnedMasks(data_dir=data_dir, file_format="array_record")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    return data_dir


def check_together(record):
    levels = record["image"][..., 0].astype(int)
    np.testing.assert_allclose(levels, (record["label"].astype(int) + 1) * 80, atol=12)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("key", ["segmentation_mask", "plain"])
def test_masks_of_tfds_turn_with_their_pictures(prepared_turned_masks, split, key):
    """TFDS decodes both without EXIF: oblong ones did not fit, square and upside-down ones were wrong."""
    data = TFDSSegmentation(
        name="turned_masks",
        data_dir=prepared_turned_masks,
        label_key=key,
        class_names=PETS.class_names,
        class_values=PETS.class_values,
    )
    source = data.open(split)
    shapes = set()
    for i in range(8):
        check_together(source[i])
        shapes.add(source[i]["label"].shape)
    assert len(shapes) == (2 if split == "train" else 1)


def test_masks_of_tfds_on_upright_pictures_where_that_is_said(prepared_turned_masks):
    data = TFDSSegmentation(
        name="turned_masks",
        data_dir=prepared_turned_masks,
        label_key="segmentation_mask",
        class_names=PETS.class_names,
        class_values=PETS.class_values,
        masks_on="upright",
    )
    square = data.open("test")
    for i in range(8):
        np.testing.assert_array_equal(square[i]["label"] + 1, STEPS[:, :32])
    with pytest.raises(ValueError, match="masks_on is 'both', but must be 'upright' or 'stored'"):
        dataclasses.replace(data, masks_on="both").open("test")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("width", [32, 48])
@pytest.mark.parametrize("masks_on", ["upright", "stored"])
def test_masks_in_folders_turn_with_their_pictures(tmp_path, orientation, width, masks_on):
    stored = np.ascontiguousarray(STEPS[:, :width])
    marked = upright_pixels(stored, orientation) if masks_on == "upright" else stored
    for name in "ab":
        for kind, data in (
            ("images", encoded(level(stored), orientation)),
            ("masks", encode_mask(marked)),
        ):
            (tmp_path / kind).mkdir(exist_ok=True)
            suffix = "jpg" if kind == "images" else "png"
            (tmp_path / kind / f"{name}.{suffix}").write_bytes(data)
    values = {"class_names": PETS.class_names, "class_values": PETS.class_values}
    data = folder(tmp_path, masks_on=masks_on, **values)
    check_together(data.open("train")[0])
    if orientation > 4 and width != 32:
        other = "stored" if masks_on == "upright" else "upright"
        with pytest.raises(ValueError, match="if the image is turned by its EXIF.*say by masks_on"):
            folder(tmp_path, masks_on=other, **values).open("train")
    if masks_on == "stored":
        check_together(folder(tmp_path, apply_exif=False, **values).open("train")[0])


def test_a_linked_picture_stays_in_one_split(tmp_path):
    for i in range(10):
        write_pair(tmp_path, f"{i:02}")
    for i in range(10):
        for kind in ("images", "masks"):
            (path,) = (tmp_path / kind).glob(f"{i:02}.*")
            (tmp_path / kind / f"{i + 10}{path.suffix}").symlink_to(path.name)
    data = folder(tmp_path, test_fraction=0.5)
    train, test = (
        {int(name[:2]) % 10 for name in names(data.open(split))} for split in ("train", "test")
    )
    assert len(train) == len(test) == 5
    assert not train & test


def test_without_a_test_set_it_says_so(tmp_path):
    for name in "abc":
        write_pair(tmp_path, name)
    with pytest.raises(ValueError, match=r"of its 3 records, none is for 'test'.*test_fraction"):
        folder(tmp_path, test_fraction=0.0).open("test")
