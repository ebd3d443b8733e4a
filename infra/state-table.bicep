// The table that remembers what was forwarded, in a storage account of its own.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }
param isPrivate bool
param redundancy string

@description('The operator or group that may run reconcile and backfill. Empty: nobody.')
param principalId string
param principalType string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: 'id-${suffix}'
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' existing = {
  name: 'log-${suffix}'
}

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' = {
  name: 'ststate${suffix}'
  location: location
  // PSRule accepts local redundancy where this tag says that it is meant
  tags: redundancy == 'Standard_LRS' ? union(tags, { 'resource-usage': 'azure-functions' }) : tags
  kind: 'StorageV2'
  sku: { name: redundancy }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    defaultToOAuthAuthentication: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: { bypass: 'None', defaultAction: isPrivate ? 'Deny' : 'Allow' }
  }
}

resource service 'Microsoft.Storage/storageAccounts/tableServices@2026-06-01' = {
  parent: account
  name: 'default'
}

resource table 'Microsoft.Storage/storageAccounts/tableServices/tables@2026-06-01' = {
  parent: service
  name: 'referrals'
}

// Storage Table Data Contributor: the app reads, writes and removes rows of this table. The timer itself needs no other role: its
// schedule is in the host's blobs
resource keepsRows 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(table.id, identity.id, '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  scope: table
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  }
}

// Storage Table Data Contributor: reconcile and backfill, when an operator runs them, read and write rows
resource operatorKeepsRows 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(table.id, principalId, '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  scope: table
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  }
}

// The released version of the type is of 2016
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: service
  properties: {
    workspaceId: workspace.id
    logs: [
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  params: {
    suffix: suffix
    name: '${account.name}-table'
    location: location
    tags: tags
    serviceId: account.id
    groupId: 'table'
    zoneName: 'privatelink.table.${environment().suffixes.storage}'
  }
}

output tableUrl string = uri(account.properties.primaryEndpoints.table, table.name)
