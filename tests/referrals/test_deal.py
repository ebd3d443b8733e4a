from tests.documents import data_of


def test_a_deal_has_value_currency_and_date() -> None:
    details = {"dealValue": 1200.5, "currency": "EUR", "closingDateTime": "2026-12-31T00:00:00Z", "incentiveLevel": "A"}
    assert data_of(details=details)["deal"] == {
        "value": "1200.5",
        "currency": "EUR",
        "closesAt": "2026-12-31T00:00:00.000000Z",
        "incentiveLevel": "A",
    }


def test_requirements_come_as_ids_or_as_objects_with_ids() -> None:
    requirements = {
        "industries": [{"id": "Retail"}, None, {}],
        "offers": ["offer-1", {"id": "offer-2"}],
        "salesPlays": [{"id": "play-1"}],
        "additionalRequirements": {"attributes": [{"type": "CustomerMarketplaceIntent", "id": "HaveNotDecided"}]},
    }
    assert data_of(details={"requirements": requirements})["requirements"] == {
        "industries": ["Retail"],
        "offers": ["offer-1", "offer-2"],
        "salesPlays": ["play-1"],
        "marketplaceIntent": "HaveNotDecided",
        "attributes": [{"type": "CustomerMarketplaceIntent", "id": "HaveNotDecided"}],
    }
    assert data_of(details=None, customerMarketplaceIntent="Yes")["requirements"] == {"marketplaceIntent": "Yes"}


def test_a_solution_keeps_price_quantity_and_publisher() -> None:
    solution = {
        "id": "SOL-1",
        "name": "Commerce",
        "type": "Name",
        "solutionType": "3P",
        "publisherName": "Fabrikam",
        "price": 9.90,
        "quantity": 3,
        "currency": "EUR",
        "closingDateTime": "2026-12-31T00:00:00Z",
    }
    assert data_of(details={"requirements": {"solutions": [solution]}})["requirements"]["solutions"] == [
        {
            "id": "SOL-1",
            "name": "Commerce",
            "type": "Name",
            "solutionType": "3P",
            "publisherName": "Fabrikam",
            "price": "9.9",
            "quantity": "3",
            "currency": "EUR",
            "closesAt": "2026-12-31T00:00:00.000000Z",
        }
    ]


def test_registrations_keep_their_contract() -> None:
    registration = {"id": "R-1", "status": "Approved", "contract": {"value": 1000, "currency": "USD", "term": "P1Y"}}
    assert data_of(registrations=[registration, None, {}])["registrations"] == [
        {"id": "R-1", "status": "Approved", "contract": {"value": "1000", "currency": "USD", "term": "P1Y"}}
    ]
