"""Named data sets, one module each."""
