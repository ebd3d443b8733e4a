from urllib.parse import urljoin

from hypothesis import given
from hypothesis import strategies as st

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


@given(st.from_regex(r"/?(/[a-z.~-]{0,3}){0,4}(\?[a-z=&./]{0,5})?", fullmatch=True))
def test_a_path_becomes_absolute_as_in_a_browser(uri: str) -> None:
    expected = {"self": urljoin(COLLECTION, uri)} if uri else None
    assert data_of(links={"self": {"uri": uri}}).get("links") == expected
