"""The three queues as an AsyncAPI 3 document, on either kind of queue; what a test compares with real messages."""

from typing import Any

from referral_fn.queues.service_bus import MAX_ID, ServiceBusQueue
from referral_fn.queues.storage import StorageQueue
from referral_fn.referrals import events
from referral_fn.referrals.messages import FILTER_PROPERTIES
from referral_fn.referrals.request import BACKFILL, RECONCILE, REFERRAL_EVENTS
from referral_fn.state.published import COMPARISON
from schemas import event_examples, event_schemas, openapi, openapi_models

_JSON = "application/json"
_ATTRIBUTES = {"cause", *COMPARISON}
"""Properties that are attributes of the event; the others are members of its data."""

_REFERRAL = event_examples.of_type(events.REFERRAL_TYPE)
_REJECT = event_examples.of_type(events.REJECT_TYPE)


def document() -> dict[str, Any]:
    """The document."""
    http = openapi.document()
    return {
        "asyncapi": "3.0.0",  # the newest that generators read
        "id": "urn:referral-fn:asyncapi",
        "info": {
            "title": "Partner Center referrals",
            "version": http["info"]["version"],
            "description": "Requests are read from one queue; events and rejects are put on two others. Each is of "
            "Azure Storage or of Service Bus, and delivers at least once, in no fixed order. "
            "docs/consumers.md shows how to read them.",
            "license": {"name": http["info"]["license"]["name"], "url": "https://opensource.org/license/mit"},
            "tags": http["tags"][:1],
        },
        "defaultContentType": events.CONTENT_TYPE,
        "servers": {
            "storage": {
                "host": "{account}.queue.core.windows.net",
                "protocol": "https",
                "description": "Azure Storage. A message is its body, in base64, and nothing else.",
                "variables": {"account": {"description": "The storage account's name."}},
            },
            "serviceBus": {
                "host": "{namespace}.servicebus.windows.net",
                "protocol": "amqps",
                "protocolVersion": "1.0",
                "description": "Service Bus. A message is its body, as it is, with properties. Events and rejects may "
                "go to topics.",
                "variables": {"namespace": {"description": "The namespace's name."}},
            },
        },
        "channels": {
            "events": _channel("EVENTS_URL", "referral-events", "Referrals, normalized.", "Referral"),
            "rejects": _channel("REJECTS_URL", "referral-rejects", "Requests that produced no event.", "Reject"),
            "requests": {
                **_channel("REQUESTS_URL", "referral-requests", "Requests to forward a referral, now or later."),
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _requests()},
            },
        },
        "operations": {
            "publishReferral": _operation("send", "events", "Puts the event of a referral on the queue."),
            "publishReject": _operation("send", "rejects", "Puts what cannot be forwarded on the queue."),
            "forwardReferral": _operation("receive", "requests", "Takes a request to its outcome."),
            "deferReferral": {
                **_operation("send", "requests", "Puts a request on the queue, hidden until it is to be tried."),
                "messages": [{"$ref": "#/channels/requests/messages/request"}],
            },
        },
        "components": {
            "messages": {**_outgoing(), **_requests()},
            "securitySchemes": {
                "entra": {
                    "type": "oauth2",
                    "description": "A token of the identity that reads or writes, such as the app's managed identity.",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": "https://login.microsoftonline.com/organizations/oauth2/v2.0/token",
                            "availableScopes": {
                                StorageQueue.scope: "For Azure Storage.",
                                ServiceBusQueue.scope: "For Service Bus.",
                            },
                        }
                    },
                }
            },
            "schemas": {
                **_bare(event_schemas.components(events.REFERRAL_TYPE)),
                **_bare(event_schemas.components(events.REJECT_TYPE)),
                **_headers("Referral", events.REFERRAL_TYPE),
                **_headers("Reject", events.REJECT_TYPE),
                "Request": _request_schema(),
                "Notification": openapi_models.notifications()["ReferralNotification"],
                "ReferralId": openapi_models.guid(),
                "CloudEvent": {
                    "type": "object",
                    "description": "Any CloudEvent whose subject is a referral ID, such as an event or a reject.",
                    "required": ["specversion", "subject"],
                    "properties": {
                        "specversion": {"type": "string", "description": "The version of CloudEvents."},
                        "subject": openapi_models.guid(),
                    },
                },
            },
        },
    }


def _channel(setting: str, name: str, description: str, kind: str = "") -> dict[str, Any]:
    return {
        "address": name,
        "title": name,
        "description": f"{description} The setting `{setting}` names the queue; this is its usual name.",
        "servers": [{"$ref": "#/servers/storage"}, {"$ref": "#/servers/serviceBus"}],
        "messages": {
            f"{kind.lower()}On{place}": {"$ref": f"#/components/messages/{kind.lower()}On{place}"}
            for place in ("Storage", "ServiceBus")
        },
    }


def _operation(action: str, channel: str, description: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "description": description,
        "security": [{"$ref": "#/components/securitySchemes/entra"}],
    }


def _bare(schema: Any) -> Any:
    """A schema whose references have nothing beside them, which AsyncAPI's own dialect, of draft 7, would ignore."""
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    return {name: _bare(value) for name, value in schema.items()}


