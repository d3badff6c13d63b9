"""A reply that arrives while a message is sent wakes who waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import zmq
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session

from autotune_nb.reports._kernel_client import NotebookKernelManager


async def _received(channel_class: type[AsyncZMQSocketChannel]) -> Any:
    """Return the reply that arrives while another message is sent; None if nobody is woken."""
    session = Session(key=b"")
    with zmq.asyncio.Context() as context, zmq.Context() as peer_context, peer_context.socket(zmq.ROUTER) as kernel:
        port = kernel.bind_to_random_port("tcp://127.0.0.1")
        socket = context.socket(zmq.DEALER)
        socket.linger = kernel.linger = 0
        socket.connect(f"tcp://127.0.0.1:{port}")
        channel = channel_class(socket, session)
        channel.send(session.msg("execute_request"))
        identities, _ = session.feed_identities(await asyncio.to_thread(kernel.recv_multipart))
        waiting = asyncio.ensure_future(channel.get_msg())
        await asyncio.sleep(0.1)
        session.send(kernel, "execute_reply", {}, ident=identities)
        # The event loop does not run before the message is sent; the reply has arrived by then.
        while not zmq.Socket.shadow(socket.underlying).poll(20):
            pass
        channel.send(session.msg("comm_msg"))
        done, _ = await asyncio.wait([waiting], timeout=3)
        found = waiting.result() if done else None
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        socket.close()
        return found


def test_a_reply_that_arrives_while_a_message_is_sent_is_received() -> None:
    channel = NotebookKernelManager().client_factory.shell_channel_class.default_value
    reply = asyncio.run(_received(channel))
    assert reply is not None
    assert reply["msg_type"] == "execute_reply"


@pytest.mark.slow
def test_jupyter_clients_own_channel_needs_this() -> None:
    """If this fails, jupyter_client receives the reply, and the module can go."""
    assert asyncio.run(_received(AsyncZMQSocketChannel)) is None
