from referral_fn.referrals.normalization import normalize
from referral_fn.referrals.wire import read_referral
from tests.documents import COLLECTION, SEED_ID, data_of, event_of, seed


def test_undeclared_fields_are_kept_where_upstream_has_them() -> None:
    document = seed(score="Campaign", trackingInfo=None, links=None, attributes=None)
    document["customerProfile"]["address"]["floor"] = 3
    document["team"] = [{}, {"role": "Seller"}]
    document["details"]["requirements"]["solutions"] = [{"id": "1", "weight": 1.5}]
    assert event_of(document).data["extra"] == {
        "score": "Campaign",
        "customerProfile": {"address": {"floor": 3}},
        "team": {"1": {"role": "Seller"}},
        "details": {"requirements": {"solutions": {"0": {"weight": 1.5}}}},
    }


def test_undeclared_numbers_keep_their_digits() -> None:
    number = "12345678901234567.89"
    body = f'{{"id": "{SEED_ID}", "score": {number}, "details": {{"margins": [{{"value": {number}}}]}}}}'.encode()
    encoded = normalize(read_referral(body, SEED_ID), collection=COLLECTION).encode().decode()
    assert f'"extra":{{"score":{number},"details":{{"margins":[{{"value":{number}}}]}}}}' in encoded


def test_noise_is_left_out() -> None:
    links = {"self": {"uri": "/x", "method": "GET", "headers": [{"key": "a"}]}, "relatedReferrals": {"method": "GET"}}
    data = data_of(links=links, attributes=None, **{"@odata.context": "https://example.com/$metadata"})
    assert "extra" not in data


def test_values_of_unexpected_shapes_are_reported_in_the_order_of_the_fields() -> None:
    names = ["mpnId", "salesStage", "referralSource", "campaignId", "createdVia", "solutionArea", "solutionPlay"]
    data = data_of(**{name: ["?"] for name in reversed(names)})
    paths = [finding["path"] for finding in data["warnings"] if finding["path"].startswith("/extra/")]
    assert paths == [f"/extra/{name}" for name in names]
    assert [name for name in data["extra"] if name in names] == names
