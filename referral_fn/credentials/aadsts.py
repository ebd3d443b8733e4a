"""Entra ID's error numbers, explained: what is wrong, and what to do.

Source: "Microsoft Entra authentication and authorization error codes".
"""

import re

CONSENT = "run `referral-fn consent`"
_ADVICE = {
    "50020": "the user is not a member of the app's tenant: sign in as one who is",
    "50034": "the user is not a member of the app's tenant: sign in as one who is",
    "50057": f"the user who consented is disabled: have another user {CONSENT}",
    "50076": f"multi-factor authentication is required again: {CONSENT}",
    "50078": f"multi-factor authentication has expired: {CONSENT}",
    "50079": f"the user must register for multi-factor authentication, and then {CONSENT}",
    "50173": f"the consent was revoked, for example by a password change: {CONSENT}",
    "53000": "conditional access refuses the device: exempt this app's sign-ins, or sign in from a compliant one",
    "53003": "conditional access refuses the sign-in: see the policy in Entra's sign-in log",
    "65001": "the app lacks consent: an administrator must grant its permissions",
    "70008": f"the consent has expired: {CONSENT}",
    "70043": f"the consent has expired by the tenant's sign-in frequency: {CONSENT}",
    "700016": "REFERRALS_APP_CLIENT_ID names no app of the tenant",
    "700082": f"the consent has expired after 90 days without use: {CONSENT}",
    "700084": f"the consent has expired: {CONSENT}",
    "700211": "no federated credential of the app has the managed identity's issuer: compare its tenant",
    "700212": "no federated credential of the app has the audience api://AzureADTokenExchange",
    "700213": "no federated credential of the app has the managed identity's object ID as its subject",
    "700025": "Entra ID takes the app for a public client: compare its redirect URIs with docs/credentials.md",
    "700024": "the managed identity's token is not valid at this time: check the clock",
    "7000112": "the app registration is disabled: enable it in Entra ID",
    "7000215": "the app's credential is refused: compare docs/credentials.md",
    "7000218": "the app registration does not allow public client flows: allow them under Authentication",
    "90002": "REFERRALS_APP_TENANT_ID names no tenant",
    "500014": "Partner Center's service principal is disabled in the tenant: enable it under Enterprise applications",
    "5000225": "the tenant is blocked: ask Microsoft's support",
}

LAPSED = {"50057", "50076", "50078", "50079", "50173", "53000", "53003", "65001", "70008", "70043", "700082", "700084"}
"""The errors that mean that the user's consent no longer works."""

_NUMBER = re.compile(r"AADSTS(\d{1,9})")


def error_number(text: str) -> str | None:
    """The first AADSTS number in a text from Entra ID."""
    match = _NUMBER.search(text)
    return match[1] if match else None


def advice(number: str) -> str:
    """What is wrong and what to do, in one sentence that begins with the number."""
    return f"AADSTS{number}: {_ADVICE.get(number, 'see the Microsoft Entra error codes')}"


def explain(error: BaseException) -> str:
    """What is wrong and what to do, in one sentence. Entra's own text is left out because it may name people."""
    if number := error_number(str(error)):
        return advice(number)
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} ({status})" if status else type(error).__name__
