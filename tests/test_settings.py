import dataclasses
import json
from pathlib import Path

import pytest

from referral_fn.queues.base import BUDGET
from referral_fn.settings import Settings, SettingsError, read_settings

REQUIRED = {
    "REFERRALS_AUTH": "app-user",
    "REFERRALS_APP_TENANT_ID": "3f2d0e8c-9a3b-4a4e-8d51-6f0b7c1a2d3e",
    "REFERRALS_APP_CLIENT_ID": "c1b9a7de-5f43-4a8e-9a55-0d4d2f1f7e66",
    "REFERRALS_REFRESH_TOKEN_SECRET": "https://leads.vault.azure.net/secrets/referrals-refresh-token",
    "EVENTS_URL": "https://acme.queue.core.windows.net/referral-events",
    "REJECTS_URL": "https://acme.queue.core.windows.net/referral-rejects",
    "REQUESTS_URL": "https://acme.queue.core.windows.net/referral-requests",
}
CONNECTION_URI = "ReferralRequests__queueServiceUri"
HOST_JSON = Path(__file__).parent.parent / "host.json"


def problems_of(environment: dict[str, str]) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as raised:
        read_settings(environment)
    return [(problem.name, problem.rule) for problem in raised.value.problems]


def test_three_queues_and_the_credentials_are_all_that_must_be_set() -> None:
    settings = read_settings(REQUIRED)
    assert settings.source == "https://api.partner.microsoft.com/v1.0/engagements/referrals"
    assert settings.referrals_scope == "https://api.partner.microsoft.com/.default"
    assert settings.deferral_schedule == (10, 60, 300, 1800, 7200, 21600, 43200, 86400)
    assert (settings.contacts, settings.client_id) == ("full", None)


def test_the_seeds_2018_call_needs_two_settings() -> None:
    seed = {
        "REFERRALS_URL": "https://api.partner.microsoft.com/v1/referrals/{referralId}",
        "REFERRALS_AUTH": "federated-app",
    }
    settings = read_settings({**REQUIRED, **seed})
    assert (settings.source, settings.referrals_auth) == (
        "https://api.partner.microsoft.com/v1/referrals",
        "federated-app",
    )


def test_a_missing_mode_is_explained_in_one_sentence_with_the_choice() -> None:
    ((name, rule),) = problems_of({**REQUIRED, "REFERRALS_AUTH": " "})
    assert (name, rule.partition(":")[0]) == ("REFERRALS_AUTH", "is required")
    assert all(mode in rule for mode in ("app-user", "federated-app", "managed-identity", "developer"))
    assert "." not in rule


def test_all_problems_are_reported_at_once_and_by_name() -> None:
    environment = {
        "EVENTS_URL": " ",
        "REJECTS_URL": "https://acme.queue.core.windows.net/Bad_Name",
        "REFERRALS_URL": "https://api.partner.microsoft.com/v1/referrals",
        "REFERRALS_AUTH": "secret",
        "REFERRAL_CONTACTS": "some",
        "REFERRALS_DEFERRAL_SCHEDULE": "10,soon",
        "REFERRALS_RETRY_BUDGET": "0",
    }
    assert [name for name, _ in problems_of(environment)] == [
        "EVENTS_URL",
        "REFERRALS_AUTH",
        "REFERRALS_DEFERRAL_SCHEDULE",
        "REFERRALS_RETRY_BUDGET",
        "REFERRALS_URL",
        "REFERRAL_CONTACTS",
        "REJECTS_URL",
        "REQUESTS_URL",
    ]


def test_no_value_is_repeated_in_an_error() -> None:
    hush = "hush-hush"
    invalid = dict.fromkeys(
        ["EVENTS_URL", "REJECTS_URL", "REQUESTS_URL", "REFERRALS_URL", "REFERRALS_AUTH", "REFERRALS_RETRY_BUDGET"], hush
    )
    assert hush not in str(problems_of(invalid))


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.queue.core.windows.net/referral-events",
        "https://acme.queue.core.windows.net/",
        "https://acme.queue.core.windows.net/ab",
        "https://acme.queue.core.windows.net/double--hyphen",
        "https://acme.queue.core.windows.net/referral-events?sv=2024&sig=secret",
        "https://key@acme.queue.core.windows.net/referral-events",
        "https:///referral-events",
        "https://[acme/referral-events",
        "acme/referral-events",
    ],
)
def test_a_url_that_names_no_storage_queue_is_refused(url: str) -> None:
    assert [name for name, _ in problems_of({**REQUIRED, "EVENTS_URL": url})] == ["EVENTS_URL"]


