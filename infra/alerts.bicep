// Alerts for operators. Each query is a file, and returns a row for each thing to report.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }

@description('Address that alerts are mailed to. Empty: alerts are raised, and mailed to nobody.')
param email string
param onStorage bool
param appUrl string

// Every query runs each quarter of an hour and looks at half an hour or more, so that no row is missed that arrives late.
// Alerts that report something once stay until somebody closes them, and mail again for each new row. The others resolve themselves.
var appQueries = [
  {
    name: 'rejects'
    title: 'Referrals were rejected'
    advice: 'referral-fn replay lists them, and puts them back once the cause is gone.'
    severity: 2
    window: 'PT30M'
    resolves: false
    query: loadTextContent('queries/rejects.kql')
  }
  {
    // A deferral lasts for up to a day
    name: 'oldest-request'
    title: 'A request has been waiting for over an hour'
    advice: 'Its deferrals say why: look for its referralId.'
    severity: 2
    window: 'P2D'
    resolves: true
    query: loadTextContent('queries/oldest-request.kql')
  }
  {
    name: 'credentials'
    title: 'There is no token, or the consent has lapsed or soon will'
    advice: 'referral-fn doctor says which, and what to do.'
    severity: 1
    window: 'PT30M'
    resolves: true
    query: loadTextContent('queries/credentials.kql')
  }
  {
    name: 'blocked'
    title: 'The app cannot do its work: settings are invalid, or it cannot write to its queues'
    advice: 'GET /api/health names the settings. Messages are kept meanwhile.'
    severity: 1
    window: 'PT30M'
    resolves: true
    query: loadTextContent('queries/blocked.kql')
  }
  {
    name: 'failures'
    title: 'More than half of all attempts fail'
    advice: 'The reasons are in the workbook.'
    severity: 2
    window: 'PT30M'
    resolves: true
    query: loadTextContent('queries/failures.kql')
  }
  {
    name: 'throttling'
    title: 'Partner Center throttles the app'
    advice: 'Requests wait and are tried again. If it lasts, lower the number of instances.'
    severity: 3
    window: 'PT30M'
    resolves: true
    query: loadTextContent('queries/throttling.kql')
  }
  {
    // The six hours of the longer burn rate
    name: 'freshness'
    title: 'Events are late: the objective for freshness is missed if this goes on'
    advice: 'The workbook shows which stage is slow, and the reasons of deferrals.'
    severity: 2
    window: 'PT6H'
    resolves: true
    query: loadTextContent('queries/freshness.kql')
  }
  {
    // Three runs an hour apart; one that fails now and then is made up for by the next
    name: 'reconcile'
    title: 'Reconciliation fails again and again: changes without a notification are not found'
    advice: 'Its log event says why: reconcile.failed. referral-fn reconcile --dry-run shows it, too.'
    severity: 2
    window: 'P1D'
    resolves: true
    query: loadTextContent('queries/reconcile.kql')
  }
  {
    name: 'backfill'
    title: 'A backfill has stopped'
    advice: 'Its log event says why: backfill.failed. Start another one: it requests only what is missing.'
    severity: 3
    window: 'PT30M'
    resolves: false
    query: loadTextContent('queries/backfill.kql')
  }
  {
    name: 'missed'
    title: 'Referrals changed, and no notification announced it'
    advice: 'They were found and requested. See whether the webhook works: referral-fn webhook test.'
    severity: 3
    window: 'PT30M'
    resolves: false
    query: loadTextContent('queries/missed.kql')
  }
  {
    // Checked once an hour
    name: 'drifted'
    title: 'The webhook registration does not point to the app'
    advice: 'Somebody else has registered. referral-fn webhook register takes it back.'
    severity: 2
    window: 'PT2H'
    resolves: true
    query: loadTextContent('queries/drifted.kql')
  }
  {
    name: 'log-limit'
    title: 'The daily limit of the log is reached: no other alert on the log works until it is reset'
    advice: 'See what writes so much, or raise DAILY_LOG_LIMIT.'
    severity: 1
    window: 'PT30M'
    resolves: true
    query: loadTextContent('queries/log-limit.kql')
  }
]
var storageQueries = [
  {
    name: 'poison'
    title: 'The host has moved a message to the poison queue'
    advice: 'The app rejects messages before that: this is a bug of the app. The message expires in a week.'
    severity: 1
    window: 'PT30M'
    resolves: false
    query: loadTextContent('queries/poison.kql')
  }
  {
    // An hour of waiting, a day back
    name: 'standstill'
    title: 'Requests have been waiting for an hour, and none is taken'
    advice: 'The app does not run, or may not read its queue: see its log stream.'
    severity: 1
    window: 'P1D'
    resolves: true
    query: loadTextContent('queries/standstill.kql')
  }
]
var queries = concat(appQueries, onStorage ? storageQueries : [])

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' existing = {
  name: 'log-${suffix}'
}

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'referrals'
    enabled: true
    emailReceivers: empty(email) ? [] : [{ name: 'operators', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for item in queries: {
    name: 'alert-${item.name}-${suffix}'
    location: location
    tags: tags
    properties: {
      displayName: item.title
      description: item.advice
      severity: item.severity
      enabled: true
      scopes: [workspace.id]
      evaluationFrequency: 'PT15M'
      windowSize: item.window
      criteria: {
        allOf: [
          {
            query: item.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: [group.id] }
      autoMitigate: item.resolves
      // Azure checks the others at deployment. These read StorageQueueLogs, a table that does not exist before its first row
      skipQueryValidation: contains(item.query, 'StorageQueueLogs')
    }
  }
]

module serviceBus 'service-bus-alerts.bicep' = if (!onStorage) {
  params: { suffix: suffix, tags: tags }
  dependsOn: [group]
}

module health 'health.bicep' = {
  params: { suffix: suffix, location: location, tags: tags, appUrl: appUrl }
  dependsOn: [group]
}
