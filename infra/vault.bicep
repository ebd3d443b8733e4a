// The consent of the user for whom the app acts, in mode app-user: one secret, which the app renews.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }
param isPrivate bool

@description('recover: the vault was deleted in the last 90 days, and comes back with its secret.')
@allowed(['default', 'recover'])
param createMode string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: 'id-${suffix}'
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' existing = {
  name: 'log-${suffix}'
}

resource vault 'Microsoft.KeyVault/vaults@2026-05-15' = {
  name: 'kv-${suffix}'
  location: location
  tags: tags
  properties: {
    createMode: createMode
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: { bypass: 'None', defaultAction: isPrivate ? 'Deny' : 'Allow' }
  }
}

// Key Vault Secrets Officer: the app reads the refresh token and stores its successor. On the vault, which holds nothing else: a role
// cannot be assigned on a secret that does not exist yet
resource keepsConsent 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')
  scope: vault
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')
  }
}

// The released version of the type is of 2016
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspace.id
    logs: [
      { category: 'AuditEvent', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  params: {
    suffix: suffix
    name: vault.name
    location: location
    tags: tags
    serviceId: vault.id
    groupId: 'vault'
    zoneName: 'privatelink.vaultcore.azure.net'
  }
}

output secretUrl string = uri(vault.properties.vaultUri, 'secrets/referrals-refresh-token')
