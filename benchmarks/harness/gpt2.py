"""GPT-2's pre-token pattern and its printable letters for bytes, as published with the model (Radford et al. 2019)."""

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def printable_bytes() -> dict[int, str]:
    """GPT-2's alphabet: printable Latin-1 characters stand for themselves, the others follow from U+0100 up."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
