"""Types of arguments that several commands have."""

import argparse
from datetime import datetime

from referral_fn.timestamps import read_utc


def moment(text: str) -> datetime:
    """A time in ISO 8601.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return read_utc(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
