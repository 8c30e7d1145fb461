"""`python -m benchmark VERB ...`: dispatch to one module per verb under `benchmark/commands/`."""

from __future__ import annotations

import argparse
import importlib
import io
import pkgutil
import sys
from typing import Any, NoReturn

from benchmark import commands
from benchmark.core.notes import warn_in_notes
from benchmark.core.registry import DeviceLost, InputError


class Once(argparse.Action):
    """A flag that holds one value: of two, none may win in silence."""

    _filled: argparse.Namespace | None = None  # what this flag has given its value to

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Keep the value; raise ArgumentError for a second one."""
        if option_string and self._filled is namespace:
            once = "write its values as one comma list" if self.metavar == "A,B" else "give it once"
            raise argparse.ArgumentError(self, f"given twice; {once}")
        self._filled = namespace
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, like those of all other bad input."""

    def __init__(self, **options: Any) -> None:
        """Make a parser whose flags are given once, unless they collect values."""
        super().__init__(**options)
        for name in (None, "store"):
            self.register("action", name, Once)

    def error(self, message: str) -> NoReturn:
        """Raise InputError in place of printing the usage, which is longer than most terminals."""
        raise InputError(f"{message}; see {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit code: 0 done, 1 something failed, 2 bad input."""
    warn_in_notes()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may not know every sign of a table
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = Parser(prog="python -m benchmark")
    parser.description = "Compare parameter-efficient fine-tuning methods on medical images."
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in _verbs():
        module = importlib.import_module(f"benchmark.commands.{name}")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        module.add_arguments(verbs.add_parser(name, help=summary, description=summary))
    try:
        _check_text(sys.argv[1:] if argv is None else argv)
        arguments = parser.parse_args(argv)
        return importlib.import_module(f"benchmark.commands.{arguments.verb}").run(arguments)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except DeviceLost as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        sys.stdout = None
        return 141
    except OSError as error:
        # A name that no file system takes, a locked folder, a full disk: who may say it best says
        # it nearer by, and nothing is half-written. What is left here is the machine's, not a bug.
        place = f"{str(error.filename)!r}: " if error.filename else ""
        sys.stderr.write(f"error: {place}{error.strerror or error}\n")
        return 2
    except (MemoryError, RuntimeError) as error:
        from benchmark.training.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()).split(". ")[0]  # torch goes on for a paragraph
        sys.stderr.write(f"error: not enough memory ({reason}); take smaller batches or images\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to continue\n")
        return 130


def _check_text(argv: list[str]) -> None:
    """Refuse a path that is not UTF-8: no record, table or page could name it."""
    for text in argv:
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise InputError(f"{text!r} is not UTF-8; rename that file or folder")


def _verbs() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(commands.__path__) if not m.name.startswith("_")]


if __name__ == "__main__":
    sys.exit(main())
