import sys

from generated.api.signals import throw_signal
from generated.api.subscriptions import create_subscription, list_subscriptions
from generated.client import AuthenticatedClient
from generated.models import (
    ConditionSchema,
    ConditionSchemaOperator,
    FilterSchema,
    PullTargetSchema,
    SignalRequest,
    SignalSchema,
    SubscriptionPage,
    SubscriptionRequest,
    SubscriptionSchema,
)

url, token, name = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=token) as client:
    about = FilterSchema()
    about["order"] = ConditionSchema(operator=ConditionSchemaOperator.NUM_EQ, value=7)
    wanted = SubscriptionRequest(name=name, target=PullTargetSchema(kind="pull"), filter_=about)
    created = create_subscription.sync(client=client, body=wanted)
    assert isinstance(created, SubscriptionSchema), created
    listed = list_subscriptions.sync(client=client, name=name)
    assert isinstance(listed, SubscriptionPage), listed
    assert [one.id for one in listed.items] == [created.id]
    answer = throw_signal.sync(client=client, body=SignalRequest(name=name, payload={"order": 7}))
assert isinstance(answer, SignalSchema), answer
print(answer.id)
