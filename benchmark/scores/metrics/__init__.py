"""The metrics, one file for each or for each family; all of them are imported, and register."""
