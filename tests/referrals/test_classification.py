import pytest

from tests.documents import data_of


@pytest.mark.parametrize(
    ("type_", "qualification", "inviter", "category"),
    [
        ("Independent", "Direct", "msft", "MarketplaceLead"),
        ("Independent", "Direct", None, "MarketplaceLead"),
        ("Independent", "Direct", "MSFT", "MarketplaceLead"),
        ("Independent", "Direct", "partner-1", "Unknown"),
        ("Independent", "SalesQualified", "msft", "QualifiedLead"),
        ("Independent", "MarketingQualified", "msft", "QualifiedLead"),
        ("Independent", "MarketingQualified", "partner-1", "Unknown"),
        ("Independent", "MarketingQualified", None, "Unknown"),
        ("Independent", "SalesQualified", "partner-1", "CoSellOpportunity"),
        ("Shared", "SalesQualified", "partner-1", "CoSellOpportunity"),
        ("Shared", "None", "partner-1", "CoSellOpportunity"),
        ("Shared", None, "partner-1", "CoSellOpportunity"),
        ("Shared", "SalesQualified", "msft", "CoSellOpportunity"),
        ("Shared", "SalesQualified", None, "CoSellOpportunity"),
        ("Shared", "Direct", "msft", "Unknown"),
        (None, None, None, "Unknown"),
        ("New kind", "SalesQualified", "partner-1", "Unknown"),
    ],
)
def test_the_category_follows_from_three_fields(
    type_: str | None, qualification: str | None, inviter: str | None, category: str
) -> None:
    context = {"invitedBy": {"organizationId": inviter}}
    data = data_of(type=type_, qualification=qualification, inviteContext=context)
    assert data["category"] == category


@pytest.mark.parametrize(
    ("owner", "type_", "direction", "inviter", "side"),
    [
        ("msft", "Shared", "Incoming", "partner-1", "microsoft"),
        ("MSFT", "Independent", None, None, "microsoft"),
        ("partner-1", "Shared", "Incoming", "msft", "partner"),
        ("partner-1", "Shared", "Incoming", "partner-2", "partner"),
        ("partner-1", "Shared", "Incoming", "partner-1", "partner"),
        ("partner-1", "Shared", "Outgoing", "PARTNER-1", "partner"),
        ("partner-1", "Shared", "Outgoing", None, "partner"),
        ("partner-1", "Shared", "Outgoing", "partner-2", "otherPartner"),
        ("partner-1", "Independent", "Outgoing", "partner-2", "partner"),
        (None, "Shared", "Incoming", "msft", "unknown"),
    ],
)
def test_the_side_follows_from_owner_direction_and_inviter(
    owner: str | None, type_: str, direction: str | None, inviter: str | None, side: str
) -> None:
    context = {"invitedBy": {"organizationId": inviter}}
    assert data_of(organizationId=owner, type=type_, direction=direction, inviteContext=context)["side"] == side


@pytest.mark.parametrize(
    ("shared", "code", "deal_type"),
    [
        (False, "Unknown", "private"),
        (False, "GeneralOrOther", "private"),
        (True, "Unknown", "partner-led"),
        (True, None, "partner-led"),
        (True, "ProofOfConceptOrDemo", "co-sell"),
        (True, "HelpOfTomorrow", "co-sell"),
        (None, "ProofOfConceptOrDemo", None),
    ],
)
def test_the_deal_type_follows_from_consent_and_assistance(
    shared: bool | None, code: str | None, deal_type: str | None
) -> None:
    changes = {
        "consent": {"consentToShareReferralWithMicrosoftSellers": shared},
        "inviteContext": {"assistanceRequestCode": code},
    }
    assert data_of(**changes).get("dealType") == deal_type
    assert "dealType" not in data_of(**changes, type="Independent", qualification="Direct")
