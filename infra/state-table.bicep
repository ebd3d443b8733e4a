// The table that remembers what was forwarded, in a storage account of its own.
param token string
param location string
param tags object
param principalId string
param workspaceId string
param isPrivate bool
param endpointSubnetId string
param networkId string

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: 'ststate${token}'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_ZRS' }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    defaultToOAuthAuthentication: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

resource service 'Microsoft.Storage/storageAccounts/tableServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource table 'Microsoft.Storage/storageAccounts/tableServices/tables@2023-05-01' = {
  parent: service
  name: 'referrals'
}

// Storage Table Data Contributor: the app reads, writes and removes rows
resource keepsRows 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(table.id, principalId, '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  scope: table
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: service
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  name: 'state-table-endpoint'
  params: {
    name: '${account.name}-table'
    location: location
    tags: tags
    serviceId: account.id
    groupId: 'table'
    zoneName: 'privatelink.table.${environment().suffixes.storage}'
    subnetId: endpointSubnetId
    networkId: networkId
  }
}

output tableUrl string = '${account.properties.primaryEndpoints.table}${table.name}'
