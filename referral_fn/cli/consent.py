"""`consent`: a user signs in once, and the refresh token is stored for the app."""

import argparse
import os
from typing import get_args

from referral_fn.cli import output
from referral_fn.cli.session import open_session_as
from referral_fn.credentials.sign_in import Flow, sign_in
from referral_fn.credentials.vault import Secret
from referral_fn.settings import read_credential_settings

HELP = "sign a user in, and store their consent for REFERRALS_AUTH=app-user"
ROLES = (
    "for the user who runs it, Key Vault Secrets Officer on the vault; "
    "for the user who signs in, Referrals Admin in Partner Center"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--flow",
        choices=get_args(Flow),
        default="browser",
        help="where the user signs in: in a browser on this machine, the default; "
        "or on any device, which many tenants block",
    )
    parser.add_argument(
        "--auth",
        default="developer",
        help="whose credentials store the consent; default: developer, which is `az login`",
    )


async def run(options: argparse.Namespace) -> int:
    """Sign a user in, and store their refresh token, which is never printed."""
    settings = read_credential_settings({**os.environ, "REFERRALS_AUTH": "app-user"})
    signed_in = await sign_in(settings, flow=options.flow, show=output.line)
    output.line(f"{signed_in.user} of tenant {signed_in.tenant} has signed in.")
    if signed_in.multi_factor is None:
        output.note(
            "Entra ID does not say whether this was with multi-factor authentication, without which Partner Center "
            "refuses the app: check it with `referral-fn doctor --referral ID`."
        )
    async with open_session_as(options.auth) as session:
        secret = Secret(settings.refresh_token_secret or "", session.http, session.tokens.identity)
        await secret.write(signed_in.refresh_token)
    output.line("The consent is stored in Key Vault.")
    return 0
