"""``python -m ardm`` is the command ``ardm``."""

from __future__ import annotations

import sys

from ardm.cli import main

if __name__ == "__main__":
    sys.exit(main())
