"""Classes of well-known segmentation data sets: names, stored values, customary colours."""

import dataclasses

from jaxcv.data.segmentation.masks import Color, class_colors


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationClasses:
    """What is known of the classes of a data set; the fields have the names of `MaskFolder`'s.

    Attributes:
      class_names: [C] names by label.
      class_values: [C] stored value of each class; None: the label itself.
      ignore_values: stored values that do not count.
      palette: [C] the colours that the data set's own pictures use.

    Example:
      >>> dict(zip(PETS.class_names, PETS.class_values))
      {'pet': 1, 'background': 2, 'border': 3}
    """

    class_names: tuple[str, ...]
    palette: tuple[Color, ...]
    class_values: tuple[int, ...] | None = None
    ignore_values: tuple[int, ...] = ()


def _table(
    rows: dict[str, tuple[int, Color]], ignore_values: tuple[int, ...]
) -> SegmentationClasses:
    return SegmentationClasses(
        class_names=tuple(rows),
        class_values=tuple(value for value, _ in rows.values()),
        palette=tuple(color for _, color in rows.values()),
        ignore_values=ignore_values,
    )


def _colors(count: int) -> tuple[Color, ...]:
    return tuple((int(r), int(g), int(b)) for r, g, b in class_colors(count))


CITYSCAPES = _table(
    {
        "road": (7, (128, 64, 128)),
        "sidewalk": (8, (244, 35, 232)),
        "building": (11, (70, 70, 70)),
        "wall": (12, (102, 102, 156)),
        "fence": (13, (190, 153, 153)),
        "pole": (17, (153, 153, 153)),
        "traffic light": (19, (250, 170, 30)),
        "traffic sign": (20, (220, 220, 0)),
        "vegetation": (21, (107, 142, 35)),
        "terrain": (22, (152, 251, 152)),
        "sky": (23, (70, 130, 180)),
        "person": (24, (220, 20, 60)),
        "rider": (25, (255, 0, 0)),
        "car": (26, (0, 0, 142)),
        "truck": (27, (0, 0, 70)),
        "bus": (28, (0, 60, 100)),
        "train": (31, (0, 80, 100)),
        "motorcycle": (32, (0, 0, 230)),
        "bicycle": (33, (119, 11, 32)),
    },
    ignore_values=(0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30),
)
"""Cityscapes, the 19 classes of its benchmark as stored in `_labelIds` files and in TFDS.

M. Cordts et al., The Cityscapes dataset, CVPR 2016; the table is cityscapesScripts' labels.py.
"""

CAMVID = SegmentationClasses(
    class_names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_values=(11,),
)
"""CamVid in the 11 classes and the order of SegNet, 11 being unlabelled.

G. Brostow et al., Semantic object classes in video, 2009; V. Badrinarayanan et al., SegNet, 2017.
"""

PETS = SegmentationClasses(
    class_names=("pet", "background", "border"),
    class_values=(1, 2, 3),
    palette=((192, 96, 0), (0, 0, 0), (224, 224, 192)),
)
"""Oxford-IIIT Pet, trimaps (O. Parkhi et al., Cats and dogs, CVPR 2012); the colours are ours."""

VOC = SegmentationClasses(
    class_names=(
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "dining table",
        "dog",
        "horse",
        "motorbike",
        "person",
        "potted plant",
        "sheep",
        "sofa",
        "train",
        "tv monitor",
    ),
    palette=_colors(21),
)
"""Pascal VOC segmentation (M. Everingham et al., The Pascal visual object classes, 2015)."""
