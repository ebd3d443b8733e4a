"""What stands in for Azure and Partner Center on one machine, so that the real app can be run. Never deployed."""
