import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from referral_fn import strict_json
from tests.documents import json_values


def test_nesting_is_limited() -> None:
    deepest = '{"a":' * (strict_json.MAX_DEPTH - 1) + "[1]" + "}" * (strict_json.MAX_DEPTH - 1)
    assert strict_json.loads(deepest)
    with pytest.raises(strict_json.InvalidJSONError, match="nested"):
        strict_json.loads(f'[1, {{"a":{deepest}}}]')


def test_brackets_in_strings_and_wide_objects_are_not_nesting() -> None:
    text = json.dumps({"a": "[" * 1000, "b": [{} for _ in range(1000)]})
    assert strict_json.loads(text) == json.loads(text)


def test_lone_surrogates_become_writable_and_pairs_stay() -> None:
    assert strict_json.loads('{"\\ud83d": ["\\ud83d\\ude00", "\\uDE00x"]}') == {"\ufffd": ["\U0001f600", "\ufffdx"]}


def test_what_utf8_cannot_spell_is_written_as_a_question_mark() -> None:
    assert strict_json.dumps({"a": "\udcff"}) == b'{"a":"?"}'


def test_a_byte_order_mark_is_skipped() -> None:
    assert strict_json.loads(b"\xef\xbb\xbf[1]") == strict_json.loads("\ufeff[1]") == [1]


@pytest.mark.parametrize(
    "text",
    [
        "12345678901234567.89",
        "25000.00",
        "1E3",
        "1e-7",
        "-0.0",
        "0.1",
        "123456789012345678901234567890",
        '{"a":[1.10,{"b":1.0e1}],"c":"1.10"}',
    ],
)
def test_numbers_keep_their_digits(text: str) -> None:
    assert strict_json.dumps(strict_json.loads(text)) == text.encode()


def test_a_number_beyond_a_double_keeps_its_digits_as_text() -> None:
    assert strict_json.dumps(strict_json.loads("[1e999,-1e999]")) == b'["1e999","-1e999"]'


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[-Infinity]", "1 2", "", "\ufeff\ufeff1", "{'a':1}"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(strict_json.InvalidJSONError, match="must be JSON"):
        strict_json.loads(text)


@given(json_values)
def test_json_comes_back_as_it_was(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert strict_json.loads(strict_json.dumps(strict_json.loads(text))) == strict_json.loads(text)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_sorted_keys_do_not_depend_on_the_order_of_members(members: dict[str, Any]) -> None:
    mixed = {**members, "number": strict_json.Number("1.10")}
    backwards = dict(reversed(mixed.items()))
    assert strict_json.dumps(mixed, sort_keys=True) == strict_json.dumps(backwards, sort_keys=True)
