from tests.documents import COLLECTION, SEED_ID, data_of


def test_links_are_absolute_and_their_misspelling_is_corrected() -> None:
    links = {
        "self": {"uri": f"https://api.partner.microsoft.com/v1.0/engagments/referrals/{SEED_ID}"},
        "relatedReferrals": f"?$filter=engagementId eq '{SEED_ID}'",
    }
    assert data_of(links=links)["links"] == {
        "self": f"https://api.partner.microsoft.com/v1.0/engagements/referrals/{SEED_ID}",
        "related": f"{COLLECTION}?$filter=engagementId%20eq%20'{SEED_ID}'",
    }
