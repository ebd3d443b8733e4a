// The three queues, in a storage account of their own, and the host's poison queue.
param token string
param location string
param tags object
param principalId string
param workspaceId string
param isPrivate bool
param endpointSubnetId string
param networkId string

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: 'stref${token}'
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

resource service 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource requests 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = {
  parent: service
  name: 'referral-requests'
}

resource poison 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = {
  parent: service
  name: '${requests.name}-poison'
}

resource events 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = {
  parent: service
  name: 'referral-events'
}

resource rejects 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = {
  parent: service
  name: 'referral-rejects'
}

// Storage Queue Data Contributor: the app puts requests; the trigger takes and removes them, and looks with the scale
// controller how many there are; and one that failed it makes visible again (Update Message), which no smaller role allows
resource worksOnRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(requests.id, principalId, '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  scope: requests
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  }
}

// Storage Queue Data Message Sender: the host moves a message there that stopped it too often
resource sendsPoison 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(poison.id, principalId, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: poison
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

// Storage Queue Data Message Sender: the app puts events
resource sendsEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(events.id, principalId, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: events
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

// Storage Queue Data Message Sender: the app puts rejects
resource sendsRejects 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(rejects.id, principalId, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: rejects
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

// The alerts about the poison queue and about standstill read StorageQueueLogs
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: service
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  name: 'storage-queues-endpoint'
  params: {
    name: '${account.name}-queue'
    location: location
    tags: tags
    serviceId: account.id
    groupId: 'queue'
    zoneName: 'privatelink.queue.${environment().suffixes.storage}'
    subnetId: endpointSubnetId
    networkId: networkId
  }
}

var base = account.properties.primaryEndpoints.queue

output queues object = {
  eventsUrl: '${base}${events.name}'
  rejectsUrl: '${base}${rejects.name}'
  requestsUrl: '${base}${requests.name}'
  requestsName: requests.name
  connection: { ReferralRequests__queueServiceUri: base }
}
