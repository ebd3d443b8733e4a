// One installation: an app that takes referrals to queues, and all it needs. Nothing in it is a secret.
// Set parameters with `azd env set`: main.parameters.json has the name of each variable.
targetScope = 'subscription'

@maxLength(64)
@description('Name of the installation, such as prod. It is part of the resource group\'s name, and a hash of it of all others.')
param environmentName string

@description('Region. The list has those that offer Flex Consumption: az functionapp list-flexconsumption-locations.')
@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'ukwest'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
])
@metadata({ azd: { type: 'location' } })
param location string

@description('Kind of the three queues. See docs/queues.md.')
@allowed(['storage', 'servicebus'])
param queueKind string = 'storage'

@description('Whether the app reaches storage, queues and vault through private endpoints only. Service Bus is Premium then.')
param privateNetwork bool = false

@description('Address that alerts are mailed to. Required where the name of the installation starts with prod.')
param alertEmail string = ''

@description('Redundancy of queues and table. Empty: ZRS where the region has zones, else LRS.')
@allowed(['', 'Standard_LRS', 'Standard_ZRS', 'Standard_GZRS'])
param queueRedundancy string = ''

@description('Whether the app and its host\'s storage are spread over zones. Azure then bills two ready instances per scale group.')
param zoneRedundant bool = false

@description('Whether the storage account of the queues has a lock against deletion.')
param deleteLock bool = false

@description('recover brings back a deleted vault. The hook before provisioning sets it.')
@allowed(['default', 'recover'])
param vaultCreateMode string = 'default'

@description('Object ID of the operator or group that may read events, and run replay, reconcile and backfill. Empty: nobody.')
param principalId string = ''

@allowed(['User', 'Group', 'ServicePrincipal'])
param principalType string = 'User'

@description('GB of logs per day. Beyond it Azure drops logs until the next day.')
@minValue(1)
param dailyLogLimit int = 5

@description('Tags of every resource.')
param tags { *: string } = {}

@description('MB of memory of an instance. On scale see docs/deploy.md.')
@allowed([512, 2048, 4096])
param instanceMemory int = 2048

@description('Instances of each group that scales by itself: HTTP functions, queue trigger, timer. Azure may refuse less than 40.')
@minValue(1)
param maximumInstances int = 40

@description('HTTP requests that one instance processes at once.')
@minValue(1)
param httpConcurrency int = 32

@description('Instances that always wait for HTTP requests. Each costs by the hour.')
param alwaysReady int = 0

@allowed(['3.11', '3.12', '3.13'])
param pythonVersion string = '3.12'

// The app's settings: docs/settings.md says what each means. Empty: the app's own default.

@description('Whose tokens Partner Center gets: app-user for today\'s API. See docs/credentials.md.')
@allowed(['app-user', 'federated-app', 'managed-identity'])
param referralsAuth string

@description('Tenant ID of the app registration, for app-user and federated-app.')
param referralsAppTenantId string = ''

@description('Client ID of the app registration, for app-user and federated-app.')
param referralsAppClientId string = ''

@description('The call, with {referralId}. Empty: today\'s referrals API.')
param referralsUrl string = ''
param referralsScope string = ''

@description('Whether people appear in events. See docs/security.md.')
@allowed(['full', 'contactable', 'consented', 'none'])
param referralContacts string = 'full'
param webhookUrl string = ''
param webhookApi string = ''
param webhookCertificateHosts string = ''
param webhookExtraRoots string = ''
param webhookMaxAge string = ''
param retryBudget string = ''
param deferralSchedule string = ''

@description('Whether a table remembers what was forwarded: see docs/operations.md.')
param withState bool = true
param stateRetentionDays int = 400
param reconcileSchedule string = ''
param backfillRate string = ''
param serviceBusMaxMessage int = 262144
param serviceBusMaxDeliveryCount int = 10

var suffix = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, { 'azd-env-name': environmentName })
var needsVault = referralsAuth == 'app-user'
var hasZones = !contains(['australiasoutheast', 'northcentralus', 'southindia', 'ukwest', 'westcentralus', 'westus'], location)
var queueStorage = empty(queueRedundancy) ? (hasZones ? 'Standard_ZRS' : 'Standard_LRS') : queueRedundancy

// Wrong combinations are refused here, before anything is created

var appTenantId = referralsAuth != 'managed-identity' && empty(referralsAppTenantId)
  ? fail('REFERRALS_AUTH=${referralsAuth} needs REFERRALS_APP_TENANT_ID')
  : referralsAppTenantId
var appClientId = referralsAuth != 'managed-identity' && empty(referralsAppClientId)
  ? fail('REFERRALS_AUTH=${referralsAuth} needs REFERRALS_APP_CLIENT_ID')
  : referralsAppClientId
var operatorsEmail = startsWith(toLower(environmentName), 'prod') && empty(alertEmail)
  ? fail('${environmentName} is production by its name, and needs ALERT_EMAIL')
  : alertEmail
var appZoneRedundant = zoneRedundant && !hasZones ? fail('ZONE_REDUNDANT=true: ${location} has no zones') : zoneRedundant
var hostStorage = appZoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
var readyInstances = alwaysReady > maximumInstances ? fail('ALWAYS_READY is more than MAXIMUM_INSTANCES') : alwaysReady

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-referrals-${environmentName}'
  location: location
  tags: allTags
}

