from benchmark.auditing.families import FAMILIES, SIZE, make

__all__ = ["FAMILIES", "SIZE", "make"]
