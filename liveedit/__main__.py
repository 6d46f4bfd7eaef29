"""``python -m liveedit COMMAND``: finds the command, and turns what goes wrong into one sentence."""

from __future__ import annotations

import sys

from liveedit.cli import main

if __name__ == "__main__":
    sys.exit(main())
