// For the checks of the workflow: a private, zone-redundant installation on Service Bus, with an operator
using 'main.bicep'

param environmentName = 'production-check'
param location = 'westeurope'
param queueKind = 'servicebus'
param privateNetwork = true
param zoneRedundant = true
param alwaysReady = 2
param alertEmail = 'operators@example.com'
param principalId = '33333333-3333-3333-3333-333333333333'
param principalType = 'Group'
param referralsAuth = 'app-user'
param referralsAppTenantId = '11111111-1111-1111-1111-111111111111'
param referralsAppClientId = '22222222-2222-2222-2222-222222222222'
