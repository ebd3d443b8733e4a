"""Entra ID's refusals in plain words: what is wrong, and what to do."""

import re

CONSENT = "run `python -m referral_fn consent`"
_ADVICE = {
    "50020": "the user is not of the app's tenant",
    "50034": "the user is not of the app's tenant",
    "50057": f"the user who consented is disabled: have another one {CONSENT}",
    "50076": f"multi-factor authentication is demanded again: {CONSENT}",
    "50078": f"multi-factor authentication has expired: {CONSENT}",
    "50079": f"the user must register for multi-factor authentication, and then {CONSENT}",
    "50173": f"the consent was revoked, as by a new password: {CONSENT}",
    "53000": "conditional access refuses the device: exempt this app's sign-ins, or sign in from a compliant one",
    "53003": "conditional access refuses the sign-in: see the policy in Entra's sign-in log",
    "65001": "the app lacks consent: an administrator must grant its permissions",
    "70008": f"the consent has expired: {CONSENT}",
    "70043": f"the consent has expired by the tenant's sign-in frequency: {CONSENT}",
    "700016": "REFERRALS_APP_CLIENT_ID names no app of the tenant",
    "700082": f"the consent has expired, for it was not used for 90 days: {CONSENT}",
    "700084": f"the consent has expired: {CONSENT}",
    "700211": "no federated credential of the app has the managed identity's issuer: compare its tenant",
    "700212": "no federated credential of the app has the audience api://AzureADTokenExchange",
    "700213": "no federated credential of the app has the managed identity's object ID as its subject",
    "700024": "the managed identity's token is not valid now: look at the clock",
    "7000112": "the app registration is disabled",
    "7000215": "the app's credential is refused",
    "90002": "REFERRALS_APP_TENANT_ID names no tenant",
    "500014": "Partner Center's service principal is disabled in the tenant",
    "5000225": "the tenant is blocked",
}
"""Entra ID's error numbers that matter here ("Microsoft Entra authentication and authorization error codes")."""

LAPSED = {"50057", "50076", "50078", "50079", "50173", "53000", "53003", "65001", "70008", "70043", "700082", "700084"}
_NUMBER = re.compile(r"AADSTS(\d+)")


def number(text: str) -> str | None:
    """The number of an error, from a text of Entra's that holds one."""
    match = _NUMBER.search(text)
    return match[1] if match else None


def explain(error: BaseException) -> str:
    """What is wrong and what to do, in one sentence. Entra's own text is left out: it may name people."""
    found = number(str(error))
    if found is None:
        status = getattr(error, "status_code", None)
        return f"{type(error).__name__} ({status})" if status else type(error).__name__
    return f"AADSTS{found}: {_ADVICE.get(found, 'see the Microsoft Entra error codes')}"
