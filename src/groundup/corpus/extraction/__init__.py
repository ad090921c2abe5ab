"""HTML to text: decoding, a guard against pages that stall a parser, main-content extraction, one function for all."""
