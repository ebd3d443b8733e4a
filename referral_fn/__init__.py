"""Partner Center referrals as normalized CloudEvents on a queue."""

__version__ = "0.1.0"
