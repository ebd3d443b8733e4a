"""Long runs that show that nothing is lost."""
