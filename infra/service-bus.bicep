// The three queues, in a Service Bus namespace. Private endpoints are for its Premium tier only.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }
param isPrivate bool
param maxDeliveryCount int

@description('The operator or group that may read events and replay rejects. Empty: nobody.')
param principalId string
param principalType string

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

var neverExpires = 'P10675199DT2H48M5.4775807S'

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' = {
  name: 'sb-${suffix}'
  location: location
  tags: tags
  sku: isPrivate ? { name: 'Premium', tier: 'Premium', capacity: 1 } : { name: 'Standard', tier: 'Standard' }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

resource requests 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: 'referral-requests'
  properties: {
    defaultMessageTimeToLive: neverExpires
    deadLetteringOnMessageExpiration: true
    lockDuration: 'PT5M'
    maxDeliveryCount: maxDeliveryCount
  }
}

resource events 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: 'referral-events'
  properties: {
    defaultMessageTimeToLive: neverExpires
    deadLetteringOnMessageExpiration: true
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'P7D'
  }
}

// Each time that replay reads a reject counts as a delivery
resource rejects 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: 'referral-rejects'
  properties: {
    defaultMessageTimeToLive: neverExpires
    deadLetteringOnMessageExpiration: true
    lockDuration: 'PT5M'
    maxDeliveryCount: 2000
  }
}

// Azure Service Bus Data Owner: the app sends requests and the trigger receives them. The scale controller reads the queue's length,
// which takes Manage: with Data Receiver it peeks at one message, and never starts a second instance. Owner of this queue alone
resource ownsRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(requests.id, identity.id, '090c5cfd-751d-490a-894a-3ce6f1109419')
  scope: requests
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '090c5cfd-751d-490a-894a-3ce6f1109419')
  }
}

// Azure Service Bus Data Sender: the app sends events
resource sendsEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(events.id, identity.id, '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  scope: events
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  }
}

// Azure Service Bus Data Sender: the app sends rejects
resource sendsRejects 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(rejects.id, identity.id, '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  scope: rejects
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  }
}

// Azure Service Bus Data Receiver: the operator reads events
resource operatorReadsEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(events.id, principalId, '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
  scope: events
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
  }
}

// Azure Service Bus Data Receiver: replay reads rejects
resource operatorReadsRejects 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(rejects.id, principalId, '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
  scope: rejects
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
  }
}

// Azure Service Bus Data Sender: replay puts requests back
resource operatorSendsRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(requests.id, principalId, '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  scope: requests
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  }
}

// Runtime audit logs are a category of the Premium tier. The released version of the type is of 2016
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: namespace
  properties: {
    workspaceId: workspace.id
    logs: isPrivate
      ? [
          { category: 'OperationalLogs', enabled: true }
          { category: 'RuntimeAuditLogs', enabled: true }
        ]
      : [
          { category: 'OperationalLogs', enabled: true }
        ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  params: {
    suffix: suffix
    name: namespace.name
    location: location
    tags: tags
    serviceId: namespace.id
    groupId: 'namespace'
    zoneName: 'privatelink.servicebus.windows.net'
  }
}

// The endpoint is https://{namespace}:443/
var fullName = split(split(namespace.properties.serviceBusEndpoint, ':')[1], '/')[2]
var base = 'sb://${fullName}'

output queues queues = {
  eventsUrl: uri(base, events.name)
  rejectsUrl: uri(base, rejects.name)
  requestsUrl: uri(base, requests.name)
  requestsName: requests.name
  connection: { ReferralRequests__fullyQualifiedNamespace: fullName }
}
