import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.pii import EMAIL, IP, KINDS, PHONE, mask_pii


@pytest.mark.parametrize(
    "number", ["2831823829", "(283)-182-3829", "(283) 182 3829", "283-182-3829", "+1 283-182-3829"]
)
def test_us_numbers(number):
    text, counts = mask_pii(f"call {number}, or write")
    assert text == f"call {PHONE}, or write"
    assert counts["phone"] == 1


@pytest.mark.parametrize("address", ["ada@example.org", "a.b+c@mail.example.co.uk", "x_1@ab-c.de"])
def test_email(address):
    text, counts = mask_pii(f"write to <{address}>.")
    assert text == f"write to <{EMAIL}>."
    assert counts["email"] == 1


@pytest.mark.parametrize("address", ["192.0.2.146", "0.0.0.0", "255.255.255.255"])
@pytest.mark.parametrize("after", [".", ", then", "\n", ":80", ""])
def test_ip(address, after):
    text, counts = mask_pii(f"the host {address}{after}")
    assert text == f"the host {IP}{after}"
    assert counts["ip"] == 1


@pytest.mark.parametrize(
    "text",
    [
        f"{EMAIL} {PHONE} {IP}",
        "256.1.1.1 and 1.2.3.999 and 1.2.3 and 1.2.3.4.5",
        "$2831823829 and 2,831,823,829 and 28318238290 and 283182382",
        "an @handle, a@b and foo@",
        "from 1790 to 2026, 1234-5678",
    ],
)
def test_others_stay(text):
    masked, counts = mask_pii(text)
    assert masked == text
    assert counts == {"email": 0, "phone": 0, "ip": 0}


@given(st.lists(st.sampled_from(["ada@example.org", "283-182-3829", "192.0.2.1", "and", "word.", "7"]), max_size=12))
def test_masked_text_is_not_counted_again(pieces):
    masked, counts = mask_pii(" ".join(pieces))
    assert counts["email"] == pieces.count("ada@example.org")
    assert counts["ip"] == pieces.count("192.0.2.1")
    again, more = mask_pii(masked)
    assert again == masked
    assert not any(more.values())


@pytest.mark.parametrize("piece", ["a", "a.", "1", "1.", "@", "a@", "(283) ", "1-", "x@a."])
def test_no_text_makes_masking_slow(piece):
    start = time.process_time()
    mask_pii(piece * (200_000 // len(piece)))
    assert time.process_time() - start < 2


@given(
    st.lists(
        st.sampled_from(
            ["ada@x.org", "283-182-3829", "192.0.2.1.", "\n", " ", "a", ".", "1", "@", "(283) 182 3829", EMAIL, "\r"]
        ),
        max_size=14,
    )
)
def test_looking_only_at_lines_with_a_part_changes_nothing(pieces):
    text = expected = "".join(pieces)
    for _, _, pattern, mask in KINDS:
        expected = pattern.sub(mask, expected)
    assert mask_pii(text)[0] == expected
