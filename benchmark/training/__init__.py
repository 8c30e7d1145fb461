"""One cell: from its definition to its record."""
