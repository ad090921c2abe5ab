"""Which documents are worth training on: rules on the look of a text, addresses, masks, bad words, perplexity."""
