"""Ready pieces of trainers' configurations, with the classes in the exact order of the export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

Kind = Literal["dota", "dior", "hrsc"]


def ultralytics_yaml(names: Sequence[str], train: Sequence[str] = ("images",), val: Sequence[str] = (), root: str = ".") -> str:
    """The `data.yaml` of ultralytics, for YOLO and YOLO-OBB folders.

    Args:
        names: Classes in order; class 0 is the first.
        train: Folders of training pictures relative to `root`: real and synthetic ones may be listed side by side.
        val: Folders of pictures to validate on: real ones only. Without any, the key names the training pictures, since it must exist.
        root: The folder that the others are relative to.
    """

    def listed(folders: Sequence[str]) -> str:
        return "[" + ", ".join(_quoted(folder) for folder in folders) + "]" if len(folders) != 1 else _quoted(folders[0])

    lines = [f"path: {_quoted(root)}", f"train: {listed(train)}"]
    lines += [f"val: {listed(val)}"] if val else [f"val: {listed(train)}  # replace by real pictures: never validate on synthetic ones"]
    lines += [f"nc: {len(names)}", "names:", *(f"  {place}: {_quoted(name)}" for place, name in enumerate(names))]
    return "\n".join(lines) + "\n"


def mmrotate_config(names: Sequence[str], kind: Kind, root: str = "data/") -> str:
    """A dataset fragment for MMRotate 1.x, or 0.3 by the comment in it; turned boxes.

    Args:
        names: Classes in order.
        kind: Format of the export.
        root: Folder of the export, as the trainer sees it.
    """
    dataset, labels, pictures = {
        "dota": ("DOTADataset", "labelTxt/", "images/"),
        "dior": ("DIORDataset", "ImageSets/Main/trainval.txt", "JPEGImages/"),
        "hrsc": ("HRSCDataset", "ImageSets/trainval.txt", "AllImages/"),
    }[kind]
    prefix = {"hrsc": "sub_data_root='./'"}.get(kind, f"img_path={pictures!r}")
    more = {
        "dota": ["    img_suffix='png',"],
        "dior": ["    ann_subdir='Annotations/',", "    ann_type='obb',"],
        "hrsc": ["    ann_subdir='Annotations',", "    img_subdir='AllImages',", "    img_suffix='bmp',", "    classwise=True,"],
    }[kind]
    lines = [
        "# MMRotate 1.x. For 0.3: ann_file is the folder of the label files and img_prefix that of the pictures.",
        f"classes = {_tuple(names)}",
        "train_dataset = dict(",
        f"    type={dataset!r},",
        f"    data_root={root!r},",
        f"    ann_file={labels!r},",
        f"    data_prefix=dict({prefix}),",
        *more,
        "    metainfo=dict(classes=classes),",
        "    filter_cfg=dict(filter_empty_gt=False),",
        ")",
        "# Real and synthetic pictures together: dict(type='ConcatDataset', datasets=[real_dataset, train_dataset]).",
    ]
    return "\n".join(lines) + "\n"


def mmdetection_config(names: Sequence[str], root: str = "data/") -> str:
    """A dataset fragment for MMDetection 3.x, for COCO exports.

    Args:
        names: Classes in order.
        root: Folder of the export, as the trainer sees it.
    """
    lines = [
        "# MMDetection 3.x. The corners of turned boxes are in `segmentation`, where MMRotate's ConvertMask2BoxType finds them.",
        f"classes = {_tuple(names)}",
        "train_dataset = dict(",
        "    type='CocoDataset',",
        f"    data_root={root!r},",
        "    ann_file='annotations.json',",
        "    data_prefix=dict(img='images/'),",
        "    metainfo=dict(classes=classes),",
        "    filter_cfg=dict(filter_empty_gt=False),",
        ")",
        "# Real and synthetic pictures together: dict(type='ConcatDataset', datasets=[real_dataset, train_dataset]).",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a YAML string too, whatever is in it.
    return json.dumps(text, ensure_ascii=False)


def _tuple(names: Sequence[str]) -> str:
    return "(" + "".join(f"{name!r}, " for name in names).rstrip() + ")"
