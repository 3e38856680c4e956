"""The body of a message of Camunda 7's clients."""

from __future__ import annotations

import json

from gateway.camunda.message_requests import parse_message


def parsed(**members):
    return parse_message(json.dumps({"messageName": "m", **members}).encode())


def test_later_kinds_of_variables_win_with_their_types():
    message = parsed(
        processVariables={"a": {"value": 1, "type": "Long"}, "b": {"value": 2}},
        processVariablesLocal={"a": {"value": "x"}},
        processVariablesToTriggeredScope={"b": {"value": 3, "type": "Short"}},
    )

    assert json.loads(message.payload) == {"a": "x", "b": 3}
    assert message.types == {"b": {"type": "Short"}}


def test_both_kinds_of_keys_count_and_those_that_contradict_each_other_match_nothing():
    message = parsed(
        correlationKeys={"a": {"value": 1}, "b": {"value": 2}},
        localCorrelationKeys={"b": {"value": 3}, "c": {"value": 4}},
    )

    assert message.keys == {"a": 1, "b": [2, 3], "c": 4}, "no correlation key is a list"


def test_what_a_message_names_is_shown_as_camunda_does_and_cut():
    shown = parsed(businessKey="k", correlationKeys={"n": {"value": 7}}).criteria
    long = parsed(businessKey="k" * 2000).criteria

    assert shown.startswith("CorrelationSet [businessKey=k, processInstanceId=null, processDefinitionId=null, ")
    assert "correlationKeys={n=7}, localCorrelationKeys=null" in shown
    assert long == f"CorrelationSet [businessKey={'k' * 988}...]"


def test_texts_and_flags_are_read_as_jackson_reads_them():
    message = parsed(messageName=5, all="true", resultEnabled=1, tenantId=None, correlationKeys=None)

    assert (message.name, message.everywhere, message.shows_result, message.keys) == ("5", True, True, {})
