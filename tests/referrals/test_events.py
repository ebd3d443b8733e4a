import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given

from referral_fn import strict_json
from referral_fn.referrals import events
from tests.documents import encode, event_of, json_values, seed


def event(extra: dict[str, Any]) -> events.Event[Any]:
    return dataclasses.replace(event_of(seed()), data={**event_of(seed()).data, "extra": extra})


@given(json_values)
def test_an_event_is_encoded_with_the_values_it_has(value: Any) -> None:
    sample = event({"value": strict_json.loads(encode(value))})
    assert json.loads(sample.encode()) == json.loads(strict_json.dumps(sample.document()))


@pytest.mark.parametrize("number", ["12345678901234567.89", "5e-324", "1.10"])
def test_a_number_is_encoded_with_the_digits_it_has(number: str) -> None:
    encoded = event(strict_json.loads(f'{{"number": {number}}}')).encode().decode()
    assert f'"extra":{{"number":{number}}}' in encoded


@pytest.mark.parametrize("number", ["1e999", "-1E400"])
def test_no_number_of_an_answer_becomes_one_that_json_does_not_have(number: str) -> None:
    encoded = event(strict_json.loads(f'{{"number": {number}}}')).encode()
    assert strict_json.loads(encoded)["data"]["extra"] == {"number": number}  # refuses NaN and Infinity


def test_what_utf8_cannot_spell_is_written_as_a_question_mark() -> None:
    broken = dataclasses.replace(event_of(seed()), extensions={"tracestate": "a=\udcff"})
    assert json.loads(broken.encode())["tracestate"] == "a=?"


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        event_of(seed()).id = "another"  # type: ignore[misc]
