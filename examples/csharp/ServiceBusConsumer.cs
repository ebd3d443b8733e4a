using System;
using System.Threading;
using System.Threading.Tasks;
using Azure.Messaging.ServiceBus;

namespace Contoso.Referrals;

/// <summary>Stores the referrals that arrive on a Service Bus queue.</summary>
public sealed class ServiceBusConsumer
{
    private readonly ServiceBusReceiver _receiver;
    private readonly ReferralStore _store;

    public ServiceBusConsumer(ServiceBusClient client, string queue, ReferralStore store)
    {
        _receiver = client.CreateReceiver(queue);
        _store = store;
    }

    /// <summary>Receive, store and complete, until it is stopped.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            foreach (var message in await _receiver.ReceiveMessagesAsync(32, TimeSpan.FromSeconds(2), stop))
                await HandleAsync(message);
        }
    }

    /// <summary>Store a message's event, then complete the message. One that cannot be read goes to the dead letters.</summary>
    private async Task HandleAsync(ServiceBusReceivedMessage message)
    {
        try
        {
            _store.Add(ReferralStore.Read(message.Body));
        }
        catch (UnreadableException error)
        {
            Console.Error.WriteLine($"message {message.MessageId}: {error.Message}");
            await _receiver.DeadLetterMessageAsync(message, "unreadable", error.Message);
            return;
        }
        await _receiver.CompleteMessageAsync(message);
    }
}
