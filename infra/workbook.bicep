// One page on how the app is doing.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }

resource workspace 'Microsoft.OperationalInsights/workspaces@2026-03-01' existing = {
  name: 'log-${suffix}'
}

var charts = [
  { title: 'Referrals by outcome', visualization: 'timechart', query: loadTextContent('queries/outcomes.kql') }
  { title: 'Milliseconds by stage: median and 95th percentile', visualization: 'timechart', query: loadTextContent('queries/latency.kql') }
  { title: 'Deferrals and rejects by reason', visualization: 'barchart', query: loadTextContent('queries/reasons.kql') }
  { title: 'Seconds from change to event', visualization: 'timechart', query: loadTextContent('queries/delays.kql') }
  { title: 'What Partner Center answered', visualization: 'timechart', query: loadTextContent('queries/statuses.kql') }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'referrals')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Referrals'
    category: 'workbook'
    sourceId: workspace.id
    serializedData: string({
      version: 'Notebook/1.0'
      items: map(charts, chart => {
        type: 3
        name: chart.title
        content: {
          version: 'KqlItem/1.0'
          title: chart.title
          query: chart.query
          size: 0
          timeContext: { durationMs: 86400000 }
          queryType: 0
          resourceType: 'microsoft.operationalinsights/workspaces'
          visualization: chart.visualization
        }
      })
      fallbackResourceIds: [workspace.id]
    })
  }
}
