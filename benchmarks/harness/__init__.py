"""What every benchmark shares: claims and medians (measure), a job's process (child), processes that take turns
(turns), real text."""