@pytest.mark.parametrize(
    "url", ["sb://acme.servicebus.windows.net/events", "sb://acme.servicebus.windows.net/crm/In_1.x"]
)
def test_a_url_may_name_a_queue_or_topic_of_service_bus(url: str) -> None:
    assert read_settings({**REQUIRED, "EVENTS_URL": url}).events_url == url


@pytest.mark.parametrize(
    "url",
    [
        "sb://acme.servicebus.windows.net/",
        "sb://acme.servicebus.windows.net/-events",
        "sb://acme.servicebus.windows.net/events/",
        "sb://acme.servicebus.windows.net/events?key=secret",
        "sb:///events",
        "amqps://acme.servicebus.windows.net/events",
    ],
)
def test_a_url_that_names_nothing_of_service_bus_is_refused(url: str) -> None:
    assert [name for name, _ in problems_of({**REQUIRED, "EVENTS_URL": url})] == ["EVENTS_URL"]


def test_what_service_bus_is_like_is_up_to_settings() -> None:
    settings = read_settings(REQUIRED)
    assert (settings.service_bus_max_message, settings.service_bus_max_delivery_count) == (256 * 1024, 10)
    invalid = {
        "SERVICE_BUS_MAX_MESSAGE": "48000",
        "SERVICE_BUS_MAX_DELIVERY_COUNT": "0",
    }
    assert [name for name, _ in problems_of({**REQUIRED, **invalid})] == sorted(invalid)


@pytest.mark.parametrize(
    "url", ["https://acme.queue.core.windows.net/requests", "sb://acme.servicebus.windows.net/requests"]
)
def test_the_count_of_deliveries_is_the_hosts_or_the_brokers(url: str) -> None:
    on_bus = url.startswith("sb://")
    override = {
        "AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "3",
        "SERVICE_BUS_MAX_DELIVERY_COUNT": "7",
    }
    assert read_settings({**REQUIRED, "REQUESTS_URL": url}).max_deliveries == 10
    assert read_settings({**REQUIRED, "REQUESTS_URL": url, **override}).max_deliveries == (7 if on_bus else 3)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.partner.microsoft.com/v1/referrals/{referralId}",
        "https://api.partner.microsoft.com/v1/referrals?id={referralId}",
        "https://api.partner.microsoft.com/{referralId}/{referralId}",
        "https://[api/{referralId}",
    ],
)
def test_a_referrals_url_without_one_id_in_its_path_is_refused(url: str) -> None:
    assert [name for name, _ in problems_of({**REQUIRED, "REFERRALS_URL": url})] == ["REFERRALS_URL"]


@pytest.mark.parametrize("hosts", [",", "https://a.example", "a.example/cert", "A.example", "a.example:x", "*.example"])
def test_a_certificate_host_is_a_name_and_perhaps_a_port(hosts: str) -> None:
    assert [name for name, _ in problems_of({**REQUIRED, "WEBHOOK_CERTIFICATE_HOSTS": hosts})] == [
        "WEBHOOK_CERTIFICATE_HOSTS"
    ]
    settings = read_settings({**REQUIRED, "WEBHOOK_CERTIFICATE_HOSTS": "a.example, b.example:8443"})
    assert settings.webhook_certificate_hosts == ("a.example", "b.example:8443")


def test_extra_roots_must_be_there() -> None:
    invalid = {**REQUIRED, "WEBHOOK_EXTRA_ROOTS": "/nowhere/roots.pem", "WEBHOOK_MAX_AGE": "-1"}
    assert [name for name, _ in problems_of(invalid)] == ["WEBHOOK_EXTRA_ROOTS", "WEBHOOK_MAX_AGE"]


