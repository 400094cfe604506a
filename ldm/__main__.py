"""`python -m ldm VERB`."""

import sys

from ldm.cli import main

if __name__ == "__main__":
    sys.exit(main())
