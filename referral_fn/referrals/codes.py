"""The codes that Partner Center documents. It adds new ones without notice, so others are kept, with a warning."""

STATUSES = {
    "None": {"None"},
    "New": {"Pending", "Received"},
    "Active": {"Accepted"},
    "Closed": {"Won", "Lost", "Declined", "Expired"},
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
SOLUTION_TYPES = {"None", "Category", "Name"}
TARGET_TYPES = {"None", "BusinessProfileLocation", "SolutionProfile"}

MICROSOFT = "msft"
"""The organization ID of Microsoft."""
