"""What commands print: JSON with the digits as sent, and nothing that a terminal obeys."""

import json

import pytest

from referral_fn import strict_json
from referral_fn.cli import output

NUMBERS = '{"amount":25000.00,"large":12345678901234567.89,"text":"25000.00"}'


@pytest.mark.parametrize("pretty", [True, False])
def test_json_keeps_the_digits_of_numbers(pretty: bool) -> None:
    printed = output.document(strict_json.loads(NUMBERS), pretty=pretty)
    assert printed.replace("\n", "").replace(" ", "") == NUMBERS


@pytest.mark.parametrize("pretty", [True, False])
def test_json_holds_nothing_that_a_terminal_obeys_and_means_the_same(pretty: bool) -> None:
    value = {"text": "\x1b[31m\u202e\u2028é"}
    printed = output.document(value, pretty=pretty)
    assert not {"\x1b", "\u202e", "\u2028"} & set(printed)
    assert json.loads(printed) == value
