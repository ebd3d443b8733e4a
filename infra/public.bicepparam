// For the checks of the workflow: the defaults, with Storage queues and a user's consent
using 'main.bicep'

param environmentName = 'check-public'
param location = 'westeurope'
param referralsAuth = 'app-user'
param referralsAppTenantId = '11111111-1111-1111-1111-111111111111'
param referralsAppClientId = '22222222-2222-2222-2222-222222222222'
