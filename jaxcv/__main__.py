"""`python -m jaxcv`."""

import sys

from jaxcv.cli import main

sys.exit(main())
