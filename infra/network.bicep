// A network with a subnet for the app's outbound calls, and one for the private endpoints of the services it calls.
@minLength(13)
@maxLength(13)
param suffix string
param location string
param tags { *: string }

var appPrefix = '10.0.0.0/24'
var endpointPrefix = '10.0.1.0/24'

// HTTPS, and AMQP over TLS for the Service Bus trigger
var servicePorts = ['443', '5671', '5672']

resource appRules 'Microsoft.Network/networkSecurityGroups@2026-03-01' = {
  name: 'nsg-app-${suffix}'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'AllowEndpoints'
        properties: {
          direction: 'Outbound'
          access: 'Allow'
          priority: 100
          protocol: 'Tcp'
          sourceAddressPrefix: appPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: endpointPrefix
          destinationPortRanges: servicePorts
        }
      }
      {
        name: 'AllowOwnSubnet'
        properties: {
          direction: 'Outbound'
          access: 'Allow'
          priority: 110
          protocol: '*'
          sourceAddressPrefix: appPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: appPrefix
          destinationPortRange: '*'
        }
      }
      {
        name: 'AllowWebToInternet'
        properties: {
          description: 'Partner Center, Entra ID, Azure Monitor; certificates of issuers, which Microsoft publishes at http URLs'
          direction: 'Outbound'
          access: 'Allow'
          priority: 120
          protocol: 'Tcp'
          sourceAddressPrefix: appPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: 'Internet'
          destinationPortRanges: ['80', '443']
        }
      }
      {
        name: 'DenyOtherOutbound'
        properties: {
          direction: 'Outbound'
          access: 'Deny'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
      {
        name: 'DenyInternetInbound'
        properties: {
          direction: 'Inbound'
          access: 'Deny'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource endpointRules 'Microsoft.Network/networkSecurityGroups@2026-03-01' = {
  name: 'nsg-endpoints-${suffix}'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'AllowNetwork'
        properties: {
          description: 'The app, and readers and operators in this network or a peered one'
          direction: 'Inbound'
          access: 'Allow'
          priority: 100
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: endpointPrefix
          destinationPortRanges: servicePorts
        }
      }
      {
        name: 'DenyOtherInbound'
        properties: {
          direction: 'Inbound'
          access: 'Deny'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
      {
        name: 'DenyOutbound'
        properties: {
          description: 'Endpoints answer, and open no connections'
          direction: 'Outbound'
          access: 'Deny'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2026-03-01' = {
  name: 'vnet-${suffix}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.0.0.0/16'] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: appPrefix
          networkSecurityGroup: { id: appRules.id }
          // Partner Center and Entra ID are on the Internet. For a fixed address, put a NAT gateway here
          defaultOutboundAccess: true
          delegations: [
            {
              name: 'flex'
              properties: { serviceName: 'Microsoft.App/environments' }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointPrefix
          networkSecurityGroup: { id: endpointRules.id }
          defaultOutboundAccess: false
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}
