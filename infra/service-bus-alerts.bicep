// Service Bus counts its messages itself: alerts on its metrics in place of the log.
@minLength(13)
@maxLength(13)
param suffix string
param tags { *: string }

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: 'sb-${suffix}'
}

resource group 'Microsoft.Insights/actionGroups@2023-01-01' existing = {
  name: 'ag-${suffix}'
}

var counts = [
  {
    name: 'dead-letters'
    advice: 'Service Bus has dead-lettered a request. The app rejects requests before that: this is a bug of the app.'
    metric: 'DeadletteredMessages'
    aggregation: 'Maximum'
    window: 'PT30M'
  }
  {
    name: 'standstill'
    advice: 'Requests have been waiting for an hour without a break. The app does not run, or may not read its queue.'
    metric: 'ActiveMessages'
    aggregation: 'Minimum'
    window: 'PT1H'
  }
]

resource alerts 'Microsoft.Insights/metricAlerts@2026-01-01' = [
  for item in counts: {
    name: 'alert-${item.name}-${suffix}'
    location: 'global'
    tags: tags
    properties: {
      description: item.advice
      severity: 1
      enabled: true
      autoMitigate: true
      scopes: [namespace.id]
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
  }
]
