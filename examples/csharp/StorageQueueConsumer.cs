using System;
using System.Threading;
using System.Threading.Tasks;
using Azure.Identity;
using Azure.Storage.Queues;
using Azure.Storage.Queues.Models;

namespace Contoso.Referrals;

/// <summary>Stores the referrals that arrive on an Azure Storage queue.</summary>
public sealed class StorageQueueConsumer
{
    /// <summary>After so many deliveries, a message that cannot be read is set aside.</summary>
    private const int MaxDeliveries = 5;

    private static readonly TimeSpan Hidden = TimeSpan.FromSeconds(60);
    private readonly QueueClient _queue;
    private readonly QueueClient _setAside;
    private readonly ReferralStore _store;

    public StorageQueueConsumer(Uri url, ReferralStore store)
    {
        // With Base64 the client would decode the bodies, and fail in the receiving where one is not base64.
        var options = new QueueClientOptions { MessageEncoding = QueueMessageEncoding.None };
        var credential = new DefaultAzureCredential();
        _queue = new QueueClient(url, credential, options);
        _setAside = new QueueClient(new Uri($"{url}-set-aside"), credential, options);
        _store = store;
    }

    /// <summary>Receive, store and delete, until it is stopped.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            QueueMessage[] messages = await _queue.ReceiveMessagesAsync(32, Hidden, stop);
            foreach (var message in messages) await HandleAsync(message);
            if (messages.Length == 0) await Task.Delay(TimeSpan.FromSeconds(1), stop);
        }
    }

    /// <summary>Store a message's event, then delete the message. One that cannot be read is set aside in the end.</summary>
    private async Task HandleAsync(QueueMessage message)
    {
        try
        {
            _store.Add(ReferralStore.Read(Decode(message.MessageText)));
        }
        catch (UnreadableException error)
        {
            Console.Error.WriteLine($"message {message.MessageId}, delivery {message.DequeueCount}: {error.Message}");
            if (message.DequeueCount < MaxDeliveries) return; // it comes again, perhaps to a newer version
            await _setAside.SendMessageAsync(message.MessageText, timeToLive: TimeSpan.FromSeconds(-1));
        }
        await _queue.DeleteMessageAsync(message.MessageId, message.PopReceipt);
    }

    private static BinaryData Decode(string text)
    {
        try
        {
            return BinaryData.FromBytes(Convert.FromBase64String(text));
        }
        catch (FormatException)
        {
            throw new UnreadableException("not base64");
        }
    }
}
