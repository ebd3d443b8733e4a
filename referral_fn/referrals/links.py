"""Where Partner Center has a referral."""

from urllib.parse import quote, urljoin

from referral_fn.referrals import wire
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.referral_parts import Links, present

MAX_LENGTH = 2048
"""Characters of a URL that is made absolute and escaped. Longer ones stay as sent, with a warning."""

_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;="
"""What a URL may contain besides letters, digits and `-._~` (RFC 3986, section 2)."""


def links(given: wire.Links | None, collection: str, warnings: Warnings) -> Links | None:
    """Make a referral's links absolute. They are relative to the collection's URL in the API of 2018."""
    if given is None:
        return None
    return present(
        Links(
            self=_absolute(given.self, collection, "/links/self", warnings),
            related=_absolute(given.relatedReferrals, collection, "/links/related", warnings),
        )
    )


def _absolute(link: wire.Link | None, collection: str, path: str, warnings: Warnings) -> str | None:
    if not (link and link.uri):
        return None
    try:
        if len(link.uri) > MAX_LENGTH:
            raise ValueError
        url = urljoin(collection, link.uri).replace("/engagments/", "/engagements/")  # the API's own misspelling
        return quote(url, safe=_URL_CHARACTERS)
    except ValueError:
        warnings.add(path, "is not a URL")
        return link.uri
