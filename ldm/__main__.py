"""`python -m ldm VERB`."""

import gc
import sys

from ldm.cli import main

if __name__ == "__main__":
    code = main()
    gc.freeze()  # or the interpreter's exit looks for garbage in all of torch, for a second
    sys.exit(code)