def test_the_trigger_must_watch_the_queue_that_deferrals_go_to() -> None:
    assert problems_of({**REQUIRED, "REFERRAL_REQUESTS_QUEUE": "another"}) == [
        ("REFERRAL_REQUESTS_QUEUE", "must name the queue that REQUESTS_URL ends in")
    ]


def test_under_a_host_what_the_trigger_needs_is_required() -> None:
    under_host = {**REQUIRED, "FUNCTIONS_WORKER_RUNTIME": "python"}
    assert [name for name, _ in problems_of(under_host)] == [
        "REFERRAL_REQUESTS_QUEUE",
        "ReferralRequests__queueServiceUri",
    ]
    trigger = {
        "REFERRAL_REQUESTS_QUEUE": "referral-requests",
        "ReferralRequests__queueServiceUri": "https://acme.queue.core.windows.net",
    }
    read_settings({**under_host, **trigger})
    on_bus = {**under_host, "REQUESTS_URL": "sb://acme.servicebus.windows.net/referral-requests"}
    assert ("ReferralRequests__fullyQualifiedNamespace", "is required") in problems_of(on_bus)


def test_the_function_time_out_leaves_room_for_every_retry_budget() -> None:
    hours, minutes, seconds = map(int, json.loads(HOST_JSON.read_text())["functionTimeout"].split(":"))
    fetch, publish, hand_on = read_settings(REQUIRED).retry_budget, BUDGET, BUDGET
    assert fetch + publish + hand_on < hours * 3600 + minutes * 60 + seconds


def test_no_rule_shows_doubled_braces_or_a_placeholder_of_pydantics() -> None:
    broken = dict.fromkeys([field.metadata["name"] for field in dataclasses.fields(Settings)], "\t?")
    rules = [rule for environment in (broken, {}) for _, rule in problems_of(environment)]
    assert len(rules) > 10
    assert not [rule for rule in rules if "{{" in rule or "}}" in rule]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"EVENTS_URL": REQUIRED["REQUESTS_URL"]}, "REQUESTS_URL"),
        ({"REJECTS_URL": REQUIRED["EVENTS_URL"].replace("acme", "ACME")}, "REJECTS_URL"),
        (
            {"ReferralRequests__queueServiceUri": "https://other.queue.core.windows.net"},
            "ReferralRequests__queueServiceUri",
        ),
        ({"ReferralRequests__accountName": "other"}, "ReferralRequests__accountName"),
        ({"REFERRAL_REQUESTS_QUEUE": "referral-events"}, "REFERRAL_REQUESTS_QUEUE"),
        (
            {"AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "often"},
            "AzureFunctionsJobHost__extensions__queues__maxDequeueCount",
        ),
    ],
)
def test_queues_that_would_make_a_loop_or_lose_requests_are_refused(changes: dict[str, str], name: str) -> None:
    assert [problem for problem, _ in problems_of({**REQUIRED, **changes})] == [name]


@pytest.mark.parametrize(
    "setting", [{CONNECTION_URI: "https://ACME.queue.core.windows.net/"}, {"ReferralRequests__accountName": "acme"}]
)
def test_the_trigger_may_name_the_account_of_the_requests_queue_in_either_way(setting: dict[str, str]) -> None:
    assert read_settings({**REQUIRED, **setting}).requests_url == REQUIRED["REQUESTS_URL"]


@pytest.mark.parametrize(
    "name", ["SERVICE_BUS_MAX_DELIVERY_COUNT", "AzureFunctionsJobHost__extensions__queues__maxDequeueCount"]
)
def test_a_message_needs_a_delivery_beside_the_two_that_only_reject_it(name: str) -> None:
    assert [problem for problem, _ in problems_of({**REQUIRED, name: "2"})] == [name]
    assert read_settings({**REQUIRED, name: "3"})


@pytest.mark.parametrize("name", ["REQUESTS_URL", CONNECTION_URI])
def test_a_broken_url_of_the_trigger_is_a_problem_like_any_other(name: str) -> None:
    environment = {**REQUIRED, "REFERRAL_REQUESTS_QUEUE": "referral-requests", name: "https://[acme/referral-requests"}
    assert [problem for problem, _ in problems_of(environment)] == [name]
