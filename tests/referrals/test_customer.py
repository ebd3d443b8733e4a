from typing import Any

import pytest

from tests.documents import data_of


@pytest.mark.parametrize(
    ("country", "expected"), [("US", "US"), ("usa", "US"), ("DEU", "DE"), (" jp ", "JP"), ("Wonderland", "Wonderland")]
)
def test_countries_become_alpha_2(country: str, expected: str) -> None:
    data = data_of(customerProfile={"address": {"country": country}})
    assert data["customer"]["address"]["country"] == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1to9employees", {"code": "1to9employees", "min": 1, "max": 9}),
        ("10001to20000employees", {"code": "10001to20000employees", "min": 10001, "max": 20000}),
        ("Morethan500employees", {"code": "Morethan500employees", "min": 501}),
        ("Morethan20000employees", {"code": "Morethan20000employees", "min": 20001}),
        ("many", {"code": "many"}),
    ],
)
def test_sizes_become_ranges(size: str, expected: dict[str, Any]) -> None:
    assert data_of(customerProfile={"size": size})["customer"]["size"] == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([{"profileType": "Duns", "id": "795986822"}], [{"type": "Duns", "id": "795986822"}]),
        ([None, {}, {"id": 5}], [{"id": "5"}]),
        ({"profileType": "Duns", "id": "795986822"}, [{"type": "Duns", "id": "795986822"}]),
        ({"Duns": "795986822"}, [{"type": "Duns", "id": "795986822"}]),
    ],
)
def test_identifiers_come_as_a_list_or_an_object(ids: Any, expected: list[Any]) -> None:
    assert data_of(customerProfile={"ids": ids})["customer"]["ids"] == expected


@pytest.mark.parametrize("ids", [{}, [], None])
def test_no_identifiers_are_absent(ids: Any) -> None:
    assert "customer" not in data_of(customerProfile={"ids": ids})


def test_an_identifier_without_an_id_is_dropped() -> None:
    ids = [{"profileType": "Duns", "id": ""}, {"profileType": "External", "id": "6-ABC"}, {"profileType": "Duns"}]
    assert data_of(customerProfile={"ids": ids})["customer"]["ids"] == [{"type": "External", "id": "6-ABC"}]
