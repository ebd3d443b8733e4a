// What somebody must be told of. Each query is a file, and returns a row for each thing to be told.
param token string
param location string
param tags object
param workspaceId string
param email string
param onStorage bool
param namespaceId string

var queries = [
  {
    name: 'rejects'
    title: 'Referrals were rejected'
    advice: 'referral-fn replay lists them, and puts them back once the cause is gone.'
    severity: 2
    window: 'PT15M'
    query: loadTextContent('queries/rejects.kql')
  }
  {
    name: 'oldest-request'
    title: 'A request has been waiting for over an hour'
    advice: 'Its deferrals say why: look for its referralId.'
    severity: 2
    window: 'P2D'
    query: loadTextContent('queries/oldest-request.kql')
  }
  {
    name: 'credentials'
    title: 'There is no token, or the consent has lapsed or soon will'
    advice: 'referral-fn doctor says which, and what to do.'
    severity: 1
    window: 'PT15M'
    query: loadTextContent('queries/credentials.kql')
  }
  {
    name: 'failures'
    title: 'More than half of all tries fail'
    advice: 'The reasons are in the workbook.'
    severity: 2
    window: 'PT30M'
    query: loadTextContent('queries/failures.kql')
  }
  {
    name: 'throttling'
    title: 'Partner Center throttles the app'
    advice: 'Requests wait and are tried again. If it lasts, lower the number of instances.'
    severity: 3
    window: 'PT30M'
    query: loadTextContent('queries/throttling.kql')
  }
  {
    name: 'missed'
    title: 'Referrals changed, and no notification announced it'
    advice: 'They were found and requested. See whether the webhook works: referral-fn webhook test.'
    severity: 3
    window: 'PT2H'
    query: loadTextContent('queries/missed.kql')
  }
  {
    name: 'drifted'
    title: 'The webhook registration does not lead to the app'
    advice: 'Somebody else has registered. referral-fn webhook register takes it back.'
    severity: 2
    window: 'PT2H'
    query: loadTextContent('queries/drifted.kql')
  }
  {
    name: 'held'
    title: 'The app cannot do its work: settings are wrong, or its queues cannot be written to'
    advice: 'GET /api/health names the settings. Messages are kept meanwhile.'
    severity: 1
    window: 'PT15M'
    query: loadTextContent('queries/held.kql')
  }
]
var storageQueries = [
  {
    name: 'poison'
    title: 'The host has moved a message to the poison queue'
    advice: 'The app rejects messages before that: this is a bug of the app. The message expires in a week.'
    severity: 1
    window: 'PT15M'
    query: loadTextContent('queries/poison.kql')
  }
  {
    name: 'standstill'
    title: 'Requests have been waiting for an hour, and none is taken'
    advice: 'The app does not run, or may not read its queue: see its log stream.'
    severity: 1
    window: 'P1D'
    query: loadTextContent('queries/standstill.kql')
  }
]

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'referrals'
    enabled: true
    emailReceivers: empty(email) ? [] : [{ name: 'operators', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2023-03-15-preview' = [for item in concat(queries, onStorage ? storageQueries : []): {
  name: 'alert-${item.name}-${token}'
  location: location
  tags: tags
  properties: {
    displayName: item.title
    description: item.advice
    severity: item.severity
    enabled: true
    scopes: [workspaceId]
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
    autoMitigate: true
    skipQueryValidation: true
  }
}]

// Service Bus counts its messages itself
var counts = [
  {
    name: 'dead-letters'
    advice: 'The broker has given up a message. The app rejects messages before that: this is a bug of the app.'
    metric: 'DeadletteredMessages'
    aggregation: 'Maximum'
    window: 'PT15M'
  }
  {
    name: 'standstill'
    advice: 'Requests have been waiting for an hour without a break. The app does not run, or may not read its queue.'
    metric: 'ActiveMessages'
    aggregation: 'Minimum'
    window: 'PT1H'
  }
]

resource counted 'Microsoft.Insights/metricAlerts@2018-03-01' = [for item in (onStorage ? [] : counts): {
  name: 'alert-${item.name}-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: item.advice
    severity: 1
    enabled: true
    scopes: [namespaceId]
    evaluationFrequency: 'PT15M'
    windowSize: item.window
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: item.name
          metricName: item.metric
          dimensions: [{ name: 'EntityName', operator: 'Include', values: ['referral-requests'] }]
          timeAggregation: item.aggregation
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    actions: [{ actionGroupId: group.id }]
  }
}]
