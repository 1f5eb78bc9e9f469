"""The command ``ardm``, also as ``python -m ardm``. Ctrl-C is heard from the first moment, while the command is still loaded."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Load the command and run it; returns the exit status."""
    try:
        from ardm.cli import main as command
    except KeyboardInterrupt:
        print("ardm: interrupted; nothing was begun", file=sys.stderr)
        return 130
    return command()


if __name__ == "__main__":
    sys.exit(main())
