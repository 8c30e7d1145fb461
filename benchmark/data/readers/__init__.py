"""Readers of files: tables, folders, archives, images, DICOM and NIfTI volumes."""