def _outgoing() -> dict[str, Any]:
    kinds = {"Referral": (events.REFERRAL_TYPE, _REFERRAL), "Reject": (events.REJECT_TYPE, _REJECT)}
    messages: dict[str, Any] = {}
    for kind, (event_type, example) in kinds.items():
        message = {
            "name": event_type,
            "title": kind,
            "contentType": events.CONTENT_TYPE,
            "payload": {"$ref": f"#/components/schemas/{kind}Event"},
        }
        messages[f"{kind.lower()}OnStorage"] = {
            **message,
            "summary": f"A {kind.lower()} on Azure Storage.",
            "description": "The body is the event in base64; there are no headers.",
            "examples": [{"name": "event", "summary": "As decoded from base64.", "payload": example}],
        }
        messages[f"{kind.lower()}OnServiceBus"] = {
            **message,
            "summary": f"A {kind.lower()} on Service Bus.",
            "description": "The body is the event. Headers are the broker's properties, by their names in the REST "
            "interface, and, under `applicationProperties`, those to filter by.",
            "headers": {"$ref": f"#/components/schemas/{kind}Headers"},
            "correlationId": {"location": "$message.header#/CorrelationId", "description": "The referral's ID."},
            "examples": [{"name": "event", "summary": "As sent.", "headers": _sent(event_type), "payload": example}],
        }
    return messages


def _headers(kind: str, event_type: str) -> dict[str, Any]:
    """The schemas of a message's properties on Service Bus, and of those to filter by."""
    text = {"type": "string", "maxLength": MAX_ID}
    fixed = {"type": "string"}
    filters = FILTER_PROPERTIES[event_type]
    return {
        f"{kind}Headers": {
            "type": "object",
            "description": "The broker's properties of a message, by their names in the REST interface.",
            "required": ["MessageId", "SessionId", "Label", "ContentType"],
            "properties": {
                "MessageId": {
                    **text,
                    "description": f"The event's `id`; if it is over {MAX_ID} characters, it ends in a hash.",
                },
                "SessionId": {**text, "description": "The event's `partitionkey`, else its `subject`, else its `id`."},
                "CorrelationId": {**text, "description": "The event's `subject`."},
                "Label": {
                    **fixed,
                    "const": event_type,
                    "description": "The event's `type`; newer libraries call it the subject.",
                },
                "ContentType": {**fixed, "const": events.CONTENT_TYPE, "description": "What the body is."},
                "applicationProperties": {"$ref": f"#/components/schemas/{kind}Filters"},
            },
            "additionalProperties": False,
        },
        f"{kind}Filters": {
            "type": "object",
            "description": "Properties to filter by, if the event has them.",
            "properties": {
                name: {
                    "type": "string",
                    "description": f"The event's `{name if name in _ATTRIBUTES else 'data.' + name}`.",
                }
                for name in filters
            },
            "additionalProperties": False,
        },
    }


def _sent(event_type: str) -> dict[str, Any]:
    event = _REFERRAL if event_type == events.REFERRAL_TYPE else _REJECT
    return {
        "MessageId": event["id"],
        "SessionId": event.get("partitionkey", event["subject"]),
        "CorrelationId": event["subject"],
        "Label": event_type,
        "ContentType": events.CONTENT_TYPE,
        "applicationProperties": {
            name: event["data"][name] for name in FILTER_PROPERTIES[event_type] if name in event["data"]
        },
    }


def _requests() -> dict[str, Any]:
    """What may be put on the requests queue, by the name of the message."""
    referral_id = _REFERRAL["subject"]
    deferred = {"referralId": referral_id, "attempt": 1, "firstSeen": "2026-01-14T16:06:01.250000Z"}
    either = "Plain or base64. On a Service Bus queue with sessions, a `SessionId` is needed."
    shapes: dict[str, tuple[str, str, str, Any]] = {
        "referralId": ("A bare referral ID", "text/plain", "ReferralId", referral_id),
        "request": ("A request, new or deferred", _JSON, "Request", deferred),
        "notification": ("A notification from Partner Center", _JSON, "Notification", openapi_models.notification()),
        "cloudEvent": ("An event of the referral", events.CONTENT_TYPE, "CloudEvent", _REFERRAL),
    }
    return {
        name: {
            "name": name,
            "title": title,
            "summary": f"{title}.",
            "description": either,
            "contentType": content_type,
            "payload": {"$ref": f"#/components/schemas/{schema}"},
            "examples": [{"name": name, "summary": "As decoded.", "payload": example}],
        }
        for name, (title, content_type, schema, example) in shapes.items()
    }


def _request_schema() -> dict[str, Any]:
    time = {"type": "string", "format": "date-time"}
    return {
        "type": "object",
        "description": "Asks for a referral. The app sets all members but its ID, in requests that it defers.",
        "required": ["referralId"],
        "properties": {
            "referralId": openapi_models.guid(),
            "attempt": {"type": "integer", "minimum": 0, "description": "How often it has been deferred."},
            "firstSeen": {**time, "description": "When it was first received."},
            "changedAt": {**time, "description": "When the referral changed, by the notification."},
            "cause": {
                "type": "string",
                "examples": [*REFERRAL_EVENTS, RECONCILE, BACKFILL],
                "description": "What led to it. With one of these, a version that was published already is not "
                "published again where the app has its table.",
            },
            "republish": {"type": "boolean", "description": "Whether to publish whatever was published already."},
            "traceparent": {"type": "string", "description": "W3C Trace Context. A malformed one is ignored."},
            "tracestate": {"type": "string", "description": "The same; kept only with a `traceparent`."},
        },
        "examples": [{"referralId": _REFERRAL["subject"]}],
    }
