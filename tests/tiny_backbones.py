from benchmark.audit.families import FAMILIES, SIZE, make

__all__ = ["FAMILIES", "SIZE", "make"]
