"""The client of a kernel that executes a notebook, without a wake-up that jupyter_client loses.

jupyter_client 8 sends past the asyncio socket with which it waits for replies. A reply that arrives at that moment then
wakes nobody, and a cell whose ``Output`` widget answers the kernel while it runs waits for ever.
"""

from __future__ import annotations

from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from traitlets import Type


class _Channel(AsyncZMQSocketChannel):
    def send(self, msg: dict[str, Any]) -> None:
        super().send(msg)
        # Reading them schedules the delivery of what has arrived meanwhile.
        self.socket.EVENTS  # noqa: B018


class _Client(AsyncKernelClient):
    shell_channel_class = Type(_Channel)
    control_channel_class = Type(_Channel)


class NotebookKernelManager(AsyncKernelManager):
    """Starts the kernel of a notebook that papermill executes."""

    client_factory = Type(_Client, klass=AsyncKernelClient)
