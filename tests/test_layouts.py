"""Layouts that people have of the named sets: each opens from its root, or says what to do.

A layout is a list of paths below the folder that a user names; what is written follows from the
ending. Text files are given with their lines.
"""

import gzip
import re
from collections import Counter

import numpy as np
import pytest
import trees

from benchmark.__main__ import main
from benchmark.core.registry import InputError
from benchmark.data import datasets, open_dataset


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path / "data"))


def build(root, paths):
    """Write a file for each path: an image, a mask, a volume, a PCam array, or the lines given."""
    root.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        name, *lines = [path] if isinstance(path, str) else path
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        low = name.lower()
        if place.name.startswith("."):
            place.write_bytes(b"of the operating system")
        elif lines:
            trees.text(place, *lines)
        elif low.endswith((".nii", ".nii.gz")):
            is_truth = re.search("label|_gt|labelstr", low)
            trees.volume(place, trees.shapes([1, 2], np.uint8 if is_truth else np.float32))
        elif low.endswith(".h5"):
            trees.array(place, "y" if low.endswith("_y.h5") else "x")
        elif re.search("mask|truth|manual|segmentation|/gts?/|_gt/", low):
            trees.mask(place)
        elif low.endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")):
            trees.picture(place, 20 + 7 * number % 200)
        else:
            place.write_bytes(b"not a picture")


def below(prefix, paths):
    """Return the same layout one or more folders further down."""
    return [f"{prefix}/{p}" if isinstance(p, str) else (f"{prefix}/{p[0]}", *p[1:]) for p in paths]


JUNK = ["._a.png", ".DS_Store", "__MACOSX/images/._1.png", "Thumbs.db"]
APTOS = [("train.csv", "id_code,diagnosis", "one,0", "two,3.0")]
ACDC = [
    f"{part}/{p}/{p}_frame01{x}.nii.gz"
    for part, p in (("training", "patient001"), ("testing", "patient101"))
    for x in ("", "_gt")
]
CVC_PNG = ["Original/1.png", "Original/27.png", "Ground Truth/1.png", "Ground Truth/27.png"]
CVC_META = ("metadata.csv", "frame_id,sequence_id", "1,1", "27,2")
DDR = [
    (f"{part}.txt", f"{part}.jpg 2", f"u{part}.jpg 5") for part in ("train", "valid", "test")
] + [f"{part}/{name}{part}.jpg" for part in ("train", "valid", "test") for name in ("", "u")]
DRIVE_TRAIN = [
    "training/images/21_training.tif", "training/1st_manual/21_manual1.gif",
    "training/mask/21_training_mask.gif",
]  # fmt: skip
DRIVE_TEST = [
    "test/images/01_test.tif", "test/1st_manual/01_manual1.gif", "test/mask/01_test_mask.gif",
]  # fmt: skip
HAM_LINES = ("lesion_id,image_id,dx", "H1,I1,nv", "H1,I2,nv", "H2,I3,mel")
HAM = ("HAM10000_metadata.csv", *HAM_LINES)
HAM_PARTS = [
    "HAM10000_images_part_1/I1.jpg", "HAM10000_images_part_2/I2.jpg",
    "HAM10000_images_part_2/I3.jpg",
]  # fmt: skip
IDRID = [
    f"1. Original Images/{letter}. {part} Set/IDRiD_001.jpg"
    for letter, part in (("a", "Training"), ("b", "Testing"))
] + [
    (
        f"2. Groundtruths/{letter}. IDRiD_Disease Grading_{part} Labels.csv",
        "Image name,Retinopathy grade,Risk of macular edema ,,", "IDRiD_001,2.0,1,,", ",,,,",
    )
    for letter, part in (("a", "Training"), ("b", "Testing"))
]  # fmt: skip
ISIC16 = [
    f"ISBI2016_ISIC_Part1_{part}_{kind}"
    for part in ("Training", "Test")
    for kind in ("Data/ISIC_1.jpg", "GroundTruth/ISIC_1_Segmentation.png")
]
ISIC18_HEAD = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"


