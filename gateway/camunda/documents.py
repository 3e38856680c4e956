"""What the Camunda 7 dialect reads and answers, for the documentation; `requests` reads it as leniently as Camunda."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Lenient(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="allow")


class CamundaVariable(_Lenient):
    """A typed variable."""

    value: Any = None
    type: str | None = Field(None, description="Inferred from the value, if it is not given.", examples=["Integer"])
    value_info: dict[str, Any] | None = None


class CamundaSignal(_Lenient):
    """A throw, as Camunda 7 reads it."""

    name: str = Field(examples=["policy_conditions_changed"])
    execution_id: str | None = Field(None, description="For this execution only.")
    variables: dict[str, CamundaVariable] | None = None
    tenant_id: str | None = Field(None, description="For this tenant only.")
    without_tenant_id: bool | None = Field(None, description="For those without a tenant only.")


class CamundaException(_Lenient):
    """An error, as Camunda 7 answers it."""

    type: str = Field(examples=["InvalidRequestException"])
    message: str | None
    code: int | None
