"""Raw text to kept documents: sources, cleaning, filters, deduplication, splits; and the n-gram baseline. No torch."""
