"""The generators that are compared, each behind one call, the weights they share, and the process that runs one."""
