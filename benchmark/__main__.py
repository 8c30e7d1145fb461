"""`python -m benchmark VERB ...`: dispatch to one module per verb under `benchmark/commands/`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

from benchmark import commands
from benchmark.core.registry import InputError


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code: 0 done, 1 something failed, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmark", description=commands.__doc__)
    parser.description = "Compare parameter-efficient fine-tuning methods on medical images."
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in _verbs():
        module = importlib.import_module(f"benchmark.commands.{name}")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        module.add_arguments(verbs.add_parser(name, help=summary, description=summary))
    arguments = parser.parse_args(argv)
    try:
        return importlib.import_module(f"benchmark.commands.{arguments.verb}").run(arguments)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        sys.stdout = None
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to continue\n")
        return 130


def _verbs() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(commands.__path__) if not m.name.startswith("_")]


if __name__ == "__main__":
    sys.exit(main())
