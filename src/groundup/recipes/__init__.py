"""Named configurations: Python functions that return a config value."""
