import pytest

from broker.access import Permission
from broker.errors import InvalidField
from gateway.camunda import errors
from gateway.camunda.errors import MissingAuthorization


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            errors.unknown_execution("E"),
            500,
            {
                "type": "NullValueException",
                "message": "Cannot find execution with id 'E': execution is null",
                "code": 0,
            },
        ),
        (
            errors.not_subscribed("E", "sig"),
            500,
            {
                "type": "RestException",
                "message": "Execution 'E' has not subscribed to a signal event with name 'sig'. is empty",
                "code": 0,
            },
        ),
        (
            errors.foreign_tenant("P"),
            500,
            {
                "type": "ProcessEngineException",
                "message": "ENGINE-13034 Cannot update the process instance 'P' because it belongs to no "
                "authenticated tenant.",
                "code": 0,
            },
        ),
        (
            errors.invalid_field(InvalidField("/variables/a", "is too long")),
            400,
            {"type": "InvalidRequestException", "message": "variables.a: is too long", "code": None},
        ),
        (
            errors.unavailable("RabbitMQ takes nothing now"),
            503,
            {"type": "ServiceUnavailableException", "message": "RabbitMQ takes nothing now", "code": None},
        ),
        (
            errors.tenant_with_execution(),
            400,
            {
                "type": "BadUserRequestException",
                "message": "ENGINE-13027 Cannot specify a tenant-id when deliver a signal to a single execution.",
                "code": 0,
            },
        ),
        (
            errors.engine_not_available("other"),
            404,
            {"type": "InvalidRequestException", "message": "Process engine other not available", "code": None},
        ),
        (
            errors.http_error(404),
            404,
            {"type": "NotFoundException", "message": "HTTP 404 Not Found", "code": None},
        ),
        (
            errors.http_error(503),
            503,
            {"type": "ServiceUnavailableException", "message": "HTTP 503 Service Unavailable", "code": None},
        ),
        (
            errors.http_error(405),
            405,
            {"type": "NotAllowedException", "message": "HTTP 405 Method Not Allowed", "code": None},
        ),
        (
            errors.http_error(413),
            413,
            {"type": "ClientErrorException", "message": "HTTP 413 Request Entity Too Large", "code": None},
        ),
    ],
)
def test_errors_have_camundas_envelope(error, status, body):
    assert error.status == status
    assert error.body == body


def test_a_single_missing_permission_is_named():
    error = errors.unauthorized("nobody", [MissingAuthorization("CREATE", "ProcessInstance")])
    assert error.status == 403
    assert error.body == {
        "type": "AuthorizationException",
        "message": "The user with id 'nobody' does not have 'CREATE' permission on resource 'ProcessInstance'.",
        "code": 0,
        "userId": "nobody",
        "permissionName": "CREATE",
        "resourceName": "ProcessInstance",
        "resourceId": None,
        "missingAuthorizations": [{"permissionName": "CREATE", "resourceName": "ProcessInstance", "resourceId": None}],
    }


def test_the_permissions_that_camundas_stand_for_here_are_named_in_the_message_alone():
    missing = [MissingAuthorization("UPDATE", "ProcessInstance")]
    plain = errors.unauthorized("nobody", missing).body
    named = errors.unauthorized("nobody", missing, needed=[Permission.DELIVERIES, Permission.READ]).body
    assert named == plain | {
        "message": "The user with id 'nobody' does not have 'UPDATE' permission on resource 'ProcessInstance'."
        " In signal-broker these are 'deliveries:manage' and 'signals:read'."
    }


def test_permissions_of_which_one_would_do_are_listed():
    choices = [
        MissingAuthorization("UPDATE", "ProcessInstance", "P"),
        MissingAuthorization("UPDATE_INSTANCE", "ProcessDefinition", "catchP"),
    ]
    body = errors.unauthorized("nobody", choices).body
    assert body["message"] == (
        "The user with id 'nobody' does not have one of the following permissions: 'UPDATE' permission on resource "
        "'P' of type 'ProcessInstance' or 'UPDATE_INSTANCE' permission on resource 'catchP' of type "
        "'ProcessDefinition'"
    )
    assert (body["permissionName"], body["resourceName"], body["resourceId"]) == (None, None, None)
    assert len(body["missingAuthorizations"]) == 2
