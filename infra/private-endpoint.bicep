// A private endpoint of one service, and the DNS zone that resolves the service's usual name to it.
@minLength(13)
@maxLength(13)
param suffix string
param name string
param location string
param tags { *: string }
param serviceId string

@description('The part of the service, such as blob or queue.')
param groupId string

@description('The DNS zone, such as privatelink.servicebus.windows.net.')
param zoneName string

resource network 'Microsoft.Network/virtualNetworks@2026-03-01' existing = {
  name: 'vnet-${suffix}'

  resource endpoints 'subnets' existing = {
    name: 'endpoints'
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: zoneName
  location: 'global'
  tags: tags
}

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = {
  parent: zone
  name: 'link'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: { id: network.id }
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2026-03-01' = {
  name: 'pe-${name}'
  location: location
  tags: tags
  properties: {
    subnet: { id: network::endpoints.id }
    privateLinkServiceConnections: [
      {
        name: name
        properties: {
          privateLinkServiceId: serviceId
          groupIds: [groupId]
        }
      }
    ]
  }
}

resource record 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2026-03-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: 'zone'
        properties: { privateDnsZoneId: zone.id }
      }
    ]
  }
}
