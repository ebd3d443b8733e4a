// The three queues, in a Service Bus namespace. Private endpoints are for its Premium tier only.
param token string
param location string
param tags object
param principalId string
param workspaceId string
param isPrivate bool
param endpointSubnetId string
param networkId string
param maxDeliveryCount int

var forEver = 'P10675199DT2H48M5.4775807S'

resource namespace 'Microsoft.ServiceBus/namespaces@2022-10-01-preview' = {
  name: 'sb-${token}'
  location: location
  tags: tags
  sku: isPrivate ? { name: 'Premium', tier: 'Premium', capacity: 1 } : { name: 'Standard', tier: 'Standard' }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

resource requests 'Microsoft.ServiceBus/namespaces/queues@2022-10-01-preview' = {
  parent: namespace
  name: 'referral-requests'
  properties: {
    defaultMessageTimeToLive: forEver
    deadLetteringOnMessageExpiration: true
    lockDuration: 'PT5M'
    maxDeliveryCount: maxDeliveryCount
  }
}

resource events 'Microsoft.ServiceBus/namespaces/queues@2022-10-01-preview' = {
  parent: namespace
  name: 'referral-events'
  properties: {
    defaultMessageTimeToLive: forEver
    deadLetteringOnMessageExpiration: true
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'P7D'
  }
}

// Each look that replay takes at a reject counts as a delivery
resource rejects 'Microsoft.ServiceBus/namespaces/queues@2022-10-01-preview' = {
  parent: namespace
  name: 'referral-rejects'
  properties: {
    defaultMessageTimeToLive: forEver
    deadLetteringOnMessageExpiration: true
    lockDuration: 'PT5M'
    maxDeliveryCount: 2000
  }
}

// Azure Service Bus Data Sender: the app puts requests that it defers, or was asked for by webhook or over HTTP
resource sendsRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(requests.id, principalId, '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  scope: requests
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  }
}

// Azure Service Bus Data Receiver: the trigger takes requests, and the scale controller looks how many there are
resource takesRequests 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(requests.id, principalId, '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
  scope: requests
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
  }
}

// Azure Service Bus Data Sender: the app puts events
resource sendsEvents 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(events.id, principalId, '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  scope: events
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  }
}

// Azure Service Bus Data Sender: the app puts rejects
resource sendsRejects 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(rejects.id, principalId, '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  scope: rejects
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: namespace
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'OperationalLogs', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = if (isPrivate) {
  name: 'service-bus-endpoint'
  params: {
    name: namespace.name
    location: location
    tags: tags
    serviceId: namespace.id
    groupId: 'namespace'
    zoneName: 'privatelink.servicebus.windows.net'
    subnetId: endpointSubnetId
    networkId: networkId
  }
}

var fullName = split(split(namespace.properties.serviceBusEndpoint, '//')[1], ':')[0]

output namespaceId string = namespace.id
output queues object = {
  eventsUrl: 'sb://${fullName}/${events.name}'
  rejectsUrl: 'sb://${fullName}/${rejects.name}'
  requestsUrl: 'sb://${fullName}/${requests.name}'
  requestsName: requests.name
  connection: { ReferralRequests__fullyQualifiedNamespace: fullName }
}
