"""Features of a frozen backbone or prefix that are computed once and kept."""
