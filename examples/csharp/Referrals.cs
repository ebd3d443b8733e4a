using System;
using System.Collections.Generic;
using System.IO;
using System.Text.Json;

namespace Contoso.Referrals;

/// <summary>What a consumer needs of an event. The schema has all of it, and a command generates the whole type.</summary>
public sealed record ReferralEvent(string? Type, string? Id, string? Subject, string? Sequence, JsonElement Data);

/// <summary>A message that cannot be stored: it is no event, or of a type that this program does not know.</summary>
public sealed class UnreadableException(string message) : Exception(message);

/// <summary>Reads referral events and stores each once. A file, one line an event, stands for your database.</summary>
public sealed class ReferralStore
{
    public const string EventType = "partnercenter.referral.v1";

    private static readonly JsonSerializerOptions Web = new(JsonSerializerDefaults.Web);
    private readonly HashSet<string> _seen = new();
    private readonly Dictionary<string, ReferralEvent> _latest = new();
    private readonly string _path;

    public ReferralStore(string path)
    {
        _path = path;
        if (!File.Exists(path)) return;
        foreach (var line in File.ReadLines(path)) Remember(Read(BinaryData.FromString(line)));
    }

    /// <summary>The event in a message's body.</summary>
    /// <exception cref="UnreadableException">There is none, or it is of another type.</exception>
    public static ReferralEvent Read(BinaryData body)
    {
        try
        {
            var read = body.ToObjectFromJson<ReferralEvent>(Web);
            if (read is { Type: EventType, Id: not null, Subject: not null, Data.ValueKind: JsonValueKind.Object })
                return read;
        }
        catch (JsonException error)
        {
            throw new UnreadableException($"not JSON: {error.Message}");
        }
        throw new UnreadableException($"not an event of type {EventType}");
    }

    /// <summary>Store an event's referral. Returns whether it is news: no duplicate, nothing older than is known.</summary>
    public bool Add(ReferralEvent read)
    {
        if (_seen.Contains(read.Id!)) return false;
        using (var file = new FileStream(_path, FileMode.Append))
        {
            JsonSerializer.Serialize(file, read, Web);
            file.WriteByte((byte)'\n');
            file.Flush(flushToDisk: true);
        }
        return Remember(read);
    }

    private bool Remember(ReferralEvent read)
    {
        _seen.Add(read.Id!);
        if (_latest.TryGetValue(read.Subject!, out var known)
            && string.CompareOrdinal(read.Sequence ?? "", known.Sequence ?? "") < 0) return false;
        _latest[read.Subject!] = read;
        return true;
    }
}
