"""Open one data set and say how long it took: a process of its own for `benchmark.bench.opening`.

It imports what opening needs and nothing else; torch alone would take as long as 20,000 rows.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmark.data import open_dataset, sealed


def main(order: str) -> None:
    """Write the seconds and the fingerprint to standard output.

    `order` is the JSON of the folder of the bench, and of the fingerprint of the sealed index to
    open ("": the files themselves are opened).
    """
    folder, fingerprint = json.loads(order)
    rows, kept = Path(folder) / "rows", Path(folder) / "sealed"
    start = time.perf_counter()
    if fingerprint:
        dataset = sealed.opened(rows.name, fingerprint, kept, lambda: open_dataset(str(rows)))
        assert dataset is not None
    else:
        dataset = open_dataset(str(rows))
    seconds = time.perf_counter() - start
    sealed.seal(dataset, kept)
    sys.stdout.write(f"{seconds} {dataset.fingerprint}\n")


if __name__ == "__main__":
    main(sys.argv[1])
