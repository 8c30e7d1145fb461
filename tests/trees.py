"""Tiny trees of named data sets in the layout of the original downloads."""

import json

import h5py
import nibabel
import numpy as np
import pydicom
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


def chestxray14(root):
    head = "Image Index,Finding Labels,Follow-up #,Patient ID"
    lines = ("00000001_000.png,Cardiomegaly|Emphysema,0,1", "00000001_001.png,No Finding,1,1")
    more = ("00000002_000.png,Hernia,0,2", "00000003_000.png,Pleural_Thickening,0,3")
    text(root / "Data_Entry_2017_v2020.csv", head, *lines, *more)
    text(root / "train_val_list.txt", "00000001_000.png", "00000001_001.png", "00000003_000.png")
    text(root / "test_list.txt", "00000002_000.png")
    for part, name in (("001", "00000001_000"), ("001", "00000001_001"), ("002", "00000002_000"),
                       ("002", "00000003_000")):  # fmt: skip
        picture(root / f"images_{part}" / "images" / f"{name}.png", mode="L")


def chexpert(root):
    base = root / "CheXpert-v1.0-small"
    names = "Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion"
    for part, patients in (("train", ("00001", "00002")), ("valid", ("64541",))):
        lines = [f"Path,Sex,Age,Frontal/Lateral,AP/PA,{names}"]
        for patient in patients:
            for view in ("frontal", "lateral"):
                place = f"{part}/patient{patient}/study1/view1_{view}.jpg"
                lines.append(
                    f"CheXpert-v1.0-small/{place},F,50,{view.title()},AP,1.0,-1.0,,0.0,1.0"
                )
                picture(base / place)
        text(base / f"{part}.csv", *lines)


def radiograph(path):
    """Write the smallest DICOM file that has an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.Rows, header.Columns, header.SamplesPerPixel = 8, 12, 1
    header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.PixelData = bytes(range(96))
    header.save_as(path, enforce_file_format=True)


def rsna_pneumonia(root):
    lines = ("a1,,,,,0", "b2,10,20,30,40,1", "b2,50,20,30,40,1", "c3,1,2,3,4,1")
    text(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", *lines)
    names = {"a1": "00000001_000.png", "b2": "00000001_001.png", "c3": "00000009_000.png"}
    mapping = [{"subset_img_id": k, "img_id": v} for k, v in names.items()]
    name = "pneumonia-challenge-dataset-mappings_2018.json"
    text(root / name, json.dumps(mapping))
    for name in names:
        radiograph(root / "stage_2_train_images" / f"{name}.dcm")


def medfmc(root):
    lists = {
        "chest": ("a.png " + ",".join("1" if k in (0, 18) else "0" for k in range(19)),
                  "b.png " + ",".join("0" * 19)),
        "colon": ("2019-08976-1-1 23_07_27-lv1p0036.png 0", "2019_03721_1-1 19_49p2.png 1"),
        "endo": ("13333_2021.12_0007_57.png 1 0 0 1", "13333_2021.07_0000_50.png 0 0 1 0"),
    }  # fmt: skip
    for part, lines in lists.items():
        for name, line in zip(("trainval.txt", "test_WithLabel.txt"), lines, strict=True):
            text(root / "MedFMC" / part / name, line)
            image = line[: line.index(".png") + 4]
            picture(root / "MedFMC" / part / "images" / image)


def nct_crc(root):
    for base in ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"):
        for k, tissue in enumerate(
            ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
        ):
            picture(root / base / tissue / f"{tissue}-{k}.tif")


def eyepacs(root):
    text(root / "trainLabels.csv", "image,level", "10_left,0", "10_right,4", "13_left,2")
    for name in ("10_left", "10_right", "13_left"):
        picture(root / "train" / f"{name}.jpeg")


def isic2018_lesions(root):
    for part in ("Training", "Validation", "Test"):
        picture(root / f"ISIC2018_Task1-2_{part}_Input" / f"ISIC_{part}.jpg")
        mask(root / f"ISIC2018_Task1_{part}_GroundTruth" / f"ISIC_{part}_segmentation.png")


def isic2016_melanoma(root):
    for part, lines in (("Training", ("A,benign", "B,malignant")), ("Test", ("A,0.0", "B,1.0"))):
        text(root / f"ISBI2016_ISIC_Part3_{part}_GroundTruth.csv", *lines)
        for name in ("A", "B"):
            picture(root / f"ISBI2016_ISIC_Part3_{part}_Data" / f"{name}.jpg")


def polyps(root):
    for name in ("1", "2", "30", "cju0qkwl35piu0993l0dewei2"):
        picture(root / "TrainDataset" / "image" / f"{name}.png")
        mask(root / "TrainDataset" / "mask" / f"{name}.png")
    for name in ("Kvasir", "CVC-ClinicDB", "CVC-ColonDB", "CVC-300", "ETIS-LaribPolypDB"):
        picture(root / "TestDataset" / name / "images" / "7.png")
        mask(root / "TestDataset" / name / "masks" / "7.png")


def refuge(root):
    truth = np.full((8, 12), 255, np.uint8)
    truth[2:6, 2:8] = 128
    truth[3:5, 3:6] = 0
    places = {
        f"Training400/{kind}": f"Annotation-Training400/Disc_Cup_Masks/{kind}"
        for kind in ("Glaucoma/g0001", "Non-Glaucoma/n0001")
    } | {
        "REFUGE-Validation400/V0001": "REFUGE-Validation400-GT/Disc_Cup_Masks/V0001",
        "Test400/T0001": "REFUGE-Test-GT/Disc_Cup_Masks/T0001",
    }
    for image, label in places.items():
        picture(root / f"{image}.jpg")
        path = root / f"{label}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth).save(path)


def msd_brain_tumour(root):
    base = root / "Task01_BrainTumour"
    channels = np.stack([shapes([5 * k, 6, 7 + k], np.float32) for k in range(1, 5)], -1)
    volume(base / "imagesTr" / "BRATS_001.nii.gz", channels)
    volume(base / "labelsTr" / "BRATS_001.nii.gz", shapes([1, 2, 3], np.uint8))


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
