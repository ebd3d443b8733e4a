"""What kind of lead a referral is."""

from referral_fn.referrals.codes import MICROSOFT
from referral_fn.referrals.referral_data import Category
from referral_fn.referrals.wire import Referral


def category(referral: Referral) -> Category:
    """Classify a referral by its type, its qualification and who invited the partner, as Partner Center documents."""
    invited_by = referral.inviteContext and referral.inviteContext.invitedBy
    inviter = invited_by.organizationId if invited_by else None
    by_microsoft = inviter is not None and inviter.lower() == MICROSOFT
    match referral.type, referral.qualification or "None":
        case "Independent", "Direct" if by_microsoft or inviter is None:
            return "MarketplaceLead"
        case "Independent", "SalesQualified" | "MarketingQualified" if by_microsoft:
            return "QualifiedLead"
        case "Independent" | "Shared", "SalesQualified" | "None" if inviter is not None and not by_microsoft:
            return "CoSellOpportunity"
    return "Unknown"