module identity 'identity.bicep' = {
  scope: group
  params: { suffix: suffix, location: location, tags: allTags }
}

module monitoring 'monitoring.bicep' = {
  scope: group
  params: { suffix: suffix, location: location, tags: allTags, dailyLogLimit: dailyLogLimit }
  dependsOn: [identity]
}

module network 'network.bicep' = if (privateNetwork) {
  scope: group
  params: { suffix: suffix, location: location, tags: allTags }
}

module host 'host-storage.bicep' = {
  scope: group
  params: { suffix: suffix, location: location, tags: allTags, isPrivate: privateNetwork, redundancy: hostStorage }
  dependsOn: [identity, monitoring, network]
}

module storageQueues 'storage-queues.bicep' = if (queueKind == 'storage') {
  scope: group
  params: {
    suffix: suffix
    location: location
    tags: allTags
    isPrivate: privateNetwork
    redundancy: queueStorage
    deleteLock: deleteLock
    principalId: principalId
    principalType: principalType
  }
  dependsOn: [identity, monitoring, network]
}

module serviceBus 'service-bus.bicep' = if (queueKind == 'servicebus') {
  scope: group
  params: {
    suffix: suffix
    location: location
    tags: allTags
    isPrivate: privateNetwork
    maxDeliveryCount: serviceBusMaxDeliveryCount
    principalId: principalId
    principalType: principalType
  }
  dependsOn: [identity, monitoring, network]
}

module state 'state-table.bicep' = if (withState) {
  scope: group
  params: {
    suffix: suffix
    location: location
    tags: allTags
    isPrivate: privateNetwork
    redundancy: queueStorage
    principalId: principalId
    principalType: principalType
  }
  dependsOn: [identity, monitoring, network]
}

module vault 'vault.bicep' = if (needsVault) {
  scope: group
  params: { suffix: suffix, location: location, tags: allTags, isPrivate: privateNetwork, createMode: vaultCreateMode }
  dependsOn: [identity, monitoring, network]
}

var queues = queueKind == 'storage' ? storageQueues!.outputs.queues : serviceBus!.outputs.queues

module app 'function-app.bicep' = {
  scope: group
  params: {
    suffix: suffix
    location: location
    tags: allTags
    isPrivate: privateNetwork
    zoneRedundant: appZoneRedundant
    pythonVersion: pythonVersion
    instanceMemory: instanceMemory
    maximumInstances: maximumInstances
    httpConcurrency: httpConcurrency
    alwaysReady: readyInstances
    packageContainerUrl: host.outputs.packageContainerUrl
    blobServiceUrl: host.outputs.blobServiceUrl
    settings: {
      AZURE_AUTHORITY_HOST: environment().authentication.loginEndpoint
      REFERRALS_URL: referralsUrl
      REFERRALS_SCOPE: referralsScope
      REFERRALS_AUTH: referralsAuth
      REFERRALS_APP_TENANT_ID: appTenantId
      REFERRALS_APP_CLIENT_ID: appClientId
      REFERRALS_RETRY_BUDGET: retryBudget
      REFERRALS_DEFERRAL_SCHEDULE: deferralSchedule
      REFERRAL_CONTACTS: referralContacts
      STATE_RETENTION_DAYS: string(stateRetentionDays)
      RECONCILE_SCHEDULE: reconcileSchedule
      BACKFILL_RATE: backfillRate
      WEBHOOK_URL: webhookUrl
      WEBHOOK_API: webhookApi
      WEBHOOK_CERTIFICATE_HOSTS: webhookCertificateHosts
      WEBHOOK_EXTRA_ROOTS: webhookExtraRoots
      WEBHOOK_MAX_AGE: webhookMaxAge
      SERVICE_BUS_MAX_MESSAGE: string(serviceBusMaxMessage)
      SERVICE_BUS_MAX_DELIVERY_COUNT: string(serviceBusMaxDeliveryCount)
    }
    connections: union(queues.connection, {
      EVENTS_URL: queues.eventsUrl
      REJECTS_URL: queues.rejectsUrl
      REQUESTS_URL: queues.requestsUrl
      REFERRAL_REQUESTS_QUEUE: queues.requestsName
      STATE_URL: withState ? state!.outputs.tableUrl : ''
      REFERRALS_REFRESH_TOKEN_SECRET: needsVault ? vault!.outputs.secretUrl : ''
    })
  }
  dependsOn: [identity, monitoring, network]
}

module alerts 'alerts.bicep' = {
  scope: group
  params: {
    suffix: suffix
    location: location
    tags: allTags
    email: operatorsEmail
    onStorage: queueKind == 'storage'
    appUrl: app.outputs.url
  }
  dependsOn: [monitoring]
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output APP_NAME string = app.outputs.name
output APP_URL string = app.outputs.url
output APP_WEBHOOK_URL string = uri(app.outputs.url, 'api/webhooks/partner-center')
output EVENTS_URL string = queues.eventsUrl
output REJECTS_URL string = queues.rejectsUrl
output REQUESTS_URL string = queues.requestsUrl
output STATE_URL string = withState ? state!.outputs.tableUrl : ''
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
output IDENTITY_CLIENT_ID string = identity.outputs.clientId
