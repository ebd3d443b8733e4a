using System;
using System.Runtime.InteropServices;
using System.Threading;
using Azure.Identity;
using Azure.Messaging.ServiceBus;
using Contoso.Referrals;

// Settings: DATABASE; and EVENTS_URL, the URL of a Storage queue; or EVENTS_QUEUE with SERVICE_BUS_NAMESPACE, such as
// contoso.servicebus.windows.net, or with SERVICE_BUS_CONNECTION for the emulator.
static string? Setting(string name) => Environment.GetEnvironmentVariable(name);

using var stop = new CancellationTokenSource();
void OnSignal(PosixSignalContext context)
{
    context.Cancel = true; // end by leaving Main, once the message at hand is stored
    stop.Cancel();
}
using var term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);

var store = new ReferralStore(Setting("DATABASE") ?? "referrals.ndjson");
try
{
    if (Setting("EVENTS_URL") is { } url)
    {
        await new StorageQueueConsumer(new Uri(url), store).RunAsync(stop.Token);
        return;
    }
    await using var client = Setting("SERVICE_BUS_CONNECTION") is { } connection
        ? new ServiceBusClient(connection)
        : new ServiceBusClient(Setting("SERVICE_BUS_NAMESPACE")!, new DefaultAzureCredential());
    await new ServiceBusConsumer(client, Setting("EVENTS_QUEUE")!, store).RunAsync(stop.Token);
}
catch (OperationCanceledException) when (stop.IsCancellationRequested)
{
}
