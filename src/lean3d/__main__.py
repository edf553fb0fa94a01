"""python -m lean3d is lean3d."""

import sys

from lean3d.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
