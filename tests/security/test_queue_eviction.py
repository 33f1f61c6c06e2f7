"""Answers that nobody fetches are let go of, and what others wait for is not."""

from __future__ import annotations

import asyncio

import gradio as gr
from gradio.queueing import Event, Queue
from gradio.server_messages import EstimationMessage, ProcessCompletedMessage
from starlette.requests import Request

from vggviz.server.queue_eviction import EVERY, TIMEOUT, QueueEviction


def told(queue: Queue, session: str, demo: gr.Blocks) -> Event:
    """An event of this session that waits, after one that was answered."""
    event = Event(session, demo.fns[0], Request({"type": "http"}), None)
    held = queue.pending_messages_per_session.setdefault(session, asyncio.Queue())
    held.put_nowait(ProcessCompletedMessage(output={"data": ["x" * 300_000]}, success=True))
    queue.pending_event_ids_session.setdefault(session, set()).add(event._id)
    queue.event_ids_to_events[event._id] = event
    queue.create_event_queue_for_fn(event.fn)
    queue.event_queue_per_concurrency_id[event.concurrency_id].queue.append(event)
    return event


def test_who_never_listens_is_forgotten_and_who_does_is_not() -> None:
    async def lesson() -> None:  # where a loop runs Gradio makes none, which it would never close
        with gr.Blocks() as demo:
            gr.Button().click(lambda: None)
        queue = Queue(True, 1, 1, None, demo)
        eviction = QueueEviction(queue)
        for session in ("gone", "there"):
            told(queue, session, demo)
        await eviction.run(0)
        queue.pending_messages_per_session["there"].get_nowait()  # read: from now on it listens
        await eviction.run(EVERY)
        told(queue, "there", demo)
        late = told(queue, "there", demo)
        await eviction.run(EVERY * 2)
        queue.pending_messages_per_session["there"].get_nowait()  # slowly, but it does
        await eviction.run(EVERY * 3)
        await eviction.run(TIMEOUT - 1)
        assert set(queue.pending_messages_per_session) == {"gone", "there"}
        await eviction.run(TIMEOUT - 1 + EVERY)
        assert set(queue.pending_messages_per_session) == {"there"}
        await eviction.run(TIMEOUT + EVERY * 2)  # it has not read all, but since a minute ago
        assert set(queue.pending_event_ids_session) == {"there"}
        assert late._id in queue.event_ids_to_events
        assert {event.session_hash for event in queue.event_ids_to_events.values()} == {"there"}
        queue.broadcast_estimations(late.concurrency_id)  # who is left is told its place
        messages = queue.pending_messages_per_session["there"]
        assert isinstance(messages.get_nowait(), ProcessCompletedMessage)
        assert isinstance(messages.get_nowait(), EstimationMessage)

    asyncio.run(lesson())
