"""What people look at: the studio pages and the report."""
