"""Looking at a built corpus: samples of what was dropped, other thresholds, clusters of copies, pages beside texts."""
