// Asks from outside whether the app can work: /api/health answers 503 when settings are wrong or the consent has lapsed.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }
param appUrl string

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: 'appi-${suffix}'
}

resource operators 'Microsoft.Insights/actionGroups@2023-01-01' existing = {
  name: 'ag-${suffix}'
}

resource test 'Microsoft.Insights/webtests@2022-06-15' = {
  name: 'health-${suffix}'
  location: location
  tags: union(tags, { 'hidden-link:${insights.id}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: 'health-${suffix}'
    Name: 'health'
    Description: 'GET /api/health'
    Kind: 'standard'
    Enabled: true
    Frequency: 900
    Timeout: 60
    RetryEnabled: true
    Locations: [
      { Id: 'emea-nl-ams-azr' }
      { Id: 'us-va-ash-azr' }
      { Id: 'apac-sg-sin-azr' }
    ]
    Request: {
      HttpVerb: 'GET'
      RequestUrl: uri(appUrl, 'api/health')
      ParseDependentRequests: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 7
    }
  }
}

resource alert 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: 'alert-health-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    description: 'The app does not answer, or cannot work. GET /api/health says why. Messages wait on their queue meanwhile.'
    severity: 1
    enabled: true
    autoMitigate: true
    scopes: [test.id, insights.id]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT30M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: test.id
      componentId: insights.id
      failedLocationCount: 2
    }
    actions: [{ actionGroupId: operators.id }]
  }
}