def isic18_truth(folder, part, image):
    """Return the truth of one part of ISIC 2018 in a folder."""
    name = f"{folder}ISIC2018_Task3_{part}_GroundTruth.csv"
    return (name, ISIC18_HEAD, f"{image},0.0,1.0,0.0,0.0,0.0,0.0,0.0")


ISIC18_GROUPS = ("ISIC2018_Task3_Training_LesionGroupings.csv", "image,lesion_id", "A,L1")
ISIC18 = [
    "ISIC2018_Task3_Training_Input/A.jpg", "ISIC2018_Task3_Test_Input/B.jpg",
    isic18_truth("ISIC2018_Task3_Training_GroundTruth/", "Training", "A"),
    isic18_truth("ISIC2018_Task3_Test_GroundTruth/", "Test", "B"),
]  # fmt: skip
MESSIDOR = (
    "messidor_data.csv", "image_id,adjudicated_dr_grade,adjudicated_gradable",
    "l.jpg,0,1", "r.jpg,2,1", "u.png,,0",
)  # fmt: skip
PAIRS = ("messidor-2.csv", "left;right", "l.JPG;r.JPG")
EYES = ["IMAGES/l.JPG", "IMAGES/r.JPG", "IMAGES/u.png"]
MSD = [f"{d}/hippocampus_{n}.nii.gz" for n in ("001", "002") for d in ("imagesTr", "labelsTr")]
NNUNET = [
    "imagesTr/hippocampus_001_0000.nii.gz", "labelsTr/hippocampus_001.nii.gz",
    ("dataset.json", "{}"),
]  # fmt: skip
PARTS = ("train", "valid", "test")
PCAM = [f"camelyonpatch_level_2_split_{p}_{k}.h5" for p in PARTS for k in "xy"]
PCAM_META = [
    (f"camelyonpatch_level_2_split_{p}_meta.csv", "coord_y,coord_x,wsi", f"1,2,slide_{p}",
     f"3,4,slide_{p}")
    for p in PARTS
]  # fmt: skip
SYNAPSE = ["img/img0001.nii.gz", "label/label0001.nii.gz", "img/img0005.nii.gz",
           "label/label0005.nii.gz"]  # fmt: skip
BTCV = [
    f"{folder}Tr/{kind}{n}.nii.gz"
    for n in ("0001", "0005")
    for folder, kind in (("images", "img"), ("labels", "label"))
]
BUSI = [f"{c}/{c} (1){x}.png" for c in ("benign", "malignant", "normal") for x in ("", "_mask")]
KVASIR = ["images/p.jpg", "masks/p.jpg"]

