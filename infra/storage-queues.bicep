// The three queues, in a storage account of their own, and the host's poison queue.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }
param isPrivate bool
param redundancy string

@description('The operator or group that may read events and replay rejects. Empty: nobody.')
param principalId string
param principalType string

@description('Whether the account can be deleted only after its lock is.')
param deleteLock bool

@description('The three queues, and the connection of the trigger, as app settings.')
type queues = {
  eventsUrl: string
  rejectsUrl: string
  requestsUrl: string
  requestsName: string
  connection: { *: string }
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: 'id-${suffix}'
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' existing = {
  name: 'log-${suffix}'
}

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' = {
  name: 'stref${suffix}'
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

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (deleteLock) {
  name: 'keep-messages'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'The queues hold referrals that have not been read.'
  }
}

resource service 'Microsoft.Storage/storageAccounts/queueServices@2026-06-01' = {
  parent: account
  name: 'default'
}

resource requests 'Microsoft.Storage/storageAccounts/queueServices/queues@2026-06-01' = {
  parent: service
  name: 'referral-requests'
}

resource poison 'Microsoft.Storage/storageAccounts/queueServices/queues@2026-06-01' = {
  parent: service
  name: '${requests.name}-poison'
}

resource events 'Microsoft.Storage/storageAccounts/queueServices/queues@2026-06-01' = {
  parent: service
  name: 'referral-events'
}

resource rejects 'Microsoft.Storage/storageAccounts/queueServices/queues@2026-06-01' = {
  parent: service
  name: 'referral-rejects'
}

// Storage Queue Data Contributor: the app sends requests; the trigger takes and removes them, and the scale controller counts them.
// After a failure the host makes a message visible again (Update Message), which no smaller role allows
resource worksOnRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(requests.id, identity.id, '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  scope: requests
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  }
}

// Storage Queue Data Message Sender: the host moves a message there after its last failed delivery
resource sendsPoison 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(poison.id, identity.id, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: poison
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

// Storage Queue Data Message Sender: the app sends events
resource sendsEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(events.id, identity.id, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: events
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

// Storage Queue Data Message Sender: the app sends rejects
resource sendsRejects 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(rejects.id, identity.id, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: rejects
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

// Storage Queue Data Message Processor: the operator reads events
resource operatorReadsEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(events.id, principalId, '8a0f0c08-91a1-4084-bc3d-661d67233fed')
  scope: events
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '8a0f0c08-91a1-4084-bc3d-661d67233fed')
  }
}

// Storage Queue Data Contributor: replay reads and releases rejects (Update Message)
resource operatorWorksOnRejects 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(rejects.id, principalId, '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  scope: rejects
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
  }
}

// Storage Queue Data Message Sender: replay puts requests back
resource operatorSendsRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(requests.id, principalId, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  scope: requests
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
  }
}

// The alerts on the poison queue and on a standstill read StorageQueueLogs. The released version of the type is of 2016
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: service
  properties: {
    workspaceId: workspace.id
    logs: [
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  params: {
    suffix: suffix
    name: '${account.name}-queue'
    location: location
    tags: tags
    serviceId: account.id
    groupId: 'queue'
    zoneName: 'privatelink.queue.${environment().suffixes.storage}'
  }
}

var base = account.properties.primaryEndpoints.queue

output queues queues = {
  eventsUrl: uri(base, events.name)
  rejectsUrl: uri(base, rejects.name)
  requestsUrl: uri(base, requests.name)
  requestsName: requests.name
  connection: { ReferralRequests__queueServiceUri: base }
}
