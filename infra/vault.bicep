// The consent of the user for whom the app acts, in mode app-user: one secret, which the app renews.
param token string
param location string
param tags object
param principalId string
param workspaceId string
param isPrivate bool
param endpointSubnetId string
param networkId string

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: 'kv-${token}'
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 90
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: { bypass: 'None', defaultAction: isPrivate ? 'Deny' : 'Allow' }
  }
}

// Key Vault Secrets Officer: the app reads the refresh token and writes its successor. The vault holds nothing else, and a
// role cannot be given on a secret before somebody has stored it
resource keepsConsent 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'AuditEvent', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  name: 'vault-endpoint'
  params: {
    name: vault.name
    location: location
    tags: tags
    serviceId: vault.id
    groupId: 'vault'
    zoneName: 'privatelink.vaultcore.azure.net'
    subnetId: endpointSubnetId
    networkId: networkId
  }
}

output secretUrl string = '${vault.properties.vaultUri}secrets/referrals-refresh-token'
