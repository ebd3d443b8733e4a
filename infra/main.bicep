// One installation: an app that takes referrals to queues, and all it needs. Nothing in it holds a secret.
targetScope = 'subscription'

@minLength(1)
@maxLength(20)
@description('The name of the installation, such as prod. It is part of every resource\'s name.')
param environmentName string

@description('The region. It must offer Flex Consumption.')
param location string

@description('Where the three queues are: storage or servicebus. See docs/queues.md.')
@allowed(['storage', 'servicebus'])
param queueKind string = 'storage'

@description('Whether the app reaches storage, queues and vault through private endpoints only. Service Bus is Premium then.')
param privateNetwork bool = false

@description('Whom alerts are mailed to. Empty: alerts are raised, and nobody is told.')
param alertEmail string = ''

@description('Tags of every resource.')
param tags object = {}

// Scale: see docs/deploy.md. Partner Center throttles long before any of this does.

@description('MB of memory of an instance.')
@allowed([512, 2048, 4096])
param instanceMemory int = 2048

@description('How many instances there may be at once.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('HTTP requests that one instance takes at once.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 32

@description('Instances that wait for HTTP requests without being asked. Each costs by the hour.')
@minValue(0)
param alwaysReady int = 0

@allowed(['3.11', '3.12', '3.13'])
param pythonVersion string = '3.12'

// The app's settings, with the app's own defaults. Empty: not set. docs/settings.md says what each means.

param referralsUrl string = 'https://api.partner.microsoft.com/v1.0/engagements/referrals/{referralId}'
param referralsScope string = 'https://api.partner.microsoft.com/.default'

@allowed(['managed-identity', 'app-user', 'federated-app'])
param referralsAuth string
param referralsAppTenantId string = ''
param referralsAppClientId string = ''

@allowed(['full', 'contactable', 'consented', 'none'])
param referralContacts string = 'full'
param webhookCertificateHosts string = '3psostorageacct.blob.core.windows.net'
param webhookExtraRoots string = ''
param webhookMaxAge string = ''
param retryBudget string = '20'
param deferralSchedule string = '10,60,300,1800,7200,21600,43200,86400'

@description('Whether a table remembers what was forwarded: see docs/operations.md.')
param withState bool = true
param stateRetentionDays int = 400
param reconcileSchedule string = '0 17 * * * *'
param backfillRate int = 5
param webhookUrl string = ''
param webhookApi string = 'https://api.partnercenter.microsoft.com'
param serviceBusMaxMessage int = 262144
param serviceBusMaxDeliveryCount int = 10

var token = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, { 'azd-env-name': environmentName })
var needsVault = referralsAuth == 'app-user'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-referrals-${environmentName}'
  location: location
  tags: allTags
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
  }
}

module identity 'identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    insightsName: monitoring.outputs.insightsName
  }
}

module network 'network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
  }
}

module host 'host-storage.bicep' = {
  name: 'host-storage'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    isPrivate: privateNetwork
    endpointSubnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    networkId: privateNetwork ? network!.outputs.networkId : ''
  }
}

module storageQueues 'storage-queues.bicep' = if (queueKind == 'storage') {
  name: 'storage-queues'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    isPrivate: privateNetwork
    endpointSubnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    networkId: privateNetwork ? network!.outputs.networkId : ''
  }
}

module serviceBus 'service-bus.bicep' = if (queueKind == 'servicebus') {
  name: 'service-bus'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    isPrivate: privateNetwork
    endpointSubnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    networkId: privateNetwork ? network!.outputs.networkId : ''
    maxDeliveryCount: serviceBusMaxDeliveryCount
  }
}

module state 'state-table.bicep' = if (withState) {
  name: 'state-table'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    isPrivate: privateNetwork
    endpointSubnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    networkId: privateNetwork ? network!.outputs.networkId : ''
  }
}

module vault 'vault.bicep' = if (needsVault) {
  name: 'vault'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    isPrivate: privateNetwork
    endpointSubnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    networkId: privateNetwork ? network!.outputs.networkId : ''
  }
}

var queues = queueKind == 'storage' ? storageQueues!.outputs.queues : serviceBus!.outputs.queues

module app 'function-app.bicep' = {
  name: 'function-app'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    identityId: identity.outputs.id
    clientId: identity.outputs.clientId
    hostStorageName: host.outputs.name
    packageContainerUrl: host.outputs.packageContainerUrl
    insightsConnection: monitoring.outputs.insightsConnection
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    pythonVersion: pythonVersion
    instanceMemory: instanceMemory
    maximumInstances: maximumInstances
    httpConcurrency: httpConcurrency
    alwaysReady: alwaysReady
    appSettings: union(queues.connection, {
      EVENTS_URL: queues.eventsUrl
      REJECTS_URL: queues.rejectsUrl
      REQUESTS_URL: queues.requestsUrl
      REFERRAL_REQUESTS_QUEUE: queues.requestsName
      ReferralRequests__credential: 'managedidentity'
      ReferralRequests__clientId: identity.outputs.clientId
      AZURE_CLIENT_ID: identity.outputs.clientId
      AZURE_AUTHORITY_HOST: environment().authentication.loginEndpoint
      REFERRALS_URL: referralsUrl
      REFERRALS_SCOPE: referralsScope
      REFERRALS_AUTH: referralsAuth
      REFERRALS_APP_TENANT_ID: referralsAppTenantId
      REFERRALS_APP_CLIENT_ID: referralsAppClientId
      REFERRALS_REFRESH_TOKEN_SECRET: needsVault ? vault!.outputs.secretUrl : ''
      STATE_URL: withState ? state!.outputs.tableUrl : ''
      STATE_RETENTION_DAYS: string(stateRetentionDays)
      RECONCILE_SCHEDULE: reconcileSchedule
      BACKFILL_RATE: string(backfillRate)
      WEBHOOK_URL: webhookUrl
      WEBHOOK_API: webhookApi
      REFERRAL_CONTACTS: referralContacts
      WEBHOOK_CERTIFICATE_HOSTS: webhookCertificateHosts
      WEBHOOK_EXTRA_ROOTS: webhookExtraRoots
      WEBHOOK_MAX_AGE: webhookMaxAge
      REFERRALS_RETRY_BUDGET: retryBudget
      REFERRALS_DEFERRAL_SCHEDULE: deferralSchedule
      SERVICE_BUS_MAX_MESSAGE: string(serviceBusMaxMessage)
      SERVICE_BUS_MAX_DELIVERY_COUNT: string(serviceBusMaxDeliveryCount)
    })
  }
}

module alerts 'alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    email: alertEmail
    onStorage: queueKind == 'storage'
    namespaceId: queueKind == 'servicebus' ? serviceBus!.outputs.namespaceId : ''
  }
}

module workbook 'workbook.bicep' = {
  name: 'workbook'
  scope: group
  params: {
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output APP_NAME string = app.outputs.name
output WEBHOOK_URL string = '${app.outputs.url}/api/webhooks/partner-center'
output EVENTS_URL string = queues.eventsUrl
output REJECTS_URL string = queues.rejectsUrl
output REQUESTS_URL string = queues.requestsUrl
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
output IDENTITY_CLIENT_ID string = identity.outputs.clientId
