"""The codes that Partner Center documents. It adds new ones without notice, so others are kept, with a warning."""

STATUSES = {
    "None": {"None"},
    "New": {"Pending", "Received"},
    "Active": {"Accepted"},
    "Closed": {"Won", "Lost", "Declined", "Expired", "Error"},
}
"""Each status with the substatuses that belong to it."""

SUBSTATUSES = set().union(*STATUSES.values())
QUALIFICATIONS = {"None", "Direct", "MarketingQualified", "SalesQualified"}
TYPES = {"Shared", "Independent"}
DIRECTIONS = {"Incoming", "Outgoing"}
SIZES = {
    "1to9employees",
    "10to50employees",
    "1to50employees",
    "51to250employees",
    "51to500employees",
    "251to1000employees",
    "1001to5000employees",
    "5001to10000employees",
    "10001to20000employees",
    "Morethan500employees",
    "Morethan20000employees",
}
SALES_STAGES = {"Qualify", "Develop", "Propose", "Close", *(str(percent) for percent in range(101))}
"""Stages by name, or as a percentage of the way to the end."""

NO_ASSISTANCE = "Unknown"
ASSISTANCE_REQUESTS = {
    NO_ASSISTANCE,
    "GeneralOrOther",
    "CustomerTechnicalArchitecture",
    "ProofOfConceptOrDemo",
    "QuotesOrLicensing",
    "PostSalesCustomerSuccess",
    "WorkloadSpecificValueProposition",
}
"""What kind of help the partner asks Microsoft for."""

PROFILE_TYPES = frozenset({"Duns", "External"})
SOLUTION_TYPES = {"None", "Category", "Name"}
TARGET_TYPES = frozenset({"None", "BusinessProfileLocation", "SolutionProfile"})

MARKETPLACE_INTENT = "CustomerMarketplaceIntent"
"""The type of the additional requirement that says whether the customer means to buy in the marketplace."""

MICROSOFT = "msft"
"""The organization ID of Microsoft."""