# (set, what the user has, images by split, number of groups, grouping that the card then says)
OPENS = {
    # the publisher's own layout, at every depth at which people unpack it
    "acdc-release": ("acdc", below("database", ACDC), {"train": 3, "test": 3}, 2, "given"),
    "acdc-ACDC": ("acdc", below("ACDC/database", ACDC), {"train": 3, "test": 3}, 2, "given"),
    "acdc-bare": ("acdc", ACDC, {"train": 3, "test": 3}, 2, "given"),
    "acdc-training-only": ("acdc", ACDC[:2], {"": 3}, 1, "given"),
    "acdc-patients-only": ("acdc", [p.partition("/")[2] for p in ACDC[:2]], {"": 3}, 1, "given"),
    "acdc-doubled": ("acdc", below("training", ACDC[:2]) + below("testing", ACDC[2:]),
                     {"train": 3, "test": 3}, 2, "given"),
    "acdc-nii": ("acdc", [p.removesuffix(".gz") for p in ACDC],
                 {"train": 3, "test": 3}, 2, "given"),
    "acdc-train-test": ("acdc", [p.replace("ing/", "/").replace("test/", "test/") for p in ACDC],
                        {"train": 3, "test": 3}, 2, "given"),
    "aptos-release": ("aptos2019", [*APTOS, "train_images/one.png", "train_images/two.png",
                                    ("test.csv", "id_code", "x"), "test_images/x.png"],
                      {"": 2}, 2, "unknown"),
    "aptos-doubled": ("aptos2019", [*APTOS, "train_images/train_images/one.png",
                                    "train_images/train_images/two.png"], {"": 2}, 2, "unknown"),
    "aptos-jpg": ("aptos2019", [*APTOS, "train_images/one.jpg", "train_images/two.jpg"],
                  {"": 2}, 2, "unknown"),
    "aptos-below": ("aptos2019", below("aptos2019-blindness-detection", [
        *APTOS, "train_images/one.png", "train_images/two.png"]), {"": 2}, 2, "unknown"),
    "aptos-beside": ("aptos2019", [*APTOS, "one.png", "two.png"], {"": 2}, 2, "unknown"),
    "aptos-three-tables": ("aptos2019", [
        ("train_1.csv", "id_code,diagnosis", "a,0"), ("valid.csv", "id_code,diagnosis", "b,1"),
        ("test.csv", "id_code,diagnosis", "c,2"), "train_images/train_images/a.png",
        "val_images/val_images/b.png", "test_images/test_images/c.png",
    ], {"train": 1, "val": 1, "test": 1}, 3, "unknown"),
    "busi-release": ("busi", below("Dataset_BUSI_with_GT", BUSI), {"": 3}, 3, "unknown"),
    "busi-bare": ("busi", BUSI, {"": 3}, 3, "unknown"),
    "busi-deep": ("busi", below("archive/Dataset_BUSI/Dataset_BUSI_with_GT", BUSI), {"": 3}, 3,
                  "unknown"),
    "busi-junk": ("busi", [*below("Dataset_BUSI_with_GT", BUSI),
                           "Dataset_BUSI_with_GT/benign/._benign (1).png",
                           "Dataset_BUSI_with_GT/benign/.DS_Store"], {"": 3}, 3, "unknown"),
    "busi-images-masks": ("busi", [f"{c}/{k}/{c} (1).png" for c in ("benign", "malignant", "normal")
                                   for k in ("images", "masks")], {"": 3}, 3, "unknown"),
    "busi-flat": ("busi", [f"{k}/{c} (1).png" for c in ("benign", "malignant", "normal")
                           for k in ("images", "masks")], {"": 3}, 3, "unknown"),
    "busi-no-masks": ("busi", [f"images/{c}_1.png" for c in ("benign", "malignant", "normal")],
                      {"": 3}, 3, "unknown"),
    "busi-capitals": ("busi", [p.replace("benign/", "Benign/") for p in BUSI], {"": 3}, 3,
                      "unknown"),
    "busi-masks": ("busi_masks", below("Dataset_BUSI_with_GT", BUSI), {"": 3}, 3, "unknown"),
    "busi-masks-flat": ("busi_masks", [
        "images/benign (1).png", "masks/benign (1).png", "images/malignant (1).png",
        "masks/malignant (1)_mask.png"], {"": 2}, 2, "unknown"),
    "cvc-tif": ("cvc_clinicdb", below("CVC-ClinicDB", [p[:-4] + ".tif" for p in CVC_PNG]),
                {"": 2}, 2, "inferred"),
    "cvc-both": ("cvc_clinicdb", [*below("PNG", CVC_PNG), CVC_META,
                                  *below("TIF", [p[:-4] + ".tif" for p in CVC_PNG])],
                 {"": 2}, 2, "given"),
    "cvc-png-only": ("cvc_clinicdb", below("PNG", CVC_PNG), {"": 2}, 2, "inferred"),
    "cvc-meta-above": ("cvc_clinicdb", [*below("CVC-ClinicDB/PNG", CVC_PNG),
                                        (f"CVC-ClinicDB/{CVC_META[0]}", *CVC_META[1:])],
                       {"": 2}, 2, "given"),
    "cvc-underscore": ("cvc_clinicdb", [p.replace("Ground Truth", "Ground_Truth") for p in CVC_PNG],
                       {"": 2}, 2, "inferred"),
    "cvc-images-masks": ("cvc_clinicdb", ["images/1.png", "masks/1.png", *JUNK], {"": 1}, 1,
                         "inferred"),
    "cvc-renamed": ("cvc_clinicdb", ["images/a.png", "masks/a.png"], {"": 1}, 1, "unknown"),
    "ddr-release": ("ddr_grading", below("DDR-dataset/DR_grading", DDR),
                    {"train": 1, "val": 1, "test": 1}, 3, "unknown"),
    "ddr-bare": ("ddr_grading", DDR, {"train": 1, "val": 1, "test": 1}, 3, "unknown"),
    "ddr-one-table": ("ddr_grading", [("DR_grading.csv", "id_code,diagnosis", "a.jpg,0", "u.jpg,5",
                                       "b.jpg,4"), "DR_grading/DR_grading/a.jpg",
                                      "DR_grading/DR_grading/b.jpg"], {"": 2}, 2, "unknown"),
    "drive-whole": ("drive", DRIVE_TRAIN + DRIVE_TEST, {"train": 1, "test": 1}, 2, "unknown"),
    "drive-below": ("drive", below("DRIVE", DRIVE_TRAIN + DRIVE_TEST), {"train": 1, "test": 1}, 2,
                    "unknown"),
    "drive-deep": ("drive", below("datasets/DRIVE", DRIVE_TRAIN + DRIVE_TEST),
                   {"train": 1, "test": 1}, 2, "unknown"),
    "drive-today": ("drive", [*DRIVE_TRAIN, DRIVE_TEST[0], DRIVE_TEST[2]], {"": 1}, 1, "unknown"),
    "drive-training-only": ("drive", DRIVE_TRAIN, {"": 1}, 1, "unknown"),
    "ham-parts": ("ham10000", [HAM, *HAM_PARTS], {"": 3}, 2, "given"),
    "ham-tab": ("ham10000", [("HAM10000_metadata.tab",
                              *(line.replace(",", "\t") for line in HAM_LINES)), *HAM_PARTS],
                {"": 3}, 2, "given"),
    "ham-no-ending": ("ham10000", [("HAM10000_metadata", *HAM_LINES), *HAM_PARTS], {"": 3}, 2,
                      "given"),
    "ham-beside": ("ham10000", [HAM, "I1.jpg", "I2.jpg", "I3.jpg"], {"": 3}, 2, "given"),
    "ham-images": ("ham10000", [HAM, *below("images", HAM_PARTS)], {"": 3}, 2, "given"),
    "ham-below": ("ham10000", below("archive", [HAM, *HAM_PARTS]), {"": 3}, 2, "given"),
    "ham-twin-folders": ("ham10000", [HAM, *HAM_PARTS], {"": 3}, 2, "given"),
    "idrid-release": ("idrid_grading", below("B. Disease Grading", IDRID),
                      {"train": 1, "test": 1}, 2, "unknown"),
    "idrid-quoted": ("idrid_grading", below("B.%20Disease%20Grading/B. Disease Grading", IDRID),
                     {"train": 1, "test": 1}, 2, "unknown"),
    "idrid-bare": ("idrid_grading", IDRID, {"train": 1, "test": 1}, 2, "unknown"),
    "idrid-copy": ("idrid_grading", [("idrid_labels.csv", "id_code,diagnosis", "IDRiD_001,3",
                                      "IDRiD_001test,4"), "Imagenes/Imagenes/IDRiD_001.jpg",
                                     "Imagenes/Imagenes/IDRiD_001test.jpg"],
                   {"train": 1, "test": 1}, 2, "unknown"),
    "isic16-release": ("isic2016", ISIC16, {"train": 1, "test": 1}, 2, "unknown"),
    "isic16-below": ("isic2016", below("ISIC2016", ISIC16), {"train": 1, "test": 1}, 2, "unknown"),
    "isic16-dvpt": ("isic2016", [f"{part}/{kind}" for part in ("train", "test")
                                 for kind in ("images/I.jpg", "masks/I.png")],
                    {"train": 1, "test": 1}, 2, "unknown"),
    "isic16-dvpt-below": ("isic2016", below("ISIC", [
        f"{part}/{kind}" for part in ("train", "test")
        for kind in ("images/I.jpg", "masks/I_Segmentation.png")]),
        {"train": 1, "test": 1}, 2, "unknown"),
    "isic18-release": ("isic2018", [*ISIC18, ISIC18_GROUPS], {"train": 1, "test": 1}, 2, "given"),
    "isic18-root-truth": ("isic2018", [*ISIC18[:2], isic18_truth("", "Training", "A"),
                                       isic18_truth("", "Test", "B"), ISIC18_GROUPS],
                          {"train": 1, "test": 1}, 2, "given"),
    "isic18-test-images": ("isic2018", [ISIC18[0], "ISIC2018_Task3_Test_Images/B.jpg",
                                        *ISIC18[2:], ISIC18_GROUPS], {"train": 1, "test": 1}, 2,
                           "given"),
    "isic18-ham-groups": ("isic2018", [*ISIC18, ("HAM10000_metadata", "lesion_id,image_id,dx",
                                                 "H1,A,nv")], {"train": 1, "test": 1}, 2, "given"),
    "isic18-no-groups": ("isic2018", ISIC18, {"train": 1, "test": 1}, 2, "unknown"),
    "isic18-below": ("isic2018", below("ISIC2018", [*ISIC18, ISIC18_GROUPS]),
                     {"train": 1, "test": 1}, 2, "given"),
    "kvasir-release": ("kvasir_seg", below("Kvasir-SEG", KVASIR), {"": 1}, 1, "unknown"),
    "kvasir-bare": ("kvasir_seg", [*KVASIR, *JUNK], {"": 1}, 1, "unknown"),
    "kvasir-deep": ("kvasir_seg", below("kvasir-seg/Kvasir-SEG", KVASIR), {"": 1}, 1, "unknown"),
    "kvasir-png": ("kvasir_seg", ["images/p.png", "masks/p.png"], {"": 1}, 1, "unknown"),
    "kvasir-mixed": ("kvasir_seg", ["images/p.jpg", "masks/p.png"], {"": 1}, 1, "unknown"),
    "kvasir-junk": ("kvasir_seg", [*KVASIR, "images/._p.jpg", "masks/.DS_Store"], {"": 1}, 1,
                    "unknown"),
    "messidor-pairs": ("messidor2", [MESSIDOR, PAIRS, *EYES], {"": 2}, 1, "given"),
    "messidor-no-pairs": ("messidor2", [MESSIDOR, *EYES], {"": 2}, 2, "unknown"),
    "messidor-png": ("messidor2", [MESSIDOR, PAIRS, "IMAGES/l.png", "IMAGES/r.png"], {"": 2}, 1,
                     "given"),
    "messidor-floats": ("messidor2", [("messidor_data.csv", "image_id,adjudicated_dr_grade",
                                       "l.jpg,0.0", "r.jpg,2.0"), PAIRS, *EYES], {"": 2}, 1,
                        "given"),
    "messidor-copy": ("messidor2", [("messidor_data.csv", "id_code,diagnosis", "l.jpg,0",
                                     "r.jpg,2"), "preprocess/l.jpg", "preprocess/r.jpg"], {"": 2},
                      2, "unknown"),
    "messidor-copy-below": ("messidor2", below("messidor-2", [
        ("messidor_data.csv", "id_code,diagnosis", "l.png,0.0", "r.png,2.0"),
        "messidor-2/preprocess/l.png", "messidor-2/preprocess/r.png"]), {"": 2}, 2, "unknown"),
    "msd-release": ("msd_hippocampus", below("Task04_Hippocampus", MSD), {"": 6}, 1, "inferred"),
    "msd-bare": ("msd_hippocampus", MSD, {"": 6}, 1, "inferred"),
    "msd-doubled": ("msd_hippocampus", below("Task04_Hippocampus/Task04_Hippocampus", MSD),
                    {"": 6}, 1, "inferred"),
    "msd-nnunet": ("msd_hippocampus", below("nnUNet_raw/Dataset004_Hippocampus", NNUNET), {"": 3},
                   1, "inferred"),
    "msd-nii": ("msd_hippocampus", [p.removesuffix(".gz") for p in MSD], {"": 6}, 1, "inferred"),
    "msd-junk": ("msd_hippocampus", [*MSD, "imagesTr/._hippocampus_001.nii.gz",
                                     "labelsTr/.DS_Store"], {"": 6}, 1, "inferred"),
    "pcam-slides": ("pcam", [*PCAM, *PCAM_META], {"train": 2, "val": 2, "test": 2}, 3, "given"),
    "pcam-no-slides": ("pcam", PCAM, {"train": 2, "val": 2, "test": 2}, 6, "unknown"),
    "pcam-below": ("pcam", below("pcamv1", [*PCAM, *PCAM_META]),
                   {"train": 2, "val": 2, "test": 2}, 3, "given"),
    "pcam-copy": ("pcam", ["pcam/training_split.h5", "pcam/validation_split.h5",
                           "pcam/test_split.h5",
                           *(f"Labels/Labels/camelyonpatch_level_2_split_{p}_y.h5" for p in PARTS)],
                  {"train": 2, "val": 2, "test": 2}, 6, "unknown"),
    "rsna-png": ("rsna_pneumonia", [
        ("stage_2_train_labels.csv", "patientId,x,y,width,height,Target", "a,,,,,0", "b,1,2,3,4,1",
         "b,5,6,7,8,1"), "stage_2_train_images/a.png", "stage_2_train_images/b.png",
    ], {"": 2}, 2, "unknown"),
    "synapse-release": ("synapse", below("RawData/Training", SYNAPSE), {"train": 3, "test": 3}, 2,
                        "given"),
    "synapse-below": ("synapse", below("Abdomen/RawData/Training", SYNAPSE),
                      {"train": 3, "test": 3}, 2, "given"),
    "synapse-bare": ("synapse", SYNAPSE, {"train": 3, "test": 3}, 2, "given"),
    "synapse-btcv": ("synapse", BTCV, {"train": 3, "test": 3}, 2, "given"),
    "synapse-btcv-below": ("synapse", below("BTCV", BTCV), {"train": 3, "test": 3}, 2, "given"),
    "synapse-test-too": ("synapse", [*below("RawData/Training", SYNAPSE),
                                     "RawData/Testing/img/img0061.nii.gz"],
                         {"train": 3, "test": 3}, 2, "given"),
}  # fmt: skip


