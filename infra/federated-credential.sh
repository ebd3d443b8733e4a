#!/usr/bin/env bash
# Let the Function App's identity act as an app registration, without a secret. Run it again as often as you like.
#
#   infra/federated-credential.sh {app registration's client ID} {identity's principal ID}
#
# The second is IDENTITY_PRINCIPAL_ID of `azd env get-values`. You need to own the registration, or be an Application
# Administrator, and to be signed in: az login.
set -euo pipefail
app=${1:?the client ID of the app registration}
principal=${2:?the principal ID of the identity}
name=function-app-$principal

tenant=$(az account show --query tenantId --output tsv)
authority=$(az cloud show --query endpoints.activeDirectory --output tsv)
credential=$(printf '{"name": "%s", "issuer": "%s/%s/v2.0", "subject": "%s", "audiences": ["api://AzureADTokenExchange"]}' \
  "$name" "${authority%/}" "$tenant" "$principal")

if az ad app federated-credential show --id "$app" --federated-credential-id "$name" --output none 2>/dev/null; then
  az ad app federated-credential update --id "$app" --federated-credential-id "$name" --parameters "$credential"
else
  az ad app federated-credential create --id "$app" --parameters "$credential" --output none
fi
echo "$principal can act as $app"
