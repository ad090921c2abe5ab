"""The training steps that are compared, each behind one call, and the process that runs one of them."""