@pytest.mark.parametrize("case", OPENS)
def test_a_layout_opens(case, tmp_path):
    name, paths, splits, groups, grouping = OPENS[case]
    build(tmp_path / "here", paths)
    data = open_dataset(f"{name}@{tmp_path / 'here'}")
    assert Counter(data.splits) == splits
    assert len(set(data.groups)) == groups
    assert data.card.grouping == grouping
    assert bool(data.card.group_note) == (grouping in ("unknown", "inferred"))
    assert data.read_image(len(data) - 1).ndim == 3
    if data.read_mask is not None:
        assert data.read_mask(1 if data.extent is not None else 0).any()


# (set, what the user has, what the sentence has to say)
REFUSED = {
    "empty": ("kvasir_seg", [], "holds nothing.*kvasir-seg.zip"),
    "junk-only": ("busi", JUNK, "holds nothing"),
    "something-else": ("drive", ["a/b.txt"], r"no training/images/\*.tif .*holds a\)"),
    "zip-not-unpacked": ("kvasir_seg", ["kvasir-seg.zip"], "data prepare kvasir_seg@"),
    "rar": ("cvc_clinicdb", ["CVC-ClinicDB.rar"], "unpack CVC-ClinicDB.rar with unrar or 7z"),
    "split-zip": ("ddr_grading", ["DDR-dataset.zip.001"], "data prepare ddr_grading@"),
    "gz": ("pcam", [f"camelyonpatch_level_2_split_{p}_x.h5.gz" for p in PARTS],
           "data prepare pcam@"),
    "transunet": ("synapse", ["train_npz/case0005_slice000.npz", "test_vol_h5/case0008.npy.h5"],
                  "preprocessed copy.*without spacing"),
    "acdc-slices": ("acdc", ["ACDC_preprocessed/ACDC_training_slices/patient001_slice_1.h5"],
                    "preprocessed copy.*without spacing"),
    "ham-two-copies": ("ham10000", [HAM, "images/I1.jpg", "images/I2.jpg", "images/I3.jpg",
                                    "masks_preview/I1.jpg"], "both the image 'I1'"),
    "ham-one-missing": ("ham10000", [HAM, *HAM_PARTS[:2]], "no image 'I3'"),
    "idrid-word": ("idrid_grading", [*IDRID[:3], (IDRID[3][0], IDRID[3][1], "IDRiD_001,none,1,,")],
                   "row 2: the grade 'none' is not one of 0 to 4"),
    "idrid-five": ("idrid_grading", [*IDRID[:3], (IDRID[3][0], IDRID[3][1], "IDRiD_001,5,1,,")],
                   "row 2: the grade '5'"),
    "messidor-six": ("messidor2", [("messidor_data.csv", "image_id,adjudicated_dr_grade",
                                    "l.jpg,6"), *EYES], "row 2: the grade '6'"),
    "aptos-superscript": ("aptos2019", [("train.csv", "id_code,diagnosis", "one,²"),
                                        "train_images/one.png"], "row 2: the grade '²'"),
    "aptos-no-column": ("aptos2019", [("train.csv", "id,level", "one,1"), "train_images/one.png"],
                        "no column 'id_code' .it has id, level"),
    "isic18-two-classes": ("isic2018", [*ISIC18[:3], ISIC18_GROUPS, (
        ISIC18[3][0], ISIC18_HEAD, "B,1.0,1.0,0.0,0.0,0.0,0.0,0.0")], "row 2: 'B' has 2 classes"),
    "isic18-no-class": ("isic2018", [*ISIC18[:3], ISIC18_GROUPS, (
        ISIC18[3][0], ISIC18_HEAD, "B,0.0,0.0,0.0,0.0,0.0,0.0,0.0")], "row 2: 'B' has 0 classes"),
    "isic18-word": ("isic2018", [*ISIC18[:3], ISIC18_GROUPS, (
        ISIC18[3][0], ISIC18_HEAD, "B,x,,,,,,")], "row 2: 'B' has 0 classes"),
    "kvasir-no-masks": ("kvasir_seg", ["images/p.jpg"], "no masks or mask in .*holds images"),
    "kvasir-one-mask": ("kvasir_seg", [*KVASIR, "images/q.jpg"], "'.*q.jpg' .*no mask of its name"),
    "two-copies": ("kvasir_seg", [*below("one", KVASIR), *below("two", KVASIR)],
                   "in 2 folders, among them '.*one/images' and '.*two/images'"),
    "too-deep": ("kvasir_seg", below("a/b/c/d/e", KVASIR), "up to 3 folders below"),
    "ddr-line": ("ddr_grading", [("train.txt", "a.jpg two"), *DDR[1:]],
                 "row 1: the grade 'two'"),
    "pcam-short-table": ("pcam", [*PCAM, *PCAM_META[:2], (*PCAM_META[2][:3],)],
                         "1 rows? for 2 patches"),
    "cvc-frame-without-sequence": ("cvc_clinicdb", [*CVC_PNG, (*CVC_META[:3],)],
                                   "no row for the frame '27'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_layout_is_refused_in_one_sentence_that_says_what_to_do(case, tmp_path):
    name, paths, expected = REFUSED[case]
    build(tmp_path / "here", paths)
    with pytest.raises(InputError) as caught:
        open_dataset(f"{name}@{tmp_path / 'here'}")
    sentence = str(caught.value)
    assert re.search(expected, sentence), sentence
    assert "NAME" not in sentence
    assert "\n" not in sentence


def test_the_29_sequences_cover_all_frames_once():
    from benchmark.data.sets.cvc_clinicdb import STARTS, sequence_of

    lengths = Counter(sequence_of(str(n)) for n in range(1, 613))
    assert len(lengths) == len(STARTS) == 29
    assert "" not in lengths
    # 1-25, 26-50, 51-67, 68-78 ... 592-612
    assert [lengths[f"sequence{k}"] for k in (1, 2, 3, 4, 29)] == [25, 25, 17, 11, 21]
    assert sequence_of("0") == sequence_of("613") == sequence_of("a1") == ""


def test_a_twin_folder_of_one_host_is_a_copy_and_counted(tmp_path):
    root = tmp_path / "here"
    build(root, [HAM, *HAM_PARTS])
    (root / "more" / "ham10000_images_part_1").mkdir(parents=True)
    source = root / "HAM10000_images_part_1" / "I1.jpg"
    twin = root / "more" / "ham10000_images_part_1" / "I1.jpg"
    twin.write_bytes(source.read_bytes())
    data = open_dataset(f"ham10000@{root}")
    assert len(data) == 3
    assert data.notes == ("left out: 1 copy in a folder of the same name",)


def test_what_is_left_out_is_counted_and_shown(tmp_path, capsys):
    build(tmp_path / "ddr", DDR)
    data = open_dataset(f"ddr_grading@{tmp_path / 'ddr'}")
    assert data.notes == tuple(f"{part}: left out: 1 ungradable image (grade 5)" for part in PARTS)
    build(tmp_path / "m", [MESSIDOR, *EYES])
    assert open_dataset(f"messidor2@{tmp_path / 'm'}").notes == ("left out: 1 ungradable image",)


def test_show_and_check_say_what_is_unknown_of_groups(tmp_path, capsys):
    lines = [f"{i}.jpg,{i % 2}" for i in range(20)]
    table = ("messidor_data.csv", "image_id,adjudicated_dr_grade", *lines)
    build(tmp_path / "m", [table, *(f"IMAGES/{i}.jpg" for i in range(20))])
    for verb in ("show", "check"):
        out = ["--out", str(tmp_path / "out")] if verb == "show" else []
        main(["data", verb, f"messidor2@{tmp_path / 'm'}", *out])
        assert "training and test may share patients" in capsys.readouterr().out


@pytest.mark.parametrize("name", [n for n in datasets if not datasets[n].embedded])
def test_show_says_what_is_expected_of_an_empty_folder(name, tmp_path, capsys):
    (tmp_path / "here").mkdir()
    assert main(["data", "show", f"{name}@{tmp_path / 'here'}"]) == 2
    answer = capsys.readouterr()
    assert datasets[name].card.get.split(";")[0] in answer.out
    assert len(answer.err.strip().splitlines()) == 1


def test_home_and_empty_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    build(tmp_path / "mine", KVASIR)
    assert len(open_dataset("kvasir_seg@~/mine")) == 1
    (tmp_path / "data" / "drive").mkdir(parents=True)
    build(tmp_path / "data" / "busi", BUSI)
    (tmp_path / "data" / "pcam").mkdir()
    (tmp_path / "data" / "pcam" / ".DS_Store").write_bytes(b"x")
    main(["data", "list"])
    shown = capsys.readouterr().out.splitlines()
    lines = {line.split()[0]: line.split()[-1] for line in shown if line}
    assert (lines["busi"], lines["busi_masks"]) == ("present", "present")
    assert (lines["drive"], lines["pcam"], lines["acdc"]) == ("empty", "empty", "absent")


def test_prepare_unpacks_gz_and_finds_what_was_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "here"
    build(root, PCAM + PCAM_META)
    for path in list(root.glob("*.h5")):
        (root / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert main(["data", "prepare", f"pcam@{root}", "--image-size", "16"]) == 0
    assert len(list(root.glob("*.h5"))) == 6
    assert len(open_dataset(f"pcam@{root}")) == 6


def test_a_mask_of_another_size_is_refused_in_named_sets_too(tmp_path):
    build(tmp_path / "here", KVASIR)
    trees.mask(tmp_path / "here" / "masks" / "p.jpg", size=(8, 12))
    with pytest.raises(InputError, match=r"masks/p\.jpg' is 8x12, its image 12x8"):
        open_dataset(f"kvasir_seg@{tmp_path / 'here'}")
