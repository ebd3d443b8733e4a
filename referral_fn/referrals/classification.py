"""What a referral is: the kind of lead, whose side of an engagement it shows, and the type of deal."""

from referral_fn.referrals.codes import MICROSOFT, NO_ASSISTANCE
from referral_fn.referrals.referral_data import Category, DealType, Side
from referral_fn.referrals.wire import Referral


def category(referral: Referral) -> Category:
    """Return the kind of lead, by the referral's type, its qualification and who invited the partner.

    Partner Center documents the combinations for `Independent` referrals ("referrals API introduction"), and calls a
    shared one a co-sell opportunity no matter who invited ("manage co-sell opportunities").
    """
    inviter = _inviter(referral)
    match referral.type, referral.qualification or "None":
        case "Shared", "SalesQualified" | "None":
            return "CoSellOpportunity"
        case "Independent", "Direct" if inviter in (MICROSOFT, None):
            return "MarketplaceLead"
        case "Independent", "SalesQualified" | "MarketingQualified" if inviter == MICROSOFT:
            return "QualifiedLead"
        case "Independent", "SalesQualified" | "None" if inviter not in (MICROSOFT, None):
            return "CoSellOpportunity"
    return "Unknown"


def side(referral: Referral) -> Side:
    """Return whose side of the engagement the referral shows.

    The owner is `organizationId`; Microsoft's side of a shared engagement is a referral of its own. An outgoing shared
    referral whose owner is not the one who invited is that of the partner invited. All others are the partner's own:
    Partner Center shows nobody else's.
    """
    owner, inviter = _organization(referral.organizationId), _inviter(referral)
    if owner is None:
        return "unknown"
    if owner == MICROSOFT:
        return "microsoft"
    sent_on = referral.type == "Shared" and referral.direction == "Outgoing"
    return "otherPartner" if sent_on and inviter not in (owner, MICROSOFT, None) else "partner"


def deal_type(referral: Referral) -> DealType | None:
    """Return the type of a co-sell deal, or None if Microsoft's consent to see it is not known.

    A private deal is not shared with Microsoft's sellers. Of the others, a co-sell deal asks Microsoft for help, and a
    partner-led deal does not (Partner Center, "create a referral", deal types).
    """
    shared = referral.consent and referral.consent.consentToShareReferralWithMicrosoftSellers
    if shared is None or category(referral) != "CoSellOpportunity":
        return None
    if not shared:
        return "private"
    request = referral.inviteContext and referral.inviteContext.assistanceRequestCode
    return "partner-led" if request in (NO_ASSISTANCE, None) else "co-sell"


def _inviter(referral: Referral) -> str | None:
    invited_by = referral.inviteContext and referral.inviteContext.invitedBy
    return _organization(invited_by.organizationId) if invited_by else None


def _organization(organization_id: str | None) -> str | None:
    return organization_id.strip().lower() if organization_id else None
