"""Members of consumer groups that a killed run left in the broker.

The broker believes in them until their sessions expire and keeps their partitions from everybody else. When
the embedded broker starts, no role runs yet: all it remembers are dead.
"""

import asyncio
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import DescribeGroupsRequest, ListGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

_DEADLINE_S: Final = 15
_TRY_EVERY_S: Final = 0.1


async def dismiss_members(bootstrap: str) -> int:
    """Remove every member of every group of a broker that has just started; returns their number.

    Raises a `KafkaError`, or `TimeoutError` after 15 s. A living member would only have to join again.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await client.bootstrap()
            members = await _members(client)
            for group, member in members:
                await _ask(client, LeaveGroupRequest(group, member))
        return len(members)
    finally:
        await client.close()


async def _members(client: AIOKafkaClient) -> list[tuple[str, str]]:
    """Group and member id of each member."""
    names = [group[0] for group in (await _ask(client, ListGroupsRequest())).groups]
    if not names:
        return []
    described = await _ask(client, DescribeGroupsRequest(names))
    # a group: error code, name, state, protocol type, protocol, members; a member: its id first
    return [(group[1], member[0]) for group in described.groups for member in group[5]]


async def _ask(client: AIOKafkaClient, request: Any) -> Any:
    """The only node's answer. Asks again while it still loads its groups."""
    while True:
        answer = await client.send(client.get_random_node(), request)
        error = for_code(_error_code(answer))
        if _error_code(answer) == 0:
            return answer
        if not error.retriable:
            raise error
        await asyncio.sleep(_TRY_EVERY_S)


def _error_code(answer: Any) -> int:
    # DescribeGroups has a code for each group instead of one for all
    codes = [answer.error_code] if hasattr(answer, "error_code") else [group[0] for group in answer.groups]
    return next((int(code) for code in codes if code), 0)
