"""Whose job is next: addresses take turns, the visitors of an address take turns, and each one's jobs keep their order.

So nobody waits behind all of another's jobs, and a person who comes under many names gets no more turns than one who comes under one.
"""

import heapq
import sqlite3

NEXT_JOB = """
SELECT id FROM jobs WHERE state = 'queued' ORDER BY
    (SELECT MAX(started) FROM jobs AS earlier WHERE earlier.address = jobs.address) NULLS FIRST,
    (SELECT MAX(started) FROM jobs AS earlier WHERE earlier.visitor = jobs.visitor) NULLS FIRST,
    place LIMIT 1
"""
_WAITING = "SELECT id, address, visitor, CAST(place AS REAL) FROM jobs WHERE state = 'queued' ORDER BY place"
_LAST = "SELECT address, visitor, MAX(CAST(started AS REAL)) FROM jobs GROUP BY address, visitor"


def queue_order(table: sqlite3.Connection) -> list[str]:
    """The ids of all jobs that wait, in the order in which NEXT_JOB will take them."""
    by_address: dict[str, float] = {}
    by_visitor: dict[str, float] = {}
    for address, visitor, started in table.execute(_LAST):
        by_address[address] = max(by_address.get(address, 0), started or 0)
        by_visitor[visitor] = max(by_visitor.get(visitor, 0), started or 0)
    waiting: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for job_id, address, visitor, place in table.execute(_WAITING):
        waiting.setdefault(address, {}).setdefault(visitor, []).append((place, job_id))
    queues = {
        address: [(by_visitor.get(visitor, 0), jobs) for visitor, jobs in visitors.items()]  # 0: came between the two readings
        for address, visitors in waiting.items()
    }
    for queue in queues.values():
        heapq.heapify(queue)
    addresses = [(by_address.get(address, 0), queue[0][1][0], address) for address, queue in queues.items()]
    heapq.heapify(addresses)
    order, now = [], max(by_visitor.values(), default=0.0)
    while addresses:
        _, _, address = heapq.heappop(addresses)
        _, jobs = heapq.heappop(queues[address])
        order.append(jobs.pop(0)[1])
        now += 1  # later than all that has begun
        if jobs:
            heapq.heappush(queues[address], (now, jobs))
        if queues[address]:
            heapq.heappush(addresses, (now, queues[address][0][1][0], address))
    return order
