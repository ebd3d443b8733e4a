"""Where Partner Center has a referral."""

import re
from urllib.parse import quote, urljoin

from referral_fn.referrals import wire
from referral_fn.referrals.findings import Warnings
from referral_fn.referrals.referral_parts import Links, present

MAX_LENGTH = 2048
"""Characters of a URL that is made absolute and escaped. Longer ones stay as sent, with a warning."""

_PLAIN = re.compile(r"https://[a-z0-9.-]+(?:/[A-Za-z0-9._~-]+)+")
"""A URL that needs no change. Most are, and the standard library's functions take 10 us to find that out."""

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9][A-Za-z0-9_~-]*)+/?(?:\?[A-Za-z0-9_~=&.-]+)?")
"""An absolute path, as in the API of 2018, that needs no change but its host."""

_URL_CHARACTERS = "%:/?#[]@!$&'()*+,;="
"""What a URL may contain besides letters, digits and `-._~` (RFC 3986, section 2)."""


def links(sent: wire.Links | None, collection: str, warnings: Warnings) -> Links | None:
    """Make a referral's links absolute. They are relative to the collection's URL in the API of 2018."""
    if sent is None:
        return None
    return present(
        Links(
            self=_absolute(sent.self, collection, "/links/self", warnings),
            related=_absolute(sent.relatedReferrals, collection, "/links/related", warnings),
        )
    )


def _absolute(link: wire.Link | None, collection: str, path: str, warnings: Warnings) -> str | None:
    if not (link and link.uri):
        return None
    if len(link.uri) > MAX_LENGTH:
        warnings.add(path, f"has more than {MAX_LENGTH} characters")
        return link.uri
    uri = link.uri.replace("/engagments/", "/engagements/")  # the API's own misspelling
    if _PLAIN.fullmatch(uri):
        return uri
    if _PLAIN_PATH.fullmatch(uri):
        return "/".join(collection.split("/", 3)[:3]) + uri
    try:
        return quote(urljoin(collection, uri), safe=_URL_CHARACTERS)
    except ValueError:
        warnings.add(path, "is not a URL")
        return uri
