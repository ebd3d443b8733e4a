"""Values of an unexpected shape in fields whose shape Partner Center does not document.

Such a value is no reason to reject a whole referral. It is left out of the document, and kept as an undeclared field.
"""

from typing import Any

from pydantic import BaseModel, ValidationError

Path = tuple[str | int, ...]

UNDOCUMENTED = frozenset(
    {
        *("additionalRequirements", "businessProfileId", "callToAction", "campaignId", "closedDateTime", "createdVia"),
        *("customerAction", "customerMarketplaceIntent", "customerRequestedContact", "dealSensitivity", "favorite"),
        *("emailValidationStatus", "incentiveLevel", "invitedMpnId", "isMatchingComplete", "isSpam", "lastModifiedVia"),
        *("microsoftMsxId", "mpnId", "offers", "partnerRole", "phoneValidationStatus", "price", "publisherName"),
        *("quality", "quantity", "referralProgram", "referralSource", "registrationStatus", "registrations"),
        *("salesPlays", "salesStage", "solutionArea", "solutionPlay", "solutionType", "tags", "title", "trackingInfo"),
    }
)
"""Fields seen in Partner Center's answers, its connectors and its pages, with no schema that states their shape."""


def take_out(document: dict[str, Any], error: ValidationError) -> dict[Path, Any]:
    """Take the values that an error is about, in undocumented fields, out of a document; return them by their path."""
    errors = error.errors(include_url=False, include_input=False)
    paths = dict.fromkeys(_undocumented_part(e["loc"]) for e in errors)  # in order: a set's differs between processes
    return {path: _parent(document, path).pop(path[-1]) for path in paths if path}


def put_back(model: BaseModel, misfits: dict[Path, Any]) -> None:
    """Keep the values as undeclared fields of the parts they came from."""
    for path, value in misfits.items():
        part = _parent(model, path)
        part.model_extra[path[-1]] = value


def _undocumented_part(location: Path) -> Path:
    for length, key in enumerate(location, 1):
        if key in UNDOCUMENTED:
            return location[:length]
    return ()


def _parent(whole: Any, path: Path) -> Any:
    for key in path[:-1]:
        whole = getattr(whole, str(key)) if isinstance(whole, BaseModel) else whole[key]
    return whole
