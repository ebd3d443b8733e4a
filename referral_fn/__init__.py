"""Partner Center referrals as normalized CloudEvents on a queue."""
