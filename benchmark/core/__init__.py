"""What everything else is built from: registries, spec strings, cells, records, files."""
