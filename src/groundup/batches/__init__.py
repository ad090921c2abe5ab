"""Documents to token shards to batches; data is a pure function of the step."""
