"""What every benchmark shares: claims and medians (measure), a job's process (child), real text."""
