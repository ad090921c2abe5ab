"""Each byte as one printable character, so that tokens can stand in a JSON or text file that people read.

Bytes that are visible Latin-1 characters stand for themselves; the 68 others (controls, spaces, the soft hyphen) take
the code points from 256 up in byte order, so a space is `Ġ` and a line feed `Ċ`. This is the mapping of the GPT-2
files (`vocab.json`, `merges.txt`) and of every vocabulary format that came after them. No mapped character is
whitespace, so a space can separate two tokens.
"""

_VISIBLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]

CHARACTER_OF_BYTE = {byte: chr(byte) for byte in _VISIBLE} | {
    byte: chr(256 + number) for number, byte in enumerate(_HIDDEN)
}
BYTE_OF_CHARACTER = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}


def to_printable(data: bytes) -> str:
    """Bytes as a printable string of the same length."""
    return "".join(CHARACTER_OF_BYTE[byte] for byte in data)


def from_printable(text: str) -> bytes:
    """The bytes of a printable string; a `ValueError` names a character that stands for none."""
    try:
        return bytes([BYTE_OF_CHARACTER[character] for character in text])
    except KeyError as error:
        raise ValueError(f"the character {error.args[0]!r} in {text!r} stands for no byte") from None
