"""``python -m numerics.cli``."""

from __future__ import annotations

import sys

from numerics.cli import main

if __name__ == "__main__":
    sys.exit(main())
