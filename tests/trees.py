"""Tiny trees of named data sets in the layout of the original downloads."""

import h5py
import nibabel
import numpy as np
from PIL import Image


def picture(path, value=100, size=(12, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = (value, 255 - value, value) if mode == "RGB" else value
    Image.new(mode, size, shade).save(path)


def mask(path, value=255, size=(12, 8)):
    """Write a mask whose right half is `value`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((size[1], size[0]), np.uint8)
    values[:, size[0] // 2 :] = value
    Image.fromarray(values).save(path)


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def volume(path, values, zooms=(1.0, 1.0, 1.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*zooms, 1.0])), path)


def array(path, key):
    """Write two PCam patches, or their labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((2, 96, 96, 3), 7, np.uint8)
    with h5py.File(path, "w") as file:
        file[key] = values if key == "x" else np.array([0, 1], np.uint8).reshape(2, 1, 1, 1)


def shapes(labels, dtype=np.int16):
    """Return a volume (6, 4, 3) whose slice 1 shows the classes `labels`, one per column."""
    values = np.zeros((6, 4, 3), dtype)
    values[: len(labels), :, 1] = np.array(labels, dtype)[:, None]
    return values


def ddr_grading(root):
    base = root / "DDR-dataset" / "DR_grading"
    for part, lines in {
        "train": ("a.jpg 0", "b.jpg 4", "u.jpg 5"), "valid": ("c.jpg 2",), "test": ("d.jpg 1",),
    }.items():  # fmt: skip
        text(base / f"{part}.txt", *lines)
        for line in lines:
            picture(base / part / line.split()[0])


def aptos2019(root):
    text(root / "train.csv", "id_code,diagnosis", "one,0", "two,3")
    for name in ("one", "two"):
        picture(root / "train_images" / f"{name}.png")


def messidor2(root):
    head = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"
    text(root / "messidor_data.csv", head, "l.jpg,0,0,1", "r.jpg,2,0,1", "x.png,4,0,1", "u.png,,,0")
    text(root / "messidor-2.csv", "left;right", "l.JPG;r.JPG")
    for name in ("l.JPG", "r.JPG", "x.png"):
        picture(root / "IMAGES" / name)


def idrid_grading(root):
    base = root / "B. Disease Grading"
    for part, letter, name in (("Training", "a", "IDRiD_001"), ("Testing", "b", "IDRiD_001")):
        picture(base / "1. Original Images" / f"{letter}. {part} Set" / f"{name}.jpg")
        path = base / "2. Groundtruths" / f"{letter}. IDRiD_Disease Grading_{part} Labels.csv"
        text(path, "Image name,Retinopathy grade,Risk of macular edema ,,", f"{name},3,1,,", ",,,,")


def isic2016(root):
    for part in ("Training", "Test"):
        picture(root / f"ISBI2016_ISIC_Part1_{part}_Data" / "ISIC_1.jpg")
        folder = root / f"ISBI2016_ISIC_Part1_{part}_GroundTruth"
        mask(folder / "ISIC_1_Segmentation.png")


def ham10000(root):
    head = "lesion_id,image_id,dx,dx_type,age,sex,localization"
    lines = ("H1,I1,nv,histo,80,male,scalp", "H1,I2,nv,histo,80,male,scalp", "H2,I3,mel,x,1,m,y")
    text(root / "HAM10000_metadata", head, *lines)
    for part, name in ((1, "I1"), (2, "I2"), (2, "I3")):
        picture(root / f"HAM10000_images_part_{part}" / f"{name}.jpg")


def isic2018(root):
    head = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    base = "ISIC2018_Task3_{}_GroundTruth"
    for part, name in (("Training", "A"), ("Test", "B")):
        folder = base.format(part)
        text(root / folder / f"{folder}.csv", head, f"{name},0.0,1.0,0.0,0.0,0.0,0.0,0.0")
        picture(root / f"ISIC2018_Task3_{part}_Input" / f"{name}.jpg")
    text(root / "ISIC2018_Task3_Training_LesionGroupings.csv", "image,lesion_id", "A,L1")


def kvasir_seg(root):
    picture(root / "Kvasir-SEG" / "images" / "p.jpg")
    mask(root / "Kvasir-SEG" / "masks" / "p.jpg")


def cvc_clinicdb(root):
    picture(root / "PNG" / "Original" / "1.png")
    mask(root / "PNG" / "Ground Truth" / "1.png")
    text(root / "metadata.csv", "frame_id,sequence_id", "1,7")


def drive(root):
    for folder, name, kind in (("training", "21", "training"), ("test", "01", "test")):
        base = root / folder
        picture(base / "images" / f"{name}_{kind}.tif")
        mask(base / "1st_manual" / f"{name}_manual1.gif")
        inside = np.full((8, 12), 255, np.uint8)
        inside[0] = 0
        (base / "mask").mkdir(parents=True)
        Image.fromarray(inside).save(base / "mask" / f"{name}_{kind}_mask.gif")


def busi(root):
    base = root / "Dataset_BUSI_with_GT"
    for name in ("benign", "malignant", "normal"):
        picture(base / name / f"{name} (1).png")
        mask(base / name / f"{name} (1)_mask.png", 0 if name == "normal" else 255)
    extra = np.zeros((8, 12), np.uint8)
    extra[0, 0] = 255
    Image.fromarray(extra).save(base / "benign" / "benign (1)_mask_1.png")


def acdc(root):
    for part, patient in (("training", "patient001"), ("testing", "patient101")):
        for number in ("01", "12"):
            base = root / "database" / part / patient / f"{patient}_frame{number}"
            volume(base.with_name(f"{base.name}.nii.gz"), shapes([9, 9, 9]), (1.5, 1.25, 10))
            volume(base.with_name(f"{base.name}_gt.nii.gz"), shapes([1, 2, 3]), (1.5, 1.25, 10))


def synapse(root):
    for number in ("0001", "0005"):
        base = root / "RawData" / "Training"
        volume(base / "img" / f"img{number}.nii.gz", shapes([-2000, 75, 3000]))
        volume(base / "label" / f"label{number}.nii.gz", shapes([1, 13, 6]))


def msd_hippocampus(root):
    for number in ("001", "003"):
        base = root / "Task04_Hippocampus"
        volume(base / "imagesTr" / f"hippocampus_{number}.nii.gz", shapes([5, 6], np.float32))
        volume(base / "labelsTr" / f"hippocampus_{number}.nii.gz", shapes([1, 2], np.uint8))
    (base / "imagesTr" / "._hippocampus_001.nii.gz").write_bytes(b"left by the archiver")


def pcam(root):
    root.mkdir(parents=True)
    for part, labels in (("train", [0, 1]), ("valid", [1]), ("test", [0])):
        for kind, values in (
            ("x", np.full((len(labels), 96, 96, 3), 7, np.uint8)),
            ("y", np.array(labels, np.uint8).reshape(-1, 1, 1, 1)),
        ):
            name = f"camelyonpatch_level_2_split_{part}_{kind}.h5"
            with h5py.File(root / name, "w") as file:
                file[kind] = values
