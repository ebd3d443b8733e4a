"""`python -m referral_fn`."""

import sys

from referral_fn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
