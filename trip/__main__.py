"""`python -m trip`: see `trip.cli`."""

import sys

from trip.cli import main

sys.exit(main())
