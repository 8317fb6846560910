"""`python3 upstream/tera2/convert.py CKPT --output_dir=DIR`: see `upstream.convert.tera2`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from upstream.convert import tera2

    sys.exit(tera2())
