"""Generation and scoring with a key/value cache."""
