"""``python -m browsermount`` is the command line."""

import sys

from browsermount.cli import main

sys.exit(main())
